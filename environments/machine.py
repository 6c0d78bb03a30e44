"""The CPUs, GPUs and memory that this process may use.

A container, a scheduler or systemd can give a process less than the machine has. The kernel holds the limits in three
places: the affinity mask, cgroup v1 (`cpu.cfs_quota_us`, `memory.limit_in_bytes`) and cgroup v2 (`cpu.max`,
`memory.max`). The lowest limit counts. The whole suite keeps to it, and so does the Ray that a local run starts.
"""

import os
import platform
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

ROOT = Path("/")  # of the file system; tests pass another folder
CPUINFO = Path("/proc/cpuinfo")
JOB_VARIABLE = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # an environment variable that Ray sets for the driver of a submitted job
# Values of ONEDNN_MAX_CPU_ISA that keep oneDNN, which computes for PyTorch, from the instructions for bf16.
ISA_WITHOUT_BF16 = ("SSE41", "AVX", "AVX2", "AVX2_VNNI", "AVX2_VNNI_2", "AVX512_CORE", "AVX512_CORE_VNNI")


def count_cpus(root: Path = ROOT) -> int:
    """Return the number of CPUs that this process may use: the lowest limit, rounded down; at least 1."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, int(min([allowed, *read_cpu_quotas(root)])))


def get_memory_bytes(root: Path = ROOT) -> int:
    """Return the memory that this process may use, in bytes: that of the machine, or the lowest cgroup limit."""
    return min([psutil.virtual_memory().total, *read_memory_limits(root)])


def count_gpus() -> int:
    """Return the number of GPUs that torch finds; it imports torch, which takes seconds."""
    import torch

    return torch.cuda.device_count()


def get_shared_memory_bytes(root: Path = ROOT) -> int:
    """Return the free bytes of /dev/shm, through which Ray's processes exchange arrays; 0 if there is no /dev/shm."""
    try:
        volume = os.statvfs(root / "dev/shm")
    except OSError:
        return 0
    return volume.f_bavail * volume.f_frsize


def read_cpu_quotas(root: Path) -> Iterator[float]:
    """Yield the limit of every cgroup of this process that limits CPUs, as a number of CPUs."""
    for folder in list_cgroups(root, "cpu"):
        quota, period = (read_words(folder / f"cpu.cfs_{name}_us") for name in ("quota", "period"))  # v1; -1: none
        numbers = [*quota, *period] or read_words(folder / "cpu.max")  # v2; max: none
        if len(numbers) == 2 and all(number.isdecimal() for number in numbers) and int(numbers[1]):
            yield int(numbers[0]) / int(numbers[1])


def read_memory_limits(root: Path) -> Iterator[int]:
    """Yield the limit of every cgroup of this process that limits memory, in bytes; v1 has 2^63 for `no limit`."""
    for folder in list_cgroups(root, "memory"):
        for name in ("memory.limit_in_bytes", "memory.max"):
            yield from (int(word) for word in read_words(folder / name)[:1] if word.isdecimal())


def list_cgroups(root: Path, controller: str) -> Iterator[Path]:
    """Yield the folders of this process's own cgroup and of all cgroups above it, for both versions of cgroups.

    The limit of a cgroup also binds the cgroups below it. A folder that is yielded may not exist: a container often
    mounts the process's own cgroup as the root, while /proc/self/cgroup has the path on the host.
    """
    mounts = root / "sys/fs/cgroup"
    own = {"": "/", controller: "/"}  # controller -> path of the cgroup; the controller of v2 is ""
    for line in read_small_file(root / "proc/self/cgroup").splitlines():
        _, controllers, path = line.split(":", 2)
        own |= dict.fromkeys(controllers.split(","), path)
    # unified: v2 beside v1, without controllers as a rule
    for mount, path in ((mounts, own[""]), (mounts / "unified", own[""]), (mounts / controller, own[controller])):
        inside = [] if ".." in path else [part for part in path.split("/") if part]  # ..: outside of the mount
        yield from (mount.joinpath(*inside[:depth]) for depth in range(len(inside), -1, -1))


def read_words(path: Path) -> list[str]:
    """Return the words of a small file; an empty list if it cannot be read."""
    return read_small_file(path).split()


def read_small_file(path: Path) -> str:
    """Return the text of a small file; an empty text if it cannot be read."""
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):
        return ""


def find_fastest_dtype() -> str:
    """Return the fastest dtype of this machine's CPU: `bfloat16` if the CPU has instructions for it, else `float32`."""
    flags = read_small_file(CPUINFO)  # empty outside of Linux, where the CPU cannot be asked
    there = "avx512_bf16" in flags or "amx_bf16" in flags
    allowed = os.environ.get("ONEDNN_MAX_CPU_ISA", "").upper() not in ISA_WITHOUT_BF16
    return "bfloat16" if there and allowed else "float32"


def read_cpu_model() -> str:
    """Return the name of the processor."""
    lines = read_small_file(CPUINFO).splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if "model name" in line and ":" in line]
    return names[0] if names else platform.processor() or platform.machine()


def kill_processes(processes: list[psutil.Process]) -> None:
    """Kill some processes; those that have ended already are skipped."""
    for process in processes:
        with suppress(psutil.Error):
            process.kill()
