"""Env runners that could not start, those that are lost, and those whose environment is at fault."""

import functools
import traceback
from collections.abc import Callable
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rollouts.private_ray import list_env_runner_actors
from settings.mistakes import EnvironmentFault


def refuse_unstarted(group: EnvRunnerGroup | None) -> None:
    """Raise what a remote runner could not start for; RLlib logs it, and goes on with the others or an IndexError.

    Raises:
        RayActorError: ends with the runner's own sentence.
    """
    for actor in list_env_runner_actors(group).values() if group else ():
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


class FaultForLater:
    """Keeps a fault of the environment until rollouts are asked for: where RLlib starts a process, or tells it to start
    anew, a fault would make it start another one."""

    def __enter__(self) -> None:
        self.fault: EnvironmentFault | None = None

    def __exit__(self, kind: Any, error: Any, where: Any) -> bool:
        self.fault = error if isinstance(error, EnvironmentFault) else None
        return self.fault is not None

    def raise_fault(self) -> None:
        """Raise the fault, if there was one.

        Raises:
            EnvironmentFault: see there.
        """
        if self.fault:
            raise self.fault


def return_faults(sample: Callable) -> Callable:
    """Make an env runner return faults of its environment with the rollouts: RLlib would end a process that raises one,
    and start it again without end."""

    @functools.wraps(sample)
    def answer(runner: Any) -> tuple[Any, dict[str, Any]]:
        try:
            return sample(runner)
        except EnvironmentFault as fault:
            return None, {"fault": fault, "traceback": traceback.format_exc()}

    return answer


def raise_faults(results: list[tuple[Any, dict[str, Any]]]) -> None:
    """Raise what an env runner has returned so.

    Raises:
        EnvironmentFault: its cause has the traceback of the env runner's process.
    """
    for _, about in results:
        if "fault" in about:
            raise about["fault"] from RuntimeError(about["traceback"])
