"""Training: settings become one Ray Tune trial per seed, and each leaves a run directory.

    settings -> build -> Tuner: trial per seed -> rows, checkpoints -> Recorder -> run directories

Everything that has to survive a killed process is written here, in the driver, as soon as a trial reports it, or lies
in a checkpoint.
"""

import os
import shlex
import sys
import time
from pathlib import Path
from typing import Any

import ray
import torch
from ray import cloudpickle, tune
from ray.tune.experiment import Trial

from cluster.resources import cpus_of_run, dtype_of, gpus_of_run, in_words, seeds_of
from environments.games import may_never_end
from environments.screen import duration
from experiments.resume import keep_rules
from run_directory import checkpoints
from run_directory.continuation import refuse_damaged_files, refuse_strangers
from run_directory.layout import CONFIG, PROGRESS_CSV, TUNE, format_resume_command, seed_paths
from run_directory.outputs import AUTO, create_run, refuse_unwritable_output
from run_directory.progress_table import read_rows
from run_directory.provenance import ROOT
from run_directory.row_writer import RowWriter
from run_directory.starts import write_start
from run_directory.writing import lock_folder
from runs.build import build
from runs.display import Display
from runs.interrupt import Interrupt, stop_on_full_disk
from runs.metrics import Metrics
from runs.ray_session import open_ray
from settings.mistakes import cause_of, counted, in_a_line

WAIT_S = 60.0  # that a run is silent while it has no place to run


class Stop(tune.Stopper):
    """The `stop.` settings, the user, and the disk.

    Args:
        stop: the settings.
        run: the run directory.
    """

    def __init__(self, stop: dict, run: Path):
        self.stop, self.run = stop, run
        self.drop_waiting = False  # set once nothing runs: it ends trials without a checkpoint

    def __call__(self, trial_id: str, result: dict) -> bool:
        Interrupt.handle_report(trial_id, result)
        if reached(self.stop, result.get("row", {})):
            return True
        Interrupt.check_disk_space(self.run)
        return Interrupt.stop_requested

    def stop_all(self) -> bool:
        return self.drop_waiting or Interrupt.stop_without_checkpoint


def reached(stop: dict, row: dict) -> bool:
    """Whether a row of progress.csv satisfies one of the `stop.` settings."""
    if not row:
        return False
    enough_games = row["episodes"] >= checkpoints.MIN_GAMES
    return (
        row["agent_steps"] >= stop["agent_steps"]
        or (stop["time_s"] is not None and row["wall_time_s"] >= stop["time_s"])
        or (
            stop["episode_return"] is not None and enough_games and row["episode_return_mean"] >= stop["episode_return"]
        )
    )


class NodeLost(RuntimeError):
    """There is no machine left to run on."""


class Patience:
    """With trials that have no place to run."""

    def __init__(self):
        self.ran, self.ended = time.monotonic(), False  # when one was last seen to run

    def ends(self, trials: list[Trial]) -> bool:
        """True once: none has run for WAIT_S, and one would."""
        statuses = {trial.status for trial in trials}
        if "RUNNING" in statuses:
            self.ran = time.monotonic()
        now = "PENDING" in statuses and time.monotonic() - self.ran > WAIT_S and not self.ended
        self.ended = self.ended or now
        return now


class Recorder(tune.Callback):
    """Writes what trials report.

    Args:
        dirs: seed -> run directory.
        parent: the run directory, above them where there are several.
        stop: told when the user's wish to stop leaves only seeds that wait their turn.
        display: shows the rows.
        metrics: shows them to Prometheus.
    """

    def __init__(self, dirs: dict[int, Path], parent: Path, stop: Stop, display: Display, metrics: Metrics):
        self.dirs, self.parent, self.stop, self.display, self.metrics = dirs, parent, stop, display, metrics
        self.writer = RowWriter(dirs, parent)
        self.failures: dict[int, str] = {}
        self.said: set[str] = set()
        self.patience = Patience()

    def __getstate__(self) -> dict:
        return {}  # Tune pickles its callbacks for Tuner.restore, which is not used here

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        seed, row = trial.config["seed"], result["row"]
        for notice in result.get("notices", []):
            self.say_once(f"seed {seed}: {notice}")
        if result["began_at"] is not None:
            with stop_on_full_disk(self.parent):
                self.writer.begin(seed, result["began_at"])
        if "failure" in result:
            self.failures[seed] = result["failure"]
            if row["agent_steps"] <= self.writer.tables[seed].last_step:  # nothing was played since the last row
                return
        with stop_on_full_disk(self.parent):
            self.writer.add(seed, row, result.get("workers", []))
        self.display.show_row(seed, row)
        self.metrics.report(self.parent.name, seed, row)

    def on_checkpoint(self, iteration, trials, trial, checkpoint, **info) -> None:
        seed = trial.config["seed"]
        if seed not in self.failures:
            with stop_on_full_disk(self.parent):
                checkpoints.keep_checkpoint(Path(checkpoint.path), self.dirs[seed])

    def on_step_end(self, iteration, trials, **info) -> None:
        waiting = all(trial.status != "RUNNING" for trial in trials)
        self.stop.drop_waiting = Interrupt.stop_requested and waiting
        if self.patience.ends(trials):
            self.display.say("waiting until there is room for all processes of the run; Ctrl-C ends the wait")
        if waiting and not any(node["Alive"] for node in ray.nodes()):
            raise NodeLost("Ray's own process on this machine died")

    def on_trial_recover(self, iteration, trials, trial, **info) -> None:
        if Interrupt.stop_if_disk_full(self.parent, error_of(trial)):
            return
        self.display.say(f"seed {trial.config['seed']}: a process died; starting again from the last checkpoint")

    def say_once(self, sentence: str) -> None:
        """A line that stays, however often it is reported."""
        if sentence not in self.said:
            self.said.add(sentence)
            self.display.say(sentence)

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        if not Interrupt.stop_if_disk_full(self.parent, error_of(trial)):
            self.failures[trial.config["seed"]] = why(trial)


def error_of(trial: Trial) -> BaseException | None:
    """What was raised in its process. Read where Tune writes it: where `trial.get_error` looks, it copies it later."""
    path = trial.pickled_error_file
    return cause_of(cloudpickle.loads(Path(path).read_bytes())) if path and Path(path).exists() else None


def why(trial: Trial) -> str:
    """What ended a trial, in a line."""
    if error := error_of(trial):
        return in_a_line(error)
    return Path(str(trial.error_file)).read_text().strip().splitlines()[-1]


def train(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None = None) -> tuple[Path, int]:
    """Run an experiment, or continue one.

    Args:
        settings: checked by `experiments.check.check`.
        argv: the command line, for the record.
        overrides: what was typed, for the record and for the next resume.
        resumed: the run directory to continue.

    Returns:
        The run directory, and the exit code: 0 where every seed came to its end, else 1.

    Raises:
        Mistake: the run cannot work on the cluster it names, or there is no checkpoint to continue from.
    """
    seeds = seeds_of(settings)
    if resumed:
        refuse_strangers(resumed, overrides)
    if resumed and settings["resume"] == AUTO:
        settings = keep_rules(settings, resumed, overrides)
    starts, done = standing(resumed, seeds, settings) if resumed else ({}, [])
    todo = [seed for seed in seeds if seed not in done]
    if resumed and not todo:
        return resumed, 0
    if resumed:  # the lock first: a run that is refused need not wait for Ray
        with lock_folder(resumed), open_ray(settings):
            return resumed, begin(settings, resumed, argv, overrides, todo, starts)
    refuse_unwritable_output(settings)
    with open_ray(settings):
        run = create_run(settings)
        with lock_folder(run):
            return run, begin(settings, run, argv, overrides, todo, starts)


def begin(
    settings: dict, run: Path, argv: list[str], overrides: list[str], todo: list[int], starts: dict[int, str]
) -> int:
    """Record the start in the run directory, and train; returns the exit code."""
    seeds = seeds_of(settings)
    dirs, dtype = seed_paths(run, seeds), dtype_of(settings)
    write_start(run, settings, argv, overrides, dtype)
    if len(seeds) > 1:
        for seed in todo:
            dirs[seed].mkdir(exist_ok=True)
            write_start(dirs[seed], settings | {"seed": seed}, argv, [*overrides, f"seed={seed}"], dtype)
    announce(settings, run, starts)
    return play(settings, run, dirs, todo, starts)


def standing(run: Path, seeds: list[int], settings: dict) -> tuple[dict[int, str], list[int]]:
    """Of a run that continues: the checkpoint that each seed starts from, and the seeds that are at their end."""
    starts, done = {}, []
    refuse_damaged_files(run)
    for seed, path in seed_paths(run, seeds).items():
        if not (path / CONFIG).exists():
            continue
        if (len(seeds) > 1 or settings["resume"] == AUTO) and not checkpoints.list_checkpoints(path):
            print(f"seed {seed} stopped before its first checkpoint; it starts anew")
            continue
        checkpoint, complaints = checkpoints.find_newest_whole(path)
        for sentence in complaints:
            print(f"{path}: {sentence}")
        if reached(settings["stop"], checkpoints.read_totals(checkpoint)):
            # With resume=auto a longer run is another experiment.
            how = f"type resume={run} and " if settings["resume"] == AUTO else ""
            print(f"seed {seed} has reached its stop already; {how}raise stop.agent_steps to go on")
            done.append(seed)
            continue
        starts[seed] = str(checkpoint)
        if lacks_rows(path / PROGRESS_CSV, checkpoints.read_totals(checkpoint)["agent_steps"]):
            print(f"{path}: {PROGRESS_CSV} lacks rows before this checkpoint; the curve has a gap")
    return starts, done


def lacks_rows(progress: Path, agent_steps: float) -> bool:
    """Whether a table ends long before a checkpoint: more than twice as long as its rows lie apart."""
    steps = [0, *(int(row["agent_steps"]) for row in read_rows(progress))]
    known = [step for step in steps if step <= agent_steps]
    apart = max((b - a for a, b in zip(known, known[1:], strict=False)), default=0)
    return agent_steps - known[-1] > 2 * apart


def play(settings: dict, parent: Path, dirs: dict[int, Path], todo: list[int], starts: dict[int, str]) -> int:
    """Run one trial per seed with Ray Tune; returns the exit code."""
    config: Any = build(settings)
    config.run_dirs = {seed: str(path) for seed, path in dirs.items()}
    config.resume_from = starts
    config.debugging(seed=tune.grid_search(todo))
    with Display(todo, settings["stop"]["agent_steps"], settings["stop"]["time_s"]) as display:
        stop = Stop(settings["stop"], parent)
        recorder = Recorder(dirs, parent, stop, display, Metrics(settings))
        tuner = tune.Tuner(
            config.algo_class,
            param_space=config,
            tune_config=tune.TuneConfig(
                trial_name_creator=lambda trial: f"seed_{trial.config['seed']}",
                trial_dirname_creator=lambda trial: f"seed_{trial.config['seed']}",
            ),
            run_config=tune.RunConfig(
                name=TUNE,
                storage_path=str(parent),
                stop=stop,
                callbacks=[recorder],
                checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=True),
                failure_config=tune.FailureConfig(max_failures=settings["max_failures"]),
                verbose=0,
            ),
        )
        try:
            with stop_on_full_disk(parent):  # Tune does, too
                tuner.fit()
        except NodeLost as error:
            recorder.failures |= dict.fromkeys(todo, str(error))
        with stop_on_full_disk(parent):
            recorder.writer.close()
    for seed in todo:
        if overshoot := overshoot_of(settings, recorder.writer.tables[seed].last_step):
            print(f"seed {seed} {overshoot}")
    return conclude(recorder, parent)


def overshoot_of(settings: dict, agent_steps: int) -> str | None:
    """Return why a seed played more agent steps than it was asked to, where they are more than a percent."""
    asked = settings["stop"]["agent_steps"]
    if agent_steps <= 1.01 * asked:
        return None
    return f"played {agent_steps:,} agent steps where {asked:,} were asked for: updates are whole, {in_words(settings)}"


def conclude(recorder: Recorder, parent: Path) -> int:
    """Say how it ended."""
    for seed, why in recorder.failures.items():
        print(f"seed {seed} failed: {why}")
        if (error := parent / TUNE / f"seed_{seed}" / "error.txt").exists():
            print(f"    in full: {error}")
        if len(recorder.dirs) > 1 and not checkpoints.list_checkpoints(recorder.dirs[seed]):
            print("    it has no checkpoint to continue from, and starts anew when the run is continued")
    if Interrupt.reason:
        print(Interrupt.reason)
    if not (Interrupt.stop_requested or recorder.failures):
        return 0
    if any(map(checkpoints.has_whole_checkpoint, recorder.dirs.values())):
        print(f"to continue:  {format_resume_command(parent)}")
    elif recorder.failures:
        print("there is no checkpoint to continue from; once the cause is mended, the same line starts the run again")
    else:
        print("nothing was trained yet: the same line starts it again")
    return 1


def announce(settings: dict, run: Path, starts: dict[int, str]) -> None:
    """What is about to happen, in a few lines."""
    time_s = settings["stop"]["time_s"]
    limit = f" or {duration(time_s)}, whichever is first" if time_s is not None else ""
    print(
        f"{settings['algo']['name']} on {settings['env']['name']}: {settings['stop']['agent_steps']:,} agent steps"
        f"{limit}, {in_words(settings)}, seed {settings['seed']}, "
        f"{counted(cpus_of_run(settings), 'CPU')} for training"
    )
    for seed, checkpoint in starts.items():
        steps = checkpoints.read_totals(Path(checkpoint))["agent_steps"]
        print(f"seed {seed} continues at {steps:,} agent steps; games under way start anew")
    print(f"writing to {run}")
    print(f"to watch it in a browser:  {shlex.join(['python', 'run.py', 'command=watch', f'run={run}'])}")
    print("starting the training process; its first numbers come in some seconds", flush=True)
    if gpus_of_run(settings) == 0 and (torch.cuda.is_available() or Path("/dev/nvidia0").exists()):
        build_word = "" if torch.cuda.is_available() else " and a CUDA build of torch"
        print(f"this machine has a GPU that the run does not use; cluster.gpus_per_learner=1{build_word} would")
    sys.stdout.flush()


def describe_next_steps(run: Path, settings: dict) -> str:
    """Return what one can do with a run that has come to its end, as lines that can be pasted into a shell."""
    stop = settings["stop"]
    farther = [f"stop.agent_steps={2 * stop['agent_steps']}"]
    farther += [f"stop.{key}=null" for key in ("time_s", "episode_return") if stop[key] is not None]
    shown = os.path.relpath(run) if Path.cwd() == ROOT and run.is_relative_to(ROOT) else run  # a job is elsewhere
    lines = {"watch the curves": ["tensorboard", "--logdir", str(shown)]}
    if not may_never_end(settings["env"]):
        lines["play more games"] = ["python", "run.py", "command=evaluate", f"run={shown}", "episodes=100"]
        lines["see it play"] = ["python", "run.py", "command=record", f"run={shown}"]
        lines["a page of it all"] = ["python", "run.py", "command=page", f"run={shown}"]
    lines["train on"] = ["python", "run.py", f"resume={shown}", *farther]
    return "\n".join(["what next", *(f"  {what:<18} {shlex.join(words)}" for what, words in lines.items())])
