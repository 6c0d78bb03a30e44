"""What loggers are sent, once and in order, and what becomes of it where they are slow, broken or gone."""

import json
import signal
import subprocess
import sys
import time
from contextlib import suppress
from functools import partial
from pathlib import Path

import psutil
import pytest

from environments.checkout import ROOT
from loggers import run_logs, sender
from loggers.check import find_place
from loggers.identity import record_loss
from loggers.results import send_results
from loggers.row_writer import RowWriter
from loggers.run_logs import RunLogs, open_logs
from run_directory.writing import lock_folder


def make_row(steps: int) -> dict[str, float]:
    """A row of progress.csv."""
    return {"agent_steps": steps, "loss": steps / 10, "score": float("nan")}


def train(run: Path, settings: dict, began_at: int, steps: list[int], end: bool = True) -> RunLogs:
    """What the recorder of a training does from a checkpoint on; `settings` name the loggers."""
    logs, writer = RunLogs(settings, run), RowWriter({1: run}, run)
    logs.begin(run, began_at)
    writer.begin(1, began_at)
    for count in steps:
        writer.add(1, make_row(count))
        logs.report(run, make_row(count))
    writer.close()
    if end:
        assert "not sent" not in " ".join(logs.close(120))
    return logs


def steps_of(told: list) -> list[int]:
    return [words["step"] for what, words in told if what == "log"]


def read_starts_of(run: Path) -> list[dict]:
    """The starts in run.json, read without this suite."""
    return json.loads((run / "run.json").read_text())["starts"]


def test_a_run_is_opened_once_with_its_settings_and_gets_every_finite_number(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb", "seed=7", "label=wide")
    train(run, settings, 0, [100, 200])
    (what, opened), *logged, (last, ended) = told()
    assert (what, last, ended["exit_code"]) == ("init", "finish", 0)
    assert opened["group"] == "ppo/cartpole/wide" and opened["name"] == "run" and opened["dir"] == str(run)
    assert opened["tags"] == ["ppo", "cartpole", "wide"]
    assert opened["config"]["seed"] == 7 and opened["config"]["algo"]["name"] == "ppo"
    assert opened["config"]["run_directory"] == str(run) and opened["config"]["command_line"] == "python run.py"
    assert [words["row"] for _, words in logged] == [
        {"agent_steps": 100, "loss": 10.0},
        {"agent_steps": 200, "loss": 20.0},
    ]
    assert [words["step"] for _, words in logged] == [100, 200]
    assert "rows_not_sent" not in read_starts_of(run)[-1]


def test_a_run_that_continues_has_the_same_id_and_sends_no_row_twice(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    train(run, settings, 0, [100, 200, 300])
    train(run, settings, 200, [290, 390])  # 300 was sent by the driver that was killed
    (run / "loggers.json").rename(run / "kept")
    train(run, settings, 390, [490])  # as if it had never been logged: it gets the same id, and all rows
    opened = [words for what, words in told() if what == "init"]
    assert len(opened) == 3 and len({words["id"] for words in opened}) == 1
    assert {words["resume"] for words in opened} == {"allow"}
    assert steps_of(told()) == [100, 200, 300, 390] + [100, 200, 290, 390, 490]


def test_rows_that_were_sent_beyond_two_checkpoints_are_remembered(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    train(run, settings, 0, [100, 200, 300])
    train(run, settings, 100, [180])  # progress.csv ends at 180 now
    train(run, settings, 180, [280, 380])
    assert steps_of(told()) == [100, 200, 300, 380]


def test_rows_that_were_lost_are_sent_when_the_run_is_opened_again(fake_wandb, begun_run):
    run, settings = begun_run("logger=wandb")
    fake_wandb("raises")
    train(run, settings, 0, [100, 200], end=False).close(120)
    train(run, settings, 200, [300], end=False).close(120)
    told = fake_wandb()
    train(run, settings, 200, [290, 390])  # it goes on from 200; 300, which nobody has got, was dropped
    assert steps_of(told()) == [100, 200, 290, 390]
    train(run, settings, 390, [490])
    assert steps_of(told()) == [100, 200, 290, 390, 490]


def test_rows_that_a_killed_driver_may_have_lost_are_sent_when_the_run_continues(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    killed = [train(run, settings, 0, [100], end=False)]  # and its end is written nowhere, as after SIGKILL
    wait_until(lambda: steps_of(told()) == [100])
    fake_wandb("raises")
    killed.append(train(run, settings, 100, [200, 300], end=False))
    for logs in killed:
        logs.senders["wandb"].close(time.monotonic())
    told = fake_wandb()
    train(run, settings, 300, [400])
    assert steps_of(told())[-3:] == [200, 300, 400]
    count = len(steps_of(told()))
    train(run, settings, 400, [500])
    assert steps_of(told())[count:] == [500], "all had arrived"


def test_what_is_known_to_have_arrived_is_noted_on_the_way(fake_wandb, begun_run, monkeypatch):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    logs = train(run, settings, 0, [100, 200], end=False)
    wait_until(lambda: steps_of(told()) == [100, 200] and logs.senders["wandb"].find_first_unsent(str(run)) == 201)
    logs.next_note = 0.0
    logs.report(run, make_row(300))
    assert json.loads((run / "loggers.json").read_text())["missing"] == {"wandb": 201}
    logs.close(120)
    assert json.loads((run / "loggers.json").read_text())["missing"] == {}


def test_a_logger_that_keeps_its_runs_elsewhere_now_gets_all_rows(fake_wandb, begun_run, monkeypatch):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    train(run, settings, 0, [100, 200])
    monkeypatch.setenv("WANDB_PROJECT", "another")
    train(run, settings, 200, [300])
    train(run, settings, 300, [400])
    assert steps_of(told()) == [100, 200, 100, 200, 300, 400]


@pytest.mark.parametrize(
    ("store", "same"),
    [("", False), ("sqlite:///mlflow.db", False), ("sqlite:////tmp/m.db", True), ("http://a", True), ("file:/a", True)],
)
def test_a_store_of_mlflow_where_one_stands_is_another_elsewhere(store, same, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    before = find_place("mlflow")
    monkeypatch.chdir(tmp_path)
    assert (find_place("mlflow") == before) == same


def test_an_end_that_was_not_taken_is_said_as_such(fake_wandb, begun_run):
    fake_wandb("ends badly")
    run, settings = begun_run("logger=wandb")
    said = " ".join(train(run, settings, 0, [100], end=False).close(120))
    assert "shown as running" in said and "still sending" not in said


def test_a_process_that_starts_again_in_the_same_driver_repeats_no_row(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    logs = train(run, settings, 0, [100, 200], end=False)
    logs.begin(run, 100)
    for steps in (190, 290):
        logs.report(run, make_row(steps))
    logs.close(120)
    assert steps_of(told()) == [100, 200, 290] and [what for what, _ in told()].count("init") == 1


def test_a_logger_that_comes_later_gets_the_rows_before(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run()
    train(run, settings | {"logger": None}, 0, [100, 200, 300], end=False)
    train(run, settings | {"logger": ["wandb"]}, 200, [300])
    assert steps_of(told()) == [100, 200, 300]


def test_every_file_of_wandb_offline_is_complete_and_without_rows_that_were_dropped(fake_wandb, begun_run, monkeypatch):
    """`wandb sync` replaces a run by what the newest file of its id has."""
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    train(run, settings, 0, [100, 200, 300])
    before = len(told())
    train(run, settings, 200, [290])
    assert steps_of(told()[before:]) == [100, 200, 290]


def test_trials_and_arms_are_grouped_under_their_search_and_their_grid(fake_wandb, begun_run):
    told = fake_wandb()
    for folder, name in ("searches/wide", "trials/0007"), ("grids/algo_3f", "a2c/seed_2"):
        run, settings = begun_run(name=f"outputs/{folder}/{name}")
        logs = RunLogs(settings | {"logger": ["wandb"]}, run.parents[1])
        logs.begin(run, 0)
        logs.report(run, make_row(5))
        logs.finish([run], failed=True)
        logs.close(120)
        opened, *_, ended = (words for _, words in told()[-3:])
        assert (opened["group"], opened["name"], ended["exit_code"]) == (folder, name, 1)


def test_a_logger_that_raises_in_every_call_loses_every_row_and_the_user_hears_of_it_once(fake_wandb, begun_run):
    fake_wandb("raises")
    run, settings = begun_run("logger=wandb")
    logs = train(run, settings, 0, [100, 200, 300], end=False)
    first, second = (sentence for sentence in logs.close(120) if "fake/run" not in sentence)
    assert "ConnectionError: the network is gone; the run goes on" in first
    assert "3 of 3 rows were not sent (ConnectionError: the network is gone)" in second
    lost = {"rows": 3, "why": "ConnectionError: the network is gone"}
    assert read_starts_of(run)[-1]["rows_not_sent"] == {"wandb": lost}


def test_what_an_evaluation_loses_is_added_to_what_its_run_has_lost(begun_run):
    run, _ = begun_run("logger=null")
    for name, rows, why in (("mlflow", 5, "a"), ("wandb", 1, "b"), ("mlflow", 2, "c")):
        record_loss(run, {name: {"rows": rows, "why": why}})
    found = {"mlflow": {"rows": 7, "why": "c"}, "wandb": {"rows": 1, "why": "b"}}
    assert read_starts_of(run)[-1]["rows_not_sent"] == found


def test_a_logger_that_hangs_holds_nobody_up_and_is_ended(fake_wandb, begun_run):
    """No call but `close` may wait: had one, this test would run into its time limit."""
    fake_wandb("hangs")
    run, settings = begun_run("logger=wandb")
    rows = sender.QUEUE_MESSAGES + 500
    logs = RunLogs(settings, run)
    logs.begin(run, 0)
    for steps in range(1, rows + 1):
        logs.report(run, make_row(steps))
    wait_until(find_loggers)
    (process,) = find_loggers()
    sentences = logs.close(0.5)
    assert f"{rows:,} of {rows:,} rows were not sent" in sentences[-1]
    assert read_starts_of(run)[-1]["rows_not_sent"]["wandb"]["rows"] == rows
    wait_until(lambda: not process.is_running())


def find_loggers(pid: int | None = None) -> list[psutil.Process]:
    """The processes of loggers that this process, or another, has started."""
    return [one for one in psutil.Process(pid).children() if "loggers.process" in one.cmdline()]


def test_a_process_that_dies_is_told_with_its_code(fake_wandb, begun_run):
    fake_wandb("dies")
    run, settings = begun_run("logger=wandb")
    logs = train(run, settings, 0, [100, 200], end=False)
    assert "2 of 2 rows were not sent (its process ended with code 3)" in logs.close(120)[-1]


def test_a_package_that_cannot_be_imported_costs_rows_and_no_training(fake_wandb, begun_run, tmp_path):
    fake_wandb()
    (tmp_path / "fake" / "wandb.py").write_text("import no_such_module\n")
    run, settings = begun_run("logger=wandb")
    logs = train(run, settings, 0, [100], end=False)
    assert "1 of 1 row was not sent (ModuleNotFoundError: " in logs.close(120)[-1]


def test_a_run_directory_that_cannot_be_written_or_read_costs_a_sentence_and_no_training(fake_wandb, begun_run):
    told = fake_wandb()
    run, settings = begun_run("logger=wandb")
    (run / "loggers.json").write_text("{")
    logs = train(run, settings, 0, [100], end=False)
    (sentence,) = logs.close(120)
    assert str(run) in sentence and "loggers.json is damaged" in sentence and told() == []


def test_a_loss_that_run_json_cannot_hold_is_said(fake_wandb, begun_run):
    fake_wandb("raises")
    run, settings = begun_run("logger=wandb")
    logs = train(run, settings, 0, [100], end=False)
    (run / "run.json").write_text("[]")
    assert f"{run}: it is not recorded there" in logs.close(120)[-1]


def test_a_driver_that_is_killed_leaves_an_ended_run_and_no_process(fake_wandb, begun_run, tmp_path):
    told = fake_wandb()
    run, _ = begun_run("logger=wandb")
    script = (
        "import time; from pathlib import Path; from loggers.run_logs import RunLogs; from run_directory.files import "
        f"read_yaml; run = Path({str(run)!r}); logs = RunLogs(read_yaml(run / 'config.yaml'), run); "
        "logs.begin(run, 0); logs.report(run, {'agent_steps': 5}); time.sleep(600)"
    )
    driver = subprocess.Popen([sys.executable, "-c", script], cwd=ROOT)
    wait_until(lambda: steps_of(told()) == [5])
    (process,) = find_loggers(driver.pid)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):  # as a scheduler sends them to all processes
        process.send_signal(number)
    driver.send_signal(signal.SIGKILL)
    driver.wait()
    process.wait(120)
    assert told()[-1][0] == "finish" and told()[-1][1]["exit_code"] == 1


def wait_until(is_so) -> None:
    end = time.monotonic() + 60
    while not is_so():
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)


def test_a_logger_that_is_back_gets_rows_again(fake_wandb, begun_run, monkeypatch, tmp_path):
    """A run that could not be opened is tried again after RETRY_S seconds."""
    told = fake_wandb()
    monkeypatch.setattr(sender, "RETRY_S", 0.0)
    notes = tmp_path / "notes"
    notes.mkdir()  # the fake cannot note anything, and raises
    run, settings = begun_run("logger=wandb")
    logs = RunLogs(settings, run)
    logs.begin(run, 0)
    logs.report(run, make_row(100))
    wait_until(lambda: logs.senders["wandb"].lost.total() == 1)
    notes.rmdir()
    logs.report(run, make_row(200))
    assert "1 of 2 rows was not sent" in logs.close(120)[-1]
    assert steps_of(told()) == [200]


def test_close_waits_as_long_as_this_room_says(fake_wandb, begun_run, monkeypatch):
    fake_wandb("hangs")
    monkeypatch.setattr(run_logs, "CLOSE_S", 0.2)
    run, settings = begun_run("logger=wandb")
    logs = train(run, settings, 0, [100], end=False)
    assert "1 of 1 row was not sent" in logs.close()[-1]


def test_an_address_is_said_without_its_password(fake_wandb, begun_run):
    fake_wandb()
    run, settings = begun_run("logger=wandb")
    (sentence,) = train(run, settings, 0, [100], end=False).close(120)
    assert "fake/run" in sentence and "hunter2" not in sentence


def test_a_run_that_cannot_be_opened_costs_no_other_run_its_rows(fake_wandb, begun_run):
    told = fake_wandb("refuses")
    runs = [begun_run(name=f"outputs/grids/two/{name}/seed_1") for name in ("first", "second")]
    logs = RunLogs(runs[0][1] | {"logger": ["wandb"]}, runs[0][0].parents[1])
    for run, _ in runs:
        logs.begin(run, 0)
        logs.report(run, make_row(100))
    assert "1 of 2 rows was not sent (ConnectionError: no such project)" in logs.close(120)[-1]
    assert steps_of(told()) == [100]


def test_cells_that_come_after_the_last_row_are_sent_while_the_run_is_open_and_afterwards(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    logs = train(run, settings, 0, [100, 200], end=False)
    logs.amend(run, {"agent_steps": "200", "evaluation_mean": 7.5})
    logs.finish([run], failed=False)
    logs.amend(run, {"agent_steps": "200", "evaluation_mean": 8.5})
    logs.close(120)
    assert [what for what, _ in told()] == ["init", "log", "log", "log", "finish", "init", "log", "finish"]
    late = [words["row"] for what, words in told() if what == "log"][2:]
    assert late == [{"agent_steps": 200, "evaluation_mean": mean} for mean in (7.5, 8.5)]
    assert steps_of(told()) == [100, 200, 200, 201], "the server drops a step that it has passed"


def test_a_run_stays_open_for_an_evaluation_that_may_come_and_ends_as_its_training_did(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    logs = train(run, settings, 0, [100], end=False)
    logs.end_training([run], failed=True, may_come=True)
    logs.amend(run, {"agent_steps": 100, "evaluation_mean": 1.0})
    logs.close(120)
    assert [what for what, _ in told()] == ["init", "log", "log", "finish"] and told()[-1][1]["exit_code"] == 1


def test_a_training_under_way_when_an_error_ends_all_has_failed(fake_wandb, begun_run, monkeypatch):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    for ended in (False, True):
        with suppress(ZeroDivisionError), open_logs(settings, run, print) as logs:
            monkeypatch.setattr(logs, "close", partial(logs.close, 120))
            logs.begin(run, 0)
            logs.report(run, make_row(200 if ended else 100))
            if ended:
                logs.end_training([run], failed=False, may_come=True)
            raise ZeroDivisionError
    assert [words["exit_code"] for what, words in told() if what == "finish"] == [1, 0]


def test_what_is_sent_to_a_failed_run_later_leaves_it_failed(fake_wandb, begun_run):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    logs = train(run, settings, 0, [100], end=False)
    logs.end_training([run], failed=True, may_come=False)
    logs.amend(run, {"agent_steps": 100, "evaluation_mean": 1.0})
    logs.close(120)
    (run / "page.html").write_text("<p>")
    send_results(run, since=0)
    assert [words["exit_code"] for what, words in told() if what == "finish"] == [1, 1, 1]
    train(run, settings, 100, [200])  # continued, to its end
    send_results(run, since=0)
    assert [words["exit_code"] for what, words in told() if what == "finish"][3:] == [0, 0]


def test_results_of_a_run_that_trains_are_not_sent_because_that_would_end_it(fake_wandb, begun_run, capsys):
    told, (run, settings) = fake_wandb(), begun_run("logger=wandb")
    (run / "page.html").write_text("<p>")
    train(run, settings, 0, [100], end=False)
    wait_until(lambda: steps_of(told()) == [100])
    before = told()
    with lock_folder(run):
        send_results(run, since=0)
    said = capsys.readouterr().err
    assert said.startswith(f"{run}: ") and said.count("\n") == 1
    assert told() == before
    send_results(run, since=0)
    assert "finish" in [what for what, _ in told()[len(before) :]]


def test_results_of_a_damaged_run_directory_are_refused_with_the_reason(fake_wandb, begun_run, capsys):
    fake_wandb()
    run, settings = begun_run("logger=wandb")
    train(run, settings, 0, [100])
    (run / "page.html").write_text("<p>")
    (run / "progress.csv").write_bytes(bytes([0xFF, 0xFE]))
    send_results(run, since=0)
    printed = capsys.readouterr().err
    assert "progress.csv" in printed and "KeyError" not in printed
