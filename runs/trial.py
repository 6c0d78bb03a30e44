"""A trial of a search, as Ray Tune runs it: an RLlib Algorithm per seed, in one process that plays many trials in turn.

run directory -> settings -> Algorithm per seed -> a row of each -> their mean score
"""

import math
import time
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune import PlacementGroupFactory

from cluster.resources import seeds_of
from rollouts.private_ray import get_trial_storage
from run_directory import checkpoints
from run_directory.files import read_yaml
from run_directory.layout import CONFIG, seed_paths
from runs.build import build


class SearchTrial(tune.Trainable):
    """One point of the space: an Algorithm per seed, advanced in turn, so that a score is always their mean at the same
    number of agent steps.

    Its config has `dir`, the run directory, which holds the settings and, where it goes on, checkpoints; and `until`,
    the agent steps at which it is halted.
    """

    def setup(self, config: dict) -> None:
        self.path = Path(config["dir"])
        self.algorithms: dict[int, Any] = {}
        self.rows: dict[int, dict[str, float]] = {}  # seed -> the newest
        self.trained_s = 0.0  # in this process

    def begin(self) -> None:
        """Build the Algorithms where they are not there yet. Not in `setup`: Tune forgives a running trial only."""
        if self.algorithms:
            return
        settings = read_yaml(self.path / CONFIG)
        self.budget, self.report_every = settings["stop"]["agent_steps"], settings["report_every"]
        for seed, of_seed in seed_paths(self.path, seeds_of(settings)).items():
            rllib = build(settings | {"seed": seed})
            rllib.run_dirs = {seed: str(of_seed)}
            self.algorithms[seed] = rllib.algo_class(config=rllib, storage=get_trial_storage(self))
            if checkpoints.list_checkpoints(of_seed):
                self.load(seed, checkpoints.find_newest_whole(of_seed)[0])

    def load(self, seed: int, checkpoint: Path) -> None:
        """Continue from a checkpoint of one seed, which may be at the end of its budget already."""
        algorithm = self.algorithms[seed]
        algorithm.load_checkpoint(str(checkpoint))
        self.rows[seed] = algorithm.progress.compute_totals(algorithm.config.env_settings.frameskip)

    @classmethod
    def default_resource_request(cls, config: dict) -> PlacementGroupFactory:
        """What one Algorithm takes; with several seeds, their other processes as well, in one training process."""
        settings = read_yaml(Path(config["dir"], CONFIG))
        rllib = build(settings)
        one = rllib.algo_class.default_resource_request(rllib)
        others = one.bundles[1:] * len(seeds_of(settings))
        return PlacementGroupFactory([one.bundles[0], *others], strategy=one.strategy)

    def step(self) -> dict[str, Any]:
        """A row for every seed that has not come to its budget, and what Tune goes by."""
        self.begin()
        began, results = time.perf_counter(), {}
        for seed, algorithm in self.algorithms.items():
            left = min(self.budget, self.config["until"]) - self.rows.get(seed, {}).get("agent_steps", 0)
            if left > 0:  # the row ends there too, but for a rollout
                algorithm.config.report_every = max(1, min(self.report_every, left))
                results[seed] = algorithm.train()
        self.trained_s += time.perf_counter() - began
        self.rows |= {seed: result["row"] for seed, result in results.items()}
        failures = [f"seed {seed}: {r['failure']}" for seed, r in results.items() if "failure" in r]
        return {
            "reports": [(seed, r["row"], r.get("workers", []), r["began_at"]) for seed, r in results.items()],
            "agent_steps": min(row["agent_steps"] for row in self.rows.values()),
            "score": score(list(self.rows.values())),
            "trained_s": self.trained_s,
            "failure": "; ".join(failures) or None,
            "notices": [f"seed {seed}: {notice}" for seed, r in results.items() for notice in r.get("notices", [])],
            "should_checkpoint": any(result.get("should_checkpoint") for result in results.values()),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        for seed, algorithm in self.algorithms.items():
            path = Path(checkpoint_dir, f"seed_{seed}")
            path.mkdir()
            algorithm.save_checkpoint(str(path))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.begin()
        for seed in self.algorithms:
            self.load(seed, Path(checkpoint_dir, f"seed_{seed}"))

    def reset_config(self, new_config: dict) -> bool:
        """Another trial in the same process: that saves starting one and importing everything again."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        for algorithm in self.algorithms.values():
            algorithm.stop()


def score(rows: list[dict[str, float]]) -> float:
    """Mean over seeds of the mean over the last 100 full games; NaN while a seed has fewer than 20 games."""
    if any(row.get("episodes", 0) < checkpoints.MIN_GAMES for row in rows):
        return math.nan
    return sum(row["episode_return_mean"] for row in rows) / len(rows)
