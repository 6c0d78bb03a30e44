"""Tiny runs, as a user starts them, and somebody who kills their processes."""

import contextlib
import csv
import io
import os
import re
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

import run
from runs.interrupt import Interrupt
from runs.tuning import WaitTimer

ROLLOUT = 256  # agent steps; some less count, as CartPole's vector ignores the action that follows a game's end
REPORT_EVERY = 200  # so each rollout is a row
# Seconds of training on CartPole: every report leaves a checkpoint, so there is a last, a previous and a best one.
TINY = [
    "env=cartpole",
    "algo.num_envs=4",
    "algo.horizon=64",
    "algo.minibatch_size=64",
    "algo.num_epochs=1",
    "cluster.cpus=1",
    f"report_every={REPORT_EVERY}",
    "checkpoint_every_s=0.01",
]
RESTARTED = "starting again"  # printed where a trial goes on from its last checkpoint after its process died


def go(*argv: str) -> tuple[int, str]:
    """Type it; returns the exit code and everything printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = run.main(list(argv))
    return code, printed.getvalue()


def directory_in(printed: str) -> Path:
    """The run directory, as a script would read it: from the last line."""
    words, _, path = printed.splitlines()[-1].partition(": ")
    assert words == "run directory"
    return Path(path)


def starts_in(printed: str) -> dict[int, int]:
    """Seed -> the agent steps that it continues at: in what a resume prints, the lines with no number besides."""
    found = re.findall(r"^seed (\d+) [^\d\n]+([\d,]+) agent steps\b[^\d\n]*$", printed, re.MULTILINE)
    return {int(seed): int(steps.replace(",", "")) for seed, steps in found}


def rows_of(run_directory: Path, seed: int | None = None) -> list[dict[str, float]]:
    """progress.csv as numbers, read without this suite."""
    with open(run_directory / "progress.csv", newline="") as file:
        rows = [{name: float(value or "nan") for name, value in row.items()} for row in csv.DictReader(file)]
    return [row for row in rows if seed is None or row["seed"] == seed]


def assert_no_gap_and_no_double(rows: list[dict[str, float]]) -> None:
    """Every step from 0 on is covered by exactly one row: a report, and at most the rollout that went beyond it. What a
    killed process did beyond its checkpoint is gone: neither the clock nor the number of games falls."""
    steps = [0.0, *(row["agent_steps"] for row in rows)]
    jumps = [after - before for before, after in zip(steps, steps[1:], strict=False)]
    assert min(jumps) > 0, f"a double row: {steps}"
    assert max(jumps) <= REPORT_EVERY + ROLLOUT, f"a gap: {steps}"
    for name in ("wall_time_s", "episodes"):
        values = [row[name] for row in rows]
        assert values == sorted(values), f"{name} falls: {values}"


def send_sigterm_once_told_to_wait(monkeypatch) -> None:
    """Send it to this process a second after a run or a search has said that nothing runs."""
    runs_out = WaitTimer.runs_out

    def say_and_send(timer: WaitTimer, trials: list) -> bool:
        told = runs_out(timer, trials)
        if told:
            threading.Timer(1.0, send_to_self, (signal.SIGTERM,)).start()
        return told

    monkeypatch.setattr("runs.tuning.WAIT_S", 1.0)
    monkeypatch.setattr(WaitTimer, "runs_out", say_and_send)


def processes_below(pid: int | None = None) -> list[psutil.Process]:
    """All that this process (or another) has started, and all that they have."""
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def names_of(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""


def wait_for(what: Callable, timeout_s: float = 120.0):
    """The first answer that is true."""
    end = time.monotonic() + timeout_s
    while not (answer := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return answer


RUNS = "ppo/*/*/progress.csv"


def lines_in(outputs: Path, with_checkpoint: bool = True, pattern: str = RUNS) -> int:
    """How many whole lines the run below `outputs` has in its progress.csv, once it has a checkpoint; else 0."""
    for table in sorted(outputs.glob(pattern)):
        if not with_checkpoint or (table.parent / "checkpoints" / "last").is_dir():
            return table.read_bytes().count(b"\n")
    return 0


class Disturbance(threading.Thread):
    """Waits until a run below `outputs` has some rows and a checkpoint, then acts, once."""

    def __init__(self, outputs: Path, act: Callable[[], bool], with_checkpoint: bool = True, pattern: str = RUNS):
        super().__init__(daemon=True)
        self.outputs, self.act, self.with_checkpoint, self.pattern = outputs, act, with_checkpoint, pattern
        self.happened_at: int | None = None  # lines of progress.csv when it did
        self.first_row: dict[str, float] = {}  # of progress.csv then
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.02):
            lines = lines_in(self.outputs, self.with_checkpoint, self.pattern)
            if lines >= 4 and self.act():
                self.happened_at = lines
                self.first_row = rows_of(sorted(self.outputs.glob(self.pattern))[0].parent)[0]
                return

    def __enter__(self) -> "Disturbance":
        self.start()
        return self

    def __exit__(self, *_) -> None:
        self._over.set()
        self.join()


def kill_actor(name: str) -> bool:
    """kill -9 the Ray actor of this pytest process whose title starts so, if it is there."""
    for process in processes_below():
        if names_of(process).startswith(f"ray::{name}"):
            process.kill()
            return True
    return False


def kill_driver(driver: subprocess.Popen) -> None:
    """kill -9 a run in a process of its own, and what its Ray leaves behind: nobody else's."""
    below = processes_below(driver.pid)
    driver.kill()
    driver.wait()
    for process in below:
        if process.is_running() and "ray" in names_of(process):
            process.kill()
    time.sleep(1)


def send_to_self(number: int) -> bool:
    """A signal to this process, but only while a run listens to it."""
    if signal.getsignal(number) != Interrupt.request_stop:
        return False
    os.kill(os.getpid(), number)
    return True
