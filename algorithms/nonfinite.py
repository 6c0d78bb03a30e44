"""NaN and infinity in training: the run stops before the step, and a file keeps the minibatch and the weights."""

import os
from typing import Any

import torch

from settings.mistakes import format_error


class NonFiniteLoss(RuntimeError):
    """A loss or gradient was NaN or infinite; the message names the file that holds its minibatch."""


def save_evidence(config: Any, evidence: dict[str, Any]) -> str:
    """Write the minibatch and the weights that gave NaN or infinity into the run directory, or else into the working
    directory; returns the path of the file, with the reason where it could not be written."""
    path = os.path.join(config.run_dirs.get(config.seed, os.getcwd()), f"nonfinite_minibatch_{os.getpid()}.pt")
    try:
        torch.save(evidence, path)
    except (OSError, RuntimeError) as error:  # of a full disk: another error would make Tune start the run again
        return f"{path}, which could not be written ({format_error(error)})"
    return path
