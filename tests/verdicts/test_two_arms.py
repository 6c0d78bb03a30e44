"""The statistics of verdicts, against SciPy's and against what they promise."""

import math

import numpy as np
import pytest
from scipy import stats

from verdicts.two_arms import compare_arms, correct_holm, count_needed_seeds, format_p, t_paired, t_welch

RNG = np.random.default_rng(0)
A, B = RNG.normal(10, 1, 5), RNG.normal(11, 4, 7)


def test_welchs_t_is_scipys():
    effect, low, high, p = t_welch(A, B)
    known = stats.ttest_ind(A, B, equal_var=False)
    interval = known.confidence_interval()
    assert (low, high, p) == pytest.approx((interval.low, interval.high, known.pvalue))
    assert effect == pytest.approx(A.mean() - B.mean())


def test_the_paired_t_is_scipys():
    effect, low, high, p = t_paired(A, B[:5])
    known = stats.ttest_rel(A, B[:5])
    interval = known.confidence_interval()
    assert (low, high, p) == pytest.approx((interval.low, interval.high, known.pvalue))


@pytest.mark.parametrize("test", [t_welch, t_paired])
def test_seeds_that_all_score_the_same_need_no_test(test):
    assert test([5, 5], [5, 5]) == (0, 0, 0, 1)
    assert test([6, 6], [5, 5])[0] == 1 and math.isnan(test([6, 6], [5, 5])[3])
    assert math.isnan(test([6], [5])[3])


@pytest.mark.parametrize("scores", [(500, 475), (500, 499.9), (0.1, 0.3), (1e-9, 3.3)])
@pytest.mark.parametrize("seeds", [2, 3, 5, 7])
def test_no_rounding_makes_a_spread_of_equal_scores(scores, seeds):
    """The logarithm of 475 three times has a variance of 4e-31."""
    first, second = ([np.log(score)] * seeds for score in scores)
    for test in (t_welch, t_paired):
        effect, low, high, p = test(first, second)
        assert low == effect == high and math.isnan(p)
    assert math.isnan(t_paired([1.1, 2.2, 3.3], [0.1, 1.2, 2.3])[3])
    assert t_welch([1e-9, 2e-9, 3e-9], [4e-9, 5e-9, 6e-9])[3] < 0.05  # small numbers have a spread too


def test_holms_correction_by_hand():
    assert correct_holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert correct_holm([0.9, 0.8]) == [1.0, 1.0]
    assert correct_holm([]) == []


def test_positive_scores_are_compared_by_their_ratio_and_others_by_their_difference():
    [ratio] = compare_arms({"a": [1000, 1100, 900], "b": [100, 90, 110]})
    assert ratio.is_ratio and ratio.better == "a" and ratio.effect == pytest.approx(10) and ratio.is_certain
    [difference] = compare_arms({"a": [-20.0, -19.0, -20.5], "b": [5.0, 3.0, 4.0]})
    assert not difference.is_ratio and difference.better == "b" and difference.effect == pytest.approx(4 + 59.5 / 3)


def test_the_needed_seeds_show_the_difference_as_often_as_they_say():
    spread, shown = 0.35, math.log(1.5)
    seeds = count_needed_seeds(spread, shown, 0.05)
    a, b = (RNG.normal(mean, spread, (4000, seeds)) for mean in (shown, 0.0))
    power = (stats.ttest_ind(a, b, axis=1).pvalue < 0.05).mean()
    assert 0.78 <= power <= 0.86
    fewer = stats.ttest_ind(a[:, 1:], b[:, 1:], axis=1).pvalue < 0.05
    assert fewer.mean() < 0.8


@pytest.mark.parametrize(("spread", "seeds"), [(0.05, 3), (0.1, 3), (0.15, 4), (0.3, 7)])
def test_the_needed_seeds_of_pairs_are_those_of_the_paired_test(spread, seeds):
    shown = math.log(1.5)
    assert count_needed_seeds(spread / math.sqrt(2), shown, 0.05, is_paired=True) == seeds
    differences = RNG.normal(shown, spread, (4000, seeds))
    assert (stats.ttest_1samp(differences, 0, axis=1).pvalue < 0.05).mean() > 0.78
    same = {"a": [100.0, 150.0, 120.0], "b": [90.0, 160.0, 150.0]}
    [paired], [welch] = compare_arms(same, lambda first, second: True), compare_arms(same)
    spread = float(np.std(np.log(same["a"]) - np.log(same["b"]), ddof=1))
    assert paired.seeds_needed == count_needed_seeds(spread / math.sqrt(2), shown, 0.05, is_paired=True)
    assert not welch.is_paired


def test_pairs_without_a_p_are_not_counted():
    verdicts = compare_arms({"a": [1.0, 1.1, 1.2], "b": [1.6, 1.7, 1.9], "c": [1.4]})
    assert [verdict.num_pairs for verdict in verdicts] == [1, 1, 1]
    assert verdicts[0].p == pytest.approx(t_welch(np.log([1.6, 1.7, 1.9]), np.log([1.0, 1.1, 1.2]))[3])
    assert "pairs" not in verdicts[0].describe()


def test_a_verdict_of_three_seeds_is_rarely_a_false_alarm():
    """Log-normal scores, as benchmarks/verdicts.py has them, and the 5 % that LEVEL promises."""
    alarms = [
        any(v.is_certain for v in compare_arms({name: list(np.exp(RNG.normal(6, 0.35, 3))) for name in "abc"}))
        for _ in range(400)
    ]
    assert np.mean(alarms) <= 0.07


def test_effects_that_no_number_can_hold_are_infinite():
    [verdict] = compare_arms({"a": [1e-300, 1e300], "b": [1.0, 2.0]})
    assert math.isinf(verdict.high) and not verdict.is_certain


def test_no_advice_contradicts_the_interval():
    [unclear] = compare_arms({"a": [100.0, 101.0], "b": [124.0, 160.0]})
    assert unclear.high > 1.5 and "have shown" not in unclear.describe()
    [unequal] = compare_arms({"a": [100.0, 140.0], "b": list(np.exp(RNG.normal(4.8, 0.3, 10)))})
    assert f"about {unequal.seeds_needed} of each" in unequal.describe()


def test_a_p_on_either_side_of_the_limit_does_not_read_alike():
    texts = {0.0498: "0.0498", 0.04996: "0.04996", 0.05: "0.05", 0.0502: "0.05", 0.031: "0.031", 0.0001: "<0.001"}
    assert {p: format_p(p) for p in texts} == texts


def test_the_sentence_names_the_better_arm_the_effect_and_what_more_seeds_would_show():
    [certain] = compare_arms({"a2c": [100, 90, 110], "ppo": [1000, 1100, 900]})
    assert certain.describe().startswith("ppo better than a2c: 10.0")
    [unclear] = compare_arms({"a2c": [100, 200], "ppo": [150, 300]})
    more = unclear.seeds_needed - 2
    assert not unclear.is_certain and f"{more:,} more" in unclear.describe()
    [single] = compare_arms({"a2c": [100], "ppo": [150, 300]})
    assert math.isnan(single.p) and "3 seeds" in single.describe()
