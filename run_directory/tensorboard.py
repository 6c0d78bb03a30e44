"""The files of a run for TensorBoard: a curve for each column of progress.csv."""

import math
import time
from pathlib import Path
from typing import Any

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
        from tensorboardX import event_file_writer  # here, because it imports torch, which takes a second
        from tensorboardX import proto as untyped

        proto: Any = untyped
        self._Event, self._Summary = proto.event_pb2.Event, proto.summary_pb2.Summary
        folder = run / TENSORBOARD / part
        folder.mkdir(parents=True, exist_ok=True)
        # The default name has whole seconds, so a restart within a second would overwrite the last file.
        self.events = event_file_writer.EventsWriter(str(folder / "events"), filename_suffix=f".{time.time_ns()}")
        start = proto.event_pb2.SessionLog(status=proto.event_pb2.SessionLog.START)
        self.events.write_event(self._Event(wall_time=time.time(), step=agent_steps, session_log=start))

    def add(self, row: dict[str, Any]) -> None:
        """Write a point of every curve and flush the file, so that no row is lost if the driver is killed."""
        points = {n: v for n, v in row.items() if n != "agent_steps" and math.isfinite(v)}
        values = [self._Summary.Value(tag=name, simple_value=value) for name, value in points.items()]
        summary = self._Summary(value=values)
        self.events.write_event(self._Event(wall_time=time.time(), step=row["agent_steps"], summary=summary))
        self.events.flush()

    def close(self) -> None:
        """Close the file."""
        self.events.close()
