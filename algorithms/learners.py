"""Learners in other processes, from where they are told to learn: what happens when one of them is lost."""

from typing import Any

import ray
from ray.exceptions import RayError, RaySystemError
from ray.experimental import get_object_locations
from ray.rllib.core.learner.learner_group import LearnerGroup

from algorithms.learner import NonFiniteLoss
from environments.mistakes import cause_of
from rollouts.rollout import RolloutData

LOOK_S = 5.0  # how long learners may be silent before somebody looks for what they wait for


def nodes_alive() -> set[str]:
    """Their ids, as far as Ray knows."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def nodes_with(data: RolloutData) -> list[set[str]]:
    """Of each rollout in the memory of nodes, the ids of those that have it; small ones are with whoever asked."""
    refs = [rollout for rollout in data.rollouts if isinstance(rollout, ray.ObjectRef)]
    return [set(found["node_ids"]) for found in get_object_locations(refs).values() if found["node_ids"]]


def update(group: LearnerGroup, data: RolloutData, timesteps: dict[str, Any]) -> list[dict[str, float]]:
    """LearnerGroup.update, but that the first learner to fail ends it: the others wait for the lost one, for ever.

    Returns:
        What each learner's `update` does.

    Raises:
        RayError: a learner was lost, or the only node with a rollout; they are ended, whatever they wait for.
    """
    if group.is_local:
        return group.update(training_data=data, timesteps=timesteps)
    actors: Any = group._workers
    shards = data.shard(len(actors))
    waiting = [
        actor.update.remote(training_data=shard, timesteps=timesteps)
        for actor, (shard, _) in zip(actors, shards, strict=True)
    ]
    results, homes = list(waiting), nodes_with(data)
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1, timeout=LOOK_S)
            ray.get(done)
            if not done and not all(nodes & nodes_alive() for nodes in homes):
                raise RaySystemError("a node was lost with rollouts that the learners wait for")
        return ray.get(results)
    except RayError as error:
        if isinstance(cause_of(error), NonFiniteLoss):  # they are asked for the last checkpoint
            raise
        group._backend_executor.shutdown(graceful_termination=False)
        raise
