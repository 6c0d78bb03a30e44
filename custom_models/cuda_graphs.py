"""CUDA graphs: a function of tensors that a GPU records once and then replays.

For small batches a GPU waits for Python, which launches its kernels one by one. A recorded function is launched as one.

    arguments -> copied to where the recording reads them -> kernels, replayed -> outputs, where it writes them
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch

EAGER_CALLS = 2  # before a recording: the first calls choose algorithms and allocate workspaces
MOST_RECORDINGS = 4  # of one function; each keeps the memory of a call
COMPLAINTS: list[str] = []  # of this process: a sentence for each function that cannot be recorded


class GraphedFunction:
    """A function that runs on one device: on a GPU it is replayed once arguments of the same shapes came a third time.

    It has to launch the same kernels each time, so it must not read a number from the GPU or branch on one. Where it
    cannot be recorded, it runs as it is, and a sentence in COMPLAINTS says so.

    Args:
        function: called as function(fixed, *arguments); returns a tensor, or tuples and dicts of tensors.
        device: of all tensors within it.
        name: what it does, for that sentence.
    """

    def __init__(self, function: Callable[..., Any], device: torch.device, name: str):
        self._function, self._device, self._name = function, device, name
        self._calls: Counter = Counter()
        self._recordings: dict[tuple, Recording] = {}
        self._is_recordable = device.type == "cuda"

    def __call__(self, fixed: Any, *arguments: Any) -> Any:
        """Return what the function returns; on a GPU the outputs are overwritten by the next call.

        Args:
            fixed: tensors on the device that do not change as long as the same object is given.
            arguments: tensors on any device, floats, and what stays as it is; or tuples and dicts of these.
        """
        if self._is_recordable:
            key = tuple(describe(leaf) for leaf in list_leaves(arguments))
            self._calls[key] += 1
            if key in self._recordings or self._record(key, fixed, arguments):
                return self._recordings[key].replay(fixed, arguments)
        return self._function(fixed, *map_leaves(self._move, arguments))

    def _move(self, leaf: Any) -> Any:
        return leaf.to(self._device) if isinstance(leaf, torch.Tensor) else leaf

    def _record(self, key: tuple, fixed: Any, arguments: tuple) -> bool:
        """Record the function where it is time to; returns whether it is recorded now."""
        if self._calls[key] <= EAGER_CALLS:
            return False
        if len(self._recordings) == MOST_RECORDINGS:
            rarest = min(self._recordings, key=self._calls.__getitem__)
            if self._calls[key] < 2 * self._calls[rarest]:  # so that shapes that take turns are not recorded each time
                return False
            del self._recordings[rarest]
        try:
            self._recordings[key] = Recording(self._function, self._device, fixed, arguments)
        except RuntimeError as error:
            self._is_recordable = False
            reason = str(error.__context__ or error).strip().splitlines()[0]  # ending the recording fails too
            COMPLAINTS.append(f"{self._name} runs without a CUDA graph, which is slower: {reason}")
        return self._is_recordable


class Recording:
    """A CUDA graph of one call, with the tensors that it reads and those that it writes."""

    def __init__(self, function: Callable[..., Any], device: torch.device, fixed: Any, arguments: tuple):
        self._device, self._fixed = device, fixed
        self._own_fixed, self._own_arguments = map_leaves(self._keep, fixed), map_leaves(self._keep, arguments)
        self._numbers = list(list_leaves(arguments))
        stream = torch.cuda.Stream(device)
        stream.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(stream):
            function(self._own_fixed, *self._own_arguments)
        torch.cuda.current_stream(device).wait_stream(stream)
        self._graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):  # other threads may use the GPU
            self._outputs = function(self._own_fixed, *self._own_arguments)

    def _keep(self, leaf: Any) -> Any:
        """Return a tensor of the recording's own in place of a tensor or a float."""
        if isinstance(leaf, torch.Tensor):
            return leaf.to(self._device, copy=True)
        return torch.tensor(leaf, dtype=torch.float64, device=self._device) if isinstance(leaf, float) else leaf

    def replay(self, fixed: Any, arguments: tuple) -> Any:
        """Return the outputs for these arguments."""
        if fixed is not self._fixed:
            self._fixed = fixed
            for own, given in zip(list_leaves(self._own_fixed), list_leaves(fixed), strict=True):
                if isinstance(own, torch.Tensor):
                    own.copy_(given)
        for i, (own, given) in enumerate(zip(list_leaves(self._own_arguments), list_leaves(arguments), strict=True)):
            if isinstance(given, torch.Tensor):
                own.copy_(given, non_blocking=True)
            elif isinstance(given, float) and given != self._numbers[i]:
                own.fill_(given)
                self._numbers[i] = given
        self._graph.replay()
        return self._outputs


def differentiate(
    forward: Callable[[dict], tuple],
    parameters: Sequence[torch.Tensor],
    fixed: None,
    compute_loss: Callable[..., tuple[torch.Tensor, dict]],
    minibatch: dict[str, torch.Tensor],
    *settings: Any,
) -> tuple[dict[str, torch.Tensor], list[torch.Tensor]]:
    """Compute the gradient of a loss, as a function that can be recorded: it changes nothing.

    Args:
        forward: minibatch -> policy, values, other columns.
        parameters: the gradient is that by these.
        fixed: not used.
        compute_loss: (policy, values, other columns, *settings) -> loss and its terms, all scalars.
        minibatch: columns [B, ...].
        settings: of the loss.

    Returns:
        The terms of the loss, and the gradients in the memory layout of the parameters, which optimizers expect.
    """
    policy, values, rows = forward(minibatch)
    loss, terms = compute_loss(policy, values, rows, *settings)
    gradients = torch.autograd.grad(loss, parameters, materialize_grads=True)
    gradients = [torch.empty_like(p).copy_(g) for p, g in zip(parameters, gradients, strict=True)]
    return {name: torch.as_tensor(term).detach() for name, term in terms.items()}, gradients


def list_leaves(tree: Any) -> Iterator[Any]:
    """Iterate over what the tuples, lists and dicts of a tree hold."""
    if isinstance(tree, dict | tuple | list):
        for branch in tree.values() if isinstance(tree, dict) else tree:
            yield from list_leaves(branch)
    else:
        yield tree


def map_leaves(function: Callable[[Any], Any], tree: Any) -> Any:
    """Return the tree with function(leaf) in place of each leaf."""
    if isinstance(tree, dict):
        return {name: map_leaves(function, branch) for name, branch in tree.items()}
    if isinstance(tree, tuple | list):
        branches = [map_leaves(function, branch) for branch in tree]
        return type(tree)(*branches) if hasattr(tree, "_fields") else type(tree)(branches)  # of a named tuple
    return function(tree)


def describe(leaf: Any) -> Any:
    """Return what has to be equal for a recording to fit: shape and dtype of a tensor, that a float is a float, and
    anything else itself."""
    return (leaf.shape, leaf.dtype) if isinstance(leaf, torch.Tensor) else float if isinstance(leaf, float) else leaf
