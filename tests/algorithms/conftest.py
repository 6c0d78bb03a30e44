"""Small worlds for learners: random Rollouts whose every column is known; and whole algorithms."""

import numpy as np
import pytest
import torch

from cluster.plan import make_plan
from rollouts.rollout import Rollout
from runs.build import build_config

SMALL = (
    "env=cartpole",
    "model.hidden=[8]",
    "algo.num_envs=4",
    "algo.horizon=16",
    "algo.minibatch_size=32",
)


@pytest.fixture
def small():
    """Overrides: 4 envs, 16 steps, a tiny network."""
    return SMALL


@pytest.fixture
def make_rollout():
    """A random Rollout [16, 4] of CartPole's shapes; keywords replace columns."""

    def make(seed: int = 0, steps: int = 16, envs: int = 4, **columns) -> Rollout:
        rng = np.random.default_rng(seed)
        ends = rng.random((2, steps, envs)) < 0.1
        arrays = {
            "obs": rng.normal(size=(steps + 1, envs, 4)),
            "actions": rng.integers(0, 2, (steps, envs)),
            "logp": np.log(rng.uniform(0.3, 0.7, (steps, envs))),
            "rewards": rng.normal(size=(steps, envs)),
            "values": rng.normal(size=(steps + 1, envs)),
            "final_values": np.where(ends[1], rng.normal(size=(steps, envs)), 0),
            "terminated": ends[0],
            "truncated": ends[1],
            "game_reset": ends.any(0),
            "valid": np.ones((steps, envs), bool),
        }
        arrays |= columns
        arrays = {n: a.astype(np.float32) if a.dtype == np.float64 else a.copy() for n, a in arrays.items()}
        return Rollout(arrays, [], [], 0)

    return make


@pytest.fixture
def make_algorithm(compose):
    """Overrides -> a built Algorithm, stopped after the test; one that has remote parts needs `shared_ray`."""
    made = []

    def make(*overrides: str):
        made.append(build_config(make_plan(compose(overrides))).build_algo())
        torch.set_num_threads(1)
        return made[-1]

    yield make
    for algorithm in made:
        algorithm.stop()
