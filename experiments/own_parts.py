"""The check of a torso and of an algorithm from a user's own modules, before any process starts.

Both are imported here, with torch and RLlib, and only where the settings name one.
"""

import inspect
from contextlib import closing

import numpy as np
import torch
from ray.rllib.core.learner.learner import Learner

from algorithms.suite_algorithm import SuiteAlgorithm
from custom_models.own_torso import try_torso
from environments.frames import layout_of
from environments.games import make_games
from settings.algorithms import import_implementation
from settings.mistakes import Mistake

BATCH = 3  # observations that a torso is tried with: of new games, or random pictures
CLASSES = {"Algorithm": (SuiteAlgorithm, "A2C of algorithms/a2c.py"), "Learner": (Learner, "A2CLearner of it")}


def check_implementation(algo: dict) -> None:
    """Refuse an algorithm whose module lacks a class; the check of its settings has imported the module already.

    Args:
        algo: the `algo.` settings, with `implementation`.

    Raises:
        Mistake: the module has no class Algorithm or Learner that RLlib can run in the suite.
    """
    module = import_implementation(algo)
    for name, (base, example) in CLASSES.items():
        found = getattr(module, name, None)
        if not inspect.isclass(found) or not issubclass(found, base):
            raise Mistake(
                f"algo.implementation={algo['implementation']}: {getattr(module, '__file__', module)} needs a class "
                f"{name} that derives from {base.__name__}, such as {example}"
            )


def check_torso(model: dict, env: dict) -> None:
    """Refuse a torso that cannot work with the observations of an environment.

    Args:
        model: the `model.` settings, with a dtype that is not auto.
        env: the `env.` settings.

    Raises:
        Mistake: see `try_torso`.
    """
    if layout := layout_of(env):
        pictures = torch.randint(256, (BATCH, *layout.stack_shape), dtype=torch.uint8)
        try_torso(model | {"pixels": layout._asdict() | {"block": layout.block}}, pictures)
        return
    with closing(make_games(env, BATCH, 1)) as games:
        try_torso(model, torch.from_numpy(np.array(games.reset(seed=0))))
