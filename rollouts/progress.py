"""The progress of a run: its counters, its last hundred games and its clock, which checkpoints save.

The x-axis of all curves is `agent_steps`, counted from the Rollouts; RLlib's own counters of trained steps count each
minibatch again.
"""

import math
import time
from collections import deque
from collections.abc import Collection
from typing import Any

WINDOW = 100  # full games whose mean is episode_return_mean


def compute_mean(numbers: Collection[float]) -> float:
    """Return the mean of some numbers; nan where there are none."""
    return sum(numbers) / len(numbers) if numbers else math.nan


class Progress:
    """Counters of one run, which checkpoints save and restore."""

    def __init__(self):
        self.agent_steps = 0
        self.episodes = 0
        self.wall_time_s = 0.0  # of training, over all starts
        self.scores: deque[float] = deque(maxlen=WINDOW)
        self.lengths: deque[int] = deque(maxlen=WINDOW)
        self.recent_scores: list[float] = []  # since the last row
        self._start: int | None = 0  # agent steps at the start of this process; None once `take_start` returned it
        self._since = math.nan  # time.perf_counter() at wall_time_s = 0; nan while the clock stands
        self._last = (0, 0.0)
        self.bytes_per_agent_step = 0.0
        self.learning_s = 0.0  # since the last row

    @property
    def is_first_row(self) -> bool:
        """Whether this process, or the checkpoint that it has just loaded, has no row yet."""
        return self._start is not None

    def take_start(self) -> int | None:
        """Return, at the first call only, the agent steps at which this process started. Rows of progress.csv beyond
        them come from an earlier process, which got further than its last checkpoint."""
        start, self._start = self._start, None
        return start

    def start_clock(self) -> None:
        """Let the clock run, if it stands."""
        if math.isnan(self._since):
            self._since = time.perf_counter() - self.wall_time_s
            self._last = (self.agent_steps, self.wall_time_s)

    def stop_clock(self) -> None:
        """Let the clock stand until the next row: the process trains another seed now."""
        self._since = math.nan

    def count_rollouts(self, summaries: list[dict[str, Any]], remote: bool) -> None:
        """Add the Rollouts of one update, given their summaries; `remote`: other processes sent them."""
        steps = sum(s["agent_steps"] for s in summaries)
        self.agent_steps += steps
        self.bytes_per_agent_step = sum(s["num_bytes"] for s in summaries) / steps if remote else 0.0
        for s in summaries:
            self.scores.extend(s["scores"])
            self.lengths.extend(s["lengths"])
            self.recent_scores += s["scores"]
            self.episodes += len(s["scores"])

    def make_row(self, frameskip: int) -> dict[str, float]:
        """Return one row of progress.csv, without the loss terms."""
        self.wall_time_s = time.perf_counter() - self._since
        steps, seconds = self.agent_steps - self._last[0], self.wall_time_s - self._last[1]
        self._last = (self.agent_steps, self.wall_time_s)
        speed = {"agent_steps_per_s": round(steps / max(seconds, 1e-9), 1)}
        if self.learning_s:  # the learner waits for rollouts the rest of the time, or sends weights
            speed["learner_busy"], self.learning_s = round(min(1.0, self.learning_s / max(seconds, 1e-9)), 3), 0.0
        speed["recent_return_mean"] = compute_mean(self.recent_scores)
        self.recent_scores.clear()
        return self.compute_totals(frameskip) | speed | {"bytes_per_agent_step": round(self.bytes_per_agent_step, 1)}

    def compute_totals(self, frameskip: int) -> dict[str, float]:
        """Return the counters of the run as progress.csv and progress.json name them."""
        return {
            "agent_steps": self.agent_steps,
            "env_frames": self.agent_steps * frameskip,
            "wall_time_s": round(self.wall_time_s, 6),
            "episodes": self.episodes,
            "episode_return_mean": compute_mean(self.scores),
            "episode_length_mean": compute_mean(self.lengths),
        }

    def get_state(self) -> dict[str, Any]:
        names = ("agent_steps", "episodes", "wall_time_s")
        return {name: getattr(self, name) for name in names} | {
            "scores": list(self.scores),
            "lengths": list(self.lengths),
        }

    def set_state(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state | {name: deque(state[name], WINDOW) for name in ("scores", "lengths")})
        self._start, self._since = self.agent_steps, math.nan
        self.recent_scores = []
