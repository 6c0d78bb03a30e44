"""What crosses between a process's memory and its GPU. On the CPU nothing does, and nothing is copied.

    learner       Rollout --pinned memory, a stream of its own--> columns on the GPU
    env runner    obs --> GPU --> policy and value --one transfer--> host, where actions are drawn

Never run on a GPU yet; the tests with the marker `gpu` say what should hold there.
"""

import functools
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

CPU = torch.device("cpu")


@functools.cache
def copying(device: torch.device) -> torch.cuda.Stream:
    """The one stream of this process that copies to a GPU: each new one would keep memory of its own."""
    return torch.cuda.Stream(device)


def on_device(arrays: Mapping[str, np.ndarray], device: torch.device) -> dict[str, torch.Tensor]:
    """The columns of a Rollout as tensors that nobody may write to: on the CPU the arrays themselves.

    To a GPU they go through pinned memory without waiting, each while the next one is being pinned. What is computed
    there afterwards waits for them; this process does not.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The given NumPy array is not writable")
        host = {name: torch.from_numpy(array) for name, array in arrays.items()}
    if device.type != "cuda":
        return {name: column.to(device) for name, column in host.items()}
    stream, computing = copying(device), torch.cuda.current_stream(device)
    with torch.cuda.stream(stream):
        there = {name: column.pin_memory().to(device, non_blocking=True) for name, column in host.items()}
    computing.wait_stream(stream)
    for column in there.values():
        column.record_stream(computing)  # its memory came from the other stream, which must not reuse it too early
    return there


def runners_device(config: Any, worker_index: int | None) -> torch.device:
    """What an env runner acts on: the GPU that Ray gave it, where `num_gpus_per_env_runner` asks for one.

    Raises:
        RuntimeError: it asks for one, and torch sees none.
    """
    if not worker_index or not config.num_gpus_per_env_runner:  # in the training process nobody asks for one
        return CPU
    if not torch.cuda.is_available():
        raise RuntimeError(
            f"cluster.gpus_per_runner={config.num_gpus_per_env_runner:g}: torch sees no GPU in the process of env "
            f"runner {worker_index}; install a CUDA build of torch on its machine, or set it to 0"
        )
    return torch.device("cuda", 0)  # Ray shows a process only what it was given


def acted(module: Any, obs: torch.Tensor, packed: Any, state: tuple) -> tuple[torch.Tensor, torch.Tensor, tuple]:
    """`module.act` on the module's device, for observations [N, ...] on the host.

    Returns:
        Parameters of the policy [N, P] and values [N] on the host, and the next state where the module is.
    """
    device = module.policy.weight.device
    if device.type == "cpu":
        return module.act(obs, packed, state)
    parameters, values, state = module.act(obs.to(device), packed, state)
    both = torch.cat([parameters, values[:, None]], -1).cpu()  # one transfer, which waits until they are computed
    return both[:, :-1], both[:, -1], state
