"""The provenance of a start: user and host, commit and uncommitted changes, the user's own modules, packages, hardware.

A run also starts if a part of its provenance cannot be found. The record lacks this part, and `unrecorded` says why.
"""

import hashlib
import importlib.metadata
import os
import platform
import pwd
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments.checkout import read_changes, read_commit
from environments.machine import count_cpus, get_memory_bytes, read_cpu_model
from environments.passwords import mask_urls
from run_directory.layout import DIFF, OWN_MODULES
from run_directory.writing import write_file
from settings.own_parts import list_own_sources

PACKAGES = ("ray", "torch", "gymnasium", "ale-py", "hydra-core", "numpy")
COMMIT = "SUITE_COMMIT"  # environment variable with the commit, for a copy of the code without git


def collect_provenance(run: Path, settings: dict) -> dict[str, Any]:
    """Return the provenance for an entry of run.json; write git.diff, if the code differs from its commit, and
    own_modules/, if the user has such.

    Returns:
        `git`: {commit, dirty, untracked}, or None if the commit is unknown; `packages`; `python`; `hardware`; of a run
        with own modules of its user `own_modules`: {file: SHA-256}; and, if a part could not be found, `unrecorded`, a
        sentence for each such part.
    """
    unrecorded: list[str] = []
    own = try_query(OWN_MODULES, lambda: copy_own_modules(run, settings), unrecorded)
    record: dict[str, Any] = {
        "git": describe_git(run, unrecorded),
        "packages": {n: try_query(n, lambda n=n: importlib.metadata.version(n), unrecorded) for n in PACKAGES},
        "python": platform.python_version(),
        "hardware": describe_hardware(unrecorded),
    }
    return record | ({OWN_MODULES: own} if own else {}) | ({"unrecorded": unrecorded} if unrecorded else {})


def copy_own_modules(run: Path, settings: dict) -> dict[str, str]:
    """Copy the user's own modules into own_modules/, where `--config-dir` finds them again; return file -> SHA-256."""
    contents = {file: path.read_bytes() for file, path in list_own_sources(settings).items()}
    for file, content in contents.items():
        (run / OWN_MODULES / file).parent.mkdir(parents=True, exist_ok=True)
        write_file(run / OWN_MODULES / file, content)
    return {file: hashlib.sha256(content).hexdigest() for file, content in contents.items()}


def identify_user() -> dict[str, str]:
    """Return the present user and host, as an entry of run.json has them."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        user = str(os.getuid())
    return {"user": user, "host": platform.node()}


def try_query(name: str, query: Callable[[], Any], unrecorded: list[str]) -> Any:
    """Return the result of `query`; if it raises, return None and add a sentence about `name` to `unrecorded`."""
    try:
        return query()
    except Exception as error:  # a package without metadata, /proc closed to this user, another system
        unrecorded.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return None


def describe_commit() -> str:
    """Return the commit of the code for SUITE_COMMIT of a job, with `-dirty` if the code may differ from it."""
    try:
        commit = read_commit()
    except Exception:  # git cannot tell, and the job records that the commit is unknown
        return os.environ.get(COMMIT, "")
    found = try_query(DIFF, read_changes, [])
    return commit if found and not found[1] else f"{commit}-dirty"


def describe_git(run: Path, unrecorded: list[str]) -> dict[str, Any] | None:
    """Return the commit, whether the code differs from it, and the untracked files; write the difference to git.diff.

    If git cannot tell, the commit is that of SUITE_COMMIT, which a job or an image may have. None if there is neither.
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
    if found is None:  # the code may differ from its commit
        return {"commit": commit, "dirty": True, "untracked": []}
    untracked, diff = found
    if diff:
        try_query(DIFF, lambda: (run / DIFF).write_bytes(mask_urls(diff)), unrecorded)
    return {"commit": commit, "dirty": bool(diff), "untracked": untracked}


def describe_hardware(unrecorded: list[str]) -> dict[str, Any]:
    """Return the hardware that the speed of a run depends on: processor, number of CPUs, memory; and the system."""
    memory = try_query("memory", lambda: round(get_memory_bytes() / 2**30, 1), unrecorded)
    cpu = try_query("cpu", read_cpu_model, unrecorded)
    return {"cpu": cpu, "cpus": count_cpus(), "memory_gib": memory, "system": platform.system()}
