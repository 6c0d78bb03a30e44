"""The actor-critic RLModule: one torso or two, an LSTM where the settings have one, a policy head and a value head.

    obs -> torso -> features -> (LSTM) -> one matmul in fp32 -> policy parameters [B, P], values [B]

The suite's runner and learners call `pack`, then `act` (one step), `compute_policy_and_value` (a batch, without memory)
or `unroll` (a rollout, with memory). RLlib's loops call the same computation by other names: rllib_interface.py.
"""

import functools
import math
from typing import Any

import torch
import torch.nn.functional as F
from gymnasium.spaces import Discrete, MultiDiscrete, Space
from torch import nn

from custom_models.distributions import Categorical, Gaussian, MultiCategorical
from custom_models.memory import LSTM, State
from custom_models.rllib_interface import RLlibInterface
from custom_models.shards import Shards
from custom_models.torsos import initialize_layer, make_torso

HEAD_GAINS = {"policy": 0.01, "value": 1.0}  # Huang et al. 2022, detail 2


def choose_policy(space: Space) -> tuple[Any, int]:
    """Return the distribution over the actions of a space, and how many numbers the policy head computes for it.

    Args:
        space: Discrete from 0 on, MultiDiscrete with one axis and from 0 on, or Box.
    """
    if isinstance(space, Discrete):
        return Categorical, int(space.n)
    if isinstance(space, MultiDiscrete):
        sizes = tuple(int(size) for size in space.nvec)
        return functools.partial(MultiCategorical, sizes=sizes), sum(sizes)
    return Gaussian, math.prod(space.shape or ())


class ActorCritic(RLlibInterface):
    """Policy and value of one agent.

    `model_config` holds the `model.` settings (torso, hidden, activation, init, zero_mean, shared_trunk, lstm_size,
    dtype) and, for games with pixels, `pixels` (dim, channels, stack, block,
    width).
    """

    def setup(self) -> None:
        model = self.model_config
        self.Policy, outputs = choose_policy(self.action_space)
        self.torso = make_torso(model, self.observation_space.shape)
        self.value_torso = None if model["shared_trunk"] else make_torso(model, self.observation_space.shape)
        size = model.get("lstm_size")  # run directories older than it are without it
        self.memory = LSTM(self.torso.size, size, model["init"]) if size else None
        self.recurrent = self.memory is not None
        size = size or self.torso.size
        self.policy = nn.Linear(size, outputs)
        self.value = nn.Linear(size, 1)
        initialize_layer(self.policy, model["init"], HEAD_GAINS["policy"])
        initialize_layer(self.value, model["init"], HEAD_GAINS["value"])
        continuous = self.Policy is Gaussian
        self.log_std = nn.Parameter(torch.zeros(outputs)) if continuous else None  # Huang et al. 2022, detail 24

    def pack(self, shards: Shards | None = None) -> dict[str, Any]:
        """Return the weights of torso and heads in the layout that the methods below need; gradients pass through.

        Args:
            shards: the threads that compute the torso; None: this thread, with OpenMP.
        """
        packed: dict[str, Any] = {"torso": self.torso.pack(), "shards": shards}
        if self.value_torso is None:
            heads = self.policy, self.value
            packed["heads"] = torch.cat([head.weight for head in heads]), torch.cat([head.bias for head in heads])
        else:
            packed["value_torso"] = self.value_torso.pack()
        return packed

    def make_initial_state(self, num_envs: int) -> State:
        """Return the state before the first step of `num_envs` games: zeros (h, c), each float32 [N, H]; () without an
        LSTM."""
        return self.memory.make_initial_state(num_envs) if self.memory else ()

    def act(self, obs: torch.Tensor, packed: dict[str, Any], state: State) -> tuple[torch.Tensor, torch.Tensor, State]:
        """Run the network for one step of N games.

        Args:
            obs: [N, ...], pixels as uint8 stacks in blocks.
            packed: the result of `pack`.
            state: the result of `make_initial_state` or of the step before, with zeros in the rows of games that start.

        Returns:
            Parameters of the policy [N, P] and values [N], both fp32, and the next state.
        """
        if self.memory is None:
            return *self.compute_policy_and_value(obs, packed), ()
        features, state = self.memory.run_step(self.torso(obs, packed["torso"]), state)
        return *self.apply_heads(features, packed), state

    def compute_policy_and_value(self, obs: torch.Tensor, packed: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return parameters of the policy [B, P] and values [B], both fp32, of a model without an LSTM.

        Args:
            obs: [B, ...], pixels as uint8 stacks in blocks.
            packed: the result of `pack`.
        """
        if self.recurrent:
            raise TypeError("a model with a memory needs a state: call act for one step, unroll for a rollout")
        features, *of_value_torso = self._run_torsos(obs, packed)
        if not of_value_torso:
            return self.apply_heads(features, packed)
        return self._append_log_std(self.policy(features)), self.value(*of_value_torso)[:, 0]

    def unroll(
        self, obs: torch.Tensor, packed: dict[str, Any], state: State, starts: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Run a model with an LSTM over a rollout; returns policies [T, N, P] and values [T, N], both fp32.

        Args:
            obs: [T, N, ...], pixels as uint8 stacks in blocks.
            packed: the result of `pack`.
            state: before the first step, (h, c), each float32 [N, H].
            starts: bool [T, N], the observation is the first of a new game, so the state before it is set to 0.
        """
        assert self.memory is not None
        features = self._run_torsos(obs.flatten(0, 1), packed)[0].unflatten(0, starts.shape)  # [T, N, D]
        return self.apply_heads(self.memory.run_sequence(features, state, starts)[0], packed)

    def _run_torsos(self, obs: torch.Tensor, packed: dict[str, Any]) -> list[torch.Tensor]:
        """Return the features of the torso [B, D], then those of the value's own torso where there is one; computed in
        shards where `packed` has them."""
        torsos, shards = [(self.torso, packed["torso"])], packed["shards"]
        if self.value_torso is not None:
            torsos.append((self.value_torso, packed["value_torso"]))
        if shards is None:
            return [torso(obs, weights) for torso, weights in torsos]
        return [shards.compute(torso, obs, weights) for torso, weights in torsos]

    def apply_heads(self, features: torch.Tensor, packed: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return policies [..., P] and values [...], computed from features [..., D] that both heads share."""
        out = F.linear(features, *packed["heads"])
        return self._append_log_std(out[..., :-1]), out[..., -1]

    def _append_log_std(self, policy: torch.Tensor) -> torch.Tensor:
        """Return the parameters of the policy: for continuous actions the means, then log standard deviations."""
        return policy if self.log_std is None else torch.cat([policy, self.log_std.expand_as(policy)], -1)
