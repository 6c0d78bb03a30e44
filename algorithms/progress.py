"""What a run reports, and how the counters, the last hundred games and the clock survive a restart.

The x-axis of everything is `agent_steps`, counted from the Rollouts themselves; RLlib's own counters of trained steps
count minibatches several times.
"""

import json
import math
import os
import time
import zlib
from collections import deque
from pathlib import Path
from typing import Any

from ray.rllib.algorithms import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from algorithms.learner import NonFiniteLoss
from custom_models.actor_critic import ActorCritic
from rollouts.runner import VectorEnvRunner

WINDOW = 100  # full games in episode_return_mean
MANIFEST = "manifest.json"
PROGRESS_FILE = "progress.json"


class Progress:
    """Counters of one run. All of it is saved in checkpoints."""

    def __init__(self):
        self.agent_steps = 0
        self.episodes = 0
        self.wall_time_s = 0.0  # of training, over all starts
        self.scores: deque[float] = deque(maxlen=WINDOW)
        self.lengths: deque[int] = deque(maxlen=WINDOW)
        self._since = math.nan  # when the clock would have shown 0; nan while it stands
        self._last = (0, 0.0)
        self.bytes_per_agent_step = 0.0

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
        self._since = math.nan


class SuiteConfig(AlgorithmConfig):
    """Mixed into an RLlib AlgorithmConfig: the suite's runner and model, and settings RLlib has no word for."""

    def __init__(self, algo_class: type):
        super().__init__(algo_class)
        self.env_runners(env_runner_cls=VectorEnvRunner)
        self.learners(add_default_connectors_to_learner_pipeline=False)
        self.anneal_lr = True
        self.optimizer_name, self.optimizer_eps = "adam", 1e-5
        self.clip_rewards = True
        self.frame_stack, self.frameskip = 4, 4
        self.record_policy = False  # whether the loss needs the acting policy itself
        self.total_agent_steps = 10_000_000
        self.report_every = 2000  # agent steps per row of progress.csv
        self.checkpoint_every_s = 60.0
        self.run_dirs = {}  # seed -> where the run may leave evidence of a failure
        self.resume_from = {}  # seed -> checkpoint to start from

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=ActorCritic)


class ReportsProgress(Algorithm):
    """Mixed into an RLlib Algorithm: its results carry a `row`, its checkpoints the Progress and a manifest.

    Reads from the config: `total_agent_steps`, `report_every`, `frameskip`, `checkpoint_every_s`, `resume_from`.
    """

    config: Any  # RLlib's class declares few of its attributes, and says of groups that they may be missing
    env_runner_group: Any
    learner_group: Any

    def setup(self, config: Any) -> None:
        self.progress = Progress()
        self._checkpoint_time = 0.0
        super().setup(config)
        self.config = self.config.copy(copy_frozen=False)  # `step` shortens the last row
        start = self.config.resume_from.get(self.config.seed)
        if start:
            self.load_checkpoint(start)

    def share_done(self) -> float:
        """Of the run, 0 to 1, for the schedules."""
        return min(1.0, self.progress.agent_steps / self.config.total_agent_steps)

    def count(self, summaries: list[dict[str, Any]], learner_results: list) -> None:
        """Log one update: what was played and what was learned."""
        self.progress.count(summaries, remote=self.config.num_env_runners > 0)
        steps = sum(s["agent_steps"] for s in summaries)
        key = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        self.metrics.log_value(key, steps, reduce="lifetime_sum")
        self.metrics.aggregate(learner_results, key=LEARNER_RESULTS)

    def step(self) -> dict[str, Any]:
        """One row of progress.csv: as many updates as `report_every` asks for, and none beyond the run's end."""
        self.progress.start_clock()
        left = self.config.total_agent_steps - self.progress.agent_steps
        self.config.min_sample_timesteps_per_iteration = max(1, min(self.config.report_every, left))
        try:
            result = super().step()
        except NonFiniteLoss as error:  # not a lost process: starting again would not help
            return {"row": self.progress.row(self.config.frameskip), "failure": str(error), "done": True}
        terms = result.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {})
        terms = {name: float(terms[name]) for name in sorted(terms) if name != "num_trainable_parameters"}
        row = self.progress.row(self.config.frameskip) | terms
        due = self.progress.wall_time_s - self._checkpoint_time >= self.config.checkpoint_every_s
        return result | {"row": row, "should_checkpoint": due}

    def get_state(self, *args, **kwargs) -> dict[str, Any]:
        return super().get_state(*args, **kwargs) | {"progress": self.progress.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if "progress" in state:
            self.progress.set_state(state["progress"])

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        super().load_checkpoint(checkpoint_dir)
        self._checkpoint_time = self.progress.wall_time_s
        steps = self.progress.agent_steps
        self.env_runner_group.foreach_env_runner(lambda runner: runner.begin(steps))

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        super().save_checkpoint(checkpoint_dir)
        self._checkpoint_time = self.progress.wall_time_s
        Path(checkpoint_dir, PROGRESS_FILE).write_text(json.dumps(self.progress.totals(self.config.frameskip)))
        write_manifest(Path(checkpoint_dir))


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
