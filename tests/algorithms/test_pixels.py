"""On pixels: every algorithm and every torso learn, with an LSTM behind it and without."""

import numpy as np
import pytest
import torch

from algorithms.learner import PROGRESS
from environments.frames import layout_of
from rollouts.rollout import Rollout, RolloutData, list_columns

T, N, H = 4, 2, 8  # agent steps, envs, LSTM cells
ALGOS = {
    "pg": ("algo.episodes_per_update=2",),
    "a2c": ("algo.horizon=4",),
    "a3c": ("algo.horizon=4", "algo.num_workers=0"),
    "ppo": ("algo.horizon=4", "algo.minibatch_size=8"),
}
TORSOS = {  # the network, and the picture it was made for
    "nature_cnn": ("model.hidden=16", "env.dim=84"),
    "a3c_cnn": ("model.hidden=16", "env.dim=84"),
    "cnn42": ("env.dim=42",),
    "rllib42": ("model.hidden=16", "env.dim=42"),
    "minigrid_cnn": ("model.hidden=16", "env.dim=8"),
    "impala": ("model.hidden=16", "env.dim=84"),
    "dense512": ("model.hidden=[16]", "env.dim=42"),
}


def random_rollout(learner, memory_size: int) -> Rollout:
    """Noise to look at and to be rewarded for; a game ends in the middle, and all end with the rollout."""
    rng, net, layout = np.random.default_rng(0), learner.net, layout_of(learner.config.env_config)
    table = list_columns(T, N, net.observation_space, net.action_space, layout, 0, memory_size)
    arrays = {name: np.zeros(shape, dtype) for name, (shape, dtype) in table.items()}
    arrays["frames"] = rng.integers(0, 256, arrays["frames"].shape, np.uint8)
    arrays["actions"] = rng.integers(0, net.action_space.n, (T, N))
    arrays["rewards"] = rng.normal(size=(T, N)).astype(np.float32)
    arrays["logp"] = np.full((T, N), -np.log(net.action_space.n), np.float32)
    arrays["terminated"][1, 0] = arrays["game_reset"][1, 0] = True
    arrays["terminated"][-1] = arrays["game_reset"][-1] = arrays["valid"][:] = True
    return Rollout(arrays, [], [], 0)


# A torso and an algorithm meet in the features alone: each pair of torso and memory, and of algorithm and memory.
CASES = [(algo, torso, 0) for algo, torso in zip(["pg", "a2c", "a3c", "ppo", "pg", "a2c", "ppo"], TORSOS, strict=True)]
CASES += [
    (algo, torso, H) for algo, torso in zip(["a3c", "ppo", "pg", "a2c", "a3c", "ppo", "a3c"], TORSOS, strict=True)
]


@pytest.mark.parametrize(("algo", "torso", "memory_size"), CASES)
def test_algorithms_learn_through_torsos(algo, torso, memory_size, make_learner):
    overrides = (f"algo={algo}", f"algo.num_envs={N}", *ALGOS[algo], "env=assault", f"model={torso}", *TORSOS[torso])
    learner = make_learner(*overrides, f"model.lstm_size={memory_size or 'null'}", "model.dtype=float32")
    rollout = random_rollout(learner, memory_size)
    before = {name: p.detach().clone() for name, p in learner.net.named_parameters()}
    if algo == "a3c":
        report = learner.apply_gradient(learner.compute_gradient(rollout, 0.0), 0.0)
    else:
        report = learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    stayed = {name for name, p in learner.net.named_parameters() if torch.equal(p, before[name])}
    assert stayed == ({"value.weight", "value.bias"} if algo == "pg" else set())  # PG has no critic
    assert all(p.isfinite().all() for p in learner.net.parameters())
    assert np.isfinite(list(report.values())).all()
