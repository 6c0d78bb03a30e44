"""A search: Optuna proposes settings, Ray Tune runs trials with them, and every trial leaves a run directory.

    Study.ask -> TrainingProcess: an Algorithm per seed -> rows -> Study.report -> stop early? -> Study.tell
    the best trials and the default settings, once more on other seeds -> seeds.csv

The files that a search leaves are listed in run_directory/searches.py. The same search started again continues: trials
that were under way from their checkpoints, everything else from the storage and the run directories.
"""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray
from optuna.exceptions import StorageInternalError
from ray.tune.error import TuneError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from cluster.local_ray import LOCAL
from cluster.plan import Plan, count_trainings, list_other_dtypes, make_plan
from environments.machine import count_cpus
from environments.passwords import mask_passwords
from environments.screen import Screen, format_score
from experiments.resume import keep_rules
from extensions.callbacks import Callbacks
from loggers.metrics import Metrics
from loggers.run_logs import open_logs
from playing.pretrained import copy_pretrained
from run_directory.continuation import refuse_damaged_files, refuse_untrusted_directory
from run_directory.layout import STARTS, format_command
from run_directory.outputs import make_folder
from run_directory.searches import SEEDS_CSV, STAGES
from run_directory.starts import read_overrides, read_starts, write_start
from run_directory.writing import lock_folder
from runs.display import SearchDisplay, format_values
from runs.interrupt import Interrupt, stop_on_file_error
from runs.ray_session import open_ray
from runs.tuning import NodeLost, Recorder, StopCondition, run_trials
from settings.mistakes import Mistake, format_count
from tune_searches.confirmation import Confirmation
from tune_searches.population import Population
from tune_searches.sources import ConfirmationSource, ProposalSource, RunWriter, SearchSource, write_trials_csv
from tune_searches.space import parse_space
from tune_searches.study import Study


def search(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None = None) -> tuple[Path, int]:
    """Run a search, or continue it where an earlier start of the same search ended.

    Args:
        settings: checked by `experiments.check.check_settings`.
        argv: the command line, for the record.
        overrides: of the command line, for the record.
        resumed: the directory of the search to continue; None: <output_dir>/searches/<search.name>.

    Returns:
        That directory, and the exit code: 0 where everything has ended, else 1.

    Raises:
        Mistake: another process runs it, its storage cannot be opened or holds another, or hardly any point can work.
    """
    names = ("searches", settings["search"]["name"])
    folder = resumed or Path(settings["output_dir"]).expanduser().resolve().joinpath(*names)
    begins = not (folder / STARTS).exists()
    if not begins:
        refuse_untrusted_directory(folder, overrides)
    if not begins and not resumed:
        settings = keep_rules(settings, folder, overrides)
    on_cluster = settings["cluster"]["address"] != LOCAL
    # A search that its cluster refuses leaves nothing behind, so the cluster is asked before the first file is written.
    with open_ray(make_plan(settings)) if begins and on_cluster else nullcontext():
        if not resumed:
            make_folder(settings, *names)
        with lock_folder(folder):
            return folder, run_remaining(settings, argv, overrides, folder)


def run_remaining(settings: dict, argv: list[str], overrides: list[str], folder: Path) -> int:
    """Run the trials and seeds that are left, write the tables, and print the best trials; return the exit code."""
    refuse_damaged_files(folder)
    space, pbt = parse_space(settings["search"]["space"], settings), settings["search"]["scheduler"] == "pbt"
    study = Study(settings, space, folder)
    if not study.list_trials() and any(folder.glob("trials/*")):
        raise Mistake(
            f"search in {folder}: it has trials that search.storage={mask_passwords(settings['search']['storage'])} "
            "does not know; name the storage they were made with, or another search.name"
        )
    confirmation, code = Confirmation(study, folder), 0
    trials_left = study.count_remaining_trials() or study.find_unfinished_trials()
    if trials_left or any(map(confirmation.list_unfinished_runs, STAGES)):
        plan = make_plan(settings)
        (folder / SEEDS_CSV).unlink(missing_ok=True)  # of an earlier result, to which more trials or seeds are added
        copy_pretrained(folder, settings)
        write_start(folder, settings, argv, overrides, plan.dtype)
        if other := list_other_dtypes(plan, read_starts(folder / STARTS)):
            print(f"model.dtype=auto is {plan.dtype} here; scores are compared with those of trials in {other}")
        writer = RunWriter(settings, argv, read_overrides(folder))
        with open_ray(plan):
            run_stage = run_population if pbt else run_new_trials
            code = run_stage(study, plan, folder, writer) or run_confirmation(confirmation, plan, folder, writer)
    else:
        more = "" if pbt else "; raise search.trials for more"
        if more and (seen := ", ".join(map(str, sorted({run.seed for run in confirmation.plan_runs("fresh")})))):
            more += f", and search.fresh_seeds too: the scores on the seeds {seen} have been seen"
        Screen(None).print_line(f"all trials of this search have ended{more}")
    with stop_on_file_error(folder):
        write_trials_csv(study, folder)
        if not code:
            confirmation.write_seeds()
    code = code or int(Interrupt.stop_requested)  # those files could not be written
    Screen(None).print_line(describe_best(study))
    if code:
        if Interrupt.reason:
            print(Interrupt.reason)
        print(f"to continue:  {format_command(f'resume={folder}')}")
    return code or int(all(record.state == "FAIL" for record in study.list_records()))


def run_new_trials(study: Study, plan: Plan, folder: Path, writer: RunWriter) -> int:
    """Run the trials that wait and then new ones, up to `search.trials`; return the exit code."""
    settings = study.settings
    with SearchDisplay(study.describe_progress) as display:
        proposals = ProposalSource(
            study, folder, writer, display, study.find_unfinished_trials(), study.count_remaining_trials(), study.budget
        )
        if not proposals.total:
            return 0
        search, known = settings["search"], len(study.list_trials()) + study.count_remaining_trials()
        trials = ("" if proposals.total == known else f"{proposals.total} left of ") + format_count(known, "trial")
        at_once = min(proposals.total, count_concurrent_trials(plan))
        rule, few = search["scheduler"], ", so it learns from few" * (search["sampler"] in ("gp", "cmaes"))
        stops = "no trial stops early" if rule == "none" else f"{rule} stops trials early{few}"
        display.print_line(
            f"{settings['algo']['name']} on {settings['env']['name']}: {trials}, each of at most {study.budget:,} agent"
            f" steps, {at_once} at once; {search['sampler']} proposes, {stops}"
        )
        if any(confirmed := count_trainings(search)[1:]):
            more, fresh = (format_count(number, "training") for number in confirmed)
            display.print_line(
                f"then at most {more} of the best on more seeds, and {fresh} on fresh seeds, each of {study.budget:,} "
                "agent steps"
            )
        display.print_line(f"writing to {folder}")
        code = run_source(plan, folder, proposals, EarlyStopping(study), display)
    if proposals.mistake:
        raise proposals.mistake
    return code


def run_population(study: Study, plan: Plan, folder: Path, writer: RunWriter) -> int:
    """Run all trials of a population, generation after generation; return the exit code."""
    search = study.settings["search"]
    print(
        f"{study.settings['algo']['name']} on {study.settings['env']['name']}: a population of {search['trials']} in "
        f"{search['generations']} generations, to {study.budget:,} agent steps, "
        f"{min(search['trials'], count_concurrent_trials(plan))} at once"
    )
    print(f"writing to {folder}", flush=True)
    while (population := Population(study, folder, writer)).values:
        now = f"generation {population.num_ended_generations + 1} of {search['generations']}"
        with SearchDisplay(lambda now=now: f"{now}, {study.describe_progress()}") as display:
            members = ProposalSource(
                study, folder, writer, display, population.list_remaining_trials(), 0, population.generation_end
            )
            members.num_later = len(population.values) * (search["generations"] - population.num_ended_generations - 1)
            if members.total and (code := run_source(plan, folder, members, EarlyStopping(study), display)):
                return code
        if population.generation_end < study.budget:
            for step in Population(study, folder, writer).end_generation():  # without those that failed meanwhile
                print(f"trial {step.trial} goes on from trial {step.donor}: {format_values(step.values)}", flush=True)
            write_trials_csv(study, folder)
    return 0


def run_confirmation(confirmation: Confirmation, plan: Plan, folder: Path, writer: RunWriter) -> int:
    """Train the best trials and the default settings on other seeds; return the exit code."""
    for stage in STAGES:
        if not (todo := confirmation.list_unfinished_runs(stage)):
            continue
        seeds = ", ".join(str(seed) for seed in dict.fromkeys(run.seed for run in todo))
        print(f"{stage} seeds {seeds}: {' and '.join(dict.fromkeys(run.name for run in todo))}", flush=True)
        with SearchDisplay(lambda stage=stage: confirmation.describe_progress(stage), noun="training") as display:
            planned = ConfirmationSource(todo, confirmation.study.budget, writer, display)
            if code := run_source(plan, folder, planned, FIFOScheduler(), display):
                return code
    return 0


def run_source(
    plan: Plan, folder: Path, source: SearchSource, scheduler: TrialScheduler, display: SearchDisplay
) -> int:
    """Run the trials that a source gives; return the exit code."""
    display.num_expected = source.total + source.num_later
    condition = StopCondition(folder, lambda _, result: result["agent_steps"] >= source.budget)

    def show(config: dict, result: dict) -> None:
        display.update_trial(config["label"], result["agent_steps"], result["score"])

    callbacks, concurrent = Callbacks(plan.settings, Interrupt.stop_for), count_concurrent_trials(plan)
    try:
        with open_logs(plan.settings, folder, display.print_line) as logs:
            recorder = Recorder(folder, source, condition, display, show, Metrics(plan.settings), logs, callbacks)
            run_trials(recorder, plan.settings["max_failures"], scheduler, concurrent, reuse_actors=True)
    except NodeLost as error:
        print(f"the search stopped: {error}")
        return 1
    except (TuneError, StorageInternalError) as error:
        if "StorageInternalError" not in repr(error):
            raise
        print(f"the search stopped: search.storage={mask_passwords(plan.settings['search']['storage'])} failed a write")
        return 1
    if source.overheads:
        display.print_line(source.describe_overhead())
    return int(Interrupt.stop_requested)


def count_concurrent_trials(plan: Plan) -> int:
    """Return how many trials may run at once: as many as were asked for, or as there are CPUs and GPUs for."""
    cpus = count_cpus() if plan.settings["cluster"]["address"] == LOCAL else ray.cluster_resources().get("CPU", 1)
    room = cpus / plan.cpus
    if plan.gpus:
        room = min(room, ray.cluster_resources().get("GPU", 0) / plan.gpus)
    return plan.settings["search"]["concurrent"] or max(1, int(room))


class EarlyStopping(FIFOScheduler):
    """Runs trials in the order in which they come, each until Optuna's pruner says that it is not worth more."""

    def __init__(self, study: Study):
        super().__init__()
        self.study = study

    def __getstate__(self) -> dict:
        return {}  # Tune pickles it for Tuner.restore, which is not used here

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        stop = self.study.report(trial.config["number"], result["agent_steps"], result["score"])
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE


def describe_best(study: Study, number: int = 5) -> str:
    """Return the best trials that came to their end, a line each."""
    complete = sorted((r for r in study.list_records() if r.state == "COMPLETE"), key=lambda r: -r.score)[:number]
    if not complete:
        return f"no trial has come to its end with a score; {study.describe_progress()}"
    lines = [f"  trial {r.number}  {format_score(r.score)}  {format_values(r.values)}" for r in complete]
    last = ", with the last of their settings" if study.settings["search"]["scheduler"] == "pbt" else ""
    return "\n".join([f"{study.describe_progress()}; the best that came to their end{last}:", *lines])
