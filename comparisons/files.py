"""The files of a comparison but its page: tables and curves, small enough to commit.

    comparisons -> compare.md, compare.csv, curves.csv, curves.png, starts.json
                -> of several games also overall.csv, profile.png

The same comparisons always give the same files.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from comparisons.comparison import Comparison, list_reference_lines
from comparisons.notes import list_notes
from comparisons.overall import Overall
from comparisons.overall_tables import OVERALL_COLUMNS, draw_profiles, iterate_overall_rows, list_overall
from comparisons.run_groups import Run
from comparisons.tables import Part, group_starts, make_row, write_markdown
from evidence.curves import SCORE, SMALL_CURVES, choose_rows, draw_curves, save_figure
from run_directory.writing import explain_unwritable, write_file, write_table

MARKDOWN, TABLE, CURVES, STARTS, OVERALL = "compare.md", "compare.csv", "curves.csv", "starts.json", "overall.csv"


def list_files(comparisons: list[Comparison], overall: Overall | None) -> list[str]:
    """Return the names of the files that `write_comparison` writes."""
    over_games = [OVERALL, *name_profiles(overall)] if overall else []
    return [MARKDOWN, TABLE, *name_figures(comparisons), CURVES, STARTS, *over_games]


def name_figures(comparisons: list[Comparison]) -> list[str]:
    """Return the file of each game's curves."""
    if len(comparisons) == 1:
        return ["curves.png"]
    return [f"curves_{number}_{one.name}.png" for number, one in enumerate(comparisons, 1)]


def name_profiles(overall: Overall) -> list[str]:
    """Return the file of the performance profile of each aggregate."""
    number = len(overall.aggregates)
    return ["profile.png"] if number == 1 else [f"profile_{index}.png" for index in range(1, number + 1)]


def write_comparison(comparisons: list[Comparison], overall: Overall | None, out: Path) -> None:
    """Write all files of a comparison but the page.

    Args:
        comparisons: one for each game.
        overall: what can be said over several games, from `summarize_games`.
        out: the directory.

    Raises:
        OSError: a file cannot be written.
    """
    names = list_files(comparisons, overall)
    if why := next((why for name in names if (why := explain_unwritable(out / name))), None):
        raise OSError(why)
    out.mkdir(parents=True, exist_ok=True)
    runs = [run for one in comparisons for run in one.runs]
    rows = [make_row(run) for run in runs]
    columns = [SCORE, *(name for name in SMALL_CURVES if any(name in run.progress for run in runs))]
    write_table(out / TABLE, rows[0], [row.values() for row in rows])
    write_table(out / CURVES, ("label", "env", "seed", "agent_steps", *columns), iterate_points(runs, columns))
    write_file(out / STARTS, json.dumps(group_starts(runs), indent=1) + "\n")
    write_file(out / MARKDOWN, format_markdown(comparisons, overall))
    for one, figure in zip(comparisons, name_figures(comparisons), strict=True):
        curves = {label: [run.progress for run in of_arm] for label, of_arm in one.arms.items()}
        draw_curves(one.game, curves, list_reference_lines(one.env), out / figure)
    if overall:
        write_table(out / OVERALL, OVERALL_COLUMNS, iterate_overall_rows(overall))
        for aggregate, name in zip(overall.aggregates, name_profiles(overall), strict=True):
            save_figure(draw_profiles(aggregate), out / name)


def format_markdown(comparisons: list[Comparison], overall: Overall | None) -> str:
    """Return the text of compare.md."""
    starts = group_starts([run for one in comparisons for run in one.runs])
    parts = [
        Part(one.game, one.arms, one.verdicts, one.differences, figure)
        for one, figure in zip(comparisons, name_figures(comparisons), strict=True)
    ]
    head = list_overall(overall, name_profiles(overall)) if overall else []
    head += [line for note in list_notes(comparisons) for line in (note, "")]
    return write_markdown(head, parts, starts)


def iterate_points(runs: list[Run], columns: list[str]) -> Iterable[tuple[Any, ...]]:
    """Yield the rows of curves.csv; a cell is empty if a run has no value, such as a score before its first game."""
    for run in runs:
        for row in choose_rows(len(run.progress["agent_steps"])):
            values = [run.progress[name][row] if name in run.progress else np.nan for name in columns]
            yield (
                run.label,
                run.settings["env"]["name"],
                run.settings["seed"],
                int(run.progress["agent_steps"][row]),
                *(f"{value:.6g}" if np.isfinite(value) else "" for value in values),
            )
