"""The run directory: progress.csv survives anything, and what is on disk is recognised or refused."""

import csv
import json
import re

import pytest
import yaml
from ray._private import utils

import run as command_line
from runs import cluster, directory
from runs.directory import ProgressTable, create, keep_rules, open_run, overrides_of, read_rows, replace, write_start
from runs.resources import dtype_of
from settings.mistakes import Mistake


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.csv"


@pytest.fixture(scope="module")
def settings():
    return command_line.experiment(["env=cartpole"])[0]


def fill(path, *steps, **more) -> ProgressTable:
    """A table with a row at each of these agent steps."""
    table = ProgressTable(path)
    for step in steps:
        table.append({"agent_steps": step, "loss": step / 10} | more)
    return table


def steps_in(path) -> list[int]:
    """Read as anybody would read it, without this suite."""
    with open(path, newline="") as file:
        return [int(row["agent_steps"]) for row in csv.DictReader(file)]


def test_rows_come_back_as_they_were_written(path):
    fill(path, 10, 20, 30)
    assert path.read_text().splitlines() == ["agent_steps,loss", "10,1.0", "20,2.0", "30,3.0"]
    assert read_rows(path)[1] == {"agent_steps": "20", "loss": "2.0"}


def test_lines_end_as_shell_scripts_expect(path):
    fill(path, 10)
    fill(path, 20)
    assert b"\r" not in path.read_bytes()


def test_every_row_is_on_disk_as_soon_as_it_is_reported(path):
    table = ProgressTable(path)
    for step in (10, 20, 30):
        table.append({"agent_steps": step})
        assert steps_in(path)[-1] == step


def test_rows_that_are_reported_again_replace_the_old_ones(path):
    fill(path, 10, 20, 30, 40)
    fill(path, 30, loss="new")
    assert steps_in(path) == [10, 20, 30]
    assert read_rows(path)[-1]["loss"] == "new"


def test_a_restart_in_the_same_process_drops_the_rows_after_its_checkpoint(path):
    table = fill(path, 10, 20, 30, 40)
    for step in (25, 35, 45):
        table.append({"agent_steps": step, "loss": 0})
    assert steps_in(path) == [10, 20, 25, 35, 45]


def test_a_continued_table_only_appends(path):
    fill(path, 10, 20)
    fill(path, 30, 40)
    assert steps_in(path) == [10, 20, 30, 40]
    assert path.read_text().count("agent_steps") == 1


@pytest.mark.parametrize("missing", range(2, 14))
def test_a_line_that_was_cut_short_is_left_out_and_the_next_one_stands_alone(path, missing):
    fill(path, 10, 20, 12345)
    # Of "12345,1234.5" and the end of the line; what is left may look like a whole number and be half of one.
    path.write_bytes(path.read_bytes()[:-missing])
    assert [int(row["agent_steps"]) for row in read_rows(path)] == [10, 20]
    fill(path, 12345, 20000)
    assert steps_in(path) == [10, 20, 12345, 20000]
    assert all(row["loss"] == str(int(row["agent_steps"]) / 10) for row in read_rows(path))


@pytest.mark.parametrize("content", ["", "agent_st", "agent_steps,loss", "agent_steps,loss\n", "agent_steps,loss\n10"])
def test_a_table_that_was_killed_before_its_first_row_starts_anew(path, content):
    path.write_text(content)
    assert read_rows(path) == []
    fill(path, 10)
    assert path.read_text().splitlines() == ["agent_steps,loss", "10,1.0"]


def test_a_new_column_is_empty_above_and_the_old_rows_stay(path):
    table = fill(path, 10, 20)
    table.append({"agent_steps": 30, "loss": 3.0, "kl": 0.5})
    table.append({"agent_steps": 40, "kl": 0.6})
    assert path.read_text().splitlines() == ["agent_steps,loss,kl", "10,1.0,", "20,2.0,", "30,3.0,0.5", "40,,0.6"]
    fill(path, 50)
    assert steps_in(path) == [10, 20, 30, 40, 50]


def test_seeds_share_a_table_and_none_drops_the_rows_of_another(path):
    table = ProgressTable(path)
    for seed, step in [(1, 10), (2, 10), (1, 20), (2, 20), (1, 30), (2, 20)]:
        table.append({"seed": seed, "agent_steps": step})
    assert [(row["seed"], row["agent_steps"]) for row in read_rows(path)] == [
        ("1", "10"),
        ("2", "10"),
        ("1", "20"),
        ("1", "30"),
        ("2", "20"),
    ]


def test_a_table_that_somebody_deleted_is_written_again(path):
    table = fill(path, 10, 20)
    path.unlink()
    table.append({"agent_steps": 30, "loss": 3.0})
    assert steps_in(path) == [10, 20, 30]


def test_there_are_no_rows_where_there_is_no_table(path):
    assert read_rows(path) == []


def test_nothing_is_lost_when_a_rewrite_is_killed(path, monkeypatch):
    table = fill(path, 10, 20, 30)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(directory.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        table.append({"agent_steps": 15})
    assert steps_in(path) == [10, 20, 30]


def test_a_file_is_replaced_at_once(tmp_path, monkeypatch):
    file = tmp_path / "run.json"
    replace(file, "old")
    replace(file, "new")
    assert file.read_text() == "new" and [p.name for p in tmp_path.iterdir()] == ["run.json"]

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(directory.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        replace(file, "never")
    assert file.read_text() == "new"


def test_a_run_has_a_directory_of_its_own_by_algorithm_environment_and_time(tmp_path, settings):
    one, two = (create(settings | {"output_dir": str(tmp_path / "out")}) for _ in range(2))
    assert one != two and one.is_dir() and two.is_dir()
    assert one.parent == tmp_path / "out" / "ppo" / "cartpole"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{4}", one.name)


def test_an_output_directory_that_cannot_be_made_is_a_mistake(tmp_path, settings):
    (tmp_path / "file").write_text("")
    with pytest.raises(Mistake, match=r"output_dir=.*file/x cannot be written .*; name another"):
        create(settings | {"output_dir": str(tmp_path / "file" / "x")})


def test_the_record_says_what_ran_and_under_what_circumstances(tmp_path, settings):
    write_start(tmp_path, settings, ["python", "run.py", "env=cartpole"], ["env=cartpole"])
    assert yaml.safe_load((tmp_path / "config.yaml").read_text()) == settings
    start = json.loads((tmp_path / "run.json").read_text())["starts"][0]
    assert start["command"] == ["python", "run.py", "env=cartpole"]
    assert start["packages"]["ray"] == "2.60.0" and {"torch", "gymnasium", "ale-py"} <= set(start["packages"])
    assert start["hardware"]["cpus"] >= 1 and start["hardware"]["memory_gib"] > 0 and start["hardware"]["cpu"]
    assert start["hardware"]["dtype"] == dtype_of(settings)
    assert start["python"].startswith("3.")
    if start["git"]:  # a checkout, not an archive
        assert re.fullmatch(r"[0-9a-f]{40}", start["git"]["commit"])
        assert start["git"]["dirty"] == (tmp_path / "git.diff").exists()


def test_every_start_is_recorded_and_the_newest_settings_stand(tmp_path, settings):
    write_start(tmp_path, settings, ["first"], ["algo.lr=1"])
    write_start(tmp_path, settings | {"episodes": 7}, ["second"], ["algo.lr=2", "episodes=7"])
    assert overrides_of(tmp_path) == ["algo.lr=1", "algo.lr=2", "episodes=7"]
    run, saved = open_run(str(tmp_path), "resume")
    assert run == tmp_path and saved == settings | {"episodes": 7}


def test_a_run_is_opened_by_a_relative_path_too(tmp_path, settings, monkeypatch):
    write_start(tmp_path, settings, [], [])
    monkeypatch.chdir(tmp_path.parent)
    assert open_run(tmp_path.name, "resume")[0] == tmp_path


@pytest.mark.parametrize(("name", "text"), [("config.yaml", "["), ("run.json", "{"), ("run.json", None)])
def test_a_directory_that_is_no_run_is_a_mistake(name, text, tmp_path, settings):
    write_start(tmp_path, settings, [], [])
    (tmp_path / name).unlink()
    if text:
        (tmp_path / name).write_text(text)
    with pytest.raises(Mistake, match=f"resume={tmp_path} is not a run directory") as told:
        open_run(str(tmp_path), "resume")
    assert text or f"(it has no {name})" in str(told.value)


SECRET = "search.storage=postgresql://bob:s3cret@127.0.0.1:1/name"


def test_no_password_is_kept_in_a_run_directory_and_a_reference_to_one_is(tmp_path, compose, monkeypatch):
    monkeypatch.setenv("STORAGE", SECRET.partition("=")[2])
    words = ["tune_searches=cartpole_ppo", "search.storage=${oc.env:STORAGE}"]
    settings = compose(words)
    assert "s3cret" in settings["search"]["storage"]
    write_start(tmp_path, settings, ["python", "run.py", "tune_searches=cartpole_ppo", SECRET], words)
    assert "s3cret" not in (tmp_path / "config.yaml").read_text() + (tmp_path / "run.json").read_text()
    # A resume reads it where the start did, and says so where the start was told it on the command line.
    assert command_line.experiment([f"resume={tmp_path}"])[0]["search"]["storage"] == settings["search"]["storage"]
    write_start(tmp_path, settings, ["python", "run.py", SECRET], [SECRET])
    with pytest.raises(Mistake, match="search.storage=postgresql://bob:\\*\\*\\*@.* give search.storage again"):
        command_line.experiment([f"resume={tmp_path}"])
    assert (
        command_line.experiment([f"resume={tmp_path}", SECRET])[0]["search"]["storage"] == settings["search"]["storage"]
    )


@pytest.mark.parametrize("word", ["", "--cfg job", "dry_run=false search.tirals=3", "command=submit cluster=ray"])
def test_no_password_is_printed(word, tmp_path, capfd):
    words = ["tune_searches=cartpole_ppo", SECRET, f"output_dir={tmp_path}", *word.split()]
    assert command_line.main(words) == (0 if "--cfg" in word else 2)
    printed = capfd.readouterr()
    assert "s3cret" not in printed.out + printed.err and printed.out + printed.err
    assert not [path for path in tmp_path.rglob("*") if path.is_file() and b"s3cret" in path.read_bytes()]


def test_ray_is_told_the_command_line_without_a_password(monkeypatch):
    monkeypatch.setattr(utils, "get_entrypoint_name", lambda: f"python run.py {SECRET} seed=1")
    cluster.mask_command_line()
    assert utils.get_entrypoint_name() == "python run.py search.storage=postgresql://bob:***@127.0.0.1:1/name seed=1"


@pytest.fixture
def earlier(compose, tmp_path):
    """An Assault run as a version without FIRE after a lost life left it, with its words and its settings."""
    words = ["env=assault", f"output_dir={tmp_path}"]
    settings = compose(words) | {"resume": "auto"}
    old = settings | {"env": {k: v for k, v in settings["env"].items() if k != "fire_on_life_loss"}}
    folder = create(old)
    write_start(folder, old, [], words)
    return words, settings, folder


def test_a_run_of_an_earlier_version_continues_under_its_own_rules(earlier):
    words, _, folder = earlier
    resume = f"resume={folder}"
    assert command_line.experiment([resume])[0]["env"]["fire_on_life_loss"] is False
    assert command_line.experiment([resume, "algo.lr=1e-4"])[0]["env"]["fire_on_life_loss"] is False
    typed = [resume, "env.fire_on_life_loss=true"]
    assert command_line.experiment(typed)[0]["env"]["fire_on_life_loss"] is True
    assert command_line.experiment(words)[0]["env"]["fire_on_life_loss"] is True, "a new run plays by today's"


def test_an_experiment_of_an_earlier_version_is_found_again_by_resume_auto_and_keeps_its_rules(earlier):
    words, settings, folder = earlier
    for _ in range(2):  # the second finds the rule in the saved settings
        assert directory.automatic(settings) == folder
        kept = keep_rules(settings, folder, words)
        assert kept["env"] == settings["env"] | {"fire_on_life_loss": False}
        write_start(folder, kept, [], words)
    assert keep_rules(settings, folder, ["env.fire_on_life_loss=true"]) == settings
    assert directory.automatic(settings | {"seed": 7}) is None
    new = create(settings | {"seed": 7})
    write_start(new, settings | {"seed": 7}, [], words)
    assert keep_rules(settings, new, words) == settings
