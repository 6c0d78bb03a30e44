"""One Gymnasium environment as the `env.` settings ask for it, with observations and actions that the networks take.

    env.id, env.kwargs -> gymnasium.make -> env.wrappers -> adapt_observations -> adapt_actions -> gymnasium.Env

    observation of the environment              observation of the network
    Box uint8 [H, W] or [H, W, C]               the picture: gray with env.grayscale, resized with env.dim
    other Box                                   as it is
    Discrete, MultiDiscrete                     one-hot, float32 [n] or [n_1 + n_2 + ...]
    MultiBinary, Dict and Tuple of all these    their numbers in a row, float32

    action of the environment                   action of the policy
    Discrete(n, start) of any dtype             0 to n - 1
    MultiDiscrete, MultiBinary, of any shape    int64 [factors], each from 0 on
    Box of any shape                            float32 [D]

Training, evaluation, recordings and replays open environments here, so all of them play the same one.
"""

import copy
import functools
import importlib
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from ale_py import ALEInterface, LoggerMode
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from gymnasium.vector import AutoresetMode, SyncVectorEnv, VectorEnv
from gymnasium.wrappers import (
    FlattenObservation,
    GrayscaleObservation,
    ReshapeObservation,
    ResizeObservation,
    TransformAction,
    TransformObservation,
)

from settings.mistakes import Mistake, format_error
from settings.own_parts import import_class


def spec_of(env_id: str) -> EnvSpec | None:
    """What Gymnasium knows of an environment, if anything; `module:Id` imports the module that registers it first.

    Raises:
        ImportError: there is no such module, or it cannot be imported.
    """
    module, _, name = env_id.rpartition(":")
    if module:
        importlib.import_module(module)
    return gymnasium.registry.get(name)


def list_wrappers(env: dict) -> list[tuple[str, dict]]:
    """Return `module:Class` and the arguments of each wrapper of the `env.` settings, the innermost first.

    Raises:
        Mistake: an entry of env.wrappers is neither a word nor a word with arguments.
    """
    wrappers = []
    for entry in env.get("wrappers") or []:
        pairs = [(entry, {})] if isinstance(entry, str) else list(entry.items())
        if len(pairs) != 1 or not isinstance(pairs[0][1], dict | None):
            raise Mistake(
                f"env.wrappers: {entry} is no wrapper; it takes module:Class, or {{module:Class: {{argument: value}}}}"
            )
        wrappers.append((str(pairs[0][0]), pairs[0][1] or {}))
    return wrappers


def import_wrapper(path: str) -> type[gymnasium.Wrapper]:
    """Import the class of a wrapper from `module:Class`.

    Raises:
        Mistake: there is no such class, or it is no subclass of gymnasium.Wrapper.
    """
    module, _, name = path.rpartition(":")
    if not module:
        there = f"gymnasium.wrappers:{name}" if name in gymnasium.wrappers.__all__ else f"<module>:{name}"
        raise Mistake(f"env.wrappers: {path} names no module; type {there}")
    found = import_class(path, "env.wrappers")
    if not issubclass(found, gymnasium.Wrapper):
        raise Mistake(f"env.wrappers: {path} is no wrapper; write it as a subclass of gymnasium.Wrapper")
    return found


def open_bare_env(env: dict, render_mode: str | None = None) -> gymnasium.Env:
    """Open the environment with its arguments and wrappers; its spaces are its own.

    Args:
        env: the `env.` settings.
        render_mode: replaces that of env.kwargs; None leaves it.

    Raises:
        Mistake: a wrapper does not exist, or cannot be put around the environment.
        Exception: whatever the constructor of the environment raises.
    """
    kwargs: dict[str, Any] = copy.deepcopy(env.get("kwargs") or {})
    if render_mode:
        kwargs["render_mode"] = render_mode
    spec = spec_of(env["id"])
    if spec is None:
        raise gymnasium.error.UnregisteredEnv(f"{env['id']}: nobody has registered it")
    if str(spec.entry_point).startswith("ale_py"):  # else it prints its banner
        ALEInterface.setLoggerMode(LoggerMode.Error)
    opened = gymnasium.make(env["id"], **kwargs)
    for path, arguments in list_wrappers(env):
        wrapper = import_wrapper(path)
        try:
            opened = wrapper(opened, **copy.deepcopy(arguments))
        except (Exception, SystemExit) as error:  # the constructor of a wrapper can raise any exception
            raise Mistake(
                f"env.wrappers: {path} cannot be put around env.id={env['id']} ({format_error(error)}); see what it "
                "wraps and which arguments it takes"
            ) from error
    return opened


def open_env(env: dict, render_mode: str | None = None) -> gymnasium.Env:
    """Open the environment with observations and actions that the networks take; the arguments are those of
    `open_bare_env`."""
    return Detached(adapt_actions(adapt_observations(open_bare_env(env, render_mode), env)))


class Detached(gymnasium.Wrapper):
    """Copies observations, as an environment may write the next one into the same array, and leaves out `info`: nobody
    reads it here, and a vector of environments takes only entries that are alike. An error of `close` fails no run."""

    def reset(self, **words: Any) -> tuple[Any, dict[str, Any]]:
        return np.array(self.env.reset(**words)[0]), {}

    def step(self, action: Any) -> tuple[Any, Any, bool, bool, dict[str, Any]]:
        obs, reward, terminated, truncated, _ = self.env.step(action)
        return np.array(obs), reward, terminated, truncated, {}

    def close(self) -> None:
        with suppress(Exception):
            self.env.close()


def open_envs(env: dict, num_envs: int, one_by_one: bool) -> VectorEnv:
    """Open N environments: the vector that the environment brings along, such as CartPole's, or Gymnasium's SYNC one.

    Args:
        env: the `env.` settings.
        num_envs: N.
        one_by_one: never take the vector that the environment brings along. It knows neither arguments nor wrappers,
            and observations and actions of other kinds would not be adapted, so it is not taken there either; nor is
            that of a user's own module, because the check and evaluations play the single environment.
    """
    spec = spec_of(env["id"])
    one_by_one = bool(one_by_one or env.get("kwargs") or env.get("wrappers") or ":" in env["id"])
    if not one_by_one and spec is not None and spec.vector_entry_point and not spec.additional_wrappers:
        vector = gymnasium.make_vec(env["id"], num_envs, "vector_entry_point")
        observation, action = vector.single_observation_space, vector.single_action_space
        resets = vector.metadata.get("autoreset_mode") in (AutoresetMode.SAME_STEP, AutoresetMode.NEXT_STEP)
        if resets and isinstance(observation, Box) and not is_picture(observation) and is_plain_action(action):
            return vector
        vector.close()
    return SyncVectorEnv([functools.partial(open_env, env)] * num_envs, autoreset_mode=AutoresetMode.SAME_STEP)


def is_picture(space: Space) -> bool:
    """Whether observations are pictures: uint8 [H, W] or [H, W, C]."""
    return isinstance(space, Box) and space.dtype == np.uint8 and len(space.shape) in (2, 3)


def is_plain_action(space: Space) -> bool:
    """Whether a policy can choose these actions as they are: numbers from 0 on, or a row of numbers."""
    return (isinstance(space, Discrete) and space.start == 0) or (isinstance(space, Box) and len(space.shape) == 1)


def adapt_observations(opened: gymnasium.Env, env: dict) -> gymnasium.Env:
    """Return the environment with observations that are a picture or an array of numbers, see the top of this file.

    A Dict with a single part counts as that part.
    """
    space = opened.observation_space
    if isinstance(space, Dict) and len(space) == 1:
        ((name, space),) = space.items()
        opened = TransformObservation(opened, lambda observation: observation[name], space)
    if is_picture(space):
        return adapt_picture(opened, env)
    return opened if isinstance(space, Box) else flatten_observations(opened)


def flatten_observations(opened: gymnasium.Env) -> gymnasium.Env:
    """Return the environment with all numbers of an observation in a row, float32; discrete ones are one-hot."""
    opened = FlattenObservation(opened)
    space: Any = opened.observation_space
    row = Box(space.low.astype(np.float32), space.high.astype(np.float32), dtype=np.float32)
    return TransformObservation(opened, lambda observation: observation.astype(np.float32), row)


def adapt_picture(opened: gymnasium.Env, env: dict) -> gymnasium.Env:
    """Return an environment of pictures with the colours and the size of the `env.` settings."""
    shape: Any = opened.observation_space.shape
    height, width, *channels = shape
    if channels == [1]:  # the two wrappers below take gray pictures without this axis
        opened = ReshapeObservation(opened, (height, width))
    if channels == [3] and env.get("grayscale"):
        opened = GrayscaleObservation(opened)
    return ResizeObservation(opened, (env["dim"], env["dim"])) if env.get("dim") else opened


def adapt_actions(opened: gymnasium.Env) -> gymnasium.Env:
    """Return the environment with actions that a policy can choose, see the top of this file."""
    space: Any = opened.action_space
    if is_plain_action(space) and space.dtype == (np.int64 if isinstance(space, Discrete) else np.float32):
        return opened
    if isinstance(space, Discrete):
        return TransformAction(opened, lambda action: space.dtype.type(action + space.start), Discrete(space.n))
    if isinstance(space, Box):
        row = Box(space.low.flatten(), space.high.flatten(), dtype=space.dtype.type)
    elif isinstance(space, MultiDiscrete | MultiBinary):
        row = MultiDiscrete(getattr(space, "nvec", np.full(space.shape, 2)).flatten())
    else:
        return opened
    start = getattr(space, "start", 0)  # of MultiDiscrete
    return TransformAction(opened, lambda action: (action.reshape(space.shape) + start).astype(space.dtype), row)


def find_unusable_part(space: Space, name: str = "") -> tuple[str, Space] | None:
    """Return the name and the space of the first part of an observation that is not made of numbers.

    Returns:
        None if all parts are Box, Discrete, MultiDiscrete or MultiBinary. The name of a part is `a.b` within Dicts and
        Tuples, and empty for the observation itself.
    """
    if isinstance(space, Dict | Tuple):
        parts = space.items() if isinstance(space, Dict) else enumerate(space)
        found = (find_unusable_part(part, f"{name}.{key}".lstrip(".")) for key, part in parts)
        return next((one for one in found if one), None)
    return None if isinstance(space, Box | Discrete | MultiDiscrete | MultiBinary) else (name, space)
