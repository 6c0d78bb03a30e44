"""FasterOfTwo: it calls the faster of two functions, and finds out when the other one becomes faster."""

import pytest

from custom_models import faster_of_two
from custom_models.faster_of_two import PERIOD, FasterOfTwo


@pytest.fixture
def clock(monkeypatch):
    """A clock that stands still but where a function moves it on."""
    now = [0.0]
    monkeypatch.setattr(faster_of_two.time, "perf_counter", lambda: now[0])
    return now


@pytest.fixture
def call(clock):
    """Makes some calls, in which the functions take so many seconds; returns which of them was called each time."""

    def make(faster: FasterOfTwo, seconds: tuple[float, float], calls: int = PERIOD, size: int = 1) -> list[int]:
        def take(which: int) -> int:
            clock[0] += seconds[which]
            return which

        return [faster.run((lambda: take(0), lambda: take(1)), size) for _ in range(calls)]

    return make


@pytest.fixture
def warm(call):
    """One whose functions have both been called, and at whose first period each took 2 s."""
    faster = FasterOfTwo()
    call(faster, (2.0, 2.0), 2 * PERIOD)
    assert faster.chosen == 0
    return faster


def test_one_call_of_a_period_is_a_trial(call):
    assert call(FasterOfTwo(), (1.0, 2.0), 3 * PERIOD) == ([0] * (PERIOD - 1) + [1]) * 3


@pytest.mark.parametrize(("trial", "chosen"), [(1.99, 1), (2.01, 0)])
def test_the_other_is_chosen_where_it_takes_less_than_the_mean_of_a_period(trial, chosen, warm, call):
    call(warm, (1.0, 0.0), (PERIOD - 1) // 3)
    call(warm, (2.5, 0.0), PERIOD - 1 - (PERIOD - 1) // 3)  # 2 in the mean
    warm._other = None
    assert call(warm, (0.0, trial), 1) == [1] and warm.chosen == chosen


def test_a_period_counts_by_itself(warm, call):
    call(warm, (9.0, 90.0))
    warm._other = None
    call(warm, (1.0, 1.5))
    assert warm.chosen == 0, "1.5 is less than 5, the mean of both periods, and more than 1"


def test_the_first_call_of_each_is_not_timed(call):
    faster = FasterOfTwo()
    call(faster, (99.0, 0.0), 1)
    call(faster, (1.0, 0.0), PERIOD - 1)  # the trial is the first call of the other: it says nothing
    assert faster.chosen == 0
    assert call(faster, (1.0, 1.2)) == [0] * (PERIOD - 1) + [1] and faster.chosen == 0, "99 was not counted"


def test_it_changes_when_a_neighbour_comes_and_back_when_it_goes(warm, call):
    call(warm, (1.0, 1.5), 9 * PERIOD)
    assert warm.chosen == 0
    call(warm, (4.0, 1.6))
    assert warm.chosen == 1
    call(warm, (1.0, 1.5), PERIOD)
    assert warm.chosen == 1, "4, of the time before, and a trial of 1: 3.25"
    call(warm, (1.0, 1.5), 8 * PERIOD)
    assert warm.chosen == 0


def test_one_fast_or_slow_trial_does_not_decide(warm, call):
    call(warm, (2.0, 3.0), 20 * PERIOD)
    call(warm, (2.0, 0.1))
    assert warm.chosen == 0
    call(warm, (2.0, 90.0))
    call(warm, (2.0, 1.0), 20 * PERIOD)
    assert warm.chosen == 1


def test_what_the_chosen_one_took_is_what_the_other_is_compared_with_afterwards(warm, call):
    call(warm, (4.0, 1.0), 12 * PERIOD)
    assert warm.chosen == 1
    call(warm, (3.5, 3.6))
    assert warm.chosen == 1, "of the other is known that it took 4, and 3.5 once"


@pytest.mark.parametrize(("trial", "chosen"), [(6.0, 1), (10.0, 0)])
def test_seconds_are_compared_per_unit_of_work(trial, chosen, warm, call):
    call(warm, (20.0, 20.0), PERIOD - 1, size=10)
    warm._other = None
    call(warm, (0.0, trial), 1, size=4)  # 1.5 or 2.5 a unit, against 2
    assert warm.chosen == chosen


def test_after_an_error_in_a_trial_others_follow(warm, call):
    call(warm, (1.0, 1.0), PERIOD - 1)
    with pytest.raises(ZeroDivisionError):
        warm.run((lambda: 0, lambda: 1 / 0))
    assert call(warm, (1.0, 2.0)) == [0] * (PERIOD - 1) + [1]
