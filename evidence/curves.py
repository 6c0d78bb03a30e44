"""Curves of runs side by side: the score above, losses, entropy and speed below."""

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

POINTS = 200  # of a curve
SCORE = "episode_return_mean"
SMALL = {  # columns of progress.csv below the score, as far as a run has them
    "policy_loss": "policy loss",
    "value_loss": "value loss",
    "entropy": "entropy",
    "agent_steps_per_s": "agent steps/s",
}
SQUASHED = 0.4  # a line of reference that leaves the curves a smaller share of the axes than this is not drawn

Curve = tuple[np.ndarray, np.ndarray]  # agent steps [P], values [P]


class Line(NamedTuple):
    """A score to compare with, such as random play."""

    name: str
    score: float
    style: str


def thin(rows: int) -> np.ndarray:
    """Return which of the rows are shown: int [at most POINTS], evenly spaced, with the first and the last."""
    return np.unique(np.linspace(0, rows - 1, min(POINTS, rows)).round().astype(int))


def curve_of(progress: dict[str, np.ndarray], column: str = SCORE) -> Curve:
    """Return agent steps and values of the rows that have one; of the score that is from the first finished game on."""
    known = np.flatnonzero(np.isfinite(progress[column]))
    rows = known[thin(len(known))]
    return progress["agent_steps"][rows], progress[column][rows]


def mean_curve(curves: Sequence[Curve]) -> Curve:
    """Return the mean over seeds where all of them have a value."""
    start, end = max(x[0] for x, _ in curves), min(x[-1] for x, _ in curves)
    grid = np.linspace(start, end, POINTS if start <= end else 0)
    return grid, np.mean([np.interp(grid, x, y) for x, y in curves], axis=0)


def draw(title: str, groups: dict[str, list[dict[str, np.ndarray]]], lines: list[Line], path: Path) -> None:
    """Draw the curves of labelled groups of seeds: each seed thin, the mean of a group thick.

    Args:
        title: above the score.
        groups: label -> progress of each seed: float [R] by column, `agent_steps`, the score and any of SMALL.
        lines: scores to compare with. One that would squash the curves is named in the legend and not drawn.
        path: of the PNG file.
    """
    figure = plt.figure(figsize=(8, 8), layout="constrained")
    score, *small = figure.subplot_mosaic([[0, 0], [1, 2], [3, 4]], height_ratios=(4.5, 1.75, 1.75)).values()
    draw_groups(score, groups, SCORE)
    draw_lines(score, lines)
    score.set(title=title, xlabel="agent steps", ylabel="mean score of the last 100 full games")
    score.legend(fontsize="small")
    for axes, (column, name) in zip(small, SMALL.items(), strict=True):
        draw_groups(axes, groups, column)
        axes.set_title(name, fontsize="small")
        axes.tick_params(labelsize="small")
        if not axes.lines:
            axes.text(0.5, 0.5, "not reported", ha="center", va="center", transform=axes.transAxes, color="gray")
    for axes in figure.axes:
        axes.xaxis.set_major_formatter(lambda x, _: readable(x))
    figure.savefig(path, dpi=120, metadata={"Software": None})
    plt.close(figure)


def draw_groups(axes: Axes, groups: dict[str, list[dict[str, np.ndarray]]], column: str) -> None:
    """Draw one column of all groups."""
    for index, (label, runs) in enumerate(groups.items()):
        curves = [curve for run in runs if column in run and len((curve := curve_of(run, column))[0])]
        for x, y in curves:
            axes.plot(x, y, color=f"C{index}", linewidth=0.8, alpha=0.5)
        if curves:
            seeds = f", mean of {len(curves)} seeds" if len(curves) > 1 else ""
            axes.plot(
                *mean_curve(curves), color=f"C{index}", linewidth=2 if column == SCORE else 1.2, label=label + seeds
            )


def draw_lines(axes: Axes, lines: list[Line]) -> None:
    """Draw scores to compare with, as far as the curves keep a fair share of the axes; the others are only named."""
    values = np.concatenate([np.asarray(line.get_ydata(), float) for line in axes.lines] or [np.zeros(0)])
    low, high = (values.min(), values.max()) if len(values) else (-np.inf, np.inf)
    drawn = lines_with_room(lines, low, high)
    for line in lines:
        if line in drawn:
            axes.axhline(line.score, color="gray", linestyle=line.style, label=line.name)
        else:
            axes.plot(
                [], [], color="none", label=f"{line.name}: {'above' if line.score > high else 'below'} what is shown"
            )


def lines_with_room(lines: list[Line], low: float, high: float) -> list[Line]:
    """Return the lines, nearest first, that can be drawn beside curves from `low` to `high` without squashing them."""
    drawn: list[Line] = []
    for line in sorted(lines, key=lambda line: max(line.score - high, low - line.score)):
        scores = [low, high, line.score, *(one.score for one in drawn)]
        if high == low or high - low >= SQUASHED * (max(scores) - min(scores)):
            drawn.append(line)
    return drawn


def readable(agent_steps: float) -> str:
    """Write agent steps as an axis has room for them: `2.5M`, `200k`, `750`."""
    for unit, sign in ((1_000_000, "M"), (1_000, "k")):
        if abs(agent_steps) >= unit:
            return f"{agent_steps / unit:g}{sign}"
    return f"{agent_steps:g}"
