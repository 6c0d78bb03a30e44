"""The check of an environment from a user's own module, before any process starts: it plays one agent step."""

from contextlib import suppress
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Space

from environments.gymnasium_envs import open_bare_env
from settings.mistakes import Mistake
from settings.own_parts import describe_error


def try_game(env: dict) -> None:
    """Play one agent step of a user's own environment.

    Raises:
        Mistake: it raises an error, or an observation is not what its space says.
    """
    opened, what = open_bare_env(env), "reset(seed=..., options=...) returns observation, info"
    try:
        obs, _ = opened.reset(seed=0)
        refuse_observation(env, obs, opened.observation_space)
        opened.action_space.seed(0)
        what = "step(action) returns observation, reward, terminated, truncated, info"
        obs, _, _, _, _ = opened.step(opened.action_space.sample())
        refuse_observation(env, obs, opened.observation_space)
    except Mistake:
        raise
    except (Exception, SystemExit) as error:  # an environment may raise anything
        raise Mistake(f"env.id={env['id']}: it was tried and raised {describe_error(error)}; {what}") from error
    finally:
        with suppress(Exception):
            opened.close()


def refuse_observation(env: dict, obs: Any, space: Space) -> None:
    """Refuse an observation of another shape than its space declares, or of numbers that do not fit into its dtype.

    Raises:
        Mistake: it is such a one.
    """
    if not isinstance(space, Box):
        return
    found, where = np.asarray(obs), f"env.id={env['id']}: its observation_space is {space}, and an observation is"
    if found.shape != space.shape:
        raise Mistake(f"{where} of shape {found.shape}")
    if not np.can_cast(found.dtype, space.dtype, "same_kind"):  # as training writes it
        raise Mistake(f"{where} {found.dtype}")
