"""Progress a person can read: a live table in a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table

from environments.screen import LINE_EVERY_S, Screen, duration

COLUMNS = (
    # key, heading, format
    ("agent_steps", "agent steps", "{:,.0f}"),
    ("env_frames", "env frames", "{:,.0f}"),
    ("agent_steps_per_s", "steps/s", "{:,.0f}"),
    ("episode_return_mean", "return (100)", "{:,.1f}"),
    ("episodes", "games", "{:,.0f}"),
    ("policy_loss", "policy loss", "{:.4f}"),
    ("value_loss", "value loss", "{:.4f}"),
    ("entropy", "entropy", "{:.3f}"),
    ("approx_kl", "KL", "{:.4f}"),
    ("clip_fraction", "clipped", "{:.1%}"),
    ("explained_variance", "expl. var.", "{:.2f}"),
    ("q_loss", "Q loss", "{:.4f}"),
    ("q_mean", "Q", "{:.2f}"),
    ("epsilon", "epsilon", "{:.3f}"),
    ("staleness", "staleness", "{:.1f}"),
)


class Display(Screen):
    """One line per seed, the newest row of each.

    Args:
        seeds: of the runs.
        total: agent steps each will take.
    """

    def __init__(self, seeds: list[int], total: int, console: Console | None = None):
        super().__init__(console)
        self.rows: dict[int, dict[str, Any]] = {}
        self.seeds, self.total = seeds, total
        self._spoken: dict[int, float] = {}

    def update(self, seed: int, row: dict[str, Any]) -> None:
        """Show a new row of progress.csv."""
        self.rows[seed] = row
        if self._live:
            self._live.update(self._table())
        elif time.monotonic() - self._spoken.get(seed, -math.inf) >= LINE_EVERY_S or row["agent_steps"] >= self.total:
            self._spoken[seed] = time.monotonic()
            self.say(self._line(seed, row))

    def _table(self) -> Table:
        table = Table(box=None, header_style="dim")
        several = len(self.seeds) > 1
        columns = [c for c in COLUMNS if any(c[0] in row for row in self.rows.values())]
        for heading in [*(["seed"] if several else []), *(c[1] for c in columns), "time left"]:
            table.add_column(heading, justify="right")
        for seed, row in sorted(self.rows.items()):
            cells = [shown(row.get(key), form) for key, _, form in columns]
            table.add_row(*([str(seed)] if several else []), *cells, self.time_left(row))
        return table

    def _line(self, seed: int, row: dict[str, Any]) -> str:
        words = [f"seed {seed}"] if len(self.seeds) > 1 else []
        words += [f"{heading} {shown(row[key], form)}" for key, heading, form in COLUMNS if key in row]
        return "  ".join([*words, f"time left {self.time_left(row)}"])

    def time_left(self, row: dict[str, Any]) -> str:
        """From the mean speed so far: `1 h 20 min`, `45 s`."""
        seconds = max(0, self.total - row["agent_steps"]) * row["wall_time_s"] / max(row["agent_steps"], 1)
        return duration(seconds)


def shown(value: Any, form: str) -> str:
    """A number as the table writes it, a small one with what digits it has; a dash where there is none yet."""
    if value is None or math.isnan(value):
        return "-"
    text = form.format(value)
    lost = value and "%" not in form and not any(digit in text for digit in "123456789")
    return f"{value:.0e}" if lost else text


ENDS = {"COMPLETE": "came to its end", "PRUNED": "stopped early", "FAIL": "failed"}


class SearchDisplay(Screen):
    """How a search stands: the trials under way as a table in a terminal, a line for every trial that has ended.

    Args:
        standing: in words, how many trials have ended how, and the best so far.
    """

    left = 0  # trials that this start will bring to an end

    def __init__(self, standing: Callable[[], str], console: Console | None = None):
        super().__init__(console)
        self.standing = standing
        self.trials: dict[str, tuple[str, int, float]] = {}  # under way: values, agent steps, score
        self._began, self._ended = time.monotonic(), 0

    def begin(self, label: str, values: dict[str, Any]) -> None:
        """A trial starts, or goes on."""
        self.trials[label] = spelt(values), 0, math.nan
        self._show()

    def update(self, label: str, agent_steps: int, score: float) -> None:
        """A trial has reported."""
        if label in self.trials:  # its last report comes after its end
            self.trials[label] = self.trials[label][0], agent_steps, score
        self._show()

    def pause(self, label: str) -> None:
        """A trial does not train for now."""
        self.trials.pop(label)
        self._ended += 1
        self._show()

    def end(self, label: str, state: str, agent_steps: int, score: float, why: str = "") -> None:
        """A trial has ended, and the storage knows it."""
        values, *_ = self.trials.pop(label)
        self._ended += 1
        how = f"{ENDS[state]}, {why}" if why else f"{ENDS[state]} at {agent_steps:,} agent steps"
        self.say(f"{label} {how}: {shown(score, '{:,.1f}')}  {values}")
        if not self._live:
            self.say(self._standing())
        self._show()

    def _standing(self) -> str:
        if not self._ended:
            return f"{self.standing()}, time left -"
        each = (time.monotonic() - self._began) / self._ended
        return f"{self.standing()}, time left {duration(each * max(0, self.left - self._ended))}"

    def _show(self) -> None:
        if not self._live:
            return
        table = Table(box=None, header_style="dim", title=self._standing(), title_justify="left")
        for heading in ("trial", "agent steps", "score"):
            table.add_column(heading, justify="right" if heading != "trial" else "left")
        table.add_column("values")
        for label, (values, agent_steps, score) in self.trials.items():
            table.add_row(label, f"{agent_steps:,}", shown(score, "{:,.1f}"), values)
        self._live.update(table)


def spelt(values: dict[str, Any]) -> str:
    """`algo.lr=0.00031  algo.horizon=64`."""
    return "  ".join(
        f"{key}={value:.4g}" if isinstance(value, float) else f"{key}={value}" for key, value in values.items()
    )
