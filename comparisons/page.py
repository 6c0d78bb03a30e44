"""The page of a comparison: verdicts, scores, curves, games side by side, what differs, and how all of it was made.

    comparisons -> figures as SVG, games of each arm as videos -> compare.html
                -> of several games also what can be said over all of them, first

The page holds all its data and needs no network.
"""

import html
import re
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console

from comparisons.clips import film_comparisons
from comparisons.comparison import Comparison, list_reference_lines
from comparisons.notes import list_notes
from comparisons.overall import Overall
from comparisons.overall_tables import (
    EXPLAIN_CHANCES,
    draw_profiles,
    explain_aggregate,
    list_chances,
    list_games,
    list_measures,
    list_overall_verdicts,
    name_aggregate,
)
from comparisons.tables import group_starts, list_arms, list_differences, list_runs, list_verdicts, name_starts
from evidence.curves import draw_scores
from pages.search_figures import export_svg
from pages.templates import read_template
from run_directory.writing import explain_unwritable, save_file

PAGE = "compare.html"


def write_page(
    comparisons: list[Comparison], overall: Overall | None, out: Path, console: Console | None = None
) -> Path:
    """Write compare.html into a directory; an existing page is replaced.

    Args:
        comparisons: one for each game.
        overall: what can be said over several games.
        out: the directory.
        console: where progress is shown.

    Returns:
        The file.

    Raises:
        OSError: the page cannot be written.
    """
    page = out / PAGE
    if why := explain_unwritable(page):
        raise OSError(why)
    names = ", ".join(dict.fromkeys(label for one in comparisons for label in one.arms))
    body = [f"<h1>{html.escape(names)}</h1>"]
    if len(comparisons) > 1:
        links = [f'<a href="#game_{number}">{html.escape(one.game)}</a>' for number, one in enumerate(comparisons, 1)]
        body.append(f'<p class="dim">{"; ".join(links)}</p>')
    body += write_notes(list_notes(comparisons))
    if overall:
        body += write_overall(overall)
    clips = film_comparisons(comparisons, console)
    for number, (one, of_game) in enumerate(zip(comparisons, clips, strict=True), 1):
        body += write_game(one, of_game, f"game_{number}")
    runs = [run for one in comparisons for run in one.runs]
    body += ["<h2>Commands, machines and packages</h2>", f"<pre>{html.escape(name_starts(group_starts(runs)))}</pre>"]
    text = read_template("compare_page.html").replace("__TITLE__", html.escape(names))
    if why := save_file(page, text.replace("__BODY__", "\n".join(body))):
        raise OSError(why)
    return page


def write_overall(overall: Overall) -> list[str]:
    """Return the part of the page on several games, in HTML."""
    parts = ['<h1 class="game">Over several games</h1>']
    for aggregate in overall.aggregates:
        parts.append(f'<p class="dim">{html.escape(name_aggregate(aggregate))}</p>')
        parts += write_verdicts(list_overall_verdicts(aggregate))
        parts += write_notes(explain_aggregate(aggregate))
        parts += [write_table(list_measures(aggregate)), write_table(list_games(aggregate))]
        parts += ["<h2>Share of seeds above each score</h2>", export_svg(draw_profiles(aggregate))]
    if overall.improvements:
        parts += ["<h2>Which arm scores more</h2>", write_table(list_chances(overall.improvements))]
        parts += write_notes([EXPLAIN_CHANCES])
    return parts + write_notes(overall.notes)


def write_game(comparison: Comparison, clips: list[str], name: str) -> list[str]:
    """Return the parts of the page for one game, in HTML.

    Args:
        comparison: of the game.
        clips: from `film_comparisons`.
        name: of the place on the page, for links.
    """
    curves = {label: [run.progress for run in of_arm] for label, of_arm in comparison.arms.items()}
    lines = list_reference_lines(comparison.env)
    verdicts = [line.removeprefix("- ") for line in list_verdicts(comparison.verdicts) if line]
    number = len(comparison.verdicts)
    parts = [f'<h1 class="game" id="{name}">{html.escape(comparison.game)}</h1>']
    parts += [*write_verdicts(verdicts[:number]), *write_notes(verdicts[number:])]
    parts.append(write_table(list_arms(comparison.arms)))
    parts += ["<h2>Scores over agent steps</h2>", export_svg(draw_scores(curves, lines, "agent_steps"))]
    parts += ["<h2>Scores over hours of training</h2>", export_svg(draw_scores(curves, lines, "wall_time_s"))]
    parts += clips
    if differs := list_differences(comparison.differences):
        parts += ["<h2>What differs</h2>", write_table(differs[2:])]
    table = [line for line in list_runs(comparison.runs) if line.startswith("|")]
    how = [line for line in list_runs(comparison.runs) if line and not line.startswith("|")]
    return [*parts, "<h2>Runs</h2>", write_table(table), *write_notes(how)]


def write_verdicts(sentences: Iterable[str]) -> list[str]:
    """Return verdicts as paragraphs."""
    return [f'<p class="verdict">{html.escape(sentence)}</p>' for sentence in sentences]


def write_notes(sentences: Iterable[str]) -> list[str]:
    """Return notes as paragraphs in smaller, paler type."""
    return [f'<p class="dim">{html.escape(sentence)}</p>' for sentence in sentences]


def write_table(lines: list[str]) -> str:
    """Return a Markdown table as HTML."""
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines]
    rows = [[cell.strip().strip("`").replace(r"\|", "|") for cell in row] for row in split]
    head, body = rows[0], rows[2:]
    cells = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in body]
    return '<div class="wide"><table>' + "".join(f"<tr>{row}</tr>" for row in cells) + "</table></div>"
