"""A Ray cluster of light hosts (`benchmarks/hosts.py`), and the suite's real command on it, row by row.

    start_cluster(n) -> hosts, the first is the head -> Run: python run.py cluster=ray ... -> rows of progress.csv

Every host has one CPU for env runners, and the head LEARNER_CPUS more, which fit nowhere else: so the training process
is on the head, and `spread` gives every host as many env runners. CPUs are only numbers, the cores are the machine's.
"""

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.hosts import PATIENCE_S, Host, Network, run_command
from benchmarks.rounds import ROOT, find_begun, read_tail, wait_output
from run_directory.progress_table import read_rows

LEARNER_CPUS = 2
PORT = 6379
QUIET_S, QUIET_BYTES = 0.05, 20_000  # a host that moves less in this time moves neither rollouts nor weights


@contextmanager
def start_cluster(num_hosts: int, folder: Path, learner_alone: bool = False) -> Iterator[list[Host]]:
    """Run Ray on so many light hosts for as long as a `with` block lasts, its logs in `folder`.

    Args:
        learner_alone: the head has no CPU for env runners.
    """
    with Network() as network:
        hosts = [network.switch_on(n + 1) for n in range(num_hosts)]
        for host in hosts:
            head, cpus = (None, LEARNER_CPUS + (not learner_alone)) if host is hosts[0] else (format_address(hosts), 1)
            host.start_ray(head, cpus, folder / "ray.txt", *([] if head else ["--include-dashboard=false"]))
        yield hosts


def format_address(hosts: list[Host]) -> str:
    """Return the address of a cluster, whose head is the first host."""
    return f"{hosts[0].address}:{PORT}"


def slow_down(host: Host, mbit_per_s: int) -> None:
    """Limit the cable of a host to so many million bits per second, each way."""
    bucket = ["root", "tbf", "rate", f"{mbit_per_s}mbit", "burst", "128kb", "latency", "200ms"]
    run_command("tc", "qdisc", "add", "dev", host.cable, *bucket)
    run_command("ip", "netns", "exec", host.name, "tc", "qdisc", "add", "dev", "eth0", *bucket)


def wait_quiet(host: Host) -> tuple[int, int]:
    """Wait until a host moves neither rollouts nor weights; return the bytes that it has received and sent so far."""
    before = host.read_traffic()
    while True:
        time.sleep(QUIET_S)
        now = host.read_traffic()
        if sum(now) - sum(before) < QUIET_BYTES:
            return now
        before = now


class Run:
    """A running `python run.py cluster=ray WORDS` on the head.

    Args:
        folder: an empty folder for its log and its run directory.
    """

    def __init__(self, hosts: list[Host], folder: Path, *words: str):
        self.log, self.folder = folder / "log.txt", folder
        command = [sys.executable, ROOT / "run.py", "cluster=ray", f"cluster.cpus={LEARNER_CPUS}", *words]
        command += ["seed=1", "evaluate=false", f"output_dir={folder / 'out'}"]
        variables = {"RAY_ADDRESS": format_address(hosts)}
        self.process: subprocess.Popen = hosts[0].start(*command, log=self.log, cwd=ROOT, variables=variables)

    def read_progress(self) -> list[dict[str, str]]:
        """Return the rows of progress.csv that are written so far."""
        found = find_begun(self.folder)
        if not found:
            return []
        return read_rows(found[0])

    def wait_rows(self, num_rows: int) -> list[dict[str, str]]:
        """Wait until progress.csv has so many rows; return all rows that it has then.

        Raises:
            SystemExit: the run ended before, or nothing came for too long; what it printed is the message.
        """
        until = time.monotonic() + PATIENCE_S
        while len(rows := self.read_progress()) < num_rows:
            if self.process.poll() is not None and len(self.read_progress()) < num_rows:
                wait_output(self.process, self.log)
                raise SystemExit(f"{self.log} ended with {len(self.read_progress())} of {num_rows} rows")
            if time.monotonic() > until:
                raise SystemExit(f"{read_tail(self.log)}\n\n{len(rows)} of {num_rows} rows within {PATIENCE_S} s")
            time.sleep(0.02)
        return rows

    def wait_end(self) -> list[dict[str, str]]:
        """Wait until the run has ended; return all rows."""
        wait_output(self.process, self.log)
        return self.read_progress()
