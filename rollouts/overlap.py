"""Playing while learning: rollouts are asked for one update before they are learned from.

    update k:    the learner learns from rollouts k, the runners play rollouts k + 1 and then take the new weights

An update takes as long as the slower of the two, not as both together. The price: whoever acts has the weights of one
update before those that learn; only the first rollouts are played with the learner's own.
"""

from typing import Any

import ray
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from rollouts.rollout import Rollout
from rollouts.runner import sample

NEXT = "next rollout"  # RLlib's tag of what the runners were asked for in advance


def sample_ahead(group: EnvRunnerGroup) -> tuple[list[Rollout | ray.ObjectRef], list[dict[str, Any]]]:
    """The rollouts that were asked for last time, as `sample` returns them; and ask for the next.

    Each runner does in turn what it is asked, so the next ones are played with the weights that were sent since. What
    a lost runner owes, or one that was never asked, the others play now.

    Raises:
        RuntimeError: no runner is alive.
    """
    played = group.fetch_ready_async_reqs(tags=NEXT, timeout_seconds=None)
    alive = group.foreach_env_runner(process, local_env_runner=False)
    rollouts, summaries = sample(group, [result for _, (by, *result) in played if by in alive])
    group.foreach_env_runner_async(signed, tag=NEXT)
    return rollouts, summaries


def process(runner: Any) -> str:
    """What no other process is called: one that has died takes the rollouts it made out of Ray's store with it."""
    return ray.get_runtime_context().get_worker_id()


def signed(runner: Any) -> tuple[str, ray.ObjectRef, dict[str, Any]]:
    """`sample_ref`, and the process that the Rollout is gone with."""
    return process(runner), *runner.sample_ref()


def forget(group: EnvRunnerGroup) -> None:
    """Wait until the runners have done all that they were asked for, and let go of what they played."""
    group.fetch_ready_async_reqs(timeout_seconds=None)
