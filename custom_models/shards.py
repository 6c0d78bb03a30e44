"""A torso computed in shards: each core takes a part of the minibatch, in a thread of its own.

    obs [B, ...] -> a part for each thread -> torso -> features [B, D] -> (heads, loss) -> gradient of each part -> sum

OpenMP divides every operation among the cores, and after every operation they wait for the slowest, hundreds of times
per minibatch. Where the machine computes for others too, the slowest is a core that was just taken away. Shards wait
twice: for all features, and for all gradients. Where even that takes longer, one thread computes all parts, one after
the other. The loss is that of the whole minibatch, so the gradient is the same but for rounding, and always the same
for the same number of shards, whichever thread computes them. `python -m benchmarks.shards` measures it.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable

from custom_models.faster_of_two import FasterOfTwo
from custom_models.torsos import ConvTorso, ResidualTorso

LARGEST = 4  # `auto` takes shards up to so many threads: each gives a whole gradient, and all are added up by one
FEWEST_ROWS = 8  # of a part; less is not worth the way to a thread and back


def make_shards(kind: str, num_threads: int, torso: nn.Module, device: torch.device) -> "Shards | None":
    """Return the shards of a learner, or None where OpenMP divides the operations.

    Args:
        kind: `cluster.threads`: auto, shards or openmp.
        num_threads: threads that the learner may use.
        torso: of its network; only the suite's own torsos with convolutions are computed in shards.
        device: that it computes on.
    """
    suits = device.type == "cpu" and num_threads > 1 and isinstance(torso, ConvTorso | ResidualTorso)
    wanted = kind == "shards" or (kind == "auto" and num_threads <= LARGEST)
    return Shards(num_threads) if suits and wanted else None


class Shards:
    """Threads that compute the features of parts of a minibatch, and the gradients of these parts.

    Args:
        count: how many threads and parts; each thread computes without OpenMP.
    """

    def __init__(self, count: int):
        self.count = count
        self.for_features, self.for_gradients = FasterOfTwo(), FasterOfTwo()
        before, all_there = torch.get_num_threads(), threading.Barrier(count)
        self._threads = ThreadPoolExecutor(count, "shard", initializer=compute_alone)
        list(self._threads.map(lambda _: all_there.wait(), range(count)))  # each thread has begun
        torch.set_num_threads(before)  # compute_alone has changed the number of all threads that begin later

    def compute(self, torso: Any, obs: torch.Tensor, packed: list[tuple[torch.Tensor, ...]]) -> torch.Tensor:
        """Return the features of a torso, fp32 [B, D], through which gradients reach the packed weights.

        Args:
            torso: a ConvTorso or ResidualTorso.
            obs: [B, ...]; a batch with less than FEWEST_ROWS for each thread is computed in one part.
            packed: the result of the torso's `pack`.
        """
        if len(obs) < FEWEST_ROWS * self.count:
            return torso(obs, packed)
        return _ShardedTorso.apply(self, torso, obs, *(tensor for layer in packed for tensor in layer))

    def run(
        self, faster: FasterOfTwo, work: Callable[..., Any], rows: Sequence[torch.Tensor], *others: Any
    ) -> list[Any]:
        """Return the results of a function for each part: by all threads side by side or by one of them in turn,
        whichever is faster.

        Args:
            faster: chooses between the two.
            work: the function.
            rows: its first argument: one tensor for each part, with a row for each agent step.
            others: further arguments, each a sequence too.
        """

        def run_side_by_side() -> list[Any]:
            return list(self._threads.map(work, rows, *others))

        def run_in_turn() -> list[Any]:
            return self._threads.submit(lambda: list(map(work, rows, *others))).result()

        return faster.run((run_side_by_side, run_in_turn), sum(map(len, rows)))


def compute_alone() -> None:
    """Let the present thread compute without help from others."""
    torch.get_num_threads()  # a thread that was never asked would take the common number later
    torch.set_num_threads(1)


class _ShardedTorso(torch.autograd.Function):
    """The torso as one operation for autograd; inside, each thread has a graph of its own part."""

    @staticmethod
    def forward(ctx: Any, shards: Shards, torso: Any, obs: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        def compute_part(rows: torch.Tensor) -> tuple[torch.Tensor, list[torch.Tensor]]:
            own = [weight.detach().requires_grad_() for weight in weights]  # so that threads share no graph
            with torch.enable_grad():
                return torso(rows, list(zip(own[::2], own[1::2], strict=True))), own

        parts = obs.tensor_split(shards.count)
        ctx.shards, ctx.parts = shards, shards.run(shards.for_features, compute_part, parts)
        return torch.cat([features.detach() for features, _ in ctx.parts])

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        def differentiate_part(gradient: torch.Tensor, part: tuple[torch.Tensor, list[torch.Tensor]]) -> Any:
            return torch.autograd.grad(*part, gradient)

        shards = ctx.shards
        of_parts = shards.run(shards.for_gradients, differentiate_part, gradient.tensor_split(shards.count), ctx.parts)
        del ctx.parts
        return None, None, None, *(torch.stack(parts).sum(0) for parts in zip(*of_parts, strict=True))
