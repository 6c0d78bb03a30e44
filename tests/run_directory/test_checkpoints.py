"""Checkpoints: `last`, `previous` and `best` are whole, or it shows and the one before stands in."""

import errno
import json
import os
import shutil

import pytest

from run_directory import checkpoints, manifest
from run_directory.checkpoints import find_checkpoint, find_newest_checkpoint, keep_checkpoint, read_totals
from run_directory.layout import MANIFEST
from run_directory.manifest import find_damage, write_manifest
from settings.mistakes import Mistake


@pytest.fixture
def run(tmp_path):
    path = tmp_path / "run"
    path.mkdir()
    return path


@pytest.fixture
def made(tmp_path):
    """A checkpoint as Tune leaves it: weights in a folder, where the run stood, a manifest."""

    def make(steps: int, episodes: int = 100, score: float = 0.0):
        path = tmp_path / f"tune_{steps}_{score}"
        (path / "learner").mkdir(parents=True)
        (path / "learner" / "weights.pkl").write_bytes(bytes(range(256)) * 40 + str(steps).encode())
        progress = {"agent_steps": steps, "episodes": episodes, "episode_return_mean": score}
        (path / "progress.json").write_text(json.dumps(progress))
        write_manifest(path)
        return path

    return make


def steps_of(run, name: str) -> int:
    return read_totals(run / "checkpoints" / name)["agent_steps"]


def tear(checkpoint, name: str = "learner/weights.pkl", keep_bytes: int = 100) -> None:
    """Cut a file, without touching those that share its bytes."""
    data = (checkpoint / name).read_bytes()[:keep_bytes]
    (checkpoint / name).unlink()
    (checkpoint / name).write_bytes(data)


def flip(checkpoint, name: str = "learner/weights.pkl") -> None:
    data = bytearray((checkpoint / name).read_bytes())
    data[5000] ^= 1
    (checkpoint / name).unlink()
    (checkpoint / name).write_bytes(data)


BREAKAGES = {
    "torn": (tear, "learner/weights.pkl has 100 bytes instead of 10241"),
    "empty": (lambda c: tear(c, keep_bytes=0), "has 0 bytes"),
    "flipped": (flip, "learner/weights.pkl has changed"),
    "missing": (lambda c: (c / "learner/weights.pkl").unlink(), "learner/weights.pkl is missing"),
    "no progress": (lambda c: (c / "progress.json").unlink(), "progress.json is missing"),
    "no manifest": (lambda c: (c / MANIFEST).unlink(), "manifest.json is missing"),
    "torn manifest": (lambda c: tear(c, MANIFEST, 20), "manifest.json is torn"),
    "empty manifest": (lambda c: tear(c, MANIFEST, 0), "manifest.json is torn"),
}


def test_a_manifest_names_every_file_with_its_size_and_checksum(tmp_path):
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "weights.bin").write_bytes(b"123456789")
    (tmp_path / "empty").touch()
    write_manifest(tmp_path)
    manifest = json.loads((tmp_path / MANIFEST).read_text())
    assert manifest == {"deep/weights.bin": [9, 0xCBF43926], "empty": [0, 0]}  # CRC-32's own check value
    write_manifest(tmp_path)  # again: it does not list itself
    assert json.loads((tmp_path / MANIFEST).read_text()) == manifest


def test_a_whole_checkpoint_has_no_damage(made):
    assert find_damage(made(1)) is None


@pytest.mark.parametrize("how", BREAKAGES)
def test_damage_is_found_and_named(how, made):
    breakage, words = BREAKAGES[how]
    checkpoint = made(1)
    breakage(checkpoint)
    assert words in find_damage(checkpoint)


def test_last_and_the_one_before_are_kept(made, run):
    for steps in (1, 2, 3):
        keep_checkpoint(made(steps), run)
    assert (steps_of(run, "last"), steps_of(run, "previous")) == (3, 2)
    assert find_damage(run / "checkpoints" / "last") is None and find_damage(run / "checkpoints" / "previous") is None
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "last", "previous"]


def test_a_file_that_is_open_elsewhere_keeps_no_checkpoint_out(made, run, monkeypatch):
    """On NFS it cannot be deleted, nor the folder that it is in; once it can be, it is."""
    real = shutil.rmtree
    for steps in (1, 2):
        keep_checkpoint(made(steps), run)
    monkeypatch.setattr(
        checkpoints.shutil, "rmtree", lambda path, **words: path.name != "previous" and real(path, **words)
    )
    keep_checkpoint(made(3), run)
    assert (steps_of(run, "last"), steps_of(run, "previous")) == (3, 2)
    monkeypatch.setattr(checkpoints.shutil, "rmtree", real)
    keep_checkpoint(made(4), run)
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "last", "previous"]


def test_kept_checkpoints_outlive_tune_s_own(made, run):
    original = made(1)
    keep_checkpoint(original, run)
    shutil.rmtree(original)
    assert find_damage(run / "checkpoints" / "last") is None


def test_a_disk_that_is_full_while_files_are_copied_is_said_to_be_full(made, run, monkeypatch):
    """So that the run stops in good order, with its last checkpoint."""

    def refuses(*_, **__):
        raise OSError(errno.EPERM, "Operation not permitted")

    def is_full(*_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    keep_checkpoint(made(1), run)
    monkeypatch.setattr(checkpoints.os, "link", refuses)
    monkeypatch.setattr(checkpoints.shutil, "copyfile", is_full)
    with pytest.raises(OSError, match="No space left") as full:
        keep_checkpoint(made(2), run)
    assert full.value.errno == errno.ENOSPC and steps_of(run, "last") == 1


def test_where_files_cannot_be_linked_they_are_copied(made, run, monkeypatch):
    def refuses(*_, **__):
        raise OSError(errno.EXDEV, "another file system")

    monkeypatch.setattr(checkpoints.os, "link", refuses)
    keep_checkpoint(made(1), run)
    assert find_damage(run / "checkpoints" / "last") is None


def test_best_is_the_highest_score_not_the_newest(made, run):
    for steps, score in [(1, 5.0), (2, 9.0), (3, 7.0), (4, 9.0)]:
        keep_checkpoint(made(steps, score=score), run)
    assert (steps_of(run, "best"), steps_of(run, "last")) == (2, 4)


@pytest.mark.parametrize(("games", "there"), [(0, False), (19, False), (20, True)])
def test_best_rests_on_twenty_games(games, there, made, run):
    keep_checkpoint(made(1, episodes=games, score=99.0), run)
    assert (run / "checkpoints" / "best").exists() == there


def test_a_lucky_score_from_few_games_does_not_replace_best(made, run):
    keep_checkpoint(made(1, episodes=20, score=5.0), run)
    keep_checkpoint(made(2, episodes=19, score=50.0), run)
    assert steps_of(run, "best") == 1


def test_a_damaged_best_is_replaced_even_by_a_lower_score(made, run):
    keep_checkpoint(made(1, score=9.0), run)
    tear(run / "checkpoints" / "best")
    keep_checkpoint(made(2, score=1.0), run)
    assert steps_of(run, "best") == 2


def test_the_newest_whole_one_is_last(made, run):
    for steps in (1, 2):
        keep_checkpoint(made(steps), run)
    assert find_newest_checkpoint(run) == (run / "checkpoints" / "last", [])


@pytest.mark.parametrize("how", BREAKAGES)
def test_a_damaged_last_falls_back_to_previous_and_says_so(how, made, run):
    for steps in (1, 2):
        keep_checkpoint(made(steps), run)
    breakage, words = BREAKAGES[how]
    breakage(run / "checkpoints" / "last")
    checkpoint, complaints = find_newest_checkpoint(run)
    assert checkpoint.name == "previous"
    (complaint,) = complaints
    assert "checkpoint last" in complaint and words in complaint and "falling back" in complaint


def test_where_last_and_previous_are_damaged_best_stands_in(made, run):
    for steps, score in [(1, 9.0), (2, 1.0), (3, 1.0)]:
        keep_checkpoint(made(steps, score=score), run)
    for name in ("last", "previous"):
        flip(run / "checkpoints" / name)
    checkpoint, complaints = find_newest_checkpoint(run)
    assert checkpoint.name == "best" and len(complaints) == 2


def test_previous_stands_in_for_a_last_that_was_being_replaced(made, run):
    for steps in (1, 2):
        keep_checkpoint(made(steps), run)
    os.rename(run / "checkpoints" / "last", run / "checkpoints" / "previous_of_a_killed_process")
    assert find_newest_checkpoint(run) == (run / "checkpoints" / "previous", [])


def test_a_checkpoint_that_is_replaced_while_it_is_read_is_not_damaged(made, run, monkeypatch):
    keep_checkpoint(made(1), run)
    newer, crc32 = [made(2)], manifest.zlib.crc32

    def replace_meanwhile(content):
        if newer:
            keep_checkpoint(newer.pop(), run)
        return crc32(content)

    monkeypatch.setattr(manifest.zlib, "crc32", replace_meanwhile)
    assert find_checkpoint(run, "last") == run / "checkpoints" / "last" and not newer


def test_a_run_whose_checkpoints_are_all_damaged_cannot_continue(made, run):
    for steps in (1, 2):
        keep_checkpoint(made(steps), run)
    for name in ("last", "previous", "best"):
        tear(run / "checkpoints" / name)
    with pytest.raises(Mistake, match=rf"resume={run}: no checkpoint .*last .*previous .*best "):
        find_newest_checkpoint(run)


def test_a_run_without_checkpoints_cannot_continue(run):
    with pytest.raises(Mistake, match=rf"resume={run}: no checkpoint .*first one"):
        find_newest_checkpoint(run)


def test_a_damaged_last_does_not_push_a_whole_previous_out(made, run):
    for steps in (1, 2):
        keep_checkpoint(made(steps, episodes=0), run)
    tear(run / "checkpoints" / "last")
    keep_checkpoint(made(3, episodes=0), run)
    assert (steps_of(run, "last"), steps_of(run, "previous")) == (3, 1)
    assert find_damage(run / "checkpoints" / "previous") is None


@pytest.mark.parametrize("renames", [0, 1, 2, 3, 4])
def test_a_process_killed_while_it_keeps_a_checkpoint_leaves_a_whole_one(renames, made, run, monkeypatch):
    for steps in (1, 2):
        keep_checkpoint(made(steps, score=steps), run)
    rename, left = os.rename, [renames]

    def killed(*arguments):
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        rename(*arguments)

    monkeypatch.setattr(checkpoints.os, "rename", killed)
    try:
        keep_checkpoint(made(3, score=3.0), run)
    except KeyboardInterrupt:
        assert renames < 4
    monkeypatch.undo()
    checkpoint, _ = find_newest_checkpoint(run)
    assert read_totals(checkpoint)["agent_steps"] >= 2
    keep_checkpoint(made(4, score=0.5), run)  # and what lay around does not disturb the next one
    assert steps_of(run, "best") in (2, 3)
    assert steps_of(run, "last") == 4 and find_damage(run / "checkpoints" / "last") is None
    assert sorted(path.name for path in (run / "checkpoints").iterdir()) == ["best", "last", "previous"]
