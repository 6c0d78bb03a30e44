"""PG: the policy gradient itself, REINFORCE.

Paper: Williams 1992 (https://doi.org/10.1007/BF00992696), as the lecture writes it: play episodes to their end, sum up
what came after each action, and raise the probability of actions with high returns.

    env runners --complete episodes--> returns --one batch--> loss --gradient--> weights --> env runners

There is no critic: the model's value head is neither trained nor asked. Two settings beyond the lecture lower the
variance: a baseline, the mean return of the batch, and returns divided by their standard deviation. Departures: the
loss is a mean over agent steps where the lecture sums over an episode's; a lost life ends an episode where the
protocol says so. docs/algorithms/pg.md has the whole list.
"""

from typing import Any

import torch

from algorithms.learner import PROGRESS, Batch, RolloutLearner
from algorithms.suite_algorithm import SuiteAlgorithm, SuiteConfig
from rollouts.episodes import EpisodeRunner
from rollouts.returns import clip_to_sign, monte_carlo
from rollouts.rollout import RolloutData
from rollouts.sampling import sample_rollouts

COLUMNS = ("actions", "returns", "weights")  # the loss reads them


class PGConfig(SuiteConfig):
    """RLlib's config with PG's env runner and learner."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or PG)
        self.env_runners(env_runner_cls=EpisodeRunner)

    def get_default_learner_class(self) -> type["PGLearner"]:
        return PGLearner


class PG(SuiteAlgorithm):
    """The Algorithm: `training_step` samples, updates the learner and sends the weights to the env runners."""

    @classmethod
    def get_default_config(cls) -> PGConfig:
        return PGConfig()

    def training_step(self) -> None:
        rollouts, summaries = sample_rollouts(self.env_runner_group)
        results = self.update_learner(rollouts)
        self.send_weights()
        self.log_update(summaries, results)


class PGLearner(RolloutLearner):
    """The learner: an update is one step on the gradient of all episodes."""

    def update(self, *, training_data: RolloutData, timesteps: dict[str, Any], **kwargs) -> dict[str, float]:
        """Update the network once, with one step, from Rollouts of complete episodes; they may differ in length."""
        algo, rollouts = self.algo, training_data.fetch()
        self.begin_update(timesteps[PROGRESS])
        batch = self.load(rollouts)  # [T, N, ...]
        rewards = clip_to_sign(batch["rewards"]) if self.config.env_settings.clip_rewards else batch["rewards"]
        batch["returns"] = monte_carlo(rewards, batch["terminated"], batch["truncated"], algo.gamma)
        batch["weights"] = self.weigh_returns(batch["returns"], batch["valid"])
        for microbatch in self.iterate_microbatches(batch, COLUMNS, algo.microbatch_size):
            policy, _, rows = self.forward(microbatch)
            self.add_gradient(*pg_loss(policy, rows, algo.entropy_coeff))
        self.step()
        return self.report()

    def weigh_returns(self, returns: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the weights [T, N] of log pi in the loss: returns minus the baseline, divided by their standard
        deviation where `standardize_returns` says so."""
        mean, std = self.compute_mean_and_std(returns[valid])
        baseline = mean if self.algo.baseline == "average" else 0.0
        scale = std.clamp(min=1e-3) if self.algo.standardize_returns else 1.0
        return (returns - baseline) / scale


def pg_loss(policy: Any, batch: Batch, entropy_coeff: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return PG's loss of one batch or a part of it, -mean(w log pi(a|s)) - c mean(S) with the w of `weigh_returns`.

    Args:
        policy: the present policy, a distribution over [B].
        batch: actions [B] or [B, D], returns [B], weights [B].
        entropy_coeff: c.

    Returns:
        The loss, a scalar, and its terms for the report, scalars too.
    """
    policy_loss = -(policy.logp(batch["actions"]) * batch["weights"]).mean()
    entropy = policy.entropy().mean()
    loss = policy_loss - entropy_coeff * entropy

    with torch.no_grad():
        terms = {"policy_loss": policy_loss, "entropy": entropy, "discounted_return": batch["returns"].mean()}
    return loss, terms
