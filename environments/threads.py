"""How many threads this process computes with."""

import ctypes
import ctypes.util
import platform

import ray
import torch

from environments.machine import count_cpus

M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3  # malloc.h


def count_threads() -> int:
    """Threads this process was given: its CPUs in Ray, or all it may run on outside of Ray.

    Ray sets OMP_NUM_THREADS to 1 unless an actor asks for more, and ALE takes every core it sees; neither is right when
    several trials share a machine.
    """
    if ray.is_initialized() and ray.get_runtime_context().get_actor_id():
        return max(1, int(ray.get_runtime_context().get_assigned_resources().get("CPU", 1)))
    return count_cpus()


def configure_threads() -> int:
    """Give torch the threads of this process and keep its heap; call once, before the first large allocation.

    glibc hands the top of the heap back to the kernel whenever it can, and a rollout followed by an update makes it
    do so again and again: each time the same pages fault in anew. Not giving them back is the largest single gain on
    two cores.
    """
    if platform.libc_ver()[0] == "glibc":
        libc = ctypes.CDLL(ctypes.util.find_library("c"))
        libc.mallopt(M_TRIM_THRESHOLD, 2**31 - 1)
        libc.mallopt(M_MMAP_THRESHOLD, 2**30)
    threads = count_threads()
    torch.set_num_threads(threads)
    return threads
