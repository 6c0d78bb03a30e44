"""A Ray cluster of light hosts (`benchmarks/hosts.py`), and the suite's real command on it, row by row.

    cluster_of(n) -> hosts, the first is the head -> Run: python run.py cluster=ray ... -> rows of progress.csv

Every host has one CPU for env runners, and the head LEARNER_CPUS more, which fit nowhere else: so the training process
is on the head, and `spread` gives every host as many env runners. CPUs are only numbers, the cores are the machine's.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.hosts import PATIENCE_S, Host, Network, call
from benchmarks.rounds import ROOT, finished, has_row, read_tail
from run_directory.layout import PROGRESS_CSV
from run_directory.progress_table import read_rows

LEARNER_CPUS = 2
PORT = 6379
QUIET_S, QUIET_BYTES = 0.05, 20_000  # a host that moves less in this time moves neither rollouts nor weights


@contextmanager
def cluster_of(num_hosts: int, folder: Path, learner_alone: bool = False) -> Iterator[list[Host]]:
    """Ray on so many hosts, logs in `folder`.

    Args:
        learner_alone: the head has no CPU for env runners.
    """
    with Network() as network:
        hosts = [network.up(n + 1) for n in range(num_hosts)]
        for host in hosts:
            head, cpus = (None, LEARNER_CPUS + (not learner_alone)) if host is hosts[0] else (address(hosts), 1)
            host.ray(head, cpus, folder / "ray.txt", *([] if head else ["--include-dashboard=false"]))
        yield hosts


def address(hosts: list[Host]) -> str:
    """Of the cluster whose head is the first of them."""
    return f"{hosts[0].address}:{PORT}"


def slow_down(host: Host, mbit_per_s: int) -> None:
    """Limit a host's cable to so many million bits per second, each way."""
    bucket = ["root", "tbf", "rate", f"{mbit_per_s}mbit", "burst", "128kb", "latency", "200ms"]
    call("tc", "qdisc", "add", "dev", host.cable, *bucket)
    call("ip", "netns", "exec", host.name, "tc", "qdisc", "add", "dev", "eth0", *bucket)


def settled(host: Host) -> tuple[int, int]:
    """Bytes received and sent so far, read while its env runners play and nothing large is under way."""
    before = host.traffic()
    while True:
        time.sleep(QUIET_S)
        now = host.traffic()
        if sum(now) - sum(before) < QUIET_BYTES:
            return now
        before = now


class Run:
    """`python run.py cluster=ray WORDS` on the head, while it goes.

    Args:
        folder: empty; for its log and its run directory.
    """

    def __init__(self, hosts: list[Host], folder: Path, *words: str):
        self.log, self.folder = folder / "log.txt", folder
        command = [sys.executable, ROOT / "run.py", "cluster=ray", f"cluster.cpus={LEARNER_CPUS}", *words]
        command += ["seed=1", "evaluate=false", f"output_dir={folder / 'out'}"]
        variables = {"RAY_ADDRESS": address(hosts)}
        self.process: subprocess.Popen = hosts[0].start(*command, log=self.log, cwd=ROOT, variables=variables)

    def rows(self) -> list[dict[str, str]]:
        """Of progress.csv, as far as it is written."""
        found = [path for path in self.folder.rglob(PROGRESS_CSV) if has_row(path)]
        if not found:
            return []
        return read_rows(found[0])

    def after(self, num_rows: int) -> list[dict[str, str]]:
        """Wait until progress.csv has so many rows; return all that it has then.

        Raises:
            SystemExit: the run ended before, or nothing came for too long; what it printed is the message.
        """
        until = time.monotonic() + PATIENCE_S
        while len(rows := self.rows()) < num_rows:
            if self.process.poll() is not None and len(self.rows()) < num_rows:
                finished(self.process, self.log)
                raise SystemExit(f"{self.log} ended with {len(self.rows())} of {num_rows} rows")
            if time.monotonic() > until:
                raise SystemExit(f"{read_tail(self.log)}\n\n{len(rows)} of {num_rows} rows within {PATIENCE_S} s")
            time.sleep(0.02)
        return rows

    def end(self) -> list[dict[str, str]]:
        """Wait for its end; all rows."""
        finished(self.process, self.log)
        return self.rows()
