"""What git says of the checkout, and why it says nothing."""

import pytest

from environments import checkout
from environments.checkout import run_git


@pytest.mark.parametrize(
    ("does", "why"),
    [("kill -9 $$", "exit code -9"), ("exit 3", "exit code 3"), ("exec sleep 60", "no answer for 0.2 s")],
    ids=["killed", "fails", "hangs"],
)
def test_only_a_git_that_was_late_is_said_to_have_given_no_answer(does, why, tmp_path, monkeypatch):
    (tmp_path / "git").write_text(f"#!/bin/sh\n{does}\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(checkout, "ANSWER_S", 0.2 if "sleep" in does else 60)
    with pytest.raises(OSError, match=f"^git rev-parse: {why}$"):
        run_git("rev-parse", "HEAD")
