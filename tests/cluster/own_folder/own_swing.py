"""An environment that stands in no checkout: CartPole with short games."""

import gymnasium

gymnasium.register("Swing-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=30)
