"""What a run leaves for TensorBoard: a curve for each column of progress.csv, and the values of a search's trial."""

import math
import time
from pathlib import Path
from typing import Any

from tensorboardX import SummaryWriter
from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog  # pyright: ignore[reportAttributeAccessIssue]
from tensorboardX.proto.summary_pb2 import Summary  # pyright: ignore[reportAttributeAccessIssue]

from run_directory.layout import TENSORBOARD


class CurveWriter:
    """Writes the curves of a run in the calling thread: SummaryWriter leaves that to a thread of its own, and waits for
    ever once that thread has met a full disk.

    Args:
        run: the run directory.
        agent_steps: where the curves begin; TensorBoard hides the points of older files from there on.
    """

    def __init__(self, run: Path, agent_steps: int):
        folder = run / TENSORBOARD
        folder.mkdir(exist_ok=True)
        # Its own name has whole seconds; a process that starts again within one would write over the last file.
        self.events = EventsWriter(str(folder / "events"), filename_suffix=f".{time.time_ns()}")
        start = SessionLog(status=SessionLog.START)
        self.events.write_event(Event(wall_time=time.time(), step=agent_steps, session_log=start))

    def add(self, row: dict[str, Any]) -> None:
        """Write a point of every curve at once, so that a killed driver leaves every row that is in progress.csv."""
        points = {n: v for n, v in row.items() if n != "agent_steps" and math.isfinite(v)}
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in points.items()])
        self.events.write_event(Event(wall_time=time.time(), step=row["agent_steps"], summary=summary))
        self.events.flush()

    def close(self) -> None:
        """Close the file."""
        self.events.close()


def write_hparams(run: Path, values: dict[str, Any], score: float) -> None:
    """Write what TensorBoard shows under HParams: the values that a trial was given, and the score it ended with."""
    with SummaryWriter(str(run / TENSORBOARD)) as writer:
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
        writer.add_hparams(plain, {"score": score}, name="hparams")
