"""The curves of a run that still trains, for the page that watches it; a table that has grown is read again."""

import time
from pathlib import Path
from typing import Any

from environments.screen import Pace, format_duration
from playing.saved_settings import read_run_settings
from run_directory.layout import PROGRESS_CSV
from settings.mistakes import Mistake

MAX_READING_SHARE = 0.02  # of the time that may be spent on reading one table again
POINTS = 50  # of the small curve in a tile


class WatchCurves:
    """The curves of one run of one seed.

    Args:
        run: the run directory.
    """

    def __init__(self, run: Path):
        self._run = run
        self._state, self._next_read, self._content = None, 0.0, {}

    def read_content(self) -> dict[str, Any]:
        """Return the data that the page draws for the run; read the table again if it has grown.

        Returns:
            The curves, see `read_curves`; `title`; `budget`, the agent steps of the whole run; `progress`, see
            `measure_progress`; `note`, what is wrong with the files; and `age_s`, seconds since the table was written.
        """
        from pages.run_facts import make_title, read_curves  # takes seconds

        path = self._run / PROGRESS_CSV
        try:
            found = path.stat()
            state, age = (found.st_ino, found.st_size, found.st_mtime_ns), max(0.0, time.time() - found.st_mtime)
        except OSError:
            state, age = None, None
        if not self._content or (state != self._state and time.monotonic() >= self._next_read):
            began = time.monotonic()
            try:
                settings = read_run_settings(self._run)
                stop, curves = settings.get("stop", {}), read_curves(settings, self._run)
                facts = {"title": make_title(settings), "budget": stop.get("agent_steps"), "note": ""}
                self._content = facts | curves | {"progress": measure_progress(stop, curves["axes"])}
            except (Mistake, OSError) as error:  # the files may be incomplete because they are being written
                self._content = {"curves": [], "title": self._run.name} | self._content | {"note": str(error)}
                state = ("unread",)  # of no table: it is read again, since the fault may be mended in another file
            spent = time.monotonic() - began
            self._state, self._next_read = state, time.monotonic() + spent / MAX_READING_SHARE
        return self._content | {"age_s": age}

    def summarize(self) -> dict[str, Any]:
        """Return the data of a tile: the last agent steps, score and speed, and about POINTS of the score curve."""
        from pages.run_facts import CURVES

        content = self.read_content()
        summary = {"note": content["note"], "age_s": content["age_s"], "budget": content.get("budget")}
        summary["progress"] = content.get("progress")
        if not content["curves"]:
            return summary | {"agent_steps": None, "score": None, "speed": None, "xs": [], "ys": []}
        xs, ys = content["axes"]["agent_steps"], content["curves"][0]["values"]
        speed = next(
            (one["values"][-1] for one in content["curves"] if one["name"] == CURVES["agent_steps_per_s"]), None
        )
        every = max(1, len(xs) // POINTS)
        curve = {"xs": xs[::-every][::-1], "ys": ys[::-every][::-1]}
        return summary | {"agent_steps": xs[-1], "score": ys[-1], "speed": speed} | curve


def measure_progress(stop: dict[str, Any], axes: dict[str, list[float]]) -> dict[str, Any] | None:
    """Return how far a run has come, as the terminal of its training shows it.

    Args:
        stop: the `stop.` settings of the run.
        axes: `agent_steps` and `wall_time_s` of its rows.

    Returns:
        `share`, from 0 to 1, of the agent steps or of the time, the larger one; `of`, what it is a share of, in words;
        and `left`, the time left in words. None before the first row, and for a run without a budget.
    """
    from runs.display import Display

    total, time_s = stop.get("agent_steps"), stop.get("time_s")
    if not total or not axes["agent_steps"]:
        return None
    row, pace = {name: values[-1] for name, values in axes.items()}, Pace()
    for steps, seconds in zip(axes["agent_steps"], axes["wall_time_s"], strict=True):
        pace.add(steps, seconds)
    display = Display([], total, time_s)
    share = display.compute_share(row)
    of = f"{total:,} agent steps"
    if time_s is not None and row["wall_time_s"] / time_s > row["agent_steps"] / total:
        of = f"the {format_duration(time_s)} of training that stop.time_s allows"
    return {"share": share, "of": of, "left": display.estimate_left(row, pace) if share < 1 else None}
