"""What Ray Tune is told: how many trials it asks for places at once, and when a user hears that there is none."""

import errno
import io
import math
import os
import re
import signal
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from ray.exceptions import RayActorError, RayError, RayTaskError
from rich.console import Console

from cluster.plan import make_plan
from loggers.metrics import Metrics
from loggers.row_writer import RowWriter
from loggers.run_logs import RunLogs
from playing.evaluations import Evaluation, make_columns, read_evaluations, write_evaluations
from playing.periodic_evaluation import PeriodicEvaluation
from run_directory.progress_table import ProgressTable
from run_directory.starts import write_start
from runs import training_process, tuning
from runs.display import Display
from runs.interrupt import Interrupt, stop_on_file_error
from runs.train import SeedSource, conclude, train_seeds
from runs.training_process import TrainingProcess
from runs.tuning import NodeLost, Recorder, StopCondition, WaitTimer, run_trials
from settings.mistakes import Mistake
from tests.runs.tiny_runs import rows_of


@pytest.mark.parametrize(("concurrent", "expected"), [(None, 3), (2, 2)])
def test_all_seeds_ask_for_their_places_at_the_same_time(concurrent, expected, compose, tmp_path, monkeypatch):
    """One after the other, each would wait until the one before it runs, and a cluster would grow node by node."""
    configs = []

    class Tuner:
        def __init__(self, trainable, tune_config, run_config):
            configs.append(tune_config)

        def fit(self):
            pass

    monkeypatch.setattr(tuning.tune, "Tuner", Tuner)
    plan = make_plan(compose(["env=cartpole", "seed=1,2,3"]))
    source = SeedSource(plan, tmp_path, list(plan.seeds))
    stop = StopCondition(tmp_path, lambda *_: True)
    screen = Display([1, 2, 3], 100, console=Console(file=io.StringIO()))
    logs = RunLogs(plan.settings, tmp_path)
    recorder = Recorder(tmp_path, source, stop, screen, lambda config, result: None, Metrics(plan.settings), logs)
    run_trials(recorder, max_failures=0, concurrent=concurrent)
    assert configs[0].max_concurrent_trials == expected and configs[0].num_samples == 3


def test_ray_tune_is_told_no_password_which_it_would_write_into_its_files(compose, tmp_path):
    settings = compose(["env=cartpole"]) | {"callbacks": [{"mine:Ping": {"every": 3, "password": "hunter2"}}]}
    config = SeedSource(make_plan(settings), tmp_path, [1]).suggest("a")
    assert "hunter2" not in str(config) and config["settings"]["callbacks"][0]["mine:Ping"]["every"] == 3


def test_a_disk_that_is_full_when_an_evaluation_comes_in_stops_the_run_and_its_row_is_tried(tmp_path, monkeypatch):
    for name in ("stop_requested", "stop_without_checkpoint", "reason"):
        monkeypatch.setattr(Interrupt, name, getattr(Interrupt, name))  # and back

    def collect(run):
        raise OSError(errno.ENOSPC, "No space left on device")

    nobody = SimpleNamespace(begin=lambda *_: None, report=lambda *_: None, add_row=lambda *_: None)
    evaluation = SimpleNamespace(collect=collect, make_new_columns=lambda run, latest: {})
    recorder = Recorder(tmp_path, nobody, nobody, nobody, lambda *_: None, nobody, nobody, nobody, evaluation)
    recorder.writers[str(tmp_path)] = RowWriter({1: tmp_path}, tmp_path, tensorboard=False)
    trial = SimpleNamespace(trial_id="a", config={"label": "seed 1", "dir": str(tmp_path)})
    result = {"notices": [], "failure": None, "reports": [(1, {"agent_steps": 1000}, [], None)]}
    recorder.on_trial_result(1, [trial], trial, result)
    assert [row["agent_steps"] for row in rows_of(tmp_path)] == [1000]
    assert Interrupt.stop_requested and "No space" in Interrupt.reason


def test_a_disk_whose_space_cannot_be_asked_for_stops_the_run(tmp_path, monkeypatch):
    for name in ("stop_requested", "stop_without_checkpoint", "reason"):
        monkeypatch.setattr(Interrupt, name, getattr(Interrupt, name))  # and back

    def fail(path):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(path))

    monkeypatch.setattr("shutil.disk_usage", fail)
    Interrupt.clear()
    assert StopCondition(tmp_path, lambda *_: False)("a", {"failure": None, "agent_steps": 1})
    assert str(tmp_path) in Interrupt.reason and Interrupt.stop_without_checkpoint


@pytest.mark.parametrize("number", [errno.EIO, errno.ESTALE, errno.EACCES, errno.ETIMEDOUT])
def test_a_checkpoint_that_cannot_be_kept_stops_the_run_and_is_named(number, tmp_path, monkeypatch):
    """Tune would swallow the error, and the run go on for hours with an old checkpoint."""
    for name in ("stop_requested", "stop_without_checkpoint", "reason"):
        monkeypatch.setattr(Interrupt, name, getattr(Interrupt, name))  # and back

    def keep_checkpoint(checkpoint, run):
        raise OSError(number, os.strerror(number), str(run))

    monkeypatch.setattr(tuning.checkpoints, "keep_checkpoint", keep_checkpoint)
    recorder = Recorder(tmp_path, *[None] * 6)
    recorder.writers[str(tmp_path)] = RowWriter({1: tmp_path}, tmp_path, tensorboard=False)
    trial = SimpleNamespace(last_result={}, config={"dir": str(tmp_path), "seeds": [1]})
    recorder.on_checkpoint(1, [trial], trial, SimpleNamespace(path=str(tmp_path)))
    assert Interrupt.stop_requested and os.strerror(number) in Interrupt.reason and str(tmp_path) in Interrupt.reason
    assert not Interrupt.stop_without_checkpoint, "the stop tries another one"


def test_a_table_that_cannot_be_written_stops_the_run_without_a_checkpoint_beyond_its_last_row(tmp_path, monkeypatch):
    """The next row, which comes before the stop, is refused by the reader of the table."""
    for name in ("stop_requested", "stop_without_checkpoint", "reason"):
        monkeypatch.setattr(Interrupt, name, getattr(Interrupt, name))  # and back
    nobody = SimpleNamespace(begin=lambda *_: None, report=lambda *_: None, add_row=lambda *_: None)
    recorder = Recorder(tmp_path, nobody, nobody, nobody, lambda *_: None, nobody, nobody, nobody)
    recorder.writers[str(tmp_path)] = RowWriter({1: tmp_path}, tmp_path, tensorboard=False)
    trial = SimpleNamespace(trial_id="a", config={"label": "seed 1", "dir": str(tmp_path)})

    def report(steps: int) -> None:
        reports = [(1, {"agent_steps": steps}, [], None)]
        recorder.on_trial_result(1, [trial], trial, {"notices": [], "failure": None, "reports": reports})

    report(1000)
    table = tmp_path / "progress.csv"
    stale = OSError(errno.ESTALE, os.strerror(errno.ESTALE), str(table))

    def refuse(real):
        def open_unless(path, *words, **more):
            if str(path) == str(table):
                raise stale
            return real(path, *words, **more)

        return open_unless

    with monkeypatch.context() as away:
        away.setattr("builtins.open", refuse(open))
        away.setattr(Path, "read_bytes", refuse(Path.read_bytes))
        recorder.writers[str(tmp_path)].close()
        report(2000)
        report(3000)
    assert Interrupt.stop_requested and Interrupt.stop_without_checkpoint
    assert Interrupt.reason.count(str(table)) == 1 and os.strerror(errno.ESTALE) in Interrupt.reason
    assert [row["agent_steps"] for row in rows_of(tmp_path)] == [1000]


def test_a_checkpoint_that_cannot_be_kept_after_ctrl_c_is_named_too(tmp_path, monkeypatch):
    for name in ("stop_requested", "stop_without_checkpoint", "reason"):
        monkeypatch.setattr(Interrupt, name, getattr(Interrupt, name))  # and back
    Interrupt.stop_requested = True
    for _ in range(2):
        with stop_on_file_error(tmp_path):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), "last")
    assert Interrupt.reason.startswith("last ") and "\n" not in Interrupt.reason


def test_an_error_that_is_of_no_file_is_not_taken_for_one(tmp_path):
    for error in (ConnectionRefusedError(errno.ECONNREFUSED, "refused"), TimeoutError("Ray does not answer")):
        with pytest.raises(OSError, match=str(error)[-6:]), stop_on_file_error(tmp_path):
            raise error
    assert not Interrupt.stop_requested


def test_a_row_that_a_full_disk_did_not_take_is_told_to_no_callback(tmp_path, monkeypatch):
    for name in ("stop_requested", "stop_without_checkpoint", "reason"):
        monkeypatch.setattr(Interrupt, name, getattr(Interrupt, name))  # and back
    told = []
    nobody = SimpleNamespace(begin=lambda *_: None, report=lambda *_: None)
    callbacks = SimpleNamespace(add_row=lambda *words: told.append(words))
    recorder = Recorder(tmp_path, nobody, nobody, nobody, lambda *_: None, nobody, nobody, callbacks)
    writer = recorder.writers[str(tmp_path)] = RowWriter({1: tmp_path}, tmp_path, tensorboard=False)
    trial = SimpleNamespace(trial_id="a", config={"label": "seed 1", "dir": str(tmp_path)})

    def report(steps: int) -> None:
        reports = [(1, {"agent_steps": steps}, [], None)]
        recorder.on_trial_result(1, [trial], trial, {"notices": [], "failure": None, "reports": reports})

    def add(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    report(1000)
    monkeypatch.setattr(writer, "add", add)
    report(2000)
    assert [row["agent_steps"] for _, row in told] == [1000]


def test_a_seed_that_is_resumed_by_itself_has_its_rows_in_the_table_of_all_seeds(compose, tmp_path):
    settings = compose(["env=cartpole", "seed=1,2"])
    run, alone = tmp_path / "run", tmp_path / "seed_3"
    for path, seed in ((run, [1, 2]), (run / "seed_1", 1), (run / "seed_2", 2), (alone, 3)):
        path.mkdir(exist_ok=True)
        write_start(path, settings | {"seed": seed}, [], [], "float32")
    logs = SimpleNamespace(tensorboard=False)
    recorder = Recorder(run / "seed_1", *[None] * 5, logs)
    recorder.open_writer(str(run / "seed_1")).add(1, {"agent_steps": 100})
    recorder.open_writer(str(alone)).add(3, {"agent_steps": 100})
    assert rows_of(run) == [{"seed": 1, "agent_steps": 100}] and not (tmp_path / "progress.csv").exists()


@pytest.mark.parametrize("owns_ray", [True, False])
def test_a_dry_run_has_nothing_to_save_and_ends_at_once(owns_ray, monkeypatch):
    Interrupt.clear()
    ended = []
    monkeypatch.setattr("runs.interrupt.exit_before_training", lambda: ended.append(True))
    for name, value in {"owns_ray": owns_ray, "saves": False}.items():
        monkeypatch.setattr(Interrupt, name, value)
    Interrupt.request_stop(signal.SIGINT, None)
    assert ended
    Interrupt.clear()


def test_no_checkpoint_is_promised_before_the_first_row_and_after_the_last(capsys):
    Interrupt.clear()
    Interrupt.request_checkpoint(signal.SIGUSR1, None)
    Interrupt.handle_report("a", {})
    Interrupt.end_trials()
    Interrupt.request_checkpoint(signal.SIGUSR1, None)
    Interrupt.request_stop(signal.SIGINT, None)
    assert "checkpoint" not in capsys.readouterr().out and Interrupt.num_checkpoint_requests == 0
    Interrupt.clear()


def test_a_disk_that_fills_before_the_first_checkpoint_is_said_to_have_left_none(tmp_path, capsys):
    Interrupt.clear()
    Interrupt.stop_if_disk_full(tmp_path, OSError(errno.ENOSPC, "No space left on device"))
    assert conclude({}, {1: tmp_path}, tmp_path) == 1
    assert "checkpoint is whole" not in (said := capsys.readouterr().out) and "there is no checkpoint" in said
    Interrupt.clear()


def test_a_seed_that_had_ended_has_not_failed_when_ray_dies(compose, tmp_path, monkeypatch, capsys):
    settings = compose(["env=cartpole", "seed=1,2", f"output_dir={tmp_path}", "logger=null"])
    for path, seed in ((tmp_path, [1, 2]), (tmp_path / "seed_1", 1), (tmp_path / "seed_2", 2)):
        path.mkdir(exist_ok=True)
        write_start(path, settings | {"seed": seed}, [], [], "float32")

    def run_trials(recorder, *words):
        recorder.source.suggest("a")
        recorder.source.on_trial_complete("a", {"failure": None})
        raise NodeLost("Ray died")

    monkeypatch.setattr("runs.train.run_trials", run_trials)
    assert train_seeds(make_plan(settings), tmp_path, [1, 2]) == 1
    said = capsys.readouterr().out
    assert "seed 2 failed: Ray died" in said and "seed 1 failed" not in said


def test_the_wait_for_a_place_is_told_once_and_never_while_a_trial_runs(monkeypatch):
    class Trial:
        status = "PENDING"

    clock, trials = [0.0], [Trial(), Trial()]
    monkeypatch.setattr(tuning.time, "monotonic", lambda: clock[0])
    timer = WaitTimer()
    told = []
    for clock[0] in (30.0, 61.0, 200.0):
        told.append(timer.runs_out(trials))
    assert told == [False, True, False]
    timer, trials[0].status = WaitTimer(), "RUNNING"
    clock[0] += 100.0
    assert not timer.runs_out(trials)


@pytest.fixture
def watched(tmp_path, monkeypatch):
    """A Recorder with three trials, of which the first and the second run; what it says; and a function that lets time
    pass, in seconds, during which the second trial reports, and returns how often each trial was told of so far."""
    clock, said = [0.0], []
    monkeypatch.setattr(tuning.time, "monotonic", lambda: clock[0])
    monkeypatch.setattr(tuning.ray, "nodes", lambda: [{"Alive": True}])
    logs, screen = SimpleNamespace(take_notices=list), SimpleNamespace(print_line=said.append)
    recorder = Recorder(tmp_path, SimpleNamespace(), SimpleNamespace(), screen, lambda *_: None, None, logs)
    trials = [
        SimpleNamespace(trial_id=str(seed), status=status, config={"label": f"seed {seed}", "dir": str(tmp_path)})
        for seed, status in enumerate(["RUNNING", "RUNNING", "PENDING"])
    ]

    def report(trial) -> None:
        recorder.on_trial_result(1, trials, trial, {"notices": [], "failure": None, "reports": []})

    def wait(seconds: float, second_reports: bool = True) -> list[int]:
        for _ in range(round(seconds / 10)):
            clock[0] += 10
            if second_reports:
                report(trials[1])
            recorder.on_step_end(1, trials)
        return [sum(line.startswith(f"seed {seed}:") for line in said) for seed in range(3)]

    return SimpleNamespace(clock=clock, trials=trials, recorder=recorder, report=report, wait=wait)


def test_a_trial_that_runs_and_reports_nothing_is_told_once_in_each_silence(watched):
    assert watched.wait(600) == [0, 0, 0] and watched.wait(20) == [1, 0, 0] and watched.wait(5000) == [1, 0, 0]
    watched.report(watched.trials[0])
    assert watched.wait(600) == [1, 0, 0] and watched.wait(10) == [2, 0, 0]
    assert watched.wait(5000, second_reports=False) == [2, 1, 0]


def test_a_trial_that_starts_again_is_not_silent_since_before(watched, monkeypatch):
    monkeypatch.setattr(tuning, "read_trial", lambda config: ({}, {}, []))
    first = watched.trials[0]
    watched.wait(300)
    first.status = "PENDING"
    watched.wait(900)
    first.status = "RUNNING"
    watched.recorder.on_trial_start(1, watched.trials, first)
    assert watched.wait(600) == [0, 0, 0] and watched.wait(10) == [1, 0, 0]
    watched.recorder.on_trial_start(1, watched.trials, first)
    assert watched.wait(600) == [1, 0, 0] and watched.wait(10) == [2, 0, 0]


def test_the_time_in_which_the_driver_was_suspended_is_nobodys_silence(watched):
    watched.wait(100)
    watched.clock[0] += 3600
    assert watched.wait(600) == [0, 0, 0] and watched.wait(20) == [1, 0, 0]


@pytest.mark.parametrize("lost", ["merged", "own", "both"])
def test_an_evaluation_comes_once_into_the_table_of_its_seed_and_once_into_that_of_all(tmp_path, lost):
    """A run may have been killed after it had written one of the two, and rows may be reported again."""
    runs = {1: tmp_path / "seed_1", 2: tmp_path / "seed_2"}
    queue = PeriodicEvaluation({}, {run: run.name for run in runs.values()}, print, print)
    queue.evaluations[runs[1]] = [Evaluation(500, "stochastic", 4, 20.0, 10.0, 30.0, 0, 0.1)]
    later = Evaluation(1700, "stochastic", 4, 25.0, 10.0, 30.0, 0, 0.1)
    writer = RowWriter(runs, tmp_path, tensorboard=False)
    for seed in runs:
        runs[seed].mkdir()
        writer.add(seed, {"agent_steps": 1000})
    named = {"agent_steps": 1000, "evaluation_agent_steps": 500}
    if lost == "merged":
        writer.tables[1].append(named)
    elif lost == "own":
        writer.merged.append({"seed": 1} | named)
    added = {seed: [] for seed in runs}
    for steps in (1500, 1500, 2000):  # the second takes the place of the first, and of its evaluation
        if steps == 2000:
            queue.evaluations[runs[1]].append(later)
        for seed, run in runs.items():
            columns = writer.add(seed, {"agent_steps": steps}, (), partial(queue.make_new_columns, run))
            added[seed].append(columns.get("evaluation_agent_steps"))
    assert added == {1: [500, 500, 1700], 2: [None, None, None]}
    for path in (tmp_path, runs[1]):
        assert [int(row["agent_steps"]) for row in rows_of(path, seed=1 if path == tmp_path else None)] == [
            1000,
            1500,
            2000,
        ]
        assert [row["evaluation_agent_steps"] for row in rows_of(path) if row["evaluation_agent_steps"] > 0] == [
            500,
            1700,
        ]
    assert "evaluation_agent_steps" not in rows_of(runs[2])[0]


class Attempt(TrainingProcess):
    """A training process whose seeds raise an error when they train."""

    def __init__(self, error: Exception, trained_s: float = 0.0):
        self.config, self.error, self.trained_s, self.rows = {"settings": {}}, None, trained_s, {}
        self.budget, self.to_raise = 100, error

    def train_seeds(self):
        raise self.to_raise


def test_an_error_before_the_first_row_is_reported_once_with_its_place(monkeypatch, tmp_path):
    monkeypatch.setattr(training_process, "read_trial", lambda config: ({}, {1: tmp_path}, [1]))
    result = Attempt(KeyError("no such tile")).step()
    assert re.search(r"^KeyError: .*no such tile.* \(test_tuning\.py, line \d+\)$", result["failure"])
    assert result["traceback"].startswith("Traceback") and "in train_seeds" in result["traceback"]
    assert result["reports"] == [] and math.isnan(result["score"]) and not result["should_checkpoint"]


@pytest.mark.parametrize(
    ("error", "trained_s"),
    [
        (KeyError("x"), 1.0),
        (RayError("lost"), 0.0),
        (RayTaskError("update", "traceback", RayActorError()), 0.0),
        (ConnectionError("not up yet"), 0.0),
        (Mistake("config.yaml is not there"), 0.0),
    ],
    ids=["after a row", "a lost process", "a process lost by another", "a machine", "a file"],
)
def test_what_may_pass_is_raised_so_that_tune_starts_again(error, trained_s, monkeypatch, tmp_path):
    monkeypatch.setattr(training_process, "read_trial", lambda config: ({}, {1: tmp_path}, [1]))
    with pytest.raises(type(error)):
        Attempt(error, trained_s).step()


def test_an_error_is_raised_where_there_is_a_checkpoint_or_the_process_runs_other_trials_too(monkeypatch, tmp_path):
    monkeypatch.setattr(training_process, "read_trial", lambda config: ({}, {1: tmp_path}, [1]))
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    with pytest.raises(KeyError):
        Attempt(KeyError("x")).step()
    monkeypatch.setattr(training_process, "read_trial", lambda config: ({}, {1: tmp_path / "new"}, [1]))
    of_a_search = Attempt(KeyError("x"))
    of_a_search.config = {"until": 5}
    with pytest.raises(KeyError):
        of_a_search.step()


def test_an_error_of_code_in_another_process_is_reported_too(monkeypatch, tmp_path):
    monkeypatch.setattr(training_process, "read_trial", lambda config: ({}, {1: tmp_path}, [1]))
    error = RayTaskError("update", "traceback", KeyError("no such tile")).as_instanceof_cause()
    assert "no such tile" in Attempt(error).step()["failure"]


def test_a_process_that_cannot_start_because_of_its_code_is_reported(monkeypatch, tmp_path):
    monkeypatch.setattr(training_process, "read_trial", lambda config: ({}, {1: tmp_path}, [1]))
    error = RayActorError(error_msg="the runner raised KeyError", actor_init_failed=True)
    assert "the runner raised KeyError" in Attempt(error).step()["failure"]


def test_a_driver_killed_before_the_last_evaluation_is_in_progress_csv_puts_it_there_the_next_time(
    tmp_path, monkeypatch
):
    weights = tmp_path / "checkpoints" / "evaluate_1000"
    weights.mkdir(parents=True)
    write_evaluations(tmp_path, [Evaluation(1000, "stochastic", 4, 20.0, 10.0, 30.0, 0, 0.1)])
    sent = []

    def end_run() -> None:
        evaluation = PeriodicEvaluation({}, {tmp_path: "seed 1"}, print, print)
        logs = SimpleNamespace(amend=lambda run, cells: sent.append(cells))
        recorder = Recorder(tmp_path, None, None, None, print, None, logs, None, evaluation)
        recorder.writers[str(tmp_path)] = RowWriter({1: tmp_path}, tmp_path, tensorboard=False)
        recorder.finish_evaluations([str(tmp_path)])

    RowWriter({1: tmp_path}, tmp_path, tensorboard=False).add(1, {"agent_steps": 1200})
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(ProgressTable, "amend", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt()))
        end_run()
    assert weights.exists(), "without them, the run is at its end"
    end_run()
    assert rows_of(tmp_path)[-1]["evaluation_mean"] == 20.0 and not weights.exists()
    assert sent == [{"agent_steps": "1200"} | make_columns(read_evaluations(tmp_path)[0])]
    end_run()
    assert len(sent) == 1
