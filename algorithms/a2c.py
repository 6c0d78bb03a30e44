"""A2C: synchronous advantage actor-critic.

Paper: Mnih et al. 2016, Algorithm S3 (https://arxiv.org/abs/1602.01783), made synchronous; settings of openai/baselines
a2c, which gave it its name.

    env runners --Rollout--> advantages --one batch--> loss --gradient--> weights --> env runners

Departures from the paper: one learner steps once on the gradient of all envs together, so nothing is asynchronous, and
the loss is a mean over the batch where the paper sums, so that `optimizer_eps` and `max_grad_norm` mean the same for
any size of it. A time limit bootstraps. docs/algorithms/a2c.md has the whole list.
"""

from typing import Any

import torch

from algorithms.learner import PROGRESS, Batch, RolloutLearner
from algorithms.suite_algorithm import SuiteAlgorithm, SuiteConfig
from rollouts.returns import clip_to_sign, explained_variance, gae
from rollouts.rollout import Rollout, RolloutData
from rollouts.sampling import sample_rollouts

COLUMNS = ("actions", "advantages", "targets")  # the loss reads them


class A2CConfig(SuiteConfig):
    """RLlib's config with A2C's learner."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or A2C)

    def get_default_learner_class(self) -> type["A2CLearner"]:
        return A2CLearner


class A2C(SuiteAlgorithm):
    """The Algorithm: `training_step` samples, updates the learner and sends the weights to the env runners."""

    @classmethod
    def get_default_config(cls) -> A2CConfig:
        return A2CConfig()

    def training_step(self) -> None:
        rollouts, summaries = sample_rollouts(self.env_runner_group)
        results = self.update_learner(rollouts)
        self.send_weights()
        self.log_update(summaries, results)


class A2CLearner(RolloutLearner):
    """The learner: an update is one step on the gradient of the whole batch."""

    def update(self, *, training_data: RolloutData, timesteps: dict[str, Any], **kwargs) -> dict[str, float]:
        """Update the network once, with one step, from Rollouts of equal horizon."""
        self.begin_update(timesteps[PROGRESS])
        self.add_gradient_of_rollouts(training_data.fetch())
        self.step()
        return self.report()

    def add_gradient_of_rollouts(self, rollouts: list[Rollout]) -> None:
        """Add the gradient of the loss on all Rollouts to the parameters, one microbatch after the other."""
        algo = self.algo
        batch = self.load(rollouts)  # [T, N, ...]
        batch |= estimate_advantages(batch, algo.gamma, algo.gae_lambda, self.config.env_settings.clip_rewards)
        if algo.normalize_advantages:
            batch["advantages"] = self.standardize(batch["advantages"], batch["valid"])
        for microbatch in self.iterate_microbatches(batch, COLUMNS, algo.microbatch_size):
            self.add_gradient_of(a2c_loss, microbatch, algo.vf_coeff, algo.entropy_coeff)


def estimate_advantages(batch: Batch, gamma: float, gae_lambda: float, clip_rewards: bool) -> Batch:
    """Return the advantages and the targets of the values, each float32 [T, N].

    Args:
        batch: the columns of a Rollout; `values` [T + 1, N], the last row is the bootstrap.
        gamma, gae_lambda: see `gae`; lambda = 1 makes n-step returns.
        clip_rewards: whether rewards are replaced by their signs.

    Returns:
        `advantages`, and `targets` of the values: advantages + values.
    """
    rewards = clip_to_sign(batch["rewards"]) if clip_rewards else batch["rewards"]
    ends = batch["final_values"], batch["terminated"], batch["truncated"]
    advantages = gae(rewards, batch["values"], *ends, gamma, gae_lambda, batch["valid"])
    return {"advantages": advantages, "targets": advantages + batch["values"][:-1]}


def a2c_loss(
    policy: Any, values: torch.Tensor, batch: Batch, vf_coeff: float, entropy_coeff: float
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return A2C's loss of a batch or part of it, and its terms: -mean(A log pi) + c1 0.5 mean((R - V)^2) - c2 mean(S).

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
