"""The runs of a comparison: read from their directories, and put into arms by their labels."""

import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from evidence.curves import EVALUATION, SCORE, SMALL_CURVES
from evidence.labels import label_runs
from playing.saved_settings import read_run_settings
from run_directory.checkpoints import MIN_GAMES
from run_directory.layout import list_seed_runs
from run_directory.progress_table import NoRows, read_progress
from run_directory.starts import find_starts
from settings.mistakes import Mistake
from settings.protocols import describe_protocol

COLUMNS = ("agent_steps", "episodes", "wall_time_s", "agent_steps_per_s", SCORE)
OPTIONAL_COLUMNS = (*(column for column in SMALL_CURVES if column not in COLUMNS), *EVALUATION)


class Run(NamedTuple):
    """One run of one seed."""

    label: str  # the name of its arm
    settings: dict
    progress: dict[str, np.ndarray]  # float [R] for each column of progress.csv
    starts: list[dict[str, Any]]  # from run.json
    path: Path  # the run directory

    @property
    def score(self) -> float:
        """The mean score of the last 100 games of training; NaN before the first game has ended."""
        return float(self.progress[SCORE][-1])

    @property
    def is_at_end(self) -> bool:
        """Whether the last row satisfies one of the `stop.` settings of the run; also where none are saved."""
        return bool(self.list_reached())

    def list_reached(self) -> list[str]:
        """Return the `stop.` settings that the last row satisfies, such as `episode_return`."""
        stop = self.settings.get("stop") or {"agent_steps": 0}
        columns = {"agent_steps": "agent_steps", "time_s": "wall_time_s"}
        if self.progress["episodes"][-1] >= MIN_GAMES:
            columns["episode_return"] = SCORE
        return [k for k, column in columns.items() if stop.get(k) is not None and self.progress[column][-1] >= stop[k]]

    @property
    def name(self) -> str:
        """The label and the seed."""
        return f"{self.label} seed {self.settings['seed']}"

    @property
    def dtype(self) -> str:
        """The dtype that the torso computed in; `auto` if the run did not record which dtype that was."""
        dtype = self.settings["model"]["dtype"]
        return self.starts[-1]["hardware"].get("dtype", dtype) if dtype == "auto" and self.starts else dtype


def read_runs(groups: list[tuple[str | None, Path]]) -> tuple[list[Run], list[Run]]:
    """Read the runs of several arms.

    Args:
        groups: the label of each arm and a run directory; None lets the label follow from the settings.

    Returns:
        The runs with rows; and those without, such as one that failed before its first row.

    Raises:
        Mistake: a directory is not a run, none of the runs has rows yet, or a run is there twice.
    """
    found = [(label, one, read_run_settings(one)) for label, path in groups for one in list_seed_runs(path)]
    found_labels = label_runs([settings for _, _, settings in found])
    paths = [one.resolve() for _, one, _ in found]
    if twice := [path for path in paths if paths.count(path) > 1]:
        raise Mistake(f"{twice[0]} is there twice; give each run once")
    runs: list[Run] = []
    without: list[Run] = []
    for (label, one, settings), found_label in zip(found, found_labels, strict=True):
        try:
            progress = read_progress(one, COLUMNS, OPTIONAL_COLUMNS)
        except NoRows as error:
            if len(found) == 1:
                raise
            print(f"left out: {error}", file=sys.stderr)
            without.append(Run(found_label if label is None else label, settings, {}, [], one))
            continue
        runs.append(Run(found_label if label is None else label, settings, progress, find_starts(one), one))
    if not runs:
        raise Mistake("none of these runs has rows yet; wait for their first ones")
    names = [f"{run.name} on {run.settings['env']['name']}" for run in runs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Mistake(f"{twice[0]} is there twice; tell the directories apart by labels, as in runs={{first:<run>}}")
    return runs, without


def name_game(env: dict) -> str:
    """Return the game and its protocol, `assault, protocol classic`; of other environments the name."""
    return f"{env['name']}, protocol {describe_protocol(env)}" if "game" in env else env["name"]
