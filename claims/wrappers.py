"""Environments as some claims need them: with many actions, or slow.

env.wrappers=[{claims.wrappers:Torques: {count: 1001}}]
env.wrappers=[{claims.wrappers:Slow: {seconds: 0.005}}]
"""

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Torques(gymnasium.ActionWrapper):
    """An environment whose continuous action, one number, is one of `count` equally spaced values.

    The agent chooses its number: 0 for the lowest value, `count` - 1 for the highest.
    """

    def __init__(self, env: gymnasium.Env, count: int):
        super().__init__(env)
        space = env.action_space
        assert isinstance(space, Box)
        self.values = np.linspace(space.low, space.high, count, dtype=np.float32)  # [count, 1]
        self.action_space = Discrete(count)

    def action(self, action: int) -> np.ndarray:
        """Return the value, float32 [1], with this number."""
        return self.values[action]


class Slow(gymnasium.Wrapper):
    """An environment that takes a while for each step, as a simulator or a robot does, and no processor meanwhile."""

    def __init__(self, env: gymnasium.Env, seconds: float):
        super().__init__(env)
        self.seconds = seconds

    def step(self, action: Any) -> tuple:
        time.sleep(self.seconds)
        return super().step(action)
