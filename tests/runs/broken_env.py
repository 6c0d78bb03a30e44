"""An environment that works for a while."""

import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv


class Broken(CartPoleEnv):
    """CartPole that raises at its 300th step."""

    steps_left = 300

    def step(self, action):
        self.steps_left -= 1
        if not self.steps_left:
            raise ValueError("the licence has expired")
        return super().step(action)


gymnasium.register("Broken-v0", Broken, max_episode_steps=500)
