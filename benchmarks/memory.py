"""Measures whether the memory of a run grows: it trains CartPole, with a row after every update.

    python -m benchmarks.memory                           # PPO, 10 minutes
    python -m benchmarks.memory --minutes 5 algo=a3c      # overrides are passed to the run

run.py -> its processes, PSS without files every 5 s -> MiB of each kind -> growth from the first third to the end

A run of 100 million agent steps has 50,000 rows with the default report_every=2000. The last line tells how many this
run had; PPO writes one per 1,024 agent steps. Linux only.
"""

import argparse
import sys
import tempfile
import time
from collections import defaultdict
from pathlib import Path

import psutil

from benchmarks.processes import list_descendants, read_pss_mib, run_process
from benchmarks.rounds import (
    ROOT,
    begin,
    parse_output_path,
    parse_positive,
    parse_with_overrides,
    read_tail,
    run_main,
    write_json,
)
from run_directory.progress_table import read_rows

INTERVAL_S = 5.0
ALLOWED_MIB = 5.0  # of growth, by all processes together
RUN = ("env=cartpole", "seed=1", "report_every=128", "stop.agent_steps=1_000_000_000")


def read_memory() -> dict[str, float]:
    """Return the MiB of all processes below this one, by what they are."""
    memory: dict[str, float] = defaultdict(float)
    for process in list_descendants():
        try:
            words = process.cmdline()
        except psutil.NoSuchProcess:
            continue
        name = "driver" if "run.py" in words else words[0].rpartition("/")[2] if words else "ended"
        name = name.partition(".")[0] if name.startswith("ray::") else name  # without the method that runs now
        is_named = name in ("driver", "raylet", "gcs_server") or name.startswith("ray::")
        memory[name if is_named else "others"] += read_pss_mib(process.pid, with_files=False)
    return memory


def watch(folder: Path, minutes: float, overrides: list[str]) -> tuple[list[dict[str, float]], int]:
    """Train for `minutes` from the first row on; return the memory and the number of rows.

    Returns:
        The MiB of each kind of process, every INTERVAL_S after the first third; and the rows of progress.csv.

    Raises:
        SystemExit: the run ended before its time; its log.
    """
    stop = f"stop.time_s={60 * minutes + 600:.0f}"  # where this process was killed
    typed = [sys.executable, "run.py", *RUN, stop, f"output_dir={folder}", *overrides]
    found, log = [], folder / "log.txt"
    with run_process(typed, ROOT, log) as process:
        while process.poll() is None and not list(folder.glob("*/*/*/progress.csv")):
            time.sleep(0.5)
        first_row_at = time.monotonic()
        while process.poll() is None and ((passed := time.monotonic() - first_row_at) < 60 * minutes or not found):
            if passed > 20 * minutes:
                found.append(read_memory())
            time.sleep(INTERVAL_S)
        if process.poll() is not None:
            raise SystemExit(f"{read_tail(log)}\n\nthe run ended before its time: exit code {process.returncode}")
        (progress,) = folder.glob("*/*/*/progress.csv")
        return found, len(list(read_rows(progress)))


def compute_ends(found: list[dict[str, float]]) -> dict[str, tuple[float, float]]:
    """Return the MiB of each kind of process in the first and in the last tenth of the samples, their means."""
    tenth, ends = max(1, len(found) // 10), {}
    for name in sorted(set().union(*found)):
        series = [memory.get(name, 0.0) for memory in found]
        ends[name] = sum(series[:tenth]) / tenth, sum(series[-tenth:]) / tenth
    return ends


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=parse_positive, default=10)
    parser.add_argument("--out", type=parse_output_path, default=str(Path("bench_out") / "memory.json"))
    settings, overrides = parse_with_overrides(parser)
    typed = overrides or ["algo=ppo"]
    result = begin()
    with tempfile.TemporaryDirectory(prefix="bench_") as folder:
        found, rows = watch(Path(folder), settings.minutes, typed)
    ends = compute_ends(found)
    print("| process | MiB after a third | MiB at the end | growth |\n|---|---:|---:|---:|")
    for name, (first, last) in ends.items():
        print(f"| {name} | {first:,.1f} | {last:,.1f} | {last - first:+,.1f} |")
    total = sum(max(0.0, last - first) for first, last in ends.values())  # what one gives back hides no other's growth
    print(f"\n{rows:,} rows; growth {total:+.1f} MiB: {'flat' if total < ALLOWED_MIB else 'it grows'}")
    result |= {"minutes": settings.minutes, "typed": typed, "rows": rows, "memory": found}
    write_json(result, settings.out)


if __name__ == "__main__":
    run_main(main)
