"""With an LSTM: what was remembered while acting is remembered while learning, and minibatches are whole sequences."""

import math

import numpy as np
import pytest
import torch
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from algorithms.learner import PROGRESS
from rollouts.rollout import Rollout, RolloutData

CARTPOLE = (
    "env=cartpole",
    "model=mlp_lstm",
    "model.hidden=[8]",
    "model.lstm_size=8",
    "algo.num_envs=4",
    "algo.horizon=64",
)
ASSAULT = ("env=assault", "model=cnn_lstm", "model.hidden=16", "model.lstm_size=8", "model.dtype=float32")
ASSAULT += ("algo.num_envs=2", "algo.horizon=60", "env.max_episode_frames=160")  # 40 agent steps: resets inside
RECORDED = ("actions", "logp")
PPO = ("algo=ppo", "algo.minibatch_size=64", "algo.num_epochs=2")


@pytest.mark.parametrize("world", [CARTPOLE, ASSAULT], ids=["cartpole", "assault"])
def test_learning_sees_the_policy_that_acted(world, make_runner, make_learner):
    """The ratio of PPO's first minibatch is 1 everywhere, across resets and from one rollout to the next."""
    overrides = (*PPO, *world)
    runner, learner = make_runner(*overrides), make_learner(*overrides)
    with torch.no_grad():
        learner.net.policy.weight *= 2000  # a policy that cares what it remembers
    runner.set_state({COMPONENT_RL_MODULE: learner.net.get_state(), WEIGHTS_SEQ_NO: 1})
    rollouts = [runner.sample() for _ in range(3)]
    assert any(r["game_reset"][:-1].any() for r in rollouts)
    assert rollouts[1]["memory"].any()
    for rollout in rollouts:
        policy, values, columns = learner.forward(learner.select_rows(learner.load([rollout]), RECORDED))
        logp = policy.logp(columns["actions"])
        assert logp.std() > 0.1
        torch.testing.assert_close(logp, columns["logp"], rtol=1e-4, atol=1e-4)
        played = torch.tensor(rollout["values"][:-1])[torch.tensor(rollout["valid"])]
        torch.testing.assert_close(values, played, rtol=1e-4, atol=1e-4)


def test_memory_matters_to_that_test(make_runner, make_learner):
    overrides = (*PPO, *CARTPOLE)
    runner, learner = make_runner(*overrides), make_learner(*overrides)
    with torch.no_grad():
        learner.net.policy.weight *= 2000
    runner.set_state({COMPONENT_RL_MODULE: learner.net.get_state(), WEIGHTS_SEQ_NO: 1})
    runner.sample()
    batch = learner.select_rows(learner.load([runner.sample()]), RECORDED)
    for name in ("memory", "starts"):
        policy, _, columns = learner.forward(batch | {name: torch.zeros_like(batch[name])})
        assert (policy.logp(columns["actions"]) - columns["logp"]).abs().max() > 1e-3, name


def test_the_memory_of_a_new_game_is_empty(make_runner):
    runner = make_runner(*PPO, *CARTPOLE)
    for _ in range(8):
        rollout = runner.sample()
        fresh = rollout["game_reset"][-1]
        for part in runner._state:
            assert (part[torch.from_numpy(fresh)] == 0).all() and part[torch.from_numpy(~fresh)].any()


def test_minibatches_are_whole_sequences(make_runner, make_learner):
    overrides = (*PPO, *CARTPOLE)
    runner, learner = make_runner(*overrides), make_learner(*overrides)
    batch = learner.load([runner.sample()])
    pieces = list(learner.iterate_minibatches(batch, RECORDED, math.ceil(int(batch["valid"].sum()) / 4), 1))
    assert [tuple(p["obs"].shape) for p in pieces] == [(64, 1, 4)] * 4
    assert all(p["memory"].shape == (2, 1, 8) for p in pieces)
    seen = torch.cat([p["obs"] for p in pieces], 1)
    order = [next(n for n in range(4) if torch.equal(seen[:, i], batch["obs"][:, n])) for i in range(4)]
    assert sorted(order) == [0, 1, 2, 3]
    for i, n in enumerate(order):
        for name in ("actions", "logp", "memory", "starts", "valid"):
            assert torch.equal(torch.cat([p[name] for p in pieces], 1)[:, i], batch[name][:, n]), name


def test_junk_in_rows_that_are_not_valid_changes_nothing(make_runner, make_learner):
    overrides = ("algo=a2c", *CARTPOLE)
    rollout = make_runner(*overrides).sample()
    assert not rollout["valid"].all()
    weights = []
    for junk in (False, True):
        arrays = {name: array.copy() for name, array in rollout.arrays.items()}
        if junk:
            arrays["rewards"][~rollout["valid"]] = 1e6
            arrays["actions"][~rollout["valid"]] = 1
        learner = make_learner(*overrides)
        learner.update(training_data=RolloutData([Rollout(arrays, [], [], 0)]), timesteps={PROGRESS: 0.0})
        weights.append([p.detach().clone() for p in learner.net.parameters()])
    assert all(map(torch.equal, *weights))


@pytest.mark.parametrize("algo", ["pg", "a2c", "a3c", "ppo"])
@pytest.mark.parametrize("env", ["cartpole", "pendulum"])
@pytest.mark.parametrize("model", ["mlp", "mlp_lstm"])
def test_every_algorithm_learns_from_what_it_played(algo, env, model, make_runner, make_learner):
    """With a memory and without, actions that are chosen and actions that are numbers."""
    sizes = {
        "pg": ("algo.num_envs=2", "algo.episodes_per_update=2"),
        "ppo": ("algo.num_envs=2", "algo.minibatch_size=128"),
    }
    overrides = (f"algo={algo}", f"env={env}", f"model={model}", *sizes.get(algo, ("algo.num_envs=2",)))
    overrides += ("algo.num_workers=0",) if algo == "a3c" else ()
    learner = make_learner(*overrides)
    rollout = make_runner(*overrides).sample()
    before = {name: p.detach().clone() for name, p in learner.net.named_parameters()}
    learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    moved = {name for name, p in learner.net.named_parameters() if not torch.equal(p, before[name])}
    criticless = {name for name in before if name.startswith("value")} if algo == "pg" else set()
    assert moved == before.keys() - criticless
    assert np.isfinite([p.detach().sum().item() for p in learner.net.parameters()]).all()
