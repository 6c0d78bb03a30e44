"""Environments as some claims need them: with many actions, or slow.

env.wrappers=[claims.wrappers:Push, {claims.wrappers:Levels: {count: 1001}}]
env.wrappers=[{claims.wrappers:Slow: {seconds: 0.005}}]
"""

import time
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Push(gymnasium.ActionWrapper):
    """CartPole with a continuous action: the force as a share of the greatest one.

    The action is float32 [1], from -1 (left) to 1 (right). CartPole itself has the two greatest forces only.
    """

    def __init__(self, env: gymnasium.Env):
        super().__init__(env)
        self.game: Any = env.unwrapped
        self.greatest = self.game.force_mag  # newtons
        self.action_space = Box(-1, 1, (1,), np.float32)

    def action(self, action: np.ndarray) -> int:
        """Set the force of the next step; returns the game's number of its direction."""
        self.game.force_mag = self.greatest * min(1.0, abs(float(action[0])))
        return int(action[0] > 0)


class Levels(gymnasium.ActionWrapper):
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
