"""The files of a run for TensorBoard: a curve for each column of progress.csv, and the values of a search's trial."""

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
    """Writes the curves of a run, in the calling thread.

    SummaryWriter is not used, because it writes in a thread of its own and waits forever after a full disk.

    Args:
        run: the run directory.
        agent_steps: the agent steps at which the curves begin. TensorBoard hides later points of older files.
        part: the name of a folder of its own, which TensorBoard shows as another run.
    """

    def __init__(self, run: Path, agent_steps: int, part: str = ""):
        folder = run / TENSORBOARD / part
        folder.mkdir(parents=True, exist_ok=True)
        # The default name has whole seconds, so a restart within a second would overwrite the last file.
        self.events = EventsWriter(str(folder / "events"), filename_suffix=f".{time.time_ns()}")
        start = SessionLog(status=SessionLog.START)
        self.events.write_event(Event(wall_time=time.time(), step=agent_steps, session_log=start))

    def add(self, row: dict[str, Any]) -> None:
        """Write a point of every curve and flush the file, so that no row is lost if the driver is killed."""
        points = {n: v for n, v in row.items() if n != "agent_steps" and math.isfinite(v)}
        summary = Summary(value=[Summary.Value(tag=name, simple_value=value) for name, value in points.items()])
        self.events.write_event(Event(wall_time=time.time(), step=row["agent_steps"], summary=summary))
        self.events.flush()

    def close(self) -> None:
        """Close the file."""
        self.events.close()


def write_hparams(run: Path, values: dict[str, Any], score: float) -> None:
    """Write the values of a trial and its final score, which TensorBoard shows under HParams."""
    with SummaryWriter(str(run / TENSORBOARD)) as writer:
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
        writer.add_hparams(plain, {"score": score}, name="hparams")
