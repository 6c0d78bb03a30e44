"""Whose run directory is continued without a question: to continue is to run what its checkpoints say."""

import json
import os

import pytest
import yaml

import run as command_line
from run_directory import continuation
from run_directory.continuation import open_run, refuse_damaged_files, refuse_untrusted_directory
from run_directory.provenance import identify_user
from run_directory.starts import write_start
from settings.mistakes import Mistake


@pytest.fixture
def mine(tmp_path, compose):
    """A run directory that this user has just begun here."""
    folder = tmp_path / "run"
    (folder / "checkpoints" / "last").mkdir(parents=True)
    write_start(folder, compose(["env=cartpole"]), ["python", "run.py"], ["env=cartpole"], "float32")
    (folder / "checkpoints" / "last" / "algorithm_state.pkl").write_bytes(b"")
    return folder


def rewrite(folder, **changes) -> None:
    """Change what the newest start says; None takes it out."""
    record = json.loads((folder / "run.json").read_text())
    newest = {key: value for key, value in (record["starts"][-1] | changes).items() if value is not None}
    record["starts"][-1] = newest
    (folder / "run.json").write_text(json.dumps(record))


def test_ones_own_run_goes_on_without_a_question(mine):
    start = json.loads((mine / "run.json").read_text())["starts"][-1]
    assert {key: start[key] for key in ("user", "host")} == identify_user()
    refuse_untrusted_directory(mine, [])


@pytest.mark.parametrize("changes", [{"user": "mallory"}, {"host": "elsewhere"}])
def test_a_run_of_another_user_or_host_is_continued_with_trust_only(changes, mine):
    rewrite(mine, **changes)
    with pytest.raises(Mistake) as refused:
        refuse_untrusted_directory(mine, ["env=cartpole"])
    assert "trust=true" in str(refused.value) and str(mine) in str(refused.value)
    refuse_untrusted_directory(mine, ["trust=true"])
    with pytest.raises(Mistake):  # the last counts, as of every setting
        refuse_untrusted_directory(mine, ["trust=true", "trust=false"])


def test_a_record_of_an_earlier_version_is_ones_own_where_the_files_are(mine, monkeypatch):
    rewrite(mine, user=None, host=None)
    refuse_untrusted_directory(mine, [])
    monkeypatch.setattr(continuation.os, "getuid", lambda: os.stat(mine).st_uid + 1)
    with pytest.raises(Mistake, match="trust=true"):
        refuse_untrusted_directory(mine, [])


def test_a_record_that_claims_to_be_mine_does_not_make_another_users_files_mine(mine, monkeypatch):
    monkeypatch.setattr(
        continuation, "identify_user", lambda: dict(json.loads((mine / "run.json").read_text())["starts"][-1])
    )
    monkeypatch.setattr(continuation.os, "getuid", lambda: os.stat(mine).st_uid + 1)
    with pytest.raises(Mistake, match="another user.*trust=true"):
        refuse_untrusted_directory(mine, [])


def test_a_directory_cannot_ask_for_trust_itself(mine, monkeypatch, capsys):
    """Neither its settings nor what it says was typed before."""
    monkeypatch.setattr("runs.train.open_ray", lambda *_: pytest.fail("Ray would start"))
    settings = yaml.safe_load((mine / "config.yaml").read_text()) | {"trust": True}
    (mine / "config.yaml").write_text(yaml.safe_dump(settings))
    rewrite(mine, user="mallory", overrides=["env=cartpole", "trust=true"])
    assert command_line.main([f"resume={mine}"]) == 2
    assert "trust=true" in capsys.readouterr().err


def test_a_search_of_somebody_else_is_refused_too(tmp_path, compose, monkeypatch, capsys):
    monkeypatch.setattr("tune_searches.search.open_ray", lambda *_: pytest.fail("Ray would start"))
    words = ["tune_searches=cartpole_ppo", f"output_dir={tmp_path}"]
    folder = tmp_path / "searches" / "cartpole_ppo"
    folder.mkdir(parents=True)
    write_start(folder, compose(words), ["python", "run.py"], words, "float32")
    rewrite(folder, host="elsewhere")
    for typed in (words, [f"resume={folder}"]):
        assert command_line.main(typed) == 2
        assert "trust=true" in capsys.readouterr().err
    assert not (folder / "study.db").exists()


def test_a_search_whose_own_settings_are_no_mapping_is_named(mine):
    config = mine / "config.yaml"
    config.write_text(config.read_text() + "search: []\n")
    with pytest.raises(Mistake, match="search"):
        open_run(str(mine), "resume")


def test_files_that_a_training_replaces_meanwhile_belong_to_nobody_else(mine, monkeypatch):
    real = continuation.os.walk
    monkeypatch.setattr(continuation.os, "walk", lambda top: [*real(top), (str(mine), [], ["replaced.pkl"])])
    refuse_untrusted_directory(mine, [])


def test_a_configuration_that_another_program_left_in_a_run_is_not_the_run_s(mine):
    folder = mine / "wandb/run-1/files"
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text("1: {desc: null}\n")
    refuse_damaged_files(mine)
    (mine / "seed_1").mkdir()
    (mine / "seed_1/run.json").write_text((mine / "run.json").read_text())
    (mine / "seed_1/config.yaml").write_text("[")
    with pytest.raises(Mistake, match="seed_1/config.yaml"):
        refuse_damaged_files(mine)
