"""Statistics of few scores: the interquartile mean, its interval, and the difference between two groups.

Source: Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice" (https://arxiv.org/abs/2108.13264), and
its library rliable. There the scores are of several games and the bootstrap is stratified by game; here it is not.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike

CONFIDENCE = 0.95  # of all intervals


def iqm(scores: np.ndarray) -> np.ndarray:
    """Return the interquartile mean: the mean without the lowest and the highest quarter of the scores.

    Args:
        scores: float [..., S]. A quarter of S is rounded down, so three scores or fewer are all used.

    Returns:
        float [...].
    """
    scores = np.sort(scores, axis=-1)
    cut = scores.shape[-1] // 4
    return scores[..., cut : scores.shape[-1] - cut].mean(-1)


def bootstrap_interval(
    scores: np.ndarray, statistic: Callable[[np.ndarray], np.ndarray] = iqm, seed: int = 0, num_resamples: int = 10_000
) -> tuple[float, float]:
    """Return the percentile bootstrap interval: it holds a share CONFIDENCE of the statistic over resampled scores.

    Args:
        scores: float [S], independent of each other.
        statistic: a function from [..., S] to [...].
        seed: the seed of the resampling; the same seed gives the same interval.
        num_resamples: how many sets of S scores are drawn with replacement; rliable draws 50,000.

    Returns:
        The lower and the upper end.
    """
    scores = np.asarray(scores, float)
    chosen = np.random.default_rng(seed).integers(len(scores), size=(num_resamples, len(scores)))
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(statistic(scores[chosen]), [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(first: ArrayLike, second: ArrayLike) -> tuple[float, float, float]:
    """Return the mean of first - second over pairs, with Student's t interval.

    A bootstrap interval of few pairs would be too narrow. This one assumes that the differences are normal.

    Args:
        first, second: float [P], P at least 2. Entry i of both comes from the same seed.

    Returns:
        The mean, the lower and the upper end.
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    middle, pairs = differences.mean(), len(differences)
    from scipy import stats  # takes 50 MB and a second, so only this function imports it

    half = stats.t.ppf(0.5 + CONFIDENCE / 2, pairs - 1) * differences.std(ddof=1) / pairs**0.5
    return float(middle), float(middle - half), float(middle + half)


def t_interval(scores: ArrayLike) -> tuple[float, float]:
    """Return Student's t interval of a mean.

    Args:
        scores: float [S], S at least 2, independent of each other.

    Returns:
        The lower and the upper end.
    """
    return paired_difference(scores, np.zeros(np.shape(scores)))[1:]
