"""What a run keeps of how it learned: milestones along its budget, through restarts and full disks."""

import errno
import json
import re
from pathlib import Path

import numpy as np
import pytest

from run_directory import milestones
from run_directory.checkpoints import read_totals
from run_directory.manifest import find_damage
from run_directory.milestones import write_milestone
from run_directory.weights import read_weights
from tests.runs.tiny_runs import TINY, go, rows_of

NO_ROOM = OSError(errno.ENOSPC, "No space left on device")
A3C = ["algo=a3c", "env=cartpole", "algo.num_workers=0", "algo.num_envs=4", "algo.horizon=64", "cluster.cpus=1"]
A3C += ["report_every=200"]


def steps_in(run: Path) -> dict[str, int]:
    """Name -> agent steps of the milestones that are there, all of which have to be whole."""
    there = list((run / "checkpoints").glob("milestone_*"))
    assert [find_damage(path) for path in there] == [None] * len(there)
    return {path.name: read_totals(path)["agent_steps"] for path in there}


def test_a_run_keeps_its_weights_along_its_budget(finished):
    run, _ = finished
    rows, steps = [0.0, *(row["agent_steps"] for row in rows_of(run))], steps_in(run)
    due = {f"milestone_{percentage}": 1024 * percentage / 100 for percentage in (0, 1, 3, 10, 30, 100)}
    assert steps == {name: next(step for step in rows if step >= at) for name, at in due.items()}
    last, end = (read_weights(run / "checkpoints" / name) for name in ("last", "milestone_100"))
    assert last.keys() == end.keys() and all(np.array_equal(last[name], end[name]) for name in last)
    first = read_weights(run / "checkpoints" / "milestone_0")
    assert any(not np.array_equal(first[name], end[name]) for name in first)


@pytest.mark.end_to_end
def test_milestones_are_evaluated_like_checkpoints_and_a_damaged_one_stops_only_that(copied):
    evaluation = ["command=evaluate", f"run={copied}", "episodes=2", "way=greedy"]
    code, printed = go(*evaluation, "checkpoint=milestone_0")
    assert code == 0, printed
    assert re.search(r"milestone_0 .*\b0 agent steps,", printed)
    (file,) = (copied / "checkpoints").glob("evaluation_milestone_0_*.json")
    assert json.loads(file.read_text())["agent_steps"] == 0

    weights = copied / "checkpoints" / "milestone_30" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    torn = weights.stat()
    code, printed = go(*evaluation, "checkpoint=milestone_30")
    assert code == 2 and "weights.safetensors has 1000 bytes" in printed and "checkpoint=best" in printed
    before = steps_in_spite_of(weights)
    code, printed = go(f"resume={copied}", "stop.agent_steps=1500")
    assert code == 0 and "milestone_30" not in printed, printed
    assert weights.stat() == torn, "30 % of the new budget were passed already"
    after = steps_in_spite_of(weights)
    assert after.pop("milestone_100") >= 1500 > before.pop("milestone_100")
    assert after == before


def steps_in_spite_of(torn: Path) -> dict[str, int]:
    """`steps_in`, while one is torn."""
    return {path.parent.name: read_totals(path.parent)["agent_steps"] for path in torn.parent.parent.glob("m*/prog*")}


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

    monkeypatch.setattr(milestones, "write_milestone", fills_up)
    algorithm = make_config(*words, run_dirs={1: str(tmp_path)}).build_algo()
    try:
        result = algorithm.train()
    finally:
        algorithm.stop()
    assert result["row"]["agent_steps"] >= 200
    (sentence,) = result["notices"]
    assert "milestone_1" in sentence and NO_ROOM.strerror in sentence
    assert {"milestone_0", "milestone_3"} <= steps_in(tmp_path).keys() and "milestone_1" not in steps_in(tmp_path)


def test_a_run_that_is_told_so_keeps_none(shared_ray, make_config, tmp_path):
    config = make_config(*TINY, "stop.agent_steps=256", "keep_milestones=false", run_dirs={1: str(tmp_path)})
    algorithm = config.build_algo()
    try:
        algorithm.train()
    finally:
        algorithm.stop()
    assert not (tmp_path / "checkpoints").exists()
