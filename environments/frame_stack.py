"""The frame stack: what an agent sees of N games while they are played.

    Games.reset, Transition.obs -> FrameStack.push -> get_observations(): the last frames of each game, or obs itself

Training, evaluation, recordings and DQN all take their observations from here, so that an agent is evaluated on what it
was trained on. The learner makes the same stacks of a whole Rollout at once, on its device: rollouts/rollout.py.
"""

import numpy as np

from environments.frames import FrameLayout


class FrameStack:
    """The last frames of N games, or their last observations where these are no pixels.

    Args:
        layout: of the frames; None where observations are no pixels.
        obs: the first of N new games: uint8 [N, *layout.frame_shape], or [N, ...] without a layout.

    Attributes:
        frames: uint8 [N, height, width, stack, depth], the newest frame last; places before a game's first frame are 0.
            Without a layout the observations [N, ...].
    """

    def __init__(self, layout: FrameLayout | None, obs: np.ndarray):
        self._layout, self.frames = layout, obs
        if layout is not None:
            height, width, depth = layout.frame_shape
            self.frames = np.zeros((len(obs), height, width, layout.stack, depth), np.uint8)
            self.frames[..., -1, :] = obs

    def push(self, obs: np.ndarray, game_reset: np.ndarray) -> None:
        """Add the next frame of every game.

        Args:
            obs: as in `__init__`.
            game_reset: bool [N], true where obs is the first of a new game.
        """
        if self._layout is None:
            self.frames = obs
            return
        flat, depth = self.frames.reshape(-1), obs.shape[-1]
        flat[:-depth] = flat[depth:]  # all frames one place back; what comes into the last place is overwritten
        if game_reset.any():
            self.frames[game_reset] = 0
        self.frames[..., -1, :] = obs

    def get_observations(self) -> np.ndarray:
        """Return what the network takes, until the next push: [N, ...], of pixels uint8 [N, *layout.stack_shape]."""
        return self.frames if self._layout is None else self.frames.reshape(len(self.frames), *self._layout.stack_shape)

    def preview_observations(self, obs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return what the network would take if one more frame followed; nothing is added.

        Args:
            obs: as in `__init__`, of all N games.
            chosen: bool [N], which games are asked for.

        Returns:
            [M, ...] for the M chosen games.
        """
        if self._layout is None:
            return obs[chosen]
        stacks = np.concatenate([self.frames[chosen][..., 1:, :], obs[chosen][..., None, :]], -2)
        return stacks.reshape(len(stacks), *self._layout.stack_shape)
