"""trials.csv of a search, read: one row per trial, as runs/sources.py writes it."""

import csv
from pathlib import Path
from typing import Any, NamedTuple

from environments.mistakes import Mistake


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
    rows = list(csv.DictReader(path.read_text().splitlines())) if path.is_file() else []
    if not rows:
        raise Mistake(f"run={folder}: no trials.csv with trials; give the directory of a search")
    return [
        Trial(
            int(row["trial"]),
            row["state"],
            int(row["agent_steps"]),
            float(row["score"] or "nan"),
            {key: number(value) for key, value in row.items() if "." in key and value},
        )
        for row in rows
    ]


def number(text: str) -> Any:
    """A number where it is one."""
    try:
        return float(text)
    except ValueError:
        return text


def complete(trials: list[Trial]) -> list[Trial]:
    """Those whose scores compare: at the end of the budget."""
    return [trial for trial in trials if trial.state == "COMPLETE"]
