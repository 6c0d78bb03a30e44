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
        whole = returns.clone()
        for t in range(1, len(whole)):
            is_first = self.ends[t - 1] | ~valid[t - 1]  # some vectors have a row between two games that is none
            whole[t] = torch.where(is_first, returns[t], whole[t - 1])
        return super().weigh_returns(whole, valid)
