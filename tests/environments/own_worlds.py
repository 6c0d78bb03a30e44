"""Small environments, one for each kind of observation and action; a process that imports this file can make them."""

import copy
from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, Graph, MultiBinary, MultiDiscrete, Sequence, Space, Text, Tuple


class Catch(gymnasium.Env):
    """A ball falls, and a paddle of three pixels catches it: uint8 [size, size], 1 or -1 at the end."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}

    def __init__(self, size: int = 10, render_mode: str | None = None):
        self.size, self.render_mode = size, render_mode
        self.observation_space = Box(0, 255, (size, size), np.uint8)
        self.action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.paddle, self.row, self.column = self.size // 2, 0, int(self.np_random.integers(self.size))
        return self.draw(), {}

    def step(self, action):
        self.paddle = int(np.clip(self.paddle + action - 1, 1, self.size - 2))
        self.row += 1
        over = self.row == self.size - 1
        return self.draw(), float(over) * (1 if abs(self.paddle - self.column) < 2 else -1), over, False, {}

    def draw(self):
        picture = np.zeros((self.size, self.size), np.uint8)
        picture[-1, self.paddle - 1 : self.paddle + 2] = 255
        picture[self.row, self.column] = 255
        return picture

    def render(self):
        return np.repeat(self.draw()[..., None], 3, -1)


class Matching(gymnasium.Env):
    """Eight steps; a step scores the share of the numbers of the observation that the action repeats."""

    metadata = {"render_modes": ["rgb_array"], "render_fps": 20}
    observation_space: Space = MultiDiscrete([3, 2, 4])
    action_space: Space = MultiDiscrete([3, 2, 4])

    def __init__(self, render_mode: str | None = None):
        self.render_mode = render_mode
        self.observation_space = copy.deepcopy(self.observation_space)  # with random numbers of its own

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if seed is not None:
            self.observation_space.seed(seed)
        self.left, self.shown = 8, self.observation_space.sample()
        return self.shown, {}

    def step(self, action):
        assert action in self.action_space, action
        score, self.left = float(np.mean(np.asarray(action) == self.shown)), self.left - 1
        self.shown = self.observation_space.sample()
        return self.shown, score, self.left == 0, False, {}

    def render(self):
        return np.full((32, 48, 3), 20 * self.left, np.uint8)


class Switches(Matching):
    """The same with switches, in two rows of two."""

    observation_space = MultiBinary((2, 2))
    action_space = MultiBinary((2, 2))


class Board(Matching):
    """The same with a board of numbers that do not count from 0."""

    observation_space = MultiDiscrete(np.array([[2, 3], [4, 2]]), start=np.array([[1, 0], [-2, 5]]))
    action_space = MultiDiscrete(np.array([[2, 3], [4, 2]]), start=np.array([[1, 0], [-2, 5]]))


class Parts(Matching):
    """An observation of many kinds; the right action, counted from 5, is its `goal`."""

    observation_space = Dict(
        {
            "goal": Discrete(3),
            "place": Box(-1, 1, (2, 2), np.float64),
            "rest": Tuple((MultiBinary(2), Discrete(2, start=7))),
        }
    )
    action_space = Discrete(3, start=5)

    def step(self, action):
        assert action in self.action_space, action
        right = float(action - 5 == self.shown["goal"])
        self.left, self.shown = self.left - 1, self.observation_space.sample()
        return self.shown, right, self.left == 0, False, {}


class Matrix(Matching):
    """Continuous actions in two rows; a step scores how near they are to 0.5."""

    observation_space = Box(-1, 1, (3,), np.float32)
    action_space = Box(-1, 1, (2, 2), np.float32)

    def step(self, action):
        assert action in self.action_space, action
        self.left, self.shown = self.left - 1, self.observation_space.sample()
        return self.shown, -float(np.abs(action - 0.5).mean()), self.left == 0, False, {}


class Screens(Matching):
    """Pictures like Procgen's, uint8 [64, 64, 3] of noise; the right action is the place of the brightest colour."""

    observation_space = Box(0, 255, (64, 64, 3), np.uint8)
    action_space = Discrete(3)

    def reset(self, *, seed=None, options=None):
        gymnasium.Env.reset(self, seed=seed)
        self.left = 8
        return self.draw(), {}

    def draw(self):
        self.goal = int(self.np_random.integers(3))
        picture = self.np_random.integers(0, 100, (64, 64, 3), np.uint8)
        picture[..., self.goal] += 100
        return picture

    def step(self, action):
        right, self.left = float(action == self.goal), self.left - 1
        return self.draw(), right, self.left == 0, False, {}


class Wide(Screens):
    """Pictures that are wider than high, cut after 3 steps."""

    observation_space = Box(0, 255, (36, 52, 3), np.uint8)

    def draw(self):
        self.goal = 0
        return np.full((36, 52, 3), [[self.left, 7, 9]], np.uint8)


class Luck(Matching):
    """Eight steps or fewer: the end, or where it `pays` the reward, follows from no seed."""

    luck = np.random.default_rng()

    def __init__(self, pays: bool = False, render_mode: str | None = None):
        super().__init__(render_mode)
        self.pays = pays

    def step(self, action):
        shown, _, over, cut, said = super().step(action)
        drawn = self.luck.random()
        return shown, drawn if self.pays else 1.0, over or (drawn < 0.5 and not self.pays), cut, said


class Doubled(gymnasium.RewardWrapper):
    """Rewards times a factor."""

    def __init__(self, env: gymnasium.Env, factor: float = 2.0):
        super().__init__(env)
        self.factor = factor

    def reward(self, reward: Any) -> float:
        return self.factor * float(reward)


class Unusable(Matching):
    """An environment whose spaces are given by the name of a case."""

    CASES: dict[str, tuple[Space, Space]] = {
        "text": (Text(8), Discrete(2)),
        "sequence": (Sequence(Discrete(2)), Discrete(2)),
        "graph": (Graph(Box(0, 1, (2,)), None), Discrete(2)),
        "mission": (Dict({"a": Box(0, 1, (2,)), "inner": Dict({"mission": Text(8)}), "b": Discrete(2)}), Discrete(2)),
        "many": (Discrete(2**40), Discrete(2)),
        "dict_action": (Box(0, 1, (2,)), Dict({"a": Discrete(2)})),
        "colours_first": (Box(0, 255, (3, 64, 64), np.uint8), Discrete(2)),
        "colours_first_in_a_dict": (Dict({"image": Box(0, 255, (3, 64, 64), np.uint8)}), Discrete(2)),
        "four_channels": (Box(0, 255, (40, 40, 4), np.uint8), Discrete(2)),
        "whole_numbers": (Box(0, 1, (2,)), Box(0, 9, (2,), np.int32)),
        "bounds": (Box(0, 9, (8, 8, 3), np.uint8), Discrete(2)),
    }

    def __init__(self, case: str, render_mode: str | None = None):
        super().__init__(render_mode)
        self.observation_space, self.action_space = self.CASES[case]


class Counter(gymnasium.Env):
    """Counts its steps in one array that it always returns, and says in `info` what no other environment says."""

    observation_space = Box(0, 10, (1,), np.float32)
    action_space: Space = Discrete(2)

    def __init__(self, action: str = "number"):
        kinds = {"small": MultiDiscrete([2, 3], dtype=np.int32, start=[1, 2]), "half": Box(-1, 1, (2,), np.float16)}
        self.action_space, self.count = kinds.get(action, Discrete(2)), np.zeros(1, np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.count[:] = 0
        return self.count, {}

    def step(self, action):
        assert action in self.action_space, action
        self.count += 1
        drawn = int(self.np_random.integers(1, 9))
        said = {"winner": None if drawn % 2 else 7, "row": np.zeros(drawn)}
        return self.count, 1.0, False, False, said


for world in (Catch, Matching, Switches, Board, Parts, Matrix, Screens, Luck):
    gymnasium.register(f"{world.__name__}-v0", world, max_episode_steps=100)
gymnasium.register("Counter-v0", Counter, max_episode_steps=5)
gymnasium.register("Wide-v0", Wide, max_episode_steps=3)
gymnasium.register("Unusable-v0", Unusable, max_episode_steps=100)
