"""Learners in other processes, from where they are told to learn: what happens when one of them is lost."""

from typing import Any

import ray
from ray.core.generated.common_pb2 import Address  # pyright: ignore[reportAttributeAccessIssue]
from ray.exceptions import RayError, RaySystemError
from ray.rllib.core.learner.learner_group import LearnerGroup

from algorithms.learner import NonFiniteLoss
from environments.mistakes import cause_of
from rollouts.rollout import RolloutData

LOOK_S = 5.0  # how long learners may be silent before somebody looks for what they wait for


def nodes_alive() -> set[str]:
    """Their ids, as far as Ray knows."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def homes_of(data: RolloutData) -> set[str]:
    """Ids of the nodes whose processes own the rollouts: what they made is lost with them. Nobody is asked."""
    refs = [rollout for rollout in data.rollouts if isinstance(rollout, ray.ObjectRef)]
    return {Address.FromString(ref.owner_address()).node_id.hex() for ref in refs}


def update(group: LearnerGroup, data: RolloutData, timesteps: dict[str, Any]) -> list[dict[str, float]]:
    """LearnerGroup.update, but that the first learner to fail ends it: the others wait for the lost one, for ever.

    Returns:
        What each learner's `update` does.

    Raises:
        RayError: a learner was lost, or a node that made a rollout; they are ended, whatever they wait for.
    """
    if group.is_local:
        return group.update(training_data=data, timesteps=timesteps)
    actors: Any = group._workers
    shards = data.shard(len(actors))
    waiting = [
        actor.update.remote(training_data=shard, timesteps=timesteps)
        for actor, (shard, _) in zip(actors, shards, strict=True)
    ]
    results, homes = list(waiting), homes_of(data)
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1, timeout=LOOK_S)
            ray.get(done)
            if not done and homes - nodes_alive():
                raise RaySystemError("a node was lost with rollouts that the learners wait for")
        return ray.get(results)
    except RayError as error:
        if isinstance(cause_of(error), NonFiniteLoss):  # they are asked for the last checkpoint
            raise
        group._backend_executor.shutdown(graceful_termination=False)
        raise
