"""The update of learners in other processes, which ends as soon as one of them is lost.

driver: Rollouts -> shards -> each learner's `update`; when one fails, all are ended and the run starts again
"""

from typing import Any

import ray
from ray.exceptions import RayError, RaySystemError
from ray.rllib.core.learner.learner_group import LearnerGroup

from algorithms.nonfinite import NonFiniteLoss
from rollouts.private_ray import end_learners, find_owner_node, list_learner_actors
from rollouts.rollout import RolloutData
from settings.mistakes import find_cause

LOOK_S = 5.0  # seconds between two checks of the driver whether a node was lost


def list_living_nodes() -> set[str]:
    """Return the ids of the nodes that Ray counts as alive."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def find_owner_nodes(data: RolloutData) -> set[str]:
    """Return the ids of the nodes that own the rollouts: if such a node is lost, so are its rollouts."""
    refs = [rollout for rollout in data.rollouts if isinstance(rollout, ray.ObjectRef)]
    return set(map(find_owner_node, refs))


def update_learners(group: LearnerGroup, data: RolloutData, timesteps: dict[str, Any]) -> list[dict[str, float]]:
    """Update all learners, as LearnerGroup.update does, but end the update when the first learner fails.

    The other learners would wait forever for the gradient of the lost one.

    Returns the result of `update` of each learner.

    Raises:
        RayError: a learner was lost, or a node that made a rollout. All learners are killed.
    """
    if group.is_local:
        return group.update(training_data=data, timesteps=timesteps)
    actors = list_learner_actors(group)
    pairs = zip(actors, data.shard(len(actors)), strict=True)
    waiting = [actor.update.remote(training_data=shard, timesteps=timesteps) for actor, (shard, _) in pairs]
    results, owners = list(waiting), find_owner_nodes(data)
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1, timeout=LOOK_S)
            ray.get(done)
            if not done and owners - list_living_nodes():
                raise RaySystemError("a node was lost with rollouts that the learners wait for")
        return ray.get(results)
    except RayError as error:
        if not isinstance(find_cause(error), NonFiniteLoss):  # the last checkpoint needs the state of the learners
            end_learners(group)
        raise
