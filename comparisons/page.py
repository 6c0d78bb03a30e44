"""The page of a comparison: verdicts, scores, curves, games side by side, what differs, and how all of it was made.

    comparisons -> figures as SVG, a game of each arm as a video -> compare.html

The page holds all its data and needs no network.
"""

import html
import tempfile
from pathlib import Path

from rich.console import Console

from comparisons.comparison import Comparison, list_reference_lines
from comparisons.tables import group_starts, list_arms, list_differences, list_runs, list_verdicts, name_starts
from evidence.curves import draw_scores
from pages.search_figures import export_svg
from pages.templates import read_template
from playing.games_display import GamesDisplay
from run_directory.checkpoints import read_totals
from run_directory.milestones import find_milestones
from run_directory.writing import explain_unwritable, save_file

PAGE = "compare.html"
MAX_CLIPS = 8  # arms of a game that are filmed


def write_page(comparisons: list[Comparison], out: Path, console: Console | None = None) -> Path:
    """Write compare.html into a directory; an existing page is replaced.

    Args:
        comparisons: one for each game.
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
    body = [part for one in comparisons for part in write_game(one, console)]
    runs = [run for one in comparisons for run in one.runs]
    body += ["<h2>Commands, machines and packages</h2>", f"<pre>{html.escape(name_starts(group_starts(runs)))}</pre>"]
    names = ", ".join(dict.fromkeys(label for one in comparisons for label in one.arms))
    text = read_template("compare_page.html").replace("__TITLE__", html.escape(names))
    if why := save_file(page, text.replace("__BODY__", "\n".join(body))):
        raise OSError(why)
    return page


def write_game(comparison: Comparison, console: Console | None) -> list[str]:
    """Return the parts of the page for one game, in HTML."""
    curves = {label: [run.progress for run in of_arm] for label, of_arm in comparison.arms.items()}
    lines = list_reference_lines(comparison.env)
    verdicts = [line.removeprefix("- ") for line in list_verdicts(comparison.verdicts) if line]
    parts = [
        f"<h1>{html.escape(', '.join(comparison.arms))}</h1>",
        f'<p class="dim">{html.escape(comparison.game)}</p>',
    ]
    parts += [
        f'<p class="{"verdict" if index < len(comparison.verdicts) else "dim"}">{html.escape(line)}</p>'
        for index, line in enumerate(verdicts)
    ]
    parts.append(write_table(list_arms(comparison.arms)))
    parts += ["<h2>Scores over agent steps</h2>", export_svg(draw_scores(curves, lines, "agent_steps"))]
    parts += ["<h2>Scores over hours of training</h2>", export_svg(draw_scores(curves, lines, "wall_time_s"))]
    if clips := film_arms(comparison, console):
        parts += ["<h2>Games</h2>", '<p class="dim">The first 20 seconds of a game of one seed of each arm.</p>']
        parts.append(f'<div class="row clips">{"".join(clips)}</div>')
    if differs := list_differences(comparison.differences):
        parts += ["<h2>What differs</h2>", write_table(differs[2:])]
    table = [line for line in list_runs(comparison.runs) if line.startswith("|")]
    how = [line for line in list_runs(comparison.runs) if line and not line.startswith("|")]
    parts += ["<h2>Runs</h2>", write_table(table), *(f'<p class="dim">{html.escape(line)}</p>' for line in how)]
    return parts


def film_arms(comparison: Comparison, console: Console | None) -> list[str]:
    """Film a game of each arm at the same number of agent steps, as far as the arms kept milestones.

    Returns:
        A figure in HTML for each arm; none where a game cannot be drawn, or there are too many arms.
    """

    from recordings.replayed_game import has_pictures  # it plays, and its imports take seconds

    if len(comparison.arms) > MAX_CLIPS or not has_pictures(comparison.env):
        return []
    milestones = {label: find_milestones(of_arm[0].path) for label, of_arm in comparison.arms.items()}
    milestones = {label: found for label, found in milestones.items() if found}
    if not milestones:
        return []
    from pages.run_games import film_clip

    ends = [max(read_totals(milestone)["agent_steps"] for milestone in found) for found in milestones.values()]
    figures = []
    with GamesDisplay(len(milestones), console) as display, tempfile.TemporaryDirectory() as folder:
        display.begin("the comparison")
        for label, found in milestones.items():
            nearest = min(found, key=lambda milestone: abs(read_totals(milestone)["agent_steps"] - min(ends)))
            clip = film_clip(comparison.arms[label][0].path, nearest, display, Path(folder))
            figures.append(
                f'<figure><video src="{clip["video"]}" muted loop autoplay playsinline></video><figcaption>'
                f"<b>{html.escape(label)}</b>{html.escape(clip['name'])}, {html.escape(clip['text'])}"
                "</figcaption></figure>"
            )
    return figures


def write_table(lines: list[str]) -> str:
    """Return a Markdown table as HTML."""
    rows = [[cell.strip().strip("`") for cell in line.strip("|").split("|")] for line in lines]
    head, body = rows[0], rows[2:]
    cells = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    cells += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in body]
    return '<div class="wide"><table>' + "".join(f"<tr>{row}</tr>" for row in cells) + "</table></div>"
