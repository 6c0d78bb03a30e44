"""Starts the processes that are measured, finds all processes below them, and reads their memory. Linux only."""

import contextlib
import ctypes
import os
import re
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import psutil

PR_SET_CHILD_SUBREAPER = 36
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def adopt_orphans() -> None:
    """Make orphans among our descendants our children, not init's: Ray's daemons stay countable, and can be ended."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def list_descendants() -> list[psutil.Process]:
    """Return the processes that this one, or one below it, has started and that still run."""
    return psutil.Process().children(recursive=True)


@contextlib.contextmanager
def run_process(
    command: list[str], folder: Path, log: Path, variables: Mapping[str, str] = MappingProxyType({})
) -> Iterator[subprocess.Popen]:
    """Run a command for as long as a `with` block lasts, and end all processes that it has started.

    Args:
        command: the program and its arguments.
        folder: its working directory.
        log: the file that takes its standard output and standard error.
        variables: what is added to its environment.

    Yields:
        The process. Processes that the caller had started before the block stay.
    """
    before = list_descendants()
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **variables}
    environment.pop("RAY_ADDRESS", None)  # never join a cluster that happens to run
    try:
        with log.open("wb") as out:
            # In a session of its own: Ctrl-C reaches only us, and we end the rest.
            yield subprocess.Popen(
                command, cwd=folder, env=environment, stdout=out, stderr=subprocess.STDOUT, start_new_session=True
            )
    finally:
        end_descendants(before)


def end_descendants(spared: list[psutil.Process]) -> None:
    """Ask the processes below this one to end, but those to be spared and theirs, kill what is left, each by pid; a
    second signal does not stop it."""
    handlers = {number: signal.signal(number, signal.SIG_IGN) for number in STOPPING}
    for end in (psutil.Process.terminate, psutil.Process.kill):
        kept = set(spared)
        for process in spared:
            with contextlib.suppress(psutil.NoSuchProcess):
                kept.update(process.children(recursive=True))
        for process in (remaining := [process for process in list_descendants() if process not in kept]):
            with contextlib.suppress(psutil.NoSuchProcess):
                end(process)
        psutil.wait_procs(remaining, timeout=10)
    for number, handler in handlers.items():
        signal.signal(number, handler)


def read_pss_mib(pid: int, with_files: bool = True) -> float:
    """Return the MiB of a process's own pages and of its share of those it shares; 0 if it has just ended.

    Args:
        pid: the process.
        with_files: whether pages of files count, such as those of libraries. A process's share of them grows when
            another one that uses the same files ends.
    """
    try:
        rollup = Path(f"/proc/{pid}/smaps_rollup").read_text()
    except OSError:
        return 0.0
    kib = {name: int(number) for name, number in re.findall(r"^(Pss\w*):\s+(\d+)", rollup, re.M)}
    return (kib["Pss"] - (0 if with_files else kib["Pss_File"])) / 1024
