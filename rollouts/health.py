"""Env runners that could not start, env runners that are lost, and faults of their environments."""

import functools
import traceback
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rollouts.private_ray import list_env_runner_actors
from settings.mistakes import EnvironmentFault


def raise_start_errors(group: EnvRunnerGroup | None) -> None:
    """Raise the error of a remote env runner that could not start. RLlib would log it and go on without that runner.

    Raises:
        RayActorError: its message ends with the sentence of the env runner.
    """
    for actor in list_env_runner_actors(group).values() if group else ():
        try:
            ray.get(actor.ping.remote())
        except RayActorError as error:
            if error.actor_init_failed:  # otherwise it was lost later, and RLlib starts another
                raise


def describe_lost_runners(group: EnvRunnerGroup) -> list[str]:
    """Return a sentence for the user while remote env runners are missing, in a list; otherwise an empty list."""
    number = group.num_remote_env_runners()
    missing = number - len(group.healthy_worker_ids()) if number else 0
    sentence = f"{missing} of {number} env runners lost; until they are back the others play their share"
    return [sentence] if missing else []


class DeferredFault:
    """A context that catches a fault of the environment, and raises it when the next rollout is asked for.

    It is used where RLlib starts an env runner or asks it to start new games: there a fault would make RLlib start
    another process, again and again.
    """

    def __enter__(self) -> None:
        self.fault: EnvironmentFault | None = None

    def __exit__(self, kind: Any, error: Any, where: Any) -> bool:
        self.fault = error if isinstance(error, EnvironmentFault) else None
        return self.fault is not None

    def raise_fault(self) -> None:
        """Raise the fault that was caught, if there was one.

        Raises:
            EnvironmentFault: the fault.
        """
        if self.fault:
            raise self.fault


def return_faults(sample: Callable) -> Callable:
    """Return the method `sample` of an env runner, changed so that it returns a fault of the environment in place of a
    rollout. RLlib would end a process that raises a fault, and start it again without end."""

    @functools.wraps(sample)
    def answer(runner: Any) -> tuple[Any, dict[str, Any]]:
        try:
            return sample(runner)
        except EnvironmentFault as fault:
            return None, {"fault": fault, "traceback": traceback.format_exc()}

    return answer


def raise_faults(results: list[tuple[Any, dict[str, Any]]]) -> None:
    """Raise the first fault that an env runner has returned in place of a rollout; see `return_faults`.

    Raises:
        EnvironmentFault: its cause has the traceback of the process of the env runner.
    """
    for _, about in results:
        if "fault" in about:
            raise about["fault"] from RuntimeError(about["traceback"])
