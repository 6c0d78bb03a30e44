"""Measures which of two functions that return the same is faster, again and again.

On quiet cores two threads are faster than one; where other programs compute too, one thread is, because it waits for no
other. Neighbours come and go while a run trains, so the other function is tried now and then.
"""

import time
from collections.abc import Callable, Sequence
from typing import Any

PERIOD = 64  # calls; the last of them is a trial of the function that is not chosen
TRUST = 0.25  # in a new trial, against those before: one that was interrupted does not count for long


class FasterOfTwo:
    """Calls one of two functions: the one that has taken less time lately.

    Both must return the same bits. Then a run learns the same on a busy machine as on a quiet one.
    """

    def __init__(self):
        self.chosen = 0
        self._is_warm = [False, False]  # the first call of a function prepares more than it computes: it is not timed
        self._other: float | None = None  # seconds that the other function takes for a unit of work
        self._start_period()

    def _start_period(self) -> None:
        self._calls, self._seconds, self._size = 0, 0.0, 0  # of the chosen function

    def run(self, functions: Sequence[Callable[[], Any]], size: int = 1) -> Any:
        """Return the result of one of the two functions.

        Args:
            functions: the two, in the same order at each call.
            size: of the work, such as its rows: seconds are compared per unit.
        """
        self._calls += 1
        is_trial = self._calls >= PERIOD
        called = 1 - self.chosen if is_trial else self.chosen
        present = self._seconds / self._size if self._size else 0.0
        if is_trial:
            self._start_period()
        start = time.perf_counter()
        result = functions[called]()
        seconds = time.perf_counter() - start
        if not self._is_warm[called]:
            self._is_warm[called] = True
        elif is_trial:
            self._compare(seconds / size, present)
        else:
            self._seconds, self._size = self._seconds + seconds, self._size + size
        return result

    def _compare(self, trial: float, present: float) -> None:
        """Choose the other function if it is faster, by its trials, than the chosen one was in this period."""
        other = trial if self._other is None else TRUST * trial + (1 - TRUST) * self._other
        if other < present:
            self.chosen, other = 1 - self.chosen, present
        self._other = other
