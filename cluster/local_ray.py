"""A local Ray: it is started for one run, listens on the loopback address only, and ends with the run.

check of folders -> ray.init with the CPUs and the memory that this process may use -> stop_ray
"""

import logging
import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

import psutil
import ray

from environments.machine import count_cpus, get_memory_bytes, get_shared_memory_bytes, kill_processes
from rollouts.private_ray import (
    compute_store_bytes,
    end_processes_with_driver,
    find_temporary_folder,
    use_loopback_addresses,
)
from run_directory.writing import RESERVE_MB
from settings.mistakes import Mistake, format_error

LOCAL = "local"  # the value of cluster.address for a local Ray
MAX_SHARE_OF_MEMORY, MAX_SHARE_OF_SHM = 0.3, 0.95  # of Ray's object store; Ray uses the same numbers
MIN_STORE_BYTES = 2**28  # of the object store in /dev/shm; with less room there, Ray uses its temporary folder
MAX_ATTEMPTS, TIMEOUT_MESSAGE = 3, "timed out during startup"  # Ray waits half a minute for its processes


def start_ray(settings: dict, num_processes: int) -> None:
    """Start Ray on this machine; its processes listen on the loopback address only.

    Args:
        settings: the checked settings of the experiment.
        num_processes: the number of processes of the run; a single process sends nothing through shared memory.

    Raises:
        Mistake: Ray cannot start here.
    """
    refuse_unwritable_folders()
    use_loopback_addresses()
    print("starting Ray on this machine", flush=True)
    for left in reversed(range(MAX_ATTEMPTS)):
        try:
            context = ray.init(
                address="local",
                num_cpus=count_cpus(),
                object_store_memory=choose_store_bytes(),
                include_dashboard=settings["dashboard"],
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            break
        except Exception as error:  # Ray raises OSError, ValueError and Exception
            ray.shutdown()
            if not (left and TIMEOUT_MESSAGE in str(error)):
                raise Mistake(explain_failed_start(error)) from error
            print("Ray did not start within half a minute, because this machine is busy; trying again", flush=True)
    if settings["dashboard"]:
        print(f"Ray dashboard: http://{context.dashboard_url}{describe_token()}", flush=True)
    if get_shared_memory_bytes() < MIN_STORE_BYTES and num_processes > 1:
        print(
            f"/dev/shm has {get_shared_memory_bytes() >> 20} MB left, so rollouts and weights are sent through "
            f"{find_temporary_folder()}, which is slower; use docker run --shm-size=2g, or delete files in /dev/shm",
            flush=True,
        )


def choose_store_bytes() -> int:
    """Return the bytes of Ray's object store: Ray's own choice, or less if this process may use less memory."""
    default = compute_store_bytes()  # Ray knows the memory limit of a container, but not the limits of outer cgroups
    room = int(MAX_SHARE_OF_SHM * get_shared_memory_bytes())
    return min(default, int(MAX_SHARE_OF_MEMORY * get_memory_bytes()), *([room] if room >= MIN_STORE_BYTES else []))


def stop_ray() -> None:
    """Disconnect this driver from Ray, and end a local Ray.

    Ray ends its processes with SIGTERM, but those of a local Ray are started with SIGTERM blocked
    (`runs/interrupt.py`). Therefore they are killed.
    """

    def kill_with_children(end: Callable[[], None], pids: list[int]) -> None:
        children = [process for pid in pids for process in psutil.Process(pid).children(recursive=True)]
        end()
        kill_processes(children)

    end_processes_with_driver(kill_with_children)
    ray.shutdown()


def describe_token() -> str:
    """Return a note on how to get the token for the dashboard; an empty text if authentication is off."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return ""
    return f"  (it asks for a token: {Path(sys.executable).parent / 'ray'} get-auth-token prints it)"


def name_temporary_variable() -> str:
    """Return the name of the environment variable that sets Ray's temporary folder."""
    return next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "RAY_TMPDIR")


def refuse_unwritable_folders() -> None:
    """Refuse folders that Ray cannot write; without this check, Ray fails after half a minute, or while training.

    Raises:
        Mistake: /dev/shm cannot be used, or Ray's temporary folder has a relative path, or its disk is full.
    """
    shm = Path("/dev/shm")
    if sys.platform == "linux" and not os.access(shm, os.W_OK):
        why = "no permission to write" if shm.exists() else "it does not exist"
        raise Mistake(f"/dev/shm, which Ray's processes share, cannot be used ({why}); mount a tmpfs there, mode 1777")
    variable, folder = name_temporary_variable(), find_temporary_folder()
    if not folder.is_absolute():
        raise Mistake(
            f"{variable}={os.environ.get(variable)} is no absolute path, and Ray's processes would not find it; set it "
            "to a short absolute path, such as /tmp"
        )
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if (left := shutil.disk_usage(there).free >> 20) < RESERVE_MB:
        raise Mistake(
            f"{folder} has {left} MB left, and Ray writes its session there; delete files there, or set {variable} to "
            "a short path on another disk"
        )


def explain_failed_start(error: Exception) -> str:
    """Return the sentence for an exception of Ray that cannot start on this machine."""
    variable, folder = name_temporary_variable(), find_temporary_folder()
    path = getattr(error, "filename", None) or ""
    if "AF_UNIX" in str(error):
        return (
            f"{variable}={folder.parent} is too long: the paths of Ray's sockets, which lie below it, may have 107 "
            "bytes; set RAY_TMPDIR to a short path, such as /tmp"
        )
    if isinstance(error, OSError) and Path(path).is_relative_to(folder):
        return (
            f"Ray cannot write its temporary folder, {path} ({error.strerror}); set RAY_TMPDIR to a short path that "
            "you can write"
        )
    home = Path(os.path.expanduser("~"))
    if isinstance(error, OSError) and path and (".ray" in Path(path).parts or Path(path) in (home, *home.parents)):
        return (
            f"Ray keeps its token in {path}, which cannot be written ({error.strerror}); set HOME to a directory that "
            "you can write, RAY_AUTH_TOKEN to a secret, or RAY_AUTH_MODE=disabled if you are the only user here"
        )
    if TIMEOUT_MESSAGE in str(error):
        return (
            f"Ray did not start within half a minute in {MAX_ATTEMPTS} attempts: this machine is too busy; end another "
            f"program that runs on it. Ray's logs are in {folder}/session_latest/logs"
        )
    if "ray.init(memory" in str(error):
        return (
            f"this process may use {get_memory_bytes() / 2**30:.1f} GiB of memory, and Ray with its object store needs "
            "all of it; give the container or the job more, such as 4 GiB"
        )
    return (
        f"Ray cannot start on this machine ({format_error(error)[:300]}); if it has begun to, its logs are in "
        f"{folder}/session_latest/logs"
    )
