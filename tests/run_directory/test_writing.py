"""A file that is written is the old one or the new one, and a reason is given where it cannot be written."""

import fcntl
import os

import pytest

from run_directory import writing
from run_directory.writing import lock_folder, write_file
from settings.mistakes import Mistake


def test_a_file_is_replaced_at_once(tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    write_file(file, "old")
    write_file(file, "new")
    assert file.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["run.json"]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        write_file(file, "never")
    assert file.read_text() == "new"


@pytest.mark.parametrize("part", ["seed_2", "trials/trial_3", "trials/trial_3/seed_1"])
def test_a_run_and_a_part_of_it_are_not_written_by_two(part, tmp_path):
    (tmp_path / part).mkdir(parents=True)
    (tmp_path / "run.json").write_text("{}")
    (tmp_path / part / "run.json").write_text("{}")
    for first, second in ((tmp_path, tmp_path / part), (tmp_path / part, tmp_path)):
        with lock_folder(first), pytest.raises(Mistake, match=f"^{tmp_path}: another process"), lock_folder(second):
            pass
    with pytest.raises(OSError, match="of the block"), lock_folder(tmp_path):
        raise OSError("of the block")
    with lock_folder(tmp_path / part):  # everything was unlocked
        pass


def test_the_lock_that_another_user_has_left_can_be_taken(tmp_path, monkeypatch):
    (tmp_path / ".lock").write_text("")
    real = os.open

    def refuse_writing(path, flags, *mode):
        if flags & os.O_RDWR:
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, flags, *mode)

    monkeypatch.setattr(writing.os, "open", refuse_writing)
    with lock_folder(tmp_path), pytest.raises(Mistake, match="another process"), lock_folder(tmp_path):
        pass


def test_a_page_that_asks_whether_a_run_trains_does_not_keep_it_from_starting(tmp_path, monkeypatch):
    """It holds a shared lock for an instant, here for as long as the first try lasts."""
    asked = (tmp_path / ".lock").open("w")
    fcntl.flock(asked, fcntl.LOCK_SH)
    monkeypatch.setattr(writing.time, "sleep", lambda _: asked.close())
    with lock_folder(tmp_path):
        pass
