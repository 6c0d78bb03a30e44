"""A search: Optuna proposes, Ray Tune runs, and every trial leaves a run directory.

    Study.ask -> SearchTrial: an Algorithm per seed -> rows -> Study.report -> stop early? -> Study.tell
    the best, and the settings it began with, once more on other seeds -> seeds.csv

The files that it leaves are listed in run_directory/searches.py.

The same search started again continues: what was under way from its checkpoints, the rest from what the storage and the
directories know. Tune's own snapshots are not used: they forget what a scheduler knew.
"""

import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import ray
from optuna.exceptions import StorageInternalError
from ray import tune
from ray.tune.error import TuneError
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from cluster.local_ray import LOCAL
from cluster.resources import cpus_of_run, dtype_of, gpus_of_run
from environments.machine import num_cpus
from environments.passwords import mask
from experiments.resume import keep_rules
from run_directory.continuation import refuse_damaged_files, refuse_strangers
from run_directory.layout import STARTS, TUNE, format_resume_command
from run_directory.outputs import make_folder
from run_directory.searches import STAGES
from run_directory.starts import read_overrides, write_start
from run_directory.writing import lock_folder
from runs.display import SearchDisplay, format_values
from runs.interrupt import Interrupt, stop_on_full_disk
from runs.metrics import Metrics
from runs.ray_session import open_ray
from runs.train import NodeLost
from runs.trial import SearchTrial
from runs.trial_recorder import SearchRecorder, TrialEnd
from settings.mistakes import Mistake, counted
from tune_searches.confirmation import Confirmation
from tune_searches.population import Population
from tune_searches.sources import ConfirmationSource, ProposalSource, RunWriter, SearchSource, write_trials_csv
from tune_searches.space import parse_space
from tune_searches.study import Study


def search(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None = None) -> tuple[Path, int]:
    """Search, or go on where an earlier start of the same search ended.

    Args:
        settings: checked by `experiments.check.check`.
        argv: the command line, for the record.
        overrides: what was typed, for the record.
        resumed: the directory of the search, where it is not <output_dir>/searches/<name>.

    Returns:
        That directory, and the exit code: 0 where everything has ended, else 1.

    Raises:
        Mistake: another process is at this search, its storage cannot be opened or holds another one, or hardly
            anything in the space works.
    """
    names = ("searches", settings["search"]["name"])
    folder = resumed or Path(settings["output_dir"]).expanduser().resolve().joinpath(*names)
    begins = not (folder / STARTS).exists()
    if not begins:
        refuse_strangers(folder, overrides)
    if not begins and not resumed:
        settings = keep_rules(settings, folder, overrides)
    asks = begins and settings["cluster"]["address"] != LOCAL
    with open_ray(settings) if asks else nullcontext():  # what a cluster refuses leaves nothing behind
        if not resumed:
            make_folder(settings, *names)
        with lock_folder(folder):
            return folder, go_on(settings, argv, overrides, folder)


def go_on(settings: dict, argv: list[str], overrides: list[str], folder: Path) -> int:
    """What is left of a search, and what it has found; returns the exit code."""
    refuse_damaged_files(folder)
    space, pbt = parse_space(settings["search"]["space"], settings), settings["search"]["scheduler"] == "pbt"
    study = Study(settings, space, folder)
    if not study.list_trials() and any(folder.glob("trials/*")):
        raise Mistake(
            f"search in {folder}: it has trials that search.storage={mask(settings['search']['storage'])} does not "
            "know; name the storage they were made with, or another search.name"
        )
    confirmation, code = Confirmation(study, folder), 0
    if (
        study.count_remaining_trials()
        or study.find_unfinished_trials()
        or any(map(confirmation.list_unfinished_runs, STAGES))
    ):
        write_start(folder, settings, argv, overrides, dtype_of(settings))
        writer = RunWriter(settings, argv, read_overrides(folder))
        with open_ray(settings):
            code = (play_population if pbt else play_trials)(study, folder, writer) or confirm(
                confirmation, folder, writer
            )
    else:
        print(f"all trials of this search have ended{'' if pbt else '; raise search.trials for more'}")
    with stop_on_full_disk(folder):
        write_trials_csv(study, folder)
        if not code:
            confirmation.write_seeds()
    print(best_of(study))
    if code:
        if Interrupt.reason:
            print(Interrupt.reason)
        print(f"to continue:  {format_resume_command(folder)}")
    return code


def play_trials(study: Study, folder: Path, writer: RunWriter) -> int:
    """The trials that are left; returns the exit code."""
    settings = study.settings
    with SearchDisplay(study.describe_progress) as display:
        proposals = ProposalSource(
            study, folder, writer, display, study.find_unfinished_trials(), study.count_remaining_trials(), study.budget
        )
        if not proposals.total:
            return 0
        print(
            f"{settings['algo']['name']} on {settings['env']['name']}: {counted(proposals.total, 'trial')} of at most "
            f"{study.budget:,} agent steps, {concurrent_trials(settings)} at once; {settings['search']['sampler']} "
            f"proposes, {settings['search']['scheduler']} stops early"
        )
        print(f"writing to {folder}", flush=True)
        code = play(settings, folder, proposals, EarlyStopping(study), display)
    if proposals.mistake:
        raise proposals.mistake
    return code


def play_population(study: Study, folder: Path, writer: RunWriter) -> int:
    """All trials, generation after generation; returns the exit code."""
    search, said = study.settings["search"], False
    while (population := Population(study, folder, writer)).values:
        if not said:
            print(
                f"{study.settings['algo']['name']} on {study.settings['env']['name']}: a population of "
                f"{len(population.values)} in {search['generations']} generations, to {study.budget:,} agent steps, "
                f"{concurrent_trials(study.settings)} at once"
            )
            print(f"writing to {folder}", flush=True)
            said = True
        now = f"generation {population.num_ended_generations + 1} of {search['generations']}"
        with SearchDisplay(lambda now=now: f"{now}, {study.describe_progress()}") as display:
            members = ProposalSource(
                study, folder, writer, display, population.list_remaining_trials(), 0, population.generation_end
            )
            members.num_later = len(population.values) * (search["generations"] - population.num_ended_generations - 1)
            if members.total and (code := play(study.settings, folder, members, EarlyStopping(study), display)):
                return code
        if population.generation_end < study.budget:
            for step in Population(study, folder, writer).end_generation():  # without those that failed meanwhile
                print(f"trial {step.trial} goes on from trial {step.donor}: {format_values(step.values)}", flush=True)
            write_trials_csv(study, folder)
    return 0


def confirm(confirmation: Confirmation, folder: Path, writer: RunWriter) -> int:
    """The best trials and the default settings on other seeds; returns the exit code."""
    settings = confirmation.study.settings
    for stage in STAGES:
        todo = confirmation.list_unfinished_runs(stage)
        if not todo:
            continue
        seeds = ", ".join(map(str, confirmation.list_seeds(stage)))
        print(f"{stage} seeds {seeds}: {' and '.join(dict.fromkeys(a.name for a in todo))}", flush=True)
        with SearchDisplay(lambda stage=stage: confirmation.describe_progress(stage)) as display:
            planned = ConfirmationSource(todo, confirmation.study.budget, writer, display)
            if code := play(settings, folder, planned, FIFOScheduler(), display):
                return code
    return 0


def play(settings: dict, folder: Path, source: SearchSource, scheduler: TrialScheduler, display: SearchDisplay) -> int:
    """Run what a source gives, with Ray Tune; returns the exit code."""
    end = TrialEnd(source.budget, folder)
    display.num_expected = source.total + source.num_later
    # What a former start or stage left: its files are linked into run directories, and must not be written over.
    shutil.rmtree(folder / TUNE, ignore_errors=True)
    tuner = tune.Tuner(
        SearchTrial,
        tune_config=tune.TuneConfig(
            search_alg=source,
            scheduler=scheduler,
            num_samples=source.total,
            max_concurrent_trials=concurrent_trials(settings),
            reuse_actors=True,
            trial_name_creator=name_of,
            trial_dirname_creator=name_of,
        ),
        run_config=tune.RunConfig(
            name=TUNE,
            storage_path=str(folder),
            stop=end,
            callbacks=[SearchRecorder(folder, source.fail_trial, end, display, Metrics(settings))],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=settings["max_failures"]),
            verbose=0,
        ),
    )
    try:
        with stop_on_full_disk(folder):  # Tune does, too
            tuner.fit()
    except NodeLost as error:
        print(f"the search stopped: {error}")
        return 1
    except (TuneError, StorageInternalError) as error:
        if "StorageInternalError" not in repr(error):
            raise
        print(
            f"the search stopped: search.storage={mask(settings['search']['storage'])} failed while it was written to"
        )
        return 1
    if source.overheads:
        display.say(source.describe_overhead())
    return int(Interrupt.stop_requested)


def concurrent_trials(settings: dict) -> int:
    """Trials at once: as many as were asked for, or as there are CPUs and GPUs for."""
    search, local = settings["search"], settings["cluster"]["address"] == LOCAL
    cpus = num_cpus() if local else ray.cluster_resources().get("CPU", 1)
    room = cpus / cpus_of_run(settings, search["seeds_per_trial"])
    if gpus := gpus_of_run(settings, search["seeds_per_trial"]):
        room = min(room, ray.cluster_resources().get("GPU", 0) / gpus)
    return search["concurrent"] or max(1, int(room))


def name_of(trial: Any) -> str:
    """What Tune calls a trial: `trial_7`, `fresh_default_seed_4`."""
    return trial.config["label"].replace(" ", "_")


# What Tune is told, and what is written -------------------------------------------------------------------------------


class EarlyStopping(FIFOScheduler):
    """Trials in the order they come, each until Optuna's pruner says that it is not worth more."""

    def __init__(self, study: Study):
        super().__init__()
        self.study = study

    def __getstate__(self) -> dict:
        return {}  # as SearchSource

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        stop = self.study.report(trial.config["number"], result["agent_steps"], result["score"])
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE


def best_of(study: Study, number: int = 5) -> str:
    """The best trials, in words."""
    complete = sorted((r for r in study.list_records() if r.state == "COMPLETE"), key=lambda r: -r.score)[:number]
    if not complete:
        return f"no trial has come to its end yet; {study.describe_progress()}"
    lines = [f"  trial {r.number}  {r.score:,.1f}  {format_values(r.values)}" for r in complete]
    last = ", with the last of their settings" if study.settings["search"]["scheduler"] == "pbt" else ""
    return "\n".join([f"{study.describe_progress()}; the best that came to their end{last}:", *lines])
