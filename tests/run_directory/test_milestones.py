"""Milestones: each is taken once, is whole or not there, can be played with, and resumes nothing."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from run_directory import milestones
from run_directory.checkpoints import find_checkpoint, find_newest_checkpoint, list_checkpoints, read_totals
from run_directory.layout import MILESTONES
from run_directory.manifest import find_damage
from run_directory.milestones import (
    MilestoneWriter,
    list_passed_milestones,
    list_weights_to_evaluate,
    write_milestone,
)
from run_directory.weights import read_weights
from settings.mistakes import Mistake

NO_ROOM = OSError(errno.ENOSPC, "No space left on device")


def steps_in(run: Path) -> dict[str, int]:
    """Name -> agent steps of the milestones that are there, all of which have to be whole."""
    there = list((run / "checkpoints").glob("milestone_*"))
    assert [find_damage(path) for path in there] == [None] * len(there)
    return {path.name: read_totals(path)["agent_steps"] for path in there}


def put(run: Path, name: str, agent_steps: int = 0, value: float = 0.0) -> Path:
    weights = {"w": np.full((30, 20), value, np.float32).T}  # not contiguous, as some parameters are
    write_milestone(run, name, weights, {"agent_steps": agent_steps})
    return run / "checkpoints" / name


# Which ones, and what is written.


@pytest.mark.parametrize(
    ("before", "now", "passed"),
    [
        (-1, 0, [0]),
        (0, 9, []),
        (0, 10, [1]),
        (10, 29, []),
        (29, 31, [3]),
        (10, 300, [3, 10, 30]),
        (999, 1024, [100]),
        (1000, 1024, []),
        (0, 4096, [1, 3, 10, 30, 100]),
    ],
)
def test_a_milestone_is_passed_by_the_row_that_reaches_its_percentage(before, now, passed):
    assert list_passed_milestones(before, now, budget=1000) == [f"milestone_{percentage}" for percentage in passed]


def test_what_is_written_are_the_weights_and_nothing_that_is_a_pickle(tmp_path):
    path = put(tmp_path, "milestone_3", 30, value=2.5)
    assert sorted(file.name for file in path.iterdir()) == ["manifest.json", "progress.json", "weights.safetensors"]
    assert find_damage(path) is None and read_totals(path) == {"agent_steps": 30}
    weights = read_weights(path)["w"]
    assert weights.dtype == np.float32 and weights.shape == (20, 30) and (weights == 2.5).all()


def test_a_milestone_that_is_taken_again_replaces_the_former_one(tmp_path):
    put(tmp_path, "milestone_3", 30, value=1.0)
    (tmp_path / "checkpoints" / ".milestone_3.new").mkdir()  # of a process that was killed meanwhile
    (tmp_path / "checkpoints" / ".milestone_3.new" / "progress.json").write_text("torn")
    path = put(tmp_path, "milestone_3", 33, value=2.0)
    assert read_totals(path)["agent_steps"] == 33 and (read_weights(path)["w"] == 2.0).all()
    assert os.listdir(tmp_path / "checkpoints") == ["milestone_3"]


def test_a_full_disk_leaves_the_former_milestone_and_no_half_of_the_new_one(tmp_path, monkeypatch):
    def fills_up(folder: Path) -> None:
        raise NO_ROOM

    put(tmp_path, "milestone_3", 30)
    monkeypatch.setattr(milestones, "write_manifest", fills_up)
    with pytest.raises(OSError, match="No space left"):
        put(tmp_path, "milestone_3", 33)
    assert os.listdir(tmp_path / "checkpoints") == ["milestone_3"]
    assert steps_in(tmp_path) == {"milestone_3": 30}


@pytest.mark.parametrize(
    ("agent_steps", "budget", "left"),
    [
        (0, 1000, [0]),  # a process that was killed before the first checkpoint
        (150, 1000, [0, 1, 3, 10]),
        (1000, 1000, [0, 1, 3, 10, 30, 100]),
        (1000, 10_000, [0, 1, 3, 10]),  # a budget that was raised
    ],
)
def test_a_run_that_goes_on_has_no_milestones_that_it_has_yet_to_pass(agent_steps, budget, left, tmp_path):
    for name in MILESTONES:
        put(tmp_path, name)
    MilestoneWriter(tmp_path, budget).drop_milestones_ahead(agent_steps)
    assert set(steps_in(tmp_path)) == {f"milestone_{percentage}" for percentage in left}


# Who reads them.


def test_a_milestone_is_found_by_its_name_and_never_without_one(tmp_path):
    path = put(tmp_path, "milestone_10")
    assert find_checkpoint(tmp_path, "milestone_10") == path
    with pytest.raises(Mistake, match="no checkpoint yet"):
        find_checkpoint(tmp_path, None)
    with pytest.raises(Mistake, match=r"checkpoint=milestone_30: .* only milestone_10;"):
        find_checkpoint(tmp_path, "milestone_30")


def test_a_folder_where_one_stands_does_not_hide_a_milestone(tmp_path, monkeypatch):
    path = put(tmp_path, "milestone_10")
    (tmp_path / "milestone_10").mkdir()
    monkeypatch.chdir(tmp_path)
    assert find_checkpoint(tmp_path, "milestone_10") == path


def test_no_run_continues_from_a_milestone(tmp_path):
    put(tmp_path, "milestone_10")
    assert list_checkpoints(tmp_path) == []
    with pytest.raises(Mistake, match=f"resume={tmp_path}: no checkpoint"):
        find_newest_checkpoint(tmp_path)


# Weights that an evaluation waits for.


@pytest.mark.parametrize(
    ("before", "now", "due"),
    [(-1, 0, []), (0, 999, []), (0, 1000, [1000]), (999, 1024, [1024]), (1024, 1999, []), (1024, 4096, [4096])],
)
def test_weights_are_kept_for_an_evaluation_by_the_row_that_passes_a_multiple_and_once_for_several(
    before, now, due, tmp_path
):
    writer = MilestoneWriter(tmp_path, None, evaluate_every=1000)
    assert writer.list_due_milestones(before, now) == [f"evaluate_{steps}" for steps in due]
    assert MilestoneWriter(None, 1000, 1000).list_due_milestones(-1, 1000) == []
    assert MilestoneWriter(tmp_path, None).list_due_milestones(-1, 1000) == []


def test_weights_that_wait_are_found_in_order_and_dropped_beyond_a_checkpoint(tmp_path):
    for steps in (10_000, 9_000, 2_000):
        put(tmp_path, f"evaluate_{steps}", steps)
    (tmp_path / "checkpoints" / "evaluate_mine").mkdir()
    assert list(list_weights_to_evaluate(tmp_path)) == [2_000, 9_000, 10_000]
    assert find_damage(list_weights_to_evaluate(tmp_path)[9_000]) is None
    MilestoneWriter(tmp_path, None).drop_milestones_ahead(9_000)
    assert list(list_weights_to_evaluate(tmp_path)) == [2_000, 9_000]
    assert list_checkpoints(tmp_path) == [], "nothing continues from them"
