"""The provenance of a start: who started it, the commit and what differs from it, packages, the machine.

Recording this never stops a run. What cannot be found out is missing from the record, and `unrecorded` says why.
"""

import importlib.metadata
import os
import platform
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments.checkout import read_changes, read_commit
from environments.machine import count_cpus, get_memory_bytes, read_cpu_model
from run_directory.layout import DIFF

PACKAGES = ("ray", "torch", "gymnasium", "ale-py", "hydra-core", "numpy")
COMMIT = "SUITE_COMMIT"  # of the environment: what git says of the code where it has come from


def collect_provenance(run: Path) -> dict[str, Any]:
    """Return what run.json says of the origin of a start, and write git.diff where the code differs from its commit.

    Returns:
        `git`: {commit, dirty, untracked} or None where nobody knows; `packages`, `python`, `hardware`; and
        `unrecorded`, a sentence for each thing that could not be recorded, where there is one.
    """
    unrecorded: list[str] = []
    record: dict[str, Any] = {
        "git": describe_git(run, unrecorded),
        "packages": {n: try_query(n, lambda n=n: importlib.metadata.version(n), unrecorded) for n in PACKAGES},
        "python": platform.python_version(),
        "hardware": describe_hardware(unrecorded),
    }
    return record | ({"unrecorded": unrecorded} if unrecorded else {})


def identify_user() -> dict[str, str]:
    """Return the present user and host, as starts record them."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        user = str(os.getuid())
    return {"user": user, "host": platform.node()}


def try_query(name: str, ask: Callable[[], Any], unrecorded: list[str]) -> Any:
    """Return what `ask` does; None where it raises, which `unrecorded` then tells of `name`."""
    try:
        return ask()
    except Exception as error:  # a package without metadata, /proc closed to this user, another system
        unrecorded.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return None


def describe_commit() -> str:
    """Return what a job is told of the code that travels with it: the commit, with `-dirty` where more may be in it."""
    try:
        commit = read_commit()
    except Exception:  # the run says that nobody knows
        return os.environ.get(COMMIT, "")
    found = try_query(DIFF, read_changes, [])
    return commit if found and not found[1] else f"{commit}-dirty"


def describe_git(run: Path, unrecorded: list[str]) -> dict[str, Any] | None:
    """Return the commit, whether the code differs from it, and the files git does not know; git.diff says how it does.

    Where git cannot say, a job or an image may have been told the commit; None where nobody knows.
    """
    try:
        commit = read_commit()
    except Exception as error:  # no git, no repository, one of another user, a damaged one
        told = os.environ.get(COMMIT)
        if not told:
            unrecorded.append(f"git: {error}")
            return None
        if told.endswith("-dirty"):
            unrecorded.append(f"{DIFF}: the code was changed where it came from, and only its commit was sent along")
        return {"commit": told.removesuffix("-dirty"), "dirty": told.endswith("-dirty"), "untracked": []}
    found = try_query(DIFF, read_changes, unrecorded)
    if found is None:  # it may be as committed or not
        return {"commit": commit, "dirty": True, "untracked": []}
    untracked, diff = found
    if diff:
        try_query(DIFF, lambda: (run / DIFF).write_bytes(diff), unrecorded)
    return {"commit": commit, "dirty": bool(diff), "untracked": untracked}


def describe_hardware(unrecorded: list[str]) -> dict[str, Any]:
    """Return the machine, as far as it decides speed."""
    memory = try_query("memory", lambda: round(get_memory_bytes() / 2**30, 1), unrecorded)
    cpu = try_query("cpu", read_cpu_model, unrecorded)
    return {"cpu": cpu, "cpus": count_cpus(), "memory_gib": memory, "system": platform.system()}
