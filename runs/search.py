"""A search: Optuna proposes, Ray Tune runs, and every trial leaves a run directory.

    Study.ask -> SearchTrial: an Algorithm per seed -> rows -> Study.report -> stop early? -> Study.tell
    the best, and the settings it began with, once more on other seeds -> seeds.csv

outputs/searches/assault_ppo/
    config.yaml, run.json     the search, as a run has them
    study.db                  Optuna's storage, unless search.storage says otherwise
    trials.csv                one row per trial: how it ended, its score, its values
    report.html               all of it on a page, from evidence/search_page.py
    trials/0007/              a run directory per trial: settings, progress, checkpoints; resumed like any other
    contender/, fresh/        such directories, of the best trials and the default settings on other seeds
    seeds.csv                 what they scored
    tune/                     Ray Tune's own files, of the present start

The same search started again continues: what was under way from its checkpoints, the rest from what the storage and the
directories know. Tune's own snapshots are not used: they forget what a scheduler knew.
"""

import csv
import fcntl
import io
import math
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ray
import yaml
from ray import tune
from ray.tune.schedulers import FIFOScheduler, TrialScheduler
from ray.tune.search import Searcher

from environments.machine import num_cpus
from environments.mistakes import Mistake
from runs import checkpoints, directory
from runs.build import cpus_of_run, seeds_of
from runs.confirmation import FAILURE, STAGES, Attempt, Confirmation
from runs.display import SearchDisplay, spelt
from runs.record import Record, write_hparams
from runs.space import parse, with_values
from runs.study import Study
from runs.train import Interrupt, NodeLost, local_ray, why
from runs.trial import SearchTrial

TRIALS = "trials.csv"


def search(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None = None) -> tuple[Path, int]:
    """Search, or go on where an earlier start of the same search ended.

    Args:
        settings: checked by `runs.build.check`.
        argv: the command line, for the record.
        overrides: what was typed, for the record.
        resumed: the directory of the search, where it is not <output_dir>/searches/<name>.

    Returns:
        That directory, and the exit code: 0 where everything has ended, else 1.

    Raises:
        Mistake: another process is at this search, its storage cannot be opened or holds another one, or hardly
            anything in the space works.
    """
    folder = resumed or directory.writable(settings, "searches", settings["search"]["name"])
    space = parse(settings["search"]["space"], settings)
    with alone_in(folder):
        study = Study(settings, space, folder)
        if not study.trials() and any(folder.glob("trials/*")):
            raise Mistake(
                f"search in {folder}: it has trials that search.storage={settings['search']['storage']} does not know; "
                "name the storage they were made with, or another search.name"
            )
        confirmation, code = Confirmation(study, folder), 0
        if study.left() or study.unfinished() or any(map(confirmation.left, STAGES)):
            directory.write_start(folder, settings, argv, overrides)
            shutil.rmtree(folder / "tune", ignore_errors=True)
            writer = RunWriter(settings, argv, directory.overrides_of(folder))
            with local_ray(settings):
                code = play_trials(study, folder, writer) or confirm(confirmation, folder, writer)
        else:
            print("all trials of this search have ended; raise search.trials for more")
        write_table(study, folder)
        if not code:
            confirmation.write()
        print(best_of(study))
        if code:
            print(f"to continue:  python run.py resume={folder}")
    return folder, code


def play_trials(study: Study, folder: Path, writer: "RunWriter") -> int:
    """The trials that are left; returns the exit code."""
    settings = study.settings
    with SearchDisplay(study.standing) as display:
        proposals = Proposals(study, folder, writer, display)
        if not proposals.total:
            return 0
        print(
            f"{settings['algo']['name']} on {settings['env']['name']}: {proposals.total} trials of at most "
            f"{study.budget:,} agent steps, {concurrent_trials(settings)} at once; {settings['search']['sampler']} "
            f"proposes, {settings['search']['scheduler']} stops early"
        )
        print(f"writing to {folder}", flush=True)
        code = play(settings, folder, proposals, EarlyStopping(study), display)
    if proposals.mistake:
        raise proposals.mistake
    return code


def confirm(confirmation: Confirmation, folder: Path, writer: "RunWriter") -> int:
    """The best trials and the default settings on other seeds; returns the exit code."""
    settings = confirmation.study.settings
    for stage in STAGES:
        todo = confirmation.left(stage)
        if not todo:
            continue
        seeds = ", ".join(map(str, confirmation.seeds(stage)))
        print(f"{stage} seeds {seeds}: {' and '.join(dict.fromkeys(a.name for a in todo))}", flush=True)
        with SearchDisplay(lambda stage=stage: confirmation.standing(stage)) as display:
            planned = Planned(todo, confirmation.study.budget, writer, display)
            if code := play(settings, folder, planned, FIFOScheduler(), display):
                return code
    return 0


def play(settings: dict, folder: Path, source: "Source", scheduler: TrialScheduler, display: SearchDisplay) -> int:
    """Run what a source gives, with Ray Tune; returns the exit code."""
    end = TrialEnd(settings["stop"]["agent_steps"])
    display.left = source.total
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
            name="tune",
            storage_path=str(folder),
            stop=end,
            callbacks=[SearchRecorder(source, end, display)],
            checkpoint_config=tune.CheckpointConfig(num_to_keep=1, checkpoint_at_end=True),
            failure_config=tune.FailureConfig(max_failures=settings["max_failures"]),
            verbose=0,
        ),
    )
    try:
        tuner.fit()
    except NodeLost as error:
        print(f"the search stopped: {error}")
        return 1
    return int(Interrupt.asked)


def concurrent_trials(settings: dict) -> int:
    """Trials at once: as many as were asked for, or as there are CPUs for."""
    search = settings["search"]
    return search["concurrent"] or max(1, int(num_cpus() / cpus_of_run(settings, search["seeds_per_trial"])))


def name_of(trial: Any) -> str:
    """What Tune calls a trial: `trial_7`, `fresh_default_seed_4`."""
    return trial.config["label"].replace(" ", "_")


# Where trials come from, and where their ends are told ----------------------------------------------------------------


class Source(Searcher):
    """Gives Tune trials: their `label`, and their `dir`, a run directory that holds all the rest.

    Attributes:
        total: trials there are to give.
    """

    total: int

    def __init__(self, display: SearchDisplay):
        super().__init__(metric="objective", mode="max")
        self.display = display

    def __getstate__(self) -> dict:
        return {}  # Tune pickles it for Tuner.restore, which is not used here

    def failed(self, config: dict, reason: str) -> None:
        """A trial's process died too often."""
        self.display.end(config["label"], "FAIL", 0, math.nan, reason)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: all there is to know is in the storage and the directories."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as above."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, as above."""


class Proposals(Source):
    """The trials of a Study."""

    def __init__(self, study: Study, folder: Path, writer: "RunWriter", display: SearchDisplay):
        super().__init__(display)
        self.study, self.folder, self.writer = study, folder, writer
        self.waiting = study.unfinished()
        self.total = len(self.waiting) + study.left()
        self.configs: dict[str, dict] = {}  # of Tune's trials
        self.values: dict[int, dict] = {}  # number -> values
        self.mistake: Mistake | None = None

    def suggest(self, trial_id: str) -> dict | str:
        if Interrupt.asked:
            return Searcher.FINISHED
        try:
            number, values = self.waiting.pop(0) if self.waiting else self.study.ask()
        except Mistake as mistake:  # Tune would bury it in a traceback
            self.mistake = mistake
            return Searcher.FINISHED
        path, search = self.folder / "trials" / f"{number:04d}", self.study.settings["search"]
        self.writer.write(path, values, [self.study.settings["seed"] + i for i in range(search["seeds_per_trial"])])
        self.configs[trial_id] = config = {"label": f"trial {number}", "number": number, "dir": str(path)}
        self.values[number] = values
        self.display.begin(config["label"], values)
        return dict(config)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        if error or result is None:  # `failed` tells, which knows why; or it never began
            return
        config, steps = self.configs[trial_id], result["agent_steps"]
        ended = steps >= self.study.budget or result["failure"] or self.study.stopped(config["number"])
        if not ended:  # Ctrl-C: it goes on when the search does
            return
        state = self.study.tell(config["number"], steps, result["objective"], result["failure"])
        if math.isfinite(result["objective"]):
            write_hparams(Path(config["dir"]), self.values[config["number"]], result["objective"])
        write_table(self.study, self.folder)
        self.display.end(config["label"], state.name, steps, result["objective"], result["failure"] or "")

    def failed(self, config: dict, reason: str) -> None:
        self.study.tell(config["number"], 0, math.nan, failure=reason)
        write_table(self.study, self.folder)
        super().failed(config, reason)


class Planned(Source):
    """Trainings that are known beforehand."""

    def __init__(self, attempts: list[Attempt], budget: int, writer: "RunWriter", display: SearchDisplay):
        super().__init__(display)
        self.waiting, self.total, self.budget, self.writer = list(attempts), len(attempts), budget, writer
        self.configs: dict[str, dict] = {}  # of Tune's trials

    def suggest(self, trial_id: str) -> dict | str:
        if Interrupt.asked or not self.waiting:
            return Searcher.FINISHED
        attempt = self.waiting.pop(0)
        self.writer.write(attempt.path, attempt.values, [attempt.seed])
        label = f"{attempt.stage} {attempt.name} seed {attempt.seed}"
        self.configs[trial_id] = config = {"label": label, "dir": str(attempt.path)}
        self.display.begin(label, attempt.values)
        return dict(config)

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        if error or result is None or (result["agent_steps"] < self.budget and not result["failure"]):
            return
        config, steps, score = self.configs[trial_id], result["agent_steps"], result["objective"]
        if failure := result["failure"] or ("too few games ended for a score" if math.isnan(score) else None):
            self.failed(config, failure)
        else:
            self.display.end(config["label"], "COMPLETE", steps, score)

    def failed(self, config: dict, reason: str) -> None:
        """Kept beside the run, so that it is not tried until it passes."""
        directory.replace(Path(config["dir"]) / FAILURE, reason + "\n")
        super().failed(config, reason)


class RunWriter:
    """Makes run directories of a search, as if their values had been typed.

    Args:
        settings: of the search.
        argv, overrides: what was typed for it.
    """

    def __init__(self, settings: dict, argv: list[str], overrides: list[str]):
        self.settings, self.argv, self.overrides = settings, argv, overrides

    def write(self, path: Path, values: dict[str, Any], seeds: list[int]) -> None:
        """Settings and circumstances of a trial; nothing where they are there already."""
        if (path / directory.RECORD).exists():  # it is written last
            return
        settings = {k: v for k, v in with_values(self.settings, values).items() if k != "search"}
        settings |= {"command": "train", "seed": seeds if len(seeds) > 1 else seeds[0]}
        typed = [override for override in self.overrides if not override.startswith("search.")]
        typed += ["command=train", *(f"{key}={value}" for key, value in values.items())]
        for seed, of_seed in directory.dirs_of(path, seeds).items():
            of_seed.mkdir(parents=True, exist_ok=True)
            if of_seed != path:
                directory.write_start(of_seed, settings | {"seed": seed}, self.argv, [*typed, f"seed={seed}"])
        directory.write_start(path, settings, self.argv, [*typed, f"seed={settings['seed']}"])


# What Tune is told, and what is written -------------------------------------------------------------------------------


class EarlyStopping(FIFOScheduler):
    """Trials in the order they come, each until Optuna's pruner says that it is not worth more."""

    def __init__(self, study: Study):
        super().__init__()
        self.study = study

    def __getstate__(self) -> dict:
        return {}  # as Source

    def on_trial_result(self, tune_controller: Any, trial: Any, result: dict) -> str:
        stop = self.study.report(trial.config["number"], result["agent_steps"], result["objective"])
        return TrialScheduler.STOP if stop else TrialScheduler.CONTINUE


class TrialEnd(tune.Stopper):
    """A trial ends with its budget, with a failure, or because the user asked."""

    def __init__(self, budget: int):
        self.budget = budget
        self.drop_waiting = False  # set once nothing runs

    def __call__(self, trial_id: str, result: dict) -> bool:
        return Interrupt.asked or result["agent_steps"] >= self.budget or bool(result["failure"])

    def stop_all(self) -> bool:
        return self.drop_waiting


class SearchRecorder(tune.Callback):
    """Writes what trials report into their run directories."""

    def __init__(self, source: Source, end: TrialEnd, display: SearchDisplay):
        self.source, self.end, self.display = source, end, display
        self.records: dict[str, Record] = {}  # run directory -> what is written there

    def __getstate__(self) -> dict:
        return {}  # as Source

    def record_of(self, trial: Any) -> Record:
        """Of a trial; made when it is first asked for."""
        path = Path(trial.config["dir"])
        if str(path) not in self.records:
            seeds = seeds_of(yaml.safe_load((path / directory.CONFIG).read_text()))
            self.records[str(path)] = Record(directory.dirs_of(path, seeds), path)
        return self.records[str(path)]

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        for seed, row, workers in () if result["failure"] else result["reports"]:
            self.record_of(trial).add(seed, row, workers)
        self.display.update(trial.config["label"], result["agent_steps"], result["objective"])

    def on_checkpoint(self, iteration, trials, trial, checkpoint, **info) -> None:
        if not trial.last_result.get("failure"):
            for seed, path in self.record_of(trial).dirs.items():
                checkpoints.keep(Path(checkpoint.path, f"seed_{seed}"), path)

    def on_trial_recover(self, iteration, trials, trial, **info) -> None:
        self.display.say(f"{trial.config['label']}: a process died; starting again from the last checkpoint")

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        self.source.failed(trial.config, why(trial))

    def on_step_end(self, iteration, trials, **info) -> None:
        for trial in trials:  # a last checkpoint may come after a trial's end, so its record outlives it for a while
            if trial.status in ("TERMINATED", "ERROR") and (record := self.records.get(trial.config["dir"])):
                record.close()
        waiting = all(trial.status != "RUNNING" for trial in trials)
        self.end.drop_waiting = Interrupt.asked and waiting
        if waiting and not any(node["Alive"] for node in ray.nodes()):
            raise NodeLost("Ray's own process on this machine died")


def write_table(study: Study, folder: Path) -> None:
    """trials.csv: one row per trial."""
    keys = [parameter.key for parameter in study.space]
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("trial", "state", "agent_steps", "score", "failure", *keys))
    for row in study.rows():
        score = "" if math.isnan(row.score) else row.score
        table.writerow((row.number, row.state, row.agent_steps, score, row.failure, *map(row.values.get, keys)))
    directory.replace(folder / TRIALS, text.getvalue())


def best_of(study: Study, number: int = 5) -> str:
    """The best trials, in words."""
    complete = sorted((r for r in study.rows() if r.state == "COMPLETE"), key=lambda r: -r.score)[:number]
    if not complete:
        return f"no trial has come to its end yet; {study.standing()}"
    lines = [f"  trial {r.number}  {r.score:,.1f}  {spelt(r.values)}" for r in complete]
    return "\n".join([f"{study.standing()}; the best that came to their end:", *lines])


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One driver at a time: two would give their trials the same names.

    Raises:
        Mistake: another has it.
    """
    if not os.access(folder, os.W_OK):
        raise Mistake(f"search in {folder}: it cannot be written; name another output_dir")
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise Mistake(f"search in {folder}: another process is at it; wait for it, or end it") from error
        yield
