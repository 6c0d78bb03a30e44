"""Comparison of runs: the arms of each game, the verdicts on them, and the settings in which they differ.

    python run.py command=compare runs=[<run>,<run>]
    python run.py command=compare runs={bf16:<run>,fp32:<run>} out=results/<study>

    run directories -> runs of each game, by arm -> Comparison

A run directory is that of one seed, of several seeds, or of a grid, whose arms are then compared. Runs with the same
label are the seeds of one arm. Without labels, arms are named after the algorithm, the environment and the settings in
which the runs differ. Each game has tables and verdicts of its own; comparisons/overall.py adds what can be said over
several games.
"""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from comparisons.run_groups import Run, name_game, read_runs
from evidence.curves import ReferenceLine
from evidence.grid_arms import expand_grid
from evidence.human import find_random_score, find_references
from evidence.labels import flatten_settings
from run_directory.files import explain_damage
from run_directory.layout import PROGRESS_CSV
from verdicts.two_arms import Verdict, compare_arms

COMPARED_GROUPS = ("algo", "model", "env", "stop", "cluster", "pretrained")  # whose differences are named
ALWAYS_KNOWN = ("episodes", "wall_time_s", "agent_steps_per_s")  # columns of progress.csv without an empty cell
# Settings that do not change the random streams of a seed: its first weights, games and draws. The number of env
# runners does, of A3C, of PG after its first update, and of environments that share one stream.
SAME_STREAMS = re.compile(r"model\.dtype|cluster\.(?!num_env_runners$).*")


@dataclass(frozen=True)
class Comparison:
    """The runs of one game, by arm."""

    game: str  # with its protocol, `assault, protocol classic`
    arms: dict[str, list[Run]]  # label -> its seeds
    without_rows: tuple[Run, ...] = ()  # that were left out

    @property
    def runs(self) -> list[Run]:
        """All runs, arm by arm."""
        return [run for of_arm in self.arms.values() for run in of_arm]

    @property
    def name(self) -> str:
        """The game without its protocol."""
        return self.env["name"]

    @property
    def env(self) -> dict[str, Any]:
        """The settings of the environment, of the first run."""
        return self.runs[0].settings["env"]

    @property
    def scores(self) -> dict[str, list[float]]:
        """Label -> the score of each seed at its end, by seed; seeds without one are left out."""
        return {label: [run.score for run in of_arm if np.isfinite(run.score)] for label, of_arm in self.arms.items()}

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """A verdict for each pair of arms that have scores."""
        return compare_arms({label: scores for label, scores in self.scores.items() if scores}, self.share_streams)

    def share_streams(self, first: str, second: str) -> bool:
        """Return whether the same seed of two arms starts from the same weights and plays the same first games."""
        runs = [self.arms[label] for label in (first, second)]
        if any(not np.isfinite(run.score) for of_arm in runs for run in of_arm):  # a seed would meet another one
            return False
        if [run.settings["seed"] for run in runs[0]] != [run.settings["seed"] for run in runs[1]]:
            return False
        differ = find_differences([run for of_arm in runs for run in of_arm])
        return all(map(SAME_STREAMS.fullmatch, differ))

    @property
    def differences(self) -> dict[str, dict[str, Any]]:
        """Setting -> arm -> its value, of every setting in which the arms differ."""
        firsts = {label: of_arm[0] for label, of_arm in self.arms.items()}
        flat = {label: flatten_settings(run.settings) for label, run in firsts.items()}
        return {
            key: {label: flat[label].get(key) for label in firsts} for key in find_differences(list(firsts.values()))
        }


def find_differences(runs: list[Run]) -> list[str]:
    """Return the dotted keys of settings in which runs differ, without those that only say where and how they ran."""
    flat = [flatten_settings(run.settings) for run in runs]
    keys = dict.fromkeys(key for one in flat for key in one if key.split(".")[0] in COMPARED_GROUPS)
    return [key for key in keys if any(one.get(key) != flat[0].get(key) for one in flat)]


def compare_runs(groups: list[tuple[str | None, Path]]) -> list[Comparison]:
    """Read runs, and return a comparison for each game that they play.

    Args:
        groups: the label of an arm, or None, and the directory of a run or a grid.

    Raises:
        Mistake: a directory is not a run, a file of one is damaged, no run has rows yet, or a run is there twice.
    """
    runs, without = read_runs([pair for label, path in groups for pair in expand_grid(label, path)])
    for run in runs:
        refuse_unknown_cells(run)
    games: dict[str, dict[str, list[Run]]] = {}
    for run in sorted(runs, key=lambda run: run.settings["seed"]):
        games.setdefault(name_game(run.settings["env"]), {}).setdefault(run.label, []).append(run)
    labels = list(dict.fromkeys(run.label for run in runs))  # in the order in which they were typed
    left: dict[str, list[Run]] = {}
    for run in without:
        left.setdefault(name_game(run.settings["env"]), []).append(run)
    return [
        Comparison(game, {label: arms[label] for label in labels if label in arms}, tuple(left.get(game, ())))
        for game, arms in games.items()
    ]


def refuse_unknown_cells(run: Run) -> None:
    """Refuse a run whose progress.csv lacks a number that every row has.

    Raises:
        Mistake: such a cell is empty, NaN or infinite.
    """
    for column in ALWAYS_KNOWN:
        if len(unknown := np.flatnonzero(~np.isfinite(run.progress[column]))):
            why = f"line {unknown[0] + 2}, column {column}: {run.progress[column][unknown[0]]} is no finite number"
            raise explain_damage(run.path / PROGRESS_CSV, why)


def list_reference_lines(env: dict) -> list[ReferenceLine]:
    """Return the scores that those of a game are compared with: random play, and the humans of the tables."""
    random = find_random_score(env)
    lines = [ReferenceLine(f"random play, {random.score:g}", random.score, ":")] if random else []
    humans = zip(find_references(env), ("--", "-."), strict=False)
    return lines + [ReferenceLine(f"human, {one.human:g} ({one.table})", one.human, style) for one, style in humans]
