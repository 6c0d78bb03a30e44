"""The display of games that are played: a live line in a terminal until they are over, elsewhere plain lines."""

import time

from rich.console import Console
from rich.text import Text

from environments.screen import LINE_EVERY_S, Screen, format_duration


class GamesDisplay(Screen):
    """Shows how many games have ended, the agent steps so far, and the time left.

    The time left is estimated from the mean time of the games that have ended. In a terminal the line vanishes at the
    end of the `with` block, so results are printed after it.

    Args:
        total: the number of games, of all agents and ways of playing.
    """

    def __init__(self, total: int, console: Console | None = None):
        super().__init__(console, vanishes=True)
        self.total, self.done, self.steps, self.label = total, 0, 0, ""
        self._began = self._spoken = time.monotonic()

    def begin(self, label: str) -> None:
        """Set the label of the games that follow."""
        self.label = label

    def update(self, games: int, agent_steps: int) -> None:
        """Add the games that have ended and the agent steps that were played since the last update."""
        self.done, self.steps = self.done + games, self.steps + agent_steps
        if self._live:
            self._live.update(Text(self.format_line()))
        elif time.monotonic() - self._spoken >= LINE_EVERY_S:
            self._spoken = time.monotonic()
            self.print_line(self.format_line())

    def format_line(self) -> str:
        """Return the line: `seed 1, greedy: 12 of 60 games, 45,000 agent steps, time left 2 min 10 s`."""
        spent = time.monotonic() - self._began
        left = (
            format_duration(spent / self.done * (self.total - self.done))
            if self.done
            else "unknown before the first game"
        )
        return f"{self.label}: {self.done} of {self.total} games, {self.steps:,} agent steps, time left {left}"
