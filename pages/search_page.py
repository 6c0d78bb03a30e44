"""The page of a search: its trials, their scores, and the settings that seem to matter.

    search directory -> trials.csv, seeds.csv, trials/*/progress.csv -> report.html

The page holds all its data and its figures, as SVG, and needs no network.
"""

import html
import math
from pathlib import Path

from environments.screen import format_score
from evidence.search_result import (
    NoFinalists,
    collect_default_scores,
    explain_result,
    flatten_space,
    read_finalists,
    read_search,
    tabulate_finalists,
)
from pages import search_figures as figures
from run_directory.files import explain_damage
from run_directory.searches import SCHEDULE_CSV, TRIALS_CSV, Trial, read_trials, select_complete_trials
from run_directory.writing import save_file
from settings.mistakes import format_count

PAGE = "report.html"
NO_FIGURE = "<p>There are too few, or all scored the same.</p>"
STATES = {"COMPLETE": "complete", "PRUNED": "stopped early", "FAIL": "failed"}
STATES |= dict.fromkeys(("UNFINISHED", "RUNNING", "WAITING"), "not finished")
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .8em; text-align: right }
th { border-bottom: 1px solid #888 } tr:nth-child(even) { background: #f4f4f4 } svg { max-width: 100%; height: auto }
.wide { overflow-x: auto }"""


def write_page(folder: Path) -> Path:
    """Write report.html into the directory of a search.

    Returns:
        The file.

    Raises:
        Mistake: the directory has no trials.
        OSError: the page cannot be written.
    """
    search = read_search(folder)
    trials = read_trials(folder)
    space = {key: next(kind for kind in given if kind != "when") for key, given in flatten_space(search).items()}
    refuse_impossible_values(folder, trials, space)
    hollow = "Filled: trials that came to their end. Hollow: stopped early, with the score they had then."
    sections = {  # title -> figure, and how to read it
        "Score of each trial": (figures.draw_scores(trials), hollow),
        "Curves": (figures.draw_curves(folder, trials), "Grey: trials that did not come to their end."),
    }
    if (folder / SCHEDULE_CSV).is_file():  # a population changes settings in a trial: no score belongs to one value
        svg = figures.draw_schedule(folder, trials, space)
        sections["Settings on the way"] = svg, "Orange: of the best trial's weights."
    else:
        sections["What seems to matter"] = figures.draw_importance(trials, space), "Complete trials only, from four on."
        sections["Scores over each setting"] = figures.draw_slices(trials, space), hollow
        svg = figures.draw_parallel(trials, space)
        sections["All settings together"] = svg, "Complete trials, settings that all have; the lighter, the better."
    sections["What a score cost"] = figures.draw_cost(folder, trials), hollow
    name = html.escape(f"{search['search']['name']}: {search['algo']['name']} on {search['env']['name']}")
    body = [f"<h1>{name}</h1>", f"<p>{summarize_search(search, trials)}</p>", write_fresh_scores(folder)]
    body += [f"<h2>{title}</h2>\n<p>{how}</p>\n{svg or NO_FIGURE}" for title, (svg, how) in sections.items()]
    body += ["<h2>Trials</h2>\n<p>Agent steps: at which the score was recorded.</p>", write_trials(trials, list(space))]
    head = f'<meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
    text = f'<!doctype html>\n<html lang="en"><head>{head}</head><body>\n' + "\n".join(body) + "\n</body></html>\n"
    if why := save_file(folder / PAGE, text):
        raise OSError(why)
    return folder / PAGE


def refuse_impossible_values(folder: Path, trials: list[Trial], space: dict[str, str]) -> None:
    """Check that each value from a range is a finite number, and is positive on a logarithmic axis.

    Raises:
        Mistake: trials.csv is damaged.
    """
    for line, trial in enumerate(trials, 2):
        for key, kind in space.items():
            value = trial.values.get(key)
            if kind == "choice" or value is None:
                continue
            fits = isinstance(value, float) and math.isfinite(value)
            if not fits or (kind in figures.LOGARITHMIC and figures.compute_axis_value(value, kind) <= 0):
                raise explain_damage(folder / TRIALS_CSV, f"line {line}, column {key}: {value!r:.80}")


def summarize_search(search: dict, trials: list[Trial]) -> str:
    """Return how many trials have ended in each state, and the best score, as sentences in HTML."""
    counts = [(words, sum(STATES[t.state] == words for t in trials)) for words in dict.fromkeys(STATES.values())]
    most = f"{search['stop']['agent_steps']:,} agent steps, seed {search['seed']}"
    text = f"{format_count(len(trials), 'trial')} of at most {most}; "
    text += ", ".join(f"{count} {words}" for words, count in counts if count) + "."
    if complete := select_complete_trials(trials):
        best = max(complete, key=lambda trial: trial.score)
        text += f" The best score, {format_score(best.score)}, is trial {best.number}'s."
    return html.escape(f"{text} A score is the mean of the last 100 full games.")


def write_fresh_scores(folder: Path) -> str:
    """Return the section that compares the finalists with the default settings on fresh seeds, in HTML."""
    if (folder / SCHEDULE_CSV).is_file():
        return "<p>The settings of a population change on the way, so there is no point to play on fresh seeds.</p>"
    try:
        found = read_finalists(folder)
    except NoFinalists:
        return "<p>Nothing was played on fresh seeds: the best of many noisy scores is too good to be true.</p>"
    seeds = ", ".join(map(str, collect_default_scores(found)))
    head = ("settings", "search score", f"mean on fresh seeds {seeds}", "minus default, 95 %")
    table = write_table(head, tabulate_finalists(found))
    return f"<h2>On fresh seeds</h2>\n{table}\n<p>{html.escape(explain_result(found[0]))}</p>"


def write_trials(trials: list[Trial], keys: list[str]) -> str:
    """Return the table of all trials, in HTML, with a column for each setting of the space."""
    rows = [
        (
            str(t.number),
            STATES[t.state],
            f"{t.agent_steps:,}",
            "" if math.isnan(t.score) else format_score(t.score),
            *(f"{v:.4g}" if isinstance(v := t.values.get(key, ""), float) else str(v) for key in keys),
        )
        for t in trials
    ]
    return write_table(("trial", "end", "agent steps", "score", *keys), rows)


def write_table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a table in HTML."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return '<div class="wide"><table>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"
