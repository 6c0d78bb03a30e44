"""One game as a gymnasium.Env, for RLlib's own env runner.

    Games (N = 1) -> Transition -> stack of frames, training reward, terminated or truncated

RLlib learns from episodes, so what the suite's own runner keeps apart has to be settled here: a lost life is the end of
a training episode and the `reset` after it goes on with the same game; rewards are clipped where the protocol clips
them; and the score of the whole game, unclipped, waits in `finished` until somebody takes it. Steps that ignore their
action (a restart, or FIRE after a lost life) are played here and seen by nobody: within `reset` where an episode ended
before, else within the `step` that led to them.
"""

from typing import Any

import gymnasium
import numpy as np

from environments.frame_stack import FrameStack
from environments.games import make_games


class SingleGame(gymnasium.Env):
    """One game under the `env.` settings.

    Attributes:
        finished: (unclipped score, agent steps) of every full game that is over and was not taken yet.
    """

    def __init__(self, env: dict):
        self.games = make_games(env, 1, 1)
        self.clip_rewards = env["clip_rewards"]
        self.observation_space, self.action_space = self.games.observation_space, self.games.action_space
        self.finished: list[tuple[float, int]] = []
        self._ended = False  # the training episode: the first observation of the next one is there already

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        """A new game; without a seed and after the end of a training episode, whatever comes next."""
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
        while self.games.ignores_next[0] and not (terminated or truncated):
            obs, more, terminated, truncated = self._play_step(0)
            reward += more
        self._ended = terminated or truncated
        return obs, reward, terminated, truncated, {}

    def close(self) -> None:
        self.games.close()

    def _play_step(self, action: Any) -> tuple[np.ndarray, float, bool, bool]:
        """One step of the game: what the agent sees, its training reward, terminated, truncated."""
        step = self.games.step(np.array([action]))
        self._score += float(step.rewards[0])
        self._length += int(step.valid[0])
        if step.finished[0]:
            self.finished.append((self._score, self._length))
            self._score, self._length = 0.0, 0
        terminated, truncated, last = bool(step.terminated[0]), bool(step.truncated[0]), None
        if truncated and step.final_obs is not None:  # the target bootstraps from it
            last = self._stack.preview_observations(step.final_obs, step.truncated)[0]
        self._stack.push(step.obs, step.game_reset)
        reward = float(np.sign(step.rewards[0]) if self.clip_rewards else step.rewards[0])
        return self._get_observation() if last is None else last, reward, terminated, truncated

    def _get_observation(self) -> np.ndarray:
        return self._stack.get_observations()[0].copy()
