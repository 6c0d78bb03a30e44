"""The figures on the page of a search, each as SVG: scores, curves, settings that seem to matter, and cost.

A trial that was stopped early has a score from less than the whole budget. Its mark is hollow, and it is left out of
all computations.
"""

import io
import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
import optuna
from matplotlib.ticker import MaxNLocator, NullFormatter

from evidence.curves import SCORE
from run_directory.files import explain_damage, read_count, read_table
from run_directory.progress_table import NoRows, read_progress
from run_directory.searches import SCHEDULE_CSV, Trial, parse_value, select_complete_trials, trial_path

LOGARITHMIC = ("loguniform", "one_minus_loguniform")


def export_svg(figure: Any) -> str:
    """Return a figure as SVG for an HTML page; the same figure gives the same text."""
    text = io.StringIO()
    with matplotlib.rc_context({"svg.hashsalt": "search", "svg.fonttype": "none"}):
        figure.savefig(text, format="svg", metadata={"Date": None}, bbox_inches="tight")
    plt.close(figure)
    return text.getvalue()[text.getvalue().index("<svg") :]


def plot_scores(axes: Any, xs: list, trials: list[Trial]) -> None:
    """Plot the score of each trial: a filled mark for a complete trial, a hollow one for a trial stopped early."""
    for x, trial in zip(xs, trials, strict=True):
        face = "C0" if trial.state == "COMPLETE" else "none"
        axes.plot(x, trial.score, "o", markerfacecolor=face, markeredgecolor="C0" if face == "C0" else "0.6")


def draw_scores(trials: list[Trial]) -> str:
    """Draw the score of each trial over its number, and the best score so far."""
    figure, axes = plt.subplots(figsize=(9, 3.5))
    plot_scores(axes, [t.number for t in trials], trials)
    if complete := select_complete_trials(trials):
        best = np.maximum.accumulate([trial.score for trial in complete])
        axes.step([trial.number for trial in complete], best, where="post", color="C1", label="best so far")
        axes.legend()
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set(xlabel="trial", ylabel="score")
    return export_svg(figure)


def read_seeds(folder: Path, trial: Trial, columns: tuple[str, ...]) -> list[dict[str, np.ndarray]]:
    """Return columns of progress.csv of each seed of a trial that has reported something."""
    found, path = [], trial_path(folder, trial.number)
    for run in sorted(path.glob("seed_*")) or [path]:
        with suppress(NoRows):
            found.append(read_progress(run, columns))
    return found


def draw_curves(folder: Path, trials: list[Trial]) -> str:
    """Draw the score of each seed of each trial over agent steps."""
    figure, axes = plt.subplots(figsize=(9, 4))
    complete = select_complete_trials(trials)
    best = max(complete, key=lambda t: t.score).number if complete else None
    for trial in trials:
        style = {"color": "C1", "lw": 2, "zorder": 3} if trial.number == best else {"color": "C0", "lw": 0.8}
        style = style if trial.state == "COMPLETE" else {"color": "0.7", "lw": 0.8}
        label = f"trial {trial.number}, the best" if trial.number == best else None
        for rows in read_seeds(folder, trial, ("agent_steps", SCORE)):
            axes.plot(rows["agent_steps"], rows[SCORE], label=label, **style)
            label = None
    if axes.get_legend_handles_labels()[0]:  # the rows of the best trial may be gone
        axes.legend()
    axes.set(xlabel="agent steps", ylabel="mean of the last 100 full games")
    return export_svg(figure)


def draw_importance(trials: list[Trial], space: dict[str, str]) -> str:
    """Draw the importance of each setting, PED-ANOVA (Watanabe et al. 2023) over complete trials; an empty text if they
    are fewer than four, or all have the same score."""
    complete = select_complete_trials(trials)
    if len(complete) < 4 or len({t.score for t in complete}) < 2:
        return ""
    varying = [key for key in space if len({t.values[key] for t in complete if key in t.values}) > 1]
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(direction="maximize")
    ranges = {key: estimate_distribution(key, space[key], complete) for key in varying}
    for t in complete:
        params = {key: compute_axis_value(t.values[key], space[key]) for key in varying if key in t.values}
        study.add_trial(optuna.create_trial(params=params, distributions={k: ranges[k] for k in params}, value=t.score))
    best = max(0.1, min(0.5, 5 / len(complete)))  # share of the trials whose values are compared with those of all
    evaluator = optuna.importance.PedAnovaImportanceEvaluator(target_quantile=best, evaluate_on_local=True)
    shares = optuna.importance.get_param_importances(study, evaluator=evaluator)
    figure, axes = plt.subplots(figsize=(9, 0.4 * len(shares) + 1))
    axes.barh(list(shares)[::-1], list(shares.values())[::-1])
    axes.set(xlabel=f"share, by PED-ANOVA over {len(complete)} complete trials")
    return export_svg(figure)


def estimate_distribution(key: str, kind: str, trials: list[Trial]) -> optuna.distributions.BaseDistribution:
    """Return the distribution of a setting, with the range or choices that occur in the trials."""
    values = [compute_axis_value(t.values[key], kind) for t in trials if key in t.values]
    if kind == "choice":
        return optuna.distributions.CategoricalDistribution(sort_choices(values))
    return optuna.distributions.FloatDistribution(min(values), max(values), log=kind in LOGARITHMIC)


def compute_axis_value(value: Any, kind: str) -> Any:
    """Return the number that the search samples and an axis shows: 1 - gamma for gamma, else the value itself."""
    return 1 - value if kind == "one_minus_loguniform" else value


def make_axis_label(key: str, kind: str) -> str:
    """Return the label of the axis on which `compute_axis_value` is shown."""
    return f"1 - {key}" if kind == "one_minus_loguniform" else key


def sort_choices(values: list) -> list:
    """Return each choice once: first numbers by size, then words."""
    return sorted(set(values), key=lambda v: (isinstance(v, str), v))


def make_panels(space: dict[str, str]) -> tuple[Any, dict[str, Any]]:
    """Return a figure with axes for each setting of the space."""
    rows = math.ceil(len(space) / 3)
    figure, grid = plt.subplots(rows, 3, figsize=(9, 2.8 * rows), squeeze=False)
    for axes in grid.flat[len(space) :]:
        axes.set_axis_off()
    return figure, dict(zip(space, grid.flat, strict=False))


def draw_slices(trials: list[Trial], space: dict[str, str]) -> str:
    """Draw the scores over each setting."""
    figure, grid = make_panels(space)
    for key, axes in grid.items():
        kind = space[key]
        sampled = [t for t in trials if key in t.values]
        values = [compute_axis_value(t.values[key], kind) for t in sampled]
        if kind == "choice":
            order = sort_choices(values)
            axes.set_xticks(range(len(order)), [f"{v:g}" if isinstance(v, float) else str(v) for v in order])
            values = [order.index(v) for v in values]
        plot_scores(axes, values, sampled)
        if kind in LOGARITHMIC:
            axes.set_xscale("log")
            axes.xaxis.set_minor_formatter(NullFormatter())
        axes.set(xlabel=make_axis_label(key, kind))
    figure.tight_layout()
    return export_svg(figure)


def draw_parallel(trials: list[Trial], space: dict[str, str]) -> str:
    """Draw a line for each complete trial through the settings that all have, each from its least to its highest value;
    an empty text if they are fewer than two."""
    complete = select_complete_trials(trials)
    if len(complete) < 2:
        return ""
    space = {key: kind for key, kind in space.items() if all(key in t.values for t in complete)}
    scores = np.array([t.score for t in complete])
    shares = (scores - scores.min()) / (scores.max() - scores.min() or 1.0)
    heights = []
    for key, kind in space.items():
        heights.append(scale_values([compute_axis_value(t.values[key], kind) for t in complete], kind))
    figure, axes = plt.subplots(figsize=(9, 4))
    for i in np.argsort(scores):
        axes.plot([*(of_key[i] for of_key in heights), shares[i]], color=plt.get_cmap("viridis")(shares[i]), lw=1.5)
    names = [*map(make_axis_label, space, space.values()), "score"]
    axes.set_xticks(range(len(names)), names, rotation=30, ha="right")
    axes.set_yticks([0, 1], ["lowest", "highest"])
    return export_svg(figure)


def draw_schedule(folder: Path, trials: list[Trial], space: dict[str, str]) -> str:
    """Draw each setting of a population over agent steps; orange marks the history of the best trial's weights."""
    steps = read_schedule(folder, list(space))
    end = max(trial.agent_steps for trial in trials)
    complete = select_complete_trials(trials)
    best = trace_weights(steps, max(complete, key=lambda t: t.score).number, end) if complete else []
    everything = [phase for trial in trials for phase in list_phases(steps, trial.number, end)]
    figure, grid = make_panels(space)
    for key, axes in grid.items():
        order = sort_choices([parse_value(row[key]) for row in steps])
        if space[key] == "choice":
            axes.set_yticks(range(len(order)), [f"{v:g}" if isinstance(v, float) else v or "null" for v in order])
        for phases, style in ((everything, {"color": "0.7", "lw": 0.8}), (best, {"color": "C1", "lw": 2})):
            for start, stop, row in phases:
                value = parse_value(row[key])
                y = order.index(value) if space[key] == "choice" else compute_axis_value(value, space[key])
                axes.plot([start, stop], [y, y], **style)
        if space[key] in LOGARITHMIC:
            axes.set_yscale("log")
        axes.set(xlabel="agent steps", ylabel=make_axis_label(key, space[key]))
    figure.tight_layout()
    return export_svg(figure)


def read_schedule(folder: Path, keys: list[str]) -> list[dict[str, Any]]:
    """Return the rows of schedule.csv.

    Raises:
        Mistake: the file is damaged.
    """
    path = folder / SCHEDULE_CSV
    steps = read_table(
        path, {"agent_steps": read_count, "trial": read_count}, required=("agent_steps", "trial", "donor", *keys)
    )
    known = {str(row["trial"]) for row in steps}
    for line, row in enumerate(steps, 2):
        if row["donor"] and row["donor"] not in known:
            raise explain_damage(path, f"line {line}, column donor: {row['donor']!r:.80} is no trial")
    return steps


def list_phases(steps: list[dict[str, str]], trial: int, end: int) -> list[tuple[int, int, dict[str, str]]]:
    """Return the phases of a trial, in which its settings stay the same.

    Args:
        steps: the rows of schedule.csv.
        trial: the number of the trial.
        end: the agent step at which the last phase ends.

    Returns:
        For each phase its first and last agent step and its row of schedule.csv.
    """
    own = [(start, row) for row in steps if int(row["trial"]) == trial and (start := int(row["agent_steps"])) < end]
    ends = [start for start, _ in own[1:]] + [end]
    return [(start, stop, row) for (start, row), stop in zip(own, ends, strict=False)]


def trace_weights(steps: list[dict[str, str]], trial: int, end: int) -> list[tuple[int, int, dict[str, str]]]:
    """Return the phases in which the final weights of a trial were trained.

    Weights are copied from a donor, so the first phases may belong to other trials. For arguments see `list_phases`.
    """
    newest = list_phases(steps, trial, end)[-1]
    donor = newest[2]["donor"]
    return [*(trace_weights(steps, int(donor), newest[0]) if donor else []), newest]


def scale_values(values: list, kind: str) -> np.ndarray:
    """Return values as heights from 0 (lowest) to 1 (highest), logarithmic for logarithmic ranges."""
    if kind == "choice":
        order = sort_choices(values)
        numbers = np.array([order.index(v) for v in values], float)
    else:
        numbers = np.log(values) if kind in LOGARITHMIC else np.array(values, float)
    low, high = numbers.min(), numbers.max()
    return (numbers - low) / (high - low) if high > low else np.full(len(numbers), 0.5)


def draw_cost(folder: Path, trials: list[Trial]) -> str:
    """Draw the scores over the training time of each trial, of all its seeds together."""
    started, seconds = [], []
    for trial in trials:
        if seeds := read_seeds(folder, trial, ("wall_time_s",)):
            started.append(trial)
            seconds.append(sum(float(rows["wall_time_s"].max()) for rows in seeds))
    figure, axes = plt.subplots(figsize=(9, 3.5))
    plot_scores(axes, seconds, started)
    axes.set(xlabel="training time, s", ylabel="score")
    return export_svg(figure)
