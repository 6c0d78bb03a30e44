"""config.yaml and run.json: what ran, under what circumstances, without a password."""

import json
import re

import pytest
import yaml
from ray._private import utils

import run as command_line
from cluster.connection import prepare_environment
from run_directory.continuation import open_run
from run_directory.starts import read_overrides, read_starts, write_start
from settings.mistakes import Mistake


@pytest.fixture(scope="module")
def settings():
    return command_line.read_experiment(["env=cartpole"])[0]


def test_the_record_says_what_ran_and_under_what_circumstances(tmp_path, settings):
    write_start(tmp_path, settings, ["python", "run.py", "env=cartpole"], ["env=cartpole"], "float32")
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == settings
    start = json.loads((tmp_path / "run.json").read_text())["starts"][0]
    assert start["command"] == ["python", "run.py", "env=cartpole"]
    assert start["packages"]["ray"] == "2.60.0" and {"torch", "gymnasium", "ale-py"} <= set(start["packages"])
    assert start["hardware"]["cpus"] >= 1 and start["hardware"]["memory_gib"] > 0 and start["hardware"]["cpu"]
    assert start["hardware"]["dtype"] == "float32"
    assert start["python"].startswith("3.")
    if start["git"]:  # a checkout, not an archive
        assert re.fullmatch(r"[0-9a-f]{40}", start["git"]["commit"])
        assert start["git"]["dirty"] == (tmp_path / "git.diff").exists()


def test_every_start_is_recorded_and_the_newest_settings_stand(tmp_path, settings):
    write_start(tmp_path, settings, ["first"], ["algo.lr=1"], "float32")
    write_start(tmp_path, settings | {"episodes": 7}, ["second"], ["algo.lr=2", "episodes=7"], "float32")
    assert read_overrides(tmp_path) == ["algo.lr=1", "algo.lr=2", "episodes=7"]
    run, saved = open_run(str(tmp_path), "resume")
    assert run == tmp_path and saved == settings | {"episodes": 7}


def test_a_run_is_opened_by_a_relative_path_too(tmp_path, settings, monkeypatch):
    write_start(tmp_path, settings, [], [], "float32")
    monkeypatch.chdir(tmp_path.parent)
    assert open_run(tmp_path.name, "resume")[0] == tmp_path


@pytest.mark.parametrize("name", ["config.yaml", "run.json"])
def test_a_directory_that_is_no_run_is_a_mistake_and_a_damaged_run_is_said_to_be_damaged(name, tmp_path, settings):
    write_start(tmp_path, settings, [], [], "float32")
    (tmp_path / name).unlink()
    with pytest.raises(Mistake, match=f"resume={tmp_path} is not .*{name}"):
        open_run(str(tmp_path), "resume")
    (tmp_path / name).write_text("seed: 1\nalgo: [\n")
    where = rf"resume={tmp_path} is not a whole .*{tmp_path / name} is damaged: "
    with pytest.raises(Mistake, match=where + r"(Expecting .*)?\bline \d"):
        open_run(str(tmp_path), "resume")


@pytest.mark.parametrize(
    ("facts", "named"),
    [
        ({"hardware": {"dtype": {"a": 1}}}, "starts[0].hardware.dtype"),
        ({"git": {"commit": 7, "dirty": False}}, "starts[0].git.commit"),
        ({"git": {"commit": "3f2a9c0", "dirty": "no"}}, "starts[0].git.dirty"),
    ],
)
def test_a_fact_of_another_kind_is_named_and_one_that_is_missing_is_of_an_earlier_version(facts, named, tmp_path):
    (tmp_path / "run.json").write_text(json.dumps({"starts": [facts]}))
    with pytest.raises(Mistake, match=re.escape(named)):
        read_starts(tmp_path / "run.json")
    whole = [{"hardware": {}}, {"hardware": None, "git": None}, {}]
    (tmp_path / "run.json").write_text(json.dumps({"starts": whole}))
    assert read_starts(tmp_path / "run.json") == whole


SECRET = "search.storage=postgresql://bob:s3cret@127.0.0.1:1/name"


def test_no_password_is_kept_in_a_run_directory_and_a_reference_to_one_is(tmp_path, compose, monkeypatch):
    monkeypatch.setenv("STORAGE", SECRET.partition("=")[2])
    words = ["tune_searches=cartpole_ppo", "search.storage=${oc.env:STORAGE}"]
    settings = compose(words)
    assert "s3cret" in settings["search"]["storage"]
    write_start(tmp_path, settings, ["python", "run.py", "tune_searches=cartpole_ppo", SECRET], words, "float32")
    assert "s3cret" not in (tmp_path / "config.yaml").read_text() + (tmp_path / "run.json").read_text()
    # A resume reads it where the start did, and says so where the start was told it on the command line.
    assert command_line.read_experiment([f"resume={tmp_path}"])[0]["search"]["storage"] == settings["search"]["storage"]
    write_start(tmp_path, settings, ["python", "run.py", SECRET], [SECRET], "float32")
    with pytest.raises(Mistake, match="search.storage=postgresql://bob:\\*\\*\\*@.* give search.storage again"):
        command_line.read_experiment([f"resume={tmp_path}"])
    resumed, _ = command_line.read_experiment([f"resume={tmp_path}", SECRET])
    assert resumed["search"]["storage"] == settings["search"]["storage"]


@pytest.mark.parametrize("word", ["", "--cfg job", "dry_run=false search.tirals=3", "command=submit cluster=ray"])
def test_no_password_is_printed(word, tmp_path, capfd):
    words = ["tune_searches=cartpole_ppo", SECRET, f"output_dir={tmp_path}", *word.split()]
    assert command_line.main(words) == (0 if "--cfg" in word else 2)
    printed = capfd.readouterr()
    assert "s3cret" not in printed.out + printed.err and printed.out + printed.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_ray_is_told_the_command_line_without_a_password(monkeypatch, compose):
    monkeypatch.setattr(utils, "get_entrypoint_name", lambda: f"python run.py {SECRET} seed=1")
    prepare_environment(compose(["env=cartpole"]))
    assert utils.get_entrypoint_name() == "python run.py search.storage=postgresql://bob:***@127.0.0.1:1/name seed=1"
