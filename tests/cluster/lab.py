"""A Ray cluster of three hosts on this machine, a run on it, and a watch that says how long it stood still.

Lab: Redis -> head (no CPUs), two nodes -> the run's driver on a host -> progress.csv -> Watch
"""

import contextlib
import csv
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from benchmarks.hosts import GATEWAY, TOKEN, Host, Network

ROOT = Path(__file__).resolve().parents[2]
PORT = 6379
HEAD, FIRST, SECOND, SPARE = 1, 2, 3, 4  # hosts
CPUS = 6  # that a node offers: the run fits on one, should the other be lost
# What docs/cluster.md tells to set where the head is started: a silent node is given up after 12 s, not 65 s.
PATIENCE = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}
# Assault, with few enough steps and weights for two cores. Every update is a row; every few seconds a checkpoint.
WORDS = [
    "env=assault",
    "env.fire_on_life_loss=false",  # each update then counts equally many agent steps
    "model.hidden=64",
    "algo.num_envs=4",
    "algo.horizon=32",
    "algo.minibatch_size=64",
    "algo.num_epochs=1",
    "report_every=1",
    "checkpoint_every_s=3",
    "stop.agent_steps=100_000_000",
    "cluster=ray",
    "cluster.num_env_runners=4",
    "cluster.cpus_per_runner=0.5",
    "resume=auto",
    "trust=true",  # from whatever host
]


def wait_for(what: Callable, timeout_s: float = 240.0):
    """The first answer that is true."""
    end = time.monotonic() + timeout_s
    while not (answer := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.05)
    return answer


class Watch(threading.Thread):
    """Looks at a run's progress.csv ten times a second, from any host: they share the disk."""

    def __init__(self, outputs: Path):
        super().__init__(daemon=True)
        self.outputs, self.seen, self._over = outputs, [], threading.Event()
        self.start()

    def run(self) -> None:
        while not self._over.wait(0.1):
            steps = self.agent_steps()
            if steps and (not self.seen or steps != self.seen[-1][1]):
                self.seen.append((time.monotonic(), steps))

    def agent_steps(self) -> int:
        """In the last whole row; 0 without one."""
        for path in self.outputs.glob("ppo/assault/*/progress.csv"):
            with path.open(newline="") as file:
                rows = [row for row in csv.DictReader(file) if None not in row.values()]
            return int(float(rows[-1]["agent_steps"])) if rows else 0
        return 0

    def goes_on(self, rows: int = 5, timeout_s: float = 240.0) -> None:
        """Wait for some more rows."""
        end = len(self.seen) + rows
        wait_for(lambda: len(self.seen) >= end, timeout_s)

    def stall_s(self, since: float) -> float:
        """The longest time without a new row after a moment, of which there have been rows again."""
        times = [since, *(t for t, _ in self.seen if t > since)]
        return max(after - before for before, after in zip(times, times[1:], strict=False))

    def lost(self, since: float) -> int:
        """Agent steps that had to be played again."""
        steps = [steps for t, steps in self.seen if t > since - 10]
        return max([0, *(before - after for before, after in zip(steps, steps[1:], strict=False))])

    def stop(self) -> None:
        self._over.set()
        self.join()


class Lab:
    """See above. `outputs` is what all hosts share; the nodes have no checkout, only what it needs.

    Args:
        folder: for all of it.
        redis: whether the head keeps what it knows in one.
        cpus: that the two nodes offer.

    Attributes:
        start_s: seconds from the driver's start to the run's first row: the measure for what takes how long here.
    """

    def __init__(self, folder: Path, redis: bool = False, cpus: tuple[int, int] = (CPUS, CPUS)):
        self.outputs, self.log, self.printed = folder / "outputs", folder / "log", folder / "printed"
        self.outputs.mkdir(exist_ok=True)
        self.printed.touch()
        self.redis, self.cpus = redis, cpus
        self.net = Network(hide=ROOT)
        self.drivers: list[subprocess.Popen] = []

    def __enter__(self) -> "Lab":
        self.net.__enter__()
        try:
            if self.redis:
                self._start_redis()
            self.start_head()
            for n, cpus in zip((FIRST, SECOND), self.cpus, strict=True):
                self.start_node(n, cpus)
            wait_for(lambda: self.log.read_text().count("Ray runtime started") == 3)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_) -> None:
        self.net.__exit__()
        if self.redis:
            self.redis_server.kill()
            self.redis_server.wait()

    @property
    def address(self) -> str:
        return f"{self.net.address(HEAD)}:{PORT}"

    def _start_redis(self) -> None:
        where = ["--port", "6380", "--bind", self.net.address(GATEWAY), "--requirepass", TOKEN, "--save", ""]
        self.redis_server = subprocess.Popen(["redis-server", *where], stdout=subprocess.DEVNULL)

    def start_head(self) -> None:
        """The head, which places nothing on itself, and has the checkout."""
        words, variables = ["--include-dashboard=false"], dict(PATIENCE)
        if self.redis:
            words.append(f"--redis-password={TOKEN}")
            variables |= {"RAY_REDIS_ADDRESS": f"{self.net.address(GATEWAY)}:6380"}
            variables |= {"RAY_external_storage_namespace": self.net.name}
        self.net.switch_on(HEAD).start_ray(None, 0, self.log, *words, variables=variables)

    def start_node(self, n: int, cpus: int) -> None:
        """A node that is started again whenever it ends, as systemd does with deploy/ray-worker.service."""
        host = self.net.switch_on(n, hidden=not (self.redis and n == FIRST))  # where its driver is
        host.start_ray(self.address, cpus, self.log, supervised=True)

    def run(self, *words: str, on: int = HEAD) -> Watch:
        """Start the run's driver, and wait for some rows and a checkpoint."""
        self.on, self.words, began = on, words, time.monotonic()
        self.start_driver()
        watch = Watch(self.outputs)
        wait_for(lambda: list(self.outputs.glob("ppo/assault/*/checkpoints/previous")) or self.ended())
        assert not self.ended(), self.printed.read_text()
        self.start_s = watch.seen[0][0] - began
        watch.goes_on()
        return watch

    def start_driver(self) -> None:
        """The run's line, for the first time or once more: `resume=auto` is in it."""
        command = [sys.executable, ROOT / "run.py", *WORDS, f"output_dir={self.outputs}", *self.words]
        command.append(f"cluster.address={self.address}")
        host = self.net.hosts[self.on]
        self.drivers.append(host.start(*command, log=self.printed, cwd=ROOT, variables={"PYTHONPATH": str(ROOT)}))

    def kill_driver(self) -> None:
        """kill -9, and what it started with it is left to Ray."""
        for process in psutil.Process(self.drivers[-1].pid).children(recursive=True):
            process.kill()
        self.drivers[-1].wait(30)

    def run_directory(self) -> Path:
        """The one that the run has, wherever its processes are."""
        (path,) = self.outputs.glob("ppo/assault/*")
        return path

    def nodes_alive(self) -> int:
        """As Ray sees it."""
        ask = "import ray; ray.init(logging_level='ERROR'); print('alive:', sum(n['Alive'] for n in ray.nodes()))"
        log = self.outputs.parent / f"nodes_{time.monotonic()}"
        self.net.hosts[HEAD].run(sys.executable, "-c", ask, log=log, variables={"RAY_ADDRESS": self.address})
        return int(log.read_text().rpartition("alive: ")[2].split()[0])

    def ended(self) -> bool:
        return self.drivers[-1].poll() is not None

    def process(self, title: str, on: int | None = None) -> psutil.Process:
        """A Ray actor by its title, on one of the nodes or on any."""
        for host in self.net.hosts.values():
            if on in (None, host.n):
                for process in host.list_processes():
                    with contextlib.suppress(psutil.Error):
                        if " ".join(process.cmdline()).startswith(f"ray::{title}"):
                            return process
        raise AssertionError(f"no {title}")

    def host_of(self, title: str) -> Host:
        """The node that has an actor."""
        for host in self.net.hosts.values():
            with contextlib.suppress(AssertionError):
                self.process(title, host.n)
                return host
        raise AssertionError(f"no {title}")
