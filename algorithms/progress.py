"""What a run reports, and how the counters, the last hundred games and the clock survive a restart.

The x-axis of everything is `agent_steps`, counted from the Rollouts themselves; RLlib's own counters of trained steps
count minibatches several times.
"""

import json
import math
import os
import pickle
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

WINDOW = 100  # full games in episode_return_mean
MANIFEST = "manifest.json"
PROGRESS_FILE = "progress.json"
WEIGHTS = "weights.safetensors"  # what plays; all else that a checkpoint holds is for training on
MODULE_STATE = "learner_group/learner/rl_module/default_policy/module_state.pkl"  # the same as RLlib saves it


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


def complete_checkpoint(checkpoint: Path, totals: dict[str, float]) -> None:
    """Add to what RLlib has saved: where the run stands, the weights as plain arrays, and the manifest of all files."""
    (checkpoint / PROGRESS_FILE).write_text(json.dumps(totals))
    write_weights(checkpoint)
    write_manifest(checkpoint)


def write_weights(checkpoint: Path) -> None:
    """Write the network's weights once more, as plain arrays, so that who only plays need not unpickle anything.

    They are read from what RLlib has just saved there, wherever the learner is.
    """
    state = pickle.loads((checkpoint / MODULE_STATE).read_bytes())
    arrays = {name: np.asarray(weights, order="C") for name, weights in state.items()}
    # Not `save_file`: what that makes only its owner may read.
    (checkpoint / WEIGHTS).write_bytes(safetensors.numpy.save(arrays))


def damage(checkpoint: Path) -> str | None:
    """Say what is wrong with a checkpoint; None where it is whole. Every reader of checkpoints asks this first."""
    try:
        files = json.loads((checkpoint / MANIFEST).read_bytes())
        expected = {str(name): (int(size), int(crc)) for name, (size, crc) in files.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{MANIFEST} is torn"
    if PROGRESS_FILE not in expected:
        return f"{MANIFEST} does not list {PROGRESS_FILE}"
    for name, (size, crc) in expected.items():
        path = checkpoint / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        try:
            if zlib.crc32(path.read_bytes()) != crc:
                return f"{name} has changed"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def refuse_damaged(checkpoint: Path) -> None:
    """Look before training goes on from a checkpoint.

    Raises:
        ValueError: it is damaged.
    """
    if wrong := damage(checkpoint):
        raise ValueError(f"{checkpoint}: the checkpoint is damaged ({wrong})")


def write_manifest(folder: Path) -> None:
    """Size and CRC-32 of every file, written last: a folder without it, or that disagrees with it, is damaged."""
    files = {
        str(p.relative_to(folder)): [p.stat().st_size, zlib.crc32(p.read_bytes())]
        for p in sorted(folder.rglob("*"))
        if p.is_file() and p.name != MANIFEST and not p.name.startswith(".")
    }
    temporary = folder / (MANIFEST + ".new")
    temporary.write_text(json.dumps(files, indent=1))
    os.replace(temporary, folder / MANIFEST)
