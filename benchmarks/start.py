"""Where does the time go between the command and the first row of progress.csv?

    python -m benchmarks.start                          # PPO on Assault, three times
    python -m benchmarks.start --rounds 5 algo=a3c      # overrides are passed to the run

run.py -> its processes, looked at every 20 ms -> when each station begins, s -> processor time until the first row, s

Ray writes into a worker's title which method it runs, and this reads it. Linux only.
"""

import sys
import time
from pathlib import Path

import psutil

from benchmarks.processes import list_descendants, run_process
from benchmarks.rounds import (
    ROOT,
    begin,
    find_begun,
    make_parser,
    measure_rounds,
    parse_with_overrides,
    run_alone,
    run_main,
)

INTERVAL_S = 0.02
# stop.time_s ends the run where this process was killed.
RUN = ("seed=1", "evaluate=false", "logger=null", "stop.agent_steps=1_000_000_000", "stop.time_s=600")
STATIONS = {  # the first process with such a title
    "gcs_server": "Ray's first process starts",
    "raylet": "Ray's node starts",
    "ray::TrainingProcess.__init__": "the training process is created: imports, envs, network",
    "ray::TrainingProcess.train": "it plays and learns",
}


def name_process(words: list[str]) -> str:
    """Return what a process is, from its command line: a key of STATIONS, `driver`, `ray::...`, or `Ray, the rest`."""
    if "run.py" in words:
        return "driver"
    name = words[0].rpartition("/")[2] if words else ""
    return name if name in STATIONS or name.startswith("ray::") else "Ray, the rest"


def watch(folder: Path, overrides: list[str]) -> dict[str, dict[str, float]]:
    """Start a run and end it at its first row.

    Returns:
        `began`: title -> when a process first had it, and `first row`, in seconds after the command. `used`: kind of
        process -> its processor time until the first row, in seconds.

    Raises:
        SystemExit: the run ended before its first row; its log.
    """
    log, began, used = folder / "log.txt", {}, {}
    command = [sys.executable, "run.py", *RUN, f"output_dir={folder / 'run'}", *overrides]
    start = time.monotonic()
    with run_process(command, ROOT, log) as process:
        while not find_begun(folder):
            if process.poll() is not None:
                raise SystemExit(log.read_text())
            for one in list_descendants():
                try:
                    name, times = name_process(one.cmdline()), one.cpu_times()
                except psutil.NoSuchProcess:
                    continue
                began.setdefault(name, time.monotonic() - start)
                used[one.pid] = (name, times.user + times.system)
            time.sleep(INTERVAL_S)
        began["first row"] = time.monotonic() - start
    return {"began": began, "used": sum_by_kind(used)}


def sum_by_kind(used: dict[int, tuple[str, float]]) -> dict[str, float]:
    """Return the seconds of all processes with the same title, workers without a task of the run among the rest."""
    sums: dict[str, float] = {}
    for name, seconds in used.values():
        kind = name.partition(".")[0] if name.startswith("ray::") else name
        kind = "Ray, the rest" if kind == "ray::IDLE" else kind
        sums[kind] = sums.get(kind, 0.0) + seconds
    return sums


def summarize(rounds: list[dict]) -> dict[str, list[float]]:
    """Return the lines of the table: label with unit -> one number per round."""
    lines = {f"{words}, s": [r["began"][title] for r in rounds] for title, words in STATIONS.items()}
    lines["first row of progress.csv, s"] = [r["began"]["first row"] for r in rounds]
    for kind in sorted({kind for r in rounds for kind in r["used"]}):
        lines[f"processor time until then, {kind}, s"] = [r["used"].get(kind, 0.0) for r in rounds]
    return lines


def main() -> None:
    settings, overrides = parse_with_overrides(make_parser(__doc__, "start.json"))
    typed = overrides or ["algo=ppo", "env=assault"]
    result = begin() | {"typed": typed}
    num_rounds = 1 if settings.quick else settings.rounds
    measure_rounds(
        result, num_rounds, lambda _: run_alone(lambda folder: watch(folder, typed)), summarize, settings.out
    )


if __name__ == "__main__":
    run_main(main)
