"""The network of an agent as other programs run it: ordinary stacks of pixels in, probabilities out, all in fp32.

    observation [N, ...], state -> ActorCritic or QNetwork -> probabilities, or mean and std; value; the next state

In a run, networks compute in bf16 where the hardware has it and read pixels in blocks (environments/frames.py). Here a
stack is uint8 [N, frames, height, width], for colours [N, frames, height, width, 3], the oldest frame first.
"""

from typing import Any

import torch
from torch import nn

from custom_models.convolutions import CONVS, SECTIONS
from custom_models.distributions import Categorical, Gaussian
from custom_models.q_network import EVALUATION_EPSILON, EpsilonGreedy, QNetwork
from settings.mistakes import Mistake

# Kind of policy -> its name, and the outputs that describe it.
POLICIES = {
    Categorical: ("categorical", ("probabilities",)),
    Gaussian: ("gaussian", ("mean", "std")),
    EpsilonGreedy: ("epsilon_greedy", ("probabilities", "q_values")),
}
STATE = ("h", "c")  # of an LSTM; the outputs are called next_h and next_c


class ExportedNetwork(nn.Module):
    """The network of an agent, with inputs and outputs that need no knowledge of the suite.

    Args:
        network: an ActorCritic or a QNetwork with the weights of a checkpoint; it does not change.

    Attributes:
        kind: `categorical`, `gaussian`, or `epsilon_greedy` of DQN, whose probabilities are those of its evaluation.
        inputs: name -> an example, of two observations.
        outputs: names.

    Raises:
        Mistake: the network has a policy of another kind.
    """

    def __init__(self, network: Any):
        super().__init__()
        if network.Policy not in POLICIES:
            kind = getattr(network.Policy, "func", network.Policy).__name__  # of several actions: a function of it
            raise Mistake(f"policies of the kind {kind} cannot be exported; use load_agent instead")
        self.kind, outputs = POLICIES[network.Policy]
        self.network: Any = copy_in_float32(network)
        pixels = self.network.model_config.get("pixels")  # with a width, they are a Gymnasium environment's pictures,
        self.pixels: dict | None = None if pixels and pixels.get("width") else pixels  # which go in as they are
        space, state = network.observation_space, self.network.make_initial_state(2)
        shape, dtype = space.shape, torch.uint8 if space.dtype.name == "uint8" else torch.float32
        if p := self.pixels:
            shape = (p["stack"], p["dim"], p["dim"], *([3] if p["channels"] == 3 else []))
        self.inputs = {"observation": torch.zeros(2, *shape, dtype=dtype)} | dict(zip(STATE, state, strict=False))
        self.outputs = (*outputs, "value", *(f"next_{name}" for name in STATE[: len(state)]))

    def forward(self, observation: torch.Tensor, *state: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Run the network for one step of N games.

        Args:
            observation: [N, ...], as the text at the top has it.
            state: h and c, each float32 [N, H], of a network with an LSTM; zeros in the rows of games that begin.

        Returns:
            `outputs`: probabilities [N, A], and of DQN q_values [N, A], or mean and std, each [N, D]; value [N], of DQN
            the largest Q-value; and the next state. All are float32.
        """
        obs = observation if self.pixels is None else arrange_in_blocks(observation, self.pixels)
        parameters, value, after = self.network.act(obs, self.network.pack(), state)
        return (*self.describe_policy(parameters), value, *after)

    def describe_policy(self, parameters: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Return the outputs that describe the policy, from its parameters [N, P]."""
        if self.kind == "categorical":
            return (parameters.softmax(-1),)
        if self.kind == "gaussian":
            mean, log_std = parameters.chunk(2, -1)
            return mean, log_std.exp()
        actions, best = torch.arange(parameters.shape[-1]), parameters.argmax(-1, keepdim=True)
        share = EVALUATION_EPSILON / parameters.shape[-1]  # of a random action that falls on this one
        return share + (1 - EVALUATION_EPSILON) * (actions == best).float(), parameters


def copy_in_float32(network: Any) -> Any:
    """Return a copy of a network that computes in fp32, without target network and gradients.

    Its convolutions read pixels instead of blocks, so the exported graph is the one that papers draw.
    """
    config = network.model_config | {"dtype": "float32"}
    if config["torso"] in (*CONVS, *SECTIONS):
        config["pixels"] = config["pixels"] | {"block": 1}
    copy = type(network)(
        observation_space=network.observation_space,
        action_space=network.action_space,
        model_config=config,
        inference_only=isinstance(network, QNetwork),
    )
    copy.load_state_dict({name: network.state_dict()[name] for name in copy.state_dict()})
    return copy.requires_grad_(False).eval()


def arrange_in_blocks(stacks: torch.Tensor, pixels: dict) -> torch.Tensor:
    """Return stacks in blocks, uint8 [N, h, w, d] (environments/frames.py), from uint8 [N, frames, height, width, ...].

    Args:
        stacks: the oldest frame first; colours along the last axis.
        pixels: dim, channels, stack and block of the pictures.
    """
    block, side = pixels["block"], pixels["dim"] // pixels["block"]
    cells = stacks.reshape(-1, pixels["stack"], side, block, side, block, pixels["channels"])
    return cells.permute(0, 2, 4, 1, 3, 5, 6).flatten(3)
