"""The directory of a grid: its arms, and how far each of their seeds is.

outputs/grids/algo_3f2a9c/
    grid.json       the command lines that started it, and the values of each arm
    arms.csv        one row per seed of each arm: how it ended, its agent steps and its score
    a2c/, ppo/      a run directory for each arm, which can be evaluated, resumed and shown by itself
    compare.html    the comparison of the arms, and what it consists of
    tune/           Ray Tune's own files, of the present start
"""

import json
import math
import time
from pathlib import Path
from typing import NamedTuple

from environments.passwords import mask_passwords
from evidence.grid_arms import read_grid_file
from run_directory.files import read_count, read_table
from run_directory.layout import GRID_JSON
from run_directory.writing import write_file, write_table
from settings.mistakes import Mistake

ARMS_CSV = "arms.csv"


class GridRun(NamedTuple):
    """One seed of one arm: a row of arms.csv."""

    arm: str
    seed: int
    state: str  # WAITING, STOPPED, COMPLETE or FAIL
    agent_steps: int
    score: float  # the mean of its last 100 games; NaN before 20 games
    failure: str
    values: dict[str, str]  # swept key -> the value of the arm


Rows = dict[tuple[str, int], dict]  # arm and seed -> its row of arms.csv


def read_arms(folder: Path) -> Rows:
    """Return the rows of arms.csv; none where there is no such file yet.

    Raises:
        Mistake: the file is damaged.
    """
    rows = read_table(folder / ARMS_CSV, {"seed": read_count}, ("arm", "seed"))
    return {(row["arm"], row["seed"]): row for row in rows}


def write_arms(folder: Path, runs: list[GridRun], earlier: Rows) -> None:
    """Write arms.csv, one row per seed of each arm; rows of seeds that only an earlier start named stay as they are.

    Args:
        folder: of the grid.
        runs: every seed of every arm.
        earlier: the rows of the earlier start.
    """
    keys = list(dict.fromkeys(key for run in runs for key in run.values))
    header = ("arm", "seed", "state", "agent_steps", "score", "failure", *keys)
    rows = dict(earlier)
    for run in runs:
        score = "" if math.isnan(run.score) else run.score
        rows[run.arm, run.seed] = run._asdict() | {"score": score} | run.values
    arms = list(dict.fromkeys([*(run.arm for run in runs), *(arm for arm, _ in rows)]))
    ordered = sorted(rows, key=lambda row: (arms.index(row[0]), row[1]))
    write_table(folder / ARMS_CSV, header, ([rows[row].get(name, "") for name in header] for row in ordered))


class AnotherGrid(Mistake):
    """A directory holds the runs of another grid."""


def refuse_another_grid(folder: Path, experiment: str, arms: dict[str, dict[str, str]]) -> None:
    """Refuse to continue a grid with other arms or other settings, which a label would let into the same folder.

    Args:
        folder: of the grid; it need not exist.
        experiment: `Grid.experiment`.
        arms: name -> swept values.

    Raises:
        AnotherGrid: another grid is in the folder.
        Mistake: its grid.json is damaged.
    """
    if not (folder / GRID_JSON).exists():
        return
    before = read_grid_file(folder)
    if before["arms"] != mask_passwords(arms) or before.get("experiment") != experiment:
        raise AnotherGrid(
            f"{folder} holds another grid: its arms are {', '.join(before['arms'])}, and a setting, or one seed in the "
            "place of several, may differ too; give this one another label"
        )


def write_grid(
    folder: Path, argv: list[str], overrides: list[str], experiment: str, arms: dict[str, dict[str, str]]
) -> None:
    """Write grid.json: this start is added to the earlier ones. Arguments as in `refuse_another_grid`."""
    path = folder / GRID_JSON
    starts = read_grid_file(folder)["starts"] if path.exists() else []
    start = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": mask_passwords(argv),
        "overrides": mask_passwords(overrides),
    }
    write_file(
        path,
        json.dumps({"experiment": experiment, "arms": mask_passwords(arms), "starts": [*starts, start]}, indent=1)
        + "\n",
    )
