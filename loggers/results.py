"""Results for the runs at W&B and MLflow: evaluations, videos and pages, which are made after a training has ended.

files of a run directory that are new -> statistics as values, files as artifacts -> the run that the rows went to
"""

import math
import sys
from pathlib import Path
from typing import Any

from loggers.check import TENSORBOARD, refuse_unusable_loggers
from loggers.identity import read_identity
from loggers.run_logs import RunLogs
from run_directory.files import read_json, read_yaml
from run_directory.layout import CONFIG, RECORDINGS, list_seed_runs
from run_directory.writing import lock_folder
from settings.mistakes import Mistake, format_error

UPLOAD_S = 60.0  # that the end of a command waits for videos to be sent
PATTERNS = {  # kind of artifact -> its files
    "evaluation": ("checkpoints/evaluation_*.json",),
    "video": (f"{RECORDINGS}/*.mp4", f"{RECORDINGS}/*.webp", f"{RECORDINGS}/*.gif"),
    "page": ("page.html",),
}
STATISTICS = ("mean", "median", "iqm", "std")


def send_results(run: Path, since: float) -> None:
    """Send the evaluations, videos and pages that a command has made to W&B or MLflow, and print what went wrong.

    Args:
        run: a run directory, of one seed or several; its config.yaml names the loggers. Without W&B and MLflow among
            them, nothing is sent.
        since: when the command began, in seconds since 1970; only files that are newer are sent.
    """
    try:
        sentences = [sentence for one in list_seed_runs(run) for sentence in send_seed_results(one, since)]
    except (OSError, Mistake) as error:
        sentences = [f"{run}: its results were not sent to its loggers: {format_error(error)}"]
    for sentence in sentences:
        print(sentence, file=sys.stderr)  # the last line of standard output is the run directory


def send_seed_results(run: Path, since: float) -> list[str]:
    """Send the new results of one seed; return sentences for the user.

    Raises:
        Mistake: a file of the run directory is damaged, a logger cannot work, or the run is training.
        OSError: a file cannot be read or written.
    """
    settings, identity = read_yaml(run / CONFIG), read_identity(run)
    names = [name for name in settings.get("logger") or () if name != TENSORBOARD]
    files = {
        kind: sorted(path for pattern in patterns for path in run.glob(pattern) if path.stat().st_mtime >= since)
        for kind, patterns in PATTERNS.items()
    }
    if not names or identity is None or not any(files.values()):
        return []
    refuse_unusable_loggers({"logger": names})
    with lock_folder(run):  # a training sends its rows to the same run, and ends it
        logs = RunLogs({"logger": names}, run)
        logs.begin(run, sys.maxsize)
        values, steps = read_statistics(files["evaluation"])
        paths = {kind: [str(path) for path in found] for kind, found in files.items() if found}
        for name in logs.newest[run]:  # none where the run could not be opened
            logs.senders[name].send_results(str(run), values, paths, steps)
        logs.finish([run], failed=identity.get("failed", False))
        return logs.close(UPLOAD_S)


def read_statistics(evaluations: list[Path]) -> tuple[dict[str, float], int | None]:
    """Return the statistics of evaluations, such as `evaluation_best/greedy/mean`, and the agent steps of the newest.

    Raises:
        Mistake: a file is damaged.
    """
    values: dict[str, float] = {}
    steps = None
    for path in sorted(evaluations, key=lambda path: path.stat().st_mtime):
        result: dict[str, Any] = read_json(path, dict)
        steps = result.get("agent_steps", steps)
        for way in result.get("ways", ()):
            found = {f"{path.stem}/{way}/{name}": result.get(way, {}).get(name) for name in STATISTICS}
            values |= {name: value for name, value in found.items() if isinstance(value, int | float)}
    return {name: value for name, value in values.items() if math.isfinite(value)}, steps
