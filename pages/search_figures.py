"""Figures of a search, each as SVG: scores, curves, what seems to matter, what it cost.

Scores of trials that were stopped early are of less than the whole budget: they are drawn hollow, and nothing is
computed from them.
"""

import io
import math
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.ticker import MaxNLocator, NullFormatter

from run_directory.files import damaged_file, read_count, read_table
from run_directory.progress_table import NoRows, read_progress
from run_directory.searches import SCHEDULE_CSV, Trial, parse_value, select_complete, trial_path

LOGARITHMIC = ("loguniform", "one_minus_loguniform")


def svg_of(figure: Any) -> str:
    """A figure as SVG, to stand in HTML; the same figure gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "search", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def scatter(axes: Any, xs: list, trials: list[Trial]) -> None:
    """Scores: filled where the trial is complete, hollow where it was stopped early."""
    for x, trial in zip(xs, trials, strict=True):
        face = "C0" if trial.state == "COMPLETE" else "none"
        axes.plot(x, trial.score, "o", markerfacecolor=face, markeredgecolor="C0" if face == "C0" else "0.6")


def history(trials: list[Trial]) -> str:
    """Score over number, and the best so far."""
    figure, axes = plt.subplots(figsize=(9, 3.5))
    scatter(axes, [t.number for t in trials], trials)
    best, line = -math.inf, []
    for trial in select_complete(trials):
        best = max(best, trial.score)
        line.append((trial.number, best))
    if line:
        axes.step(*zip(*line, strict=True), where="post", color="C1", label="best so far")
        axes.legend()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="score")
    return svg_of(figure)


def curves(folder: Path, trials: list[Trial]) -> str:
    """Score over agent steps, of every trial."""
    figure, axes = plt.subplots(figsize=(9, 4))
    whole = select_complete(trials)
    best = max(whole, key=lambda t: t.score).number if whole else None
    for trial in trials:
        try:
            rows = read_progress(trial_path(folder, trial.number), ("agent_steps", "episode_return_mean"))
        except NoRows:
            continue  # it has not reported anything
        style = {"color": "C1", "lw": 2, "zorder": 3} if trial.number == best else {"color": "C0", "lw": 0.8}
        style = style if trial.state == "COMPLETE" else {"color": "0.7", "lw": 0.8}
        label = f"trial {trial.number}, the best" if trial.number == best else None
        axes.plot(rows["agent_steps"], rows["episode_return_mean"], label=label, **style)
    if best is not None:
        axes.legend()
    axes.set(xlabel="agent steps", ylabel="mean of the last 100 full games")
    return svg_of(figure)


def importance(trials: list[Trial], space: dict[str, str]) -> str:
    """PED-ANOVA (Watanabe et al. 2023) over complete trials; nothing where there are fewer than four."""
    whole = [t for t in select_complete(trials) if t.values.keys() == space.keys()]
    if len(whole) < 4 or len({t.score for t in whole}) < 2:
        return ""
    varied = [key for key in space if len({t.values[key] for t in whole}) > 1]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    distributions = {key: distribution(key, space[key], whole) for key in varied}
    for t in whole:
        params = {key: position(t.values[key], space[key]) for key in varied}
        study.add_trial(optuna.create_trial(params=params, distributions=distributions, value=t.score))
    shares = optuna.importance.get_param_importances(
        study, evaluator=optuna.importance.PedAnovaImportanceEvaluator(evaluate_on_local=True)
    )
    figure, axes = plt.subplots(figsize=(9, 0.4 * len(shares) + 1))
    axes.barh(list(shares)[::-1], list(shares.values())[::-1])
    axes.set(xlabel=f"share, by PED-ANOVA over {len(whole)} complete trials")
    return svg_of(figure)


def distribution(key: str, kind: str, trials: list[Trial]) -> optuna.distributions.BaseDistribution:
    """What a setting was drawn from, as far as the trials show it."""
    values = [position(t.values[key], kind) for t in trials]
    if kind == "choice":
        return optuna.distributions.CategoricalDistribution(ordered(values))
    return optuna.distributions.FloatDistribution(min(values), max(values), log=kind in LOGARITHMIC)


def position(value: Any, kind: str) -> Any:
    """What was drawn evenly: 1 - gamma for gamma."""
    return 1 - value if kind == "one_minus_loguniform" else value


def drawn(key: str, kind: str) -> str:
    """Its name, of `position`."""
    return f"1 - {key}" if kind == "one_minus_loguniform" else key


def ordered(values: list) -> list:
    """Each choice once, numbers by size and then words."""
    return sorted(set(values), key=lambda v: (isinstance(v, str), v))


def panels(space: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """A figure, and axes for each setting."""
    rows = math.ceil(len(space) / 3)
    figure, grid = plt.subplots(rows, 3, figsize=(9, 2.8 * rows), squeeze=False)
    for axes in grid.flat[len(space) :]:
        axes.set_axis_off()
    return figure, dict(zip(space, grid.flat, strict=False))


def slices(trials: list[Trial], space: dict[str, str]) -> str:
    """Score over each setting."""
    figure, grid = panels(space)
    for key, axes in grid.items():
        kind = space[key]
        shown = [t for t in trials if key in t.values]
        values = [position(t.values[key], kind) for t in shown]
        if kind == "choice":
            order = ordered(values)
            axes.set_xticks(range(len(order)), [f"{v:g}" if isinstance(v, float) else str(v) for v in order])
            values = [order.index(v) for v in values]
        scatter(axes, values, shown)
        if kind in LOGARITHMIC:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=drawn(key, kind))
    figure.tight_layout()
    return svg_of(figure)


def parallel(trials: list[Trial], space: dict[str, str]) -> str:
    """A line per complete trial through all its settings, from the lowest to the highest value tried."""
    whole = [t for t in select_complete(trials) if t.values.keys() == space.keys()]
    if len(whole) < 2:
        return ""
    scores = np.array([t.score for t in whole])
    spread = scores.max() - scores.min() or 1.0
    figure, axes = plt.subplots(figsize=(9, 4))
    heights = {key: placed([position(t.values[key], kind) for t in whole], kind) for key, kind in space.items()}
    for i in np.argsort(scores):
        share = (scores[i] - scores.min()) / spread
        axes.plot([*(heights[key][i] for key in space), share], color=plt.get_cmap("viridis")(share), lw=1.5)
    axes.set_xticks(range(len(space) + 1), [*map(drawn, space, space.values()), "score"], rotation=30, ha="right")
    axes.set_yticks([0, 1], ["lowest", "highest"])
    return svg_of(figure)


def schedule(folder: Path, trials: list[Trial], space: dict[str, str]) -> str:
    """Each setting of a population over agent steps; in colour, what the best trial was trained with."""
    steps = read_schedule(folder, list(space))
    end = max(trial.agent_steps for trial in trials)
    whole = select_complete(trials)
    best = lineage(steps, max(whole, key=lambda t: t.score).number, end) if whole else []
    every = [stretch for trial in trials for stretch in stretches(steps, trial.number, end)]
    figure, grid = panels(space)
    for key, axes in grid.items():
        order = ordered([parse_value(row[key]) for row in steps])
        if space[key] == "choice":
            axes.set_yticks(range(len(order)), [f"{v:g}" if isinstance(v, float) else v or "null" for v in order])
        for those, style in ((every, {"color": "0.7", "lw": 0.8}), (best, {"color": "C1", "lw": 2})):
            for start, stop, row in those:
                value = parse_value(row[key])
                y = order.index(value) if space[key] == "choice" else position(value, space[key])
                axes.plot([start, stop], [y, y], **style)
        if space[key] in LOGARITHMIC:
            axes.set_yscale("log")
        axes.set(xlabel="agent steps", ylabel=drawn(key, space[key]))
    figure.tight_layout()
    return svg_of(figure)


def read_schedule(folder: Path, keys: list[str]) -> list[dict[str, Any]]:
    """All rows of schedule.csv.

    Raises:
        Mistake: it is damaged.
    """
    path = folder / SCHEDULE_CSV
    steps = read_table(
        path, {"agent_steps": read_count, "trial": read_count}, required=("agent_steps", "trial", "donor", *keys)
    )
    known = {str(row["trial"]) for row in steps}
    for line, row in enumerate(steps, 2):
        if row["donor"] and row["donor"] not in known:
            raise damaged_file(path, f"line {line}, column donor: {row['donor']!r:.80} is no trial")
    return steps


def stretches(steps: list[dict[str, str]], trial: int, end: int) -> list[tuple[int, int, dict[str, str]]]:
    """Start, end and row of schedule.csv for all that a trial was given until `end`."""
    own = [(int(row["agent_steps"]), row) for row in steps if int(row["trial"]) == trial]
    own = [(start, row) for start, row in own if start < end]
    ends = [start for start, _ in own[1:]] + [end]
    return [(start, stop, row) for (start, row), stop in zip(own, ends, strict=False)]


def lineage(steps: list[dict[str, str]], trial: int, end: int) -> list[tuple[int, int, dict[str, str]]]:
    """The same for the weights that a trial ends with, donor before donor."""
    newest = stretches(steps, trial, end)[-1]
    donor = newest[2]["donor"]
    return [*(lineage(steps, int(donor), newest[0]) if donor else []), newest]


def placed(values: list, kind: str) -> np.ndarray:
    """Values from 0 to 1, evenly over what they were drawn evenly over."""
    if kind == "choice":
        order = ordered(values)
        numbers = np.array([order.index(v) for v in values], float)
    else:
        numbers = np.log(values) if kind in LOGARITHMIC else np.array(values, float)
    low, high = numbers.min(), numbers.max()
    return (numbers - low) / (high - low) if high > low else np.full(len(numbers), 0.5)


def cost(folder: Path, trials: list[Trial]) -> str:
    """Score over the time a trial took."""
    shown, seconds = [], []
    for trial in trials:
        try:
            rows = read_progress(trial_path(folder, trial.number), ("wall_time_s",))
        except NoRows:
            continue  # it has not reported anything
        shown.append(trial)
        seconds.append(float(rows["wall_time_s"].max()))
    figure, axes = plt.subplots(figsize=(9, 3.5))
    scatter(axes, seconds, shown)
    axes.set(xlabel="training time, s", ylabel="score")
    return svg_of(figure)
