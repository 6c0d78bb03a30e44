"""Displays of the progress of trainings and searches: a live table in a terminal, plain lines elsewhere."""

import math
import time
from collections.abc import Callable
from textwrap import fill
from typing import Any

from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from environments.screen import LINE_EVERY_S, Pace, Screen, format_duration, format_score
from settings.mistakes import format_count

SCORE = "score"  # the format of scores: see format_score
PROGRESS_COLUMNS = (
    # column of progress.csv, label, format; every algorithm has these columns
    ("agent_steps", "agent steps", "{:,.0f}"),
    ("agent_steps_per_s", "steps/s", "{:,.0f}"),
    ("episode_return_mean", "score", SCORE),
    ("episodes", "games", "{:,.0f}"),
)
LOSS_COLUMNS = (
    # columns that some algorithms have, the most important first
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
MAX_LINE_LENGTH = 159  # characters of a plain line
MIN_SPARKLINE_WIDTH = 76  # columns of a terminal; a narrower one shows no sparklines of several seeds
MARGIN = 2  # columns that stay free for the ^C that a terminal prints; a wrapped line would leave a second copy
SPARKLINE_CHARACTERS = " ▁▂▃▄▅▆▇█"
ASCII_CHARACTERS = str.maketrans("━─▁▂▃▄▅▆▇█", "#-_.,-~=+#")


class Display(Screen):
    """The progress of a training: a live table of at least 60 columns in a terminal, a line now and then elsewhere.

    Args:
        seeds: the seeds of the training.
        total: the agent steps of each seed.
        time_s: seconds of training after which each seed ends, if it has not ended before; None for no limit.
        console: where the progress is shown; None for standard output.
    """

    def __init__(self, seeds: list[int], total: int, time_s: float | None = None, console: Console | None = None):
        super().__init__(console)
        self.time_s = time_s
        self.rows: dict[int, dict[str, Any]] = {}
        self.scores: dict[int, list[float]] = {seed: [] for seed in seeds}  # seed -> scores of all its rows so far
        self._paces: dict[int, Pace] = {}
        self.seeds, self.total = seeds, total
        self._printed_at: dict[int, float] = {}  # seed -> the time of its last plain line, in seconds
        self.evaluation = ""  # the newest one of a single seed, as text

    def show_row(self, seed: int, row: dict[str, Any]) -> None:
        """Show a new row of progress.csv."""
        self.rows[seed] = row
        self.scores.setdefault(seed, []).append(row.get("episode_return_mean", math.nan))
        pace = self._paces.setdefault(seed, Pace())
        pace.add(row["agent_steps"], row["wall_time_s"], row.get("agent_steps_per_s"))
        if self._live:
            self._live.update(self.draw_progress(min(self.console.width - MARGIN, 100)))
            return
        now = time.monotonic()
        if now - self._printed_at.get(seed, -math.inf) >= LINE_EVERY_S or row["agent_steps"] >= self.total:
            self._printed_at[seed] = now
            self.print_line(self._format_plain_line(seed, row))

    def show_evaluation(self, name: str, text: str) -> None:
        """Show an evaluation that has come in: in the table of a single seed, else in a line."""
        if self._live and len(self.seeds) == 1 and self.rows:
            self.evaluation = text
            self._live.update(self.draw_progress(min(self.console.width - MARGIN, 100)))
        else:
            self.print_line(f"{name} {text}")

    def draw_progress(self, width: int) -> Text:
        """Return the text for a terminal, in lines of at most `width` characters; each of several seeds has one."""
        rows = sorted(self.rows.items())
        if len(self.seeds) > 1:
            lines = [
                format_columns(
                    "course".rjust(16) if width >= MIN_SPARKLINE_WIDTH else "", "done", "score", "steps/s", "time left"
                ).rjust(width)
            ]
            lines += [self._format_seed_row(seed, row, width) for seed, row in rows]
            if waiting := [str(seed) for seed in self.seeds if seed not in self.rows]:
                lines.append(f"seed {', '.join(waiting)}: no numbers yet; runs wait until there is room"[:width])
        else:
            lines = [line for seed, row in rows for line in self._format_seed_lines(seed, row, width)]
        text = "\n".join(lines)
        if not self.console.encoding.lower().startswith("utf"):
            text = text.translate(ASCII_CHARACTERS)
        return Text(text, no_wrap=True, overflow="crop")

    def _format_seed_row(self, seed: int, row: dict[str, Any], width: int) -> str:
        share = self.compute_share(row)
        score = format_number(row.get("episode_return_mean"), SCORE)
        speed = format_number(row.get("agent_steps_per_s"), "{:,.0f}")
        course = draw_sparkline(self.scores[seed], 16).rjust(16) if width >= MIN_SPARKLINE_WIDTH else ""
        facts = format_columns(course, f"{share:.0%}", score, speed, self.estimate_left(row, self._paces[seed]))
        name = f"seed {seed} "
        return name + draw_bar(share, width - len(name) - len(facts)) + facts

    def _format_seed_lines(self, seed: int, row: dict[str, Any], width: int) -> list[str]:
        share = self.compute_share(row)
        of_time = share > row["agent_steps"] / self.total  # the time limit comes first
        facts = f"  {share:.0%}{' of its time' if of_time else ''}   {self.estimate_left(row, self._paces[seed])} left"
        words = [f"{row['agent_steps']:,} of {self.total:,} agent steps"]
        words += [f"{format_number(row.get('agent_steps_per_s'), '{:,.0f}')} steps/s"]
        score, games = format_number(row.get("episode_return_mean"), SCORE), row.get("episodes", 0)
        last = f"{format_count(min(100, games), 'game')} of {games:,.0f}" if games else ""
        score = f"score {score}, the mean of the last {last}" if games else "no game has ended yet"
        losses = [f"{name} {format_number(row[key], form)}" for key, name, form in LOSS_COLUMNS if key in row]
        lines = [draw_bar(share, width - len(facts)) + facts, *wrap_words(words, width), *wrap_words([score], width)]
        lines += [self.evaluation[:width]]
        lines += [draw_sparkline(self.scores[seed], min(60, width)), *wrap_words(losses, width)]
        return [line for line in lines if line]

    def _format_plain_line(self, seed: int, row: dict[str, Any]) -> str:
        """Return the values of a row that fit in a plain line, the most important first."""
        words = [f"seed {seed}"] if len(self.seeds) > 1 else []
        words += [f"{name} {format_number(row[key], form)}" for key, name, form in PROGRESS_COLUMNS if key in row]
        words += [f"time left {self.estimate_left(row, self._paces[seed])}"]
        for key, name, form in LOSS_COLUMNS:
            word = f"{name} {format_number(row[key], form)}" if key in row else ""
            if word and len("  ".join([*words, word])) <= MAX_LINE_LENGTH:
                words.append(word)
        return "  ".join(words)

    def estimate_left(self, row: dict[str, Any], pace: Pace) -> str:
        """Return the time left after a row, given the pace of its training: `1 h 20 min`, `45 s`."""
        seconds, limit = pace.estimate_seconds_left(self.total), self.time_s or math.inf
        return format_duration(min(seconds, max(0, limit - row["wall_time_s"])))

    def compute_share(self, row: dict[str, Any]) -> float:
        """Return the share of the run that is done, from 0 to 1: of its agent steps or of its time, the larger one."""
        of_time = 0.0 if self.time_s is None else row["wall_time_s"] / self.time_s
        return min(1.0, max(row["agent_steps"] / self.total, of_time))


def format_columns(course: str, share: str, score: str, speed: str, left: str) -> str:
    """Return the words beside the bar of a seed, or above them, in columns of fixed width."""
    return f"{share:>5}  {course}{score:>9}{speed:>9}{left:>12}"


def draw_bar(share: float, width: int) -> str:
    """Return a bar of `width` characters that is filled by a share from 0 to 1: `━━━━━─────`."""
    full = round(share * width)
    return "━" * full + "─" * (width - full)


def wrap_words(words: list[str], width: int) -> list[str]:
    """Return words in as few lines as possible, each of at most `width` characters; a longer word is cut off."""
    lines: list[str] = []
    for word in words:
        if lines and len(lines[-1]) + 3 + len(word) <= width:
            lines[-1] += f"   {word}"
        else:
            lines.append(word[:width])
    return lines


def draw_sparkline(values: list[float], width: int) -> str:
    """Return a curve of values as `▁▂▄▇`, each character a mean of several, without NaNs; empty for one value."""
    known = [value for value in values if not math.isnan(value)]
    if len(known) < 2:
        return ""
    count = min(width, len(known))
    edges = [len(known) * i // count for i in range(count + 1)]
    means = [sum(known[a:b]) / (b - a) for a, b in zip(edges, edges[1:], strict=False)]
    low, span = min(means), max(means) - min(means)
    return "".join(SPARKLINE_CHARACTERS[1 + round(7 * (mean - low) / span) if span else 1] for mean in means)


def format_number(value: Any, form: str) -> str:
    """Return a number as text; a dash for None or NaN.

    A number that the format would round to zero is written as `-3e-05`, except in percent.
    """
    if value is None or math.isnan(value):
        return "-"
    text = format_score(value) if form == SCORE else form.format(value)
    lost = value and "%" not in form and not any(digit in text for digit in "123456789")
    return f"{value:.0e}" if lost else text


STATE_WORDS = {"COMPLETE": "came to its end", "PRUNED": "stopped early", "FAIL": "failed"}


class SearchDisplay(Screen):
    """The progress of a search: the running trials as a live table in a terminal, a line for each trial that has ended.

    Args:
        describe_progress: returns a sentence: how many trials have ended in which state, and the best score.
        console: where the progress is shown; None for standard output.
        noun: what a trial is called in the table.
    """

    num_expected = 0  # trials that will end in this start of the search; the time left is computed from it

    def __init__(self, describe_progress: Callable[[], str], console: Console | None = None, noun: str = "trial"):
        super().__init__(console)
        self.describe_progress, self.noun = describe_progress, noun
        self.trials: dict[str, tuple[str, int, float]] = {}  # running trials: label -> values, agent steps, score
        self._began_at, self._num_ended = time.monotonic(), 0

    def start_trial(self, label: str, values: dict[str, Any]) -> None:
        """Show that a trial starts or continues."""
        self.trials[label] = format_values(values), 0, math.nan
        self._show_table()

    def update_trial(self, label: str, agent_steps: int, score: float) -> None:
        """Show the agent steps and the score that a trial has reported."""
        if label in self.trials:  # not its last report, which Tune delivers after its end
            self.trials[label] = self.trials[label][0], agent_steps, score
        self._show_table()

    def pause_trial(self, label: str) -> None:
        """Show that a trial has stopped for now."""
        self.trials.pop(label)
        self._num_ended += 1
        self._show_table()

    def end_trial(self, label: str, state: str, agent_steps: int, score: float, why: str = "") -> None:
        """Print how a trial has ended.

        Args:
            label: the label of the trial.
            state: COMPLETE, PRUNED or FAIL, as Optuna was told.
            agent_steps: the agent steps that it has trained for, per seed.
            score: its score at the end; NaN if it has none.
            why: the reason of a failure.
        """
        values, *_ = self.trials.pop(label)
        self._num_ended += 1
        how = f"{STATE_WORDS[state]}, {why}" if why else f"{STATE_WORDS[state]} at {agent_steps:,} agent steps"
        line = f"{label} {how}: {format_number(score, SCORE)}  {values}".rstrip()
        width = self.console.width if self._live else len(line)
        self.print_line(fill(line, width, break_long_words=False, break_on_hyphens=False))
        if not self._live:
            self.print_line(self._describe_with_time_left())
        self._show_table()

    def _describe_with_time_left(self) -> str:
        if not 0 < self._num_ended < self.num_expected:
            return self.describe_progress()
        done = self._num_ended + len(self.trials) / 2  # a running one is half done on average
        seconds = (time.monotonic() - self._began_at) / done * max(0, self.num_expected - done)
        return f"{self.describe_progress()}, time left {format_duration(seconds)}"

    def _show_table(self) -> None:
        if not self._live:
            return
        table = Table(box=None, header_style="dim")
        for heading in (self.noun, "agent steps", "score"):
            table.add_column(heading, justify="right" if heading != self.noun else "left", no_wrap=True)
        if any(values for values, *_ in self.trials.values()):
            table.add_column("values")
        for label, (values, agent_steps, score) in self.trials.items():
            cells = [Text(values, no_wrap=True, overflow="ellipsis")] if values else []
            table.add_row(label, f"{agent_steps:,}", format_number(score, SCORE), *cells)
        self._live.update(Group(Text(self._describe_with_time_left()), *([table] if self.trials else [])))


def format_values(values: dict[str, Any]) -> str:
    """Return the values of a trial as text: `algo.lr=0.00031  algo.horizon=64`."""
    texts = {k: "null" if v is None else f"{v:.4g}" if isinstance(v, float) else v for k, v in values.items()}
    return "  ".join(f"{key}={text}" for key, text in texts.items())
