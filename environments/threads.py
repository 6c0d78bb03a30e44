"""The number of threads that this process computes with."""

import ctypes
import ctypes.util
import platform

import ray
import torch

from environments.machine import count_cpus

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def count_threads() -> int:
    """Return the number of threads for this process: the CPUs of its Ray actor; outside of an actor, all it may use.

    The defaults do not fit several trials on one machine: Ray sets OMP_NUM_THREADS to 1 unless an actor requests more
    CPUs, and ALE takes all cores of the machine.
    """
    if ray.is_initialized() and ray.get_runtime_context().get_actor_id():
        return max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    return count_cpus()


def configure_threads() -> int:
    """Set torch's number of threads, and let glibc keep freed memory; returns the number of threads.

    Call it once, before the first large allocation. glibc would return freed memory to the kernel after every update,
    and each rollout would cause the same page faults again. To keep the memory is the largest single gain in speed on
    two cores.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
    threads = count_threads()
    torch.set_num_threads(threads)
    return threads
