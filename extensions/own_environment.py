"""The check of an environment from a user's own module, before any process starts: it plays two agent steps."""

from contextlib import suppress
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space, Tuple

from environments.frames import picture_layout
from environments.gymnasium_envs import adapt_actions, adapt_observations, open_bare_env, open_env
from settings.mistakes import Mistake
from settings.own_parts import describe_error


def try_game(env: dict) -> None:
    """Play two agent steps of a user's own environment: one of its own action space, and one as a policy chooses it.

    Raises:
        Mistake: it raises an error, an observation is not what its space says, or the reward is not one number.
    """
    opened, of_reset = open_bare_env(env), "reset(seed=None, options=None) returns observation, info"
    try:
        what = of_reset
        obs, _ = opened.reset(seed=0, options=None)  # as a vector of environments calls it
        refuse_observation(env, obs, opened.observation_space)
        opened.action_space.seed(0)
        what = "step(action) returns observation, reward, terminated, truncated, info"
        obs, reward, _, _, _ = opened.step(opened.action_space.sample())
        found = np.asarray(reward)
        if found.ndim or found.dtype.kind not in "biuf":
            raise Mistake(f"env.id={env['id']}: its reward is {reward!r}; return one number")
        refuse_observation(env, obs, opened.observation_space)
        adapted = adapt_actions(adapt_observations(opened, env))
        adapted.reset(seed=0, options=None)
        adapted.action_space.seed(0)
        adapted.step(adapted.action_space.sample())
        what = of_reset
        adapted.reset()  # as after the end of a game
    except Mistake:
        raise
    except (Exception, SystemExit) as error:  # an environment may raise anything
        raise Mistake(f"env.id={env['id']}: it was tried and raised {describe_error(error)}; {what}") from error
    finally:
        with suppress(Exception):
            opened.close()


def refuse_observation(env: dict, obs: Any, space: Space) -> None:
    """Refuse an observation that is not in its space; of a Box, one of another shape, or whose numbers do not fit into
    the dtype.

    Raises:
        Mistake: it is such a one, or a part of it is.
    """
    if isinstance(space, Dict | Tuple):
        for key, part in space.items() if isinstance(space, Dict) else enumerate(space):
            refuse_observation(env, obs[key], part)
        return
    found, where = np.asarray(obs), f"env.id={env['id']}: its observation_space is {space}, and an observation is"
    if not isinstance(space, Box):
        if not space.contains(obs):
            raise Mistake(f"{where} {obs}")
        return
    if found.shape != space.shape:
        raise Mistake(f"{where} of shape {found.shape}")
    if not np.can_cast(found.dtype, space.dtype, "same_kind"):  # as training writes it
        raise Mistake(f"{where} {found.dtype}")


def describe_flattened_picture(env: dict, torso: str) -> str | None:
    """Return a sentence for the user if a network of fully connected layers gets pictures; None if it does not.

    Args:
        env: the `env.` settings, checked.
        torso: `model.torso`.
    """
    if torso != "mlp" or "game" in env:
        return None
    bare, adapted = open_bare_env(env), open_env(env)
    spaces = bare.observation_space, adapted.observation_space
    for opened in (bare, adapted):
        with suppress(Exception):
            opened.close()
    layout = picture_layout(spaces[1], env)
    if layout is not None and layout.channels > 1:
        height, width, channels = layout.picture_shape
        small = "model=minigrid_cnn" if min(height, width) < 20 else "model=nature_cnn env.dim=84"
        return f"model.torso=mlp sees pictures of {height} x {width} x {channels} as rows of numbers; try {small}"
    parts = spaces[0].items() if isinstance(spaces[0], Dict) else ()
    pictures = [key for key, part in parts if picture_layout(part, env)] if layout is None else []
    if pictures:
        keep = f"'env.wrappers=[{{gymnasium.wrappers:FilterObservation: {{filter_keys: [{pictures[0]}]}}}}]'"
        return f"{pictures[0]}, a picture, becomes a row of numbers from 0 to 255; to see it alone and whole add {keep}"
    return None
