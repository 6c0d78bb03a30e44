"""The comparison of learning with Stable-Baselines3: equal settings, and what the table makes of the games."""

import argparse
import sys

import numpy as np
import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

from benchmarks import learning, sb3_learner
from benchmarks.sb3_learner import fall_to_zero
from settings.algorithms import ALGORITHMS
from settings.setting import list_settings

NAMES = {  # what Stable-Baselines3 calls a setting -> what it is called here
    "num_envs": "num_envs",
    "n_steps": "horizon",
    "learning_rate": "lr",
    "eps": "optimizer_eps",
    "gamma": "gamma",
    "gae_lambda": "gae_lambda",
    "ent_coef": "entropy_coeff",
    "vf_coef": "vf_coeff",
    "max_grad_norm": "max_grad_norm",
    "normalize_advantage": "normalize_advantages",
    "batch_size": "minibatch_size",
    "n_epochs": "num_epochs",
    "clip_range": "clip",
    "clip_range_vf": "vf_clip",
}


@pytest.mark.parametrize("algo", learning.OURS)
def test_both_have_the_same_settings(algo, compose):
    ours, theirs = compose(learning.OURS[algo])["algo"], dict(learning.THEIRS[algo])
    theirs["vf_coef"] *= 2  # its value loss has no half
    assert {NAMES[name]: value for name, value in theirs.items()} == {NAMES[name]: ours[NAMES[name]] for name in theirs}
    falling = {name for name in ("lr", "clip") if ours.get(f"{name}_schedule") == "linear"}
    assert {NAMES[name] for name in learning.FALLING[algo]} == falling
    assert ours["optimizer"] == "adam"
    assert fall_to_zero(0.4)(0.25) == pytest.approx(0.1)


def test_a2c_has_the_settings_that_learn(compose):
    typed, tuned = compose(learning.OURS["a2c"]), compose(["tuned_configs=assault_a2c", "model.dtype=float32"])
    assert typed["algo"] == tuned["algo"] and typed["model"] == tuned["model"]


def test_stable_baselines3_gets_adam_and_a_step_size_that_falls_for_ppo_alone():
    a2c, ppo = (sb3_learner.make_arguments(algo) for algo in ("a2c", "ppo"))
    assert a2c["use_rms_prop"] is False and a2c["learning_rate"] == 5e-4 and "use_rms_prop" not in ppo
    assert ppo["learning_rate"](0.5) == pytest.approx(1.25e-4) and ppo["clip_range"](0.5) == pytest.approx(0.05)
    assert a2c["policy_kwargs"] == ppo["policy_kwargs"] == {"optimizer_kwargs": {"eps": 1e-5}}
    assert "eps" not in a2c | ppo


@pytest.mark.parametrize("algo", learning.OURS)
def test_every_number_of_an_algorithm_is_typed(algo):
    """So that another default does not change one of the two alone."""
    typed = {word.partition("=")[0].removeprefix("algo.") for word in learning.OURS[algo]}
    apart = {"name", "kl_target", "overlap", "microbatch_size", "rmsprop_start"}
    assert set(list_settings(ALGORITHMS[algo])) - typed == apart & set(list_settings(ALGORITHMS[algo]))


def test_a_score_is_the_mean_of_the_last_hundred_games():
    games = [(10 * n, float(n % 7)) for n in range(1, 251)]
    curve = learning.smooth(games)
    assert len(curve) == 151 and curve[0][0] == 1000 and curve[-1][0] == 2500
    assert curve[20][1] == pytest.approx(np.mean([score for _, score in games[20:120]]))
    assert learning.read_curve(curve, 1005) == curve[0][1] and np.isnan(learning.read_curve(curve, 999))
    assert learning.smooth(games[:99]) == []


def test_the_table_has_every_seed_and_a_verdict():
    def measured(score: float) -> dict:
        return {"curve": [(250, 1.0), (1000, score)], "agent_steps": 1000, "elapsed_s": 4.0}

    results = {"a2c": {"suite": [measured(s) for s in (400.0, 410.0)], "sb3": [measured(s) for s in (100.0, 104.0)]}}
    text = learning.describe(results, [1, 2], 1000)
    assert "| suite | 2 | 1.0 | 1.0 | 1.0 | 410.0 | 250 |" in text and "suite better than sb3" in text
    results["a2c"]["sb3"][0]["curve"] = []
    assert "no verdict" in learning.describe(results, [1, 2], 1000)


def test_what_is_done_is_kept(tmp_path, monkeypatch):
    trained = []

    def train(algo, seed, options):
        trained.append((algo, seed))
        if len(trained) == 3:
            raise KeyboardInterrupt
        return {"curve": []}

    monkeypatch.setattr(learning, "TRAIN", {"one": train})
    options = argparse.Namespace(algos=["a2c"], seeds=[1, 2, 3], agent_steps=10, threads=1)
    options.out = tmp_path
    with pytest.raises(KeyboardInterrupt):
        learning.train_all(options, {})
    learning.train_all(options, {})
    assert trained == [("a2c", 1), ("a2c", 2), ("a2c", 3), ("a2c", 3)]


@pytest.fixture
def parse(monkeypatch, tmp_path):
    """What the arguments come to, with Stable-Baselines3 at hand."""
    monkeypatch.setattr(learning.sb3_speed, "check_path", lambda parser, path: True)

    def parse(*words: str) -> argparse.Namespace:
        monkeypatch.setattr(sys, "argv", ["learning", f"--out={tmp_path}", *words])
        return learning.parse_arguments()

    return parse


@pytest.mark.parametrize(("words", "named"), [(["--seeds", "1", "2", "1"], "1 2 1"), (["--out", __file__], __file__)])
def test_a_seed_twice_and_a_file_for_a_folder_are_refused(words, named, parse, capsys):
    with pytest.raises(SystemExit) as end:
        parse(*words)
    assert end.value.code == 2 and named in capsys.readouterr().err.splitlines()[-1]


@pytest.mark.parametrize("other", ["--threads=3", "--vectorize=subproc"])
def test_agents_of_one_folder_are_trained_alike(other, parse, capsys):
    parse("--threads=2")
    assert parse("--threads=2").threads == 2
    with pytest.raises(SystemExit) as end:
        parse("--threads=2", other)
    last = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and [name for name in ("threads", "vectorize") if name in last] == [
        other[2:].split("=")[0]
    ]


def test_agents_that_were_trained_with_other_settings_are_not_taken_for_these(parse, monkeypatch, capsys):
    typed = learning.OURS["a2c"]
    monkeypatch.setitem(learning.OURS, "a2c", ("algo=a2c", "algo.horizon=5"))
    parse()
    monkeypatch.setitem(learning.OURS, "a2c", typed)
    with pytest.raises(SystemExit) as end:
        parse()
    last = capsys.readouterr().err.splitlines()[-1]
    assert end.value.code == 2 and "suite_settings" in last and "sb3_settings" not in last


def test_the_learner_of_stable_baselines3_takes_the_words_that_it_is_started_with(parse, monkeypatch):
    class Started(Exception):
        """Ends the test where the learner would begin."""

    def start(command, *rest):
        monkeypatch.setattr(sys, "argv", command[2:])
        monkeypatch.setattr(sb3_learner.sb3_speed, "is_installed", lambda path: True)
        monkeypatch.setattr(sb3_learner, "train", lambda *arguments: trained.append(arguments) or {"games": []})
        sb3_learner.main()
        raise Started

    trained, options = [], parse("--agent-steps=500", "--threads=2", "--vectorize=subproc", "--sb3-path=sb3")
    monkeypatch.setattr(learning, "run_process", start)
    with pytest.raises(Started):
        learning.train_theirs("ppo", 7, options)
    assert trained[0][:5] == ("ppo", 7, 500, 2, "subproc")
