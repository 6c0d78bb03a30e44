"""A small environment that needs memory: the agent has to repeat a cue that it saw some agent steps ago.

The first observation holds the cue, +1 or -1; the later observations hold 0. The return is 1 if the last action matches
the cue, else 0. An agent without memory gets a mean return of 0.5.
"""

from typing import Any

import gymnasium
import numpy as np

DELAY = 4  # agent steps between the cue and the answer


class RepeatCue(gymnasium.Env):
    """The environment. Observations are float32 [2]: the cue (0 after the first step), and 1 if the answer is due."""

    observation_space = gymnasium.spaces.Box(-1, 1, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None) -> tuple[np.ndarray, dict]:
        super().reset(seed=seed)
        self._cue, self._step = int(self.np_random.integers(2)), 0
        return np.array([2 * self._cue - 1, 0], np.float32), {}

    def step(self, action: Any) -> tuple[np.ndarray, float, bool, bool, dict]:
        due = self._step == DELAY
        right = due and int(action) == self._cue
        self._step += 1
        return np.array([0, self._step == DELAY], np.float32), float(right), due, False, {}


gymnasium.register("RepeatCue-v0", "environments.cue:RepeatCue", max_episode_steps=DELAY + 1)
