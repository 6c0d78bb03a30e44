"""The study: Optuna's record of a search, in a storage that outlives the driver, and what is told to it.

    ask -> values -> a trial trains -> report at equal budgets -> stop early? -> tell COMPLETE, PRUNED or FAIL

All that decides how a search goes on is in the storage: the sampler's history and, because Optuna's pruners keep
nothing of their own, the rungs. So a search whose driver was killed goes on where it was.

Scores are reported at POINTS equal shares of the budget, under the share and not under the agent steps of the row that
reached it, so that only scores of equal budgets are compared. Tune's own OptunaSearch tells every trial that was
stopped as COMPLETE; here it is PRUNED, at its last share.
"""

import json
import math
import sqlite3
import time
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
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

from environments.passwords import hide, mask, password_in
from run_directory.files import check_kind, damaged_file
from settings.mistakes import Mistake
from settings.protocols import EARLIER
from tune_searches.check import check_experiment
from tune_searches.space import Parameter, draw, with_values

FILES = ("sqlite", "journal")  # storages in the search's own directory
POINTS = 36  # of the budget, at which scores are reported: 1/9 and 1/3 are among them
OBJECTIVE = "episode_return_mean"
VALUES, IMPOSSIBLE, FAILURE, STOP = "values", "impossible", "failure", "stop"  # what a trial's attributes may hold
FINGERPRINT = "search"  # the study's own attribute
RETRY_S, SAY_S = 2, 60  # between two attempts to reach a database that is away, and between two lines about it
MAX_DRAWS = 100  # that may be impossible one after the other
COMPARED = ("algo", "env", "model", "stop", "seed")  # what makes results comparable: of the settings,
COMPARED_OF_SEARCH = ("space", "seeds_per_trial", "scheduler", "reduction_factor", "rungs")  # and of `search.`
COMPARED_OF_PBT = ("trials", "generations")  # a population neither grows nor changes its pace


class Row(NamedTuple):
    """One trial, as the storage knows it."""

    number: int
    state: str  # RUNNING, COMPLETE, PRUNED or FAIL
    agent_steps: int  # per seed, to the last share of the budget
    score: float  # there; NaN where there is none
    failure: str
    values: dict[str, Any]


class Study:
    """Proposals and results of one search.

    Args:
        settings: checked by `tune_searches.check.check_experiment`.
        space: what varies.
        folder: of the search.

    Raises:
        Mistake: the storage cannot be opened, or holds another search of that name.
    """

    def __init__(self, settings: dict, space: list[Parameter], folder: Path):
        self.settings, self.space, self.budget = settings, space, settings["stop"]["agent_steps"]
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.filterwarnings("ignore", category=optuna.exceptions.ExperimentalWarning)
        search = settings["search"]
        with reaching(search["storage"]):
            self.optuna = optuna.create_study(
                storage=storage_of(search["storage"], folder),
                study_name=search["name"],
                direction="maximize",
                load_if_exists=True,
                pruner=pruner_of(search, self.budget),
            )
            self._refuse_another(folder)
            begun = len(self.optuna.trials)
            for row in self.rows():  # a damaged file shows here, and not once Ray has been started
                check_kind(folder, row.values, dict, f"what search.storage has of trial {row.number}")
        # Seeded with how far it is: one that began anew would propose again what it proposed before.
        stream = np.random.SeedSequence([settings["seed"], begun]).generate_state(1)[0]
        self.optuna.sampler = sampler_of(search["sampler"], int(stream))
        self._trials: dict[int, optuna.Trial] = {}
        self._reported: dict[int, int] = {}  # number -> agent steps of its last report

    def _refuse_another(self, folder: Path) -> None:
        name, ours = self.settings["search"]["name"], fingerprint(self.settings)
        if self.settings["search"]["storage"] not in FILES:
            ours["folder"] = str(folder)  # two of them would share the trials of one
        theirs = self.optuna.user_attrs.get(FINGERPRINT)
        if theirs and "env.game" in theirs:
            theirs = {f"env.{name}": value for name, value in EARLIER.items()} | theirs
        if theirs is None and (self.optuna.trials or self.optuna.direction is not StudyDirection.MAXIMIZE):
            raise Mistake(f"search.name={name}: the study of that name was not made by this suite; give another name")
        if theirs is None:
            self.optuna.set_user_attr(FINGERPRINT, ours)
            return
        for key in sorted(ours.keys() | theirs.keys()):
            if ours.get(key) != theirs.get(key):
                raise Mistake(
                    f"search.name={name}: the search of that name has {key}={theirs.get(key)} and this one "
                    f"{ours.get(key)}, so their results do not compare; give this one another name, search.name=..."
                )

    # What there is ----------------------------------------------------------------------------------------------------
    def trials(self) -> list[FrozenTrial]:
        """All that train or have trained, oldest first: not the combinations that were impossible."""
        return [trial for trial in self.optuna.get_trials(deepcopy=False) if VALUES in trial.user_attrs]

    def rows(self) -> list[Row]:
        """The same in our words."""
        return [
            Row(
                t.number,
                t.state.name,
                self.budget if t.state is TrialState.COMPLETE else t.last_step or 0,
                t.value if t.value is not None else t.intermediate_values.get(t.last_step or 0, math.nan),
                t.user_attrs.get(FAILURE, ""),
                t.user_attrs[VALUES],
            )
            for t in self.trials()
        ]

    def left(self) -> int:
        """Trials still to begin."""
        return max(0, self.settings["search"]["trials"] - len(self.trials()))

    def standing(self) -> str:
        """`12 of 20 trials: 3 complete, 8 stopped early, 1 failed; best 213.4 (trial 3)`."""
        rows = self.rows()
        count, total = Counter(row.state for row in rows), len(rows) + self.left()
        ended = sum(number for state, number in count.items() if state != "RUNNING")
        words = {"COMPLETE": "complete", "PRUNED": "stopped early", "FAIL": "failed"}
        text = f"{ended} of {total} trials"
        if ended:
            text += ": " + ", ".join(f"{count[state]} {word}" for state, word in words.items() if count[state])
        complete = [row for row in rows if row.state == "COMPLETE"]
        if complete:
            best = max(complete, key=lambda row: row.score)
            text += f"; best {best.score:,.1f} (trial {best.number})"
        return text

    def seeds(self) -> list[int]:
        """Those of every trial."""
        first = self.settings["seed"]
        return list(range(first, first + self.settings["search"]["seeds_per_trial"]))

    # What to try ------------------------------------------------------------------------------------------------------
    def unfinished(self) -> list[tuple[int, dict[str, Any]]]:
        """Number and values of the trials that were under way when an earlier driver ended."""
        found = []
        for trial in self.optuna.get_trials(deepcopy=False, states=(TrialState.RUNNING,)):
            if VALUES in trial.user_attrs:
                self._trials[trial.number] = optuna.Trial(self.optuna, trial._trial_id)
                self._reported[trial.number] = trial.last_step or 0
                found.append((trial.number, trial.user_attrs[VALUES]))
            else:  # killed while it was proposed
                self.optuna.tell(trial.number, state=TrialState.FAIL)
        return found

    def ask(self) -> tuple[int, dict[str, Any]]:
        """Number and values of a new trial.

        Raises:
            Mistake: the space holds hardly anything that can work.
        """
        why = None
        for _ in range(MAX_DRAWS):
            trial = self.optuna.ask()
            values = draw(self.space, trial)
            try:
                check_experiment(with_values(self.settings, values))
            except Mistake as mistake:
                why = mistake
                trial.set_user_attr(IMPOSSIBLE, str(mistake))
                self.optuna.tell(trial, state=TrialState.FAIL)
            else:
                trial.set_user_attr(VALUES, values)
                self._trials[trial.number], self._reported[trial.number] = trial, 0
                return trial.number, values
        raise Mistake(f"search.space: {MAX_DRAWS} proposals in a row cannot work, the last because {why}")

    def change(self, number: int, values: dict[str, Any]) -> None:
        """A trial goes on with other values."""
        self._trials[number].set_user_attr(VALUES, values)

    # What came of it --------------------------------------------------------------------------------------------------
    def report(self, number: int, agent_steps: int, score: float) -> bool:
        """Record a trial's score once it has come to the next share of its budget.

        Args:
            number: of the trial.
            agent_steps: it has trained for, per seed.
            score: there; NaN where there is none yet, which is not recorded.

        Returns:
            Whether the trial is to be stopped early. Once so, always so: the decision is in the storage as well.
        """
        if self.stopped(number):
            return True
        trial, share = self._trials[number], min(POINTS, agent_steps * POINTS // self.budget)
        point = share * self.budget // POINTS
        if not math.isfinite(score) or point <= self._reported[number]:
            return False
        self._reported[number] = point
        trial.report(score, point)
        if share < POINTS and trial.should_prune():
            trial.set_user_attr(STOP, True)
        return self.stopped(number)

    def stopped(self, number: int) -> bool:
        """Whether it was decided to stop a trial early."""
        return self._trials[number].user_attrs.get(STOP, False)

    def tell(self, number: int, agent_steps: int, score: float, failure: str | None = None) -> TrialState:
        """A trial has ended.

        Args:
            number: of the trial.
            agent_steps: it has trained for, per seed.
            score: at the end.
            failure: why it could not go on; None where it could.

        Returns:
            What Optuna was told: COMPLETE with the score where it came to its budget, PRUNED where it was stopped
            before, FAIL where it failed or has no score.
        """
        if failure is None and not math.isfinite(score):
            failure = "too few games ended for a score"
        if failure is not None:
            self._trials[number].set_user_attr(FAILURE, failure)
            return self.optuna.tell(number, state=TrialState.FAIL).state
        if agent_steps >= self.budget:
            return self.optuna.tell(number, score, state=TrialState.COMPLETE).state
        return self.optuna.tell(number, state=TrialState.PRUNED).state


def fingerprint(settings: dict) -> dict[str, Any]:
    """Key -> value of all that makes results comparable, as JSON has it."""
    flat: dict[str, Any] = {"objective": OBJECTIVE}
    for group in COMPARED:
        value = settings[group]
        flat |= {f"{group}.{k}": v for k, v in value.items()} if isinstance(value, dict) else {group: value}
    compared = (*COMPARED_OF_SEARCH, *(COMPARED_OF_PBT if settings["search"]["scheduler"] == "pbt" else ()))
    flat |= {f"search.{key}": settings["search"][key] for key in compared}
    return json.loads(json.dumps(flat))


def storage_of(storage: str, folder: Path) -> Any:
    """Optuna's storage: a file in the folder of the search (`sqlite`, `journal`), or a database by its URL."""
    if storage == "journal":
        return JournalStorage(JournalFileBackend(str(folder / "study.journal")))
    if storage == "sqlite":
        refuse_damaged_database(folder / "study.db")
    url = f"sqlite:///{quote(str(folder / 'study.db'))}" if storage == "sqlite" else storage
    if url.startswith("sqlite"):
        return RDBStorage(url, engine_kwargs={"connect_args": {"timeout": 60}})
    limit = {"connect_args": {"connect_timeout": 10}} if url.startswith(("postgresql", "mysql")) else {}
    found = RDBStorage(url, engine_kwargs={"pool_pre_ping": True, **limit})  # it answers; from here on it is waited for
    event.listen(found.engine, "do_connect", connect_patiently)
    return found


def refuse_damaged_database(path: Path) -> None:
    """Have SQLite look through a file: it would open many a damaged one and fail later, or give other rows.

    Raises:
        Mistake: it is damaged.
    """
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(path, timeout=60)) as database:
            found = database.execute("PRAGMA integrity_check(1)").fetchone()[0]
    except sqlite3.Error as error:
        raise damaged_file(path, error) from error
    if found != "ok":
        raise damaged_file(path, found)


def connect_patiently(dialect: Any, record: Any, arguments: list, named: dict) -> Any:
    """A connection to a database that may be away for a while: nothing is lost meanwhile, the trials wait as well."""
    began, said = time.monotonic(), -math.inf
    while True:
        try:
            return dialect.connect(*arguments, **named)
        except dialect.loaded_dbapi.OperationalError as error:
            now, why = time.monotonic(), hide(" ".join(str(error).split()), named.get("password") or "")[:150]
            if now - said > SAY_S:
                said = now
                print(
                    f"search.storage does not answer since {now - began:.0f} s ({why}); waiting for it (Ctrl-C twice "
                    "to stop; the search can go on later)",
                    flush=True,
                )
            time.sleep(RETRY_S)


@contextmanager
def reaching(storage: str) -> Iterator[None]:
    """Turns what a database says of itself into a Mistake."""
    try:
        yield
    except Mistake:
        raise
    except Exception as error:  # a database's driver may raise anything
        why = hide(" ".join(str(error).split()), password_in(storage))[:200]
        raise Mistake(
            f"search.storage={mask(storage)} cannot be opened ({why}); give sqlite, journal, or the URL of a database "
            "that answers: postgresql://user@host/name"
        ) from error


def sampler_of(name: str, seed: int) -> optuna.samplers.BaseSampler:
    """What proposes values: `tpe`, `random`, `cmaes` or `gp`."""
    if name == "random":
        return optuna.samplers.RandomSampler(seed)
    if name == "cmaes":
        return optuna.samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if name == "gp":
        return optuna.samplers.GPSampler(seed=seed)
    # Parameters together, not one by one; trials under way count as bad, so that none is proposed twice at once.
    return optuna.samplers.TPESampler(seed=seed, multivariate=True, group=True, constant_liar=True)


def pruner_of(search: dict, budget: int) -> optuna.pruners.BasePruner:
    """What stops trials early: `asha`, `median` or `none`."""
    first = first_rung(search, budget)
    if search["scheduler"] == "asha":
        return optuna.pruners.SuccessiveHalvingPruner(first, search["reduction_factor"])
    if search["scheduler"] == "median":
        return optuna.pruners.MedianPruner(n_startup_trials=4, n_warmup_steps=first)
    return optuna.pruners.NopPruner()


def first_rung(search: dict, budget: int) -> int:
    """Agent steps before which no trial is stopped: 1/9 of the budget with a factor of 3 and 2 rungs."""
    return max(1, budget // search["reduction_factor"] ** search["rungs"])
