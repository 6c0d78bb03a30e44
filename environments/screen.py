"""The screen on which training, searches and evaluations report: a terminal with a live table, or plain lines."""

import sys
from collections import deque

from rich.console import Console
from rich.live import Live

LINE_EVERY_S = 10  # seconds between two plain lines, outside of a terminal
PACE_S = 600  # seconds of training whose mean speed the time left is estimated from


class Screen:
    """A terminal with a live table, or a file with plain lines.

    Args:
        console: where progress is shown; None for standard output.
        vanishes: whether the live table is erased at its end, because results are printed after it.
    """

    def __init__(self, console: Console | None, vanishes: bool = False):
        self.console = console or Console()
        live = self.console.is_terminal
        self._live = Live(console=self.console, refresh_per_second=2, transient=vanishes) if live else None

    def __enter__(self):
        if self._live:
            self._live.start()
        return self

    def __exit__(self, *_) -> None:
        if self._live:
            self._live.stop()

    def print_line(self, text: str) -> None:
        """Print a line; in a terminal it stays above the live table."""
        self.console.print(text, highlight=False, markup=False, soft_wrap=True)
        sys.stdout.flush()


class Pace:
    """The speed of a training over its last PACE_S seconds: what it did before, on another machine or beside other
    programs, says nothing about the time that is left."""

    def __init__(self):
        self._moments: deque[tuple[float, float]] = deque()  # (agent steps, seconds of training)

    def add(self, steps: float, seconds: float, speed: float | None = None) -> None:
        """Add a moment.

        Args:
            steps: agent steps so far.
            seconds: seconds of training so far; they or the steps are fewer if the process went back to a checkpoint.
            speed: agent steps per second just before, for the first moment; None for the mean so far.
        """
        if not self._moments or steps <= self._moments[-1][0] or seconds <= self._moments[-1][1]:
            speed = speed or steps / max(seconds, 1e-9)
            self._moments = deque([(steps - speed, seconds - 1)])
        self._moments.append((steps, seconds))
        while self._moments[1][1] < seconds - PACE_S:
            self._moments.popleft()

    def estimate_seconds_left(self, total: int) -> float:
        """Return the seconds until `total` agent steps."""
        (first, began), (steps, seconds) = self._moments[0], self._moments[-1]
        return max(0, total - steps) * (seconds - began) / max(steps - first, 1e-9)


def format_duration(seconds: float) -> str:
    """Return a number of seconds as text: `1 h 20 min`, `3 min 20 s`, `45 s`."""
    seconds = round(seconds)
    if seconds >= 3600:
        return f"{seconds // 3600} h {seconds % 3600 // 60:02d} min"
    return f"{seconds // 60} min {seconds % 60:02d} s" if seconds >= 60 else f"{seconds} s"


def format_score(score: float, sign: str = "") -> str:
    """Return a score as text, with one decimal from 10 on, `1,234.5`, else with two or three, `7.25` and `0.415`, as
    there are games whose scores are below 1; `sign="+"` writes the sign of positive ones too."""
    size = abs(score)
    if 0 < size < 0.0005:
        return f"{score:{sign}.1g}"
    decimals = 1 if round(size, 2) >= 10 or not size or size != size else 2 if round(size, 3) >= 1 else 3
    return f"{score or 0.0:{sign},.{decimals}f}"
