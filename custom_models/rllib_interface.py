"""RLlib's names for what the actor-critic computes.

The suite's runner and learners do not go through here; RLlib's own env runners, connectors and losses do.
"""

from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule


class RLlibInterface(TorchRLModule, ValueFunctionAPI):
    """`forward_*` and `compute_values`, on top of the methods of ActorCritic."""

    recurrent: bool
    torso: Any
    memory: Any
    pack: Any
    initial_state: Any
    policy_and_value: Any
    heads: Any

    def get_initial_state(self) -> dict[str, np.ndarray]:
        """RLlib's form of `initial_state`: of one game, without the axis N."""
        return dict(zip("hc", (x[0].cpu().numpy() for x in self.initial_state(1)), strict=False))

    def _forward(self, batch: dict[str, Any], **kwargs) -> dict[str, Any]:
        # RLlib hands EMBEDDINGS back to compute_values: the values are in them already.
        if not self.recurrent:
            policy, values = self.policy_and_value(batch[Columns.OBS], self.pack())
            return {Columns.ACTION_DIST_INPUTS: policy, Columns.EMBEDDINGS: values}
        obs = batch[Columns.OBS].transpose(0, 1)  # RLlib's rows are [B, T, ...], and no game starts within one
        state = batch[Columns.STATE_IN]["h"], batch[Columns.STATE_IN]["c"]
        starts = torch.zeros(obs.shape[:2], dtype=torch.bool, device=obs.device)
        packed = self.pack()
        features = self.torso(obs.flatten(0, 1), packed["torso"]).unflatten(0, starts.shape)
        features, (h, c) = self.memory.sequence(features, state, starts)
        policy, values = self.heads(features, packed)
        return {
            Columns.ACTION_DIST_INPUTS: policy.transpose(0, 1),
            Columns.EMBEDDINGS: values.transpose(0, 1),
            Columns.STATE_OUT: {"h": h, "c": c},
        }

    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Values [B], or [B, T] with a memory; see RLlib's ValueFunctionAPI."""
        return self._forward(batch)[Columns.EMBEDDINGS] if embeddings is None else embeddings
