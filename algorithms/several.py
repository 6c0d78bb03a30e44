"""Several learners, each with a part of the batch: together they compute what one would.

    part of a minibatch -> loss x (its rows / all rows) -> gradient -> sum over the learners -> the same step everywhere

A learner that is alone computes without a detour, to the last bit. All learners have to call these functions equally
often and in the same order: each waits for the others. Minibatches of PPO are drawn from what all of them have: `Rows`.
"""

from collections.abc import Iterator, Sequence

import numpy as np
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


def mean_of_parts(means: Sequence[torch.Tensor], shares: Sequence[float]) -> torch.Tensor:
    """Mean over minibatches of what learners measured on their parts: scalars, and each part's share of the rows."""
    weights = means[0].new_tensor(shares)  # of all learners they add up to the number of minibatches
    added, minibatches = total(torch.stack([weights @ torch.stack(list(means)), weights.sum()]))
    return added / minibatches


def sum_gradients(parameters: Sequence[torch.Tensor]) -> None:
    """Every learner then holds the gradient of all, in one message; NaN in one is NaN in all."""
    if together():
        gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
        flat = total(torch.cat([gradient.flatten() for gradient in gradients]))
        for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
            p.grad = part.view_as(p)


class Rows:
    """What minibatches are drawn from: the rows of all learners, of which this one has some.

    They are numbered as in the batch of a learner that is alone, so minibatches are the same however many learners
    there are. Each of L learners has equally many rollouts of the same size: the first has 0, L, 2 L and so on.

    Args:
        valid: of each of this learner's rollouts, bool [T, N]: the rows that count.
        sequences: an env's T steps stay together, and minibatches are drawn from sequences.
        device: where the indices are wanted.
    """

    def __init__(self, valid: Sequence[np.ndarray], sequences: bool, device: torch.device):
        mine = torch.from_numpy(np.stack(valid, 1)).to(device, torch.uint8)  # [T, J, N]
        mine = torch.ones_like(mine[:1]) if sequences else mine
        parts, rank = [mine], 0  # of all learners, and which is this one's
        if together():
            parts, rank = [torch.empty_like(mine) for _ in range(distributed.get_world_size())], distributed.get_rank()
            distributed.all_gather(parts, mine)
        table = torch.stack(parts, 2).bool()  # [T, J, L, N], as they lie in one batch
        numbers = (table.flatten().cumsum(0) - 1).view_as(table)[:, :, rank][mine.bool()]
        self.total = int(table.sum())
        self._here = torch.full((self.total,), -1, device=device)  # number -> index in this learner's batch
        self._here[numbers] = torch.arange(len(numbers), device=device)

    def drawn(self, number: int, generator: torch.Generator) -> Iterator[torch.Tensor]:
        """For each minibatch of an epoch, the indices of this learner's part of it, which may be empty.

        Args:
            number: of minibatches, equally large to within one row.
            generator: in the same state in every learner.
        """
        order = torch.randperm(self.total, generator=generator).to(self._here.device)
        for minibatch in order.tensor_split(min(number, self.total)):
            here = self._here[minibatch]
            yield here[here >= 0] if together() else minibatch
