"""The Q-network RLModule: a torso, and a head with the value of each action.

    obs -> torso -> features -> linear in fp32 -> Q [B, A]                           Mnih et al. 2015
                             -> V [B, 1] and A [B, A] -> V + A - mean A = Q [B, A]   dueling, Wang et al. 2016

RLlib's DQN calls `forward_*`, `compute_q_values` and the target network's counterparts; evaluation calls `pack` and
`act`, as it does with every model of the suite.
"""

from typing import Any

import torch
import torch.nn.functional as F
from ray.rllib.algorithms.dqn.default_dqn_rl_module import QF_NEXT_PREDS, QF_PREDS, QF_TARGET_NEXT_PREDS
from ray.rllib.core.columns import Columns
from ray.rllib.core.learner.utils import make_target_network
from ray.rllib.core.rl_module.apis import InferenceOnlyAPI, QNetAPI, TargetNetworkAPI
from ray.rllib.core.rl_module.torch.torch_rl_module import TorchRLModule
from ray.rllib.utils.schedules.scheduler import Scheduler
from torch import nn

from custom_models.torsos import initialize_layer, make_torso

EVALUATION_EPSILON = 0.05  # Mnih et al. 2015, "Evaluation procedure"


class EpsilonGreedy:
    """The epsilon-greedy policy of Q-values [..., A]: a random action with probability `epsilon`, else the best one."""

    def __init__(self, q_values: torch.Tensor, epsilon: float = EVALUATION_EPSILON):
        self.q_values, self.epsilon = q_values, epsilon

    def sample(self, generator: torch.Generator) -> torch.Tensor:
        """Return random actions, int64 [...]."""
        shape = self.q_values.shape[:-1]
        random_actions = torch.randint(self.q_values.shape[-1], shape, generator=generator)
        return torch.where(torch.rand(shape, generator=generator) < self.epsilon, random_actions, self.mode())

    def mode(self) -> torch.Tensor:
        """Return the actions with the largest Q-value, int64 [...]."""
        return self.q_values.argmax(-1)


class QValues(nn.Module):
    """The Q-network itself, in plain torch. With `dueling` and without a shared trunk it has a second torso, for V."""

    def __init__(self, model: dict, observation_space: Any, num_actions: int):
        super().__init__()
        self.torso = make_torso(model, observation_space.shape)
        self.actions = nn.Linear(self.torso.size, num_actions)
        initialize_layer(self.actions, model["init"], 1.0)
        self.value_torso = self.value = None
        if model["dueling"]:
            self.value_torso = None if model["shared_trunk"] else make_torso(model, observation_space.shape)
            self.value = nn.Linear(self.torso.size, 1)
            initialize_layer(self.value, model["init"], 1.0)

    def pack(self) -> dict[str, Any]:
        """Return the weights of the torsos in the layout that `forward` needs; gradients pass through."""
        return {"torso": self.torso.pack(), "value_torso": self.value_torso.pack() if self.value_torso else None}

    def forward(self, obs: torch.Tensor, packed: dict[str, Any]) -> torch.Tensor:
        """Return Q-values, fp32 [B, A], for observations [B, ...], pixels as uint8 stacks in blocks."""
        features = self.torso(obs, packed["torso"])
        q_values = F.linear(features, self.actions.weight, self.actions.bias)
        if self.value is None:
            return q_values
        if self.value_torso is not None:
            features = self.value_torso(obs, packed["value_torso"])
        return self.value(features) + q_values - q_values.mean(-1, keepdim=True)


class QNetwork(TorchRLModule, QNetAPI, TargetNetworkAPI, InferenceOnlyAPI):
    """Q-values of one agent, and those of the target network.

    `model_config` holds the `model.` settings, `pixels` for games that have them, `dueling`, and for training RLlib's
    `double_q` and `epsilon`, a schedule over agent steps.
    """

    Policy = EpsilonGreedy

    def setup(self) -> None:
        self.online = QValues(self.model_config, self.observation_space, int(self.action_space.n))
        self.make_target_networks()
        self.epsilon = Scheduler(self.model_config.get("epsilon", EVALUATION_EPSILON), framework="torch")
        self.generator = torch.Generator()

    # Methods that the suite calls.

    def pack(self) -> dict[str, Any]:
        """Return the packed weights of the online network; see QValues."""
        return self.online.pack()

    def compute_policy_and_value(self, obs: torch.Tensor, packed: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return the parameters of `Policy`, which are the Q-values [B, A], and the largest of them [B], both fp32."""
        q_values = self.online(obs, packed)
        return q_values, q_values.amax(-1)

    def act(self, obs: torch.Tensor, packed: dict[str, Any], state: tuple) -> tuple[torch.Tensor, torch.Tensor, tuple]:
        """Return `compute_policy_and_value` and the next state, which is () because there is no LSTM."""
        return *self.compute_policy_and_value(obs, packed), state

    def make_initial_state(self, num_envs: int) -> tuple:
        """Return the state before the first step of a game, which is () because there is no LSTM."""
        return ()

    # Methods that RLlib's DQN calls.

    def make_target_networks(self) -> None:
        self.target: Any = make_target_network(self.online)

    def get_target_network_pairs(self) -> list[tuple[nn.Module, nn.Module]]:
        return [(self.online, self.target)]

    def get_non_inference_attributes(self) -> list[str]:
        return ["target"]

    def compute_q_values(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        return {QF_PREDS: self.online(batch[Columns.OBS], self.online.pack())}

    def forward_target(self, batch: dict[str, Any]) -> dict[str, torch.Tensor]:
        with torch.no_grad():
            return {QF_PREDS: self.target(batch[Columns.OBS], self.target.pack())}

    def _forward_train(self, batch: dict[str, Any], **kwargs) -> dict[str, torch.Tensor]:
        """Return the Q-values of the observations, and those of the next ones by the target network; with double Q
        also those of the next ones by the online network."""
        obs, next_obs = batch[Columns.OBS], batch[Columns.NEXT_OBS]
        packed = self.online.pack()
        out = {QF_PREDS: self.online(obs, packed)}
        if self.model_config["double_q"]:
            with torch.no_grad():  # only its argmax is used
                out[QF_NEXT_PREDS] = self.online(next_obs, packed)
        return out | {QF_TARGET_NEXT_PREDS: self.forward_target({Columns.OBS: next_obs})[QF_PREDS]}

    @torch.no_grad()
    def _forward_inference(self, batch: dict[str, Any], **kwargs) -> dict[str, torch.Tensor]:
        return {Columns.ACTIONS: self.compute_q_values(batch)[QF_PREDS].argmax(-1)}

    @torch.no_grad()
    def _forward_exploration(self, batch: dict[str, Any], t: int = 0, **kwargs) -> dict[str, torch.Tensor]:
        """Return random actions with the epsilon of the schedule after `t` agent steps."""
        q_values = self.compute_q_values(batch)[QF_PREDS]
        return {Columns.ACTIONS: EpsilonGreedy(q_values, float(self.epsilon.update(t))).sample(self.generator)}
