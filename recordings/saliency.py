"""Saliency: how much the policy changes when a part of the picture is hidden, which shows where an agent looks.

    replay -> the frame stacks that the network saw -> each part hidden in turn -> distance between the two policies

Source: occlusion saliency, Zeiler and Fergus 2014, section 4.2; for Atari agents Greydanus et al. 2018, who blur the
part instead. A part is hidden in all frames of the stack by the mean of its own pixels. The measure is the total
variation distance between the policies with and without the part: 0 if it does not matter, 1 if they never agree.
"""

from typing import Any, NamedTuple

import numpy as np
import torch

from custom_models.actor_critic import ActorCritic
from custom_models.distributions import Categorical
from custom_models.q_network import QNetwork
from environments.frame_stack import FrameStack
from environments.games import Games
from recordings.replay import Replay

PARTS = 7  # rows, and columns, that the picture is divided into


class Saliency(NamedTuple):
    """The frames that an agent saw in a game of T agent steps, and the importance of their parts.

    Attributes:
        frames: uint8 [T, height, width] or [T, height, width, 3], the newest frame of the stack at each step.
        stack: how many frames the network sees at once.
        every: importance is measured at every so many agent steps.
        importance: float32 [ceil(T / every), PARTS, PARTS], total variation distance; None if the policy is not
            categorical.
    """

    frames: np.ndarray
    stack: int
    every: int
    importance: np.ndarray | None


def measure_saliency(network: ActorCritic | QNetwork, games: Games, replay: Replay, every: int) -> Saliency | None:
    """Show a recorded game to the network again and measure the importance of each part of its frames.

    Args:
        network: the network that played the game.
        games: one open environment with the settings of the replay.
        replay: a game of T agent steps.
        every: importance is measured at every so many agent steps, because it costs PARTS x PARTS forward passes.

    Returns:
        The frames and their importance; None if the environment has no pixels.
    """
    layout = games.layout
    if layout is None:
        return None
    stack, state = FrameStack(layout, games.reset(replay.seed)), network.make_initial_state(1)
    frames, importance = [], []
    with torch.inference_mode():
        packed = network.pack()
        for t, action in enumerate(replay.actions):
            frames.append(layout.to_pixels(stack.frames[0, ..., -1, :]))
            parameters, _, after = network.act(torch.from_numpy(stack.get_observations()), packed, state)
            policy = network.Policy(parameters)
            if t % every == 0 and isinstance(policy, Categorical):
                importance.append(measure_importance(network, packed, state, stack.frames, policy, layout.stack_shape))
            state = after
            step = games.step(action[None])
            stack.push(step.obs, step.game_reset)
    return Saliency(np.stack(frames), layout.stack, every, np.stack(importance) if importance else None)


def measure_importance(
    network: ActorCritic | QNetwork,
    packed: dict,
    state: tuple,
    blocks: np.ndarray,
    policy: Categorical,
    stack_shape: tuple[int, ...],
) -> np.ndarray:
    """Return how much the policy changes when each part of a frame stack is hidden: float32 [PARTS, PARTS].

    Args:
        network: the network that gives the policy.
        packed: its weights, from `pack`.
        state: the state of its memory before this step.
        blocks: the frame stack, uint8 [1, height, width, stack, depth].
        policy: the policy with nothing hidden.
        stack_shape: the shape of one observation, as the network takes it.
    """
    rows, columns = (np.linspace(0, side, PARTS + 1).round().astype(int) for side in blocks.shape[1:3])
    hidden = np.repeat(blocks, PARTS**2, axis=0)
    for part, frames in enumerate(hidden):
        row, column = divmod(part, PARTS)
        here = frames[rows[row] : rows[row + 1], columns[column] : columns[column + 1]]
        if here.size:  # a picture of few pixels has parts without any
            here[...] = here.mean(axis=(0, 1, 3), keepdims=True)  # a mean for each frame
    state = tuple(one.expand(PARTS**2, *one.shape[1:]).contiguous() for one in state)
    parameters, _, _ = network.act(torch.from_numpy(hidden.reshape(-1, *stack_shape)), packed, state)
    without: Any = network.Policy(parameters)
    change = without.log_probs.exp() - policy.log_probs.exp()
    return 0.5 * change.abs().sum(-1).reshape(PARTS, PARTS).float().numpy()
