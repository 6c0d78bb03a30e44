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

from run_directory.layout import MILESTONES, PERCENTAGES, PROGRESS_JSON, checkpoint_path
from run_directory.manifest import refuse_damaged, write_manifest
from run_directory.weights import write_arrays


def milestones_between(before: int, now: int, budget: int) -> list[str]:
    """Return the milestones that a run passes between two rows.

    Args:
        before: agent steps of the earlier row, which do not count; -1 at the very start.
        now: agent steps of the later row, which count.
        budget: agent steps that are 100 %.
    """
    return [name for name, percentage in PERCENTAGES.items() if 100 * before < percentage * budget <= 100 * now]


def drop_milestones_ahead(run: Path, agent_steps: int, budget: int) -> None:
    """Remove the milestones that a run has yet to pass, as the rows of progress.csv beyond a checkpoint are dropped.

    They come from a killed process that was beyond the checkpoint, or from a smaller budget that was raised since.
    """
    for name in milestones_between(agent_steps, budget, budget):
        shutil.rmtree(checkpoint_path(run, name), ignore_errors=True)


def write_milestone(run: Path, name: str, weights: Mapping[str, np.ndarray], totals: dict[str, float]) -> None:
    """Write a milestone; its name stands for a whole one at any time.

    Args:
        run: the run directory.
        name: of MILESTONES.
        weights: name in the network's state_dict -> array.
        totals: what progress.json holds: agent steps, episodes, score and more.

    Raises:
        OSError: it cannot be written; nothing of it is left.
    """
    milestone, arriving = checkpoint_path(run, name), checkpoint_path(run, f".{name}.new")
    shutil.rmtree(arriving, ignore_errors=True)  # of a killed process
    try:
        arriving.mkdir(parents=True)
        write_arrays(arriving, weights)
        (arriving / PROGRESS_JSON).write_text(json.dumps(totals))
        write_manifest(arriving)
        shutil.rmtree(milestone, ignore_errors=True)
        os.rename(arriving, milestone)
    finally:
        shutil.rmtree(arriving, ignore_errors=True)


def find_milestones(run: Path) -> list[Path]:
    """Return the folders of a run's milestones, in the order in which they were taken.

    Raises:
        Mistake: one of them is damaged.
    """
    found = [folder for name in MILESTONES if (folder := checkpoint_path(run, name)).is_dir()]
    for folder in found:
        refuse_damaged(folder)
    return found
