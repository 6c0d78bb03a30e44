"""Population-based training: who goes on from whom, with what, and that a kill in between does no harm."""

import csv
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import run
from run_directory import checkpoints
from run_directory.layout import CONFIG, PROGRESS_JSON
from run_directory.manifest import write_manifest
from run_directory.searches import SCHEDULE_CSV
from settings.mistakes import Mistake
from tests.runs.tiny_runs import Disturbance, go, kill_driver, rows_of, send_to_self, wait_for
from tune_searches.check import check_experiment
from tune_searches.population import PERTURBATION_FACTORS, Population, perturb_value
from tune_searches.sources import RunWriter
from tune_searches.space import Parameter, parse_space
from tune_searches.study import Study

WORDS = ("tune_searches=cartpole_ppo", "search.scheduler=pbt", "search.sampler=random")
SCORES = (50.0, 10.0, 90.0, 20.0, 80.0, 30.0, 40.0, 60.0)


@pytest.fixture
def open_population(compose, tmp_path):
    """Of eight, in four generations of 900 agent steps, after an earlier driver or none."""

    def make(*overrides: str) -> Population:
        settings = compose(
            [*WORDS, "search.trials=8", "search.generations=4", "stop.agent_steps=3600", "report_every=100", *overrides]
        )
        study = Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)
        return Population(study, tmp_path, RunWriter(settings, ["python", "run.py"], list(WORDS)))

    return make


def trained(population: Population, number: int, steps: int, score: float, episodes: int = 100) -> None:
    """Leave what training leaves: a checkpoint, whose file says whose it is."""
    population.writer.create_run(population.find_run(number), population.values[number], population.seeds)
    made = population.folder / "made"
    made.mkdir(exist_ok=True)
    progress = {"agent_steps": steps, "episodes": episodes, "episode_return_mean": score}
    (made / PROGRESS_JSON).write_text(json.dumps(progress))
    (made / "weights").write_text(str(number))
    write_manifest(made)
    checkpoints.keep_checkpoint(made, population.find_run(number))
    for path in made.iterdir():  # it is linked, so it must not be written over
        path.unlink()


def weights(population: Population, number: int) -> int:
    return int((population.find_run(number) / "checkpoints" / "last" / "weights").read_text())


def test_a_generation_ends_when_all_have_come_to_its_share_of_the_budget(open_population):
    population = open_population()
    assert population.generation_end == 900 and len(population.list_remaining_trials()) == 8
    trained(population, 0, 899, 1.0)
    trained(population, 1, 900, 1.0)
    assert [number for number, _ in population.list_remaining_trials()] == [0, 2, 3, 4, 5, 6, 7]


def test_the_worst_quarter_goes_on_from_the_best_with_settings_near_theirs(open_population):
    population = open_population()
    for number, score in enumerate(SCORES):
        trained(population, number, 960, score)
    before = dict(population.values)
    steps = population.end_generation()
    assert sorted(step.trial for step in steps) == [1, 3] and {step.donor for step in steps} <= {2, 4}
    for step in steps:
        assert weights(population, step.trial) == step.donor
        assert step.values != before[step.donor]
        settings = yaml.safe_load((population.find_run(step.trial) / "config.yaml").read_text())
        assert {key: settings["algo"][key.split(".")[1]] for key in step.values} == step.values
    assert all(weights(population, number) == number for number in range(8) if number not in (1, 3))
    again = open_population()
    assert again.num_ended_generations == 1 and again.generation_end == 1800 and len(again.list_remaining_trials()) == 8
    assert again.values == before | {step.trial: step.values for step in steps}


def test_who_has_no_score_gives_nothing(open_population):
    population = open_population()
    for number in range(8):
        trained(population, number, 960, 100.0 - number, episodes=5 if number < 7 else 100)
    steps = population.end_generation()
    assert {step.donor for step in steps} == {7} and 7 not in {step.trial for step in steps}
    for number in range(8):
        trained(open_population(), number, 1860, 1.0, episodes=5)
    assert open_population().end_generation() == []


def test_a_kill_in_the_middle_of_it_does_no_harm(open_population, monkeypatch):
    population = open_population()
    for number, score in enumerate(SCORES):
        trained(population, number, 960, score)
    keep, kept = checkpoints.keep_checkpoint, []

    def killed(checkpoint, path):
        if kept:
            raise KeyboardInterrupt
        kept.append(path)
        keep(checkpoint, path)

    monkeypatch.setattr(checkpoints, "keep_checkpoint", killed)
    with pytest.raises(KeyboardInterrupt):
        population.end_generation()
    monkeypatch.setattr(checkpoints, "keep_checkpoint", keep)
    planned = population.plan_generation(1)
    again = open_population()
    assert again.num_ended_generations == 0 and again.list_remaining_trials() == []
    assert again.end_generation() == planned
    assert all(weights(again, step.trial) == step.donor for step in planned)
    assert {n: v for n, v in open_population().values.items() if n in (1, 3)} == {s.trial: s.values for s in planned}


def test_the_last_generation_is_told_even_where_a_kill_came_just_before(open_population):
    population = open_population()
    for number in range(8):
        trained(population, number, 3600, 1.0)
    for _ in range(3):
        assert open_population().list_remaining_trials() == []
        open_population().end_generation()
    assert len(open_population().list_remaining_trials()) == 8


def test_a_failed_trial_neither_gives_nor_takes(open_population):
    population = open_population()
    for number, score in enumerate(SCORES):
        trained(population, number, 960, score)
    planned = population.plan_generation(1)
    assert sorted(step.trial for step in planned) == [1, 3]
    population.study.tell(3, 960, 20.0, failure="gradient norm nan")  # a kill, and then it fails
    population = open_population()
    assert len(population.values) == 7 and population.end_generation() == [s for s in planned if s.trial == 1]
    population.study.tell(4, 960, 80.0, failure="gradient norm nan")
    for number, score in enumerate(SCORES):
        if number not in (3, 4):
            trained(open_population(), number, 1860, score)
    steps = open_population().end_generation()
    assert {step.trial for step in steps} == {1} and {step.donor for step in steps} == {2}


def test_a_trial_without_a_whole_checkpoint_fails_and_the_others_go_on(open_population):
    population = open_population()
    for number, score in enumerate(SCORES):
        trained(population, number, 960, score)
    (population.find_run(5) / "checkpoints" / "last" / "weights").write_text("torn")
    again = open_population()
    assert sorted(again.values) == [0, 1, 2, 3, 4, 6, 7] and len(again.end_generation()) == 1
    record = again.study.list_records()[5]
    assert record.state == "FAIL" and re.search(r"\blast\b.*\(weights ", record.failure)


def test_the_schedule_is_there_from_the_start_and_a_kill_before_it_is_written_loses_nothing(open_population):
    population = open_population()
    path = population.folder / SCHEDULE_CSV
    assert [row["donor"] for row in csv.DictReader(path.read_text().splitlines())] == [""] * 8
    for number, score in enumerate(SCORES):
        trained(population, number, 960, score)
    steps = population.end_generation()
    path.unlink()  # as if the kill had come just before
    open_population()
    rows = list(csv.DictReader(path.read_text().splitlines()))
    assert [(row["trial"], row["donor"]) for row in rows[8:]] == [(str(s.trial), str(s.donor)) for s in steps]


@pytest.mark.parametrize(
    ("parameter", "value", "wanted"),
    [
        (Parameter("algo.lr", "loguniform", (1e-4, 1e-2), {}), 1e-3, {f * 1e-3 for f in PERTURBATION_FACTORS}),
        (Parameter("algo.lr", "loguniform", (1e-4, 1e-2), {}), 1e-2, {8e-3, 1e-2}),
        (Parameter("algo.clip", "uniform", (0.1, 0.3), {}), 0.1, {0.1, 0.14}),
        (Parameter("algo.gae_lambda", "uniform", (0.9, 1.0), {}), 0.95, {0.93, 0.97}),
        (Parameter("algo.entropy_coeff", "uniform", (0.0, 0.02), {}), 0.0, {0.0, 0.004}),
        (
            Parameter("algo.gamma", "one_minus_loguniform", (0.001, 0.1), {}),
            0.99,
            {1 - f * 0.01 for f in PERTURBATION_FACTORS},
        ),
        (Parameter("algo.num_epochs", "int", (1, 20), {}), 10, {8, 12}),
        (Parameter("algo.num_epochs", "int", (1, 20), {}), 2, {1, 3}),
        (Parameter("algo.num_epochs", "int", (1, 20), {}), 1, {1, 2}),
        (Parameter("algo.horizon", "choice", (64, 128, 256), {}), 128, {64, 256}),
        (Parameter("algo.horizon", "choice", (64, 128, 256), {}), 256, {128, 256}),
    ],
)
def test_what_is_near_a_value_stays_in_its_range(parameter, value, wanted):
    rng = np.random.default_rng(0)
    found = {perturb_value(parameter, value, rng) for _ in range(40)}
    assert sorted(found) == pytest.approx(sorted(wanted))
    assert {type(v) for v in found} == {type(v) for v in wanted}


@pytest.mark.parametrize(("key", "old", "new"), [("search.trials", 8, 9), ("search.generations", 4, 5)])
def test_a_population_cannot_grow_or_change_its_pace(key, old, new, open_population):
    open_population()
    with pytest.raises(Mistake, match=rf"{key}={old} .*\b{new}\b.*search\.name="):
        open_population(f"{key}={new}")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("search.sampler=tpe",), r"search\.sampler=tpe: search\.scheduler=pbt .*search\.sampler=random$"),
        (("search.trials=1",), r"search\.trials=1 .*search\.scheduler=pbt\b"),
        (("search.trials=1", "search.sampler=tpe"), r"search\.sampler=tpe: "),
        (
            ("search.generations=30", "stop.agent_steps=3000"),
            r"stop\.agent_steps=3000 .*search\.generations ",
        ),
    ],
)
def test_a_mistake_is_one_sentence(words, named, capsys):
    assert run.main([*WORDS, *words]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert re.search(named, sentence)


@pytest.mark.parametrize(
    "space",
    [
        {"algo.optimizer": {"choice": ["adam", "rmsprop"]}},
        {"algo.rmsprop_start": {"choice": [0, 1]}},
        {"env.clip_rewards": {"choice": [True, False]}},
        {"model.zero_mean": {"choice": [True, False]}},
        {
            "algo.horizon": {"choice": [5, 10]},
            "algo.optimizer_eps": {"loguniform": [1e-6, 1e-2], "when": {"algo.horizon": 5}},
        },
    ],
)
def test_what_cannot_change_while_a_trial_trains_is_refused(space, compose):
    settings = compose(["tune_searches=assault_a2c"])
    settings["search"] |= {"scheduler": "pbt", "sampler": "random"}
    settings["search"]["space"] = {"algo.lr": {"loguniform": [1e-4, 1e-3]}}
    check_experiment(settings)
    settings["search"]["space"] = space
    with pytest.raises(Mistake, match=f"search.space.{list(space)[-1]}: search.scheduler=pbt "):
        check_experiment(settings)


TINY = (*WORDS, "search.trials=4", "search.generations=2", "search.concurrent=2", "algo.num_envs=4", "algo.horizon=64")
TINY += ("algo.minibatch_size=64", "stop.agent_steps=4096", "report_every=200", "checkpoint_every_s=0.01")


@pytest.mark.end_to_end
def test_a_population_trains_stops_with_ctrl_c_goes_on_and_leaves_its_schedule(tmp_path, shared_ray, capsys):
    words, folder = (*TINY, f"output_dir={tmp_path}"), tmp_path / "searches" / "cartpole_ppo"

    with Disturbance(folder, lambda: send_to_self(signal.SIGINT), pattern="trials/*/progress.csv") as ctrl_c:
        code, printed = go(*words)
    assert ctrl_c.happened_at and code == 1 and f"python run.py resume={folder}" in printed
    code, printed = go(f"resume={folder}")
    assert code == 0, printed
    with open(folder / SCHEDULE_CSV, newline="") as file:
        schedule = list(csv.DictReader(file))
    assert [row["generation"] for row in schedule] == ["0"] * 4 + ["1"]
    changed = schedule[-1]
    assert re.search(rf"^trial {changed['trial']} .*\btrial {changed['donor']}: algo\.lr=", printed, re.MULTILINE)
    path = folder / "trials" / f"{int(changed['trial']):04d}"
    settings = yaml.safe_load((path / CONFIG).read_text())
    assert settings["algo"]["lr"] == float(changed["algo.lr"])
    rows = rows_of(path)
    steps = [row["agent_steps"] for row in rows]
    assert steps == sorted(set(steps)) and steps[-1] >= 4096
    told = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    assert {row["state"] for row in told} == {"COMPLETE"}
    assert float(told[int(changed["trial"])]["score"]) == rows[-1]["episode_return_mean"]
    assert "<h2>Settings on" in (folder / "report.html").read_text()
    assert "search.trials" not in go(*words)[1]
    assert run.main(["command=promote", f"run={folder}"]) == 2
    assert re.search(r"search\.scheduler=pbt .*\bschedule\.csv\b", capsys.readouterr().err)


@pytest.mark.end_to_end
def test_a_trial_that_computes_nan_fails_and_the_population_goes_on(tmp_path, shared_ray):
    """Every learning rate is one that leads to NaN at some time; whoever is left goes on, and at last nobody is."""
    space = "search.space={algo.lr: {loguniform: [1e25, 1e30]}}"
    code, printed = go(*TINY, space, "algo.max_grad_norm=null", f"output_dir={tmp_path}")
    assert code == 1, printed
    told = list(csv.DictReader((tmp_path / "searches" / "cartpole_ppo" / "trials.csv").read_text().splitlines()))
    assert {row["state"] for row in told} == {"FAIL"} and "gradient norm" in told[0]["failure"]
    assert "4 of 4 trials: 4 failed" in printed


@pytest.mark.slow
def test_a_population_whose_driver_is_killed_with_kill_9_goes_on(tmp_path):
    words = (*TINY, "search.generations=4", "stop.agent_steps=40960", f"output_dir={tmp_path}")
    folder, command = tmp_path / "searches" / "cartpole_ppo", [sys.executable, str(Path(run.__file__)), *words]
    after_s, environment = random.uniform(0, 25), os.environ | {"RAY_AUTH_MODE": "disabled"}
    driver = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: list(folder.glob("trials/*/checkpoints/previous")) or driver.poll() is not None, 180)
    time.sleep(after_s)
    kill_driver(driver)
    second = subprocess.run(command, env=environment, capture_output=True, text=True)
    told = f"killed after {after_s:.2f} s\n{second.stdout}\n{second.stderr}"
    assert second.returncode == 0, told
    rows = list(csv.DictReader((folder / "trials.csv").read_text().splitlines()))
    assert [row["state"] for row in rows] == ["COMPLETE"] * 4, told
    schedule = list(csv.DictReader((folder / SCHEDULE_CSV).read_text().splitlines()))
    assert [row["generation"] for row in schedule] == ["0"] * 4 + ["1", "2", "3"], told
    for number in range(4):
        path = folder / "trials" / f"{number:04d}"
        newest = [row for row in schedule if row["trial"] == str(number)][-1]
        settings = yaml.safe_load((path / CONFIG).read_text())
        assert settings["algo"]["lr"] == float(newest["algo.lr"]) == float(rows[number]["algo.lr"]), told
        steps = [row["agent_steps"] for row in rows_of(path)]
        assert steps == sorted(set(steps)) and steps[-1] >= 40960, told


@pytest.mark.slow
def test_rows_end_where_a_generation_does(tmp_path, shared_ray):
    """2,048 agent steps and rows of 5,000: without an end of its own a row would come to the budget."""
    words = (*TINY, "stop.agent_steps=10240", "report_every=5000", f"output_dir={tmp_path}")
    assert go(*words)[0] == 0
    all_steps = [
        [row["agent_steps"] for row in rows_of(path)]
        for path in (tmp_path / "searches" / "cartpole_ppo").glob("trials/*")
    ]
    # Of the one that goes on from another's checkpoint, a row beyond that checkpoint is dropped.
    assert sum(any(5120 <= step < 5120 + 256 for step in steps) for steps in all_steps) >= 3, all_steps


def test_a_coefficient_that_changes_on_the_way_is_not_the_checkpoints(make_learner):
    words = ("algo=ppo", "env=cartpole")
    first, same, other = (make_learner(*words, f"algo.kl_coeff={c}") for c in (0.2, 0.2, 0.5))
    first.kl_coeff.fill_(0.7)
    for learner in (same, other):
        learner.set_state(first.get_state())
    found = [float(learner.kl_coeff) for learner in (same, other)]
    assert found == pytest.approx([0.7, 0.5])


def test_dqns_optimizer_takes_the_new_settings_too(make_learner):
    words = ("algo=dqn", "env=cartpole")
    first, second = (
        make_learner(*words, f"algo.lr={lr}", f"algo.optimizer_eps={e}") for lr, e in ((1e-3, 1e-4), (2e-3, 2e-4))
    )
    second.set_state(first.get_state())
    (group,) = second.get_optimizer("default_policy").param_groups
    assert (group["lr"], group["eps"]) == (2e-3, 2e-4)


def test_a_setting_of_the_optimizer_that_changes_on_the_way_is_not_the_checkpoints(make_learner):
    words = ("algo=a2c", "env=cartpole", "algo.optimizer=rmsprop")
    first, second = make_learner(*words, "algo.optimizer_eps=0.1"), make_learner(*words, "algo.optimizer_eps=0.2")
    second.set_state(first.get_state())
    second.begin_update(0.0)
    for parameter in second.parameters:
        parameter.grad = torch.zeros_like(parameter)
    second.move_weights()
    (group,) = second.get_optimizer("default_policy").param_groups
    assert group["eps"] == 0.2
