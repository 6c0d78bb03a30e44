"""Every tuned config: it builds, and a few seconds of it run."""

import pytest
import ray
from ray.rllib.core import DEFAULT_MODULE_ID
from tiny_runs import directory_in, go, rows_of

import run
from environments.games import make_games
from runs.build import build

NAMES = run.options("tuned_configs")


def test_the_lecture_and_the_homework_are_there():
    homework = {f"assault_{algo}{model}" for algo in ("pg", "a2c", "a3c", "ppo") for model in ("", "_lstm")}
    lecture = {"cartpole_a2c", "cartpole_a3c", "pong_a3c", "pong_ppo"}
    slides = {f"cartpole_slides_{algo}" for algo in ("a2c", "a3c", "ppo")}
    assert homework | lecture | slides | {"cartpole_dqn", "assault_dqn"} <= set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_it_builds(name, compose, one_thread):
    settings = compose([f"tuned_configs={name}"])
    assert settings["made_for"] == {"algo": settings["algo"]["name"], "env": settings["env"]["name"]}
    config = build(settings)
    games = make_games(settings["env"], 1, 1)
    games.close()
    spaces = games.observation_space, games.action_space
    learner = config.build_learner(spaces={DEFAULT_MODULE_ID: spaces})
    assert sum(p.numel() for p in learner.module[DEFAULT_MODULE_ID].unwrapped().parameters()) > 0


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("name", NAMES)
def test_it_runs(name, tmp_path):
    ray.shutdown()  # each run brings its own
    code, printed = go(f"tuned_configs={name}", "size=smoke", f"output_dir={tmp_path}")
    assert code == 0, printed
    assert rows_of(directory_in(printed))[-1]["agent_steps"] > 0


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
