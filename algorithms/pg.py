"""PG: the policy gradient itself, REINFORCE.

Paper: Williams 1992 (https://doi.org/10.1007/BF00992696), as the lecture writes it: play episodes to their end, sum up
what came after each action, make the actions likelier that were followed by much.

    env runners --complete episodes--> returns --one batch--> loss --gradient--> weights --> env runners

There is no critic: the model's value head is neither trained nor asked. Two settings beyond the lecture lower the
variance: a baseline, the mean return of the batch, and returns divided by their standard deviation. Departures: the
loss is a mean over agent steps where the lecture sums over an episode's; a lost life ends an episode where the
protocol says so. docs/algorithms/pg.md has the whole list.
"""

import math
from typing import Any

import torch

from algorithms.experiment import ReportsProgress, SuiteConfig
from algorithms.learner import Batch, RolloutLearner, everyones, moments, num_rows
from rollouts.episodes import EpisodeRunner
from rollouts.returns import clipped, monte_carlo
from rollouts.runner import sample


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
        rollouts, summaries = sample(self.env_runner_group)
        results = self.learn_from(rollouts)
        self.send_weights()
        self.count(summaries, results)


class PGLearner(RolloutLearner):
    """One step on the gradient of all episodes, and the loss."""

    def prepare(self, batch: Batch) -> Batch:
        rewards = clipped(batch["rewards"]) if self.config.clip_rewards else batch["rewards"]
        returns = monte_carlo(rewards, batch["terminated"], batch["truncated"], self.config.gamma)
        return {"actions": batch["actions"], "returns": returns}

    def learn(self, batch: Batch) -> None:
        batch, rows = self.weigh(batch), num_rows(batch)
        everybodys = everyones(rows, self._device)
        for piece in self.pieces(batch, math.ceil(rows / (self.config.microbatch_size or rows))):
            self.add_gradient(piece, num_rows(piece) / everybodys)
        self.descend(batch)

    def weigh(self, batch: Batch) -> Batch:
        """The batch with `weights`: returns, less the baseline, over their standard deviation, as the settings say."""
        returns = batch["returns"]
        counted = returns[batch["valid"]] if "valid" in batch else returns
        mean, std = moments(counted)
        baseline = mean if self.config.baseline == "average" else 0.0
        scale = std.clamp(min=1e-3) if self.config.standardize_returns else 1.0
        return batch | {"weights": (returns - baseline) / scale}

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict) -> Any:
        """-E[ G log pi(a|s) ] - c E[ S ], over one batch or a piece of it.

        Args:
            batch: actions [B] or [B, D], returns [B], weights [B].
            fwd_out: `policy`, the present policy.
        """
        policy = fwd_out["policy"]
        policy_loss = -(policy.logp(batch["actions"]) * batch["weights"]).mean()
        entropy = policy.entropy().mean()
        loss = policy_loss - config.entropy_coeff * entropy

        with torch.no_grad():
            self.log(policy_loss=policy_loss, entropy=entropy, discounted_return=batch["returns"].mean())
        return loss
