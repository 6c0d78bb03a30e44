import numpy as np
import pytest
from scipy import stats

from evidence.statistics import bootstrap_interval, iqm, paired_difference


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    assert iqm(np.array([900.0, 3.0, 1.0, -900.0, 2.0, 4.0, 5.0, 0.0])) == (1 + 2 + 3 + 4) / 4


def test_a_quarter_is_rounded_down_as_in_scipys_trimmed_mean():
    scores = np.random.default_rng(0).normal(size=31)
    for n in range(1, 32):
        assert iqm(scores[:n]) == pytest.approx(stats.trim_mean(scores[:n], 0.25))


def test_each_row_has_an_interquartile_mean_of_its_own():
    rows = np.random.default_rng(0).normal(size=(5, 30))
    np.testing.assert_allclose(iqm(rows), [iqm(row) for row in rows])


def test_the_interval_is_the_same_for_the_same_scores_and_seed():
    scores = np.arange(30.0)
    assert bootstrap_interval(scores) == bootstrap_interval(scores) != bootstrap_interval(scores, seed=1)


def test_the_interval_of_equal_scores_is_a_point():
    assert bootstrap_interval(np.full(30, 7.0)) == (7.0, 7.0)


def test_the_interval_of_a_mean_is_that_of_the_normal_distribution():
    scores = np.random.default_rng(0).normal(size=400)
    low, high = bootstrap_interval(scores, lambda x: x.mean(-1))
    half = 1.96 * scores.std() / 20  # the central limit theorem, 400 scores
    assert low == pytest.approx(scores.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(scores.mean() + half, abs=0.1 * half)


def test_about_95_of_100_intervals_hold_the_truth():
    rng = np.random.default_rng(0)
    intervals = [bootstrap_interval(rng.normal(size=50), num_resamples=500) for _ in range(200)]
    share = np.mean([low <= 0 <= high for low, high in intervals])
    assert 0.90 <= share <= 0.98


def test_a_paired_difference_by_hand():
    mean, low, high = paired_difference([11, 22, 33], [10, 20, 30])  # 1, 2, 3: standard deviation 1
    assert mean == pytest.approx(2)
    assert (high - mean, mean - low) == pytest.approx((4.302653 / 3**0.5,) * 2)  # t of 2 degrees of freedom


def test_what_pairs_share_leaves_their_difference():
    noise = np.random.default_rng(0).normal(0, 1000, 5)
    mean, low, high = paired_difference(noise + [1, 2, 3, 2, 1], noise)
    assert 0 < low < mean < high < 4
