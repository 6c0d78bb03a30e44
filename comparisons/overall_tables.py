"""What a comparison says over several games, as lines of Markdown, as rows of overall.csv, and as a figure.

Overall -> verdicts, aggregate scores, a row for each game, chances of improvement, what was left out
        -> performance profile of each arm: the share of its seeds above each human-normalised score
"""

import math
from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.figure import Figure

from comparisons.overall import HUMANS, Aggregate, Estimate, Improvement, Overall
from comparisons.tables import join_cells
from evidence.curves import escape_math
from settings.mistakes import format_count
from verdicts.over_games import MEASURES, bootstrap_profile, compute_profile, has_intervals

# Seeds of each of five games -> how often a 95 % interval of the IQM holds the truth: benchmarks.verdicts --games 5
COVERAGE = {2: 0.63, 3: 0.77, 5: 0.88, 10: 0.92}
THRESHOLDS = 200  # of a performance profile
OVERALL_COLUMNS = ("protocol", "arm", "game", "measure", "value", "low", "high", "seeds")
WIDE = 5.0  # human-normalised scores above it are drawn on a logarithmic axis


def name_aggregate(aggregate: Aggregate) -> str:
    """Return what an aggregate is over: `3 games, protocol classic: breakout, pong, assault`."""
    games = format_count(len(aggregate.games), "game")
    return f"{games}, protocol {aggregate.protocol}: {', '.join(aggregate.games)}"


def list_overall(overall: Overall, figures: Sequence[str]) -> list[str]:
    """Return the part of compare.md on several games.

    Args:
        overall: the results.
        figures: the file of the performance profile of each aggregate.
    """
    lines = ["# Over several games", ""]
    for aggregate, figure in zip(overall.aggregates, figures, strict=True):
        lines += [f"## {name_aggregate(aggregate)}", ""]
        lines += [f"- {line}" for line in list_overall_verdicts(aggregate)]
        lines += ["", *explain_aggregate(aggregate), "", *list_measures(aggregate), "", *list_games(aggregate), ""]
        lines += [f"![performance profile]({figure})", ""]
    if overall.improvements:
        lines += ["## Which arm scores more", "", *list_chances(overall.improvements), "", EXPLAIN_CHANCES, ""]
    return [*lines, *(line for note in overall.notes for line in (note, ""))]


EXPLAIN_CHANCES = (
    "The chance that a seed of the one arm scores more than a seed of the other, mean over the games that both play. "
    "It compares seeds within a game only, and so needs no human score. A game under several protocols counts once."
)


def list_overall_verdicts(aggregate: Aggregate) -> list[str]:
    """Return the verdict on each pair of arms as a sentence; with one arm only, a sentence that there is no pair."""
    return [one.describe() for one in aggregate.verdicts] or ["One arm: there is nothing to compare it with."]


def explain_aggregate(aggregate: Aggregate) -> list[str]:
    """Return how the arms were compared, and how far the intervals can be trusted, in sentences."""
    pairs = max((verdict.num_pairs for verdict in aggregate.verdicts), default=0)
    sentence = f"Human-normalised scores: 0 is random play and 1 a human, both from {HUMANS}."
    if pairs:
        sentence += (
            " The verdict is by the IQM, the mean of the middle half of all seeds of all games; p is that of a "
            "permutation test within games"
        )
        sentence += f", after Holm's correction over {format_count(pairs, 'pair')}." if pairs > 1 else "."
    fewest = [number for arm in aggregate.scores if (number := aggregate.count_seeds(arm)[0]) > 1]
    if not fewest:
        return [sentence]
    seeds = max((number for number in COVERAGE if number <= min(fewest)), default=min(COVERAGE))
    return [
        sentence,
        "Intervals are stratified bootstrap intervals (Agarwal et al. 2021), which are too narrow with few seeds: of "
        f"{seeds} seeds of each of five games, an interval of the IQM that says 95 % holds the truth "
        f"{100 * COVERAGE[seeds]:.0f} % of the time. The verdict does not rest on it.",
    ]


def list_measures(aggregate: Aggregate) -> list[str]:
    """Return a table with a row for each arm: seeds of each game, and each measure with its interval."""
    header = ("arm", "seeds of each game", *(part for name in MEASURES for part in (name, "95 % interval")))
    lines = [join_cells(header), join_cells("---" for _ in header)]
    for arm, estimates in aggregate.estimates.items():
        low, high = aggregate.count_seeds(arm)
        cells = [part for one in estimates.values() for part in (f"{one.value:.2f}", format_interval(one))]
        lines.append(join_cells((arm, str(low) if low == high else f"{low} to {high}", *cells)))
    return lines


def format_interval(estimate: Estimate) -> str:
    """Return an interval as text, or why there is none."""
    return "one seed" if math.isnan(estimate.low) else f"{estimate.low:.2f} to {estimate.high:.2f}"


def list_games(aggregate: Aggregate) -> list[str]:
    """Return a table with a row for each game: the human-normalised score of each arm, mean over seeds."""
    header = ("human-normalised score", *aggregate.scores)
    lines = [join_cells(header), join_cells("---" for _ in header)]
    for index, game in enumerate(aggregate.games):
        lines.append(join_cells((game, *(f"{games[index].mean():.2f}" for games in aggregate.scores.values()))))
    return lines


def list_chances(improvements: list[Improvement]) -> list[str]:
    """Return a table with a row for each pair of arms: the chance that the one scores more than the other."""
    header = ("arm", "scores more than", "chance", "95 % interval", "games")
    rows = [
        (one.better, one.worse, f"{one.chance.value:.0%}", format_chances(one.chance), str(one.games))
        for one in improvements
    ]
    return [join_cells(row) for row in (header, ["---"] * len(header), *rows)]


def format_chances(chance: Estimate) -> str:
    """Return the interval of a chance as text, or why there is none."""
    return "one seed" if math.isnan(chance.low) else f"{chance.low:.0%} to {chance.high:.0%}"


def iterate_overall_rows(overall: Overall) -> Iterable[tuple[Any, ...]]:
    """Yield the rows of overall.csv, see OVERALL_COLUMNS: scores of each game, measures over all games, chances."""
    for aggregate in overall.aggregates:
        for arm, games in aggregate.scores.items():
            for game, scores in zip(aggregate.games, games, strict=True):
                yield aggregate.protocol, arm, game, "human_normalised", f"{scores.mean():.6g}", "", "", len(scores)
            seeds = "-".join(str(number) for number in dict.fromkeys(aggregate.count_seeds(arm)))
            for name, estimate in aggregate.estimates[arm].items():
                yield aggregate.protocol, arm, "", name.lower(), *format_estimate(estimate), seeds
    for one in overall.improvements:
        yield "", f"{one.better} over {one.worse}", "", "chance_of_improvement", *format_estimate(one.chance), ""


def format_estimate(estimate: Estimate) -> tuple[str, ...]:
    """Return the cells of a number and the ends of its interval; empty where there is no interval."""
    return tuple("" if math.isnan(value) else f"{value:.6g}" for value in estimate)


def draw_profiles(aggregate: Aggregate) -> Figure:
    """Draw the performance profile of each arm, with a band where every game has several seeds."""
    every = np.concatenate([game for games in aggregate.scores.values() for game in games])
    low, high = min(0.0, float(every.min())), max(1.0, float(every.max()))
    thresholds = np.linspace(low, high * 1.02, THRESHOLDS)
    figure, axes = plt.subplots(figsize=(9, 4), layout="constrained")
    if high > WIDE:
        thresholds = np.unique([*np.linspace(low, 1, THRESHOLDS // 2), *np.geomspace(1, high * 1.02, THRESHOLDS // 2)])
        axes.set_xscale("symlog", linthresh=1)
    for index, (arm, games) in enumerate(aggregate.scores.items()):
        profile = compute_profile(games, thresholds)
        axes.step(thresholds, profile, where="post", color=f"C{index}", linewidth=2, label=escape_math(arm))
        if has_intervals(games):
            ends = bootstrap_profile(games, thresholds)
            axes.fill_between(thresholds, *ends, step="post", color=f"C{index}", alpha=0.2, linewidth=0)
    axes.axvline(1, color="gray", linestyle="--", label="human")
    axes.set(
        xlabel="human-normalised score",
        ylabel="share of seeds that score more",
        xlim=(low, high * 1.02),
        ylim=(0, 1.02),
    )
    axes.legend(fontsize="small")
    return figure
