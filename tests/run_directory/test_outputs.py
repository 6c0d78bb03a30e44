"""Run directories below `output_dir`: a new one for each run, and the same one for the same experiment."""

import json
import os
import re

import pytest

import run as command_line
from experiments.resume import keep_rules
from run_directory.outputs import create_run, find_begun_run, find_newest_run
from run_directory.starts import write_start
from settings.mistakes import Mistake


@pytest.fixture(scope="module")
def settings():
    return command_line.read_experiment(["env=cartpole"])[0]


def test_a_run_has_a_directory_of_its_own_by_algorithm_environment_and_time(tmp_path, settings):
    one, two = (create_run(settings | {"output_dir": str(tmp_path / "out")}) for _ in range(2))
    assert one != two and one.is_dir() and two.is_dir()
    assert one.parent == tmp_path / "out" / "ppo" / "cartpole"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{4}", one.name)


def test_an_output_directory_that_cannot_be_made_is_a_mistake(tmp_path, settings):
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match=r"output_dir=.*/file/x .*Not a directory"):
        create_run(settings | {"output_dir": str(tmp_path / "file" / "x")})


@pytest.fixture
def earlier(compose, tmp_path):
    """An Assault run as a version without FIRE after a lost life left it, with its words and its settings."""
    words = ["env=assault", f"output_dir={tmp_path}"]
    settings = compose(words) | {"resume": "auto"}
    newer = ("fire_on_life_loss", "rmsprop_start")
    old = settings | {g: {k: v for k, v in settings[g].items() if k not in newer} for g in ("algo", "env")}
    folder = create_run(old)
    write_start(folder, old, [], words, "float32")
    return words, settings, folder


@pytest.mark.parametrize("newer_rules", [True, False])
def test_a_run_that_is_older_than_the_start_of_rmsprop_started_at_1(newer_rules, compose, tmp_path):
    words = ["algo=a2c", "env=assault", "algo.rmsprop_start=1", f"output_dir={tmp_path}"]
    settings = compose(words) | {"resume": "auto"}
    old = settings | {"algo": {k: v for k, v in settings["algo"].items() if k != "rmsprop_start"}}
    if not newer_rules:
        old["env"] = {k: v for k, v in settings["env"].items() if k != "fire_on_life_loss"}
    folder = create_run(old)
    write_start(folder, old, [], words[:2], "float32")
    other = settings | {"algo": settings["algo"] | {"rmsprop_start": 0}}
    assert find_begun_run(settings) == folder and find_begun_run(other) is None
    assert keep_rules(other, folder, words[:2])["algo"]["rmsprop_start"] == 1
    assert command_line.read_experiment([f"resume={folder}"])[0]["algo"]["rmsprop_start"] == 1
    with pytest.raises(Mistake, match=r"algo\.rmsprop_start=0: .* made with algo\.rmsprop_start=1, .* leave it out"):
        command_line.read_experiment([f"resume={folder}", "algo.rmsprop_start=0"])


def test_a_run_of_a3c_that_is_older_than_groups_goes_on_with_workers_that_play_by_themselves(compose, tmp_path):
    words = ["algo=a3c", "env=cartpole", f"output_dir={tmp_path}"]
    settings = compose(words) | {"resume": "auto"}
    old = settings | {
        "algo": {k: v for k, v in settings["algo"].items() if k not in ("workers_together", "rmsprop_start")}
    }
    folder = create_run(old)
    write_start(folder, old, [], words, "float32")
    assert settings["algo"]["workers_together"] == 4 and find_begun_run(settings) == folder
    assert keep_rules(settings, folder, words)["algo"] == settings["algo"] | {"workers_together": 1}
    assert keep_rules(settings, folder, ["algo.workers_together=4"]) == settings
    assert command_line.read_experiment([f"resume={folder}"])[0]["algo"]["workers_together"] == 1


def test_a_run_of_an_earlier_version_continues_under_its_own_rules(earlier):
    words, _, folder = earlier
    resume = f"resume={folder}"
    assert command_line.read_experiment([resume])[0]["env"]["fire_on_life_loss"] is False
    assert command_line.read_experiment([resume, "algo.lr=1e-4"])[0]["env"]["fire_on_life_loss"] is False
    typed = [resume, "env.fire_on_life_loss=true"]
    assert command_line.read_experiment(typed)[0]["env"]["fire_on_life_loss"] is True
    assert command_line.read_experiment(words)[0]["env"]["fire_on_life_loss"] is True, "a new run plays by today's"


def test_an_experiment_of_an_earlier_version_is_found_again_by_resume_auto_and_keeps_its_rules(earlier):
    words, settings, folder = earlier
    for _ in range(2):  # the second finds the rule in the saved settings
        assert find_begun_run(settings) == folder
        kept = keep_rules(settings, folder, words)
        assert kept["env"] == settings["env"] | {"fire_on_life_loss": False}
        write_start(folder, kept, [], words, "float32")
    assert keep_rules(settings, folder, ["env.fire_on_life_loss=true"]) == settings
    assert find_begun_run(settings | {"seed": 7}) is None
    new = create_run(settings | {"seed": 7})
    write_start(new, settings | {"seed": 7}, [], words, "float32")
    assert keep_rules(settings, new, words) == settings


def test_a_label_is_part_of_the_name_with_resume_auto_too(compose, tmp_path):
    words = ["env=cartpole", f"output_dir={tmp_path}"]
    plain = compose(words) | {"resume": "auto"}
    labelled = compose([*words, "label=mine"]) | {"resume": "auto"}
    folders = {name: create_run(one) for name, one in (("plain", plain), ("mine", labelled))}
    assert folders["mine"].name == f"{folders['plain'].name}_mine"
    write_start(folders["plain"], plain, [], words, "float32")
    assert find_begun_run(labelled) is None, "the run without a label is another one"
    write_start(folders["plain"], labelled, [], words, "float32")
    assert find_begun_run(labelled) == folders["plain"], "an earlier version left it out"
    write_start(folders["plain"], plain, [], words, "float32")
    write_start(folders["mine"], labelled, [], words, "float32")
    assert find_begun_run(labelled) == folders["mine"] and find_begun_run(plain) == folders["plain"]


def test_latest_is_the_newest_start_also_of_copies(compose, tmp_path, capsys):
    for name, at in (("old", "2026-11-20T10:00:00+0000"), ("new", "2026-11-20T10:30:00+0000"), ("zone", None)):
        folder = tmp_path / "ppo/cartpole" / name
        folder.mkdir(parents=True)
        write_start(folder, compose(["env=cartpole"]), [], [], "float32")
        record = json.loads((folder / "run.json").read_text())
        record["starts"][-1]["time"] = at or "2026-11-20T11:20:00+0100"  # 10:20 in Greenwich
        (folder / "run.json").write_text(json.dumps(record))
        os.utime(folder / "run.json", (1e9 if name == "new" else 2e9,) * 2)
    assert find_newest_run("latest", "run", str(tmp_path)) == str(tmp_path / "ppo/cartpole/new")
