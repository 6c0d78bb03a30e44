"""What run directories get while their seeds report: progress.csv, workers.csv and curves for TensorBoard."""

import math
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from runs import directory
from runs.directory import ProgressTable

FLUSH_S = 10


class Curves:
    """A run's file for TensorBoard, written by whoever adds to it: SummaryWriter leaves that to a thread, and waits for
    ever once the thread has met a full disk.

    Args:
        folder: of the run's curves.
        agent_steps: where these begin; what older files have from there on is not shown.
    """

    def __init__(self, folder: Path, agent_steps: int):
        folder.mkdir(exist_ok=True)
        self.events, self.flushed = EventsWriter(str(folder / "events")), 0.0
        start = SessionLog(status=SessionLog.START)
        self.events.write_event(Event(wall_time=time.time(), step=agent_steps, session_log=start))

    def add(self, row: dict[str, Any]) -> None:
        """A point of every curve."""
        points = {n: v for n, v in row.items() if n != "agent_steps" and math.isfinite(v)}
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in points.items()])
        self.events.write_event(Event(wall_time=time.time(), step=row["agent_steps"], summary=summary))
        if time.monotonic() - self.flushed > FLUSH_S:
            self.events.flush()
            self.flushed = time.monotonic()


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
        self.curves: dict[int, Curves] = {}

    def add(self, seed: int, row: dict[str, Any], workers: Sequence[dict[str, Any]] = ()) -> None:
        """A row of progress.csv, and of A3C those of its workers."""
        self.tables[seed].append(row)
        if self.merged:
            self.merged.append({"seed": seed} | row)
        for of_worker in workers:
            if seed not in self.workers:
                self.workers[seed] = ProgressTable(self.dirs[seed] / directory.WORKERS, key="worker")
            self.workers[seed].append({"agent_steps": row["agent_steps"]} | of_worker)
        if seed not in self.curves:
            self.curves[seed] = Curves(self.dirs[seed] / "tensorboard", row["agent_steps"])
        self.curves[seed].add(row)

    def close(self) -> None:
        """Close what TensorBoard reads, however often one is asked to; what is added afterwards begins another file."""
        while self.curves:
            _, curves = self.curves.popitem()
            curves.events.close()


def write_hparams(run: Path, values: dict[str, Any], score: float) -> None:
    """What TensorBoard shows under HParams: the values that a trial was given, and the score it ended with."""
    with SummaryWriter(str(run / "tensorboard")) as writer:
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
        writer.add_hparams(plain, {"score": score}, name="hparams")
