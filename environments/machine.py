"""What this process may use of the machine it is on."""

import ctypes
import ctypes.util
import os
import platform

import ray
import torch

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def num_threads() -> int:
    """Threads this process was given: its CPUs in Ray, or all it may run on outside of Ray.

    Ray sets OMP_NUM_THREADS to 1 unless an actor asks for more, and ALE takes every core it sees; neither is right when
    several trials share a machine.
    """
    if ray.is_initialized() and ray.get_runtime_context().get_actor_id():
        return max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    return num_cpus()


def num_cpus() -> int:
    """Cores this process may run on (a container or `taskset` may allow fewer than there are)."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def take_threads() -> int:
    """Give torch the threads of this process and keep its heap; call once, before the first large allocation.

    glibc hands the top of the heap back to the kernel whenever it can, and a rollout followed by an update makes it
    do so again and again: each time the same pages fault in anew. Not giving them back is the largest single gain on
    two cores.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
    threads = num_threads()
    torch.set_num_threads(threads)
    return threads


def fastest_dtype() -> str:
    """`bfloat16` where the CPU, on which envs are acted in, computes in it; else `float32`."""
    try:
        with open("/proc/cpuinfo") as cpuinfo:
            flags = cpuinfo.read()
    except OSError:
        return "float32"  # not Linux: the CPU cannot be asked
    return "bfloat16" if "avx512_bf16" in flags or "amx_bf16" in flags else "float32"
