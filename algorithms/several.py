"""Several learners, each with a part of the batch: together they compute what one would.

    part of a minibatch -> loss x (its rows / all rows) -> gradient -> sum over the learners -> the same step everywhere

A learner that is alone computes without a detour, to the last bit. All learners have to call these functions equally
often and in the same order: each waits for the others.
"""

from collections.abc import Sequence
from typing import Any

import ray
import torch
from ray.exceptions import RayActorError, RaySystemError
from ray.rllib.core.learner.learner_group import LearnerGroup
from torch import distributed

from rollouts.rollout import RolloutData

LOOK_S = 5.0  # how long learners may be silent before somebody looks for what they wait for


def nodes_alive() -> set[str]:
    """Their ids, as far as Ray knows."""
    return {node["NodeID"] for node in ray.nodes() if node["Alive"]}


def update(group: LearnerGroup, data: RolloutData, timesteps: dict[str, Any]) -> list[dict[str, float]]:
    """LearnerGroup.update, but that the first learner to fail ends it: the others wait for the lost one, for ever.

    Returns:
        What each learner's `update` does.

    Raises:
        RayError: a learner was lost, or a node with what they learn from; they are ended, whatever they wait for.
    """
    if group.is_local:
        return group.update(training_data=data, timesteps=timesteps)
    actors: Any = group._workers
    shards = data.shard(len(actors))
    waiting = [
        actor.update.remote(training_data=shard, timesteps=timesteps)
        for actor, (shard, _) in zip(actors, shards, strict=True)
    ]
    results, nodes = list(waiting), nodes_alive()
    try:
        while waiting:
            done, waiting = ray.wait(waiting, num_returns=1, timeout=LOOK_S)
            ray.get(done)
            if not done and nodes - nodes_alive():
                raise RaySystemError("a node was lost, perhaps with rollouts that the learners wait for")
        return ray.get(results)
    except (RayActorError, RaySystemError):
        group._backend_executor.shutdown(graceful_termination=False)
        raise


def together() -> bool:
    """Whether this process is one of several learners."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def total(x: torch.Tensor) -> torch.Tensor:
    """Sum over all learners."""
    if together():
        x = x.clone()
        distributed.all_reduce(x)
    return x


def everyones(rows: int, device: torch.device | str = "cpu") -> int:
    """Rows of all learners."""
    return int(total(torch.tensor(rows, device=device))) if together() else rows


def moments(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean and standard deviation (of the population) over what all learners have: scalars."""
    if not together():
        return x.mean(), x.std(correction=0)
    rows, added = total(torch.stack([torch.full_like(x.sum(), x.numel()), x.sum()]))
    mean = added / rows
    return mean, (total(((x - mean) ** 2).sum()) / rows).sqrt()


def sum_gradients(parameters: Sequence[torch.Tensor]) -> None:
    """Every learner then holds the gradient of all, in one message; NaN in one is NaN in all."""
    if together():
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = total(torch.cat([gradient.flatten() for gradient in gradients]))
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)
