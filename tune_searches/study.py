"""The study: Optuna proposes the values of a search's trials and stores their scores.

    ask -> values -> a trial trains -> report at equal budgets -> stop early? -> tell COMPLETE, PRUNED or FAIL

Optuna's storage holds the whole state of a search: the sampler's history and the scores that the pruner compares. A
search therefore continues after its driver was killed.

The budget of a trial has NUM_SHARES equal shares, and a score is stored under the last share that the trial has
completed. Only scores of equal shares are compared. A trial that was stopped early is told as PRUNED with the score of
its last share; Ray Tune's own OptunaSearch would tell it as COMPLETE.
"""

import json
import math
import os
import sqlite3
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager, nullcontext
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import numpy as np
import optuna
from optuna.storages import JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend
from optuna.study import StudyDirection
from optuna.trial import FrozenTrial, TrialState
from sqlalchemy import event

from environments.passwords import find_password, hide_password, mask_passwords
from environments.screen import format_score
from run_directory.files import check_kind, explain_damage, read_yaml
from run_directory.layout import CONFIG
from run_directory.searches import UNFINISHED
from settings.algorithms import list_earlier
from settings.mistakes import Mistake
from settings.protocols import EARLIER, EARLIER_OF_GYMNASIUM
from tune_searches.check import check_experiment
from tune_searches.space import Parameter, draw_values, replace_values

FILE_STORAGES = ("sqlite", "journal")  # values of search.storage that name a file in the directory of the search
NUM_SHARES = 36  # of a budget; a score is stored at the end of each, and so at 1/9 and 1/3 of the budget
SCORE_COLUMN = "episode_return_mean"  # the column of progress.csv that holds the score
# Attributes of a trial.
VALUES_KEY, IMPOSSIBLE_KEY, FAILURE_KEY, STOP_KEY, STEPS_KEY = "values", "impossible", "failure", "stop", "agent_steps"
FINGERPRINT_KEY = "search"  # the attribute of the study that holds its fingerprint
RETRY_EVERY_S, REMIND_EVERY_S = 2, 60  # while a database does not answer: between attempts, between messages
MAX_DRAWS = 100  # proposals in a row that cannot work before the search gives up
MODEL_DRAWS = 10  # of these are the sampler's own; the others are random
TOO_FEW_GAMES = "fewer than 20 games ended, too few for a score; raise stop.agent_steps, in a search of another name"
COMPARED_SETTINGS = ("algo", "env", "model", "stop", "seed", "pretrained")  # that all trials of a study must agree on
# Of `search.`; the fresh seeds begin behind those of the contenders.
COMPARED_SEARCH_SETTINGS = ("space", "seeds_per_trial", "contender_seeds", "scheduler", "reduction_factor", "rungs")
COMPARED_PBT_SETTINGS = ("trials", "generations")  # too, if scheduler=pbt


class TrialRecord(NamedTuple):
    """One trial as it is stored."""

    number: int
    state: str  # UNFINISHED, COMPLETE, PRUNED or FAIL
    agent_steps: int  # per seed; of an unfinished trial, at the end of the last share that it has completed
    score: float  # at its end or at that share; NaN if there is none
    failure: str  # the reason; empty if the trial has not failed
    values: dict[str, Any]  # setting -> value


class Study:
    """The trials of one search in Optuna's storage. `ask`, `report` and `tell` have the names that Optuna gives them.

    Args:
        settings: the settings of the search, checked by `tune_searches.check.check_experiment`.
        space: the parameters that vary.
        folder: the directory of the search.

    Raises:
        Mistake: the storage cannot be opened or is damaged, or it holds a different search of the same name.
    """

    def __init__(self, settings: dict, space: list[Parameter], folder: Path):
        self.settings, self.space, self.budget = settings, space, settings["stop"]["agent_steps"]
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        search = settings["search"]
        with explain_storage_errors(search["storage"]):
            words: dict[str, Any] = {"storage": open_storage(search["storage"], folder), "study_name": search["name"]}
            how: dict[str, Any] = {"load_if_exists": True, "pruner": make_pruner(search, self.budget)}
            self.optuna = optuna.create_study(**words, **how, direction="maximize")
            while self._refuse_other_search(folder):  # it has no trial: this search takes its name
                optuna.delete_study(**words)
                self.optuna = optuna.create_study(**words, **how, direction="maximize")
            begun = len(self.optuna.trials)
            for record in self.list_records():  # a damaged storage is found here, before Ray starts
                check_kind(folder, record.values, dict, f"what search.storage has of trial {record.number}")
        # The seed depends on the number of trials, because a sampler with the same seed would repeat its proposals.
        stream = np.random.SeedSequence([settings["seed"], begun]).generate_state(1)[0]
        self.optuna.sampler = make_sampler(search["sampler"], int(stream))
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, int] = {}  # number -> agent steps of the trial's last report

    def _refuse_other_search(self, folder: Path) -> bool:
        """Raise a Mistake if the study holds a search whose results cannot be compared with those of this one.

        Returns whether the study holds another search of this directory in which no trial has begun yet.
        """
        name, ours = self.settings["search"]["name"], compute_fingerprint(self.settings)
        if self.settings["search"]["storage"] not in FILE_STORAGES:
            ours["folder"] = str(folder)  # in a database, two searches of one name would share their trials
        theirs = self.optuna.user_attrs.get(FINGERPRINT_KEY)
        if theirs is None:
            if self.optuna.trials or self.optuna.direction is not StudyDirection.MAXIMIZE:
                raise Mistake(f"search.name={name}: this suite did not make the study of that name; give another name")
            self.optuna.set_user_attr(FINGERPRINT_KEY, ours)
            return False
        rules = EARLIER if "env.game" in theirs else EARLIER_OF_GYMNASIUM
        for group, newer in (("env", rules), ("algo", list_earlier(key.removeprefix("algo.") for key in theirs))):
            theirs = {f"{group}.{key}": value for key, value in newer.items()} | theirs
        if "search.contender_seeds" not in theirs:  # earlier versions have it in config.yaml alone
            saved = read_yaml(folder / CONFIG) if (folder / CONFIG).exists() else self.settings
            check_kind(folder / CONFIG, saved.get("search"), dict, "search")
            theirs["search.contender_seeds"] = saved["search"].get("contender_seeds")
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                if not self.list_trials() and ours.get("folder") == theirs.get("folder"):
                    return True
                raise Mistake(
                    f"search.name={name}: the search of that name has {key}={theirs.get(key)} and this one "
                    f"{ours.get(key)}, so their results do not compare; give this one another name, search.name=..."
                )
        return False

    # Trials in the storage --------------------------------------------------------------------------------------------
    def list_trials(self) -> list[FrozenTrial]:
        """Return Optuna's trials that train or have trained, oldest first, without proposals that cannot work."""
        return [trial for trial in self.optuna.get_trials(deepcopy=False) if VALUES_KEY in trial.user_attrs]

    def list_records(self) -> list[TrialRecord]:
        """Return the same trials as records, without Optuna's types."""
        return [
            TrialRecord(
                t.number,
                t.state.name if t.state.is_finished() else UNFINISHED,
                t.user_attrs.get(STEPS_KEY, self.budget if t.state is TrialState.COMPLETE else t.last_step or 0),
                t.value if t.value is not None else t.intermediate_values.get(t.last_step or 0, math.nan),
                t.user_attrs.get(FAILURE_KEY, "") if t.state is TrialState.FAIL else "",
                t.user_attrs[VALUES_KEY],
            )
            for t in self.list_trials()
        ]

    def count_remaining_trials(self) -> int:
        """Return the number of trials that have not begun."""
        return max(0, self.settings["search"]["trials"] - len(self.list_trials()))

    def describe_progress(self) -> str:
        """Return `12 of 20 trials: 3 complete, 8 stopped early, 1 failed; best 213.4 (trial 3)`."""
        records = self.list_records()
        count, total = Counter(record.state for record in records), len(records) + self.count_remaining_trials()
        ended = sum(number for state, number in count.items() if state != UNFINISHED)
        words = {"COMPLETE": "complete", "PRUNED": "stopped early", "FAIL": "failed"}
        text = f"{ended} of {total} trials"
        if ended:
            text += ": " + ", ".join(f"{count[state]} {word}" for state, word in words.items() if count[state])
        if complete := [record for record in records if record.state == "COMPLETE"]:
            best = max(complete, key=lambda record: record.score)
            text += f"; best {format_score(best.score)} (trial {best.number})"
        return text

    def list_seeds(self) -> list[int]:
        """Return the seeds that each trial is trained with."""
        first = self.settings["seed"]
        return list(range(first, first + self.settings["search"]["seeds_per_trial"]))

    # Proposals --------------------------------------------------------------------------------------------------------
    def find_unfinished_trials(self) -> list[tuple[int, dict[str, Any]]]:
        """Return number and values of the trials that an earlier driver left unfinished; they can now be reported on.

        A trial without values, whose driver was killed during the proposal, is told as FAIL.
        """
        found = []
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if VALUES_KEY in trial.user_attrs:
                self._trials[trial.number] = optuna.Trial(self.optuna, trial._trial_id)
                self._reported[trial.number] = trial.last_step or 0
                found.append((trial.number, trial.user_attrs[VALUES_KEY]))
            else:
                self.optuna.tell(trial.number, state=TrialState.FAIL)
        return found

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Return number and values of a new trial.

        Proposals that cannot work are told as FAIL, and the next one is drawn.

        Raises:
            Mistake: MAX_DRAWS proposals in a row cannot work.
        """
        why = None
        for draw in range(MAX_DRAWS):
            with self.propose_at_random() if draw >= MODEL_DRAWS else nullcontext():
                trial = self.optuna.ask()
                values = draw_values(self.space, trial)
            try:
                check_experiment(replace_values(self.settings, values))
            except Mistake as mistake:
                why = mistake
                trial.set_user_attr(IMPOSSIBLE_KEY, str(mistake))
                self.optuna.tell(trial, state=TrialState.FAIL)
            else:
                trial.set_user_attr(VALUES_KEY, values)
                self._trials[trial.number], self._reported[trial.number] = trial, 0
                return trial.number, values
        raise Mistake(f"search.space: {MAX_DRAWS} proposals in a row cannot work, the last because {why}")

    @contextmanager
    def propose_at_random(self) -> Iterator[None]:
        """Let trials be proposed at random: a model that is told of no failure goes on to propose what cannot work."""
        sampler, drawn = self.optuna.sampler, len(self.optuna.get_trials(deepcopy=False))
        stream = np.random.SeedSequence([self.settings["seed"], drawn, MODEL_DRAWS]).generate_state(1)[0]
        self.optuna.sampler = optuna.samplers.RandomSampler(int(stream))
        try:
            yield
        finally:
            self.optuna.sampler = sampler

    def change_values(self, number: int, values: dict[str, Any]) -> None:
        """Store the new values with which a trial continues."""
        self._trials[number].set_user_attr(VALUES_KEY, values)

    # Results ----------------------------------------------------------------------------------------------------------
    def report(self, number: int, agent_steps: int, score: float) -> bool:
        """Store a trial's score after agent steps per seed, if it has one and has completed another share of its budget
        since the last report.

        Returns:
            True if the trial is to be stopped early. The decision is stored and does not change any more.
        """
        if self.is_stopped(number):
            return True
        trial, share = self._trials[number], min(NUM_SHARES, agent_steps * NUM_SHARES // self.budget)
        point = share * self.budget // NUM_SHARES
        if not math.isfinite(score) or point <= self._reported[number]:
            return False
        self._reported[number] = point
        trial.report(score, point)
        if share < NUM_SHARES and trial.should_prune():
            trial.set_user_attr(STOP_KEY, True)
        return self.is_stopped(number)

    def is_stopped(self, number: int) -> bool:
        """Return whether a trial is to be stopped early."""
        return self._trials[number].user_attrs.get(STOP_KEY, False)

    def tell(self, number: int, agent_steps: int, score: float, failure: str | None = None) -> TrialState:
        """Tell Optuna how a trial has ended after agent steps per seed; `failure` is the reason of a failure.

        Returns:
            COMPLETE if the trial reached the end of its budget, PRUNED if it was stopped early, FAIL if it failed or
            has no score.
        """
        self._trials[number].set_user_attr(STEPS_KEY, int(agent_steps))
        if failure is None and not math.isfinite(score):
            failure = TOO_FEW_GAMES
        if failure is not None:
            self._trials[number].set_user_attr(FAILURE_KEY, failure)
            return self.optuna.tell(number, state=TrialState.FAIL).state
        if agent_steps >= self.budget:
            return self.optuna.tell(number, score, state=TrialState.COMPLETE).state
        return self.optuna.tell(number, state=TrialState.PRUNED).state


def compute_fingerprint(settings: dict) -> dict[str, Any]:
    """Return key -> value of all settings that must be equal for results to be comparable, with the types of JSON."""
    flat: dict[str, Any] = {"objective": SCORE_COLUMN}
    for group in COMPARED_SETTINGS:
        value = settings[group]
        flat |= {f"{group}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {group: value}
    compared = (*COMPARED_SEARCH_SETTINGS, *(COMPARED_PBT_SETTINGS if settings["search"]["scheduler"] == "pbt" else ()))
    flat |= {f"search.{key}": settings["search"][key] for key in compared}
    return json.loads(json.dumps(flat))


def open_storage(storage: str, folder: Path) -> Any:
    """Open Optuna's storage.

    Args:
        storage: `sqlite` or `journal` for a file in the directory of the search, or the URL of a database.
        folder: the directory of the search.
    """
    if storage == "journal":
        cut_torn_line(folder / "study.journal")
        return JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    if storage == "sqlite":
        refuse_damaged_database(folder / "study.db")
    url = f"sqlite:///{quote(str(folder / 'study.db'))}" if storage == "sqlite" else storage
    if url.startswith("sqlite"):
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    limit = {"connect_args": {"connect_timeout": 10}} if url.startswith(("postgresql", "mysql")) else {}
    # The first connection raises an error if the database does not answer; later connections wait for it.
    found = RDBStorage(url, engine_kwargs={"pool_pre_ping": True, **limit})
    event.listen(found.engine, "do_connect", connect_with_retries)
    return found


def cut_torn_line(path: Path) -> None:
    """Cut a journal back to its last line break. Optuna skips a torn last line, but appends the next line to it."""
    if path.exists() and not (text := path.read_bytes()).endswith(b"\n"):
        os.truncate(path, text.rfind(b"\n") + 1)


def refuse_damaged_database(path: Path) -> None:
    """Check a SQLite file completely. SQLite opens many damaged files, and then fails later or returns wrong rows.

    Raises:
        Mistake: the file is damaged.
    """
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=60)) as database:
            found = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise explain_damage(path, error) from error
    if found != "ok":
        raise explain_damage(path, found)


def connect_with_retries(dialect: Any, record: Any, arguments: list, named: dict) -> Any:
    """Connect to a database and try again until it answers; meanwhile the trials wait, and nothing is lost."""
    began, said = time.monotonic(), -math.inf
    while True:
        try:
            return dialect.connect(*arguments, **named)
        except dialect.loaded_dbapi.OperationalError as error:
            now, why = time.monotonic(), hide_password(" ".join(str(error).split()), named.get("password") or "")[:150]
            if now - said > REMIND_EVERY_S:
                said = now
                print(
                    f"search.storage does not answer since {now - began:.0f} s ({why}); waiting for it (Ctrl-C twice "
                    "to stop; the search can go on later)",
                    flush=True,
                )
            time.sleep(RETRY_EVERY_S)


@contextmanager
def explain_storage_errors(storage: str) -> Iterator[None]:
    """Turn any error of a database's driver into a Mistake; its text has no password."""
    try:
        yield
    except Mistake:
        raise
    except Exception as error:  # drivers of databases share no class of errors
        why = hide_password(" ".join(str(error).split()), find_password(storage))[:200]
        raise Mistake(
            f"search.storage={mask_passwords(storage)} cannot be opened ({why}); give sqlite, journal, or the URL of a "
            "database that answers: postgresql://user@host/name"
        ) from error


def make_sampler(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """Return the sampler of a name: `tpe`, `random`, `cmaes` or `gp`."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    # constant_liar: running trials count as bad, so that no two trials with equal values run at once
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def make_pruner(search: dict, budget: int) -> optuna.pruners.BasePruner:
    """Return the pruner of `search.scheduler`; with `none` and `pbt` it stops no trial."""
    first = max(1, budget // search["reduction_factor"] ** search["rungs"])  # agent steps; earlier, no trial is stopped
    if search["scheduler"] == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(first, search["reduction_factor"])
    if search["scheduler"] == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=first, n_min_trials=4)
    return optuna.pruners.NopPruner()
