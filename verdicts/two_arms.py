"""Verdicts: whether one arm of a comparison is better than another, as far as their seeds can tell.

    scores of each arm's seeds -> Welch's t of each pair, on logarithms where scores are positive
    -> Holm's correction over all pairs -> `ppo better than a2c: 2.6 times, 95 % 1.9 to 3.6` or `cannot tell`

Scores of learning agents spread by a factor and not by a number of points, so the logarithm makes the spread of a good
arm and of a bad one alike, and the difference of two arms a ratio. benchmarks/verdicts.py simulates how often a verdict
is wrong and how often it misses a difference. Sources: Welch 1947; Holm 1979, "A Simple Sequentially Rejective Multiple
Test Procedure"; Colas et al. 2019, "A Hitchhiker's Guide to Statistical Comparisons of Reinforcement Learning
Algorithms" (https://arxiv.org/abs/1904.06979), which recommends Welch's t for few seeds.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

LEVEL = 0.05  # chance that any verdict on one game, or over all games, is wrong where no arm differs
POWER = 0.8  # chance that the stated number of seeds shows the stated difference
RATIO = 1.5  # the difference that a verdict says how many seeds would show, where scores are positive
MOST_SEEDS = 1000


@dataclass(frozen=True)
class Verdict:
    """The comparison of two arms; `better` is the one with the higher score, whether that is certain or not.

    Attributes:
        better, worse: names of the arms.
        seeds: of each of the two.
        is_ratio: whether the effect is the ratio of their geometric means, better / worse; else the difference of their
            means, better - worse.
        effect, low, high: with its 95 % interval, for this pair alone. NaN where an arm has fewer than two seeds.
        p: of Welch's t test, or of the paired one, after Holm's correction. NaN as above, and where the seeds of each
            arm have no spread.
        num_pairs: those of the comparison that have a p, over which p is corrected.
        is_paired: whether each seed was compared with the same seed of the other arm.
        seeds_needed: how many seeds each arm would need for a test that finds an effect of `shown` with the chance
            POWER; None where that cannot be said.
        shown: a ratio or a difference, as `effect`.
    """

    better: str
    worse: str
    seeds: tuple[int, int]
    is_ratio: bool
    effect: float
    low: float
    high: float
    p: float
    num_pairs: int
    is_paired: bool
    seeds_needed: int | None
    shown: float

    @property
    def is_certain(self) -> bool:
        """Whether the difference is more than chance would give."""
        return self.p < LEVEL

    def describe(self) -> str:
        """Return the verdict in a sentence."""
        form = format_ratio if self.is_ratio else (lambda value: f"{value:+,.4g}")
        unit = " times" if self.is_ratio else ""
        if min(self.seeds) < 2:
            return (
                f"{self.better} and {self.worse}: one seed says nothing about others; {form(self.effect)}{unit} here, "
                "give each at least 3 seeds"
            )
        if math.isnan(self.p):
            return f"{self.better} and {self.worse}: cannot tell, {form(self.effect)}{unit}: their seeds have no spread"
        found = f"{form(self.effect)}{unit}, 95 % {form(self.low)} to {form(self.high)}, p {format_p(self.p)}"
        found += f" of {self.num_pairs} pairs" if self.num_pairs > 1 else ""
        if self.is_certain:
            return f"{self.better} better than {self.worse}: {found}"
        return f"{self.better} and {self.worse}: cannot tell from {self._describe_seeds()} ({found}){self._advise()}"

    def _describe_seeds(self) -> str:
        first, second = self.seeds
        return f"{first} seeds" if first == second else f"{first} and {second} seeds"

    def _advise(self) -> str:
        if self.seeds_needed is None:
            return ""
        shown = f"{self.shown:,.3g} times" if self.is_ratio else f"a difference of {self.shown:,.3g}"
        if self.seeds_needed > min(self.seeds):
            more = (
                f"{self.seeds_needed - self.seeds[0]:,} more" if len(set(self.seeds)) == 1 else f"{self.seeds_needed:,}"
            )
            return f"; about {more} of each would show {shown}"
        return f"; {shown} would most likely have shown" if self.high < self.shown else "; a few more of each may tell"


def format_p(p: float) -> str:
    """Return a p value as text: `0.031`, `<0.001`; a p below 0.05, where a verdict turns, never as 0.05."""
    if p < 0.001:
        return "<0.001"
    texts = (f"{p:.{digits}g}" for digits in range(2, 17))
    return next((text for text in texts if (float(text) < 0.05) == (p < 0.05)), str(p))


def format_ratio(ratio: float) -> str:
    """Return a ratio as text: `2.60`, `0.0031`, `7.6e+07`."""
    return f"{ratio:.2f}" if 0.1 <= ratio < 1000 else f"{ratio:.2g}"


def compare_arms(
    scores: dict[str, list[float]], share_streams: Callable[[str, str], bool] = lambda first, second: False
) -> list[Verdict]:
    """Compare every arm with every other.

    Args:
        scores: name of each arm -> the score of each of its seeds, in the same order of seeds where streams are shared.
        share_streams: whether the runs of two arms with the same seed start from the same weights and games, so that
            the same seeds can be compared with each other.

    Returns:
        A verdict per pair, in the order of the arms; p values are corrected over all pairs that have one.
    """
    pairs = list(combinations(scores, 2))
    is_ratio = all(score > 0 for of_arm in scores.values() for score in of_arm)
    verdicts = []
    for first, second in pairs:
        a, b = (np.asarray(scores[name], float) for name in (first, second))
        paired = share_streams(first, second) and len(a) == len(b)
        verdicts.append(compare_pair(first, a, second, b, is_ratio, paired, len(pairs)))
    known = [index for index, verdict in enumerate(verdicts) if not math.isnan(verdict.p)]
    corrected = correct_holm([verdicts[index].p for index in known])
    for index, p in zip(known, corrected, strict=True):
        verdicts[index] = replace(verdicts[index], p=p)
    return [replace(verdict, num_pairs=len(known)) for verdict in verdicts]


def compare_pair(
    first: str, a: np.ndarray, second: str, b: np.ndarray, is_ratio: bool, is_paired: bool, num_pairs: int
) -> Verdict:
    """Compare two arms by themselves.

    Args:
        first, second: their names.
        a, b: float [S] and float [T], the score of each seed.
        is_ratio: whether to compare logarithms; all scores are then positive.
        is_paired: whether a[i] and b[i] come from the same random streams.
        num_pairs: how many pairs the comparison has: with the seeds that are needed, all of them have a p.
    """
    if is_ratio:
        a, b = np.log(a), np.log(b)
    if a.mean() < b.mean():
        first, a, second, b = second, b, first, a
    effect, low, high, p = t_paired(a, b) if is_paired else t_welch(a, b)
    needed, shown = None, math.nan
    if min(len(a), len(b)) >= 2:
        spread = (
            float(np.std(a - b, ddof=1) / math.sqrt(2)) if is_paired else math.sqrt((a.var(ddof=1) + b.var(ddof=1)) / 2)
        )
        shown = math.log(RATIO) if is_ratio else 2 * spread
        needed = count_needed_seeds(spread, shown, LEVEL / num_pairs, is_paired) if spread else None
    with np.errstate(over="ignore"):
        effect, low, high, shown = (float(np.exp(x)) if is_ratio else x for x in (effect, low, high, shown))
    seeds = (len(a), len(b))
    return Verdict(first, second, seeds, is_ratio, effect, low, high, p, num_pairs, is_paired, needed, shown)


def t_welch(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float, float]:
    """Return the difference of two means with Welch's t interval and p value, for two groups of unequal spread.

    Args:
        a, b: float [S], float [T], independent of each other.
        confidence: 0 to 1.

    Returns:
        mean(a) - mean(b), the lower and the upper end, p. The last three are NaN where a group has one value; p is NaN
        where neither group has any spread and the means differ.
    """
    a, b = np.asarray(a, float), np.asarray(b, float)
    effect = float(a.mean() - b.mean())
    if min(len(a), len(b)) < 2:
        return effect, math.nan, math.nan, math.nan
    of_a, of_b = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    if is_rounding(math.sqrt(of_a + of_b), a, b):
        return effect, effect, effect, math.nan if effect else 1.0
    freedom = (of_a + of_b) ** 2 / (of_a**2 / (len(a) - 1) + of_b**2 / (len(b) - 1))
    return _finish_t(effect, math.sqrt(of_a + of_b), freedom, confidence)


def t_paired(a: ArrayLike, b: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float, float]:
    """Return the mean difference of pairs with Student's t interval and p value; see `t_welch`.

    Args:
        a, b: float [S]; entry i of both comes from the same random streams.
        confidence: 0 to 1.
    """
    difference = np.asarray(a, float) - np.asarray(b, float)
    effect = float(difference.mean())
    if len(difference) < 2:
        return effect, math.nan, math.nan, math.nan
    error = float(difference.std(ddof=1)) / math.sqrt(len(difference))
    if is_rounding(error, np.asarray(a, float), np.asarray(b, float)):
        return effect, effect, effect, math.nan if effect else 1.0
    return _finish_t(effect, error, len(difference) - 1, confidence)


def is_rounding(error: float, a: np.ndarray, b: np.ndarray) -> bool:
    """Return whether a standard error is no more than rounding gives to values that do not differ at all."""
    return error <= 1e-12 * max(np.abs(a).max(), np.abs(b).max())


def _finish_t(effect: float, error: float, freedom: float, confidence: float) -> tuple[float, float, float, float]:
    half = float(stats.t.ppf(0.5 + confidence / 2, freedom)) * error
    return effect, effect - half, effect + half, float(2 * stats.t.sf(abs(effect) / error, freedom))


def correct_holm(values: list[float]) -> list[float]:
    """Return p values after Holm's correction: below LEVEL, the chance of any false alarm among them is at most LEVEL.

    Args:
        values: the p value of each test, in any order.
    """
    order = np.argsort(values)
    corrected, largest = [0.0] * len(values), 0.0
    for rank, index in enumerate(order):
        largest = max(largest, min(1.0, values[index] * (len(values) - rank)))
        corrected[index] = largest
    return corrected


def count_needed_seeds(spread: float, shown: float, level: float, is_paired: bool = False) -> int | None:
    """Return how many seeds each of two arms needs to show a difference with the chance POWER.

    Args:
        spread: the standard deviation over seeds, the same in both arms; of pairs that of their differences, / sqrt(2).
        shown: the difference of the means.
        level: of the two-sided t test.
        is_paired: whether the test is `t_paired`, which has half of the degrees of freedom.

    Returns:
        None where more than MOST_SEEDS are needed.
    """
    for seeds in range(2, MOST_SEEDS + 1):
        freedom = (seeds - 1) * (1 if is_paired else 2)
        shift = shown / (spread * math.sqrt(2 / seeds))
        limit = stats.t.ppf(1 - level / 2, freedom)
        power = stats.nct.sf(limit, freedom, shift)
        if power >= POWER or (math.isnan(power) and shift > limit):
            return seeds
    return None
