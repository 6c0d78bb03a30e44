"""A game that does nothing but take its time: a stand-in for slow emulators, which scaling needs no cores for.

    python run.py env=cartpole env.id=benchmarks.slow_games:SlowGame-v0

Every step of every env sleeps for SECONDS; envs that one process plays together sleep one after the other. Where the
environment variable SLOWEST names a file, the first process that plays makes it and is SLOWER times as slow from then
on. Playing counts, not opening: whoever only looks at the spaces does not become the slow one.

SlowerGame-v0 sleeps 20 ms, and so does WideSlowerGame-v0, which shows as many bytes as a picture of 84 x 84.
"""

import functools
import os
import time

import gymnasium
import numpy as np

SECONDS, SLOWER = 0.005, 10
SLOWEST = "SLOW_GAMES_SLOWEST"


@functools.cache
def find_slowness(file: str) -> int:
    """Return how much slower this process plays: SLOWER if it is the first to make `file`, else 1."""
    try:
        os.close(os.open(file, os.O_CREAT | os.O_EXCL))
    except FileExistsError:
        return 1
    return SLOWER


class SlowGame(gymnasium.Env):
    """A game with observations of four numbers or more, two actions, and a reward of 1 for the right one."""

    def __init__(self, seconds: float = SECONDS, numbers: int = 4):
        self.seconds, self.numbers = seconds, numbers
        self.observation_space = gymnasium.spaces.Box(-1, 1, (numbers,), np.float32)
        self.action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed: int | None = None, options: dict | None = None):
        super().reset(seed=seed)
        self._obs = self.np_random.uniform(-1, 1, self.numbers).astype(np.float32)
        return self._obs, {}

    def step(self, action):
        file = os.environ.get(SLOWEST)
        time.sleep(self.seconds * (find_slowness(file) if file else 1))
        reward = float(action == (self._obs[0] > 0))
        self._obs = self.np_random.uniform(-1, 1, self.numbers).astype(np.float32)
        return self._obs, reward, False, False, {}


SLOWER_GAME = {"seconds": 0.02}
GAMES = {"SlowGame-v0": {}, "SlowerGame-v0": SLOWER_GAME, "WideSlowerGame-v0": {**SLOWER_GAME, "numbers": 84 * 84 // 4}}
for name, settings in GAMES.items():
    gymnasium.register(name, "benchmarks.slow_games:SlowGame", max_episode_steps=100, kwargs=settings)
