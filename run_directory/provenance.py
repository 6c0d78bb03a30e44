"""The provenance of a start: who started it, the commit and what differs from it, packages, the machine.

Recording this never stops a run. What cannot be found out is missing from the record, and `unrecorded` says why.
"""

import importlib.metadata
import os
import platform
import pwd
import shutil
import subprocess
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

from environments.machine import memory_bytes, num_cpus, read_cpu_model
from run_directory.layout import DIFF

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("ray", "torch", "gymnasium", "ale-py", "hydra-core", "numpy")
COMMIT = "SUITE_COMMIT"  # of the environment: what git says of the code where it has come from
# What a run may read of a checkout, whether git knows the file or not: all Python, and the YAML that Hydra composes.
READ = ("*.py", "experiments/*.yaml", "tuned_configs/*.yaml", "tune_searches/*.yaml")
DIFF_BYTES = 10 * 2**20  # of a git.diff; a larger one is not kept
ANSWER_S = 60  # git must answer in, on a slow file system too


def collect_provenance(run: Path) -> dict[str, Any]:
    """Return what run.json says of the origin of a start, and write git.diff where the code differs from its commit.

    Returns:
        `git`: {commit, dirty, untracked} or None where nobody knows; `packages`, `python`, `hardware`; and
        `unrecorded`, a sentence for each thing that could not be recorded, where there is one.
    """
    unrecorded: list[str] = []
    record: dict[str, Any] = {
        "git": describe_git(run, unrecorded),
        "packages": {n: try_to_find(n, lambda n=n: importlib.metadata.version(n), unrecorded) for n in PACKAGES},
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


def try_to_find(name: str, ask: Callable[[], Any], unrecorded: list[str]) -> Any:
    """Return what `ask` does; None where it raises, which `unrecorded` then tells of `name`."""
    try:
        return ask()
    except Exception as error:  # a package without metadata, /proc closed to this user, another system
        unrecorded.append(f"{name}: {type(error).__name__}: {' '.join(str(error).split())[:300]}")
        return None


def run_git(*words: str, **environment: str) -> bytes:
    """Return what a git command prints about the checkout, as the bytes that they are.

    Raises:
        OSError: there is no git, it does not answer, it fails, or it prints more than DIFF_BYTES.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE")}
    environment = {**inherited, "GIT_OPTIONAL_LOCKS": "0", "LC_ALL": "C", **environment}
    with (
        tempfile.TemporaryFile() as complaint,
        subprocess.Popen(
            ["git", "-C", str(ROOT), *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=complaint,
            env=environment,
        ) as process,
    ):
        end = threading.Timer(ANSWER_S, process.kill)
        end.start()
        said = process.stdout.read(DIFF_BYTES + 1)  # pyright: ignore[reportOptionalMemberAccess]
        if len(said) > DIFF_BYTES:
            process.kill()
        code = process.wait()
        end.cancel()
        complaint.seek(0)
        lines = complaint.read(10_000).decode(errors="replace").strip().splitlines()
    if len(said) > DIFF_BYTES:
        raise OSError(f"git {words[0]} prints more than the {DIFF_BYTES >> 20} MiB that are kept")
    if code:
        why = f"no answer for {ANSWER_S} s" if end.finished.is_set() and code < 0 else f"exit code {code}"
        raise OSError(f"git {words[0]}: {(lines or [why])[0].removeprefix('fatal: ')}")
    return said


def read_commit() -> str:
    """Return the commit of the code.

    Raises:
        OSError: git cannot say.
    """
    return run_git("rev-parse", "HEAD").decode().strip()


def read_changes() -> tuple[list[str], bytes]:
    """Return the files git does not know that a run may read, and how the code differs from its commit.

    The difference, as `git diff` prints it, has these new files in it. It is made with a copy of git's index in which
    they are announced, so the checkout stays as it is.

    Raises:
        OSError: git cannot say.
    """
    names = run_git("ls-files", "-z", "--others", "--exclude-standard", "--", *READ).split(b"\0")
    untracked = sorted(os.fsdecode(name) for name in names if name)
    index, objects = (
        Path(ROOT, os.fsdecode(run_git("rev-parse", "--git-path", name)).removesuffix("\n")).resolve()
        for name in ("index", "objects")
    )
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "objects")  # even announcing a file writes an (empty) object
        own.mkdir()
        apart = {"GIT_OBJECT_DIRECTORY": str(own), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects)}
        apart["GIT_INDEX_FILE"] = str(shutil.copyfile(index, Path(folder, "index")))
        for first in range(0, len(untracked), 500):
            run_git("add", "--intent-to-add", "--", *untracked[first : first + 500], **apart)
        return untracked, run_git("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", **apart)


def commit_to_send() -> str:
    """Return what a job is told of the code that travels with it: the commit, with `-dirty` where more may be in it."""
    try:
        commit = read_commit()
    except Exception:  # the run says that nobody knows
        return os.environ.get(COMMIT, "")
    found = try_to_find(DIFF, read_changes, [])
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
    found = try_to_find(DIFF, read_changes, unrecorded)
    if found is None:  # it may be as committed or not
        return {"commit": commit, "dirty": True, "untracked": []}
    untracked, diff = found
    if diff:
        try_to_find(DIFF, lambda: (run / DIFF).write_bytes(diff), unrecorded)
    return {"commit": commit, "dirty": bool(diff), "untracked": untracked}


def describe_hardware(unrecorded: list[str]) -> dict[str, Any]:
    """Return the machine, as far as it decides speed."""
    memory = try_to_find("memory", lambda: round(memory_bytes() / 2**30, 1), unrecorded)
    cpu = try_to_find("cpu", read_cpu_model, unrecorded)
    return {"cpu": cpu, "cpus": num_cpus(), "memory_gib": memory, "system": platform.system()}
