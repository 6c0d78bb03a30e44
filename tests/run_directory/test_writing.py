"""A file that is written is the old one or the new one, and a reason is given where it cannot be written."""

import pytest

from run_directory import writing
from run_directory.writing import write_file


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
