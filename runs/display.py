"""Progress a person can read: a picture that moves in a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from environments.screen import LINE_EVERY_S, Screen, duration
from settings.mistakes import counted

PROGRESS = (
    # key, what a screen calls it, format; in every algorithm
    ("agent_steps", "agent steps", "{:,.0f}"),
    ("agent_steps_per_s", "steps/s", "{:,.0f}"),
    ("episode_return_mean", "score", "{:,.1f}"),
    ("episodes", "games", "{:,.0f}"),
)
LOSSES = (
    # as far as the algorithm has them, what matters most first
    ("policy_loss", "policy loss", "{:.4f}"),
    ("value_loss", "value loss", "{:.4f}"),
    ("q_loss", "Q loss", "{:.4f}"),
    ("q_mean", "Q", "{:.2f}"),
    ("epsilon", "epsilon", "{:.3f}"),
    ("entropy", "entropy", "{:.3f}"),
    ("approx_kl", "KL", "{:.4f}"),
    ("clip_fraction", "clipped", "{:.1%}"),
    ("staleness", "staleness", "{:.1f}"),
    ("explained_variance", "expl. var.", "{:.2f}"),
)
LONGEST, WIDE = 159, 76  # characters of a plain line at most; columns that have room for the course of each seed
MARGIN = 2  # columns for the ^C that a terminal shows; a line more would leave the picture twice
BARS = " ▁▂▃▄▅▆▇█"
IN_ASCII = str.maketrans("━─▁▂▃▄▅▆▇█", "#-_.,-~=+#")


class Display(Screen):
    """How far a run is: in a terminal a picture that fits any width from 60 columns, elsewhere a line now and then.

    Args:
        seeds: of the runs.
        total: agent steps each will take.
        time_s: seconds of training after which each ends, if it is not there before.
    """

    def __init__(self, seeds: list[int], total: int, time_s: float | None = None, console: Console | None = None):
        super().__init__(console)
        self.time_s = time_s
        self.rows: dict[int, dict[str, Any]] = {}
        self.scores: dict[int, list[float]] = {seed: [] for seed in seeds}  # of all rows so far
        self.seeds, self.total = seeds, total
        self._spoken: dict[int, float] = {}

    def update(self, seed: int, row: dict[str, Any]) -> None:
        """Show a new row of progress.csv."""
        self.rows[seed] = row
        self.scores.setdefault(seed, []).append(row.get("episode_return_mean", math.nan))
        if self._live:
            self._live.update(self.picture(min(self.console.width - MARGIN, 100)))
        elif time.monotonic() - self._spoken.get(seed, -math.inf) >= LINE_EVERY_S or row["agent_steps"] >= self.total:
            self._spoken[seed] = time.monotonic()
            self.say(self._line(seed, row))

    def picture(self, width: int) -> Text:
        """All that a terminal shows, in lines of at most `width` characters: of several seeds a row each."""
        rows = sorted(self.rows.items())
        if len(self.seeds) > 1:
            lines = [
                facts_in_row(
                    "course".rjust(16) if width >= WIDE else "", "done", "score", "steps/s", "time left"
                ).rjust(width)
            ]
            lines += [self._row(seed, row, width) for seed, row in rows]
        else:
            lines = [line for seed, row in rows for line in self._lines(seed, row, width)]
        text = "\n".join(lines)
        if not self.console.encoding.lower().startswith("utf"):
            text = text.translate(IN_ASCII)
        return Text(text, no_wrap=True, overflow="crop")

    def _row(self, seed: int, row: dict[str, Any], width: int) -> str:
        share = self.share(row)
        score, speed = shown(row.get("episode_return_mean"), "{:,.1f}"), shown(row.get("agent_steps_per_s"), "{:,.0f}")
        course = spark(self.scores[seed], 16).rjust(16) if width >= WIDE else ""
        facts, name = facts_in_row(course, f"{share:.0%}", score, speed, self.time_left(row)), f"seed {seed} "
        return name + bar(share, width - len(name) - len(facts)) + facts

    def _lines(self, seed: int, row: dict[str, Any], width: int) -> list[str]:
        share = self.share(row)
        facts = f"  {share:.0%}   {self.time_left(row)} left"
        words = [f"{row['agent_steps']:,} of {self.total:,} agent steps"]
        words += [f"{shown(row.get('agent_steps_per_s'), '{:,.0f}')} steps/s"]
        score, games = shown(row.get("episode_return_mean"), "{:,.1f}"), row.get("episodes", 0)
        last = f"{counted(min(100, games), 'game')} of {games:,.0f}" if games else ""
        score = f"score {score}, the mean of the last {last}" if games else "no game has ended yet"
        losses = [f"{name} {shown(row[key], form)}" for key, name, form in LOSSES if key in row]
        lines = [bar(share, width - len(facts)) + facts, *in_lines(words, width), *in_lines([score], width)]
        return [line for line in (*lines, spark(self.scores[seed], min(60, width)), *in_lines(losses, width)) if line]

    def _line(self, seed: int, row: dict[str, Any]) -> str:
        """As much of a row as a plain line has room for."""
        words = [f"seed {seed}"] if len(self.seeds) > 1 else []
        words += [f"{name} {shown(row[key], form)}" for key, name, form in PROGRESS if key in row]
        words += [f"time left {self.time_left(row)}"]
        for key, name, form in LOSSES:
            word = f"{name} {shown(row[key], form)}" if key in row else ""
            if word and len("  ".join([*words, word])) <= LONGEST:
                words.append(word)
        return "  ".join(words)

    def time_left(self, row: dict[str, Any]) -> str:
        """From the mean speed so far: `1 h 20 min`, `45 s`."""
        seconds = max(0, self.total - row["agent_steps"]) * row["wall_time_s"] / max(row["agent_steps"], 1)
        return duration(seconds if self.time_s is None else min(seconds, max(0, self.time_s - row["wall_time_s"])))

    def share(self, row: dict[str, Any]) -> float:
        """How much of the run is done, from 0 to 1, by whichever end is nearer."""
        of_time = 0.0 if self.time_s is None else row["wall_time_s"] / self.time_s
        return min(1.0, max(row["agent_steps"] / self.total, of_time))


def facts_in_row(course: str, share: str, score: str, speed: str, left: str) -> str:
    """What stands beside the bar of one of several seeds, in columns."""
    return f"{share:>5}  {course}{score:>9}{speed:>9}{left:>12}"


def bar(share: float, width: int) -> str:
    """`━━━━━─────`, a share of a width."""
    full = round(share * width)
    return "━" * full + "─" * (width - full)


def in_lines(words: list[str], width: int) -> list[str]:
    """Words side by side, in lines of at most `width` characters; none is broken."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 3 + len(word) <= width:
            lines[-1] += f"   {word}"
        else:
            lines.append(word[:width])
    return lines


def spark(values: list[float], width: int) -> str:
    """The course of values as `▁▂▄▇`, each character the mean of a stretch; where there are none yet, nothing."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2:
        return ""
    count = min(width, len(known))
    edges = [len(known) * i // count for i in range(count + 1)]
    means = [sum(known[a:b]) / (b - a) for a, b in zip(edges, edges[1:], strict=False)]
    low, span = min(means), max(means) - min(means)
    return "".join(BARS[1 + round(7 * (mean - low) / span) if span else 1] for mean in means)


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
