"""The methods of the actor-critic under the names that RLlib calls.

RLlib's own env runners, connectors and losses call these methods; the suite's env runner and learners do not.
"""

from typing import Any

import numpy as np
import torch
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule


class RLlibInterface(TorchRLModule, ValueFunctionAPI):
    """RLlib's methods `forward_*` and `compute_values`, made of the methods of ActorCritic."""

    recurrent: bool
    torso: Any
    memory: Any
    pack: Any
    make_initial_state: Any
    compute_policy_and_value: Any
    apply_heads: Any

    def get_initial_state(self) -> dict[str, np.ndarray]:
        """Return `make_initial_state` of one game as RLlib wants it, without the axis N."""
        return dict(zip("hc", (x[0].cpu().numpy() for x in self.make_initial_state(1)), strict=False))

    def _forward(self, batch: dict[str, Any], **kwargs) -> dict[str, Any]:
        # RLlib passes EMBEDDINGS to compute_values, so they hold the values.
        if not self.recurrent:
            policy, values = self.compute_policy_and_value(batch[Columns.OBS], self.pack())
            return {Columns.ACTION_DIST_INPUTS: policy, Columns.EMBEDDINGS: values}
        obs = batch[Columns.OBS].transpose(0, 1)  # RLlib's rows are [B, T, ...], and no game starts within one
        state = batch[Columns.STATE_IN]["h"], batch[Columns.STATE_IN]["c"]
        starts = torch.zeros(obs.shape[:2], dtype=torch.bool, device=obs.device)
        packed = self.pack()
        features = self.torso(obs.flatten(0, 1), packed["torso"]).unflatten(0, starts.shape)
        features, (h, c) = self.memory.run_sequence(features, state, starts)
        policy, values = self.apply_heads(features, packed)
        return {
            Columns.ACTION_DIST_INPUTS: policy.transpose(0, 1),
            Columns.EMBEDDINGS: values.transpose(0, 1),
            Columns.STATE_OUT: {"h": h, "c": c},
        }

    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Return values [B], or [B, T] with an LSTM; see RLlib's ValueFunctionAPI."""
        return self._forward(batch)[Columns.EMBEDDINGS] if embeddings is None else embeddings
