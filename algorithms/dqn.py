"""DQN: deep Q-learning, the control experiment beside the policy gradients.

Paper: Mnih et al. 2015, Human-level control through deep reinforcement learning (https://doi.org/10.1038/nature14236),
Algorithm 1 and Extended Data Table 1.

    env runner --episodes--> replay buffer --minibatch--> loss --gradient--> weights --> env runner
                                                           ^-- target network, a copy every `target_every` agent steps

Loss, learner, replay buffer, env runner and training step are RLlib's own. The code here lets them play the suite's
games, count agent steps as the suite does, continue from a checkpoint, and stop at a NaN.

Departures from the paper: Adam, and a buffer that fits into a laptop; docs/algorithms/dqn.md has the whole list.
"""

from typing import Any, cast

import numpy as np
import torch
from ray.rllib.algorithms.dqn import DQN as RLlibDQN
from ray.rllib.algorithms.dqn import DQNConfig as RLlibDQNConfig
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_PREDS
from ray.rllib.algorithms.dqn.torch.dqn_torch_learner import DQNTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.utils.metrics import ENV_RUNNER_RESULTS, LEARNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME, TD_ERROR_KEY
from torch import nn

from algorithms.nonfinite import NonFiniteLoss, save_evidence
from algorithms.suite_algorithm import SuiteAlgorithm, SuiteConfig
from custom_models.q_network import QNetwork
from environments.single_game import SingleGame
from environments.threads import configure_threads
from rollouts.single_game_runner import SingleGameRunner

SMOOTHING = 100  # updates in the means of progress.csv


class DQNConfig(SuiteConfig, RLlibDQNConfig):
    """RLlib's DQNConfig with the suite's games, env runner, model and learner."""

    def __init__(self, algo_class=None):
        super().__init__(algo_class or DQN)
        self.environment(env=SingleGame)
        # Lists of observations grow in place; arrays would be copied whole with every step that is added.
        self.env_runners(env_runner_cls=SingleGameRunner, episodes_to_numpy=False)
        self.learners(add_default_connectors_to_learner_pipeline=True)  # from episodes to minibatches
        self.torch_skip_nan_gradients = True  # RLlib then leaves gradients as they are; DQNLearner checks them

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        return RLModuleSpec(module_class=QNetwork)

    def get_default_learner_class(self) -> type["DQNLearner"]:
        return DQNLearner


class DQN(SuiteAlgorithm, RLlibDQN):
    """The Algorithm: RLlib's `training_step` plays some steps into the buffer, learns from minibatches and sends the
    weights to the env runner."""

    local_replay_buffer: Any  # RLlib declares another class of buffers
    env_runner: Any

    @classmethod
    def get_default_config(cls) -> DQNConfig:
        return DQNConfig()

    def setup(self, config: Any) -> None:
        super().setup(config)
        self._empty_buffer()

    def _empty_buffer(self) -> None:
        """Make an empty replay buffer with a seed of its own; learning waits until it holds `learning_starts` steps."""
        self.local_replay_buffer = self._create_local_replay_buffer_if_necessary(self.config)
        self.local_replay_buffer.rng = np.random.default_rng([self.config.seed, self.progress.agent_steps])
        starts = self._count_sampled_steps() + self.config.algo.learning_starts
        self.config.num_steps_sampled_before_learning_starts = starts

    def _count_sampled_steps(self) -> int:
        """Return the agent steps that RLlib has counted."""
        return int(self.metrics.peek((ENV_RUNNER_RESULTS, NUM_ENV_STEPS_SAMPLED_LIFETIME), default=0))

    def training_step(self) -> None:
        before = self._count_sampled_steps()
        self.env_runner.num_env_steps_sampled_lifetime = self.progress.agent_steps  # for epsilon; RLlib: once per row
        super().training_step()
        scores, lengths = self.env_runner.take_finished_games()
        steps = self._count_sampled_steps() - before
        summary = {"agent_steps": steps, "scores": scores, "lengths": lengths, "num_bytes": 0}
        self.progress.count_rollouts([summary], remote=False)

    def average_terms(self, result: dict[str, Any]) -> dict[str, float]:
        """Return the means of the loss terms that RLlib's metrics hold."""
        terms = result.get(LEARNER_RESULTS, {}).get(DEFAULT_MODULE_ID, {})
        return {name: float(terms[name]) for name in sorted(terms) if name != "num_trainable_parameters"}

    def step(self) -> dict[str, Any]:
        result = super().step()
        epsilon = float(self.env_runner.module.epsilon.get_current_value())
        result["row"] |= {"epsilon": epsilon, "buffer_agent_steps": len(self.local_replay_buffer)}
        return result

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        super().load_checkpoint(checkpoint_dir)
        self._empty_buffer()


class DQNLearner(DQNTorchLearner):
    """RLlib's learner, with a run that stops at a NaN; RLlib would set the NaN to 0."""

    config: Any  # RLlib's class declares few of its attributes

    def build(self) -> None:
        configure_threads()
        super().build()

    def configure_optimizers_for_module(self, module_id: str, config: Any = None) -> None:
        parameters: Any = self.get_parameters(cast(Any, self.module[module_id]))
        optimizer = torch.optim.Adam(parameters, config.algo.lr, eps=config.algo.optimizer_eps, fused=True)
        self.register_optimizer(
            module_id=module_id, optimizer=optimizer, params=parameters, lr_or_lr_schedule=config.algo.lr
        )

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: dict, fwd_out: dict) -> Any:
        loss = super().compute_loss_for_module(module_id=module_id, config=config, batch=batch, fwd_out=fwd_out)
        self._minibatch = batch
        values = fwd_out[QF_PREDS].detach().amax(-1)
        self.metrics.log_dict({"q_loss": loss, "q_mean": values.mean()}, key=module_id, window=SMOOTHING)
        return loss

    def compute_gradients(self, loss_per_module: dict, **kwargs) -> Any:
        gradients = super().compute_gradients(loss_per_module, **kwargs)
        loss = loss_per_module[DEFAULT_MODULE_ID]
        norm = nn.utils.get_total_norm(cast(Any, [g for g in gradients.values() if g is not None]))
        if not torch.isfinite(loss + norm):
            self._stop_on_nonfinite(loss, norm)
        self.metrics.log_value((DEFAULT_MODULE_ID, "grad_norm"), norm, window=SMOOTHING)
        return gradients

    def _stop_on_nonfinite(self, loss: torch.Tensor, norm: torch.Tensor) -> None:
        """Write the minibatch and the weights to a file, and raise NonFiniteLoss."""
        module: Any = self.module[DEFAULT_MODULE_ID].unwrapped()
        path = save_evidence(self.config, {"minibatch": dict(self._minibatch), "module": module.state_dict()})
        raise NonFiniteLoss(
            f"loss {loss.item()}, gradient norm {norm.item()}: training stopped before this step; "
            f"its minibatch and the weights are in {path}; a smaller algo.lr may help"
        )

    def update(self, *args, **kwargs) -> dict:
        """Run RLlib's update; returns the loss terms for progress.csv, and the errors, which make priorities."""
        found = super().update(*args, **kwargs)[DEFAULT_MODULE_ID]
        terms = {name: found[name] for name in ("q_loss", "q_mean", "grad_norm", TD_ERROR_KEY)}
        return {DEFAULT_MODULE_ID: terms | {"lr": found["default_optimizer_learning_rate"]}}

    def get_state(self, *args, **kwargs) -> dict:
        return super().get_state(*args, **kwargs) | {"last_target_update": dict(self.last_update_ts_by_mid)}

    def set_state(self, state: dict) -> None:
        self._weights_seq_no = 0  # RLlib keeps the weights it has when those that come are older
        super().set_state(state)
        for group in self.get_optimizer(DEFAULT_MODULE_ID).param_groups:
            group["lr"], group["eps"] = self.config.algo.lr, self.config.algo.optimizer_eps  # not the checkpoint's
        self.last_update_ts_by_mid.update(state.get("last_target_update", {}))
