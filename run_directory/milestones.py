"""Milestones: the weights of a run at 0, 1, 3, 10, 30 and 100 % of its budget, so that one can see how it learned.

    agent steps before and after a row -> percentages passed -> weights, where the run stood, manifest

A milestone is stored beside the checkpoints, as <run>/checkpoints/milestone_3, and an agent plays with it as with a
checkpoint. It has no pickle and no state of the optimizer, so no run continues from it. The budget is stop.agent_steps.
Milestone 0 is the network before its first update. Every other milestone is written at the first row of progress.csv
that reaches its percentage: a short run may write several at once, and a run that ends early has no milestone 100.
Weights that wait for their evaluation (`evaluate_every`) are such a folder too, until they have played.
"""

import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import numpy as np

from run_directory.layout import MILESTONES, PERCENTAGES, PROGRESS_JSON, TO_EVALUATE, checkpoint_path
from run_directory.manifest import refuse_damaged_checkpoint, write_manifest
from run_directory.weights import write_arrays


def list_passed_milestones(before: int, now: int, budget: int) -> list[str]:
    """Return the names of the milestones of a `budget` of agent steps that a run passes from a row with `before`, which
    is exclusive and -1 at the start of the run, to one with `now`."""
    return [name for name, percentage in PERCENTAGES.items() if 100 * before < percentage * budget <= 100 * now]


def write_milestone(run: Path, name: str, weights: Mapping[str, np.ndarray], totals: dict[str, float]) -> None:
    """Write a milestone, under a temporary name first, so that a folder of its own name is always whole.

    Args:
        run: the run directory.
        name: one of MILESTONES.
        weights: name in the network's state_dict -> array.
        totals: the content of progress.json.

    Raises:
        OSError: the milestone cannot be written; its temporary folder is removed.
    """
    milestone, arriving = checkpoint_path(run, name), checkpoint_path(run, f".{name}.new")
    shutil.rmtree(arriving, ignore_errors=True)  # a killed process may have left it
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
    """Writes the milestones of a run and the weights to evaluate; training continues if some cannot be written.

    Args:
        run: the run directory; None: the run keeps neither.
        budget: agent steps that are 100 %; None: the run keeps no milestones.
        evaluate_every: agent steps between two evaluations; None: the run has none.

    Attributes:
        complaints: a sentence for each folder that could not be written.
    """

    def __init__(self, run: Path | None, budget: int | None, evaluate_every: int | None = None):
        self.run, self.budget, self.evaluate_every = run, budget, evaluate_every
        self.complaints: list[str] = []

    def drop_milestones_ahead(self, agent_steps: int) -> None:
        """Remove the milestones and the weights to evaluate beyond a checkpoint, from which the run continues.

        They were written by a process that was killed after the checkpoint, or for a budget that was smaller then.
        """
        if self.run:
            names = self.list_due_milestones(agent_steps, self.budget or agent_steps)
            names += [f"{TO_EVALUATE}{steps}" for steps in list_weights_to_evaluate(self.run) if steps > agent_steps]
            for name in names:
                shutil.rmtree(checkpoint_path(self.run, name), ignore_errors=True)

    def list_due_milestones(self, before: int, now: int) -> list[str]:
        """Return the names of the folders to write after a row; see `list_passed_milestones`."""
        names = list_passed_milestones(before, now, self.budget) if self.budget else []
        if self.evaluate_every and now // self.evaluate_every > max(0, before) // self.evaluate_every:
            names.append(f"{TO_EVALUATE}{now}")
        return names if self.run else []

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


def list_weights_to_evaluate(run: Path) -> dict[int, Path]:
    """Return agent steps -> folder of the weights of a run that wait for their evaluation, the oldest first."""
    folders = {folder.name.removeprefix(TO_EVALUATE): folder for folder in run.glob(f"checkpoints/{TO_EVALUATE}*")}
    return {int(steps): folders[steps] for steps in sorted(filter(str.isdecimal, folders), key=int)}
