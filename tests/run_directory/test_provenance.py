"""What run.json says of a start's origin is true, and finding it out stops no run."""

import hashlib
import importlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from environments import checkout as checkout_module
from run_directory import provenance
from run_directory.layout import DIFF, OWN_MODULES
from run_directory.provenance import COMMIT, describe_commit

SETTINGS = {"model": {}, "env": {}, "algo": {"implementation": None}}
LATIN_1 = b"caf\xe9\n"


@pytest.fixture
def checkout(tmp_path, monkeypatch) -> Path:
    """A small repository in the place of the suite's; what is typed into git there is nobody's configuration."""
    root = tmp_path / "checkout"
    (root / "tuned_configs").mkdir(parents=True)
    (root / "notes.txt").write_bytes(b"")
    (root / ".gitignore").write_text("ignored.py\n")
    monkeypatch.setattr(checkout_module, "ROOT", root)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.delenv(COMMIT, raising=False)
    git(root, "init", "-q")
    git(root, "add", ".")
    git(root, "-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "first")
    return root


def git(root: Path, *words: str) -> str:
    return subprocess.run(["git", "-C", root, *words], check=True, capture_output=True, text=True).stdout


def origin(run: Path, settings: dict = SETTINGS) -> dict:
    """What the record says, as a reader of run.json finds it."""
    run.mkdir(exist_ok=True)
    return json.loads(json.dumps(provenance.collect_provenance(run, settings)))


def test_a_checkout_as_committed_is_clean_and_has_no_diff(checkout, tmp_path):
    (checkout / "ignored.py").write_text("x = 1\n")
    found = origin(tmp_path / "run")
    commit = git(checkout, "rev-parse", "HEAD").strip()
    assert found["git"] == {"commit": commit, "dirty": False, "untracked": []}
    assert "unrecorded" not in found and not (tmp_path / "run" / DIFF).exists()
    assert describe_commit() == commit


def test_bytes_that_are_no_text_stay_what_they_are(checkout, tmp_path):
    (checkout / "notes.txt").write_bytes(LATIN_1)
    assert origin(tmp_path / "run")["git"]["dirty"]
    assert b"+" + LATIN_1 in (tmp_path / "run" / DIFF).read_bytes()


@pytest.mark.parametrize("name", ["tuned_configs/new.yaml", "my_games.py", "tuned_configs/caf\udce9.yaml"])
def test_a_file_that_git_does_not_know_makes_a_run_dirty_and_is_saved(name, checkout, tmp_path):
    path = checkout / name
    path.write_bytes(b"# the only copy, " + LATIN_1)
    before = sorted(checkout.rglob("*"))
    found = origin(tmp_path / "run")
    assert found["git"]["dirty"] and found["git"]["untracked"] == [name] and "unrecorded" not in found
    assert sorted(checkout.rglob("*")) == before and git(checkout, "status", "--short").startswith("??")
    content = path.read_bytes()
    path.unlink()
    git(checkout, "apply", str(tmp_path / "run" / DIFF))  # the saved difference brings it back
    assert path.read_bytes() == content
    assert describe_commit().endswith("-dirty")


def test_what_a_run_writes_or_does_not_read_is_no_change_of_the_code(checkout, tmp_path):
    for name in ("outputs/run/config.yaml", "letter.txt"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("")
    assert not origin(tmp_path / "run")["git"]["dirty"]


def break_git(checkout: Path, monkeypatch) -> None:
    (checkout / ".git" / "HEAD").write_text("\0")


def take_git_away(checkout: Path, monkeypatch) -> None:
    monkeypatch.setenv("PATH", str(checkout))


def give_it_to_another_user(checkout: Path, monkeypatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")


def leave_the_repository_out(checkout: Path, monkeypatch) -> None:
    shutil.rmtree(checkout / ".git")


FAULTS = [break_git, take_git_away, give_it_to_another_user, leave_the_repository_out]


@pytest.mark.parametrize("fault", FAULTS)
def test_git_that_cannot_say_stops_no_run_and_the_record_says_why(fault, checkout, tmp_path, monkeypatch):
    fault(checkout, monkeypatch)
    found = origin(tmp_path / "run")
    assert found["git"] is None
    (sentence,) = found["unrecorded"]
    assert sentence.startswith("git: ") and len(sentence) > 10
    monkeypatch.setenv(COMMIT, "3f2a9c0-dirty")  # a job was told
    found = origin(tmp_path / "run")
    assert found["git"] == {"commit": "3f2a9c0", "dirty": True, "untracked": []} and len(found["unrecorded"]) == 1


def lose_the_index(checkout: Path, monkeypatch) -> None:
    (checkout / ".git" / "index").write_bytes(b"nothing")


def allow_only_a_little(checkout: Path, monkeypatch) -> None:
    (checkout / "notes.txt").write_bytes(b"a line\n" * 1000)
    monkeypatch.setattr(checkout_module, "DIFF_BYTES", 1000)


@pytest.mark.parametrize("fault", [lose_the_index, allow_only_a_little])
def test_a_difference_that_cannot_be_found_out_or_kept_is_not_called_none(fault, checkout, tmp_path, monkeypatch):
    fault(checkout, monkeypatch)
    found = origin(tmp_path / "run")
    assert found["git"]["commit"] and found["git"]["dirty"] and found["unrecorded"][0].startswith(DIFF)
    assert describe_commit().endswith("-dirty")


def test_a_diff_that_cannot_be_written_stops_no_run(checkout, tmp_path):
    (checkout / "notes.txt").write_bytes(LATIN_1)
    (tmp_path / "run" / DIFF).mkdir(parents=True)
    found = origin(tmp_path / "run")
    assert found["git"]["dirty"] and found["unrecorded"][0].startswith(DIFF)


def test_a_users_modules_are_copied_as_they_are_at_each_start(checkout, tmp_path, monkeypatch):
    (tmp_path / "mine").mkdir()
    module = tmp_path / "mine/own_reward.py"
    module.write_bytes(LATIN_1[:3] + b" = 1\n")
    monkeypatch.syspath_prepend(tmp_path / "mine")
    importlib.import_module("own_reward")
    settings = SETTINGS | {"callbacks": ["own_reward:Reward"]}
    run = tmp_path / "run"
    for content in (module.read_bytes(), b"changed = 1\n"):
        module.write_bytes(content)
        found = origin(run, settings)
        assert found[OWN_MODULES] == {"own_reward.py": hashlib.sha256(content).hexdigest()}
        assert (run / OWN_MODULES / "own_reward.py").read_bytes() == content
    shutil.rmtree(run / OWN_MODULES)
    (run / OWN_MODULES).write_text("in the way")
    assert origin(run, settings)["unrecorded"][0].startswith(OWN_MODULES)  # and the run starts
    del sys.modules["own_reward"]
    assert OWN_MODULES not in origin(tmp_path / "other") and not (tmp_path / "other" / OWN_MODULES).exists()


def test_packages_and_a_machine_that_cannot_be_asked_stop_no_run(checkout, tmp_path, monkeypatch):
    monkeypatch.setattr(provenance, "PACKAGES", ("numpy", "no-such-package"))
    monkeypatch.setattr(provenance, "get_memory_bytes", lambda: (checkout / "gone").read_text())
    found = origin(tmp_path / "run")
    assert found["packages"]["numpy"] and found["packages"]["no-such-package"] is None
    assert found["hardware"]["memory_gib"] is None and found["hardware"]["cpus"] >= 1
    assert [sentence.partition(":")[0] for sentence in found["unrecorded"]] == ["no-such-package", "memory"]
