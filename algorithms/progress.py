"""What a run reports, and how the counters, the last hundred games and the clock survive a restart.

The x-axis of everything is `agent_steps`, counted from the Rollouts themselves; RLlib's own counters of trained steps
count minibatches several times.
"""

import math
import time
from collections import deque
from typing import Any

WINDOW = 100  # full games in episode_return_mean


class Progress:
    """Counters of one run. All of it is saved in checkpoints."""

    def __init__(self):
        self.agent_steps = 0
        self.episodes = 0
        self.wall_time_s = 0.0  # of training, over all starts
        self.scores: deque[float] = deque(maxlen=WINDOW)
        self.lengths: deque[int] = deque(maxlen=WINDOW)
        self._start: int | None = 0  # agent steps at which this process began; None once it was taken
        self._since = math.nan  # when the clock would have shown 0; nan while it stands
        self._last = (0, 0.0)
        self.bytes_per_agent_step = 0.0
        self.learning_s = 0.0  # since the last row

    @property
    def begins(self) -> bool:
        """Whether this process, or the checkpoint that it has just loaded, has no row yet."""
        return self._start is not None

    def take_start(self) -> int | None:
        """Return, once, the agent steps that this process starts from: rows beyond them are of a lost timeline."""
        start, self._start = self._start, None
        return start

    def start_clock(self) -> None:
        """Time runs from here on."""
        if math.isnan(self._since):
            self._since = time.perf_counter() - self.wall_time_s
            self._last = (self.agent_steps, self.wall_time_s)

    def count(self, summaries: list[dict[str, Any]], remote: bool) -> None:
        """Add the Rollouts of one update."""
        steps = sum(s["agent_steps"] for s in summaries)
        self.agent_steps += steps
        self.bytes_per_agent_step = sum(s["num_bytes"] for s in summaries) / steps if remote else 0.0
        for s in summaries:
            self.scores.extend(s["scores"])
            self.lengths.extend(s["lengths"])
            self.episodes += len(s["scores"])

    def row(self, frameskip: int) -> dict[str, float]:
        """One line of progress.csv, without the loss terms."""
        self.wall_time_s = time.perf_counter() - self._since
        steps, seconds = self.agent_steps - self._last[0], self.wall_time_s - self._last[1]
        self._last = (self.agent_steps, self.wall_time_s)
        speed = {"agent_steps_per_s": round(steps / max(seconds, 1e-9), 1)}
        if self.learning_s:  # the rest is waiting for rollouts, and sending weights
            speed["learner_busy"], self.learning_s = round(min(1.0, self.learning_s / max(seconds, 1e-9)), 3), 0.0
        return self.totals(frameskip) | speed | {"bytes_per_agent_step": round(self.bytes_per_agent_step, 1)}

    def totals(self, frameskip: int) -> dict[str, float]:
        """Where the run stands."""
        return {
            "agent_steps": self.agent_steps,
            "env_frames": self.agent_steps * frameskip,
            "wall_time_s": round(self.wall_time_s, 6),
            "episodes": self.episodes,
            "episode_return_mean": sum(self.scores) / len(self.scores) if self.scores else float("nan"),
            "episode_length_mean": sum(self.lengths) / len(self.lengths) if self.lengths else float("nan"),
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
