"""Milestones: the weights of a run at 0, 1, 3, 10, 30 and 100 % of its budget, so that one can see how it learned.

    agent steps before and after a row -> percentages passed -> weights, where the run stood, manifest

They lie beside the checkpoints, <run>/checkpoints/milestone_3, and can be played with like those, but hold no pickle
and no optimizer state: nothing continues from them. The percentage is of stop.agent_steps. Milestone 0 is the network
before its first update; each other one is taken at the first row of progress.csv at or beyond its percentage, so that
a short run may take several at once, and a run that ends before its budget has no milestone 100.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy

from algorithms.progress import PROGRESS_FILE, WEIGHTS, write_manifest

PERCENTAGES = {f"milestone_{percentage}": percentage for percentage in (0, 1, 3, 10, 30, 100)}
MILESTONES = tuple(PERCENTAGES)


def milestones_between(before: int, now: int, budget: int) -> list[str]:
    """Return the milestones that a run passes.

    Args:
        before: agent steps, which do not count; -1 at the very start.
        now: agent steps, which count.
        budget: agent steps that are 100 %.
    """
    return [name for name, percentage in PERCENTAGES.items() if 100 * before < percentage * budget <= 100 * now]


def drop_milestones_ahead(run: Path, agent_steps: int, budget: int) -> None:
    """Remove the milestones that a run has yet to pass, as the rows of progress.csv beyond a checkpoint are dropped.

    They are of what a killed process did beyond the checkpoint, or of a smaller budget that was raised since.
    """
    for name in milestones_between(agent_steps, budget, budget):
        shutil.rmtree(run / "checkpoints" / name, ignore_errors=True)


def write_milestone(run: Path, name: str, weights: Mapping[str, np.ndarray], totals: dict[str, float]) -> None:
    """Write a milestone; its name stands for a whole one at any time.

    Args:
        run: the run directory.
        name: of MILESTONES.
        weights: name in the network's state_dict -> array.
        totals: where the run stands.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    milestone, arriving = run / "checkpoints" / name, run / "checkpoints" / f".{name}.new"
    shutil.rmtree(arriving, ignore_errors=True)  # of a killed process
    try:
        arriving.mkdir(parents=True)
        arrays = {key: np.asarray(array, order="C") for key, array in weights.items()}
        (arriving / WEIGHTS).write_bytes(safetensors.numpy.save(arrays))
        (arriving / PROGRESS_FILE).write_text(json.dumps(totals))
        write_manifest(arriving)
        shutil.rmtree(milestone, ignore_errors=True)
        os.rename(arriving, milestone)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)
