"""Training: settings become one trial of Ray Tune per seed, and each leaves a run directory.

settings -> Plan -> a training process per seed (runs/tuning.py) -> rows, checkpoints -> run directories
"""

from pathlib import Path

from ray.tune.search import Searcher

from cluster.local_ray import LOCAL
from cluster.plan import Plan, describe_update, explain_overshoot, list_other_dtypes, make_plan
from environments.games import may_never_end
from environments.machine import count_cpus
from environments.screen import format_duration
from experiments.composition import list_tuned_configs
from experiments.resume import keep_rules
from extensions.callbacks import Callbacks
from extensions.own_environment import describe_flattened_picture
from loggers.metrics import Metrics
from loggers.run_logs import open_logs
from playing.periodic_evaluation import open_evaluation
from playing.pretrained import copy_pretrained
from run_directory import checkpoints
from run_directory.continuation import refuse_damaged_files, refuse_untrusted_directory
from run_directory.layout import CONFIG, STARTS, TUNE, format_command, seed_paths, shorten_path
from run_directory.milestones import list_weights_to_evaluate
from run_directory.outputs import AUTO, create_run, refuse_unwritable_output
from run_directory.progress_table import lacks_rows
from run_directory.starts import read_starts, write_start
from run_directory.writing import lock_folder
from runs.display import Display
from runs.interrupt import Interrupt, stop_on_file_error
from runs.ray_session import open_ray
from runs.tuning import NodeLost, Recorder, StopCondition, TrialSource, run_trials
from settings.algorithms import describe_adam_epsilon
from settings.mistakes import format_count


class SeedSource(TrialSource):
    """Gives Ray Tune the seeds of a run, each a trial of its own.

    Args:
        plan: of the run.
        run: the run directory.
        seeds: those that have not reached their end.
    """

    def __init__(self, plan: Plan, run: Path, seeds: list[int]):
        super().__init__()
        self.plan, self.run, self.total = plan, run, len(seeds)
        self.waiting = list(seeds)
        self.configs: dict[str, dict] = {}  # Tune's trial -> its config
        self.failures: dict[int, str] = {}  # seed -> reason
        self.ended: set[int] = set()  # seeds whose training process has given its last result

    def suggest(self, trial_id: str) -> dict | str:
        if Interrupt.stop_requested or not self.waiting:
            return Searcher.FINISHED
        seed = self.waiting.pop(0)
        config = {"label": f"seed {seed}", "dir": str(self.run), "seeds": [seed], "settings": self.plan.trial_settings}
        self.configs[trial_id] = config
        return config

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        self.ended |= {*self.configs[trial_id]["seeds"]} if result else set()
        if result and result["failure"]:
            self.fail_trial(self.configs[trial_id], result["failure"])

    def fail_trial(self, config: dict, reason: str) -> None:
        (seed,) = config["seeds"]
        self.failures[seed] = reason.removeprefix(f"seed {seed}: ")


def has_reached_stop(stop: dict, row: dict) -> bool:
    """Return whether a row of progress.csv satisfies one of the `stop.` settings."""
    wanted = stop["episode_return"] if row["episodes"] >= checkpoints.MIN_GAMES else None
    return (
        row["agent_steps"] >= stop["agent_steps"]
        or (stop["time_s"] is not None and row["wall_time_s"] >= stop["time_s"])
        or (wanted is not None and row["episode_return_mean"] >= wanted)
    )


def train(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None = None) -> tuple[Path, int]:
    """Run an experiment, or continue one.

    Args:
        settings: checked by `experiments.check.check_settings`.
        argv: the command line, for the record.
        overrides: what was typed, for the record and for the next resume.
        resumed: the run directory to continue.

    Returns:
        The run directory, and the exit code: 0 where every seed came to its end, else 1.

    Raises:
        Mistake: the run cannot work on the cluster it names, or there is no checkpoint to continue from.
    """
    if resumed:
        refuse_untrusted_directory(resumed, overrides)
    if resumed and settings["resume"] == AUTO:
        settings = keep_rules(settings, resumed, overrides)
    plan = make_plan(settings)
    if resumed:
        with lock_folder(resumed):  # first: a run that is under way or is refused need not wait for Ray
            starts, done = find_starts(resumed, plan)
            todo = [seed for seed in plan.seeds if seed not in done]
            if not todo and not (plan.evaluator is not None and has_evaluations_left(resumed, plan)):
                return resumed, 0
            with open_ray(plan):
                if not todo:
                    return resumed, train_seeds(plan, resumed, [])
                return resumed, train_run(plan, resumed, argv, overrides, todo, starts)
    refuse_unwritable_output(settings, settings["algo"]["name"], settings["env"]["name"])
    with open_ray(plan):
        run = create_run(settings)
        with lock_folder(run):
            return run, train_run(plan, run, argv, overrides, list(plan.seeds), {})


def train_run(
    plan: Plan, run: Path, argv: list[str], overrides: list[str], todo: list[int], starts: dict[int, Path]
) -> int:
    """Record the start of a run, announce it, and train the seeds that are left; return the exit code."""
    record_start(plan, run, argv, overrides, todo)
    announce_run(plan, run, starts)
    return train_seeds(plan, run, todo)


def record_start(plan: Plan, run: Path, argv: list[str], overrides: list[str], todo: list[int]) -> None:
    """Write settings and circumstances of this start into the run directory, and into that of each seed to train."""
    copy_pretrained(run, plan.settings)
    write_start(run, plan.settings, argv, overrides, plan.dtype)
    dirs = seed_paths(run, list(plan.seeds))
    for seed in todo if len(dirs) > 1 else ():
        dirs[seed].mkdir(exist_ok=True)
        write_start(dirs[seed], plan.settings | {"seed": seed}, argv, [*overrides, f"seed={seed}"], plan.dtype)


def find_starts(run: Path, plan: Plan, in_grid: bool = False) -> tuple[dict[int, Path], list[int]]:
    """Return, of a run that continues, the checkpoint that each seed starts from, and the seeds that are at their end.

    What the user should know is printed: a damaged checkpoint, a gap in the curve, and, but of the arms of a grid, of
    which many wait or have ended, a seed that starts anew or is at its end.

    Raises:
        Mistake: a run of one seed has no checkpoint yet; in a grid and with resume=auto it starts anew.
    """
    starts, done, settings = {}, [], plan.settings
    refuse_damaged_files(run)
    for seed, path in seed_paths(run, list(plan.seeds)).items():
        if not (path / CONFIG).exists():
            continue
        may_begin = in_grid or len(plan.seeds) > 1 or settings["resume"] == AUTO
        if may_begin and not checkpoints.list_checkpoints(path):
            if not in_grid:
                print(f"seed {seed} stopped before its first checkpoint; it starts anew")
            continue
        checkpoint, complaints = checkpoints.find_newest_checkpoint(path)
        for sentence in complaints:
            print(f"{path}: {sentence}")
        if has_reached_stop(settings["stop"], checkpoints.read_totals(checkpoint)):
            # With resume=auto a longer run is another experiment.
            how = f"type resume={run} and " if settings["resume"] == AUTO else ""
            if not in_grid:
                print(f"seed {seed} is trained to its stop; {how}raise stop.agent_steps to train on")
            done.append(seed)
            continue
        starts[seed] = checkpoint
        if lacks_rows(path, checkpoints.read_totals(checkpoint)["agent_steps"]):
            print(f"{path}: progress.csv lacks rows before this checkpoint; the curve has a gap")
    return starts, done


def has_evaluations_left(run: Path, plan: Plan) -> bool:
    """Return whether weights of a run still wait for their evaluation (`evaluate_every`)."""
    return any(list_weights_to_evaluate(path) for path in seed_paths(run, list(plan.seeds)).values())


def train_seeds(plan: Plan, run: Path, todo: list[int]) -> int:
    """Train the seeds that are left, each as a trial of Ray Tune, and wait for the evaluations that are left.

    Returns:
        The exit code.
    """
    settings, source = plan.settings, SeedSource(plan, run, todo)
    stop, callbacks = settings["stop"], Callbacks(settings, Interrupt.stop_for)

    def is_finished(trial_id: str, result: dict) -> bool:
        return all(has_reached_stop(stop, row) for _, row, *_ in result["reports"])

    def show(config: dict, result: dict) -> None:
        for seed, row, *_ in result["reports"]:
            display.show_row(seed, row)

    dirs = seed_paths(run, list(plan.seeds))
    with Display(todo, stop["agent_steps"], stop["time_s"]) as display:
        condition = StopCondition(run, is_finished)
        labels = {path: f"seed {seed}" for seed, path in dirs.items()}
        with (
            open_logs(settings, run, display.print_line) as logs,
            open_evaluation(
                plan.evaluator, labels, display.show_evaluation, display.print_line, logs.tensorboard
            ) as evaluation,
        ):
            recorder = Recorder(run, source, condition, display, show, Metrics(settings), logs, callbacks, evaluation)
            try:
                if todo:
                    run_trials(recorder, settings["max_failures"])
                recorder.finish_evaluations([str(run)])
            except NodeLost as error:
                lost = [seed for seed in todo if seed not in source.ended]
                # A seed that has failed before keeps its reason.
                source.failures = dict.fromkeys(lost, str(error)) | source.failures
        writer = recorder.open_writer(str(run))
        with stop_on_file_error(run):
            writer.close()
    for seed in todo:
        if overshoot := explain_overshoot(plan, writer.tables[seed].last_step):
            print(f"seed {seed} {overshoot}")
    return conclude(source.failures, dirs, run)


def conclude(failures: dict[int, str], dirs: dict[int, Path], run: Path) -> int:
    """Print how a run ended and how to continue it; return the exit code.

    Args:
        failures: seed -> why it failed.
        dirs: seed -> run directory.
        run: the run directory above them.
    """
    for seed, reason in failures.items():
        print(f"seed {seed} failed: {reason}")
        if (error := run / TUNE / f"seed_{seed}" / "error.txt").exists():
            print(f"    in full: {error}")
        if len(dirs) > 1 and not checkpoints.list_checkpoints(dirs[seed]):
            print("    it has no checkpoint to continue from, and starts anew when the run is continued")
    if Interrupt.reason:
        print(Interrupt.reason)
    if not (Interrupt.stop_requested or failures):
        return 0
    if any(map(checkpoints.has_whole_checkpoint, dirs.values())):
        print(f"to continue:  {format_command(f'resume={run}')}")
    elif failures:
        print("there is no checkpoint to continue from; once the cause is mended, the same line starts the run again")
    else:
        print("there is no checkpoint yet: the same line starts the run from its beginning")
    return 1


def announce_run(plan: Plan, run: Path, starts: dict[int, Path]) -> None:
    """Print in a few lines what is about to be trained, from where, and where it is written to."""
    settings, time_s = plan.settings, plan.settings["stop"]["time_s"]
    limit = f" or {format_duration(time_s)}, whichever is first" if time_s is not None else ""
    print(
        f"{settings['algo']['name']} on {settings['env']['name']}: {settings['stop']['agent_steps']:,} agent steps"
        f"{limit}, {describe_update(plan)}, seed{'s' * (len(plan.seeds) > 1)} {', '.join(map(str, plan.seeds))}, "
        f"{format_count(plan.cpus, 'CPU')} for training"
    )
    if (room := count_room(plan)) is not None and room < len(plan.seeds):
        print(f"{room} at a time: a seed takes {format_count(plan.cpus, 'CPU')}, and there are {count_cpus()}")
    for seed, checkpoint in starts.items():
        steps = checkpoints.read_totals(checkpoint)["agent_steps"]
        print(f"seed {seed} continues at {steps:,} agent steps; games under way start anew")
    known = list_tuned_configs(settings["algo"]["name"], settings["env"]["name"])
    if known and not (settings["made_for"] or starts):
        print(f"there are tuned settings, too: tuned_configs={' or '.join(known)}")
    if other := list_other_dtypes(plan, read_starts(run / STARTS)[-2:]):
        print(f"warning: model.dtype=auto is {plan.dtype} here, and was {other} before; name one to keep it")
    if note := describe_flattened_picture(settings["env"], settings["model"]["torso"]):
        print(f"warning: {note}")
    if may_never_end(settings["env"]):
        limit = "env.kwargs.max_episode_steps=1000 sets one"
        print(f"warning: games have no time limit that can be seen, so no command can play them later; {limit}")
    if note := describe_adam_epsilon(settings["algo"]):
        print(f"warning: {note}")
    if plan.evaluator is not None:
        how = "with a CPU of its own" if plan.evaluator else "at the lowest priority, as no CPU is left for it"
        print(
            f"{format_count(settings['episodes'], 'game')} with the newest weights every "
            f"{settings['evaluate_every']:,} agent steps, in a process {how}"
        )
    print(f"writing to {run}")
    print(f"to watch it in a browser:  {format_command('command=watch', f'run={shorten_path(run)}')}")
    print("starting the training process; its first numbers come in some seconds", flush=True)
    if plan.gpus == 0 and any(Path(device).exists() for device in ("/dev/nvidia0", "/dev/dxg")):  # dxg: WSL
        import torch  # a second and 200 MB, which the driver has no other need of

        build = "" if torch.cuda.is_available() else " and a CUDA build of torch"
        print(f"this machine has a GPU that the run does not use; cluster.gpus_per_learner=1{build} would", flush=True)


def count_room(plan: Plan) -> int | None:
    """Return how many seeds this machine has CPUs for at the same time; None where a cluster runs them."""
    if plan.settings["cluster"]["address"] != LOCAL or not plan.cpus:
        return None
    return max(1, int(count_cpus() / plan.cpus))
