"""Grids: every seed of every arm is a trial of one Ray Tune run, and every arm leaves a run directory.

    Grid -> arms that are left -> training processes, in parallel where there is room -> rows, checkpoints, arms.csv

The same command line started again continues: each seed from its newest checkpoint.
"""

import math
import shlex
from contextlib import ExitStack
from pathlib import Path

from ray.tune.search import Searcher

from cluster.local_ray import LOCAL
from cluster.plan import Bundle, Plan, make_plan
from command_line.flags import spell_override
from experiments.resume import keep_rules
from extensions.callbacks import Callbacks
from grids.arms import Arm, Grid
from grids.grid_directory import GridRun, read_arms, refuse_another_grid, write_arms, write_grid
from loggers.metrics import Metrics
from loggers.run_logs import open_logs
from playing.periodic_evaluation import open_evaluation
from playing.pretrained import copy_pretrained
from run_directory import checkpoints
from run_directory.continuation import refuse_damaged_files, refuse_untrusted_directory
from run_directory.layout import CONFIG, STARTS, format_command, seed_paths
from run_directory.milestones import list_weights_to_evaluate
from run_directory.outputs import make_folder, refuse_unwritable_output
from run_directory.writing import lock_folder
from runs.display import SearchDisplay
from runs.interrupt import Interrupt, stop_on_file_error
from runs.ray_session import open_ray
from runs.train import find_starts, has_reached_stop, record_start
from runs.tuning import NodeLost, Recorder, StopCondition, TrialSource, run_trials
from settings.mistakes import Mistake, format_count


class GridSource(TrialSource):
    """Gives Ray Tune the seeds of all arms, and records in arms.csv how each ends.

    Args:
        folder: of the grid.
        runs: every seed of every arm.
        configs: the config of the training process of each seed that is not at its end.
        display: shows the seeds that train.
    """

    def __init__(self, folder: Path, runs: dict[str, GridRun], configs: list[dict], display: SearchDisplay):
        super().__init__()
        self.folder, self.runs, self.display = folder, runs, display
        self.earlier = read_arms(folder)  # once: what is damaged meanwhile fails no seed that has reached its end
        self.waiting, self.total = list(configs), len(configs)
        self.configs: dict[str, dict] = {}  # Tune's id of a trial -> its config

    def suggest(self, trial_id: str) -> dict | str:
        if Interrupt.stop_requested or not self.waiting:
            return Searcher.FINISHED
        config = self.configs[trial_id] = self.waiting.pop(0)
        self.display.start_trial(config["label"], {})
        return config

    def on_trial_result(self, trial_id: str, result: dict) -> None:
        """Note how far a seed is, for the row of one that fails; a process that fails at its start does not know it."""
        if result["agent_steps"]:
            label, changes = self.configs[trial_id]["label"], {key: result[key] for key in ("agent_steps", "score")}
            self.runs[label] = self.runs[label]._replace(**changes)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        if error or result is None:  # a failure is recorded by fail_trial; without a result the trial never ran
            return
        config = self.configs[trial_id]
        if result["failure"]:
            self.on_trial_result(trial_id, result)
            self.fail_trial(config, result["failure"])
            return
        ended = has_reached_end(config, result)
        self.record(config, "COMPLETE" if ended else "STOPPED", result["agent_steps"], result["score"])
        if ended:
            self.display.end_trial(config["label"], "COMPLETE", result["agent_steps"], result["score"])
        else:
            self.display.pause_trial(config["label"])

    def fail_trial(self, config: dict, reason: str) -> None:
        before = self.runs[config["label"]]
        self.record(config, "FAIL", before.agent_steps, before.score, reason)
        self.display.end_trial(config["label"], "FAIL", before.agent_steps, math.nan, reason)

    def record(self, config: dict, state: str, agent_steps: int, score: float, failure: str = "") -> None:
        """Note how a seed stands, and write arms.csv."""
        changes = {"state": state, "agent_steps": agent_steps, "score": score, "failure": failure}
        self.runs[config["label"]] = self.runs[config["label"]]._replace(**changes)
        with stop_on_file_error(self.folder):
            write_arms(self.folder, list(self.runs.values()), self.earlier)


def has_reached_end(config: dict, result: dict) -> bool:
    """Return whether the seed that a training process trains has reached one of its `stop.` settings."""
    return all(has_reached_stop(config["settings"]["stop"], row) for _, row, *_ in result["reports"])


def run_grid(grid: Grid, argv: list[str], overrides: list[str]) -> tuple[Path, int]:
    """Train every seed of every arm of a grid, or continue them where an earlier start of the same grid ended.

    Args:
        grid: its arms, checked.
        argv: the command line, for the record.
        overrides: what was typed, for the record.

    Returns:
        The directory of the grid, and the exit code: 0 where every seed of every arm came to its end, else 1.

    Raises:
        Mistake: an arm cannot work on the cluster that is named, or another process runs the grid.
    """
    first = grid.arms[0].settings
    refuse_unwritable_output(first, "grids")
    folder = Path(first["output_dir"]).expanduser().resolve() / "grids" / grid.name
    values = {arm.name: arm.values for arm in grid.arms}
    refuse_another_grid(folder, grid.experiment, values)
    begun = list_begun_arms(grid, folder)
    for arm in begun:
        refuse_untrusted_directory(folder / arm.name, overrides)
    plans = {arm.name: make_plan(settle_rules(arm, folder, begun, overrides)) for arm in grid.arms}
    largest = max(plans.values(), key=lambda plan: (plan.gpus, plan.cpus))
    with ExitStack() as stack:
        if begun:  # the lock first: a grid that is refused need not wait for Ray
            lock_grid(stack, folder, grid)
        stack.enter_context(open_ray(largest))
        if not begun:
            make_folder(first, "grids", grid.name)
            lock_grid(stack, folder, grid)
        refuse_another_grid(folder, grid.experiment, values)  # that has begun, and even ended, while Ray started
        if begun != list_begun_arms(grid, folder):
            raise Mistake(f"{folder}: the same grid was started elsewhere meanwhile; type the line again to go on")
        copy_pretrained(folder, first)
        write_grid(folder, argv, overrides, grid.experiment, values)
        return folder, train_arms(grid, plans, folder, argv, overrides)


def list_begun_arms(grid: Grid, folder: Path) -> list[Arm]:
    """Return the arms of a grid that an earlier start has begun."""
    return [arm for arm in grid.arms if (folder / arm.name / STARTS).exists()]


def lock_grid(stack: ExitStack, folder: Path, grid: Grid) -> None:
    """Lock the directory of a grid and those of its arms, of which each could be resumed by itself."""
    stack.enter_context(lock_folder(folder))
    for arm in grid.arms:
        (folder / arm.name).mkdir(exist_ok=True)
        stack.enter_context(lock_folder(folder / arm.name))


def settle_rules(arm: Arm, folder: Path, begun: list[Arm], overrides: list[str]) -> dict:
    """Return the settings of an arm; of one that has begun, with the rules of the game that its config.yaml holds."""
    return keep_rules(arm.settings, folder / arm.name, overrides) if arm in begun else arm.settings


def train_arms(grid: Grid, plans: dict[str, Plan], folder: Path, argv: list[str], overrides: list[str]) -> int:
    """Train the seeds that are left, and say how all of them ended; return the exit code."""
    runs, configs = list_runs(grid, plans, folder)
    for arm in grid.arms:
        todo = [seed for config in configs if config["arm"] == arm.name for seed in config["seeds"]]
        if todo:
            own = [override for override in overrides if override.partition("=")[0] not in arm.values]
            own = [override for override in own if not override.startswith("max_runs=")]
            typed = [*own, *(spell_override(f"{key}={value}") for key, value in arm.values.items())]
            record_start(plans[arm.name], folder / arm.name, argv, typed, todo)
    write_arms(folder, list(runs.values()), read_arms(folder))
    steps = sum(max(0, one["settings"]["stop"]["agent_steps"] - runs[one["label"]].agent_steps) for one in configs)
    print(
        f"{format_count(len(grid.arms), 'arm')}, {format_count(len(runs), 'run')}: "
        + (f"{done} at their end already, " if (done := len(runs) - len(configs)) else "")
        + f"{len(configs)} to train, {steps:,} agent steps at most"
    )
    print(f"writing to {folder}", flush=True)
    if configs or any(map(list_weights_to_evaluate, list_directories(runs, plans, folder).values())):
        train_configs(runs, configs, plans, folder)
    for label, run in runs.items():
        if run.state == "FAIL":
            print(f"{label} failed: {run.failure}")
    if Interrupt.reason:
        print(Interrupt.reason)
    if left := [label for label, run in runs.items() if run.state != "COMPLETE"]:
        print(f"{format_count(len(left), 'run')} of {len(runs)} left; to continue, type the same line:")
        print(f"    {format_command(*argv[2:]) if argv[1] == 'run.py' else shlex.join(argv)}")
    return int(bool(left) or Interrupt.stop_requested)


def list_runs(grid: Grid, plans: dict[str, Plan], folder: Path) -> tuple[dict[str, GridRun], list[dict]]:
    """Return label -> run for every seed of every arm, and the config of the training process of each that is left."""
    runs, configs = {}, []
    for arm in grid.arms:
        plan, path = plans[arm.name], folder / arm.name
        dirs = seed_paths(path, list(plan.seeds))
        done: list[int] = []
        if (path / CONFIG).exists():
            refuse_damaged_files(path)
            _, done = find_starts(path, plan, in_grid=True)
        settings = plan.trial_settings
        for seed, directory in dirs.items():
            label = f"{arm.name} seed {seed}"
            steps, score = read_standing(directory)
            state = "COMPLETE" if seed in done else "WAITING"
            runs[label] = GridRun(arm.name, seed, state, steps, score, "", arm.values)
            if seed not in done:
                config = {"label": label, "arm": arm.name, "dir": str(path), "seeds": [seed], "settings": settings}
                configs.append(config)
    # Seed by seed, so that all arms have been tried when the grid is stopped early.
    return runs, sorted(configs, key=lambda config: plans[config["arm"]].seeds.index(config["seeds"][0]))


def read_standing(directory: Path) -> tuple[int, float]:
    """Return agent steps and score at the newest whole checkpoint of a seed; 0 and NaN where it has none.

    The score is NaN before MIN_GAMES games too.
    """
    if not checkpoints.list_checkpoints(directory):
        return 0, math.nan
    totals = checkpoints.read_totals(checkpoints.find_newest_checkpoint(directory)[0])
    enough = totals.get("episodes", 0) >= checkpoints.MIN_GAMES
    return int(totals["agent_steps"]), totals.get("episode_return_mean", math.nan) if enough else math.nan


def train_configs(runs: dict[str, GridRun], configs: list[dict], plans: dict[str, Plan], folder: Path) -> None:
    """Train seeds, as many at the same time as there is room for; the states in `runs` change meanwhile."""

    def describe_progress() -> str:
        ended = sum(run.state == "COMPLETE" for run in runs.values())
        return f"{ended} of {format_count(len(runs), 'run')} at their end"

    def show(config: dict, result: dict) -> None:
        display.update_trial(config["label"], result["agent_steps"], result["score"])

    with SearchDisplay(describe_progress, noun="run") as display:
        source = GridSource(folder, runs, configs, display)
        display.num_expected = source.total
        condition = StopCondition(folder, lambda trial_id, result: has_reached_end(source.configs[trial_id], result))
        some = next(iter(plans.values())).settings
        callbacks = Callbacks(some, Interrupt.stop_for)
        evaluator = choose_evaluator(plans)
        labels = {directory: label for label, directory in list_directories(runs, plans, folder).items()}

        def show_evaluation(label: str, text: str) -> None:
            display.print_line(f"{label} {text}")

        with (
            open_logs(some, folder, display.print_line) as logs,
            open_evaluation(evaluator, labels, show_evaluation, display.print_line, logs.tensorboard) as evaluation,
        ):
            recorder = Recorder(folder, source, condition, display, show, Metrics(some), logs, callbacks, evaluation)
            try:
                if configs:
                    run_trials(recorder, some["max_failures"], reuse_actors=True)
                recorder.finish_evaluations([str(folder / arm) for arm in plans])
            except NodeLost as error:
                print(f"the grid stopped: {error}")


def choose_evaluator(plans: dict[str, Plan]) -> Bundle | None:
    """Return what the process of `evaluate_every` takes, one for all arms; None where no arm has evaluations.

    On this machine it plays at the lowest priority: the arms leave it no CPU.
    """
    wanted = [plan for plan in plans.values() if plan.evaluator is not None]
    if not wanted:
        return None
    return {} if wanted[0].settings["cluster"]["address"] == LOCAL else wanted[0].evaluator


def list_directories(runs: dict[str, GridRun], plans: dict[str, Plan], folder: Path) -> dict[str, Path]:
    """Return label -> the directory of every seed of every arm."""
    return {label: seed_paths(folder / run.arm, list(plans[run.arm].seeds))[run.seed] for label, run in runs.items()}
