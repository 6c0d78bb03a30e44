"""The end of a grid: what is evaluated, what is written, and what is left as it is."""

import json
import os

import numpy as np
import pytest

from grids.commands import is_to_be_shown, show_grid
from run_directory.layout import checkpoint_path, evaluation_path
from run_directory.milestones import write_milestone
from settings.mistakes import Mistake
from tests.comparisons.made_up_runs import write_run

EVALUATED = {"evaluate": True, "page": False, "episodes": 30}
SHOWN = {"evaluate": False, "page": True, "episodes": 30}


def write_checkpoint(run, agent_steps: int) -> None:
    """A checkpoint that can be played."""
    write_milestone(run, "best", {"w": np.zeros(1, np.float32)}, {"agent_steps": agent_steps})


@pytest.fixture
def arm(tmp_path):
    """An arm with one seed and a checkpoint."""
    run = write_run(tmp_path / "arm", [1.0])
    write_checkpoint(run, 1000)
    return run


def write_evaluation(run, agent_steps: int, words: str = "best") -> None:
    evaluation_path(run, words).write_text(json.dumps({"agent_steps": agent_steps}))


def test_an_arm_is_evaluated_once_and_again_for_another_checkpoint(arm):
    assert is_to_be_shown(arm, EVALUATED)
    write_evaluation(arm, 500)  # of the best checkpoint before this one
    assert is_to_be_shown(arm, EVALUATED)
    write_evaluation(arm, 1000)
    assert not is_to_be_shown(arm, EVALUATED)
    write_checkpoint(arm, 2000)  # the grid was typed again with more agent steps
    assert is_to_be_shown(arm, EVALUATED)


def test_an_evaluation_of_something_else_is_not_this_one(arm):
    write_evaluation(arm, 1000, "last")
    write_evaluation(arm, 1000, "best_sticky_0.25")
    write_evaluation(arm, 1000, "best_5_games")
    assert is_to_be_shown(arm, EVALUATED)
    assert not is_to_be_shown(arm, EVALUATED | {"episodes": 5})
    evaluation_path(arm, "best").write_text("{")
    assert is_to_be_shown(arm, EVALUATED)


def test_a_page_is_written_once_for_each_checkpoint(arm):
    assert is_to_be_shown(arm, SHOWN)
    (arm / "page.html").write_text("")
    assert not is_to_be_shown(arm, SHOWN)
    later = (arm / "page.html").stat().st_mtime + 10
    os.utime(checkpoint_path(arm, "best") / "progress.json", (later, later))
    assert is_to_be_shown(arm, SHOWN)


def test_an_arm_without_a_checkpoint_or_of_which_nothing_is_asked_is_not_shown(arm, tmp_path):
    assert not is_to_be_shown(write_run(tmp_path / "new", [1.0]), EVALUATED | SHOWN)
    assert not is_to_be_shown(arm, {"evaluate": False, "page": False})


def test_an_arm_that_cannot_be_shown_leaves_the_others(tmp_path, monkeypatch, capsys):
    shown = []

    def show(run, settings):
        if run.name == "a":
            raise Mistake("its checkpoint is damaged")
        shown.append(run.name)
        return 0

    class Arm:
        settings = EVALUATED

        def __init__(self, name):
            self.name = name

    monkeypatch.setattr("pages.commands.show_training", show)
    monkeypatch.setattr("grids.commands.is_to_be_shown", lambda *_: True)
    monkeypatch.setattr("grids.commands.compare", lambda *_: 0)
    assert show_grid(tmp_path, [Arm("a"), Arm("b")]) == 1 and shown == ["b"]
    assert "a: its checkpoint is damaged" in capsys.readouterr().out
