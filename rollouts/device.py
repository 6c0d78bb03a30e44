"""Copies between the memory of a process and its GPU. On the CPU nothing is copied.

learner       Rollout --pinned memory, a stream of its own--> columns on the GPU
env runner    obs --> GPU --> policy and value --one transfer--> host, where actions are drawn
"""

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from custom_models.cuda_graphs import GraphedFunction

CPU = torch.device("cpu")


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
    """The network of an env runner on the device where it is; on a GPU as a CUDA graph."""

    def __init__(self, device: torch.device):
        self._device = device
        self._graphed = GraphedFunction(act_in_one_tensor, device, "acting")

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
            return module.act(obs, packed, state)
        both, state = self._graphed(packed, module, obs, state)
        both = both.cpu()  # one copy, which waits until both are computed
        return both[:, :-1], both[:, -1], tuple(part.clone() for part in state)


def act_in_one_tensor(packed: Any, module: Any, obs: torch.Tensor, state: tuple) -> tuple[torch.Tensor, tuple]:
    """Call `module.act`; returns parameters of the policy and value side by side [N, P + 1], and the next state."""
    parameters, values, state = module.act(obs, packed, state)
    return torch.cat([parameters, values[:, None]], -1), state
