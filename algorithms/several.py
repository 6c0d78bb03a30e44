"""Several learners, each with a part of the batch: together they compute what one would.

    part of a minibatch -> loss x (its rows / all rows) -> gradient -> sum over the learners -> the same step everywhere

A learner that is alone computes without a detour, to the last bit. All learners have to call these functions equally
often and in the same order: each waits for the others.
"""

from collections.abc import Sequence

import torch
from torch import distributed


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
