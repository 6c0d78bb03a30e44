"""Light hosts on one Linux machine, for a Ray cluster whose nodes can be cut off, switched off and measured.

    Network -> Host: an address, processes that only it sees, a /tmp/ray and /dev/shm of its own -> ray start

A host is a set of Linux namespaces (network, mount, process, host name, shared memory) behind a network cable. Its disk
is the machine's, as if all hosts had it on NFS, but for the directories that `hide` names. Needs root and iproute2.
"""

import contextlib
import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import psutil

PRIVATE = ("/tmp/ray", "/dev/shm")  # of each host: Ray's session, shared memory
GATEWAY = 254  # the last number of the machine's own address
SHARED_MEMORY = 300 * 2**20  # bytes of Ray's object store on a host
PATIENCE_S = 120  # with a command on a host
NOTHING: Mapping[str, str] = MappingProxyType({})
TOKEN = "0123456789abcdef" * 4


def explain_missing() -> str | None:
    """Return why this machine can have no light hosts; None where it can."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "hosts are Linux namespaces, which only root can make"
    tools = [tool for tool in ("ip", "tc", "unshare", "nsenter", "mount") if shutil.which(tool) is None]
    return f"hosts need {' and '.join(tools)}: apt-get install iproute2 util-linux" if tools else None


def run_command(*words: str) -> str:
    """Run a command and return what it printed."""
    return subprocess.run(words, check=True, capture_output=True, text=True, timeout=30).stdout


class Network:
    """A network switch with hosts, 10.77.K.0/24 where K is the first that is free; its hosts end with it.

    Args:
        hide: a directory that the hosts do not have; what this Python needs of it stays.
    """

    def __init__(self, hide: Path | None = None):
        self.hide, self.hosts = hide, {}
        self.number = next(k for k in range(1, 255) if not Path(f"/sys/class/net/rl{k}").exists())
        self.name = f"rl{self.number}"

    def __enter__(self) -> "Network":
        run_command("ip", "link", "add", self.name, "type", "bridge")
        run_command("ip", "addr", "add", f"{self.address(GATEWAY)}/24", "dev", self.name)
        run_command("ip", "link", "set", self.name, "up")
        return self

    def __exit__(self, *_) -> None:
        with contextlib.ExitStack() as stack:  # which goes on where one of them fails
            stack.callback(run_command, "ip", "link", "del", self.name)
            for host in list(self.hosts.values()):
                stack.callback(host.switch_off)

    def address(self, n: int) -> str:
        """Return the IP address of host n."""
        return f"10.77.{self.number}.{n}"

    def host_name(self, n: int) -> str:
        """Return the name of host n."""
        return f"{self.name}h{n}"

    def switch_on(self, n: int, hidden: bool = False) -> "Host":
        """Switch host n on (1 to 253); a `hidden` one lacks the directory `hide`."""
        self.hosts[n] = Host(self, n, self.hide if hidden else None)
        return self.hosts[n]


class Host:
    """A light host that is switched on."""

    def __init__(self, network: Network, n: int, hide: Path | None):
        self.network, self.n, self.address = network, n, network.address(n)
        self.name, self.cable = network.host_name(n), f"{network.name}c{n}"
        self.power: Any = None  # the process that holds the namespaces, and the first one in them
        self.init: Any = None
        try:
            self._switch_on(hide)
        except BaseException:  # nothing of it is left behind
            self.switch_off()
            raise

    def _switch_on(self, hide: Path | None) -> None:
        """Make the namespaces and the cable, and start the first process."""
        network = self.network
        run_command("ip", "netns", "add", self.name)
        run_command("ip", "link", "add", self.cable, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        run_command("ip", "link", "set", self.cable, "master", network.name, "up")
        run_command("ip", "-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for device in ("eth0", "lo"):
            run_command("ip", "-n", self.name, "link", "set", device, "up")
        run_command("ip", "-n", self.name, "route", "add", "default", "via", network.address(GATEWAY))
        etc = Path("/etc/netns", self.name)
        etc.mkdir(parents=True, exist_ok=True)
        # All names are here, and who asks for others is refused at once: while no name server could be reached,
        # learners took 10 to 20 s longer to find each other.
        names = [f"{network.address(k)} {network.host_name(k)}\n" for k in range(1, GATEWAY + 1)]
        (etc / "hosts").write_text("127.0.0.1 localhost\n" + "".join(names))
        (etc / "resolv.conf").write_text("nameserver 127.0.0.1\n")
        own = ["--mount", "--pid", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc"]
        power = ["ip", "netns", "exec", self.name, "unshare", *own, "bash", "-ec", self._boot(hide)]
        self.power = subprocess.Popen(power, stdout=subprocess.PIPE, text=True, start_new_session=True)
        assert self.power.stdout.readline() == "up\n"
        (self.init,) = psutil.Process(self.power.pid).children()

    def _boot(self, hide: Path | None) -> str:
        """Return the script of the host's first process: it mounts private directories, then only waits."""
        lines = ["mount --make-rprivate /", f"hostname {self.name}"]
        for path in PRIVATE:
            lines.append(f"mkdir -p {path} && mount -t tmpfs -o size=2g tmpfs {path}")
        if hide:
            kept = [sys.prefix] if Path(sys.prefix).is_relative_to(hide) else []
            lines += [f"mount --bind {path} /mnt" for path in kept]
            lines += [f"mount -t tmpfs tmpfs {hide}"]
            lines += [f"mkdir -p {path} && mount --move /mnt {path}" for path in kept]
        return "; ".join([*lines, "echo up", "while :; do sleep 100000; done"])

    def start(
        self, *words: str | Path, log: Path, cwd: Path = Path("/"), variables: Mapping[str, str] = NOTHING
    ) -> subprocess.Popen:
        """Start a process on the host, with this Python and the `ray` beside it; its output goes to `log`."""
        path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
        token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": TOKEN, "RAY_USAGE_STATS_ENABLED": "0"}
        env = [f"{k}={v}" for k, v in {"PATH": path, "HOME": "/tmp/ray", **token, **variables}.items()]
        into = ["nsenter", "-t", str(self.init.pid), "-m", "-p", "-u", "-i", "-n", "--"]
        # Nothing of our own environment: it may know of another Ray.
        command = [*into, "env", "-i", f"--chdir={cwd}", *env, *map(str, words)]
        with log.open("ab") as out:
            return subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True)

    def run(self, *words: str | Path, log: Path, variables: Mapping[str, str] = NOTHING) -> None:
        """Run a command on the host and wait for its end.

        Raises:
            RuntimeError: it failed; its output is the message.
        """
        if self.start(*words, log=log, variables=variables).wait(PATIENCE_S):
            raise RuntimeError(f"{self.name}: {' '.join(map(str, words))}\n{log.read_text()}")

    def start_ray(
        self,
        head: str | None,
        cpus: int,
        log: Path,
        *options: str,
        variables: Mapping[str, str] = NOTHING,
        supervised: bool = False,
    ) -> None:
        """Run `ray start` on the host.

        Args:
            head: the address of the head that it joins; None: it becomes a head.
            cpus: the CPUs that it offers to Ray, whatever this machine has.
            supervised: whether it is started again whenever it ends.
        """
        where = [f"--address={head}"] if head else ["--head", "--port=6379"]
        flags = ["--disable-usage-stats", f"--object-store-memory={SHARED_MEMORY}", f"--num-cpus={cpus}"]
        words = ["ray", "start", *where, f"--node-ip-address={self.address}", *flags, *options]
        if supervised:
            loop = f"while :; do {shlex.join(words)} --block; sleep 1; done"
            self.start("bash", "-c", loop, log=log, variables=variables)
        else:
            self.run(*words, log=log, variables=variables)

    def cut_cable(self) -> None:
        """Pull the network cable."""
        run_command("ip", "link", "set", self.cable, "down")

    def mend_cable(self) -> None:
        """Plug the network cable in again."""
        run_command("ip", "link", "set", self.cable, "up")

    def switch_off(self) -> None:
        """Cut the power: the cable goes first, so that no other host hears its processes die."""
        with contextlib.suppress(subprocess.CalledProcessError):
            run_command("ip", "link", "del", self.cable)
        if self.power:
            self.power.kill()
            self.power.wait()
        while self.init and self.init.is_running() and self.init.status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        if Path("/run/netns", self.name).exists():
            run_command("ip", "netns", "del", self.name)
        shutil.rmtree(Path("/etc/netns", self.name), ignore_errors=True)
        self.network.hosts.pop(self.n, None)

    def list_processes(self) -> list[psutil.Process]:
        """Return the processes of the host."""
        space = os.readlink(f"/proc/{self.init.pid}/ns/pid")
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(OSError, psutil.Error):
                if os.readlink(f"/proc/{process.pid}/ns/pid") == space:
                    found.append(process)
        return found

    def read_traffic(self) -> tuple[int, int]:
        """Return the bytes that the host has received and sent since it was switched on."""
        counters = Path("/sys/class/net", self.cable, "statistics")  # the switch's end of the cable
        return int((counters / "tx_bytes").read_text()), int((counters / "rx_bytes").read_text())
