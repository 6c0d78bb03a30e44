"""A2C: synchronous advantage actor-critic.

Paper: Mnih et al. 2016, Algorithm S3 (https://arxiv.org/abs/1602.01783), made synchronous; settings of openai/baselines
a2c, which gave it its name.

    env runners --Rollout--> advantages --one batch--> loss --gradient--> weights --> env runners

Departures from the paper: one learner steps once on the gradient of all envs together, so nothing is asynchronous, and
the loss is a mean over the batch where the paper sums, so that a larger batch needs no smaller lr. A time limit
bootstraps. docs/algorithms/a2c.md has the whole list.
"""

import math
from typing import Any

import torch

from algorithms.experiment import ReportsProgress, SuiteConfig
from algorithms.learner import Batch, RolloutLearner, everyones, num_rows
from rollouts.returns import clipped, explained_variance, gae
from rollouts.runner import sample


class A2CConfig(SuiteConfig):
    """RLlib's config with A2C's words."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or A2C)
        self.lambda_ = 1.0
        self.vf_loss_coeff, self.entropy_coeff = 0.5, 0.01
        self.normalize_advantages = False
        self.microbatch_size = None  # rows whose gradient is computed at once; None: all

    def get_default_learner_class(self) -> type["A2CLearner"]:
        return A2CLearner


class A2C(ReportsProgress):
    """`training_step` is one update: sample, learn, send the weights out."""

    @classmethod
    def get_default_config(cls) -> A2CConfig:
        return A2CConfig()

    def training_step(self) -> None:
        rollouts, summaries = sample(self.env_runner_group)
        results = self.learn_from(rollouts)
        self.send_weights()
        self.count(summaries, results)


class A2CLearner(RolloutLearner):
    """One step on the gradient of the whole batch, and the loss."""

    def learn(self, batch: Batch) -> None:
        self.add_gradient_of(batch)
        self.descend(batch)

    def add_gradient_of(self, batch: Batch) -> None:
        """The gradient of a batch, in microbatches where it is larger than memory: their shares add up to its mean."""
        rows = num_rows(batch)
        everybodys = everyones(rows, self._device)
        batch = self.standardized(batch)
        for microbatch in self.pieces(batch, math.ceil(rows / (self.config.microbatch_size or rows))):
            self.add_gradient(microbatch, num_rows(microbatch) / everybodys)

    def prepare(self, batch: Batch) -> Batch:
        config = self.config
        rewards = clipped(batch["rewards"]) if config.clip_rewards else batch["rewards"]
        ends = batch["final_values"], batch["terminated"], batch["truncated"]
        advantages = gae(rewards, batch["values"], *ends, config.gamma, config.lambda_, batch["valid"])
        return {"actions": batch["actions"], "advantages": advantages, "targets": advantages + batch["values"][:-1]}

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict) -> Any:
        """-E[ A log pi(a|s) ] + c1 E[ (R - V)^2 ] / 2 - c2 E[ S ], over one batch or a piece of it.

        Args:
            batch: actions [B] or [B, D], advantages [B], targets [B].
            fwd_out: `policy`, the present policy, and `values` [B].
        """
        policy, values = fwd_out["policy"], fwd_out["values"]
        policy_loss = -(policy.logp(batch["actions"]) * batch["advantages"]).mean()
        value_loss = 0.5 * ((values - batch["targets"]) ** 2).mean()
        entropy = policy.entropy().mean()
        loss = policy_loss + config.vf_loss_coeff * value_loss - config.entropy_coeff * entropy

        with torch.no_grad():
            self.log(
                policy_loss=policy_loss,
                value_loss=value_loss,
                entropy=entropy,
                explained_variance=explained_variance(batch["targets"], values),
            )
        return loss
