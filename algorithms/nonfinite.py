"""NaN and infinity in training: the run stops before the step and keeps what led to it in a file."""

import os
from typing import Any

import torch


class NonFiniteLoss(RuntimeError):
    """A loss or gradient was NaN or infinite; the message names the file that holds its minibatch."""


def save_evidence(config: Any, evidence: dict[str, Any]) -> str:
    """Write the minibatch that led to NaN or infinity, and the weights it did so at, to the run directory.

    Returns:
        The path of the file; in the working directory where the config names no run directory.
    """
    path = os.path.join(config.run_dirs.get(config.seed, os.getcwd()), f"nonfinite_minibatch_{os.getpid()}.pt")
    torch.save(evidence, path)
    return path
