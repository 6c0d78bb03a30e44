"""One page of a search: what was tried, what it scored, what seems to matter.

    search directory -> trials.csv, seeds.csv, trials/*/progress.csv -> report.html

The page holds everything itself, figures as SVG, and asks no network for anything.
"""

import html
import math
from pathlib import Path

import numpy as np

from evidence.search_result import NothingToCompare, finalists, interval, search_of, verdict
from pages import search_figures as figures
from run_directory.files import damaged_file
from run_directory.searches import SCHEDULE_CSV, TRIALS_CSV, Trial, read_trials, select_complete
from run_directory.writing import explain_unwritable, save_file
from settings.mistakes import counted

PAGE = "report.html"
NONE = "<p>There are too few, or all scored the same.</p>"
ENDS = {"COMPLETE": "complete", "PRUNED": "stopped early", "FAIL": "failed", "RUNNING": "under way"}
STYLE = """body { font: 15px/1.5 system-ui, sans-serif; max-width: 1000px; margin: 2em auto; padding: 0 1em }
table { border-collapse: collapse; margin: 1em 0 } td, th { padding: .2em .8em; text-align: right }
th { border-bottom: 1px solid #888 } tr:nth-child(even) { background: #f4f4f4 } svg { max-width: 100%; height: auto }
.wide { overflow-x: auto }"""


def write_page(folder: Path) -> Path:
    """Write report.html of a search directory.

    Returns:
        The file.

    Raises:
        Mistake: the directory has no trials.
        OSError: the page cannot be written.
    """
    if why := explain_unwritable(folder / PAGE):
        raise OSError(why)
    search = search_of(folder)
    trials = read_trials(folder)
    space = {key: next(kind for kind in given if kind != "when") for key, given in flat(search).items()}
    refuse_odd_values(folder, trials, space)
    hollow = "Filled: trials that came to their end. Hollow: stopped early, with the score they had then."
    drawn = {  # title -> figure, and how to read it
        "Score of each trial": (figures.history(trials), hollow),
        "Curves": (figures.curves(folder, trials), "Grey: trials that did not come to their end."),
    }
    if (folder / SCHEDULE_CSV).is_file():  # no score belongs to a point of the space
        drawn["Settings on the way"] = figures.schedule(folder, trials, space), "Orange: of the best trial's weights."
    else:
        drawn["What seems to matter"] = figures.importance(trials, space), "Complete trials only, from four on."
        drawn["Scores over each setting"] = figures.slices(trials, space), hollow
        drawn["All settings together"] = figures.parallel(trials, space), "Complete trials; the lighter, the better."
    drawn["What a score cost"] = figures.cost(folder, trials), hollow
    name = html.escape(f"{search['search']['name']}: {search['algo']['name']} on {search['env']['name']}")
    body = [f"<h1>{name}</h1>", f"<p>{summary(search, trials)}</p>", fresh(folder)]
    body += [f"<h2>{title}</h2>\n<p>{how}</p>\n{svg or NONE}" for title, (svg, how) in drawn.items()]
    body += ["<h2>Trials</h2>\n<p>Agent steps: at which the score was recorded.</p>", table(trials, list(space))]
    page = folder / PAGE
    why = save_file(
        page,
        f'<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>{name}</title><style>{STYLE}</style>'
        "</head><body>\n" + "\n".join(body) + "\n</body></html>\n",
    )
    if why:
        raise OSError(why)
    return page


def refuse_odd_values(folder: Path, trials: list[Trial], space: dict[str, str]) -> None:
    """See that what was drawn from a range is a number that can be drawn on its axis.

    Raises:
        Mistake: trials.csv is damaged.
    """
    for line, trial in enumerate(trials, 2):
        for key, kind in space.items():
            value = trial.values.get(key)
            if kind == "choice" or value is None:
                continue
            fits = isinstance(value, float) and math.isfinite(value)
            if not fits or (kind in figures.LOGARITHMIC and figures.position(value, kind) <= 0):
                raise damaged_file(folder / TRIALS_CSV, f"line {line}, column {key}: {value!r:.80}")


def flat(search: dict) -> dict[str, dict]:
    """The space with dotted keys, however it was nested."""
    keys = {}
    for key, value in search["search"]["space"].items():
        keys |= {f"{key}.{k}": v for k, v in value.items()} if key in ("algo", "env", "model") else {key: value}
    return keys


def summary(search: dict, trials: list[Trial]) -> str:
    """How many ended how, and the best."""
    counts = [(words, sum(t.state == state for t in trials)) for state, words in ENDS.items()]
    most = f"{search['stop']['agent_steps']:,} agent steps, seed {search['seed']}"
    text = f"{counted(len(trials), 'trial')} of at most {most}; "
    text += ", ".join(f"{count} {words}" for words, count in counts if count) + "."
    if whole := select_complete(trials):
        best = max(whole, key=lambda trial: trial.score)
        text += f" The best score, {best.score:,.1f}, is trial {best.number}'s."
    return html.escape(f"{text} A score is the mean of the last 100 full games.")


def fresh(folder: Path) -> str:
    """The finalists beside the default settings on fresh seeds."""
    if (folder / SCHEDULE_CSV).is_file():
        return "<p>The settings of a population change on the way, so there is no point to play on fresh seeds.</p>"
    try:
        found = finalists(folder)
    except NothingToCompare:
        return "<p>Nothing was played on fresh seeds: the best of many noisy scores is too good to be true.</p>"
    rows = [(one.name, f"{one.search_score:,.1f}", f"{one.mean:,.1f}", interval(one.difference)) for one in found]
    rows.append(("default", "", f"{np.mean(found[0].default_scores):,.1f}", ""))
    head = ("", "search score", f"mean on fresh seeds {', '.join(map(str, found[0].seeds))}", "minus default, 95 %")
    return f"<h2>On fresh seeds</h2>\n{rows_of(head, rows)}\n<p>{html.escape(verdict(found[0]))}</p>"


def table(trials: list[Trial], keys: list[str]) -> str:
    """All trials."""
    rows = [
        (
            str(t.number),
            ENDS.get(t.state, t.state),
            f"{t.agent_steps:,}",
            "" if math.isnan(t.score) else f"{t.score:,.1f}",
            *(f"{v:.4g}" if isinstance(v := t.values.get(key, ""), float) else str(v) for key in keys),
        )
        for t in trials
    ]
    return rows_of(("trial", "end", "agent steps", "score", *keys), rows)


def rows_of(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """A table in HTML."""
    lines = ["".join(f"<th>{html.escape(cell)}</th>" for cell in head)]
    lines += ["".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in rows]
    return '<div class="wide"><table>' + "".join(f"<tr>{line}</tr>" for line in lines) + "</table></div>"
