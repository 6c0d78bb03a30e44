"""The tables of a comparison: a row for each run, and a page in Markdown with verdicts, arms, runs and what differs.

runs -> rows -> compare.md: verdicts, arms, runs, settings that differ, commands, machines
"""

import shlex
from collections import Counter
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np

from comparisons.run_groups import Run
from environments.passwords import mask_passwords
from environments.screen import format_score
from evidence.curves import SCORE
from evidence.human import find_random_score, find_references
from evidence.statistics import t_interval
from run_directory.checkpoints import MIN_GAMES
from settings.mistakes import format_count
from verdicts.two_arms import Verdict

WINDOW = 100  # games that a score is the mean of, once a run has played so many
ARM_COLUMNS = ("arm", "seeds", "mean score", "95 % interval", "lowest", "highest", "agent steps", "hours per seed")
START_FACTS = ("command", "git", "packages", "hardware")  # the facts of a start that a comparison repeats from run.json


class Part(NamedTuple):
    """What compare.md says of one game."""

    game: str  # with its protocol
    arms: dict[str, list[Run]]
    verdicts: list[Verdict]
    differences: dict[str, dict[str, Any]]  # setting -> arm -> its value
    figure: str  # the file of the curves


def make_row(run: Run) -> dict[str, Any]:
    """Return the row of a run. `times_random` is empty unless random play of the game is known and scores above 0."""
    progress, random = run.progress, find_random_score(run.settings["env"])
    scores, enough = progress[SCORE], progress["episodes"] >= MIN_GAMES
    last = float(scores[-1])
    return {
        "label": run.label,
        "env": run.settings["env"]["name"],
        "seed": run.settings["seed"],
        "dtype": run.dtype,
        "agent_steps": int(progress["agent_steps"][-1]),
        "episodes": int(progress["episodes"][-1]),
        "last_100_mean": round(last, 4),
        "times_random": round(last / random.score, 2) if random and random.score > 0 else "",
        "best_100_mean": round(float(np.max(scores[enough])), 4) if enough.any() else "",
        "wall_time_s": round(float(progress["wall_time_s"][-1])),
        "agent_steps_per_s": round(float(np.median(progress["agent_steps_per_s"]))),
    }


def group_starts(runs: list[Run]) -> list[dict[str, Any]]:
    """Return the starts in run.json, each once, with the names of all runs that have the same ones.

    The seeds of one command have the same starts.
    """
    groups: list[dict[str, Any]] = []
    several = len({run.settings["env"]["name"] for run in runs}) > 1
    for run in runs:
        starts = [mask_passwords({fact: start.get(fact) for fact in START_FACTS}) for start in run.starts]
        name = f"{run.name} on {run.settings['env']['name']}" if several else run.name
        same = next((group for group in groups if group["starts"] == starts), None)
        if same:
            same["runs"].append(name)
        else:
            groups.append({"runs": [name], "starts": starts})
    return groups


def write_markdown(head: list[str], parts: list[Part], starts: list[dict[str, Any]]) -> str:
    """Return the text of compare.md.

    Args:
        head: lines above those of the games.
        parts: of each game.
        starts: from `group_starts`.
    """
    lines = [*head]
    for part in parts:
        lines += [f"# {part.game}", "", *list_verdicts(part.verdicts), "", *list_arms(part.arms), ""]
        lines += ["## Runs", "", *list_runs([run for of_arm in part.arms.values() for run in of_arm]), ""]
        lines += [f"![learning curves]({part.figure})", "", *list_differences(part.differences)]
    return "\n".join(lines) + "\n" + name_starts(starts)


def describe_start(start: dict[str, Any]) -> str:
    """Return the command and the commit of a start."""
    git = start["git"] or {"commit": "no git checkout", "dirty": False}
    return f"{shlex.join(start['command'])}  # {git['commit']}{', changed' if git['dirty'] else ''}"


def name_starts(starts: list[dict[str, Any]]) -> str:
    """Return the part of compare.md on the commands, commits, machines and packages; `starts` as above."""
    lines = ["## Commands", ""]
    for group in starts:
        lines += [f"{', '.join(group['runs'])}:", ""]
        for command, number in Counter(map(describe_start, group["starts"])).items():
            lines += [f"    {command}{f', {number} starts' if number > 1 else ''}"]
        lines += [""] if group["starts"] else ["    not recorded", ""]
    lines += ["## Machines and packages", ""]
    facts = [start[kind] for group in starts for start in group["starts"] for kind in ("hardware", "packages")]
    lines += dict.fromkeys("- " + ", ".join(f"{name} {value}" for name, value in fact.items()) for fact in facts)
    return "\n".join(lines) + "\n"


def list_verdicts(verdicts: list[Verdict]) -> list[str]:
    """Return a line for each pair of arms, and how they were compared, or that fewer than two arms have a score."""
    if not verdicts:
        return ["Fewer than two arms have a score, so there is no verdict."]
    lines = [f"- {verdict.describe()}" for verdict in verdicts]
    ratio = any(verdict.is_ratio for verdict in verdicts)
    paired = any(verdict.is_paired for verdict in verdicts)
    how = (
        "Student's t of the same seeds where they share their random streams, else Welch's t,"
        if paired
        else "Welch's t"
    )
    on = "on the logarithms of scores, so that effects are ratios of geometric means" if ratio else "on scores"
    pairs = verdicts[0].num_pairs
    corrected = f"; p after Holm's correction over {format_count(pairs, 'pair')}" if pairs else ""
    return [*lines, "", f"{how} {on}{corrected}."]


def list_scores(runs: list[Run]) -> np.ndarray:
    """Return the scores of the runs that have one, float [S]."""
    return np.array([run.score for run in runs if np.isfinite(run.score)])


def list_arms(arms: dict[str, list[Run]]) -> list[str]:
    """Return a table with a row for each arm: its seeds, or those of them that have a score, its score, its cost."""
    lines = [
        join_cells(ARM_COLUMNS),
        join_cells("---" for _ in ARM_COLUMNS),
    ]
    positive = all((list_scores(runs) > 0).all() for runs in arms.values())  # as the verdicts have it
    for label, runs in arms.items():
        scores = list_scores(runs)
        steps = [int(run.progress["agent_steps"][-1]) for run in runs]
        hours = np.mean([run.progress["wall_time_s"][-1] for run in runs]) / 3600
        interval = "one seed" if len(scores) == 1 else "no game has ended"
        if len(scores) > 1:
            ends = map(format_score, np.exp(t_interval(np.log(scores))) if positive else t_interval(scores))
            interval = " to ".join(ends)
            interval += f" of the geometric mean, {format_score(np.exp(np.log(scores).mean()))}" if positive else ""
        spread = [format_score(value) for value in (scores.min(), scores.max())] if len(scores) else ["", ""]
        mean = format_score(scores.mean()) if len(scores) else ""
        least = f"{min(steps):,}" if max(steps) <= 1.05 * min(steps) else f"{min(steps):,} to {max(steps):,}"
        seeds = str(len(runs)) if len(scores) == len(runs) else f"{len(scores)} of {len(runs)}"
        lines.append(join_cells((label, seeds, mean, interval, *spread, least, f"{hours:.2f}")))
    return lines


def list_runs(runs: list[Run]) -> list[str]:
    """Return a table with a row for each run, and what its columns mean."""
    env, rows = runs[0].settings["env"], [make_row(run) for run in runs]
    lines = [join_cells(rows[0]), join_cells("---" for _ in rows[0])]
    lines += [join_cells(format_cell(name, row) for name in row) for row in rows]
    lines += [
        "",
        "Scores are unclipped and of full games, played while training. `last_100_mean` is the mean of the last 100 "
        "games at the end, or of all games where it says how many, `times_random` that over random play, "
        "`best_100_mean` its highest value from "
        f"{MIN_GAMES} games on, `agent_steps_per_s` the median over the rows of progress.csv.",
    ]
    if random := find_random_score(env):
        lines += [f"`times_random`: random play is {random.source}."]
    for reference in find_references(env):
        scores = f"random play {reference.random}, human {reference.human}"
        lines += [f"{reference.table}, under the rules of that paper: {scores}."]
    return lines


def list_differences(differences: dict[str, dict[str, Any]]) -> list[str]:
    """Return a table of the settings in which the arms differ; nothing where there is one arm."""
    if not differences:
        return []
    arms = list(next(iter(differences.values())))
    lines = ["## What differs", "", join_cells(("setting", *arms)), join_cells("---" for _ in range(len(arms) + 1))]
    for key, values in differences.items():
        lines.append(join_cells((f"`{key}`", *("" if values[arm] is None else str(values[arm]) for arm in arms))))
    return [*lines, ""]


def join_cells(cells: Iterable[str]) -> str:
    """Return one row of a Markdown table."""
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def format_cell(name: str, row: dict[str, Any]) -> str:
    """Return the text of a cell: numbers have commas, except for seeds.

    A mean over fewer games than the name of its column says is followed by the number of games.
    """
    value = row[name]
    text = str(value) if name == "seed" or not isinstance(value, int | float) else f"{value:,}"
    few = name == "last_100_mean" and 0 < row["episodes"] < WINDOW
    return f"{text} ({format_count(row['episodes'], 'game')})" if few else text
