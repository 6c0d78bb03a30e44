"""What run directories get while their seeds report: progress.csv, workers.csv and curves for TensorBoard."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter

from runs import directory
from runs.directory import ProgressTable


class Record:
    """Rows of one run, or of several seeds.

    Args:
        dirs: seed -> run directory.
        parent: the directory above them, where there are several: its progress.csv has all rows and a column `seed`.
    """

    def __init__(self, dirs: dict[int, Path], parent: Path):
        self.dirs = dirs
        self.tables = {seed: ProgressTable(path / directory.PROGRESS) for seed, path in dirs.items()}
        self.workers: dict[int, ProgressTable] = {}
        self.merged = ProgressTable(parent / directory.PROGRESS) if parent not in dirs.values() else None
        self.writers: dict[int, SummaryWriter] = {}

    def add(self, seed: int, row: dict[str, Any], workers: Sequence[dict[str, Any]] = ()) -> None:
        """A row of progress.csv, and of A3C those of its workers."""
        self.tables[seed].append(row)
        if self.merged:
            self.merged.append({"seed": seed} | row)
        if seed not in self.writers:
            folder = str(self.dirs[seed] / "tensorboard")
            self.writers[seed] = SummaryWriter(folder, purge_step=row["agent_steps"], flush_secs=10)
        for of_worker in workers:
            if seed not in self.workers:
                self.workers[seed] = ProgressTable(self.dirs[seed] / directory.WORKERS, key="worker")
            self.workers[seed].append({"agent_steps": row["agent_steps"]} | of_worker)
        for name, value in row.items():
            if name != "agent_steps" and math.isfinite(value):
                self.writers[seed].add_scalar(name, value, row["agent_steps"])

    def close(self) -> None:
        """Flush what TensorBoard reads."""
        for writer in self.writers.values():
            writer.close()


def write_hparams(run: Path, values: dict[str, Any], score: float) -> None:
    """What TensorBoard shows under HParams: the values that a trial was given, and the score it ended with."""
    with SummaryWriter(str(run / "tensorboard")) as writer:
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
        writer.add_hparams(plain, {"score": score}, name="hparams")
