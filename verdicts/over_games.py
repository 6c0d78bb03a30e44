"""Statistics over several games: what an arm reaches on all of them, and which of two arms is better there.

    scores by game and seed -> mean, median and IQM over games, each with a stratified bootstrap interval
                            -> two arms: difference of their IQMs, stratified permutation test, Holm -> Verdict
                            -> two arms: probability that the one scores more; one arm: share of runs above a score

The measures are those of Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice"
(https://arxiv.org/abs/2108.13264), and of its library rliable: seeds are resampled within each game, so that every
resample has all games. The test is not theirs: bootstrap intervals of few seeds are too narrow to decide by
(benchmarks/verdicts.py), and a permutation test keeps its level with any number of seeds, where the scores of both arms
are distributed alike.

The scores of a game are float [S] or [..., S], and games may have different numbers of seeds. Scores of different games
have to be comparable, such as human-normalised ones, but for the probability of improvement.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from itertools import combinations
from math import comb, nan, prod

import numpy as np

from evidence.statistics import iqm
from verdicts.two_arms import LEVEL, Verdict, correct_holm

NUM_RESAMPLES = 10_000  # rliable draws 50,000
Games = Sequence[np.ndarray]  # the scores of one arm, one array for each game
Interval = tuple[float, float]


def compute_mean(games: Games) -> np.ndarray:
    """Return the mean over games of the mean over seeds: float [...]."""
    return np.mean([game.mean(-1) for game in games], axis=0)


def compute_median(games: Games) -> np.ndarray:
    """Return the median over games of the mean over seeds: float [...]."""
    return np.median([game.mean(-1) for game in games], axis=0)


def compute_iqm(games: Games) -> np.ndarray:
    """Return the interquartile mean of all seeds of all games: float [...].

    A game with more seeds than others has more weight in it.
    """
    return iqm(np.concatenate(games, axis=-1))


MEASURES: dict[str, Callable[[Games], np.ndarray]] = {
    "IQM": compute_iqm,
    "mean": compute_mean,
    "median": compute_median,
}


def has_intervals(games: Games) -> bool:
    """Return whether every game has at least two seeds; one seed says nothing about others."""
    return all(len(game) > 1 for game in games)


def resample_seeds(games: Games, rng: np.random.Generator, num_resamples: int) -> list[np.ndarray]:
    """Draw seeds with replacement within each game; return float [num_resamples, S] for each game."""
    return [game[rng.integers(len(game), size=(num_resamples, len(game)))] for game in games]


def bootstrap_games(
    games: Games, measure: Callable[[Games], np.ndarray], seed: int = 0, num_resamples: int = NUM_RESAMPLES
) -> Interval:
    """Return the 95 % stratified percentile bootstrap interval of a measure.

    Args:
        games: float [S] for each game, S at least 2.
        measure: one of MEASURES.
        seed: the seed of the resampling; the same seed gives the same interval.
        num_resamples: how often all seeds are drawn.
    """
    return take_interval(measure(resample_seeds(games, np.random.default_rng(seed), num_resamples)))


def bootstrap_difference(
    first: Games,
    second: Games,
    measure: Callable[[Games], np.ndarray] = compute_iqm,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> Interval:
    """Return the interval of measure(first) - measure(second), both arms resampled; see `bootstrap_games`."""
    rng = np.random.default_rng(seed)
    a, b = (measure(resample_seeds(games, rng, num_resamples)) for games in (first, second))
    return take_interval(a - b)


def take_interval(values: np.ndarray) -> Interval:
    """Return the ends of the middle 95 % of resampled values, float [num_resamples]."""
    low, high = np.quantile(values, [0.025, 0.975])
    return float(low), float(high)


def permute_seeds(first: Games, second: Games, seed: int = 0, num_resamples: int = NUM_RESAMPLES) -> float:
    """Return the two-sided p value of a stratified permutation test of the difference of two IQMs.

    Where the scores of two arms are distributed alike, each seed of a game could as well be the other arm's. The test
    deals the seeds of each game to the two arms, and counts how often the IQMs then differ by as much. Whatever that
    distribution is, p falls below LEVEL with a chance of at most LEVEL. Arms whose IQM is the same and whose spread is
    not are distributed otherwise: p is then below LEVEL more often, above all where the arm that spreads more has fewer
    seeds.

    Args:
        first, second: float [S], float [T] for each game, in the same order of games.
        seed: the seed of the dealing.
        num_resamples: how often seeds are dealt at random, where there are more ways to deal them; else every way is
            counted once.
    """
    pools = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    if is_exact := count_arrangements(first, second) <= num_resamples:
        ways = [np.array(list(combinations(range(len(p)), len(a)))) for p, a in zip(pools, first, strict=True)]
        numbers = np.meshgrid(*(np.arange(len(of_game)) for of_game in ways), indexing="ij")
        chosen = [of_game[number.ravel()] for of_game, number in zip(ways, numbers, strict=True)]
    else:
        rng = np.random.default_rng(seed)
        every = [np.tile(np.arange(len(pool)), (num_resamples, 1)) for pool in pools]
        chosen = [rng.permuted(rows, axis=1)[:, : len(a)] for rows, a in zip(every, first, strict=True)]
    dealt: tuple[list[np.ndarray], list[np.ndarray]] = [], []
    for pool, rows in zip(pools, chosen, strict=True):
        rest = np.ones((len(rows), len(pool)), bool)
        np.put_along_axis(rest, rows, False, axis=1)
        dealt[0].append(pool[rows])
        dealt[1].append(np.broadcast_to(pool, rest.shape)[rest].reshape(len(rows), -1))
    found = abs(float(compute_iqm(first) - compute_iqm(second)))
    as_large = np.abs(compute_iqm(dealt[0]) - compute_iqm(dealt[1])) >= found * (1 - 1e-9)
    return float(as_large.mean()) if is_exact else float((1 + as_large.sum()) / (1 + num_resamples))


def count_arrangements(first: Games, second: Games) -> int:
    """Return in how many ways the seeds of all games can be dealt to two arms.

    No p value can be below 1 / this number, so that very few seeds of very few games show no difference, however large;
    nor below 2 / this number where both arms have as many seeds in each game, since the arms can then swap all of them.
    """
    return prod(comb(len(a) + len(b), len(a)) for a, b in zip(first, second, strict=True))


def compare_over_games(scores: Mapping[str, Games], num_resamples: int = NUM_RESAMPLES) -> list[Verdict]:
    """Compare every arm with every other by its IQM over all games.

    Args:
        scores: arm -> float [S] for each game, in the same order of games; comparable between games.
        num_resamples: of the intervals and the tests.

    Returns:
        A verdict for each pair. The effect is the difference of the IQMs with its bootstrap interval, p that of the
        permutation test after Holm's correction over the pairs that have one. Both are NaN for a pair with one seed in
        a game.
    """
    pairs = list(combinations(scores, 2))
    verdicts = []
    for pair in pairs:
        better, worse = sorted(pair, key=lambda name: -float(compute_iqm(scores[name])))
        a, b = scores[better], scores[worse]
        low, high, p = nan, nan, nan
        if has_intervals(a) and has_intervals(b):
            low, high = bootstrap_difference(a, b, num_resamples=num_resamples)
            p = permute_seeds(a, b, num_resamples=num_resamples)
        effect = float(compute_iqm(a) - compute_iqm(b))
        seeds = min(map(len, a)), min(map(len, b))
        verdicts.append(Verdict(better, worse, seeds, False, effect, low, high, p, len(pairs), False, None, nan))
    known = [index for index, verdict in enumerate(verdicts) if not np.isnan(verdict.p)]
    for index, p in zip(known, correct_holm([verdicts[index].p for index in known]), strict=True):
        verdicts[index] = replace(verdicts[index], p=p)
    return [replace(verdict, num_pairs=len(known)) for verdict in verdicts]


def can_be_certain(first: Games, second: Games, num_pairs: int) -> bool:
    """Return whether a difference could show at all, among `num_pairs` pairs with a p.

    It need not even if every seed of the one arm is above all of the other's: seeds that the IQM leaves out can be
    dealt otherwise without a change.
    """
    can_swap = all(len(a) == len(b) for a, b in zip(first, second, strict=True))
    return (2 if can_swap else 1) / count_arrangements(first, second) * num_pairs < LEVEL


def compute_improvement(first: Games, second: Games, weights: Sequence[float] | None = None) -> np.ndarray:
    """Return the chance that a seed of the first arm scores more than one of the second, mean over games: float [...].

    A tie counts half. It needs no normalised scores, as seeds are compared within their game. `weights` are those
    of the games in the mean; None: all games count alike.
    """
    shares = []
    for a, b in zip(first, second, strict=True):
        a, b = a[..., :, None], b[..., None, :]
        shares.append(((a > b) + 0.5 * (a == b)).mean((-1, -2)))
    return np.average(shares, axis=0, weights=weights)


def bootstrap_improvement(
    first: Games,
    second: Games,
    weights: Sequence[float] | None = None,
    seed: int = 0,
    num_resamples: int = NUM_RESAMPLES,
) -> tuple[float, float, float]:
    """Return `compute_improvement` and its 95 % interval; the ends are NaN where a game has one seed."""
    value = float(compute_improvement(first, second, weights))
    if not (has_intervals(first) and has_intervals(second)):
        return value, nan, nan
    rng = np.random.default_rng(seed)
    resampled = [resample_seeds(games, rng, num_resamples) for games in (first, second)]
    return value, *take_interval(compute_improvement(*resampled, weights=weights))


def compute_profile(games: Games, thresholds: np.ndarray) -> np.ndarray:
    """Return the performance profile: the share of seeds that score more than each threshold, mean over games.

    Args:
        games: float [..., S] for each game.
        thresholds: float [K].

    Returns:
        float [..., K].
    """
    return np.mean([(game[..., None] > thresholds).mean(-2) for game in games], axis=0)


def bootstrap_profile(
    games: Games, thresholds: np.ndarray, seed: int = 0, num_resamples: int = 2000
) -> tuple[np.ndarray, np.ndarray]:
    """Return the ends of the 95 % interval of a performance profile at each threshold, by itself: float [K] each."""
    resampled = resample_seeds(games, np.random.default_rng(seed), num_resamples)
    low, high = np.quantile(compute_profile(resampled, thresholds), [0.025, 0.975], axis=0)
    return low, high
