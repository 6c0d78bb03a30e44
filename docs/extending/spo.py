"""SPO, simple policy optimisation (Xie et al. 2024, https://arxiv.org/abs/2401.16025): PPO with another loss.

Where PPO clips the ratio, a squared penalty holds it near 1: r A - |A| / (2 epsilon) (r - 1)^2 is maximised.
"""

from collections.abc import Callable
from typing import Any

import torch

from algorithms.learner import Batch
from algorithms.ppo import PPO, PPOLearner
from settings.algorithms import PPOSettings as Settings

__all__ = ["Algorithm", "Learner", "Settings"]


class Algorithm(PPO):
    """Samples, updates and sends weights as PPO does."""


class Learner(PPOLearner):
    """PPO's learner, whose minibatches have the loss of SPO."""

    def add_gradient_of(self, compute_loss: Callable[..., Any], minibatch: Batch, *settings: Any) -> None:
        super().add_gradient_of(spo_loss, minibatch, *settings)


def spo_loss(
    policy: Any,
    values: torch.Tensor,
    batch: Batch,
    clip: float,
    vf_clip: float | None,
    vf_coeff: float,
    entropy_coeff: float,
    kl_coeff: torch.Tensor | None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return the loss of a minibatch and its terms; arguments as of `ppo_loss`, of which SPO has no use for two."""
    if vf_clip is not None or kl_coeff is not None:
        raise ValueError("SPO has no algo.vf_clip and no algo.kl_coeff: set them to null and to 0")
    ratio, advantages = (policy.logp(batch["actions"]) - batch["logp"]).exp(), batch["advantages"]
    policy_loss = -(ratio * advantages - advantages.abs() / (2 * clip) * (ratio - 1) ** 2).mean()
    value_loss, entropy = 0.5 * ((values - batch["targets"]) ** 2).mean(), policy.entropy().mean()
    loss = policy_loss + vf_coeff * value_loss - entropy_coeff * entropy
    distance = (ratio - 1).abs().mean()  # a column of progress.csv
    return loss, {"policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy, "ratio_distance": distance}
