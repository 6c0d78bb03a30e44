"""What a search found: the finalists beside the settings it began with, on fresh seeds.

    search directory -> trials.csv, seeds.csv -> per finalist: search score, fresh scores, difference to the default

The score a trial was chosen by is too good to be true; how much too good is printed (the winner's curse). Differences
are seed by seed, with Student's t interval: with three seeds it is wide, and it should be.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from evidence.statistics import paired_difference
from run_directory.files import check_kind, damaged_file, read_count, read_number, read_table, read_yaml
from run_directory.layout import CONFIG, PROGRESS_CSV
from run_directory.searches import DEFAULT, SCHEDULE_CSV, SEEDS_CSV, STAGES, TRIALS_CSV
from settings.mistakes import Mistake

WIDTH = 160  # columns, outside of a terminal


class NothingToCompare(Mistake):
    """Nothing was played on fresh seeds, or without a score."""


class Finalist(NamedTuple):
    """One trial on fresh seeds."""

    name: str  # `trial 7`
    values: dict[str, str]  # as trials.csv spells them
    search_score: float
    seeds: list[int]
    scores: list[float]  # on these seeds
    default_scores: list[float]  # of the default settings on the same
    difference: tuple[float, float, float]  # to them: mean, lower and upper end; NaN ends where there is one seed
    failed: list[int]  # fresh seeds it came to no score on

    @property
    def mean(self) -> float:
        """On fresh seeds."""
        return float(np.mean(self.scores))


def finalists(folder: Path) -> list[Finalist]:
    """Those of a search directory, as they were ranked before the fresh seeds, so that the first is no lucky choice.

    Raises:
        NothingToCompare: its fresh seeds have not been played.
        Mistake: it is no search directory, its settings changed on the way, or one of its tables is damaged.
    """
    if (folder / SCHEDULE_CSV).is_file():
        raise Mistake(
            f"run={folder}: search.scheduler=pbt gives a schedule, {SCHEDULE_CSV}, and not a point, as a tuned config "
            "is; what it trained is in trials/, for command=evaluate"
        )
    if not folder.is_dir():
        raise Mistake(f"run={folder}: there is no such directory; give the one a search printed last")
    if (folder / PROGRESS_CSV).is_file():
        raise Mistake(f"run={folder} is a training; give the directory of a search")
    tables = [folder / name for name in (TRIALS_CSV, SEEDS_CSV)]
    for path in tables:
        if not path.is_file():
            raise NothingToCompare(
                f"run={folder}: {path.name} is missing, so this is no search that came to its end; give the directory "
                "of one, or let it end with resume=<it>"
            )
    trials = read_table(tables[0], {"score": read_number}, required=("trial", "score"))
    of_seed = {"stage": stage, "seed": read_count, "score": read_number}
    seeds = read_table(tables[1], of_seed, required=("name", *of_seed))
    fresh: dict[str, dict[int, float]] = {}
    for row in seeds:
        if row["stage"] == "fresh":
            fresh.setdefault(row["name"], {})[row["seed"]] = row["score"]
    default, found = fresh.pop(DEFAULT, {}), []
    for name, scores in fresh.items():
        trial = next((row for row in trials if f"trial {row['trial']}" == name), None)
        if trial is None:
            raise damaged_file(tables[1], f"{name!r:.80} is no trial of {tables[0].name}")
        both = [seed for seed in sorted(scores) if math.isfinite(scores[seed] + default.get(seed, math.nan))]
        if both:
            values = {key: value for key, value in trial.items() if "." in key and value}
            pairs = [scores[seed] for seed in both], [default[seed] for seed in both]
            failed = [seed for seed, score in scores.items() if math.isnan(score)]
            found.append(Finalist(name, values, trial["score"], both, *pairs, difference(*pairs), failed))
    if not found:
        raise NothingToCompare(
            f"run={folder}: no finalist and no default has a score on fresh seeds; raise search.fresh_seeds"
        )
    return found


def stage(cell: str) -> str:
    """Read which seeds a training had.

    Raises:
        ValueError: there are no such seeds.
    """
    if cell not in STAGES:
        raise ValueError(cell)
    return cell


def search_of(folder: Path) -> dict:
    """The settings of a search.

    Raises:
        Mistake: config.yaml cannot be read, or is not that of a search.
    """
    path = folder / CONFIG
    search = read_yaml(path)
    for group in ("search", "algo", "env", "stop"):
        check_kind(path, search.get(group), dict, group)
    wanted = {"search.name": str, "search.space": dict, "algo.name": str, "env.name": str, "stop.agent_steps": int}
    for name, kind in wanted.items():
        group, _, key = name.partition(".")
        check_kind(path, search[group].get(key), kind, name)
    for key, given in search["search"]["space"].items():
        for name, value in given.items() if key in ("algo", "env", "model") else {key: given}.items():
            check_kind(path, value, dict, f"search.space.{name}")
    return search


def difference(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Mean of first - second and its 95 % interval, without ends where there is one pair only."""
    if len(first) > 1:
        return paired_difference(first, second)
    return first[0] - second[0], math.nan, math.nan


def print_result(folder: Path) -> bool:
    """A table, and what it means in a sentence; returns whether the winner could be promoted."""
    console, found = Console(), finalists(folder)
    if not console.is_terminal:  # a file or a pipe has no 80 columns
        console.width = WIDTH
    table = Table(title=f"fresh seeds {', '.join(map(str, found[0].seeds))}", title_justify="left")
    for heading in ("", "search score", "fresh scores", "fresh mean", "minus default (95 %)"):
        table.add_column(heading, justify="right" if heading else "left")
    for one in found:
        scores = ", ".join([*(f"{score:,.1f}" for score in one.scores), *("failed" for _ in one.failed)])
        table.add_row(one.name, f"{one.search_score:,.1f}", scores, f"{one.mean:,.1f}", interval(one.difference))
    default = found[0].default_scores
    scores = ", ".join(f"{score:,.1f}" for score in default)
    table.add_row(DEFAULT, "", scores, f"{np.mean(default):,.1f}", "")
    console.print(table, verdict(found[0]), sep="\n", highlight=False, soft_wrap=True)
    return found[0].difference[0] > 0 and not found[0].failed


def interval(of: tuple[float, float, float]) -> str:
    """`+20.3 (-10.1 to 50.7)`."""
    mean, low, high = of
    return f"{mean:+,.1f}" + ("" if math.isnan(low) else f" ({low:+,.1f} to {high:+,.1f})")


def verdict(best: Finalist) -> str:
    """What the best finalist's numbers mean."""
    curse = best.search_score - best.mean
    mean, low, _ = best.difference
    words = f"{best.name} scores {abs(curse):,.1f} {'less' if curse >= 0 else 'more'} on fresh seeds than in the search"
    if best.failed:
        return f"{words}, but failed on seed {', '.join(map(str, best.failed))}."
    if mean <= 0:
        return f"{words}, and does not beat the default settings."
    sure = "beats the default settings" if low > 0 else "is ahead of the default settings, which may be chance"
    return f"{words}, and {sure}."
