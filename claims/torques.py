"""A large discrete action space: a continuous action of one number, as one of many equally spaced values.

env.wrappers=[{claims.torques:Torques: {count: 1001}}]
"""

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete


class Torques(gymnasium.ActionWrapper):
    """An environment whose action is the number of a value, 0 for the lowest and `count` - 1 for the highest."""

    def __init__(self, env: gymnasium.Env, count: int):
        super().__init__(env)
        space = env.action_space
        assert isinstance(space, Box)
        self.values = np.linspace(space.low, space.high, count, dtype=np.float32)  # [count, 1]
        self.action_space = Discrete(count)

    def action(self, action: int) -> np.ndarray:
        """Return the value, float32 [1], with this number."""
        return self.values[action]
