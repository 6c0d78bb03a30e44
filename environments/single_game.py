"""One game as a gymnasium.Env, for RLlib's own env runner.

    Games (N = 1) -> Transition -> stack of frames, training reward, terminated or truncated

RLlib's env runner knows episodes only, so this class translates games into training episodes. If the protocol ends an
episode at a lost life, the next `reset` continues the same game. Rewards are clipped if the protocol clips them.
The unclipped score of every complete game is kept in `finished`. Steps that ignore their action (a restart, or FIRE
after a lost life) are played here, without RLlib: within `reset` after the end of an episode, otherwise within the
`step` before them, unless they are asked for.
"""

from typing import Any

import gymnasium
import numpy as np

from environments.frame_stack import FrameStack
from environments.games import make_games


class SingleGame(gymnasium.Env):
    """One game under the `env.` settings.

    Args:
        env: the settings.
        shows_ignored: whether FIRE after a lost life is a `step` of its own, as a network with an LSTM has seen it.

    Attributes:
        finished: (unclipped score, agent steps) of every game that has ended since the list was last emptied.
    """

    def __init__(self, env: dict, shows_ignored: bool = False):
        self.games, self.shows_ignored = make_games(env, 1, 1), shows_ignored
        self.clip_rewards = env["clip_rewards"]
        self.observation_space, self.action_space = self.games.observation_space, self.games.action_space
        self.finished: list[tuple[float, int]] = []
        self._ended = False  # whether the training episode has ended; the stack is then at the next one

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """Begin an episode: with a seed in a new game; without a seed, after an episode, in the present game."""
        if seed is None and self._ended:
            while self.games.ignores_next[0]:
                self._play_step(0)
        else:
            obs = self.games.reset(seed)
            self._score, self._length = 0.0, 0
            self._stack = FrameStack(self.games.layout, obs)
        self._ended = False
        return self._get_observation(), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        obs, reward, terminated, truncated = self._play_step(action)
        while self.games.ignores_next[0] and not (terminated or truncated or self.shows_ignored):
            obs, more, terminated, truncated = self._play_step(0)
            reward += more
        self._ended = terminated or truncated
        return obs, float(np.sign(reward)) if self.clip_rewards else reward, terminated, truncated, {}

    def close(self) -> None:
        self.games.close()

    def _play_step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        """Play one step of the game; returns the next observation, the game's reward, terminated and truncated."""
        step = self.games.step(np.array([action]))
        self._score += float(step.rewards[0])
        self._length += int(step.valid[0])
        if step.finished[0]:
            self.finished.append((self._score, self._length))
            self._score, self._length = 0.0, 0
        terminated, truncated, last = bool(step.terminated[0]), bool(step.truncated[0]), None
        if truncated and step.final_obs is not None:  # the target bootstraps from this observation
            last = self._stack.preview_observations(step.final_obs, step.truncated)[0]
        self._stack.push(step.obs, step.game_reset)
        return self._get_observation() if last is None else last, float(step.rewards[0]), terminated, truncated

    def _get_observation(self) -> np.ndarray:
        """Return a copy of the present observation."""
        return self._stack.get_observations()[0].copy()
