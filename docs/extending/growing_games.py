"""A curriculum: games are short at first, and grow longer as the environment is played."""

from typing import Any

import gymnasium


class GrowingGames(gymnasium.Wrapper):
    """Cuts games off after `first` steps, later after more, and after `over` steps of this environment not at all.

    Each environment of a run counts for itself, from 0 again where a run continues.
    """

    def __init__(self, env: gymnasium.Env, first: int = 50, over: int = 20_000):
        super().__init__(env)
        self.first, self.over, self.total, self.steps = first, over, 0, 0

    def reset(self, **kwargs: Any) -> tuple[Any, dict[str, Any]]:
        self.steps = 0
        return self.env.reset(**kwargs)

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, info = self.env.step(action)
        self.steps, self.total = self.steps + 1, self.total + 1
        share = self.total / self.over
        cut = share < 1 and self.steps >= self.first * (1 + 9 * share)
        return obs, float(reward), terminated, truncated or cut, info
