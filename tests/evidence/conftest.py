"""Run directories with agents in them, and the environments they play."""

import json
from pathlib import Path

import gymnasium
import pytest
import yaml
from small_worlds import MLP, MODULE, WORLDS, make_agent

from run_directory.manifest import write_manifest
from run_directory.weights import write_weights


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


@pytest.fixture
def make_run(tmp_path):
    """A run directory with an agent in it, written as the suite and RLlib write it."""

    def make(
        env_id="CartPole-v1", *, name="run", seed=1, env=None, model=None, checkpoints=("last",), bias=None
    ) -> Path:
        run = tmp_path / name
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

    return make
