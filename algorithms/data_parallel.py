"""Mathematics over several learners, each with a part of the batch: together they compute what one learner would.

    part of a minibatch -> loss x (its rows / all rows) -> gradient -> sum over the learners -> the same step everywhere

A single learner calls nothing here but `is_data_parallel`. Several learners have to call these functions equally often
and in the same order, because each call waits for the other learners.
"""

from collections.abc import Sequence

import torch
from torch import distributed


def is_data_parallel() -> bool:
    """Return whether this process is one of several learners."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def sum_over_learners(x: torch.Tensor) -> torch.Tensor:
    """Return the sum of the tensors x of all learners, which have the same shape; x itself does not change."""
    x = x.clone()
    distributed.all_reduce(x)
    return x


def count_rows_of_all_learners(rows: int, device: torch.device) -> int:
    """Return the sum of `rows` over all learners, each of which passes the number of its own rows."""
    return int(sum_over_learners(torch.tensor(rows, device=device)))


def compute_mean_and_std(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return mean and standard deviation (of the population) of the numbers of all learners: scalars."""
    rows, added = sum_over_learners(torch.stack([torch.full_like(x.sum(), x.numel()), x.sum()]))
    mean = added / rows
    return mean, (sum_over_learners(((x - mean) ** 2).sum()) / rows).sqrt()


def sum_gradients(parameters: Sequence[torch.Tensor]) -> None:
    """Replace the gradient of every learner by the sum over all learners, in one message; NaN stays NaN."""
    gradients = [p.grad if p.grad is not None else torch.zeros_like(p) for p in parameters]
    flat = sum_over_learners(torch.cat([gradient.flatten() for gradient in gradients]))
    for p, part in zip(parameters, flat.split([p.numel() for p in parameters]), strict=True):
        p.grad = part.view_as(p)


class RowsOfAllLearners:
    """The rows of all learners, from which minibatches are drawn, and the part of them that this learner has.

    The rows are numbered as in the batch of a single learner, so minibatches are the same however many learners there
    are. Each of L learners has equally many rollouts of the same size: the first has rollouts 0, L, 2 L and so on.

    Args:
        valid: bool [T, J N], the rows of this learner's J rollouts that count, side by side.
        num_rollouts: J.
        sequences: a row is a whole sequence, the T steps of one env, instead of one agent step.

    Attributes:
        total: rows of all learners.
        agent_steps: valid agent steps of all learners.
    """

    def __init__(self, valid: torch.Tensor, num_rollouts: int, sequences: bool):
        mine = valid.to(torch.uint8).unflatten(1, (num_rollouts, -1)).contiguous()  # [T, J, N]
        parts, rank = [torch.empty_like(mine) for _ in range(distributed.get_world_size())], distributed.get_rank()
        distributed.all_gather(parts, mine)
        steps = torch.stack(parts, 2).long()  # [T, J, L, N], as they would lie in one batch
        steps = steps.sum(0, keepdim=True) if sequences else steps  # agent steps of each row
        rows = torch.ones_like(steps, dtype=torch.bool) if sequences else steps.bool()
        numbers = (rows.flatten().cumsum(0) - 1).view_as(rows)[:, :, rank][rows[:, :, rank]]
        self.total, self.agent_steps = int(rows.sum()), int(steps.sum())
        self._steps = steps[rows]
        self._here = torch.full((self.total,), -1, device=valid.device)  # number -> index in this learner's batch
        self._here[numbers] = torch.arange(len(numbers), device=valid.device)

    def find_own_rows(self, numbers: torch.Tensor) -> torch.Tensor:
        """Return where in this learner's batch the rows with these numbers are, without those of other learners."""
        here = self._here[numbers]
        return here[here >= 0]

    def count_agent_steps(self, numbers: torch.Tensor) -> int:
        """Return the valid agent steps of the rows with these numbers, of all learners."""
        return int(self._steps[numbers].sum())
