"""The check of a Gymnasium environment: its id, its arguments and wrappers, and spaces that the networks take."""

import difflib
from contextlib import suppress
from typing import Any

import gymnasium
import numpy as np
from gymnasium.envs.registration import EnvSpec
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space
from gymnasium.spaces.utils import flatdim

from environments.frames import picture_layout
from environments.gymnasium_envs import (
    find_unusable_part,
    import_wrapper,
    is_picture,
    list_wrappers,
    open_bare_env,
    open_env,
    spec_of,
)
from environments.passwords import mask_passwords
from settings.mistakes import Mistake
from settings.own_parts import describe_error
from settings.protocols import EARLIER_OF_GYMNASIUM

LEAST_SIDE = 16  # of a picture; smaller ones, 3 x 8 x 8 say, may be the planes of a board
MOST_NUMBERS = 2**20  # of one observation: a Discrete space of a million states has as many
WITH_STATISTICS = (gymnasium.wrappers.NormalizeObservation, gymnasium.wrappers.NormalizeReward)


def check_environment(env: dict, algo: str) -> None:
    """Check that an environment can be made, and that the networks and an algorithm take its observations and actions.

    Modules that are named in `env.id` and `env.wrappers` are imported.

    Args:
        env: the `env.` settings of an environment of Gymnasium.
        algo: the name of the algorithm.

    Raises:
        Mistake: it is unknown, it is a game of ALE without a wrapper, it cannot be made, or its observations or actions
            are of a kind that the networks or the algorithm do not take.
    """
    spec = check_id(env["id"])
    if str(spec.entry_point).startswith("ale_py") and not env["wrappers"]:
        raise Mistake(
            f"env.id={env['id']} is a game of ALE, which is played under a protocol; type env=atari "
            f"env.game={spec.kwargs.get('game', '<game>')} instead, or give rules of your own with env.wrappers"
        )
    check_arguments(env)
    try:
        bare = open_bare_env(env)
        observations, actions = bare.observation_space, bare.action_space
    except Mistake:
        raise
    except (Exception, SystemExit) as error:  # an environment can raise any exception
        hint = "; install what it needs" * isinstance(error, ImportError | gymnasium.error.DependencyNotInstalled)
        hint += "; see that env.kwargs is what it takes" * bool(env["kwargs"])
        raise Mistake(f"env.id={env['id']}: it cannot be made here ({describe_error(error)}){hint}") from error
    with suppress(Exception):
        bare.close()
    check_observations(env, observations)
    check_actions(env, actions, algo)
    check_pictures(env)


def check_id(env_id: str) -> EnvSpec:
    """Return what Gymnasium knows of an id; a module that is named in it is imported.

    Raises:
        Mistake: it knows nothing, or the module cannot be imported.
    """
    module, _, name = env_id.rpartition(":")
    try:
        spec = spec_of(env_id)
    except (Exception, SystemExit) as error:  # the import of a user's module can raise any exception
        why = " ".join(str(error).split()) or type(error).__name__
        raise Mistake(
            f"env.id={env_id}: {module} cannot be imported ({why}); write module:Id for an environment that a module "
            "registers, and Id alone for one that Gymnasium knows"
        ) from error
    if spec is None:
        near = difflib.get_close_matches(name, gymnasium.registry, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else "it takes the id of a Gymnasium environment"
        raise Mistake(f"env.id={env_id}: Gymnasium knows no such environment; {hint}")
    return spec


def check_arguments(env: dict) -> None:
    """Check the names in `env.kwargs`, and import the wrappers of `env.wrappers`.

    Raises:
        Mistake: a name is no argument of Python, a value would be masked as a password, a wrapper does not exist or
            keeps statistics that no checkpoint has, or games would open windows.
    """
    for name, value in (env["kwargs"] or {}).items():
        if not (isinstance(name, str) and name.isidentifier()):
            raise Mistake(f"env.kwargs: {name} is no name of an argument; write {{name: value}}, such as {{size: 8}}")
        if name == "render_mode" and value not in (None, "rgb_array"):
            raise Mistake(
                f"env.kwargs.render_mode={value}: games are played without a window; leave it out, or give rgb_array "
                "where the observations are drawn (command=watch and command=record show games)"
            )
    wrappers = list_wrappers(env)
    for key, arguments in [("env.kwargs", env["kwargs"] or {}), *(("env.wrappers", words) for _, words in wrappers)]:
        for name, value in arguments.items():
            if mask_passwords({name: value}) != {name: value}:
                raise Mistake(
                    f"{key}: {name} has the name of a password, or holds one, and a run keeps none, so nobody could "
                    "play it again; rename the argument, or let your module read an environment variable"
                )
    for path, _ in wrappers:
        if issubclass(import_wrapper(path), WITH_STATISTICS):
            raise Mistake(
                f"env.wrappers: the running statistics of {path} are in no checkpoint, so evaluations and recordings "
                "would see other numbers than training; scale by constants with a wrapper of your own"
            )


def check_observations(env: dict, space: Space) -> None:
    """Check that an observation is a picture or can be turned into an array of numbers.

    Raises:
        Mistake: a part of it is text, a graph, or of variable length; or it has too many numbers, or is a picture with
            its colours first.
    """
    if found := find_unusable_part(space):
        name, part = found
        what = f"{name} of its observations" if name else "its observation"
        usable = [key for key, one in space.items() if not find_unusable_part(one)] if isinstance(space, Dict) else []
        way_out = "turn it into numbers with a wrapper of your own, env.wrappers=[module:Class]"
        if usable:
            keep = f"'env.wrappers=[{{gymnasium.wrappers:FilterObservation: {{filter_keys: [{','.join(usable)}]}}}}]'"
            way_out = f"leave it out with {keep}, or {way_out}"
        raise Mistake(f"env.id={env['id']}: {what} is {type(part).__name__}, which no network takes; {way_out}")
    space = next(iter(space.values())) if isinstance(space, Dict) and len(space) == 1 else space  # as it is adapted
    shape: Any = space.shape
    stacked = any(path.endswith(":FrameStackObservation") for path, _ in list_wrappers(env))
    if stacked and is_picture(space) and len(shape) == 3 and shape[0] < LEAST_SIDE <= min(shape[1:]):
        raise Mistake(
            f"env.wrappers: FrameStackObservation makes pictures of {list(shape)}, frames first, and they are read as "
            f"[height, width, colours]; leave it out and type env.frame_stack={shape[0]}"
        )
    if is_picture(space) and len(shape) == 3 and shape[0] in (1, 3, 4) and min(shape[1:]) >= LEAST_SIDE:
        raise Mistake(
            f"env.id={env['id']}: its pictures are {list(shape)}, colours first, and they are read as "
            "[height, width, colours]; transpose them with a wrapper of your own, env.wrappers=[module:Class]"
        )
    if flatdim(space) > MOST_NUMBERS and not (is_picture(space) and env["dim"]):
        why = "" if isinstance(space, Box) else ", because a Discrete one has a number for each value"
        way_out = (
            "make it smaller with env.dim=84" if is_picture(space) else "turn it into fewer numbers with a wrapper"
        )
        raise Mistake(f"env.id={env['id']}: an observation would be {flatdim(space):,} numbers{why}; {way_out}")


def check_actions(env: dict, space: Space, algo: str) -> None:
    """Check that policies and the algorithm can choose the actions.

    Raises:
        Mistake: they are not Discrete, MultiDiscrete, MultiBinary or Box; or the algorithm is DQN, and they are not
            Discrete.
    """
    if not isinstance(space, Discrete | MultiDiscrete | MultiBinary | Box):
        raise Mistake(
            f"env.id={env['id']} takes actions of {type(space).__name__}, and policies choose Discrete, MultiDiscrete, "
            "MultiBinary and Box ones; translate them with a gymnasium.ActionWrapper, env.wrappers=[module:Class]"
        )
    if isinstance(space, Box) and not np.issubdtype(space.dtype, np.floating):
        raise Mistake(
            f"env.id={env['id']} takes {space}, whole numbers, which no policy draws; make it MultiDiscrete with a "
            "gymnasium.ActionWrapper, env.wrappers=[module:Class]"
        )
    if algo == "dqn" and not isinstance(space, Discrete):
        kind = "continuous ones" if isinstance(space, Box) else f"ones of several parts ({type(space).__name__})"
        raise Mistake(
            f"algo=dqn needs one number out of a few as an action, and env.id={env['id']} has {kind}; try algo=ppo, or "
            "an environment with Discrete actions"
        )


def check_pictures(env: dict) -> None:
    """Check that `env.dim`, `env.grayscale` and `env.frame_stack` can be applied.

    Raises:
        Mistake: the observations are no pictures, or the pictures cannot be resized.
    """
    keys = [key for key in ("dim", "grayscale", "frame_stack") if env[key] != EARLIER_OF_GYMNASIUM[key]]
    wanted = [f"env.{key}={str(env[key]).lower()}" for key in keys]
    if not wanted:
        return
    try:
        opened = open_env(env)
    except Exception as error:  # Gymnasium's wrappers raise an empty AssertionError for other bounds than 0 and 255
        raise Mistake(
            f"{wanted[0]}: the pictures of env.id={env['id']} cannot be changed so ({type(error).__name__} {error}); "
            "they have to be uint8 from 0 to 255, and resizing needs opencv-python-headless"
        ) from error
    opened.close()
    layout = picture_layout(opened.observation_space, env)
    if layout is not None and env["grayscale"] and layout.channels != 1:
        raise Mistake(f"env.grayscale=true: env.id={env['id']} has pictures of {layout.channels} channels, not of 3")
    if layout is None:
        raise Mistake(
            f"{wanted[0]}: env.id={env['id']} has no pictures (uint8 [H, W] or [H, W, C]); leave it out; "
            "for a stack of other observations add "
            "'env.wrappers=[{gymnasium.wrappers:FrameStackObservation: {stack_size: 4}}]'"
        )
