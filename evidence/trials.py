"""trials.csv of a search, read: one row per trial, as runs/sources.py writes it."""

from pathlib import Path
from typing import Any, NamedTuple

from environments.records import count, read_table
from environments.records import number as score
from settings.mistakes import Mistake

STATES = ("RUNNING", "COMPLETE", "PRUNED", "FAIL", "WAITING")


class Trial(NamedTuple):
    """One row of trials.csv."""

    number: int
    state: str
    agent_steps: int
    score: float
    values: dict[str, Any]  # numbers where they are some


def read_trials(folder: Path) -> list[Trial]:
    """All rows of trials.csv."""
    path = folder / "trials.csv"
    rows = read_table(path, COLUMNS, required=list(COLUMNS))
    if not rows:
        raise Mistake(f"run={folder}: no trials.csv with trials; give the directory of a search")
    return [
        Trial(
            row["trial"],
            row["state"],
            row["agent_steps"],
            row["score"],
            {key: number(value) for key, value in row.items() if "." in key and value},
        )
        for row in rows
    ]


def state(cell: str) -> str:
    """Read how a trial ended.

    Raises:
        ValueError: no trial ends so.
    """
    if cell not in STATES:
        raise ValueError(cell)
    return cell


def number(text: str) -> Any:
    """A number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def complete(trials: list[Trial]) -> list[Trial]:
    """Those whose scores compare: at the end of the budget."""
    return [trial for trial in trials if trial.state == "COMPLETE"]


COLUMNS = {"trial": count, "state": state, "agent_steps": count, "score": score}
