"""FasterOfTwo: it calls the faster of two functions, and finds out when the other one becomes faster."""

import pytest

from custom_models import faster_of_two
from custom_models.faster_of_two import PERIOD, TRIAL, FasterOfTwo

CHOSEN = PERIOD - TRIAL  # calls of a period that are no trial


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


def test_the_last_calls_of_a_period_are_a_trial(call):
    assert call(FasterOfTwo(), (1.0, 2.0), 3 * PERIOD) == ([0] * CHOSEN + [1] * TRIAL) * 3


@pytest.mark.parametrize(("trial", "chosen"), [(1.99, 1), (2.01, 0)])
def test_the_other_is_chosen_where_it_takes_less_than_the_mean_of_the_period(trial, chosen, call):
    faster = FasterOfTwo()
    call(faster, (99.0, 0.0), 1)
    call(faster, (1.0, 0.0), 84)
    call(faster, (2.5, 0.0), 167)  # 1 and 2.5: 2 in the mean, nearly
    assert 1.99 < (84 + 2.5 * 167) / 251 < 2.01
    assert call(faster, (0.0, trial), TRIAL) == [1] * TRIAL and faster.chosen == chosen


def test_the_first_call_after_a_change_is_not_timed(call):
    faster = FasterOfTwo()
    call(faster, (99.0, 0.0), 1)
    call(faster, (1.0, 0.0), CHOSEN - 1)
    call(faster, (0.0, 99.0), 1)
    call(faster, (0.0, 0.99), TRIAL - 1)
    assert faster.chosen == 1
    call(faster, (0.0, 99.0), 1)
    call(faster, (0.0, 0.99), CHOSEN - 1)
    call(faster, (0.0, 0.0), 1)
    call(faster, (1.0, 0.0), TRIAL - 1)
    assert faster.chosen == 1, "99 or 0 would have changed it"


def test_times_of_an_earlier_period_do_not_count(call):
    faster = FasterOfTwo()
    call(faster, (9.0, 90.0))
    faster._other = None
    call(faster, (1.0, 1.5))
    assert faster.chosen == 0, "1.5 is less than 5, the mean of both periods, and more than 1"


def test_the_choice_changes_when_a_busy_program_starts_and_back_when_it_ends(call):
    faster = FasterOfTwo()
    call(faster, (1.0, 1.5), 9 * PERIOD)
    assert faster.chosen == 0
    call(faster, (4.0, 1.6))
    assert faster.chosen == 1
    call(faster, (1.0, 1.5))
    assert faster.chosen == 1, "4, of the time before, and a trial of 1: 2.5"
    call(faster, (1.0, 1.5), 8 * PERIOD)
    assert faster.chosen == 0


def test_one_fast_or_slow_trial_does_not_decide(call):
    faster = FasterOfTwo()
    call(faster, (2.0, 4.0), 9 * PERIOD)
    call(faster, (2.0, 0.1))
    assert faster.chosen == 0
    call(faster, (2.0, 90.0))
    call(faster, (2.0, 1.0), 20 * PERIOD)
    assert faster.chosen == 1


def test_what_the_chosen_one_took_is_what_the_other_is_compared_with_afterwards(call):
    faster = FasterOfTwo()
    call(faster, (4.0, 1.0))
    assert faster.chosen == 1
    call(faster, (3.4, 3.6))
    assert faster.chosen == 1, "of the other is known that it took 4, and 3.4 once: 3.7"


@pytest.mark.parametrize(("trial", "chosen"), [(6.0, 1), (10.0, 0)])
def test_seconds_are_compared_per_unit_of_work(trial, chosen, call):
    faster = FasterOfTwo()
    call(faster, (20.0, 20.0), CHOSEN, size=10)
    call(faster, (0.0, trial), TRIAL, size=4)  # 1.5 or 2.5 a unit, against 2
    assert faster.chosen == chosen


def test_after_a_trial_that_raises_periods_go_on(call):
    faster = FasterOfTwo()
    call(faster, (1.0, 1.0), CHOSEN)
    for _ in range(TRIAL):
        with pytest.raises(ZeroDivisionError):
            faster.run((lambda: 0, lambda: 1 / 0))
    assert call(faster, (1.0, 2.0), 1) == [1]
    assert call(faster, (1.0, 2.0)) == [0] * CHOSEN + [1] * TRIAL
