"""Ray Tune, driven in one way by trainings and searches: the source of trials, their ends, what is written of them.

    TrialSource -> TrainingProcess (in Ray) -> results -> StopCondition, Recorder -> run directories, display, metrics

Everything that has to survive a killed process is written here, in the driver, as soon as a trial reports it, or lies
in a checkpoint. Tune's own snapshots are not used: they are written seldom, and know nothing of run directories.
"""

import math
import shutil
import time
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import cloudpickle, tune
from ray.exceptions import RayActorError, RayError
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from cluster.plan import list_seeds
from extensions.callbacks import Callbacks, Run
from loggers.metrics import Metrics
from loggers.row_writer import RowWriter
from loggers.run_logs import RunLogs
from playing.periodic_evaluation import PeriodicEvaluation
from run_directory import checkpoints
from run_directory.files import read_yaml
from run_directory.layout import CONFIG, STARTS, TUNE, checkpoint_path, seed_paths
from runs.display import Screen
from runs.interrupt import Interrupt, stop_on_file_error
from runs.training_process import TrainingProcess, read_trial
from settings.mistakes import find_cause, format_error

WAIT_S = 60.0  # that no trial runs before the user is told why
SILENCE_S = 600.0  # that a running trial reports nothing before the user is told so
ENDED = ("TERMINATED", "ERROR")


class NodeLost(RuntimeError):
    """There is no machine left to run on."""


class TrialSource(Searcher):
    """Gives Ray Tune its trials one by one, and hears of their ends.

    A trial is a dict with
        label: its name for people, such as `seed 3` or `trial 7`.
        dir: its run directory, which holds its settings and, where it continues, its checkpoints.
    and what else TrainingProcess reads.

    Attributes:
        total: the number of trials.
    """

    total: int

    def fail_trial(self, config: dict, reason: str) -> None:
        """Take note that a trial has failed, in its own process or because that process died too often."""
        raise NotImplementedError

    def __getstate__(self) -> dict:
        return {}  # Tune pickles it for Tuner.restore, which is not used here

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: what has to be known later is in the run directories, and of a search in its storage."""


class StopCondition(tune.Stopper):
    """Ends a trial that has reached its end or has failed, and every trial once the user or a full disk asks for it.

    Args:
        folder: of the run or the search.
        is_finished: told Tune's id of a trial and its result, returns whether it has reached its end.
    """

    def __init__(self, folder: Path, is_finished: Callable[[str, dict], bool]):
        self.folder, self.is_finished = folder, is_finished
        self.drop_waiting = False  # set once nothing runs: it ends the trials that wait without a checkpoint

    def __call__(self, trial_id: str, result: dict) -> bool:
        Interrupt.handle_report(trial_id, result)
        if result["failure"] or self.is_finished(trial_id, result):
            return True
        with stop_on_file_error(self.folder, may_save=False):  # Tune would end with a traceback
            Interrupt.check_disk_space(self.folder)
        return Interrupt.stop_requested

    def stop_all(self) -> bool:
        return self.drop_waiting or Interrupt.stop_without_checkpoint


class WaitTimer:
    """Decides when to tell the user that no trial runs, once, and that one which runs reports nothing."""

    def __init__(self):
        self.last_run = self.last_look = time.monotonic()
        self.is_over = False
        self.heard: dict[str, float] = {}  # trial -> time of its last start or report, in seconds; inf once told

    def runs_out(self, trials: list[Trial]) -> bool:
        """Return True once: none of the trials has run for WAIT_S seconds, and one waits to begin."""
        statuses = {trial.status for trial in trials}
        if "RUNNING" in statuses:
            self.last_run = time.monotonic()
        waited = "PENDING" in statuses and time.monotonic() - self.last_run > WAIT_S
        told, self.is_over = self.is_over, self.is_over or waited
        return waited and not told

    def describe_silence(self, trials: list[Trial]) -> list[str]:
        """Return a sentence for each trial that runs and has just been silent for SILENCE_S seconds."""
        if time.monotonic() - self.last_look > WAIT_S:
            self.heard.clear()  # this process was suspended, and reports wait
        self.last_look = now = time.monotonic()
        running = [trial for trial in trials if trial.status == "RUNNING"]
        silent = [trial for trial in running if now - self.heard.setdefault(trial.trial_id, now) > SILENCE_S]
        self.heard |= {trial.trial_id: math.inf for trial in silent}
        what = f"no row for {SILENCE_S / 60:.0f} minutes; does its environment hang? See docs/faults.md"
        return [f"{trial.config['label']}: {what}" for trial in silent]


class Recorder(tune.Callback):
    """Writes the rows and checkpoints of trials into their run directories as they come, and shows them.

    Args:
        folder: of the run or the search.
        source: of the trials; it is told which of them fail.
        stop: its `drop_waiting` is set when the user has asked to stop and no trial runs any more.
        screen: shows notices and faults.
        show: given the config and the result of a trial, shows its numbers.
        metrics: shows the rows to Prometheus.
        logs: sends the rows to the loggers of the run.
        callbacks: the user's own; None: none.
        evaluation: of `evaluate_every`; None: there is none.
    """

    def __init__(
        self,
        folder: Path,
        source: TrialSource,
        stop: StopCondition,
        screen: Screen,
        show: Callable[[dict, dict], None],
        metrics: Metrics,
        logs: RunLogs,
        callbacks: Callbacks | None = None,
        evaluation: PeriodicEvaluation | None = None,
    ):
        self.folder, self.source, self.stop, self.screen, self.show = folder, source, stop, screen, show
        self.metrics, self.logs, self.callbacks = metrics, logs, callbacks or Callbacks({}, Interrupt.stop_for)
        self.evaluation = evaluation
        self.writers: dict[str, RowWriter] = {}  # run directory -> what writes there
        self.notices: set[str] = set()  # that were shown already
        self.timer = WaitTimer()

    def __getstate__(self) -> dict:
        return {}  # Tune pickles its callbacks for Tuner.restore, which is not used here

    def open_writer(self, directory: str) -> RowWriter:
        """Return the writer of a run directory and of its seeds; it is made when it is first asked for."""
        if directory not in self.writers:
            path = Path(directory)
            seeds = list_seeds(read_yaml(path / CONFIG))
            is_seed = path.name.startswith("seed_") and (path.parent / STARTS).exists()  # of a run, resumed by itself
            parent = path.parent if is_seed else path  # its progress.csv has the rows of all seeds
            self.writers[directory] = RowWriter(seed_paths(path, seeds), parent, self.logs.tensorboard)
        return self.writers[directory]

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        label, run = trial.config["label"], Path(trial.config["dir"])
        self.timer.heard[trial.trial_id] = time.monotonic()
        for seed, notice in result["notices"]:
            sentence = f"{label}: {notice}" if label == f"seed {seed}" else f"{label}: seed {seed}: {notice}"
            if sentence not in self.notices:
                self.notices.add(sentence)
                self.screen.print_line(sentence)
        for seed, row, workers, began_at in result["reports"]:
            with stop_on_file_error(self.folder, may_save=False):
                writer = self.open_writer(str(run))
                self.logs.begin(writer.dirs[seed], writer.tables[seed].last_step if began_at is None else began_at)
                if began_at is not None:
                    writer.begin(seed, began_at)
                    if self.evaluation:
                        self.evaluation.drop_beyond(writer.dirs[seed], began_at)
                if result["failure"] and row["agent_steps"] <= max(0, writer.tables[seed].last_step):
                    continue  # nothing was played since the last row
                if self.evaluation:
                    with stop_on_file_error(self.folder):  # the row is tried even so
                        self.evaluation.collect(writer.dirs[seed])
                    find = partial(self.evaluation.make_new_columns, writer.dirs[seed])
                    row |= writer.add(seed, row, workers, find)
                else:
                    writer.add(seed, row, workers)
                self.logs.report(writer.dirs[seed], row)
                self.callbacks.add_row(writer.dirs[seed], row)
            self.metrics.report(str(run.relative_to(self.folder.parent)), seed, row, trial.config.get("settings"))
            self.show(trial.config, result)

    def finish_evaluations(self, runs: Iterable[str]) -> None:
        """Wait for the evaluations that are left, and add the newest to the last rows; a wish to stop ends the wait.

        Args:
            runs: the run directories.
        """
        if self.evaluation is None:
            return
        Interrupt.begin_evaluations()
        places = {path: (writer, seed) for writer in map(self.open_writer, runs) for seed, path in writer.dirs.items()}
        with stop_on_file_error(self.folder):
            for run in places:
                self.evaluation.queue_weights(run)
            self.evaluation.finish(lambda: Interrupt.stop_requested)
            for run, (writer, seed) in places.items():
                if cells := writer.amend(seed, partial(self.evaluation.make_new_columns, run)):
                    self.logs.amend(run, cells)
                self.evaluation.remove_played(run)  # last: a run whose driver was killed before comes back here

    def on_checkpoint(self, iteration, trials, trial, checkpoint, **info) -> None:
        if (trial.last_result or {}).get("failure"):
            return
        with stop_on_file_error(self.folder):
            dirs = self.open_writer(trial.config["dir"]).dirs
            for seed in trial.config.get("seeds", dirs):
                checkpoints.keep_checkpoint(Path(checkpoint.path, f"seed_{seed}"), dirs[seed])
                self.callbacks.add_checkpoint(dirs[seed], checkpoint_path(dirs[seed], "last"))

    def on_trial_start(self, iteration, trials, trial, **info) -> None:
        self.timer.heard[trial.trial_id] = time.monotonic()
        settings, dirs, seeds = read_trial(trial.config)
        for seed in seeds:
            self.callbacks.start(Run(dirs[seed], seed, trial.config["label"], settings))

    def on_trial_complete(self, iteration, trials, trial, **info) -> None:
        result = trial.last_result or {}
        failure = result.get("failure")
        self.logs.end_training(self.list_dirs(trial.config), bool(failure), self.evaluation is not None)
        self.end_callbacks(trial, failure)
        if text := result.get("traceback"):
            with stop_on_file_error(self.folder):  # into the file where Tune writes the errors that it sees
                Path(str(trial.local_path), "error.txt").write_text(text, "utf-8", "replace")

    def end_callbacks(self, trial: Trial, failure: str | None) -> None:
        """Tell the callbacks that the runs of a trial have ended."""
        _, dirs, seeds = read_trial(trial.config)
        for seed in seeds:
            self.callbacks.end(dirs[seed], failure)

    def on_step_end(self, iteration, trials, **info) -> None:
        self.close_writers(trials)
        for sentence in (*self.logs.take_notices(), *self.timer.describe_silence(trials)):
            self.screen.print_line(sentence)
        waiting = all(trial.status != "RUNNING" for trial in trials)
        self.stop.drop_waiting = Interrupt.stop_requested and waiting
        if self.timer.runs_out(trials):
            self.screen.print_line("nothing runs: no free CPUs or GPUs, or a slow environment; Ctrl-C ends the wait")
        if waiting and not any(node["Alive"] for node in ray.nodes()):
            self.logs.fail_trainings()
            raise NodeLost("Ray's own process on this machine died")
        if self.evaluation:
            with stop_on_file_error(self.folder):
                self.evaluation.poll()

    def close_writers(self, trials: list[Trial]) -> None:
        """Close the files of run directories whose trials have all ended; a late row opens them again."""
        busy = {trial.config["dir"] for trial in trials if trial.status not in ENDED}
        for directory in self.writers.keys() - busy:
            with stop_on_file_error(self.folder):
                self.writers[directory].close()

    def on_trial_recover(self, iteration, trials, trial, **info) -> None:
        if not Interrupt.stop_if_disk_full(self.folder, error := read_error(trial)):
            what = format_error(error) if error and not isinstance(error, RayError) else "a process died"
            self.screen.print_line(f"{trial.config['label']}: {what}; starting again from the last checkpoint")

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        self.logs.end_training(self.list_dirs(trial.config), True, self.evaluation is not None)
        if not Interrupt.stop_if_disk_full(self.folder, read_error(trial)):
            self.source.fail_trial(trial.config, reason := explain_failure(trial))
            self.end_callbacks(trial, reason)

    def list_dirs(self, config: dict) -> list[Path]:
        """Return the run directories of the seeds that a trial trains; none before its first row."""
        dirs = self.writers[config["dir"]].dirs if config["dir"] in self.writers else {}
        return [dirs[seed] for seed in config.get("seeds", dirs) if seed in dirs]


def read_error(trial: Trial) -> BaseException | None:
    """Return what was raised in the process of a trial. It is read where Tune writes it first: Tune copies it later to
    the place where `trial.get_error` looks."""
    path = trial.pickled_error_file
    return find_cause(cloudpickle.loads(Path(path).read_bytes())) if path and Path(path).exists() else None


def explain_failure(trial: Trial) -> str:
    """Return the reason why a trial failed, in a line."""
    error = read_error(trial)
    if isinstance(error, RayActorError):
        env = read_yaml(Path(trial.config["dir"]) / CONFIG)["env"]
        played = f"env.game={env['game']}" if "game" in env else f"env.id={env['id']}"
        return f"{format_error(error)} (it played {played}: a crash there or in a library, or too little memory)"
    if error:
        return format_error(error)
    return Path(str(trial.error_file)).read_text().strip().splitlines()[-1]


def name_trial(trial: Any) -> str:
    """Return the name of a trial's folder: `seed_3`, `trial_7`, `fresh_default_seed_4`."""
    return trial.config["label"].replace(" ", "_")


def run_trials(
    recorder: Recorder,
    max_failures: int,
    scheduler: TrialScheduler | None = None,
    concurrent: int | None = None,
    reuse_actors: bool = False,
) -> None:
    """Run all trials of the recorder's source, and return once they have ended.

    Args:
        recorder: of the trials.
        max_failures: how often a trial whose process died starts again from its last checkpoint.
        scheduler: ends trials before their time; None: none.
        concurrent: trials at once; None: all of them, as far as there is room. Tune asks for places for so many at the
            same time, where without a number it would ask for one after the other.
        reuse_actors: whether one process runs trial after trial, which saves starting it and importing everything.

    Raises:
        NodeLost: no node is left.
    """
    # What a former start left: its files are linked into run directories, and must not be written over.
    shutil.rmtree(recorder.folder / TUNE, ignore_errors=True)
    tuner = tune.Tuner(
        TrainingProcess,
        tune_config=tune.TuneConfig(
            search_alg=recorder.source,
            scheduler=scheduler or FIFOScheduler(),
            num_samples=recorder.source.total,
            max_concurrent_trials=concurrent or recorder.source.total,
            reuse_actors=reuse_actors,
            trial_name_creator=name_trial,
            trial_dirname_creator=name_trial,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(recorder.folder),
            stop=recorder.stop,
            callbacks=[recorder],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=max_failures),
            verbose=0,
        ),
    )
    Interrupt.begin_trials()
    try:
        with stop_on_file_error(recorder.folder):  # Tune writes there, too
            tuner.fit()
    finally:
        Interrupt.end_trials()
        recorder.callbacks.end_all("Ray ended")
