"""Learning curves of several runs in one figure: the score above; losses, entropy and speed below."""

import io
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from run_directory.writing import write_file

POINTS = 200  # of one curve, at most
SCORE = "episode_return_mean"
SMALL_CURVES = {  # column of progress.csv -> title of the small figure below the score
    "policy_loss": "policy loss",
    "value_loss": "value loss",
    "entropy": "entropy",
    "agent_steps_per_s": "agent steps/s",
}
EVALUATION = ("evaluation_agent_steps", "evaluation_mean")  # columns of runs with evaluate_every
MIN_SHARE = 0.4  # of the height of the axes that the curves keep; a reference line that leaves less is not drawn

Curve = tuple[np.ndarray, np.ndarray]  # agent steps [P], values [P]


class ReferenceLine(NamedTuple):
    """A score to compare the curves with, such as random play."""

    name: str
    score: float
    style: str


def choose_rows(rows: int) -> np.ndarray:
    """Return the numbers of the rows to draw: int [at most POINTS], evenly spaced, with the first and the last row."""
    return np.unique(np.linspace(0, rows - 1, min(POINTS, rows)).round().astype(int))


def extract_curve(progress: dict[str, np.ndarray], column: str = SCORE, axis: str = "agent_steps") -> Curve:
    """Return `axis` and values of a column; rows without a value, such as before the first game, are left out."""
    known = np.flatnonzero(np.isfinite(progress[column]))
    rows = known[choose_rows(len(known))]
    return progress[axis][rows], progress[column][rows]


def average_curves(curves: Sequence[Curve]) -> Curve:
    """Return the mean over seeds, from the first to the last agent step at which all seeds have a value."""
    start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.linspace(start, end, POINTS if start <= end else 0)
    return grid, np.mean([np.interp(grid, x, y) for x, y in curves], axis=0)


def draw_curves(
    title: str, groups: dict[str, list[dict[str, np.ndarray]]], lines: list[ReferenceLine], path: Path
) -> None:
    """Draw the curves of groups of seeds: a thin line for each seed, a thick line for the mean of a group.

    Args:
        title: the title of the figure.
        groups: label -> the progress table of each seed, float [R] by column: `agent_steps`, the score, and any of
            SMALL_CURVES.
        lines: scores to compare with. A line that would leave the curves too little room is named in the legend only.
        path: where the PNG file is written.
    """
    figure = plt.figure(figsize=(8, 8), layout="constrained")
    score, *small_axes = figure.subplot_mosaic([[0, 0], [1, 2], [3, 4]], height_ratios=(4.5, 1.75, 1.75)).values()
    draw_groups(score, groups, SCORE)
    draw_reference_lines(score, lines)
    score.set(title=escape_math(title), xlabel="agent steps", ylabel="mean score of the last 100 full games")
    score.legend(fontsize="small")
    for axes, (column, name) in zip(small_axes, SMALL_CURVES.items(), strict=True):
        draw_groups(axes, groups, column)
        axes.set_title(name, fontsize="small")
        axes.tick_params(labelsize="small")
        if not axes.lines:
            axes.text(0.5, 0.5, "not reported", ha="center", va="center", transform=axes.transAxes, color="gray")
    for axes in figure.axes:
        axes.xaxis.set_major_formatter(lambda x, _: shorten_number(x))
    save_figure(figure, path)


def save_figure(figure: Figure, path: Path, dpi: int = 120) -> None:
    """Write a figure as a PNG file in one piece, and close it."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=dpi, metadata={"Software": None})
    plt.close(figure)
    write_file(path, picture.getvalue())


def draw_scores(groups: dict[str, list[dict[str, np.ndarray]]], lines: list[ReferenceLine], axis: str) -> Figure:
    """Return a figure of the scores alone, over `agent_steps` or `wall_time_s`; see `draw_curves`."""
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    draw_groups(axes, groups, SCORE, axis)
    draw_reference_lines(axes, lines)
    name = "agent steps" if axis == "agent_steps" else "hours of training"
    axes.set(xlabel=name, ylabel="mean score of the last 100 full games")
    axes.xaxis.set_major_formatter(lambda x, _: shorten_number(x) if axis == "agent_steps" else f"{x / 3600:.3g}")
    axes.legend(fontsize="small")
    return figure


def escape_math(text: str) -> str:
    """Return a text that matplotlib draws as it is: it would read what stands between two `$` as mathematics, and leave
    what begins with `_` out of a legend."""
    return (" " if text.startswith("_") else "") + text.replace("$", r"\$")


def draw_groups(
    axes: Axes, groups: dict[str, list[dict[str, np.ndarray]]], column: str, axis: str = "agent_steps"
) -> None:
    """Draw one column of progress.csv for all groups; beside the score, the evaluations where the runs have any."""
    for index, (label, runs) in enumerate(groups.items()):
        curves = [curve for run in runs if column in run and len((curve := extract_curve(run, column, axis))[0])]
        for x, y in curves:
            axes.plot(x, y, color=f"C{index}", linewidth=0.8, alpha=0.5)
        if curves:
            mean = average_curves(curves)
            name = f"{label}, mean of {len(curves)} seeds" if len(curves) > 1 else label
            if not len(mean[0]):
                name = f"{label}, {len(curves)} seeds: no part in common"
            axes.plot(*mean, color=f"C{index}", linewidth=2 if column == SCORE else 1.2, label=escape_math(name))
        if column == SCORE and axis == "agent_steps":
            dots = [extract_curve(run, EVALUATION[1], EVALUATION[0]) for run in runs if EVALUATION[1] in run]
            name = escape_math(f"{label}, evaluations")
            for number, (x, y) in enumerate(dot for dot in dots if len(dot[0])):
                axes.plot(x, y, "o", color=f"C{index}", markersize=3, label=None if number else name)


def draw_reference_lines(axes: Axes, lines: list[ReferenceLine]) -> None:
    """Draw the reference lines that leave the curves enough room; the legend names the others."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.zeros(0)])
    low, high = (values.min(), values.max()) if len(values) else (-np.inf, np.inf)
    visible = select_reference_lines(lines, low, high)
    for line in lines:
        if line in visible:
            axes.axhline(line.score, color="gray", linestyle=line.style, label=line.name)
        else:
            where = "above" if line.score > high else "below"
            axes.plot([], [], color="none", label=f"{line.name}: {where} what is shown")


def select_reference_lines(lines: list[ReferenceLine], low: float, high: float) -> list[ReferenceLine]:
    """Return the lines, nearest first, beside which curves from `low` to `high` keep MIN_SHARE of the axes."""
    visible: list[ReferenceLine] = []
    for line in sorted(lines, key=lambda line: max(line.score - high, low - line.score)):
        scores = [low, high, line.score, *(one.score for one in visible)]
        if high == low or high - low >= MIN_SHARE * (max(scores) - min(scores)):
            visible.append(line)
    return visible


def shorten_number(agent_steps: float) -> str:
    """Return a number of agent steps as text that fits an axis: `2.5M`, `200k`, `750`."""
    for unit, sign in ((1_000_000, "M"), (1_000, "k")):
        if abs(agent_steps) >= unit:
            return f"{agent_steps / unit:g}{sign}"
    return f"{agent_steps:g}"
