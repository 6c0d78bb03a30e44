"""A user's environment that cannot work is refused before any process starts, with the line of its file."""

import gymnasium
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Tuple

from environments.gymnasium_envs import open_env
from extensions.gymnasium_ids import check_environment
from extensions.own_environment import try_game
from settings.mistakes import Mistake
from settings.protocols import complete_rules


class World(gymnasium.Env):
    """Two numbers, and two actions."""

    def __init__(self, low: float = -1, high: float = 1, dtype: str = "float32", **methods):
        self.observation_space, self.action_space = Box(low, high, (2,), dtype), Discrete(2)
        self.__dict__.update(methods)

    def look(self):
        return np.zeros(2, np.float32)

    def reset(self, *, seed=None, options=None):
        return self.look(), {}

    def step(self, action):
        return self.look(), 1.0, False, False, {}


def raise_error(*words, **named):
    raise KeyError("no such tile")


@pytest.fixture
def world():
    """Arguments of a World -> its `env.` settings."""
    gymnasium.register("World-v0", World, disable_env_checker=True)
    yield lambda **arguments: {"id": "World-v0", "kwargs": arguments, "wrappers": None}
    del gymnasium.registry["World-v0"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"look": lambda: np.zeros(3)}, r"its observation_space is Box\(.*\), and an observation is of shape \(3,\)"),
        ({"dtype": "uint8", "low": 0, "high": 255}, "an observation is float32"),
        ({"dtype": "uint8", "low": 0, "high": 255, "look": lambda: [1, 2]}, "an observation is int64"),
        (
            {"reset": raise_error},
            r"raised KeyError: .*no such tile.* \(test_own_environment\.py, line \d+\); reset\(seed",
        ),
        ({"step": raise_error}, r"no such tile.* line \d+\); step\(action\) returns observation, reward, terminated"),
        ({"step": lambda action: (np.zeros(2), 1.0, False, {})}, r"expected 5, got 4.*; step\(action\) returns"),
        ({"step": lambda action: (np.zeros(2), np.ones(1), False, False, {})}, r"its reward is array\(\[1\.\]\)"),
        ({"step": lambda action: (np.zeros(2), None, False, False, {})}, r"its reward is None"),
        ({"step": lambda action: (np.zeros(2), "1", False, False, {})}, r"its reward is '1'"),
        ({"reset": lambda: np.zeros(2)}, r"seed.*; reset\(seed=None, options=None\) returns observation, info"),
    ],
)
def test_it_is_refused_with_what_is_wrong(arguments, said, world):
    with pytest.raises(Mistake, match=f"^env.id=World-v0: .*{said}"):
        try_game(world(**arguments))


def test_an_action_is_tried_as_a_policy_chooses_it(world):
    taken = []
    arguments = {"step": lambda action: (taken.append(action), (np.zeros(2, np.float32), 1.0, False, False, {}))[1]}
    arguments["action_space"] = MultiDiscrete([2, 3], dtype=np.int32, start=[1, 2])
    try_game(world(**arguments))
    assert len(taken) == 2 and all(action in arguments["action_space"] for action in taken)


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"look": lambda: np.zeros(2)},  # float64 becomes float32
        {"look": lambda: [0.0, 0.0]},
        {"dtype": "int8", "low": 0, "look": lambda: np.zeros(2, bool)},
        {"observation_space": Dict({"x": Discrete(2)}), "look": lambda: {"x": 1}},
    ],
)
def test_what_training_takes_passes(arguments, world):
    try_game(world(**arguments))


@pytest.mark.parametrize(
    ("space", "shown"),
    [
        (Discrete(5), -1),
        (MultiDiscrete([3, 4]), np.array([3, 0])),
        (MultiBinary(2), np.array([7, 0], np.int8)),
        (Dict(a=Box(0, 1, (2,))), {"a": np.zeros(3)}),
        (Tuple((Discrete(2), Box(0, 1, (2,)))), (1, np.zeros(3))),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_observation_outside_of_its_space_is_refused(space, shown, world):
    arguments = {"observation_space": space, "look": lambda: shown}
    with pytest.raises(Mistake, match="^env.id=World-v0: its observation_space is "):
        try_game(world(**arguments))
    try_game(world(**arguments | {"look": space.sample}))


def test_an_action_has_the_dtype_of_the_environment_s_space(world):
    taken = []
    arguments = {"step": lambda action: (taken.append(action), (np.zeros(2, np.float32), 1.0, False, False, {}))[1]}
    arguments["action_space"] = Discrete(4, dtype=np.int32)
    try_game(world(**arguments))
    assert [type(action) for action in taken] == [np.int32, np.int32]


def leave(*words, **named):
    raise SystemExit(0)


class Forgetful(gymnasium.Wrapper):
    def __init__(self, env):
        pass


class Leaving(gymnasium.Wrapper):
    __init__ = leave


class Optionless(gymnasium.Wrapper):
    def reset(self, seed=None):
        return self.env.reset(seed=seed)


class Seeded(gymnasium.Wrapper):
    def reset(self, seed, options=None):
        return self.env.reset(seed=seed, options=options)


@pytest.mark.parametrize(("wrapper", "lacks"), [(Optionless, "argument 'options'"), (Seeded, "argument: 'seed'")])
def test_a_wrapper_that_cannot_be_reset_as_a_vector_does_is_refused(wrapper, lacks, world):
    env = complete_rules(world() | {"wrappers": [f"{__name__}:{wrapper.__name__}"]})
    with pytest.raises(Mistake, match=rf"{lacks}.*; reset\(seed=None, options=None\)"):
        try_game(env)


@pytest.mark.parametrize("wrapper", [Forgetful, Leaving])
def test_a_wrapper_that_breaks_is_refused(wrapper, world):
    env = complete_rules(world() | {"wrappers": [f"{__name__}:{wrapper.__name__}"]})
    with pytest.raises(Mistake, match=wrapper.__name__):
        check_environment(env, "ppo")


def test_an_error_of_close_is_no_error_of_the_environment(world):
    env = complete_rules(world(close=raise_error))
    check_environment(env, "ppo")
    open_env(env).close()


def test_a_constructor_that_leaves_the_program_is_refused():
    gymnasium.register("Leaving-v0", leave)
    try:
        with pytest.raises(Mistake, match="SystemExit"):
            check_environment(complete_rules({"id": "Leaving-v0"}), "ppo")
    finally:
        del gymnasium.registry["Leaving-v0"]
