"""The frame stack: the observations that the network takes while N games are played.

    Games.reset, Transition.obs -> FrameStack.push -> get_observations(): the last frames of each game, or obs itself

Training, evaluation, recordings and DQN all use this class, so that an agent is evaluated on the same observations as
in training. The learner builds the same stacks for a whole Rollout at once, on its device: rollouts/rollout.py.
"""

import numpy as np

from environments.frames import FrameLayout


class FrameStack:
    """The last frames of each of N games; the last observation, if observations are not pixels.

    Args:
        layout: the layout of the frames; None if observations are not pixels.
        obs: the first frames of N new games, uint8 [N, *layout.frame_shape]; without a layout the first observations,
            [N, ...].

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
            game_reset: bool [N], whether the frame is the first of a new game.
        """
        if self._layout is None:
            self.frames = obs
            return
        flat, depth = self.frames.reshape(-1), obs.shape[-1]
        flat[:-depth] = flat[depth:]  # moves all frames one place back; the last place is overwritten below
        if game_reset.any():
            self.frames[game_reset] = 0
        self.frames[..., -1, :] = obs

    def get_observations(self) -> np.ndarray:
        """Return the observations for the network, valid until the next push: [N, ...]; stacks of pixels as uint8."""
        return self.frames if self._layout is None else self.frames.reshape(len(self.frames), *self._layout.stack_shape)

    def preview_observations(self, obs: np.ndarray, chosen: np.ndarray) -> np.ndarray:
        """Return the observations that one more frame would give in some of the games; the stack does not change.

        Args:
            obs: the next frames of all N games, as in `__init__`.
            chosen: bool [N], the games whose observations are returned.

        Returns:
            [M, ...] for the M chosen games.
        """
        if self._layout is None:
            return obs[chosen]
        stacks = np.concatenate([self.frames[chosen][..., 1:, :], obs[chosen][..., None, :]], -2)
        return stacks.reshape(len(stacks), *self._layout.stack_shape)
