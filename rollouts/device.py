"""Copies between the memory of a process and its GPU. On the CPU nothing is copied.

learner       Rollout --pinned memory, a stream of its own--> columns on the GPU
env runner    obs --> GPU --> policy and value --one transfer--> host, where actions are drawn
"""

import functools
import warnings
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch

from custom_models.cuda_graphs import GraphedFunction
from custom_models.faster_of_two import FasterOfTwo
from custom_models.torsos import ConvTorso, MLPTorso, ResidualTorso

CPU = torch.device("cpu")
NUM_COMPARED = 16  # calls in which all threads and one must give the same bits before one may act


@functools.cache
def get_copy_stream(device: torch.device) -> torch.cuda.Stream:
    """Return the stream on which this process copies to a GPU. It is made once, because each stream keeps memory."""
    return torch.cuda.Stream(device)


def copy_to_device(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, torch.Tensor]:
    """Return the columns of a Rollout as read-only tensors on a device; on the CPU they share the arrays' memory.

    The copy to a GPU goes through pinned memory: a column is copied while the next one is being pinned. This process
    does not wait for the copies, but later computations on the GPU do.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        host = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if device.type != "cuda":
        return {name: column.to(device) for name, column in host.items()}
    stream, computing = get_copy_stream(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(stream):
        there = {name: column.pin_memory().to(device, non_blocking=True) for name, column in host.items()}
    computing.wait_stream(stream)
    for column in there.values():
        column.record_stream(computing)  # its memory came from the other stream, which must not reuse it too early
    return there


def choose_runner_device(config: Any, worker_index: int | None) -> torch.device:
    """Return the device that an env runner acts on: the GPU that Ray gave to it, or the CPU where it asked for none.

    Raises:
        RuntimeError: the env runner asked for a GPU, and torch sees none.
    """
    if not worker_index or not config.num_gpus_per_env_runner:  # the env runner of the training process asks for none
        return CPU
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"cluster.gpus_per_runner={config.num_gpus_per_env_runner:g}: torch sees no GPU in the process of env "
            f"runner {worker_index}; install a CUDA build of torch on its machine, or set it to 0"
        )
    return torch.device("cuda", 0)  # Ray shows a process only what it was given


class Acting:
    """The network of an env runner on the device where it is: on a GPU as a CUDA graph, on the CPU with all threads or
    with one, whichever is faster.

    Args:
        device: of the network.
        tries_one_thread: whether one thread is tried on the CPU; if not, all threads act.
    """

    def __init__(self, device: torch.device, tries_one_thread: bool = False):
        self._device, self._tries_one_thread = device, tries_one_thread
        self._graphed = GraphedFunction(act_in_one_tensor, device, "acting")
        self._faster: defaultdict[int, FasterOfTwo] = defaultdict(FasterOfTwo)  # by the rows of a call
        self._agreed: dict[int, int] = {}  # rows -> calls in which both gave the same bits; -1: they did not in one

    def act(
        self, module: Any, obs: torch.Tensor, packed: Any, state: tuple
    ) -> tuple[torch.Tensor, torch.Tensor, tuple]:
        """Call `module.act` on the device of the module.

        Args:
            module: an ActorCritic.
            obs: observations [N, ...] in the memory of the process.
            packed: the result of `module.pack`.
            state: of the LSTM, on the device.

        Returns:
            Parameters of the policy [N, P] and values [N] in the memory of the process, and the next state on the
            device.
        """
        if self._device.type == "cpu":
            act = functools.partial(module.act, obs, packed, state)
            return self._act_faster(len(obs), act) if self._tries_one_thread else act()
        both, state = self._graphed(packed, module, obs, state)
        both = both.cpu()  # one copy, which waits until both are computed
        return both[:, :-1], both[:, -1], tuple(part.clone() for part in state)

    def _act_faster(self, num_rows: int, act: Callable[[], Any]) -> Any:
        """Act with the faster of all threads and one thread.

        All threads act until both ways have given the same bits in NUM_COMPARED calls with this number of observations.
        If the bits differ in one of these calls, one thread is not tried again.
        """
        agreed = self._agreed.get(num_rows, 0)
        in_one_thread = functools.partial(run_in_one_thread, act)
        if agreed < 0:
            return act()
        if agreed >= NUM_COMPARED:
            return self._faster[num_rows].run((act, in_one_thread))
        result, other = act(), in_one_thread()
        self._agreed[num_rows] = agreed + 1 if have_equal_bits(result, other) else -1
        return result


def has_suite_torso(module: Any) -> bool:
    """Return whether the torso of a network is one of the suite's.

    Of these, one thread and two gave the same bits in all calls, or other bits in one of the first NUM_COMPARED
    (tests/rollouts/test_device.py). Of a user's own torso that is not known.
    """
    return isinstance(module.torso, ConvTorso | ResidualTorso | MLPTorso)


def run_in_one_thread(work: Callable[[], Any]) -> Any:
    """Return the result of a function that computes without the other threads of OpenMP.

    Threads that begin meanwhile compute alone for good: torch gives them the number that is set when they begin.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        return work()
    finally:
        torch.set_num_threads(before)


def have_equal_bits(one: tuple, other: tuple) -> bool:
    """Return whether two results of `act` are the same: policies, values and the state of the LSTM."""
    pairs = zip((*one[:2], *one[2]), (*other[:2], *other[2]), strict=True)
    return all(torch.equal(a, b) for a, b in pairs)


def act_in_one_tensor(packed: Any, module: Any, obs: torch.Tensor, state: tuple) -> tuple[torch.Tensor, tuple]:
    """Call `module.act`; returns parameters of the policy and value side by side [N, P + 1], and the next state."""
    parameters, values, state = module.act(obs, packed, state)
    return torch.cat([parameters, values[:, None]], -1), state
