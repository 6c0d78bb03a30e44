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


class Curves:
    """A run's file for TensorBoard, written by whoever adds to it: SummaryWriter leaves that to a thread, and waits for
    ever once the thread has met a full disk.

    Args:
        folder: of the run's curves.
        agent_steps: where these begin; what older files have from there on is not shown.
    """

    def __init__(self, folder: Path, agent_steps: int):
        folder.mkdir(exist_ok=True)
        # Its own name has whole seconds; a process that starts again within one would write over the last file.
        self.events = EventsWriter(str(folder / "events"), filename_suffix=f".{time.time_ns()}")
        start = SessionLog(status=SessionLog.START)
        self.events.write_event(Event(wall_time=time.time(), step=agent_steps, session_log=start))

    def add(self, row: dict[str, Any]) -> None:
        """Write a point of every curve, as soon as it is reported: a killed driver leaves all that progress.csv has."""
        points = {n: v for n, v in row.items() if n != "agent_steps" and math.isfinite(v)}
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in points.items()])
        self.events.write_event(Event(wall_time=time.time(), step=row["agent_steps"], summary=summary))
        self.events.flush()


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

    def begin(self, seed: int, agent_steps: int) -> None:
        """Drop what was reported beyond the checkpoint that a training process starts from; 0 where it has none.

        The driver's resume and Tune's restart of a trial both come here. The first new row cannot tell: one that goes
        further than the lost rows would leave them in the file.
        """
        self.tables[seed].drop_beyond(agent_steps)
        if self.merged:
            self.merged.drop_beyond(agent_steps, whose=str(seed))
        if (self.dirs[seed] / directory.WORKERS).exists():
            self.workers_of(seed).drop_beyond(agent_steps)
        if seed in self.curves:
            self.curves.pop(seed).events.close()
        self.curves[seed] = Curves(self.dirs[seed] / "tensorboard", agent_steps + 1)

    def workers_of(self, seed: int) -> ProgressTable:
        """Return the table of A3C's workers, opened when it is first asked for."""
        if seed not in self.workers:
            self.workers[seed] = ProgressTable(self.dirs[seed] / directory.WORKERS, key="worker")
        return self.workers[seed]

    def add(self, seed: int, row: dict[str, Any], workers: Sequence[dict[str, Any]] = ()) -> None:
        """A row of progress.csv, and of A3C those of its workers."""
        self.tables[seed].append(row)
        if self.merged:
            self.merged.append({"seed": seed} | row)
        for of_worker in workers:
            self.workers_of(seed).append({"agent_steps": row["agent_steps"]} | of_worker)
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
