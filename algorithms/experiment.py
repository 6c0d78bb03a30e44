"""What makes an RLlib Algorithm one of the suite's: its config, the rows it reports, its checkpoints."""

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
from algorithms.progress import Progress
from algorithms.remote_learners import update_learners
from custom_models.actor_critic import ActorCritic
from rollouts.health import lost, refuse_unstarted
from rollouts.private_ray import get_local_learner, get_weights_number, list_env_runner_actors
from rollouts.rollout import RolloutData
from rollouts.runner import VectorEnvRunner
from run_directory.checkpoints import complete_checkpoint
from run_directory.manifest import refuse_damaged
from run_directory.milestones import drop_milestones_ahead, milestones_between, write_milestone
from settings.mistakes import NonFinite, cause_of


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
        self.keep_milestones = False
        self.run_dirs = {}  # seed -> where the run leaves milestones, and evidence of a failure
        self.resume_from = {}  # seed -> checkpoint to start from

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=ActorCritic)


class ReportsProgress(Algorithm):
    """Mixed into an RLlib Algorithm: its results carry a `row`, its checkpoints the Progress and a manifest.

    Reads from the config: `total_agent_steps`, `report_every`, `frameskip`, `checkpoint_every_s`, `keep_milestones`,
    `run_dirs`, `resume_from`.
    """

    config: Any  # RLlib's class declares few of its attributes, and says of groups that they may be missing
    env_runner_group: Any
    learner_group: Any

    def setup(self, config: Any) -> None:
        self.progress = Progress()
        self.terms: list[dict[str, float]] = []  # of the loss, one dict per update since the last row
        self._checkpoint_time = 0.0
        self.complaints: list[str] = []  # about milestones
        run = self.config.run_dirs.get(self.config.seed)
        if run and not Path(run).is_dir():  # a node that joined the cluster after the driver had asked them all
            raise FileNotFoundError(f"node {platform.node()} does not see {run}: output_dir is not shared")
        try:
            super().setup(config)
        finally:
            refuse_unstarted(self.env_runner_group)
        self.config = self.config.copy(copy_frozen=False)  # `step` shortens the last row
        runner, learner = self.env_runner_group.local_env_runner, get_local_learner(self.learner_group)
        # In one process, on one device: acting and learning need no copies of each other's weights.
        ours = isinstance(runner, VectorEnvRunner) and isinstance(learner, RolloutLearner)
        self.one_network = ours and learner.parameters[0].device.type == "cpu"
        if self.one_network:
            runner.module = learner.net
        if start := self.config.resume_from.get(self.config.seed):
            self.load_checkpoint(start)

    def learn_from(self, rollouts: list[Any]) -> list[dict[str, float]]:
        """One update of the learner, or learners, with some Rollouts; returns what each reports."""
        began = time.perf_counter()
        results = update_learners(self.learner_group, RolloutData(rollouts), {PROGRESS: self.share_done()})
        self.progress.learning_s += time.perf_counter() - began
        return results

    def send_weights(self) -> None:
        """The learner's weights to all runners; one that shares the learner's network has them already."""
        if self.one_network:
            self.env_runner_group.local_env_runner.weights_seq_no = get_weights_number(self.learner_group)
        else:
            self.env_runner_group.sync_weights(from_worker_or_learner_group=self.learner_group, timeout_seconds=None)

    def get_actors(self) -> dict[int, Any]:
        """Return the remote env runners by number from 1, lost ones included."""
        return list_env_runner_actors(self.env_runner_group)

    def share_done(self) -> float:
        """Of the run, 0 to 1, for the schedules."""
        return min(1.0, self.progress.agent_steps / self.config.total_agent_steps)

    def count(self, summaries: list[dict[str, Any]], terms: list[dict[str, float]]) -> None:
        """Log one update: what was played, and what each learner reported."""
        self.progress.count(summaries, remote=self.config.num_env_runners > 0)
        key = (ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME)
        self.metrics.log_value(key, sum(s["agent_steps"] for s in summaries), reduce="lifetime_sum")
        self.terms += terms

    def loss_terms(self, result: dict[str, Any]) -> dict[str, float]:
        """For a row: means over its updates."""
        names = sorted(self.terms[0]) if self.terms else ()
        return {name: sum(terms[name] for terms in self.terms) / len(self.terms) for name in names}

    def step(self) -> dict[str, Any]:
        """One row of progress.csv: as many updates as `report_every` asks for, and none beyond the run's end."""
        if self.progress.begins:
            self.begin_milestones()
        self.progress.start_clock()
        self.terms.clear()
        before = self.progress.agent_steps
        left = self.config.total_agent_steps - self.progress.agent_steps
        self.config.min_sample_timesteps_per_iteration = max(1, min(self.config.report_every, left))
        try:
            result = super().step()
        except (NonFiniteLoss, NonFinite) as error:  # not a lost process: starting again would not help
            # RLlib takes a learner in another process for dead once it has raised; the last checkpoint asks it again.
            self.learner_group.foreach_learner(lambda learner: None, healthy_only=False, mark_healthy=True)
            row = self.progress.row(self.config.frameskip)
            return {"row": row, "began_at": self.progress.take_start(), "failure": str(cause_of(error)), "done": True}
        row = self.progress.row(self.config.frameskip) | self.loss_terms(result)
        due = self.progress.wall_time_s - self._checkpoint_time >= self.config.checkpoint_every_s
        result |= {"row": row, "began_at": self.progress.take_start(), "should_checkpoint": due}
        self.keep_milestones(before)
        return result | {"notices": lost(self.env_runner_group) + self.complaints}

    def begin_milestones(self) -> None:
        """Forget the milestones beyond the agent steps that training begins with, and keep that of an untrained run."""
        steps, run = self.progress.agent_steps, self.config.run_dirs.get(self.config.seed)
        if run and self.config.keep_milestones:
            drop_milestones_ahead(Path(run), steps, self.config.total_agent_steps)
        if steps == 0:
            self.keep_milestones(before=-1)

    def keep_milestones(self, before: int) -> None:
        """Write the milestones that were passed since `before`, in agent steps; training goes on where one cannot be
        written, and the next row says so."""
        run = self.config.run_dirs.get(self.config.seed)
        names = milestones_between(before, self.progress.agent_steps, self.config.total_agent_steps)
        if not (names and run and self.config.keep_milestones):
            return
        weights = self.learner_group.get_weights()[DEFAULT_MODULE_ID]
        for name in names:
            try:
                write_milestone(Path(run), name, weights, self.progress.totals(self.config.frameskip))
            except OSError as error:
                self.complaints.append(f"{name} cannot be written ({error.strerror}); training goes on without it")

    def get_state(self, *args, **kwargs) -> dict[str, Any]:
        return super().get_state(*args, **kwargs) | {"progress": self.progress.get_state()}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        if "progress" in state:
            self.progress.set_state(state["progress"])

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        refuse_damaged(Path(checkpoint_dir))
        super().load_checkpoint(checkpoint_dir)
        self._checkpoint_time = self.progress.wall_time_s
        steps = self.progress.agent_steps
        self.env_runner_group.foreach_env_runner(lambda runner: runner.begin(steps))

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        super().save_checkpoint(checkpoint_dir)
        self._checkpoint_time = self.progress.wall_time_s
        complete_checkpoint(Path(checkpoint_dir), self.progress.totals(self.config.frameskip))
