"""The screen on which training, searches and evaluations report: a terminal with a live table, or plain lines."""

import sys

from rich.console import Console
from rich.live import Live

LINE_EVERY_S = 10  # seconds between two plain lines, outside of a terminal


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
