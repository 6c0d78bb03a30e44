"""The result of a search: its finalists are compared with the default settings on fresh seeds.

    search directory -> trials.csv, seeds.csv -> each finalist: search score, fresh scores, difference to default

A trial was chosen because of its high score, so this score is higher than what the same settings reach on other seeds
(the winner's curse). The difference between the two is printed. Finalists and default settings are compared seed by
seed, with Student's t interval, which is wide for three seeds.
"""

import math
from pathlib import Path
from typing import NamedTuple

import numpy as np
from rich.console import Console
from rich.table import Table

from environments.screen import format_score
from evidence.statistics import paired_difference
from run_directory.files import check_kind, explain_damage, read_count, read_number, read_table, read_yaml
from run_directory.layout import CONFIG, PROGRESS_CSV
from run_directory.searches import DEFAULT, SCHEDULE_CSV, SEEDS_CSV, STAGES, TRIALS_CSV
from settings.mistakes import Mistake

WIDTH = 160  # of the table, in characters, if the output is no terminal


class NoFinalists(Mistake):
    """A search has no finalist with a score on fresh seeds."""


class Finalist(NamedTuple):
    """A trial that was trained again on fresh seeds."""

    name: str  # `trial 7`
    values: dict[str, str]  # its settings, in the spelling of trials.csv
    search_score: float
    seeds: list[int]  # the fresh seeds on which both this trial and the default settings have a score
    scores: list[float]  # of this trial, on these seeds
    default_scores: list[float]  # of the default settings, on these seeds
    difference: tuple[float, float, float]  # scores - default_scores: mean, interval; the ends are NaN for one seed
    failed: list[int]  # the fresh seeds on which this trial has no score
    default_failed: list[int]  # those of its fresh seeds on which the default settings have none

    @property
    def mean(self) -> float:
        """The mean score on fresh seeds; NaN where all have failed."""
        return float(np.mean(self.scores)) if self.scores else math.nan


def read_finalists(folder: Path) -> list[Finalist]:
    """Return the finalists of a search directory, best first.

    They are ranked by their scores before the fresh seeds were played, so the fresh scores of the first are unbiased.

    Raises:
        NoFinalists: no fresh seeds have been played.
        Mistake: the directory is no search, its settings changed during the trials, or one of its tables is damaged.
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
            raise NoFinalists(
                f"run={folder}: {path.name} is missing, so this is no search that came to its end; give the directory "
                "of one, or let it end with resume=<it>"
            )
    trials = read_table(tables[0], {"score": read_number}, required=("trial", "state", "score"))
    if not trials:
        raise explain_damage(tables[0], "it has no rows")
    of_seed = {"stage": read_stage, "seed": read_count, "score": read_number}
    seeds = read_table(tables[1], of_seed, required=("name", *of_seed))
    fresh: dict[str, dict[int, float]] = {}
    for row in seeds:
        if row["stage"] == "fresh":
            fresh.setdefault(row["name"], {})[row["seed"]] = row["score"]
    default, found = fresh.pop(DEFAULT, {}), []
    for name, scores in fresh.items():
        trial = next((row for row in trials if f"trial {row['trial']}" == name), None)
        if trial is None:
            raise explain_damage(tables[1], f"{name!r:.80} is no trial of {tables[0].name}")
        both = [seed for seed in sorted(scores) if math.isfinite(scores[seed] + default.get(seed, math.nan))]
        failed = [[seed for seed in scores if math.isnan(of.get(seed, math.nan))] for of in (scores, default)]
        values = {key: value for key, value in trial.items() if "." in key and value}
        pairs = [scores[seed] for seed in both], [default[seed] for seed in both]
        found.append(Finalist(name, values, trial["score"], both, *pairs, compare_scores(*pairs), *failed))
    if not found:
        ended = any(row["state"] == "COMPLETE" for row in trials)
        why = "nothing was trained on fresh seeds; raise search.fresh_seeds"
        raise NoFinalists(f"run={folder}: {why if ended else 'no trial came to its end; see state in trials.csv'}")
    return found


def read_stage(cell: str) -> str:
    """Return the stage of a row of seeds.csv.

    Raises:
        ValueError: there is no such stage.
    """
    if cell not in STAGES:
        raise ValueError(cell)
    return cell


def read_search(folder: Path) -> dict:
    """Return the settings of a search.

    Raises:
        Mistake: config.yaml cannot be read or does not belong to a search.
    """
    path = folder / CONFIG
    search = read_yaml(path)
    for group in ("search", "algo", "env", "stop"):
        check_kind(path, search.get(group), dict, group)
    wanted = {"search.name": str, "search.space": dict, "algo.name": str, "env.name": str, "stop.agent_steps": int}
    for name, kind in wanted.items():
        group, _, key = name.partition(".")
        check_kind(path, search[group].get(key), kind, name)
    for name, given in flatten_space(search).items():
        check_kind(path, given, dict, f"search.space.{name}")
    return search


def flatten_space(search: dict) -> dict[str, dict]:
    """Return the search space with dotted keys: setting -> its range or choices."""
    flat = {}
    for key, given in search["search"]["space"].items():
        is_group = key in ("algo", "env", "model") and isinstance(given, dict)
        flat |= {f"{key}.{name}": value for name, value in given.items()} if is_group else {key: given}
    return flat


def compare_scores(first: list[float], second: list[float]) -> tuple[float, float, float]:
    """Return the mean of first - second and its 95 % interval: the ends are NaN for one pair, all three for none."""
    if len(first) > 1:
        return paired_difference(first, second)
    return first[0] - second[0] if first else math.nan, math.nan, math.nan


def collect_default_scores(found: list[Finalist]) -> dict[int, float]:
    """Return fresh seed -> score of the default settings, of all seeds on which they were compared with a finalist."""
    return dict(sorted(pair for one in found for pair in zip(one.seeds, one.default_scores, strict=True)))


def tabulate_finalists(found: list[Finalist]) -> list[tuple[str, ...]]:
    """Return name, search score, fresh mean and difference of each finalist, and last those of the default settings."""
    rows: list[tuple[str, ...]] = []
    for one in found:
        mean = format_score(one.mean) if one.scores else ""
        rows.append((one.name, format_score(one.search_score), mean, format_difference(one.difference)))
    default = [*collect_default_scores(found).values()]
    return [*rows, (DEFAULT, "", format_score(float(np.mean(default))) if default else "", "")]


def print_result(folder: Path) -> bool:
    """Print the table of finalists and a sentence that explains it; return whether the winner can be promoted."""
    console, found = Console(), read_finalists(folder)
    if not console.is_terminal:  # rich would fold lines of a file or pipe at 80 characters
        console.width = WIDTH
    default = collect_default_scores(found)
    seeds = sorted({*default, *found[0].default_failed})
    table = Table(box=None)
    for heading in ("settings", "search score", "fresh mean", "minus default (95 %)"):
        table.add_column(heading, justify="left" if heading == "settings" else "right", no_wrap=True)
    table.add_column("fresh scores")  # the only column that a narrow terminal folds
    fresh = [*((one.scores, one.failed) for one in found), (default.values(), found[0].default_failed)]
    for cells, (scores, failed) in zip(tabulate_finalists(found), fresh, strict=True):
        table.add_row(*cells, ", ".join([*map(format_score, scores), *("failed" for _ in failed)]))
    console.print(f"fresh seeds {', '.join(map(str, seeds))}", table, sep="\n", highlight=False)
    console.print(explain_result(found[0]), highlight=False, markup=False, soft_wrap=not console.is_terminal)
    return found[0].difference[0] > 0 and not found[0].failed


def format_difference(difference: tuple[float, float, float]) -> str:
    """Return a difference and its interval as text, `+20.3 (-10.1 to +50.7)`; no text where there is none."""
    mean, low, high = difference
    if math.isnan(mean):
        return ""
    ends = "" if math.isnan(low) else f" ({format_score(low, '+')} to {format_score(high, '+')})"
    return format_score(mean, "+") + ends


def explain_result(best: Finalist) -> str:
    """Return a sentence that says what the scores of the best finalist mean."""
    lost = (best.name, best.failed), ("the default settings", best.default_failed)
    failed = [f"{who} failed on seed{'s' * (len(on) > 1)} {', '.join(map(str, on))}" for who, on in lost if on]
    if not best.scores:
        return f"{best.name}, the winner, and the default settings have scores on no common seed: {'; '.join(failed)}."
    curse, (mean, low, _) = best.search_score - best.mean, best.difference
    how = "less" if curse >= 0 else "more"
    words = f"{best.name} scores {format_score(abs(curse))} {how} on fresh seeds than in the search"
    if best.failed:
        return f"{words}; {'; '.join(failed)}."
    sure = "beats the default settings" if low > 0 else "is ahead of the default settings, which may be chance"
    words += f", and {sure if mean > 0 else 'does not beat the default settings'}"
    return f"{words}; {failed[0]}, and no score there counts." if failed else f"{words}."
