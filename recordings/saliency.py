"""Where an agent looks: how far its policy moves when a part of the picture is hidden.

    replay -> the stacks that the network saw -> every part hidden in turn -> policy with it - policy without it

Source: occlusion saliency, Zeiler and Fergus 2014, section 4.2; of Atari agents, Greydanus et al. 2018, who blur the
part instead. A part is hidden in all frames of the stack by the mean of its own pixels, and the measure is the total
variation distance of the two policies: 0 where the part does not matter, 1 where it decides everything.
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

PARTS = 7  # rows and columns that the picture is cut into


class Sight(NamedTuple):
    """What an agent saw in a game of T steps, and what of it mattered.

    Attributes:
        frames: uint8 [T, dim, dim] or [T, dim, dim, 3], the newest of the stack at each step.
        stack: how many frames the network sees at once.
        every: agent steps from one analysed step to the next.
        importance: float32 [ceil(T / every), PARTS, PARTS], total variation distance; None where actions are not drawn
            from a categorical policy.
    """

    frames: np.ndarray
    stack: int
    every: int
    importance: np.ndarray | None


def look_again(network: ActorCritic | QNetwork, games: Games, replay: Replay, every: int) -> Sight | None:
    """Let a network see a recorded game once more; None where it has no pixels.

    Args:
        network: the one that played.
        games: one env of the same settings, whose first game after the replay's seed is the recorded one.
        replay: of T steps.
        every: how many agent steps to go on after an analysed one.
    """
    layout = games.layout
    if layout is None:
        return None
    stack, state = FrameStack(layout, games.reset(replay.seed)), network.initial_state(1)
    frames, importance = [], []
    with torch.inference_mode():
        packed = network.pack()
        for t, action in enumerate(replay.actions):
            frames.append(layout.to_pixels(stack.frames[0, ..., -1, :]))
            parameters, _, after = network.act(torch.from_numpy(stack.observations()), packed, state)
            policy = network.Policy(parameters)
            if t % every == 0 and isinstance(policy, Categorical):
                importance.append(importance_of_parts(network, packed, state, stack.frames, policy, layout.stack_shape))
            state = after
            step = games.step(action[None])
            stack.push(step.obs, step.game_reset)
    return Sight(np.stack(frames), layout.stack, every, np.stack(importance) if importance else None)


def importance_of_parts(
    network: ActorCritic | QNetwork,
    packed: dict,
    state: tuple,
    blocks: np.ndarray,
    policy: Categorical,
    stack_shape: tuple[int, ...],
) -> np.ndarray:
    """Return how far the policy moves when each part of a stack is hidden: float32 [PARTS, PARTS].

    Args:
        network: whose policy it is.
        packed: its weights, from `pack`.
        state: its memory before this step.
        blocks: uint8 [1, side, side, stack, depth].
        policy: with nothing hidden.
        stack_shape: of one observation, as the network takes it.
    """
    edges = np.linspace(0, blocks.shape[1], PARTS + 1).round().astype(int)
    hidden = np.repeat(blocks, PARTS**2, axis=0)
    for part, frames in enumerate(hidden):
        row, column = divmod(part, PARTS)
        here = frames[edges[row] : edges[row + 1], edges[column] : edges[column + 1]]
        here[...] = here.mean(axis=(0, 1, 3), keepdims=True)  # of each frame by itself
    state = tuple(one.expand(PARTS**2, *one.shape[1:]).contiguous() for one in state)
    parameters, _, _ = network.act(torch.from_numpy(hidden.reshape(-1, *stack_shape)), packed, state)
    without: Any = network.Policy(parameters)
    moved = without.log_probs.exp() - policy.log_probs.exp()
    return 0.5 * moved.abs().sum(-1).reshape(PARTS, PARTS).float().numpy()
