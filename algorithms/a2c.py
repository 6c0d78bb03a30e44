"""A2C: synchronous advantage actor-critic.

Paper: Mnih et al. 2016, Algorithm S3 (https://arxiv.org/abs/1602.01783), made synchronous; settings of openai/baselines
a2c, which gave it its name.

    env runners --Rollout--> advantages --one batch--> loss --gradient--> weights --> env runners

Departures from the paper: one learner steps once on the gradient of all envs together, so nothing is asynchronous, and
the loss is a mean over the batch where the paper sums, so that a larger batch needs no smaller lr. A time limit
bootstraps. docs/algorithms/a2c.md has the whole list.
"""

from typing import Any

import torch

from algorithms.experiment import ReportsProgress, SuiteConfig
from algorithms.learner import PROGRESS, Batch, RolloutLearner
from rollouts.returns import clipped, explained_variance, gae
from rollouts.rollout import Rollout, RolloutData
from rollouts.sampling import sample_rollouts

COLUMNS = ("actions", "advantages", "targets")  # that the loss reads


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
        rollouts, summaries = sample_rollouts(self.env_runner_group)
        results = self.learn_from(rollouts)
        self.send_weights()
        self.count(summaries, results)


class A2CLearner(RolloutLearner):
    """One step on the gradient of the whole batch."""

    def update(self, *, training_data: RolloutData, timesteps: dict[str, Any], **kwargs) -> dict[str, float]:
        """Learn once from Rollouts of equal horizon, with one step."""
        self.begin_update(timesteps[PROGRESS])
        self.add_gradient_of_rollouts(training_data.fetch())
        self.step()
        return self.report()

    def add_gradient_of_rollouts(self, rollouts: list[Rollout]) -> None:
        """Compute the gradient of the loss on all Rollouts, in microbatches where they are larger than memory."""
        config = self.config
        batch = self.load(rollouts)  # [T, N, ...]
        batch |= estimate_advantages(batch, config.gamma, config.lambda_, config.clip_rewards)
        if config.normalize_advantages:
            batch["advantages"] = self.standardize(batch["advantages"], batch["valid"])
        for microbatch in self.microbatches(batch, COLUMNS, config.microbatch_size):
            policy, values, rows = self.forward(microbatch)
            loss, terms = a2c_loss(policy, values, rows, config.vf_loss_coeff, config.entropy_coeff)
            self.add_gradient(loss, terms)


def estimate_advantages(batch: Batch, gamma: float, gae_lambda: float, clip_rewards: bool) -> Batch:
    """Return the columns that the loss compares with, each float32 [T, N].

    Args:
        batch: the columns of a Rollout; `values` [T + 1, N], the last row is the bootstrap.
        gamma, gae_lambda: see `gae`; lambda = 1 makes n-step returns.
        clip_rewards: learn from the signs of the rewards.

    Returns:
        `advantages`, and `targets` of the values: advantages + values.
    """
    rewards = clipped(batch["rewards"]) if clip_rewards else batch["rewards"]
    ends = batch["final_values"], batch["terminated"], batch["truncated"]
    advantages = gae(rewards, batch["values"], *ends, gamma, gae_lambda, batch["valid"])
    return {"advantages": advantages, "targets": advantages + batch["values"][:-1]}


def a2c_loss(
    policy: Any, values: torch.Tensor, batch: Batch, vf_coeff: float, entropy_coeff: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """-E[ A log pi(a|s) ] + c1 E[ (R - V)^2 ] / 2 - c2 E[ S ], over one batch or a part of it.

    Args:
        policy: the present policy, a distribution over [B].
        values: the present values [B].
        batch: actions [B] or [B, D], advantages [B], targets [B].
        vf_coeff, entropy_coeff: c1 and c2.

    Returns:
        The loss, a scalar, and its terms for the report, scalars too.
    """
    policy_loss = -(policy.logp(batch["actions"]) * batch["advantages"]).mean()
    value_loss = 0.5 * ((values - batch["targets"]) ** 2).mean()
    entropy = policy.entropy().mean()
    loss = policy_loss + vf_coeff * value_loss - entropy_coeff * entropy

    with torch.no_grad():
        terms = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "explained_variance": explained_variance(batch["targets"], values),
        }
    return loss, terms
