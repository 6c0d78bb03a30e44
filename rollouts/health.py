"""Env runners that could not start, and those that are lost."""

import ray
from ray.exceptions import RayActorError
from ray.rllib.env.env_runner_group import EnvRunnerGroup


def refuse_unstarted(group: EnvRunnerGroup | None) -> None:
    """Raise what a remote runner could not start for; RLlib logs it, and goes on with the others or an IndexError.

    Raises:
        RayActorError: ends with the runner's own sentence.
    """
    for actor in group._worker_manager.actors().values() if group else ():
        try:
            ray.get(actor.ping.remote())
        except RayActorError as error:
            if error.actor_init_failed:  # otherwise it was lost, and RLlib starts another
                raise


def lost(group: EnvRunnerGroup) -> list[str]:
    """A sentence while remote runners are missing."""
    number = group.num_remote_env_runners()
    missing = number - len(group.healthy_worker_ids()) if number else 0
    sentence = f"{missing} of {number} env runners lost; until they are back the others play their share"
    return [sentence] if missing else []
