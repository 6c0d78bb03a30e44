"""PG with whole returns: every action of an episode is weighed with what the whole episode brought, its G_0.

The lecture's G_t leaves out the rewards that came before the action at t, which the action cannot have brought.
"""

from typing import Any

import torch

from algorithms.learner import Batch
from algorithms.pg import PG, PGLearner
from settings.algorithms import PGSettings as Settings

__all__ = ["Algorithm", "Learner", "Settings"]


class Algorithm(PG):
    """Samples, updates and sends weights as PG does."""


class Learner(PGLearner):
    """PG's learner, whose weights of log pi come from G_0 of each episode."""

    def load(self, rollouts: list[Any]) -> Batch:
        batch = super().load(rollouts)
        self.ends = batch["terminated"].bool() | batch["truncated"].bool()  # [T, N]
        return batch

    def weigh_returns(self, returns: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        whole, is_first = returns.clone(), torch.ones_like(self.ends[0])
        for t in range(1, len(whole)):
            # Some vectors have a row that is none between two games.
            is_first = self.ends[t - 1] | (is_first & ~valid[t - 1])
            whole[t] = torch.where(is_first, returns[t], whole[t - 1])
        return super().weigh_returns(whole, valid)
