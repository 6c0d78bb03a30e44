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
from typing import cast

import numpy as np

from run_directory.layout import MILESTONES, PERCENTAGES, PROGRESS_JSON, checkpoint_path
from run_directory.manifest import refuse_damaged_checkpoint, write_manifest
from run_directory.weights import write_arrays


def list_passed_milestones(before: int, now: int, budget: int) -> list[str]:
    """Return the milestones that a run passes between two rows.

    Args:
        before: agent steps of the earlier row, which do not count; -1 at the very start.
        now: agent steps of the later row, which count.
        budget: agent steps that are 100 %.
    """
    return [name for name, percentage in PERCENTAGES.items() if 100 * before < percentage * budget <= 100 * now]


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


class MilestoneWriter:
    """Writes the milestones of a run as it passes them; training goes on where one cannot be written.

    Args:
        run: the run directory; None: the run keeps no milestones.
        budget: agent steps that are 100 %.

    Attributes:
        complaints: a sentence for each milestone that could not be written.
    """

    def __init__(self, run: Path | None, budget: int):
        self.run, self.budget = run, budget
        self.complaints: list[str] = []

    def drop_milestones_ahead(self, agent_steps: int) -> None:
        """Remove the milestones that the run has yet to pass, as the rows of progress.csv beyond a checkpoint are
        dropped.

        They come from a killed process that was beyond the checkpoint, or from a smaller budget that was raised since.
        """
        for name in self.list_due_milestones(agent_steps, self.budget):
            shutil.rmtree(checkpoint_path(cast(Path, self.run), name), ignore_errors=True)

    def list_due_milestones(self, before: int, now: int) -> list[str]:
        """Return the milestones to write after a row; see `list_passed_milestones`."""
        return list_passed_milestones(before, now, self.budget) if self.run else []

    def write(self, names: list[str], weights: Mapping[str, np.ndarray], totals: dict[str, float]) -> None:
        """Write these milestones; see `write_milestone`."""
        for name in names:
            try:
                write_milestone(cast(Path, self.run), name, weights, totals)
            except OSError as error:
                self.complaints.append(f"{name} cannot be written ({error.strerror}); training goes on without it")


def find_milestones(run: Path) -> list[Path]:
    """Return the folders of a run's milestones, in the order in which they were taken.

    Raises:
        Mistake: one of them is damaged.
    """
    found = [folder for name in MILESTONES if (folder := checkpoint_path(run, name)).is_dir()]
    for folder in found:
        refuse_damaged_checkpoint(folder)
    return found
