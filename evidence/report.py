"""Report: a table and learning curves from run directories, small enough to commit.

    python -m evidence.report <run> <run>
    python -m evidence.report bf16=<run> fp32=<run> --out results/<study>

    run directories -> progress.csv -> table.csv, table.md, curves.csv, curves.png; run.json -> starts.json

A directory is a run or a parent of several seeds. `label=` names its group; without it the group is named after the
algorithm, the environment and the settings in which the runs differ. Directories of one label are one group. The same
directories give the same files.
"""

import argparse
import json
import shlex
import sys
import time
from collections.abc import Iterable
from itertools import combinations
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from environments.passwords import mask
from evidence import curves
from evidence.curves import SCORE, Line
from evidence.human import random_score, references
from evidence.labels import label_of_each
from evidence.statistics import paired_difference
from run_directory.checkpoints import MIN_GAMES
from run_directory.layout import list_seed_runs
from run_directory.progress_table import read_progress
from run_directory.saved_settings import read_run_settings
from run_directory.starts import find_starts
from run_directory.writing import explain_unwritable, write_table
from settings.mistakes import Mistake, counted, in_a_line, reachable
from settings.protocols import describe

FILES = ("table.md", "table.csv", "curves.png", "curves.csv", "starts.json")
ALL_GAMES = 100  # that a score is the mean of, as soon as there are so many
RECORDED = ("command", "git", "packages", "hardware")  # of each start, in run.json
COLUMNS = ("agent_steps", "episodes", "wall_time_s", "agent_steps_per_s", SCORE)
IF_REPORTED = tuple(column for column in curves.SMALL if column not in COLUMNS)
REPORTS = Path("outputs/reports")


class Run(NamedTuple):
    """One seed."""

    label: str
    settings: dict
    progress: dict[str, np.ndarray]
    starts: list[dict[str, Any]]

    @property
    def name(self) -> str:
        return f"{self.label} seed {self.settings['seed']}"


def report(groups: list[tuple[str | None, Path]], out: Path) -> list[Run]:
    """Write the report of labelled run directories into `out`.

    Raises:
        Mistake: see `runs_of_groups`.
        OSError: `out` cannot be written.
    """
    runs = runs_of_groups(groups)
    write(runs, out)
    return runs


def runs_of_groups(groups: list[tuple[str | None, Path]]) -> list[Run]:
    """Read run directories, each with the label of its group or with None where it gets one here.

    Raises:
        Mistake: a directory is not a run or has no rows yet, a seed is there twice, or the runs play different games or
            protocols.
    """
    found = [(label, one, read_run_settings(one)) for label, path in groups for one in list_seed_runs(path)]
    found_labels = label_of_each([settings for _, _, settings in found])
    runs = [
        Run(label or found_label, settings, read_progress(one, COLUMNS, IF_REPORTED), find_starts(one))
        for (label, one, settings), found_label in zip(found, found_labels, strict=True)
    ]
    names = [run.name for run in runs]
    if twice := [name for name in names if names.count(name) > 1]:
        raise Mistake(f"{twice[0]} is there twice; give the directories labels, label=<dir>, that tell them apart")
    games = {game_of(run.settings["env"]): run.name for run in runs}
    if len(games) > 1:
        (first, a), (second, b) = list(games.items())[:2]
        raise Mistake(
            f"{a} plays {first} and {b} plays {second}: their scores do not belong into one table; report them apart"
        )
    return runs


def write(runs: list[Run], out: Path) -> None:
    """Write all files of a report.

    Raises:
        OSError: a file cannot be written.
    """
    if why := next((why for name in FILES if (why := explain_unwritable(out / name))), None):
        raise OSError(why)
    out.mkdir(parents=True, exist_ok=True)
    rows = [row_of(run) for run in runs]
    columns = [SCORE, *(name for name in curves.SMALL if any(name in run.progress for run in runs))]
    write_table(out / "table.csv", rows[0], [row.values() for row in rows])
    write_table(out / "curves.csv", ("label", "seed", "agent_steps", *columns), points_of(runs, columns))
    starts = starts_by_run(runs)
    (out / "starts.json").write_text(json.dumps(starts, indent=1) + "\n")
    (out / "table.md").write_text(markdown(runs, rows, starts))
    groups: dict[str, list[dict[str, np.ndarray]]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run.progress)
    env = runs[0].settings["env"]
    curves.draw(game_of(env), groups, lines_of(env), out / "curves.png")


def points_of(runs: list[Run], columns: list[str]) -> Iterable[tuple[Any, ...]]:
    """Yield the rows of curves.csv; a cell is empty where a run has no value, such as a score before its first game."""
    for run in runs:
        for row in curves.thin(len(run.progress["agent_steps"])):
            values = [run.progress[name][row] if name in run.progress else np.nan for name in columns]
            yield (
                run.label,
                run.settings["seed"],
                int(run.progress["agent_steps"][row]),
                *(f"{value:.6g}" if np.isfinite(value) else "" for value in values),
            )


def lines_of(env: dict) -> list[Line]:
    """Return what the scores of a game are compared with: random play and the humans of the tables."""
    random = random_score(env)
    lines = [Line(f"random play, {random.score:g}", random.score, ":")] if random else []
    humans = zip(references(env), ("--", "-."), strict=False)
    return lines + [Line(f"human, {one.human:g} ({one.table})", one.human, style) for one, style in humans]


def game_of(env: dict) -> str:
    """`assault, protocol classic`."""
    return f"{env['name']}, protocol {describe(env)}"


def row_of(run: Run) -> dict[str, Any]:
    """One line of the table. `times_random` only where random play of the game is known and scores above 0."""
    progress, random = run.progress, random_score(run.settings["env"])
    scores, enough = progress[SCORE], progress["episodes"] >= MIN_GAMES
    last = float(scores[-1])
    return {
        "label": run.label,
        "seed": run.settings["seed"],
        "dtype": dtype_of(run),
        "agent_steps": int(progress["agent_steps"][-1]),
        "episodes": int(progress["episodes"][-1]),
        "last_100_mean": round(last, 1),
        "times_random": round(last / random.score, 2) if random and random.score > 0 else "",
        "best_100_mean": round(float(np.max(scores[enough])), 1) if enough.any() else "",
        "wall_time_s": round(float(progress["wall_time_s"][-1])),
        "agent_steps_per_s": round(float(np.median(progress["agent_steps_per_s"]))),
    }


def dtype_of(run: Run) -> str:
    """What the torso computed in; `auto` where the run did not record what that came to."""
    dtype = run.settings["model"]["dtype"]
    return run.starts[-1]["hardware"].get("dtype", dtype) if dtype == "auto" and run.starts else dtype


def starts_by_run(runs: list[Run]) -> list[dict[str, Any]]:
    """What run.json says, once for all runs that it says the same of (the seeds of one command)."""
    together: list[dict[str, Any]] = []
    for run in runs:
        starts = [mask({kind: start[kind] for kind in RECORDED}) for start in run.starts]
        same = next((entry for entry in together if entry["starts"] == starts), None)
        if same:
            same["runs"].append(run.name)
        else:
            together.append({"runs": [run.name], "starts": starts})
    return together


def markdown(runs: list[Run], rows: list[dict[str, Any]], starts: list[dict[str, Any]]) -> str:
    """The table, what its columns mean, the mean of every group, the commands and the machines."""
    env = runs[0].settings["env"]
    lines = [f"# {game_of(env)}", "", line(rows[0]), line("---" for _ in rows[0])]
    lines += [line(pretty(name, row) for name in row) for row in rows]
    lines += ["", "![learning curves](curves.png)", ""]
    lines += [
        "Scores are unclipped and of full games, played while training. `last_100_mean` is the mean of the last 100 "
        "games at the end, or of all games where it says how many, `times_random` that over random play, "
        "`best_100_mean` its highest value from "
        f"{MIN_GAMES} games on, `agent_steps_per_s` the median over the rows of progress.csv."
    ]
    if random := random_score(env):
        lines += [f"`times_random`: random play is {random.source}."]
    for reference in references(env):
        lines += [f"{reference.table}: random play {reference.random}, human {reference.human}."]
    lines += ["", "## Groups", ""]
    for label in dict.fromkeys(run.label for run in runs):
        ends = [row["last_100_mean"] for row in rows if row["label"] == label]
        spread = f", the mean of {len(ends)} `last_100_mean` ({min(ends):,} to {max(ends):,})" if len(ends) > 1 else ""
        lines += [f"- {label}: {np.mean(ends):,.1f}{spread or ', one seed'}"]
    lines += differences(rows)
    lines += ["", "## Commands", ""]
    for entry in starts:
        lines += [f"{', '.join(entry['runs'])}:", ""]
        for start in entry["starts"]:
            git = start["git"] or {"commit": "no git checkout", "dirty": False}
            lines += [f"    {shlex.join(start['command'])}  # {git['commit']}{', changed' if git['dirty'] else ''}"]
        lines += [""] if entry["starts"] else ["    not recorded", ""]
    lines += ["## Machines and packages", ""]
    facts = [start[kind] for entry in starts for start in entry["starts"] for kind in ("hardware", "packages")]
    lines += dict.fromkeys("- " + ", ".join(f"{name} {value}" for name, value in fact.items()) for fact in facts)
    return "\n".join(lines) + "\n"


def differences(rows: list[dict[str, Any]]) -> list[str]:
    """A line for each two labels that have at least two seeds in common."""
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


def line(cells: Iterable[str]) -> str:
    """One row of a Markdown table."""
    return "| " + " | ".join(cells) + " |"


def pretty(name: str, row: dict[str, Any]) -> str:
    """Write a cell of the table: numbers with commas, never a seed; a mean over fewer games than its name says is
    marked."""
    value = row[name]
    text = str(value) if name == "seed" or not isinstance(value, int | float) else f"{value:,}"
    few = name == "last_100_mean" and 0 < row["episodes"] < ALL_GAMES
    return f"{text} ({counted(row['episodes'], 'game')})" if few else text


def labelled(text: str) -> tuple[str | None, Path]:
    """Read `label=dir`, or a directory whose label follows from its settings."""
    label, equals, path = text.partition("=")
    return (None, Path(text)) if not equals or Path(text).exists() else (label, Path(path))


def main(arguments: list[str]) -> int:
    """The command line; 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(
        prog="python -m evidence.report", description="Tables and curves from run directories."
    )
    parser.add_argument("runs", nargs="+", metavar="[label=]dir", help="a run directory, or a parent of several seeds")
    parser.add_argument("--out", type=Path, help=f"where the files go; if left out, {REPORTS}/<time>")
    options = parser.parse_args(arguments)
    try:
        groups = [(label, reachable(path, label or "run")) for label, path in map(labelled, options.runs)]
        out = options.out or REPORTS / time.strftime("%Y-%m-%d_%H-%M-%S")
        runs, out = runs_of_groups(groups), reachable(out, "--out")
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    try:
        write(runs, out)
    except OSError as error:
        print(markdown(runs, [row_of(run) for run in runs], starts_by_run(runs)))
        print(f"the report was not saved in {out}: {in_a_line(error)}", file=sys.stderr)
        return 1
    print(f"{counted(len(runs), 'run')} reported in {out}: {', '.join(FILES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
