"""What this process may use of the machine it is on: CPUs and memory.

A container, a scheduler or systemd gives a process less than the machine has. The kernel says so in three places: the
affinity mask, cgroup v1 (`cpu.cfs_quota_us`, `memory.limit_in_bytes`) and cgroup v2 (`cpu.max`, `memory.max`). The
least of them is what a process gets, and what the whole suite goes by, Ray of a local run included.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path("/")  # of the file system; tests have one of their own


def count_cpus(root: Path = ROOT) -> int:
    """CPUs this process may use: the least of the affinity mask and all cgroup quotas, rounded down, at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([allowed, *read_cpu_quotas(root)])))


def get_memory_bytes(root: Path = ROOT) -> int:
    """Memory this process may use: the least of what the machine has and all cgroup limits."""
    return min([psutil.virtual_memory().total, *read_memory_limits(root)])


def count_gpus() -> int:
    """GPUs that torch sees. It imports torch, which takes seconds: ask only where a GPU is wanted."""
    import torch

    return torch.cuda.device_count()


def get_shared_memory_bytes(root: Path = ROOT) -> int:
    """What is free in /dev/shm, through which Ray's processes exchange arrays; 0 where there is none."""
    try:
        there = os.statvfs(root / "dev/shm")
    except OSError:
        return 0
    return there.f_bavail * there.f_frsize


def read_cpu_quotas(root: Path) -> Iterator[float]:
    """CPUs that each cgroup of this process may take, where it has a limit."""
    for folder in list_cgroups(root, "cpu"):
        quota, period = (
            read_words(folder / "cpu.cfs_quota_us"),
            read_words(folder / "cpu.cfs_period_us"),
        )  # v1; -1: none
        numbers = [*quota, *period] or read_words(folder / "cpu.max")  # v2; max: none
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers) and int(numbers[1]):
            yield int(numbers[0]) / int(numbers[1])


def read_memory_limits(root: Path) -> Iterator[int]:
    """Bytes that each cgroup of this process may take, where it has a limit; v1 says 2^63 where it has none."""
    for folder in list_cgroups(root, "memory"):
        for name in ("memory.limit_in_bytes", "memory.max"):
            yield from (int(word) for word in read_words(folder / name)[:1] if word.isdecimal())


def list_cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Folders of the cgroups that hold this process, its own and all above it, in both versions.

    A limit binds whatever is below it. In a container the process's own cgroup is often mounted as the root while
    /proc/self/cgroup names its place on the host, so folders that are not there are passed over.
    """
    mounts = root / "sys/fs/cgroup"
    own = {"": "/", controller: "/"}  # controller, of v2 none -> cgroup
    for line in read_small_file(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    for mount, path in (
        (mounts, own[""]),
        (mounts / "unified", own[""]),  # v2 beside v1, without controllers as a rule
        (mounts / controller, own[controller]),
    ):
        inside = [] if ".." in path else [part for part in path.split("/") if part]  # ..: outside of what is mounted
        yield from (mount.joinpath(*inside[:depth]) for depth in range(len(inside), -1, -1))


def read_words(path: Path) -> list[str]:
    """The words of a small file; none where it cannot be read."""
    return read_small_file(path).split()


def read_small_file(path: Path) -> str:
    """The text of a small file; none where it cannot be read."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def find_fastest_dtype() -> str:
    """`bfloat16` where the CPU, on which envs are acted in, computes in it; else `float32`."""
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            flags = cpuinfo.read()
    except OSError:
        return "float32"  # not Linux: the CPU cannot be asked
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"


def read_cpu_model() -> str:
    """Return the name of the processor."""
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text(errors="replace").splitlines() if cpuinfo.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line and ":" in line]
    return names[0] if names else platform.processor() or platform.machine()


def kill_processes(processes: list[psutil.Process]) -> None:
    """End some processes at once; some of them may have ended by themselves."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
