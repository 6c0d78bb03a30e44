"""One model of throughput: what an update takes on a cluster, and what follows for larger ones.

    play, all runners at once -> rollouts to the learners -> learn -> weights to the nodes -> the next update

`benchmarks/scaling.py` measures what it takes and checks it against runs; docs/scaling.md says what it says.
"""

import statistics
from collections.abc import Mapping
from typing import NamedTuple

import run
from cluster.dry_run import count_rollout_bytes, count_weight_bytes
from cluster.plan import make_plan
from runs.build import build_config


class Shape(NamedTuple):
    """The sizes of a run, and where its processes are."""

    runners: int  # R
    envs: int  # N, of all runners
    horizon: int  # T
    away: float = 0.0  # share of the runners that play on another host than their learner is on
    nodes: int = 0  # hosts with env runners, but the training process's
    learners: int = 1  # L, side by side
    minibatches: int = 0  # per update, over all epochs: as often do several learners add up their gradients


class Costs(NamedTuple):
    """The seconds and bytes of the parts of an update."""

    act_s: float  # of an env runner per step of all its envs, without them
    env_s: float  # of an env runner per step of one env
    learn_s: float  # of one learner that is alone, per update
    round_s: float  # per update, whatever its size: calls, answers, the row
    runner_s: float  # per update and env runner
    rollout_bytes: float  # B, per agent step
    weight_bytes: float  # G
    network: float  # W, bytes/s through one host's interface


def compute_terms(shape: Shape, costs: Costs) -> dict[str, float]:
    """Return the seconds of one update of PPO or A2C, divided into playing, learning and what is sent.

    Nothing overlaps: RLlib waits for the last rollout before it learns, and the next one begins with the new weights.
    """
    network, learners = costs.network, shape.learners
    steps = shape.envs * shape.horizon  # agent steps per update
    passed_on = 2 * costs.weight_bytes * (1 - 1 / learners)  # in and out of each learner, where gradients go in a ring
    return {
        "play": shape.horizon * (costs.act_s + shape.envs / shape.runners * costs.env_s),
        "rollouts": shape.away * steps * costs.rollout_bytes / learners / network,
        "learn": costs.learn_s / learners,
        "gradients": shape.minibatches * passed_on / network,
        "weights": shape.nodes * costs.weight_bytes / network,
        "calls": costs.round_s + shape.runners * costs.runner_s,
    }


def predict_speed(shape: Shape, costs: Costs) -> float:
    """Return the agent steps per second that the model predicts."""
    return shape.envs * shape.horizon / sum(compute_terms(shape, costs).values())


# Larger ones ----------------------------------------------------------------------------------------------------------

WORKERS = (8, 64, 512)
Plan = tuple[int, int, int]  # env runners per worker, envs of each, horizon
USUAL: Plan = (4, 8, 128)
MOVED: list[Plan] = [(1, 32, 128), (4, 8, 512)]  # fewer processes for as many envs; longer rollouts
GBIT = (4, 10, 25, 100)  # 4 is what Ray's object store moved between hosts here; that it fills more is assumed
GPU_S = 20e-6  # assumed: of a GPU, seconds of learning per agent step, four epochs of nature_cnn together
MINIBATCHES = 16  # per update: four epochs of four, as 1024 agent steps in minibatches of 256 have


def predict_large(
    found: Mapping[str, list[float]], workers: int, learners: int, gbit: float, plan: Plan = USUAL
) -> dict:
    """Return what the model predicts for so many GPU workers, each a node with a GPU and env runners that play Assault.

    Args:
        found: what `summarize` of benchmarks/scaling.py returns.
        learners: 1, in the training process on a node of its own; or as many as workers, each on its worker's GPU.
    """
    act_s, env_s, runner_s, round_s = (
        statistics.median(found[name])
        for name in (
            "env runner alone, Assault: us per step",
            "and per env of Assault",
            "of which the training process computes",
            "calls, ms per update",
        )
    )
    each, envs_each, horizon = plan
    runners = workers * each
    envs = runners * envs_each
    config = build_config(make_plan(run.read_experiment(["env=assault", f"algo.horizon={horizon}"])[0]))
    costs = Costs(
        act_s=act_s / 1e6,
        env_s=env_s / 1e6,
        learn_s=GPU_S * envs * horizon,
        round_s=round_s / 1e3,
        runner_s=runner_s / 1e3,
        rollout_bytes=float(count_rollout_bytes(config)),
        weight_bytes=float(count_weight_bytes(config)),
        network=gbit * 1e9 / 8,
    )
    # Ray deals rollouts out without asking where they lie: with L learners one of L is on its learner's node.
    shape = Shape(runners, envs, horizon, 1.0 if learners == 1 else 1 - 1 / learners, workers, learners, MINIBATCHES)
    parts = compute_terms(shape, costs)
    total = sum(parts.values())
    row = {"gpu_workers": workers, "learners": learners, "gbit_per_s": gbit, "env_runners": runners, "envs": envs}
    row |= {"horizon": horizon, "agent_steps_per_s": round(predict_speed(shape, costs)), "update_s": round(total, 3)}
    row |= {f"{name}_share": round(value / total, 3) for name, value in parts.items()}
    return row | {"learner_store_gb": round(envs * horizon * costs.rollout_bytes / learners / 1e9, 2)}


def list_predictions(found: Mapping[str, list[float]]) -> list[dict]:
    """Return a row for each number of workers, number of learners and network speed, then for each plan in MOVED."""
    usual = [predict_large(found, w, learners, gbit) for w in WORKERS for learners in (1, w) for gbit in GBIT]
    return usual + [predict_large(found, w, w, 25, plan) for w in WORKERS for plan in MOVED]


def format_markdown(rows: list[dict]) -> str:
    """Return rows as a Markdown table."""
    cells = [[str(x) if not isinstance(x, float) else f"{x:g}" for x in row.values()] for row in rows]
    head = [list(rows[0]), ["---:"] * len(rows[0])]
    return "\n".join("| " + " | ".join(row) + " |" for row in [*head, *cells])
