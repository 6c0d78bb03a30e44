"""Sampling: one Rollout from every env runner, now or requested one update ahead.

    update k:    the learner learns from rollouts k, the runners play rollouts k + 1 and then take the new weights

When runners play while the learner learns, an update takes as long as the slower of the two. The price is that the
policy acts with the weights before the last update; only the first rollouts are played with the newest weights.
"""

from typing import Any

import ray
from ray.exceptions import RayError
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rollouts.health import raise_faults
from rollouts.rollout import Rollout, summarize

NEXT = "next rollout"  # RLlib's tag of the requests for rollouts of the next update


def sample_rollouts(
    group: EnvRunnerGroup, played: Any = ()
) -> tuple[list[Rollout | ray.ObjectRef], list[dict[str, Any]]]:
    """Return one Rollout from every runner, and their summaries.

    Without remote runners nothing is pickled. When a remote runner is missing, the others sample its share too, so that
    an update always has the same number of agent steps.

    Args:
        group: the env runners.
        played: results of `sample_ref` that have arrived already; so many fewer are sampled.

    Raises:
        RayError: no runner is alive.
        EnvironmentFault: an environment failed.
    """
    if group.num_remote_env_runners() == 0:
        rollout = group.local_env_runner.sample()
        return [rollout], [summarize(rollout)]
    wanted, results = group.num_remote_env_runners(), list(played)
    while len(results) < wanted:
        healthy = group.healthy_worker_ids()[: wanted - len(results)]
        if not healthy:
            raise RayError("every env runner is lost")
        results += group.foreach_env_runner("sample_ref", local_env_runner=False, remote_worker_ids=healthy)
    raise_faults(results)
    refs, summaries = zip(*results, strict=True)
    return list(refs), list(summaries)


def sample_ahead(group: EnvRunnerGroup) -> tuple[list[Rollout | ray.ObjectRef], list[dict[str, Any]]]:
    """Return the rollouts that the last call requested, as `sample_rollouts` does, and request the next.

    Each runner answers requests in their order, so it plays the next rollout with the weights that were sent before the
    request. Rollouts that are missing, because a runner was lost or has not been asked yet, are sampled now.

    Raises:
        RayError: no runner is alive.
    """
    played = group.fetch_ready_async_reqs(tags=NEXT, timeout_seconds=None)
    alive = group.foreach_env_runner(get_process_id, local_env_runner=False)
    rollouts, summaries = sample_rollouts(group, [result for _, (by, *result) in played if by in alive])
    group.foreach_env_runner_async(sample_with_process_id, tag=NEXT)
    return rollouts, summaries


def get_process_id(runner: Any) -> str:
    """Return the id of the process of the runner: rollouts in Ray's store are lost with the process that made them."""
    return ray.get_runtime_context().get_worker_id()


def sample_with_process_id(runner: Any) -> tuple[str, ray.ObjectRef, dict[str, Any]]:
    """Return the id of the process, followed by the results of `sample_ref`."""
    return get_process_id(runner), *runner.sample_ref()


def drop_requested_rollouts(group: EnvRunnerGroup) -> None:
    """Wait until the runners have answered all requests, and drop the rollouts."""
    group.fetch_ready_async_reqs(timeout_seconds=None)
