"""Small worlds: environments whose scores are known, agents whose weights are, and run directories with such agents.

The conftest.py of a room whose tests play games imports the fixtures at the end of this file.
"""

import json
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml

from custom_models.actor_critic import ActorCritic
from environments.frames import layout_of
from environments.games import make_games
from run_directory.manifest import write_manifest
from run_directory.weights import write_weights

MLP = {
    "torso": "mlp",
    "hidden": [8],
    "activation": "tanh",
    "init": "orthogonal",
    "shared_trunk": True,
    "dtype": "float32",
}
ASSAULT = {
    "name": "assault",
    "game": "assault",
    "protocol": "classic",
    "frameskip": 4,
    "frame_stack": 4,
    "dim": 84,
    "grayscale": True,
    "sticky": 0.0,
    "full_action_space": False,
    "noop_max": 30,
    "fire_reset": True,
    "fire_on_life_loss": True,
    "life_loss": True,
    "clip_rewards": True,
    "max_episode_frames": 240,
}
NATURE = {"torso": "nature_cnn", "hidden": 32, "activation": "relu"}
MODULE = Path("learner_group", "learner", "rl_module", "default_policy")


class Scripted(gymnasium.Env):
    """Games whose length and score are known: env seeds that are even play long ones, odd ones short ones."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    length, reward = {0: 20, 1: 2}, {0: 2.5, 1: 0.5}  # scores 50 and 1

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.kind = seed % 2
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), self.reward[self.kind], self.t == self.length[self.kind], False, {}


class CountsActions(gymnasium.Env):
    """Ten steps; the reward is the action itself."""

    observation_space = gymnasium.spaces.Box(-1, 1, (1,), np.float32)
    action_space: gymnasium.Space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(1, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.zeros(1, np.float32), float(np.sum(action)), False, self.t == 10, {}


class SumsABox(CountsActions):
    """The same with actions between -0.5 and 2; it refuses all others."""

    action_space = gymnasium.spaces.Box(-0.5, 2.0, (1,), np.float32)

    def step(self, action):
        if action not in self.action_space:
            raise ValueError(f"{action} is outside of the box")
        return super().step(action)


class WithoutEnds(CountsActions):
    """The same with two numbers, of which the first may be any."""

    action_space = gymnasium.spaces.Box(np.array([-np.inf, -0.5], np.float32), np.array([np.inf, 0.5], np.float32))


WORLDS = {
    "Scripted-v0": Scripted,
    "CountsActions-v0": CountsActions,
    "SumsABox-v0": SumsABox,
    "WithoutEnds-v0": WithoutEnds,
}


def make_agent(env: dict, model: dict, seed: int, bias: list[float] | None) -> ActorCritic:
    """Random weights; with `bias`, a policy that is this bias whatever it sees."""
    games, layout = make_games(env, 1, 1), layout_of(env)
    pixels = {"pixels": layout._asdict() | {"block": layout.block}} if layout else {}
    torch.manual_seed(seed)
    agent = ActorCritic(
        observation_space=games.observation_space, action_space=games.action_space, model_config=model | pixels
    )
    games.close()
    if bias is not None:
        torch.nn.init.zeros_(agent.policy.weight)
        agent.policy.bias.data = torch.tensor(bias)
    return agent


@pytest.fixture(autouse=True)
def worlds():
    """The environments above are registered during a test."""
    for name, world in WORLDS.items():
        gymnasium.register(name, entry_point=world, max_episode_steps=100)
    yield
    for name in WORLDS:
        del gymnasium.registry[name]


@pytest.fixture(autouse=True)
def little(one_thread):
    """Small networks on a machine that others use too: threads would mostly wait for each other."""


def write_run(
    run: Path, env_id="CartPole-v1", *, seed=1, env=None, model=None, checkpoints=("last",), bias=None
) -> Path:
    """Write a run directory with an agent in it, as the suite and RLlib write it."""
    env = env or {"name": env_id, "id": env_id, "frameskip": 1, "clip_rewards": False}
    model = MLP | (model or {})
    run.mkdir(parents=True)
    settings = {"seed": seed, "algo": {"name": "ppo"}, "env": env, "model": model}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    for steps, checkpoint in enumerate(checkpoints, 1):
        agent = make_agent(env, model | {"dtype": "float32"}, seed, bias)
        agent.save_to_path(run / "checkpoints" / checkpoint / MODULE)
        progress = {"agent_steps": 1000 * steps, "env_frames": 4000 * steps}
        (run / "checkpoints" / checkpoint / "progress.json").write_text(json.dumps(progress))
        write_weights(run / "checkpoints" / checkpoint)
        write_manifest(run / "checkpoints" / checkpoint)
    return run


@pytest.fixture
def make_run(tmp_path):
    """A run directory with an agent in it, in the folder of a test."""
    return lambda *words, name="run", **changes: write_run(tmp_path / name, *words, **changes)
