"""The check of a Gymnasium id: that the environment is registered, can be made, and has spaces that the models take."""

import difflib

import gymnasium
from gymnasium.envs.registration import EnvSpec

from environments.games import spec_of
from settings.mistakes import Mistake


def check_id(env_id: str) -> None:
    """Check that Gymnasium knows an id, and that it is no game of ALE; a module that is named in it is imported.

    Raises:
        Mistake: it does not, or it is.
    """
    module, _, name = env_id.rpartition(":")
    try:
        spec = spec_of(env_id)
    except Exception as error:  # the import of a user's module can raise any exception
        why = " ".join(str(error).split())
        raise Mistake(
            f"env.id={env_id}: {module} cannot be imported ({why}); write module:Id for an environment that a module "
            "registers, and Id alone for one that Gymnasium knows"
        ) from error
    if spec is None:
        near = difflib.get_close_matches(name, gymnasium.registry, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else "it takes the id of a Gymnasium environment"
        raise Mistake(f"env.id={env_id}: Gymnasium knows no such environment; {hint}")
    if str(spec.entry_point).startswith("ale_py"):  # here, because ALE prints its banner when a game is made
        raise _explain_ale_game(env_id, spec)


def _explain_ale_game(env_id: str, spec: EnvSpec | None) -> Mistake:
    """Return the Mistake for a Gymnasium id of an ALE game: Gymnasium would skip frames and bypass the protocol."""
    game = spec.kwargs.get("game", "<game>") if spec else "<game>"
    return Mistake(f"env.id={env_id} is a game of ALE, played under a protocol; type env=atari env.game={game} instead")


def check_spaces(env_id: str, algo: str) -> None:
    """Check that an environment can be made, and that the models and an algorithm take its spaces.

    Raises:
        Mistake: it cannot be made, or its observations or actions are of a kind that they do not take.
    """
    try:
        env = gymnasium.make(env_id)
    except Exception as error:  # the constructor of an environment can raise any exception
        why = " ".join(str(error).split())
        raise Mistake(f"env.id={env_id}: it cannot be made here ({why}); install what it needs") from error
    observation, action = env.observation_space, env.action_space
    is_ale_game, spec = type(env.unwrapped).__module__.startswith("ale_py"), env.spec
    env.close()
    if is_ale_game:
        raise _explain_ale_game(env_id, spec)
    box = isinstance(action, gymnasium.spaces.Box)
    if not isinstance(observation, gymnasium.spaces.Box) or not (box or isinstance(action, gymnasium.spaces.Discrete)):
        raise Mistake(
            f"env.id={env_id} has observations {observation} and actions {action}; "
            "the models take Box observations, and Box or Discrete actions"
        )
    if box and action.shape is not None and len(action.shape) != 1:
        raise Mistake(
            f"env.id={env_id} takes actions of shape {action.shape}, and the policy draws a row of numbers; wrap it in "
            "gymnasium.wrappers.TransformAction, which can reshape them"
        )
    if isinstance(action, gymnasium.spaces.Discrete) and action.start != 0:
        raise Mistake(
            f"env.id={env_id} counts its actions from {action.start}, and the policy from 0; wrap it in "
            "gymnasium.wrappers.TransformAction, which can shift them"
        )
    if algo == "dqn" and box:
        raise Mistake(
            f"algo=dqn needs a finite number of actions, and env.id={env_id} has continuous ones; "
            "try algo=ppo, or an environment with Discrete actions"
        )
