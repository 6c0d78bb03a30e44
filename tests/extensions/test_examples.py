"""The examples of docs/extending.md: run from outside of the suite, on other processes, and as a job."""

import csv
import importlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import yaml

import run
from algorithms.ppo import ppo_loss
from custom_models.distributions import Categorical
from environments.gymnasium_envs import open_env
from run_directory.layout import OWN_MODULES
from settings.environments import GymnasiumSettings
from settings.setting import list_settings
from tests.runs.tiny_runs import TINY, directory_in

RUN_PY = Path(run.__file__).resolve()
EXAMPLES = RUN_PY.parent / "docs" / "extending"
PAGE = RUN_PY.parent / "docs" / "extending.md"
TORSO = "model.torso=layer_norm_torso:LayerNormTorso"
TINY_A2C = ["env=cartpole", "algo.num_envs=4", "cluster.cpus=1", "report_every=200", "checkpoint_every_s=0.01"]


@pytest.fixture
def type_there(tmp_path):
    """Type run.py in a folder of a user's own, which has the examples in mine/; returns what came of it."""
    shutil.copytree(EXAMPLES, tmp_path / "mine", ignore=shutil.ignore_patterns("__pycache__"))

    def start(*words: str, code: int = 0, folder: bool = True, timeout: float = 300) -> subprocess.CompletedProcess:
        flags = ["--config-dir", "mine"] if folder else []
        command = [sys.executable, str(RUN_PY), *flags, *words]
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        environment["RAY_AUTH_MODE"] = "disabled"
        pipes = {"capture_output": True, "text": True, "timeout": timeout}
        done = subprocess.run(command, cwd=tmp_path, env=environment, **pipes)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    return start


def read_rows(directory: Path) -> list[dict[str, str]]:
    with open(directory / "progress.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_shows_the_files_that_are_run():
    shown = dict(re.findall(r"^`docs/extending/([\w/.]+)`\n```\w+\n(.*?)\n```$", PAGE.read_text(), re.M | re.S))
    files = [path for path in EXAMPLES.rglob("*") if path.suffix in (".py", ".yaml")]
    assert set(shown) == {str(path.relative_to(EXAMPLES)) for path in files}
    for name, code in shown.items():
        assert code == (EXAMPLES / name).read_text().rstrip(), name


def test_the_torso_of_the_page_is_short():
    lines = (EXAMPLES / "layer_norm_torso.py").read_text().splitlines()
    assert sum(bool(line) for line in lines[2:]) <= 25


@pytest.mark.end_to_end
def test_a_torso_from_outside_is_trained_by_other_processes_evaluated_recorded_and_resumed(type_there):
    words = [*TINY, TORSO, "cluster.num_env_runners=1", "stop.agent_steps=1024", "evaluate=true", "episodes=1"]
    trained = directory_in(type_there(*words).stdout)
    assert yaml.safe_load((trained / "config.yaml").read_text())["model"]["torso"] == TORSO.partition("=")[2]
    assert int(read_rows(trained)[-1]["agent_steps"]) >= 1024
    assert list(trained.glob("checkpoints/evaluation_*.json"))
    play = [f"run={trained}", "way=greedy"]
    type_there("command=evaluate", *play, "episodes=2")
    type_there("command=record", *play, "games=1")
    again = directory_in(type_there(f"resume={trained}", "stop.agent_steps=2048").stdout)
    assert again == trained and int(read_rows(trained)[-1]["agent_steps"]) >= 2048
    lost = type_there("command=evaluate", *play, folder=False, code=2)
    assert re.search(r"^error: run=.* model\.torso=layer_norm_torso:\w+, .*--config-dir \S+/mine\b", lost.stderr)
    copies = f"--config-dir {trained / OWN_MODULES}"
    assert lost.stderr.count("\n") == 1 and copies in lost.stderr
    type_there("command=evaluate", *play, "episodes=1", *copies.split(), folder=False)


@pytest.mark.end_to_end
def test_workers_of_a3c_and_pixels_take_a_torso_from_outside(type_there):
    words = [TORSO, "algo=a3c", "algo.num_workers=2", "cluster.num_env_runners=1", "cluster.cpus=1"]
    cartpole = ["env=cartpole", "algo.num_envs=4", "stop.agent_steps=1000", "report_every=500"]
    trained = directory_in(type_there(*words, *cartpole).stdout)
    assert int(read_rows(trained)[-1]["agent_steps"]) >= 1000
    assault = ["env=assault", "algo.num_envs=2", "stop.agent_steps=400", "report_every=200", "model.lstm_size=16"]
    trained = directory_in(type_there(*words, *assault, "model.shared_trunk=true").stdout)
    assert int(read_rows(trained)[-1]["agent_steps"]) >= 400


@pytest.mark.end_to_end
def test_an_algorithm_from_outside_trains_goes_on_and_can_be_played_with(type_there):
    words = ["algo=normalized_a2c", *TINY_A2C, "cluster.num_env_runners=1", "algo.scale_decay=0.9"]
    trained = directory_in(type_there(*words, "stop.agent_steps=1000").stdout)
    assert trained.parent.parent.name == "normalized_a2c"
    scales = [float(row["return_scale"]) for row in read_rows(trained)]
    assert all(0 < scale < 100 for scale in scales) and len(set(scales)) > 1
    type_there(f"resume={trained}", "stop.agent_steps=2000")
    after = [float(row["return_scale"]) for row in read_rows(trained)]
    assert after[: len(scales)] == scales and abs(after[len(scales)] - scales[-1]) < abs(after[len(scales)] - 1)
    type_there("command=evaluate", f"run={trained}", "way=greedy", "episodes=2")
    wrong = type_there(*words, "algo.scale_decay=2", code=2)
    assert wrong.stderr.startswith("error: algo.scale_decay=2") and wrong.stderr.count("\n") == 1


@pytest.mark.end_to_end
def test_ppo_with_another_loss_trains_and_reports_its_terms(type_there):
    words = ["algo=spo", "env=cartpole", "algo.num_envs=4", "algo.horizon=64", "algo.minibatch_size=64"]
    trained = directory_in(type_there(*words, "cluster.cpus=1", "report_every=256", "stop.agent_steps=1024").stdout)
    rows = read_rows(trained)
    assert all(float(row["ratio_distance"]) > 0 for row in rows) and "clip_fraction" not in rows[0]


def test_the_gradient_of_spo_is_that_of_ppo_where_the_ratio_is_1(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    spo = importlib.import_module("spo")
    logits = torch.randn(16, 3, generator=torch.Generator().manual_seed(1), requires_grad=True)
    values, actions = torch.zeros(16, requires_grad=True), torch.arange(16) % 3
    columns = {"advantages": torch.linspace(-2, 3, 16), "targets": torch.linspace(0, 1, 16), "actions": actions}
    batch = columns | {"logp": Categorical(logits).logp(actions).detach(), "values": torch.zeros(16)}
    losses = (
        loss(Categorical(logits), values, batch, 0.2, None, 0.5, 0.01, None)[0] for loss in (ppo_loss, spo.spo_loss)
    )
    (first, _), (second, _) = (torch.autograd.grad(loss, (logits, values)) for loss in losses)
    torch.testing.assert_close(first, second)
    far = batch | {"logp": batch["logp"] - 1}  # a ratio of e, which SPO pulls back
    pulled = torch.autograd.grad(spo.spo_loss(Categorical(logits), values, far, 0.2, None, 0.5, 0.0, None)[0], logits)[
        0
    ]
    chosen = pulled[torch.arange(16), actions]
    assert (chosen[columns["advantages"] > 0] > 0).all()
    for unused in ((0.2, 0.1, 0.5, 0.01, None), (0.2, None, 0.5, 0.01, torch.tensor(0.2))):
        with pytest.raises(ValueError, match="vf_clip"):
            spo.spo_loss(Categorical(logits), values, batch, *unused)


def test_the_best_score_of_a_run_outlives_a_stop(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(EXAMPLES)
    callback = importlib.import_module("score_file").ScoreFile
    run, best = SimpleNamespace(directory=tmp_path, label="seed 1"), []
    for scores in ([3.0, 9.0], [5.0, 11.0]):  # of the run, and of the run that continues
        score_file = callback()
        score_file.on_start(run)
        for n, score in enumerate(scores):
            score_file.on_row(run, {"episode_return_mean": score, "agent_steps": n})
            best.append(json.loads((tmp_path / "best_score.json").read_text())["score"])
    assert best == [3.0, 9.0, 9.0, 11.0]


FROM_SCRATCH = """
from dataclasses import dataclass

from algorithms.a2c import COLUMNS, a2c_loss, estimate_advantages
from algorithms.learner import PROGRESS, RolloutLearner
from algorithms.suite_algorithm import SuiteAlgorithm
from rollouts.sampling import sample_rollouts
from settings.algorithms import PolicyGradientSettings
from settings.setting import at_least


@dataclass(frozen=True)
class Settings(PolicyGradientSettings):
    horizon: int = at_least(1, "agent steps per env and update")


class Algorithm(SuiteAlgorithm):
    def training_step(self):
        rollouts, summaries = sample_rollouts(self.env_runner_group)
        self.log_update(summaries, self.update_learner(rollouts))
        self.send_weights()


class Learner(RolloutLearner):
    def update(self, *, training_data, timesteps, **kwargs):
        self.begin_update(timesteps[PROGRESS])
        batch = self.load(training_data.fetch())
        batch |= estimate_advantages(batch, self.algo.gamma, 0.9, False)
        for minibatch in self.iterate_microbatches(batch, COLUMNS, None):
            loss, terms = a2c_loss(*self.forward(minibatch), 0.5, 0.01)
            self.add_gradient(loss, terms | {"horizon": self.algo.horizon})
        self.step()
        return self.report()
"""


@pytest.mark.end_to_end
def test_an_algorithm_that_derives_from_none_of_the_suite_s_trains_with_its_own_horizon(type_there, tmp_path):
    (tmp_path / "mine" / "scratch.py").write_text(FROM_SCRATCH)
    lines = (RUN_PY.parent / "experiments" / "algo" / "a2c.yaml").read_text().splitlines()
    of_a2c = ("name", "gae_lambda", "vf_coeff", "normalize_advantages", "microbatch_size")
    lines = [line for line in lines if line.partition(":")[0] not in of_a2c]
    (tmp_path / "mine" / "algo" / "scratch.yaml").write_text(
        "\n".join([*lines, "name: scratch", "implementation: scratch"])
    )
    words = ["algo=scratch", "env=cartpole", "algo.num_envs=4", "algo.horizon=7", "cluster.cpus=1", "evaluate=false"]
    trained = directory_in(type_there(*words, "report_every=1", "stop.agent_steps=200").stdout)
    rows = read_rows(trained)
    assert int(rows[0]["agent_steps"]) == 4 * 7
    assert {float(row["horizon"]) for row in rows} == {7.0}


@pytest.mark.end_to_end
def test_callbacks_hear_of_a_run_and_an_exception_of_one_stops_it_with_a_checkpoint(type_there, tmp_path):
    words = [*TINY, "stop.agent_steps=1024", "seed=1,2"]
    done = type_there(*words, "callbacks=[{score_file:ScoreFile: {least: 5}}]")
    for seed in (1, 2):
        run_directory = directory_in(done.stdout) / f"seed_{seed}"
        best = json.loads((run_directory / "best_score.json").read_text())
        scores = [float(row["episode_return_mean"] or "nan") for row in read_rows(run_directory)]
        assert best["score"] == max(score for score in scores if score == score)
        assert re.search(rf"^seed {seed}: ended, best score {best['score']:.1f}$", done.stdout, re.M)
    broken = (
        "class Broken:\n    def on_row(self, run, row):\n        if row['agent_steps'] > 500:\n            row['x']\n"
    )
    (tmp_path / "mine" / "broken.py").write_text(broken)
    stopped = type_there(*TINY, "stop.agent_steps=100_000", "callbacks=[broken:Broken]", code=1)
    assert "callbacks: broken:Broken.on_row raised KeyError: 'x' (broken.py, line 4)" in stopped.stdout
    trained = directory_in(stopped.stdout)
    assert 500 < int(read_rows(trained)[-1]["agent_steps"]) < 5000
    type_there(f"resume={trained}", "callbacks=null", "stop.agent_steps=2048")
    refused = type_there(*TINY, "callbacks=[score_file:ScoreFiles]", code=2)
    assert refused.stderr.startswith("error: callbacks=score_file:ScoreFiles: ") and refused.stderr.count("\n") == 1


@pytest.mark.end_to_end
def test_games_of_the_curriculum_grow(type_there):
    if "wrappers" not in list_settings(GymnasiumSettings):
        pytest.skip("env.wrappers is not there")
    wrapper = "env.wrappers=[{growing_games:GrowingGames: {first: 5, over: 1000}}]"
    trained = directory_in(type_there(*TINY, "stop.agent_steps=4096", wrapper, "cluster.num_env_runners=1").stdout)
    rows = read_rows(trained)
    assert float(rows[0]["episode_length_mean"]) <= 10 < float(rows[-1]["episode_length_mean"])


def test_the_score_of_assault_is_hidden_and_nothing_else(monkeypatch):
    monkeypatch.syspath_prepend(EXAMPLES)
    env = yaml.safe_load((EXAMPLES / "env" / "hidden_score.yaml").read_text())["env"]
    hidden, shown = open_env(env), open_env(env | {"wrappers": env["wrappers"][:1]})
    pairs = [(hidden.reset(seed=0)[0], shown.reset(seed=0)[0])]
    pairs += [(hidden.step(action)[0], shown.step(action)[0]) for action in np.arange(40) % hidden.action_space.n]
    assert all((ours[5:] == theirs[5:]).all() and not ours[:5].any() for ours, theirs in pairs)
    assert any(theirs[:5].any() for _, theirs in pairs)


@pytest.mark.end_to_end
def test_a_game_of_ale_under_rules_of_ones_own_is_trained_evaluated_and_recorded(type_there):
    words = ["env=hidden_score", "model=a3c_cnn", "algo.num_envs=2", "algo.horizon=64", "algo.minibatch_size=64"]
    less = ["cluster.cpus=1", "report_every=128", "stop.agent_steps=512", "evaluate=true", "episodes=1"]
    done = type_there(*words, *less)
    assert "Arcade Learning Environment" not in done.stdout + done.stderr  # ALE's banner
    trained = directory_in(done.stdout)
    assert trained.parent.name == "hidden_score" and int(read_rows(trained)[-1]["agent_steps"]) >= 512
    type_there("command=record", f"run={trained}", "games=1")
    assert list((trained / "recordings").glob("*.mp4"))
