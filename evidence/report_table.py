"""The table of a report: one row for each run, and a page in Markdown that says what its columns mean.

runs -> rows -> table.md: the table, the mean of each group, differences between groups, commands, machines
"""

import shlex
from collections.abc import Iterable
from itertools import combinations
from typing import Any

import numpy as np

from environments.passwords import mask_passwords
from evidence.curves import SCORE
from evidence.human import find_random_score, find_references
from evidence.run_groups import Run, name_game
from evidence.statistics import paired_difference
from run_directory.checkpoints import MIN_GAMES
from settings.mistakes import format_count

WINDOW = 100  # games that a score is the mean of, once a run has played so many
START_FACTS = ("command", "git", "packages", "hardware")  # the facts of a start that a report repeats from run.json


def make_row(run: Run) -> dict[str, Any]:
    """Return the row of a run. `times_random` is empty unless random play of the game is known and scores above 0."""
    progress, random = run.progress, find_random_score(run.settings["env"])
    scores, enough = progress[SCORE], progress["episodes"] >= MIN_GAMES
    last = float(scores[-1])
    return {
        "label": run.label,
        "seed": run.settings["seed"],
        "dtype": run.dtype,
        "agent_steps": int(progress["agent_steps"][-1]),
        "episodes": int(progress["episodes"][-1]),
        "last_100_mean": round(last, 1),
        "times_random": round(last / random.score, 2) if random and random.score > 0 else "",
        "best_100_mean": round(float(np.max(scores[enough])), 1) if enough.any() else "",
        "wall_time_s": round(float(progress["wall_time_s"][-1])),
        "agent_steps_per_s": round(float(np.median(progress["agent_steps_per_s"]))),
    }


def group_starts(runs: list[Run]) -> list[dict[str, Any]]:
    """Return the starts in run.json, each once, with the names of all runs that have the same ones.

    The seeds of one command have the same starts.
    """
    groups: list[dict[str, Any]] = []
    for run in runs:
        starts = [mask_passwords({fact: start[fact] for fact in START_FACTS}) for start in run.starts]
        same = next((group for group in groups if group["starts"] == starts), None)
        if same:
            same["runs"].append(run.name)
        else:
            groups.append({"runs": [run.name], "starts": starts})
    return groups


def write_markdown(runs: list[Run], rows: list[dict[str, Any]], starts: list[dict[str, Any]]) -> str:
    """Return the text of table.md.

    Args:
        runs: the runs of the report.
        rows: the row of each run, from `make_row`.
        starts: from `group_starts`.
    """
    env = runs[0].settings["env"]
    lines = [f"# {name_game(env)}", "", join_cells(rows[0]), join_cells("---" for _ in rows[0])]
    lines += [join_cells(format_cell(name, row) for name in row) for row in rows]
    lines += ["", "![learning curves](curves.png)", ""]
    lines += [
        "Scores are unclipped and of full games, played while training. `last_100_mean` is the mean of the last 100 "
        "games at the end, or of all games where it says how many, `times_random` that over random play, "
        "`best_100_mean` its highest value from "
        f"{MIN_GAMES} games on, `agent_steps_per_s` the median over the rows of progress.csv."
    ]
    if random := find_random_score(env):
        lines += [f"`times_random`: random play is {random.source}."]
    for reference in find_references(env):
        lines += [f"{reference.table}: random play {reference.random}, human {reference.human}."]
    lines += ["", "## Groups", ""]
    for label in dict.fromkeys(run.label for run in runs):
        ends = [row["last_100_mean"] for row in rows if row["label"] == label]
        spread = f", the mean of {len(ends)} `last_100_mean` ({min(ends):,} to {max(ends):,})" if len(ends) > 1 else ""
        lines += [f"- {label}: {np.mean(ends):,.1f}{spread or ', one seed'}"]
    lines += compare_groups(rows)
    lines += ["", "## Commands", ""]
    for group in starts:
        lines += [f"{', '.join(group['runs'])}:", ""]
        for start in group["starts"]:
            git = start["git"] or {"commit": "no git checkout", "dirty": False}
            lines += [f"    {shlex.join(start['command'])}  # {git['commit']}{', changed' if git['dirty'] else ''}"]
        lines += [""] if group["starts"] else ["    not recorded", ""]
    lines += ["## Machines and packages", ""]
    facts = [start[kind] for group in starts for start in group["starts"] for kind in ("hardware", "packages")]
    lines += dict.fromkeys("- " + ", ".join(f"{name} {value}" for name, value in fact.items()) for fact in facts)
    return "\n".join(lines) + "\n"


def compare_groups(rows: list[dict[str, Any]]) -> list[str]:
    """Return a line for each pair of labels that have at least two seeds in common."""
    ends: dict[str, dict[int, float]] = {}
    for row in rows:
        ends.setdefault(row["label"], {})[row["seed"]] = row["last_100_mean"]
    lines = []
    for a, b in combinations(ends, 2):
        if len(seeds := sorted(ends[a].keys() & ends[b].keys())) >= 2:
            mean, low, high = paired_difference([ends[a][s] for s in seeds], [ends[b][s] for s in seeds])
            interval = f"95 % t interval {low:,.1f} to {high:,.1f}"
            lines += [f"- {a} - {b}: {mean:+,.1f} over {len(seeds)} seeds in common, {interval}"]
    return lines


def join_cells(cells: Iterable[str]) -> str:
    """Return one row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def format_cell(name: str, row: dict[str, Any]) -> str:
    """Return the text of a cell: numbers have commas, except for seeds.

    A mean over fewer games than the name of its column says is followed by the number of games.
    """
    value = row[name]
    text = str(value) if name == "seed" or not isinstance(value, int | float) else f"{value:,}"
    few = name == "last_100_mean" and 0 < row["episodes"] < WINDOW
    return f"{text} ({format_count(row['episodes'], 'game')})" if few else text
