"""Milestones: what a run keeps of how it learned can be played with, is whole or says so, and resumes nothing."""

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest
from tiny_runs import TINY, go, rows_of

from algorithms import experiment, milestones
from algorithms.milestones import MILESTONES, drop_milestones_ahead, milestones_between, write_milestone
from evidence.run_directory import find_checkpoint
from evidence.weights import read_weights
from runs.checkpoints import damage, names, newest_whole, progress_of
from settings.mistakes import Mistake

NO_ROOM = OSError(errno.ENOSPC, "No space left on device")
A3C = ["algo=a3c", "env=cartpole", "algo.num_workers=0", "algo.num_envs=4", "algo.horizon=64", "cluster.cpus=1"]
A3C += ["report_every=200"]


def steps_in(run: Path) -> dict[str, int]:
    """Name -> agent steps of the milestones that are there, all of which have to be whole."""
    there = list((run / "checkpoints").glob("milestone_*"))
    assert [damage(path) for path in there] == [None] * len(there)
    return {path.name: progress_of(path)["agent_steps"] for path in there}


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
    assert milestones_between(before, now, budget=1000) == [f"milestone_{percentage}" for percentage in passed]


def test_what_is_written_are_the_weights_and_nothing_that_is_a_pickle(tmp_path):
    path = put(tmp_path, "milestone_3", 30, value=2.5)
    assert sorted(file.name for file in path.iterdir()) == ["manifest.json", "progress.json", "weights.safetensors"]
    assert damage(path) is None and progress_of(path) == {"agent_steps": 30}
    weights = read_weights(path)["w"]
    assert weights.dtype == np.float32 and weights.shape == (20, 30) and (weights == 2.5).all()


def test_a_milestone_that_is_taken_again_replaces_the_former_one(tmp_path):
    put(tmp_path, "milestone_3", 30, value=1.0)
    (tmp_path / "checkpoints" / ".milestone_3.new").mkdir()  # of a process that was killed meanwhile
    (tmp_path / "checkpoints" / ".milestone_3.new" / "progress.json").write_text("torn")
    path = put(tmp_path, "milestone_3", 33, value=2.0)
    assert progress_of(path)["agent_steps"] == 33 and (read_weights(path)["w"] == 2.0).all()
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
    drop_milestones_ahead(tmp_path, agent_steps, budget)
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
    assert names(tmp_path) == []
    with pytest.raises(Mistake, match="no checkpoint to continue from"):
        newest_whole(tmp_path)


# Of a run.


def test_a_run_keeps_its_weights_along_its_budget(finished):
    run, _ = finished
    rows, steps = [0.0, *(row["agent_steps"] for row in rows_of(run))], steps_in(run)
    due = {f"milestone_{percentage}": 1024 * percentage / 100 for percentage in (0, 1, 3, 10, 30, 100)}
    assert steps == {name: next(step for step in rows if step >= at) for name, at in due.items()}
    last, end = (read_weights(run / "checkpoints" / name) for name in ("last", "milestone_100"))
    assert last.keys() == end.keys() and all(np.array_equal(last[name], end[name]) for name in last)
    first = read_weights(run / "checkpoints" / "milestone_0")
    assert any(not np.array_equal(first[name], end[name]) for name in first)


def test_milestones_are_evaluated_like_checkpoints_and_a_damaged_one_stops_only_that(copied):
    evaluation = ["command=evaluate", f"run={copied}", "episodes=2", "way=greedy"]
    code, printed = go(*evaluation, "checkpoint=milestone_0")
    assert code == 0, printed
    assert "milestone_0 checkpoint at 0 agent steps" in printed
    (file,) = (copied / "checkpoints").glob("evaluation_milestone_0_*.json")
    assert json.loads(file.read_text())["agent_steps"] == 0

    weights = copied / "checkpoints" / "milestone_30" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    torn = weights.stat()
    code, printed = go(*evaluation, "checkpoint=milestone_30")
    assert code == 2 and "weights.safetensors has 1000 bytes" in printed and "checkpoint=best" in printed
    before = steps_in_spite_of(weights)
    code, printed = go(f"resume={copied}", "stop.agent_steps=1500")
    assert code == 0 and "damaged" not in printed, printed
    assert weights.stat() == torn, "30 % of the new budget were passed already"
    after = steps_in_spite_of(weights)
    assert after.pop("milestone_100") >= 1500 > before.pop("milestone_100")
    assert after == before


def steps_in_spite_of(torn: Path) -> dict[str, int]:
    """`steps_in`, while one is torn."""
    return {path.parent.name: progress_of(path.parent)["agent_steps"] for path in torn.parent.parent.glob("m*/prog*")}


def test_a_run_that_is_started_again_from_a_checkpoint_takes_the_milestones_beyond_it_again(
    shared_ray, make_config, tmp_path
):
    config = make_config(*TINY, "stop.agent_steps=2560", run_dirs={1: str(tmp_path)})
    killed, restarted = config.copy(copy_frozen=False).build_algo(), config.copy(copy_frozen=False).build_algo()
    try:
        first = killed.train()["row"]["agent_steps"]  # some less than 256, which are 10 %
        assert set(steps_in(tmp_path)) == {"milestone_0", "milestone_1", "milestone_3"}
        (tmp_path / "saved").mkdir()
        killed.save_checkpoint(str(tmp_path / "saved"))
        while killed.progress.agent_steps < 0.3 * 2560:
            killed.train()
        lost = steps_in(tmp_path)
        assert {"milestone_10", "milestone_30"} <= lost.keys()
        begun = (tmp_path / "checkpoints" / "milestone_0" / "manifest.json").stat()

        restarted.load_checkpoint(str(tmp_path / "saved"))
        second = restarted.train()["row"]["agent_steps"]
        assert second > first
        assert steps_in(tmp_path) == {"milestone_0": 0, "milestone_1": first, "milestone_3": first} | (
            {"milestone_10": second} if second >= 256 else {}
        )
        assert (tmp_path / "checkpoints" / "milestone_0" / "manifest.json").stat() == begun
    finally:
        killed.stop()
        restarted.stop()


@pytest.mark.parametrize("words", [[*TINY, "stop.agent_steps=512"], [*A3C, "stop.agent_steps=512"]], ids=["ppo", "a3c"])
def test_training_goes_on_without_a_milestone_that_cannot_be_written_and_says_so(
    words, shared_ray, make_config, tmp_path, monkeypatch
):
    def fills_up(run: Path, name: str, *arguments) -> None:
        if name == "milestone_1":
            raise NO_ROOM
        write_milestone(run, name, *arguments)

    monkeypatch.setattr(experiment, "write_milestone", fills_up)
    algorithm = make_config(*words, run_dirs={1: str(tmp_path)}).build_algo()
    try:
        result = algorithm.train()
    finally:
        algorithm.stop()
    assert result["row"]["agent_steps"] >= 200
    (sentence,) = result["notices"]
    assert "milestone_1" in sentence and "No space left on device" in sentence
    assert {"milestone_0", "milestone_3"} <= steps_in(tmp_path).keys() and "milestone_1" not in steps_in(tmp_path)


def test_a_run_that_is_told_so_keeps_none(shared_ray, make_config, tmp_path):
    config = make_config(*TINY, "stop.agent_steps=256", "keep_milestones=false", run_dirs={1: str(tmp_path)})
    algorithm = config.build_algo()
    try:
        algorithm.train()
    finally:
        algorithm.stop()
    assert not (tmp_path / "checkpoints").exists()
