"""Report: a table and learning curves from run directories, small enough to commit.

    python -m evidence.report <run> <run>
    python -m evidence.report bf16=<run> fp32=<run> --out results/<study>

    run directories -> progress.csv -> table.csv, table.md, curves.csv, curves.png; run.json -> starts.json

A directory is a run, or the parent of several seeds. `label=` gives its group a name; without it the group is named
after the algorithm, the environment and the settings in which the runs differ. Directories with the same label form one
group. The same directories always give the same files.
"""

import argparse
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from evidence.curves import SCORE, SMALL_CURVES, ReferenceLine, choose_rows, draw_curves
from evidence.human import find_random_score, find_references
from evidence.report_table import group_starts, make_row, write_markdown
from evidence.run_groups import Run, name_game, read_runs
from run_directory.writing import explain_unwritable, write_table
from settings.mistakes import Mistake, format_count, format_error, resolve_path

FILES = ("table.md", "table.csv", "curves.png", "curves.csv", "starts.json")
REPORTS = Path("outputs/reports")


def write_report(runs: list[Run], out: Path) -> None:
    """Write all files of a report.

    Raises:
        OSError: a file cannot be written.
    """
    if why := next((why for name in FILES if (why := explain_unwritable(out / name))), None):
        raise OSError(why)
    out.mkdir(parents=True, exist_ok=True)
    rows = [make_row(run) for run in runs]
    columns = [SCORE, *(name for name in SMALL_CURVES if any(name in run.progress for run in runs))]
    write_table(out / "table.csv", rows[0], [row.values() for row in rows])
    write_table(out / "curves.csv", ("label", "seed", "agent_steps", *columns), iterate_points(runs, columns))
    starts = group_starts(runs)
    (out / "starts.json").write_text(json.dumps(starts, indent=1) + "\n")
    (out / "table.md").write_text(write_markdown(runs, rows, starts))
    groups: dict[str, list[dict[str, np.ndarray]]] = {}
    for run in runs:
        groups.setdefault(run.label, []).append(run.progress)
    env = runs[0].settings["env"]
    draw_curves(name_game(env), groups, list_reference_lines(env), out / "curves.png")


def iterate_points(runs: list[Run], columns: list[str]) -> Iterable[tuple[Any, ...]]:
    """Yield the rows of curves.csv; a cell is empty if a run has no value, such as a score before its first game."""
    for run in runs:
        for row in choose_rows(len(run.progress["agent_steps"])):
            values = [run.progress[name][row] if name in run.progress else np.nan for name in columns]
            yield (
                run.label,
                run.settings["seed"],
                int(run.progress["agent_steps"][row]),
                *(f"{value:.6g}" if np.isfinite(value) else "" for value in values),
            )


def list_reference_lines(env: dict) -> list[ReferenceLine]:
    """Return the scores that those of a game are compared with: random play, and the humans of the tables."""
    random = find_random_score(env)
    lines = [ReferenceLine(f"random play, {random.score:g}", random.score, ":")] if random else []
    humans = zip(find_references(env), ("--", "-."), strict=False)
    return lines + [ReferenceLine(f"human, {one.human:g} ({one.table})", one.human, style) for one, style in humans]


def parse_group(text: str) -> tuple[str | None, Path]:
    """Return label and directory of `label=dir`; the label of a directory alone is None."""
    label, equals, path = text.partition("=")
    return (None, Path(text)) if not equals or Path(text).exists() else (label, Path(path))


def main(arguments: list[str]) -> int:
    """Run the command line; return 0, 2 for a mistake of the user, or 1 if the report could not be saved."""
    parser = argparse.ArgumentParser(
        prog="python -m evidence.report", description="Tables and curves from run directories."
    )
    parser.add_argument("runs", nargs="+", metavar="[label=]dir", help="a run directory, or a parent of several seeds")
    parser.add_argument("--out", type=Path, help=f"where the files go; if left out, {REPORTS}/<time>")
    options = parser.parse_args(arguments)
    try:
        groups = [(label, resolve_path(path, label or "run")) for label, path in map(parse_group, options.runs)]
        out = options.out or REPORTS / time.strftime("%Y-%m-%d_%H-%M-%S")
        runs, out = read_runs(groups), resolve_path(out, "--out")
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    try:
        write_report(runs, out)
    except OSError as error:
        print(write_markdown(runs, [make_row(run) for run in runs], group_starts(runs)))
        print(f"the report was not saved in {out}: {format_error(error)}", file=sys.stderr)
        return 1
    print(f"{format_count(len(runs), 'run')} reported in {out}: {', '.join(FILES)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
