"""The model of throughput: numbers by hand, and where it saturates."""

import json
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

import run
from benchmarks import scaling, workers
from benchmarks.rounds import ROOT
from benchmarks.scaling import Line
from benchmarks.scaling_model import Costs, Shape, compute_terms, list_predictions, predict_speed

# Two env runners of three envs, ten steps: 60 agent steps per update.
SHAPE = Shape(runners=2, envs=6, horizon=10, away=0.5, nodes=1, minibatches=4)
COSTS = Costs(
    act_s=0.01,
    env_s=0.02,
    learn_s=0.6,
    round_s=0.1,
    runner_s=0.05,
    rollout_bytes=100.0,
    weight_bytes=5000.0,
    network=1e4,
)


def test_an_update_by_hand():
    parts = {"play": 0.7, "rollouts": 0.3, "learn": 0.6, "gradients": 0, "weights": 0.5, "calls": 0.2}
    assert compute_terms(SHAPE, COSTS) == pytest.approx(parts)
    assert predict_speed(SHAPE, COSTS) == pytest.approx(60 / 2.3)


def test_two_learners_share_work_and_rollouts_and_pass_gradients_on():
    parts = compute_terms(SHAPE._replace(learners=2), COSTS)
    assert parts["learn"] == pytest.approx(0.3) and parts["rollouts"] == pytest.approx(0.15)
    assert parts["gradients"] == pytest.approx(4 * 2 * 5000 / 2 / 1e4)  # half of the weights out and in, four times


def test_ever_more_env_runners_saturate_the_network_of_one_learner():
    many = SHAPE._replace(runners=10**6, envs=10**6 * 3, away=1.0)
    free = COSTS._replace(learn_s=0.0, runner_s=0.0)
    assert predict_speed(many, free) == pytest.approx(1e4 / 100.0, rel=1e-3)


def test_a_line_goes_through_its_points():
    assert Line.fit([1, 2, 4], [3.0, 5.0, 9.0]) == pytest.approx((1.0, 2.0))


@pytest.mark.end_to_end
def test_the_tables_of_larger_clusters_are_what_the_model_says_of_what_was_measured():
    measured = json.loads(Path(ROOT, "results/2026-11-25_scaling/scaling.json").read_text())["summary"]
    rows, text = list_predictions(measured), Path(ROOT, "docs/scaling.md").read_text()
    assert {row["gpu_workers"] for row in rows} == {8, 64, 512}
    usual = [row for row in rows if row["horizon"] == 128 and row["env_runners"] == 4 * row["gpu_workers"]]
    for i in range(0, len(usual), 4):  # a line for each number of workers and learners, by the network's speed
        workers, learners = usual[i]["gpu_workers"], usual[i]["learners"]
        speeds = " | ".join(f"{row['agent_steps_per_s']:,}" for row in usual[i : i + 4])
        assert f"| {workers} | {learners} | {speeds} |" in text
    moved = [f"{row['agent_steps_per_s']:,}" for row in rows if row not in usual and row["gpu_workers"] == 512]
    assert len(moved) == 2 and all(speed in text for speed in moved)


@pytest.mark.parametrize("game", [workers.GAME, scaling.SLOW, scaling.WIDE])
def test_the_slow_games_of_the_benchmarks_make_experiments(game):
    assert run.read_experiment(list(game))[0]["env"]["id"].startswith("benchmarks.slow_games:")
