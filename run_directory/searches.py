"""The directory of a search: the names and places of its files, and the reader of trials.csv.

outputs/searches/assault_ppo/
    config.yaml, run.json     the search, as a run has them
    study.db                  Optuna's storage, unless search.storage names another
    trials.csv                one row per trial: its state, its score, its values
    report.html               the page of the search, from pages/search_page.py
    trials/0007/              a run directory for each trial
    contender/, fresh/        run directories of the best trials and the default settings on other seeds
    seeds.csv                 the scores of the runs in contender/ and fresh/
    schedule.csv              of a population: the values of each trial in each generation
    tune/                     Ray Tune's own files, from the last start
"""

from pathlib import Path
from typing import Any, NamedTuple

from run_directory.files import read_count, read_number, read_table
from settings.mistakes import Mistake

TRIALS_CSV, SEEDS_CSV, SCHEDULE_CSV = "trials.csv", "seeds.csv", "schedule.csv"
FAILURE = "failure.txt"  # in the run directory of a contender's or finalist's training that failed
STAGES = ("contender", "fresh")  # of the confirmation, which trains the best trials again; each has a folder
DEFAULT = "default"  # the name of the default settings in seeds.csv
UNFINISHED = "UNFINISHED"  # the state of a trial that trains or that will continue; RUNNING in earlier versions
STATES = (UNFINISHED, "RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")


class Trial(NamedTuple):
    """One row of trials.csv."""

    number: int
    state: str
    agent_steps: int
    score: float
    values: dict[str, Any]  # setting -> value; a number where the cell holds one


def trial_path(folder: Path, number: int) -> Path:
    """Return the run directory of a trial, whether it exists or not."""
    return folder / "trials" / f"{number:04d}"


def read_trials(folder: Path) -> list[Trial]:
    """Read all rows of trials.csv.

    Raises:
        Mistake: it is missing, has no rows, or is damaged.
    """
    rows = read_table(folder / TRIALS_CSV, COLUMNS, required=list(COLUMNS))
    if not rows:
        raise Mistake(f"run={folder}: no {TRIALS_CSV} with trials; give the directory of a search")
    trials = []
    for row in rows:
        values = {key: parse_value(cell) for key, cell in row.items() if "." in key and cell}
        trials.append(Trial(row["trial"], row["state"], row["agent_steps"], row["score"], values))
    return trials


def parse_value(text: str) -> Any:
    """Return a text as a number; if that is not possible, return the text."""
    try:
        return float(text)
    except ValueError:
        return text


def select_complete_trials(trials: list[Trial]) -> list[Trial]:
    """Return the trials that have used their whole budget; only their scores can be compared."""
    return [trial for trial in trials if trial.state == "COMPLETE"]


COLUMNS = {
    "trial": read_count,
    "state": lambda cell: STATES[STATES.index(cell)],  # ValueError for another word
    "agent_steps": read_count,
    "score": read_number,
}
