"""PG: the policy gradient itself, REINFORCE.

Paper: Williams 1992 (https://doi.org/10.1007/BF00992696), as the lecture writes it: play episodes to their end, sum up
what came after each action, make the actions likelier that were followed by much.

    env runners --complete episodes--> returns --one batch--> loss --gradient--> weights --> env runners

There is no critic: the model's value head is neither trained nor asked. Two settings beyond the lecture lower the
variance: a baseline, the mean return of the batch, and returns divided by their standard deviation. Departures: the
loss is a mean over agent steps where the lecture sums over an episode's; a lost life ends an episode where the
protocol says so. docs/algorithms/pg.md has the whole list.
"""

from typing import Any

import torch

from algorithms.experiment import ReportsProgress, SuiteConfig
from algorithms.learner import PROGRESS, Batch, RolloutLearner
from rollouts.episodes import EpisodeRunner
from rollouts.returns import clipped, monte_carlo
from rollouts.rollout import RolloutData
from rollouts.sampling import sample_rollouts

COLUMNS = ("actions", "returns", "weights")  # that the loss reads


class PGConfig(SuiteConfig):
    """RLlib's config with PG's words."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or PG)
        self.env_runners(env_runner_cls=EpisodeRunner)
        self.episodes_per_env = 1
        self.baseline, self.standardize_returns = "average", True
        self.entropy_coeff = 0.0
        self.microbatch_size = None  # agent steps whose gradient is computed at once; None: all

    def get_default_learner_class(self) -> type["PGLearner"]:
        return PGLearner


class PG(ReportsProgress):
    """`training_step` is one update: sample, learn, send the weights out."""

    @classmethod
    def get_default_config(cls) -> PGConfig:
        return PGConfig()

    def training_step(self) -> None:
        rollouts, summaries = sample_rollouts(self.env_runner_group)
        results = self.learn_from(rollouts)
        self.send_weights()
        self.count(summaries, results)


class PGLearner(RolloutLearner):
    """One step on the gradient of all episodes."""

    def update(self, *, training_data: RolloutData, timesteps: dict[str, Any], **kwargs) -> dict[str, float]:
        """Learn once from Rollouts of complete episodes, with one step; they may differ in length."""
        config, rollouts = self.config, training_data.fetch()
        self.begin_update(timesteps[PROGRESS])
        batch = self.load(rollouts)  # [T, N, ...]
        rewards = clipped(batch["rewards"]) if config.clip_rewards else batch["rewards"]
        batch["returns"] = monte_carlo(rewards, batch["terminated"], batch["truncated"], config.gamma)
        batch["weights"] = self.weigh_returns(batch["returns"], batch["valid"])
        for microbatch in self.microbatches(batch, COLUMNS, config.microbatch_size):
            policy, _, rows = self.forward(microbatch)
            loss, terms = pg_loss(policy, rows, config.entropy_coeff)
            self.add_gradient(loss, terms)
        self.step()
        return self.report()

    def weigh_returns(self, returns: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        """Return the returns [T, N] less the baseline, over their standard deviation, as the settings say."""
        mean, std = self.compute_mean_and_std(returns[valid])
        baseline = mean if self.config.baseline == "average" else 0.0
        scale = std.clamp(min=1e-3) if self.config.standardize_returns else 1.0
        return (returns - baseline) / scale


def pg_loss(policy: Any, batch: Batch, entropy_coeff: float) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """-E[ G log pi(a|s) ] - c E[ S ], over one batch or a part of it.

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
