"""What a viewer costs: PPO trains on Assault on all cores, while a page watches a game and while none does, in turn.

    python -m benchmarks.watching --pairs 8

A measurement is bounded by rows of progress.csv, and the first two rows after each change are left out. The viewer is a
WebSocket client that takes the pictures of one game as the page does; a browser that draws them takes time of its own.
"""

import argparse
import asyncio
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import aiohttp

from benchmarks.processes import run_process
from benchmarks.rounds import ROOT, begin, parse_count, read_tail, run_main
from run_directory.layout import PROGRESS_CSV, checkpoint_path
from run_directory.progress_table import read_rows

ROWS = 5  # of progress.csv, in one measurement
WAIT_S = 300
LOG = "training.log"
RUN = [sys.executable, str(ROOT / "run.py")]


def wait_rows(run: Path, more: int) -> tuple[float, float]:
    """Wait until progress.csv has so many more rows; return the agent steps and the training time of the last, in s."""
    path, end = run / PROGRESS_CSV, time.monotonic() + WAIT_S
    wanted = (len(read_rows(path)) if path.exists() else 0) + more
    while not path.exists() or len(rows := read_rows(path)) < wanted:
        if time.monotonic() > end:
            sys.exit(f"no new row in {path} for {WAIT_S} s")
        time.sleep(0.2)
    return float(rows[-1]["agent_steps"]), float(rows[-1]["wall_time_s"])


def measure_speed(run: Path) -> float:
    """Return the agent steps per second of a run that trains, over ROWS rows."""
    (steps, seconds), (steps_after, seconds_after) = wait_rows(run, 2), wait_rows(run, ROWS)
    return (steps_after - steps) / (seconds_after - seconds)


def measure_watched_speed(run: Path, address: str) -> tuple[float, float]:
    """Return the speed of a run while a game is watched, and how many of the game's 15 agent steps came per second."""
    over, shown = threading.Event(), []

    async def watch() -> None:
        async with aiohttp.ClientSession() as session, session.ws_connect(address, max_msg_size=0) as page:
            while not over.is_set():
                message = await page.receive(timeout=WAIT_S)
                if message.type == aiohttp.WSMsgType.BINARY:  # text is a note about the run
                    shown.append(time.monotonic())
                elif message.type != aiohttp.WSMsgType.TEXT:
                    sys.exit(f"the page was closed: {message}")

    with ThreadPoolExecutor(1) as pool:
        viewer = pool.submit(asyncio.run, watch())
        try:
            speed, end = measure_speed(run), time.monotonic()
        finally:
            over.set()
        viewer.result()  # raises what has ended it
    if not shown:
        sys.exit("the page has shown no picture")
    return speed, sum(moment <= end for moment in shown) / (end - shown[0])


def wait_checkpoint(training: subprocess.Popen, folder: Path) -> Path:
    """Return the run directory of a training that has just been started, once its first checkpoint is there."""
    end = time.monotonic() + WAIT_S
    while (
        not (runs := [*folder.glob("ppo/assault/*/progress.csv")])
        or not checkpoint_path(runs[0].parent, "last").exists()
    ):
        if time.monotonic() > end:
            sys.exit(f"no checkpoint after {WAIT_S} s")
        if training.poll() is not None:
            sys.exit(f"{read_tail(folder / LOG)}\n\nthe training ended: exit code {training.returncode}")
        time.sleep(1)
    return runs[0].parent


def main() -> None:
    """Measure pairs, the order reversed each time, and print the ratio of each and of the means."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pairs", type=parse_count, default=8)
    pairs = parser.parse_args().pairs
    begin()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [
            "algo=ppo",
            "env=assault",
            "evaluate=false",
            "page=false",
            "checkpoint_every_s=10",
            f"output_dir={folder}",
        ]
        with run_process([*RUN, *words], folder, folder / LOG) as training:
            run = wait_checkpoint(training, folder)
            server = subprocess.Popen([*RUN, "command=watch", f"run={run}"], stdout=subprocess.PIPE, text=True)
            assert server.stdout is not None
            lines = (re.search(r"http://\S+token=\S+", line) for line in server.stdout)
            if (found := next(filter(None, lines), None)) is None:
                sys.exit("command=watch ended without an address")
            address = found[0].replace("http:", "ws:").replace("/?", "/play?run=.&")
            watched, alone, shown = [], [], []
            for number in range(pairs):
                for watching in (number % 2 == 0, number % 2 == 1):
                    if watching:
                        speed, rate = measure_watched_speed(run, address)
                        watched.append(speed)
                        shown.append(rate)
                    else:
                        alone.append(measure_speed(run))
                print(f"{watched[-1]:.0f} / {alone[-1]:.0f} = {watched[-1] / alone[-1]:.3f}", flush=True)
    ratios = [one / other for one, other in zip(watched, alone, strict=True)]
    means = statistics.mean(watched), statistics.mean(alone)
    print(
        f"agent steps/s watched / not: mean {means[0]:.0f} / {means[1]:.0f}, ratio {means[0] / means[1]:.3f},", end=" "
    )
    print(f"median of the pairs {statistics.median(ratios):.3f}")
    print(f"agent steps of the game shown per second: {statistics.mean(shown):.1f} of 15")


if __name__ == "__main__":
    run_main(main)
