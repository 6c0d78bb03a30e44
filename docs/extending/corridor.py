"""A corridor to walk through: env=corridor."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Corridor(gymnasium.Env):
    """Starts somewhere in the left half. Each step costs 0.01, and the right end gives 1."""

    def __init__(self, length: int = 8):
        self.length, self.place = length, 0
        self.observation_space = Box(0, 1, (1,), np.float32)  # the place, as a share of the length
        self.action_space = Discrete(2)  # left, right

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        super().reset(seed=seed)  # self.np_random draws the numbers of this seed, so that games can be played again
        self.place = int(self.np_random.integers(self.length // 2))
        return self.look(), {}

    def step(self, action: int) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        self.place = max(0, self.place + (1 if action else -1))
        at_end = self.place == self.length
        return self.look(), 1.0 if at_end else -0.01, at_end, False, {}

    def look(self) -> np.ndarray:
        return np.array([self.place / self.length], np.float32)


gymnasium.register("Corridor-v0", Corridor, max_episode_steps=200)  # without a limit, nothing could be evaluated
