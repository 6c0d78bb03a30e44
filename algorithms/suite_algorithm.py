"""The config and the Algorithm that all algorithms of the suite build on: settings, rows, checkpoints."""

import platform
import time
from pathlib import Path
from typing import Any

from ray.rllib.algorithms import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME

from algorithms.learner import PROGRESS, RolloutLearner
from algorithms.nonfinite import NonFiniteLoss
from algorithms.remote_learners import update_learners
from custom_models.actor_critic import ActorCritic
from custom_models.cuda_graphs import COMPLAINTS
from rollouts.health import describe_lost_runners, raise_start_errors
from rollouts.private_ray import get_local_learner, get_weights_number, list_env_runner_actors
from rollouts.progress import Progress
from rollouts.rollout import RolloutData
from rollouts.runner import VectorEnvRunner
from run_directory.checkpoints import complete_checkpoint
from run_directory.manifest import refuse_damaged_checkpoint
from run_directory.milestones import MilestoneWriter
from settings.mistakes import NonFiniteValue, find_cause


class SuiteConfig(AlgorithmConfig):
    """RLlib's AlgorithmConfig with the suite's env runner and model, and settings, which runs/build.py fills in."""

    algo: Any  # settings of the algorithm, such as a PPOSettings
    env_settings: Any  # AtariSettings or GymnasiumSettings
    stop_settings: Any  # StopSettings, whose `agent_steps` are the length of the run
    report_every: int  # agent steps per row of progress.csv
    checkpoint_every_s: float
    keep_milestones: bool
    evaluate_every: int | None  # agent steps
    threads: str = "auto"  # `cluster.threads`

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or SuiteAlgorithm)
        self.env_runners(env_runner_cls=VectorEnvRunner)
        self.learners(add_default_connectors_to_learner_pipeline=False)
        self._dont_auto_sync_env_runner_states = True  # RLlib would wait for the slowest runner after every row
        self.run_dirs: dict[int, str] = {}  # seed -> run directory

    def records_policy(self) -> bool:
        """Return whether env runners record the parameters of the policy that chose the actions, for the loss."""
        return False

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=ActorCritic)


class SuiteAlgorithm(Algorithm):
    """An RLlib Algorithm with a `row` of progress.csv in its results; a subclass writes `training_step`."""

    config: Any  # RLlib's class declares few of its attributes, and says of groups that they may be missing
    env_runner_group: Any
    learner_group: Any

    @classmethod
    def get_default_config(cls) -> SuiteConfig:
        return SuiteConfig()

    def setup(self, config: Any) -> None:
        self.progress = Progress()
        self.terms: list[dict[str, float]] = []  # of the loss, one dict per update since the last row
        self._checkpoint_time = 0.0
        run = self.config.run_dirs.get(self.config.seed)
        if run and not Path(run).is_dir():  # a node that joined the cluster after the driver had asked them all
            raise FileNotFoundError(f"node {platform.node()} does not see {run}: output_dir is not shared")
        budget = self.config.stop_settings.agent_steps if self.config.keep_milestones else None
        self.milestones = MilestoneWriter(Path(run) if run else None, budget, self.config.evaluate_every)
        try:
            super().setup(config)
        finally:
            raise_start_errors(self.env_runner_group)
        self.config = self.config.copy(copy_frozen=False)  # `step` shortens the last row
        runner, learner = self.env_runner_group.local_env_runner, get_local_learner(self.learner_group)
        # In one process: acting, on the learner's device, and learning need no copies of each other's weights.
        self.one_network = isinstance(runner, VectorEnvRunner) and isinstance(learner, RolloutLearner)
        if self.one_network:
            runner.use_module(learner.net)

    def update_learner(self, rollouts: list[Any]) -> list[dict[str, float]]:
        """Update the learner, or all learners, once with these Rollouts; returns the report of each learner."""
        began = time.perf_counter()
        results = update_learners(self.learner_group, RolloutData(rollouts), {PROGRESS: self.compute_share_done()})
        self.progress.learning_s += time.perf_counter() - began
        return results

    def send_weights(self) -> None:
        """Send the learner's weights to all env runners; one that shares the learner's network has them already."""
        if self.one_network:
            self.env_runner_group.local_env_runner.weights_seq_no = get_weights_number(self.learner_group)
        else:
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, timeout_seconds=None)

    def get_actors(self) -> dict[int, Any]:
        """Return the remote env runners by number from 1, lost ones included."""
        return list_env_runner_actors(self.env_runner_group)

    def compute_share_done(self) -> float:
        """Return the share of the run that is done, 0 to 1; the schedules depend on it."""
        return min(1.0, self.progress.agent_steps / self.config.stop_settings.agent_steps)

    def log_update(self, summaries: list[dict[str, Any]], terms: list[dict[str, Any]]) -> None:
        """Count the Rollouts of one update by their summaries; keep each learner's loss terms, and all complaints."""
        for about in (*summaries, *terms):
            COMPLAINTS.extend(sentence for sentence in about.pop("complaints", ()) if sentence not in COMPLAINTS)
        self.progress.count_rollouts(summaries, remote=self.config.num_env_runners > 0)
        key = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        self.metrics.log_value(key, sum(s["agent_steps"] for s in summaries), reduce="lifetime_sum")
        self.terms += terms

    def average_terms(self, result: dict[str, Any]) -> dict[str, float]:
        """Return the means of the loss terms over the updates since the last row; `result` is RLlib's result."""
        names = sorted(self.terms[0]) if self.terms else ()
        return {name: sum(terms[name] for terms in self.terms) / len(self.terms) for name in names}

    def step(self) -> dict[str, Any]:
        """Train for one row of progress.csv: `report_every` agent steps in whole updates, fewer at the end."""
        before = self.progress.agent_steps
        if self.progress.is_first_row:
            self.milestones.drop_milestones_ahead(before)
            if before == 0:
                self.write_milestones(before=-1)
        self.progress.start_clock()
        self.terms.clear()
        left = self.config.stop_settings.agent_steps - before
        self.config.min_sample_timesteps_per_iteration = max(1, min(self.config.report_every, left))
        frameskip = self.config.env_settings.frameskip
        try:
            result = super().step()
        except (NonFiniteLoss, NonFiniteValue) as error:  # a restart would not help, because no process was lost
            # RLlib marks a remote learner that has raised as dead; the last checkpoint needs its state.
            self.learner_group.foreach_learner(lambda learner: None, healthy_only=False, mark_healthy=True)
            row = self.progress.make_row(frameskip)
            return {"row": row, "began_at": self.progress.take_start(), "failure": str(find_cause(error)), "done": True}
        row = self.progress.make_row(frameskip) | self.average_terms(result)
        due = self.progress.wall_time_s - self._checkpoint_time >= self.config.checkpoint_every_s
        self.write_milestones(before)
        told = describe_lost_runners(self.env_runner_group) + self.milestones.complaints + COMPLAINTS
        return result | {"row": row, "began_at": self.progress.take_start(), "should_checkpoint": due, "notices": told}

    def write_milestones(self, before: int) -> None:
        """Write the milestones and weights to evaluate that the run has passed since it had `before` agent steps."""
        if names := self.milestones.list_due_milestones(before, self.progress.agent_steps):
            weights = self.learner_group.get_weights()[DEFAULT_MODULE_ID]
            self.milestones.write(names, weights, self.progress.compute_totals(self.config.env_settings.frameskip))

    def get_state(self, *args, **kwargs) -> dict[str, Any]:
        return super().get_state(*args, **kwargs) | {"progress": self.progress.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if "progress" in state:
            self.progress.set_state(state["progress"])

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        refuse_damaged_checkpoint(Path(checkpoint_dir), to_play=False)
        super().load_checkpoint(checkpoint_dir)
        self._checkpoint_time, steps = self.progress.wall_time_s, self.progress.agent_steps
        self.env_runner_group.foreach_env_runner(lambda runner: runner.start_games(steps))

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        super().save_checkpoint(checkpoint_dir)
        self._checkpoint_time = self.progress.wall_time_s
        complete_checkpoint(Path(checkpoint_dir), self.progress.compute_totals(self.config.env_settings.frameskip))
