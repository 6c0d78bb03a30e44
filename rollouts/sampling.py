"""Sampling: one Rollout from every env runner, now or asked for one update ahead.

    update k:    the learner learns from rollouts k, the runners play rollouts k + 1 and then take the new weights

Playing while learning, an update takes as long as the slower of the two, not as both together. The price: the policy
that acts has the weights of one update before the learner's; only the first rollouts are played with the learner's own.
"""

from typing import Any

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rollouts.health import raise_faults
from rollouts.rollout import Rollout, summary

NEXT = "next rollout"  # RLlib's tag of what the runners were asked for in advance


def sample_rollouts(
    group: EnvRunnerGroup, played: Any = ()
) -> tuple[list[Rollout | ray.ObjectRef], list[dict[str, Any]]]:
    """Return one Rollout from every runner, and their summaries.

    Without remote runners the Rollout is handed over as it is and nothing is pickled. When a remote runner is
    missing, the others sample its share too, so that an update always has the same number of samples.

    Args:
        group: the env runners.
        played: results of `sample_ref` that have arrived already, and count.

    Raises:
        RuntimeError: no runner is alive, or an EnvironmentFault.
    """
    if group.num_remote_env_runners() == 0:
        rollout = group.local_env_runner.sample()
        return [rollout], [summary(rollout)]
    wanted, results = group.num_remote_env_runners(), list(played)
    while len(results) < wanted:
        healthy = group.healthy_worker_ids()[: wanted - len(results)]
        if not healthy:
            raise RuntimeError("every env runner is lost")
        results += group.foreach_env_runner("sample_ref", local_env_runner=False, remote_worker_ids=healthy)
    raise_faults(results)
    refs, summaries = zip(*results, strict=True)
    return list(refs), list(summaries)


def sample_ahead(group: EnvRunnerGroup) -> tuple[list[Rollout | ray.ObjectRef], list[dict[str, Any]]]:
    """Return the rollouts that were asked for last time, as `sample_rollouts` does, and ask for the next.

    Each runner does in turn what it is asked, so the next ones are played with the weights that were sent since. The
    rollouts that a lost runner owes, or one that was never asked, are played now by the others.

    Raises:
        RuntimeError: no runner is alive.
    """
    played = group.fetch_ready_async_reqs(tags=NEXT, timeout_seconds=None)
    alive = group.foreach_env_runner(get_process_id, local_env_runner=False)
    rollouts, summaries = sample_rollouts(group, [result for _, (by, *result) in played if by in alive])
    group.foreach_env_runner_async(sample_with_process_id, tag=NEXT)
    return rollouts, summaries


def get_process_id(runner: Any) -> str:
    """Return the id that no other process has: one that has died takes the rollouts it made out of Ray's store."""
    return ray.get_runtime_context().get_worker_id()


def sample_with_process_id(runner: Any) -> tuple[str, ray.ObjectRef, dict[str, Any]]:
    """Return what `sample_ref` does, behind the id of the process that the Rollout is lost with."""
    return get_process_id(runner), *runner.sample_ref()


def drop_asked_rollouts(group: EnvRunnerGroup) -> None:
    """Wait until the runners have done all that they were asked for, and drop the rollouts."""
    group.fetch_ready_async_reqs(timeout_seconds=None)
