"""NaN and infinity in training: the run stops before the step, and a file keeps the minibatch and the weights."""

import os
from typing import Any

import torch


class NonFiniteLoss(RuntimeError):
    """A loss or gradient was NaN or infinite; the message names the file that holds its minibatch."""


def save_evidence(config: Any, evidence: dict[str, Any]) -> str:
    """Write the minibatch and the weights that gave NaN or infinity into the run directory.

    Returns:
        The path of the file, which is in the working directory if the config names no run directory.
    """
    path = os.path.join(config.run_dirs.get(config.seed, os.getcwd()), f"nonfinite_minibatch_{os.getpid()}.pt")
    torch.save(evidence, path)
    return path
