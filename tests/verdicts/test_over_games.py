"""The statistics over several games, against the formulas of Agarwal et al. 2021 and against what they promise."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from verdicts.over_games import (
    bootstrap_games,
    bootstrap_improvement,
    bootstrap_profile,
    can_be_certain,
    compare_over_games,
    compute_improvement,
    compute_iqm,
    compute_mean,
    compute_median,
    compute_profile,
    count_arrangements,
    permute_seeds,
    resample_seeds,
)

RNG = np.random.default_rng(0)
MATRIX = RNG.lognormal(0, 1, (5, 7))  # seeds, games: as rliable has them
GAMES = list(MATRIX.T)


def test_the_aggregates_are_rliables():
    """Its formulas: metrics.py of rliable 1.2.0, on a matrix of seeds and games."""
    assert compute_iqm(GAMES) == pytest.approx(stats.trim_mean(MATRIX, proportiontocut=0.25, axis=None))
    assert compute_mean(GAMES) == pytest.approx(np.mean(np.mean(MATRIX, axis=0)))
    assert compute_median(GAMES) == pytest.approx(np.median(np.mean(MATRIX, axis=0)))


def test_rliable_has_computed_the_same():
    """What rliable 1.2.0 (with pandas 2) says of these scores: its 20,000 and 2,000 resamples are not ours."""
    rng = np.random.default_rng(5)
    first, second = (list(rng.lognormal(mean, 1, (5, 7)).T) for mean in (0, 0.3))
    known = {
        compute_iqm: (0.77285, 0.581, 1.05),
        compute_mean: (1.12276, 0.786, 1.526),
        compute_median: (1.13518, 0.617, 1.412),
    }
    for measure, (value, *ends) in known.items():
        assert measure(first) == pytest.approx(value, abs=1e-5)
        assert bootstrap_games(first, measure) == pytest.approx(ends, abs=0.03)
    value, *ends = bootstrap_improvement(first, second)
    assert value == pytest.approx(0.314286, abs=1e-6) and ends == pytest.approx([0.189, 0.446], abs=0.01)
    thresholds = np.linspace(0, 4, 9)
    shares = [1, 0.6571, 0.3429, 0.2286, 0.1429, 0.0857, 0.0857, 0.0571, 0.0571]
    np.testing.assert_allclose(compute_profile(first, thresholds), shares, atol=1e-4)
    low, high = bootstrap_profile(first, thresholds)
    np.testing.assert_allclose(low, [1, 0.514, 0.2, 0.114, 0.029, 0, 0, 0, 0], atol=0.04)
    np.testing.assert_allclose(high, [1, 0.8, 0.486, 0.371, 0.257, 0.171, 0.171, 0.143, 0.143], atol=0.04)


def test_the_probability_of_improvement_is_that_of_the_mann_whitney_u():
    other = list(RNG.lognormal(0.3, 1, (4, 7)).T)
    expected = np.mean(
        [stats.mannwhitneyu(a, b).statistic / (len(a) * len(b)) for a, b in zip(GAMES, other, strict=True)]
    )
    assert compute_improvement(GAMES, other) == pytest.approx(expected)
    assert compute_improvement([np.array([1.0, 2.0])], [np.array([1.0, 0.0])]) == (0.5 + 3) / 4  # a tie counts half


def test_the_profile_is_the_share_of_runs_above_each_score():
    thresholds = np.array([0.1, 0.5, 1.0, 2.0])
    np.testing.assert_allclose(compute_profile(GAMES, thresholds), [(x < MATRIX).mean() for x in thresholds])
    low, high = bootstrap_profile(GAMES, thresholds)
    assert (low <= compute_profile(GAMES, thresholds)).all() and (compute_profile(GAMES, thresholds) <= high).all()
    assert (low < high).any()


def test_games_keep_their_weight_whatever_their_number_of_seeds():
    games = [np.array([1.0] * 9), np.array([0.0])]
    assert compute_mean(games) == compute_median(games) == 0.5
    assert compute_profile(games, np.array([0.5])) == 0.5


def test_seeds_are_resampled_within_their_game_only():
    resampled = resample_seeds([np.array([1.0, 2.0]), np.array([10.0, 20.0, 30.0])], RNG, 500)
    assert [one.shape for one in resampled] == [(500, 2), (500, 3)]
    assert set(resampled[0].ravel()) == {1, 2} and set(resampled[1].ravel()) == {10, 20, 30}


def test_the_interval_has_no_part_of_the_spread_between_games():
    steady = [np.full(3, 0.1), np.full(3, 5.0), np.full(3, 9.0)]
    for measure in (compute_iqm, compute_mean, compute_median):
        assert bootstrap_games(steady, measure) == (measure(steady), measure(steady))
    assert bootstrap_games(GAMES, compute_mean) == bootstrap_games(GAMES, compute_mean)
    assert bootstrap_games(GAMES, compute_mean) != bootstrap_games(GAMES, compute_mean, seed=1)


def test_the_permutation_test_counts_what_all_arrangements_would():
    first, second = [np.array([3.0, 4.0, 6.0]), np.array([1.0, 2.5])], [np.array([1.0, 2.0, 5.0]), np.array([0.0, 2.0])]
    found, as_much, number = abs(compute_iqm(first) - compute_iqm(second)), 0, 0
    pools = [np.concatenate(pair) for pair in zip(first, second, strict=True)]
    chosen = [list(itertools.combinations(range(len(pool)), len(a))) for pool, a in zip(pools, first, strict=True)]
    for deal in itertools.product(*chosen):
        a = [pool[list(rows)] for pool, rows in zip(pools, deal, strict=True)]
        b = [np.delete(pool, list(rows)) for pool, rows in zip(pools, deal, strict=True)]
        as_much += abs(compute_iqm(a) - compute_iqm(b)) >= found - 1e-12
        number += 1
    assert number == count_arrangements(first, second) == 20 * 6
    assert permute_seeds(first, second) == as_much / number
    drawn = permute_seeds(first, second, num_resamples=number - 1)
    assert drawn == pytest.approx(as_much / number, abs=0.15)


def test_a_difference_in_every_game_shows_and_none_does_not():
    better = [3 * game for game in GAMES]
    [verdict] = compare_over_games({"a": GAMES, "b": better})
    assert verdict.is_certain and verdict.better == "b"
    assert verdict.low < verdict.effect < verdict.high
    assert verdict.effect == pytest.approx(2 * compute_iqm(GAMES))
    [same] = compare_over_games({"a": GAMES, "b": GAMES})
    assert not same.is_certain and same.effect == 0 and same.p == 1


def test_p_values_are_corrected_over_all_pairs():
    arms = {name: [game * factor for game in GAMES] for name, factor in (("a", 1.0), ("b", 1.2), ("c", 1.4))}
    alone = {pair: permute_seeds(arms[pair[0]], arms[pair[1]]) for pair in (("b", "a"), ("c", "a"), ("c", "b"))}
    found = {(one.better, one.worse): one.p for one in compare_over_games(arms)}
    assert found["c", "a"] == pytest.approx(min(1, 3 * alone["c", "a"]), rel=0.1)
    assert min(found.values()) > min(alone.values())


def test_pairs_without_a_p_are_not_counted():
    verdicts = compare_over_games({"a": GAMES, "b": [2 * game for game in GAMES], "c": [game[:1] for game in GAMES]})
    assert [verdict.num_pairs for verdict in verdicts] == [1, 1, 1]


def test_one_seed_in_a_game_leaves_no_interval_and_no_verdict():
    [verdict] = compare_over_games({"a": GAMES, "b": [*GAMES[:-1], GAMES[-1][:1]]})
    assert math.isnan(verdict.p) and math.isnan(verdict.low) and not verdict.is_certain
    assert "one seed" in verdict.describe()
    value, low, high = bootstrap_improvement(GAMES, [game[:1] for game in GAMES])
    assert 0 <= value <= 1 and math.isnan(low) and math.isnan(high)


def test_two_seeds_of_two_games_can_show_nothing():
    two = [np.array([1.0, 2.0]), np.array([1.0, 2.0])]
    assert not can_be_certain(two, two, 1)  # 36 arrangements: no p value is below 0.056
    assert can_be_certain([*two, two[0]], [*two, two[0]], 1)


def test_arms_with_unequal_seeds_cannot_swap_them_all_and_reach_a_smaller_p():
    two, three = [np.array([51.0, 52.0]), np.array([5.0, 5.1])], [np.array([1.0, 2.0, 1.5]), np.array([1.0, 1.1, 1.2])]
    assert count_arrangements(two, three) == 100
    assert permute_seeds(two, three) == 1 / 100
    assert can_be_certain(two, three, 4) and not can_be_certain(two, three, 5)


def test_a_verdict_of_three_seeds_of_five_games_is_rarely_a_false_alarm():
    """The 5 % that LEVEL promises, where bootstrap intervals leave out 0 far more often."""
    rng, alarms, intervals = np.random.default_rng(1), 0, 0
    for _ in range(300):
        arms = {name: list(rng.lognormal(np.log([[0.2], [0.5], [1], [2], [5]]), 0.35, (5, 3))) for name in "ab"}
        [verdict] = compare_over_games(arms, num_resamples=300)
        alarms += verdict.is_certain
        intervals += not verdict.low <= 0 <= verdict.high
    assert alarms / 300 <= 0.08 and intervals > alarms
