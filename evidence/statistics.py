"""Statistics of a handful of scores: the interquartile mean, an interval around it, the difference of two.

Source: Agarwal et al. 2021, "Deep RL at the Edge of the Statistical Precipice" (https://arxiv.org/abs/2108.13264), and
its library rliable. There the scores are runs x games and the bootstrap is stratified by game; on one game nothing is
left to stratify.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import ArrayLike


def iqm(scores: np.ndarray) -> np.ndarray:
    """Interquartile mean: the mean of what is left without the lowest and the highest quarter.

    Args:
        scores: float [..., S]; a quarter of S is rounded down, so up to three scores are all kept.

    Returns:
        float [...].
    """
    scores = np.sort(scores, axis=-1)
    cut = scores.shape[-1] // 4
    return scores[..., cut : scores.shape[-1] - cut].mean(-1)


def bootstrap_interval(
    scores: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray] = iqm,
    seed: int = 0,
    confidence: float = 0.95,
    num_resamples: int = 10_000,
) -> tuple[float, float]:
    """Percentile bootstrap: the interval that holds `confidence` of the statistic over resampled scores.

    Args:
        scores: float [S], independent of each other.
        statistic: [..., S] -> [...].
        seed: of the resampling; the same seed gives the same interval.
        confidence: 0 to 1.
        num_resamples: sets of S scores drawn with replacement; rliable draws 50,000.

    Returns:
        The lower and the upper end.
    """
    scores = np.asarray(scores, float)
    chosen = np.random.default_rng(seed).integers(len(scores), size=(num_resamples, len(scores)))
    tail = (1 - confidence) / 2
    low, high = np.quantile(statistic(scores[chosen]), [tail, 1 - tail])
    return float(low), float(high)


def paired_difference(first: ArrayLike, second: ArrayLike, confidence: float = 0.95) -> tuple[float, float, float]:
    """Mean of first - second over pairs, with Student's t interval.

    With a handful of pairs a bootstrap interval would be too narrow; this one assumes normal differences instead.

    Args:
        first, second: float [P], P at least 2; entry i of both shares what else could matter, such as the seed.
        confidence: 0 to 1.

    Returns:
        The mean, the lower and the upper end.
    """
    differences = np.asarray(first, float) - np.asarray(second, float)
    middle, pairs = differences.mean(), len(differences)
    from scipy import stats  # 50 MB and a second, which nobody else needs

    half = stats.t.ppf(0.5 + confidence / 2, pairs - 1) * differences.std(ddof=1) / pairs**0.5
    return float(middle), float(middle - half), float(middle + half)


def t_interval(scores: ArrayLike, confidence: float = 0.95) -> tuple[float, float]:
    """Student's t interval of a mean.

    Args:
        scores: float [S], S at least 2, independent of each other.
        confidence: 0 to 1.

    Returns:
        The lower and the upper end.
    """
    return paired_difference(scores, np.zeros(np.shape(scores)), confidence)[1:]
