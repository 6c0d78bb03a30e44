"""Measures which of two functions that return the same is faster, again and again.

Two threads can be faster than one on quiet cores, and slower where other programs compute too, because they wait for
each other. Such programs come and go while a run trains, so the other function is tried now and then.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

PERIOD, TRIAL = 256, 4  # calls; the last ones of a period are a trial of the function that is not chosen
TRUST = 0.5  # in a new trial, against those before: one that was interrupted does not count for long


class FasterOfTwo:
    """Calls one of two functions: the one that has taken less time lately.

    Both must return the same bits. Then a run learns the same on a busy machine as on a quiet one.
    """

    def __init__(self):
        self.chosen = 0
        self._other: float | None = None  # seconds that the other function takes for a unit of work
        self._start_period()

    def _start_period(self) -> None:
        self._calls = 0
        self._seconds, self._sizes = [0.0, 0.0], [0, 0]  # of the chosen function, and of the trial

    def run(self, functions: Sequence[Callable[[], Any]], size: int = 1) -> Any:
        """Return the result of one of the two functions.

        Args:
            functions: the two, in the same order at each call.
            size: of the work, such as its rows: seconds are compared per unit.
        """
        self._calls += 1
        is_trial = self._calls > PERIOD - TRIAL
        changes = self._calls in (1, PERIOD - TRIAL + 1)  # the first call wakes threads that slept: it is not timed
        start = time.perf_counter()
        result = functions[1 - self.chosen if is_trial else self.chosen]()
        if not changes:
            self._seconds[is_trial] += time.perf_counter() - start
            self._sizes[is_trial] += size
        if self._calls >= PERIOD:
            if all(self._sizes):
                self._compare(*(seconds / size for seconds, size in zip(self._seconds, self._sizes, strict=True)))
            self._start_period()
        return result

    def _compare(self, present: float, trial: float) -> None:
        """Choose the other function if it is faster, by its trials, than the chosen one was in this period."""
        other = trial if self._other is None else TRUST * trial + (1 - TRUST) * self._other
        if other < present:
            self.chosen, other = 1 - self.chosen, present
        self._other = other
