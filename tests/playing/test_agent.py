"""An agent of a run that still trains: its checkpoint may be replaced at any moment."""

import json
import shutil

import numpy as np
import pytest

from environments.games import Games
from evidence.evaluate import evaluate
from playing.agent import Agent
from run_directory.layout import PROGRESS_JSON
from run_directory.manifest import write_manifest


@pytest.fixture
def trained(make_run):
    """A run whose checkpoint `last` can be replaced by a newer one, as a training does."""
    run = make_run("Scripted-v0", bias=[0.0, 0.0])
    newer = make_run("Scripted-v0", bias=[1.0, 0.0], name="newer") / "checkpoints" / "last"
    (newer / PROGRESS_JSON).write_text(json.dumps({"agent_steps": 2000, "env_frames": 2000}))
    write_manifest(newer)

    def replace():
        if newer.exists():
            shutil.rmtree(run / "checkpoints" / "last")
            newer.rename(run / "checkpoints" / "last")

    return run, replace


def load_agent(run):
    agent = Agent(run, run / "checkpoints" / "last")
    games = agent.open_games(1)
    bias = agent.load_network(games).policy.bias.detach().numpy()
    games.close()
    return agent.totals["agent_steps"], bias


@pytest.mark.parametrize("moment", ["weights", "totals"])
def test_weights_and_agent_steps_are_of_one_checkpoint_if_it_is_replaced_while_it_is_read(moment, trained, monkeypatch):
    from playing import agent as module

    (run, replace), name = trained, "read_weights" if moment == "weights" else "read_totals"
    read = getattr(module, name)

    def read_late(checkpoint):
        found = read(checkpoint)
        replace()
        return found

    monkeypatch.setattr(module, name, read_late)
    steps, bias = load_agent(run)
    assert steps == 2000 and np.allclose(bias, [1, 0])


def test_an_evaluation_names_the_agent_steps_of_the_weights_that_played(trained, monkeypatch):
    run, replace = trained
    step = Games.step

    def play(games, actions):
        replace()
        return step(games, actions)

    for kind in Games.__subclasses__():
        step = kind.step
        monkeypatch.setattr(kind, "step", play)
    assert evaluate(run, 2, ways=["greedy"])["agent_steps"] == 1000
