"""The training process: one trial of Ray Tune, with an RLlib Algorithm per seed. Trainings and searches run it alike.

run directory -> settings -> Algorithm per seed -> a row of each -> their mean score
"""

import math
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ray import tune
from ray.exceptions import RayError
from ray.tune import PlacementGroupFactory

from cluster.plan import list_seeds, make_plan
from playing.pretrained import load_pretrained
from rollouts.private_ray import get_trial_storage
from run_directory import checkpoints
from run_directory.files import read_yaml
from run_directory.layout import CONFIG, seed_paths
from settings.mistakes import Mistake, find_cause
from settings.own_parts import describe_error


class TrainingProcess(tune.Trainable):
    """Trains one seed of a run, or the seeds of one trial of a search.

    Several seeds advance in turn, so that the score of a trial is always their mean at the same number of agent steps.

    Its config has
        label: the name of the trial for people.
        dir: the run directory, which holds config.yaml and, where it continues, checkpoints.
        seeds: those of the run that this process trains; where it is missing, all of them.
        settings: those of the run; where they are missing, its config.yaml is read. A training has them, with the dtype
            of the driver's plan: another node may be slow to see a file, and fastest in another dtype.
        until: agent steps at which a trial of a search is halted; a training has none.
    """

    def setup(self, config: dict) -> None:
        self.path = Path(config["dir"])
        self.algorithms: dict[int, Any] = {}
        self.rows: dict[int, dict[str, float]] = {}  # seed -> the newest
        self.trained_s = 0.0  # in this process
        self.error: Exception | None = None  # why the trial failed before its first row
        if "until" not in config:  # a trial of a search is built in its first step, in which it may be lost
            self.attempt(self.build_algorithms)

    def attempt(self, function: Callable[[], Any]) -> Any:
        """Return the result of a function. The error of a training without a checkpoint, which would come again if Tune
        started the trial again, is not raised but kept, and `step` reports it as the end of the trial.

        Raises:
            Exception: that of the function, if the run has a checkpoint or has trained, if it belongs to a grid or a
                search, or if a lost process or a file is the reason: Tune starts the trial again.
        """
        try:
            return function()
        except Exception as error:
            cause, (_, dirs, seeds) = find_cause(error), read_trial(self.config)
            may_pass = isinstance(cause, RayError | OSError | Mistake) and not getattr(cause, "actor_init_failed", 0)
            is_training = "arm" not in self.config and "until" not in self.config  # others run trial after trial
            has_begun = self.trained_s or any(checkpoints.list_checkpoints(dirs[seed]) for seed in seeds)
            if may_pass or has_begun or not is_training:
                raise
            self.error = error

    def build_algorithms(self) -> None:
        """Build an Algorithm for each seed, unless that is done, and load its newest whole checkpoint if it has one."""
        if self.algorithms:
            return
        from runs.build import build_config  # not above: the driver names this class, and does not need torch and RLlib

        settings, dirs, seeds = read_trial(self.config)
        self.budget, self.report_every = settings["stop"]["agent_steps"], settings["report_every"]
        for seed in seeds:
            rllib = build_config(make_plan(settings | {"seed": seed}))
            rllib.run_dirs = {seed: str(dirs[seed])}
            self.algorithms[seed] = rllib.algo_class(config=rllib, storage=get_trial_storage(self))
            if checkpoints.list_checkpoints(dirs[seed]):
                self.load_seed(seed, checkpoints.find_newest_checkpoint(dirs[seed])[0])
            elif settings.get("pretrained"):
                load_pretrained(self.path, self.algorithms[seed])

    def load_seed(self, seed: int, checkpoint: Path) -> None:
        """Continue one seed from a checkpoint, which may be at the end of its budget already."""
        algorithm = self.algorithms[seed]
        algorithm.load_checkpoint(str(checkpoint))
        self.rows[seed] = algorithm.progress.compute_totals(algorithm.config.env_settings.frameskip)

    @classmethod
    def default_resource_request(cls, config: dict) -> PlacementGroupFactory:
        """Return what the trial takes of the cluster: the training process and each seed's env runners and learners."""
        settings, _, seeds = read_trial(config)
        plan = make_plan(settings, seeds_per_process=len(seeds))
        return PlacementGroupFactory(plan.bundles, strategy=settings["cluster"]["placement"].upper())

    def step(self) -> dict[str, Any]:
        """Train each seed that has not reached its budget for a row of progress.csv; return the rows and the score."""
        began = time.perf_counter()
        results: dict[int, dict[str, Any]] = (None if self.error else self.attempt(self.train_seeds)) or {}
        self.trained_s += time.perf_counter() - began
        self.rows |= {seed: result["row"] for seed, result in results.items()}
        failures = [f"seed {seed}: {r['failure']}" for seed, r in results.items() if "failure" in r]
        return {
            "reports": [(seed, r["row"], r.get("workers", []), r["began_at"]) for seed, r in results.items()],
            "agent_steps": min((row["agent_steps"] for row in self.rows.values()), default=0),
            "score": compute_score(list(self.rows.values())),
            "trained_s": self.trained_s,
            "failure": describe_error(find_cause(self.error)) if self.error else "; ".join(failures) or None,
            "traceback": "".join(traceback.format_exception(self.error)) if self.error else "",
            "notices": [(seed, notice) for seed, result in results.items() for notice in result.get("notices", [])],
            "should_checkpoint": any(result.get("should_checkpoint") for result in results.values()),
        }

    def train_seeds(self) -> dict[int, dict[str, Any]]:
        """Train each seed that has not reached its budget for a row; return the result of each."""
        self.build_algorithms()
        results = {}
        end = min(self.budget, self.config.get("until", self.budget))
        for seed, algorithm in self.algorithms.items():
            left = end - self.rows.get(seed, {}).get("agent_steps", 0)
            if left > 0:  # the row ends there too, but for a rollout
                algorithm.config.report_every = max(1, min(self.report_every, left))
                results[seed] = algorithm.train()
                if len(self.algorithms) > 1:
                    algorithm.progress.stop_clock()
        return results

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        for seed, algorithm in self.algorithms.items():
            path = Path(checkpoint_dir, f"seed_{seed}")
            path.mkdir()
            algorithm.save_checkpoint(str(path))

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        self.build_algorithms()
        for seed in self.algorithms:
            self.load_seed(seed, Path(checkpoint_dir, f"seed_{seed}"))

    def reset_config(self, new_config: dict) -> bool:
        """Become another trial: that saves starting a process and importing everything again."""
        self.cleanup()
        self.setup(new_config)
        return True

    def cleanup(self) -> None:
        for algorithm in self.algorithms.values():
            algorithm.stop()


def read_trial(config: dict) -> tuple[dict, dict[int, Path], list[int]]:
    """Return the settings of a trial, the run directories of all seeds of its run, and the seeds that it trains."""
    path = Path(config["dir"])
    settings = config.get("settings") or read_yaml(path / CONFIG)
    seeds = list_seeds(settings)
    return settings, seed_paths(path, seeds), config.get("seeds", seeds)


def compute_score(rows: list[dict[str, float]]) -> float:
    """Return the mean over seeds of the score of the last 100 games; NaN while a seed has fewer than 20 games."""
    if not rows or any(row.get("episodes", 0) < checkpoints.MIN_GAMES for row in rows):
        return math.nan
    return sum(row["episode_return_mean"] for row in rows) / len(rows)
