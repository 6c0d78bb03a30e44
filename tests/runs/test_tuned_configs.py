"""Every tuned config: it builds, and a few seconds of it run."""

import json
from pathlib import Path

import pytest
import ray
from ray.rllib.core import DEFAULT_MODULE_ID

from cluster.plan import make_plan
from environments.games import make_games
from experiments.composition import list_options, list_tuned_configs
from runs.build import build_config
from runs.train import announce_run
from tests.runs.tiny_runs import directory_in, go, rows_of

NAMES = list_options("tuned_configs")
LECTURE = {  # what its slides say; each file's header has the way from RLlib's numbers to these
    "cartpole_a2c": {
        "algo.lr": 1e-3,
        "algo.lr_schedule": "constant",
        "algo.num_envs": 1,  # with the horizon: train_batch_size 20
        "algo.horizon": 20,
        "cluster.num_env_runners": 0,  # num_rollout_workers
        "stop.agent_steps": 50_000,
        "stop.episode_return": 200,
    },
    "cartpole_a3c": {
        "algo.gamma": 0.95,
        "algo.num_workers": 0,
        "stop.agent_steps": 20_000,
        "stop.episode_return": 150,
    },
    "pong_a3c": {
        "algo.num_workers": 16,
        "algo.num_envs": 16,  # one each
        "algo.horizon": 20,  # rollout_fragment_length
        "algo.vf_coeff": 0.5,
        "algo.entropy_coeff": 0.01,
        "algo.gamma": 0.99,
        "algo.max_grad_norm": 40 / 20,  # 40 on a sum over 20 steps; the loss is a mean here
        "algo.gae_lambda": 1.0,
        "algo.lr": 1e-4,
        "algo.lr_schedule": "constant",
        "model.torso": "cnn42",
        "model.activation": "elu",
        "model.zero_mean": False,
        "model.lstm_size": 256,  # RLlib's lstm_cell_size
        "env.dim": 42,
        "env.grayscale": True,
    },
    "pong_ppo": {
        "algo.gae_lambda": 0.95,
        "algo.kl_coeff": 0.5,
        "algo.clip": 0.1,
        "algo.clip_schedule": "constant",
        "algo.vf_clip": 10.0,
        "algo.entropy_coeff": 0.01,
        "algo.num_envs": 32 * 5,
        "algo.horizon": 2 * 20,  # for a batch of 5,000 RLlib plays two rounds of fragments: 2 x 20 x 160 = 6,400
        "algo.minibatch_size": 500,
        "algo.num_epochs": 10,
        "model.shared_trunk": True,  # vf_share_layers
        "env.dim": 42,
        "env.clip_rewards": True,
    },
}
OUR_MODEL = {  # the function OurModel on the slides, and compile(optimizer=RMSprop(lr=lr))
    "model.torso": "mlp",
    "model.hidden": [512],
    "model.activation": "elu",
    "model.init": "he_uniform",
    "model.shared_trunk": True,  # both heads on X
    "algo.optimizer": "rmsprop",
    "algo.lr_schedule": "constant",
    "algo.max_grad_norm": None,
    "algo.vf_coeff": 2.0,  # mse: a mean square without a half, which c1 stands before here
}
LECTURE |= {
    "cartpole_slides_a2c": OUR_MODEL | {"algo.entropy_coeff": 0.0, "algo.gae_lambda": 1.0},
    "cartpole_slides_a3c": OUR_MODEL | {"algo.entropy_coeff": 0.0, "algo.gae_lambda": 1.0, "algo.ship": "experience"},
    "cartpole_slides_ppo": OUR_MODEL
    | {
        "algo.clip": 0.2,  # LOSS_CLIPPING
        "algo.clip_schedule": "constant",
        "algo.entropy_coeff": 5e-3,  # ENTROPY_LOSS
        "algo.gae_lambda": 1.0,
        "algo.normalize_advantages": False,
        "algo.vf_clip": None,
        "algo.kl_coeff": 0.0,
    },
}


def test_the_lecture_and_the_homework_are_there():
    homework = {f"assault_{algo}{model}" for algo in ("pg", "a2c", "a3c", "ppo") for model in ("", "_lstm")}
    lecture = {"cartpole_a2c", "cartpole_a3c", "pong_a3c", "pong_ppo"}
    slides = {f"cartpole_slides_{algo}" for algo in ("a2c", "a3c", "ppo")}
    assert homework | lecture | slides | {"cartpole_dqn", "assault_dqn"} <= set(NAMES)


@pytest.mark.parametrize("name", LECTURE)
def test_the_lectures_numbers_are_the_lectures(name, compose):
    settings = compose([f"tuned_configs={name}"])
    for key, number in LECTURE[name].items():
        group, setting = key.split(".")
        assert settings[group][setting] == number, key


def test_the_one_for_gpus_fits_a_cluster_of_gpu_workers_too(compose):
    words = ("tuned_configs=assault_ppo_gpu", "cluster=gpu_workers", "output_dir=/shared", "algo.overlap=true")
    config = build_config(make_plan(compose(words)))
    assert (config.num_env_runners, config.num_envs_per_env_runner, config.num_learners) == (8, 8, 2)
    assert config.train_batch_size_per_learner == 4 * config.minibatch_size == 64 * 32


@pytest.mark.parametrize("name", NAMES)
def test_it_builds(name, compose, one_thread):
    settings = compose([f"tuned_configs={name}"])
    made_for = {"algo": settings["algo"]["name"], "env": settings["env"]["name"]}
    assert settings["made_for"] == made_for
    assert name in list_tuned_configs(**made_for)
    config = build_config(make_plan(settings))
    games = make_games(settings["env"], 1, 1)
    games.close()
    spaces = games.observation_space, games.action_space
    learner = config.build_learner(spaces={DEFAULT_MODULE_ID: spaces})
    assert sum(p.numel() for p in learner.module[DEFAULT_MODULE_ID].unwrapped().parameters()) > 0


def write_starts(run: Path, starts: list[dict]) -> None:
    """Write the run.json of a run with these starts."""
    (run / "run.json").write_text(json.dumps({"starts": starts}))


@pytest.mark.parametrize(("words", "told"), [(["env=cartpole"], True), (["tuned_configs=cartpole_ppo"], False)])
def test_a_run_without_one_is_told_which_there_are(words, told, compose, capsys, tmp_path):
    write_starts(tmp_path, [])
    announce_run(make_plan(compose(words)), tmp_path, {})
    assert ("tuned_configs=cartpole_ppo" in capsys.readouterr().out) is told


@pytest.mark.parametrize(
    ("dtype", "earlier", "warned"),
    [
        ("auto", ["bfloat16", "float32"], True),
        ("auto", ["bfloat16", "float32", "float32"], False),
        ("float32", ["bfloat16"], False),
    ],
)
def test_a_run_that_goes_on_in_another_dtype_says_so(dtype, earlier, warned, compose, capsys, tmp_path, monkeypatch):
    monkeypatch.setattr("cluster.plan.find_fastest_dtype", lambda: "float32")
    write_starts(tmp_path, [{"hardware": {"dtype": one}} for one in earlier])
    announce_run(make_plan(compose(["env=cartpole", f"model.dtype={dtype}"])), tmp_path, {})
    assert ("bfloat16 before" in capsys.readouterr().out) is warned


@pytest.mark.parametrize(("more", "warned"), [([], True), (["env.kwargs.max_episode_steps=9"], False)])
def test_games_without_a_time_limit_are_warned_of(more, warned, compose, capsys, tmp_path):
    write_starts(tmp_path, [])
    announce_run(make_plan(compose(["env=gymnasium", "env.id=Blackjack-v1", *more])), tmp_path, {})
    assert ("max_episode_steps" in capsys.readouterr().out) is warned


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, tmp_path):
    ray.shutdown()  # each run brings its own
    code, printed = go(f"tuned_configs={name}", "size=smoke", f"output_dir={tmp_path}")
    assert code == 0, printed
    assert rows_of(directory_in(printed))[-1]["agent_steps"] > 0


@pytest.mark.slow
@pytest.mark.usefixtures("shared_ray")
def test_a3c_in_processes_of_its_own_runs_and_resumes(tmp_path):
    words = ["algo=a3c", "env=cartpole", "algo.num_workers=2", "algo.num_envs=4", "cluster.num_env_runners=1"]
    code, printed = go(*words, "stop.agent_steps=1000", "report_every=300", f"output_dir={tmp_path}")
    assert code == 0, printed
    path = directory_in(printed)
    workers = (path / "workers.csv").read_text().splitlines()
    assert workers[0] == "agent_steps,worker,agent_steps_per_s,gradients,staleness"
    assert {line.split(",")[1] for line in workers[1:]} == {"0", "1"}
    code, printed = go(f"resume={path}", "stop.agent_steps=2000")
    assert code == 0, printed
    steps = [row["agent_steps"] for row in rows_of(path)]
    assert steps == sorted(set(steps)) and steps[-1] >= 2000
