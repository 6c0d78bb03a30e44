"""The actor-critic RLModule: a torso (or two), a policy head and a value head.

    obs -> torso -> features -> one matmul in fp32 -> policy parameters [B, P], values [B]

RLlib's loops call `forward_*` and `compute_values`; the suite's own runner and learners call `pack` and
`policy_and_value`, which is the same computation without a dictionary around it.
"""

import math
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium.spaces import Box, Discrete
from ray.rllib.core.columns import Columns
from ray.rllib.core.rl_module.apis.value_function_api import ValueFunctionAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from torch import nn

from custom_models.distributions import Categorical, Gaussian
from custom_models.torsos import ConvTorso, MLPTorso, initialize

NATURE = [(32, 8, 4), (64, 4, 2), (64, 3, 1)]  # Mnih et al. 2015: filters, kernel, stride
HEAD_GAINS = {"policy": 0.01, "value": 1.0}  # Huang et al. 2022, detail 2


def make_torso(model: dict, observation_space: Box) -> ConvTorso | MLPTorso:
    """One torso from the `model.` settings."""
    dtype = getattr(torch, model["dtype"])
    if model["torso"] == "nature_cnn":
        return ConvTorso(model["pixels"], NATURE, model["hidden"], model["activation"], model["init"], dtype)
    return MLPTorso(math.prod(observation_space.shape), model["hidden"], model["activation"], model["init"], dtype)


class ActorCritic(TorchRLModule, ValueFunctionAPI):
    """Policy and value of one agent.

    `model_config` holds the `model.` settings (torso, hidden, activation, init, shared_trunk, dtype) and, for games
    with pixels, `pixels` (dim, channels, stack, block).
    """

    def setup(self) -> None:
        model = self.model_config
        self.discrete = isinstance(self.action_space, Discrete)
        self.Policy = Categorical if self.discrete else Gaussian
        outputs = int(self.action_space.n) if self.discrete else math.prod(self.action_space.shape)
        self.torso = make_torso(model, self.observation_space)
        self.value_torso = None if model["shared_trunk"] else make_torso(model, self.observation_space)
        self.policy = nn.Linear(self.torso.size, outputs)
        self.value = nn.Linear(self.torso.size, 1)
        initialize(self.policy, model["init"], HEAD_GAINS["policy"])
        initialize(self.value, model["init"], HEAD_GAINS["value"])
        # A state-independent spread (Huang et al. 2022, detail 24).
        self.log_std = None if self.discrete else nn.Parameter(torch.zeros(outputs))

    def pack(self) -> dict[str, Any]:
        """All weights as `policy_and_value` computes with them; differentiable."""
        packed: dict[str, Any] = {"torso": self.torso.pack()}
        if self.value_torso is None:
            packed["heads"] = (
                torch.cat([self.policy.weight, self.value.weight]),
                torch.cat([self.policy.bias, self.value.bias]),
            )
        else:
            packed["value_torso"] = self.value_torso.pack()
        return packed

    def policy_and_value(self, obs: torch.Tensor, packed: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Parameters of the policy [B, P] and values [B], both fp32.

        Args:
            obs: [B, ...], pixels as uint8 stacks in blocks.
            packed: what `pack` returned.
        """
        features = self.torso(obs, packed["torso"])
        if self.value_torso is None:
            out = F.linear(features, *packed["heads"])
            policy, values = out[:, :-1], out[:, -1]
        else:
            policy = self.policy(features)
            values = self.value(self.value_torso(obs, packed["value_torso"]))[:, 0]
        if self.log_std is not None:
            policy = torch.cat([policy, self.log_std.expand_as(policy)], -1)
        return policy, values

    recurrent = False

    def initial_state(self, num_envs: int) -> tuple[torch.Tensor, ...]:
        return ()

    def act(self, obs, packed, state):
        return *self.policy_and_value(obs, packed), ()

    def over_time(self, obs, packed, state, starts):
        raise NotImplementedError

    def _forward(self, batch: dict[str, Any], **kwargs) -> dict[str, Any]:
        policy, values = self.policy_and_value(batch[Columns.OBS], self.pack())
        # RLlib hands EMBEDDINGS back to compute_values: the values are in them already.
        return {Columns.ACTION_DIST_INPUTS: policy, Columns.EMBEDDINGS: values}

    def compute_values(self, batch: dict[str, Any], embeddings: torch.Tensor | None = None) -> torch.Tensor:
        """Values [B]; see RLlib's ValueFunctionAPI."""
        return self.policy_and_value(batch[Columns.OBS], self.pack())[1] if embeddings is None else embeddings
