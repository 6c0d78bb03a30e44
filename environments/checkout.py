"""The checkout that the code comes from: its commit, and how the code differs from it."""

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The files of a checkout that a run may read, known to git or not: all Python, and the YAML that Hydra composes.
READ = ("*.py", "experiments/*.yaml", "tuned_configs/*.yaml", "tune_searches/*.yaml")
DIFF_BYTES = 10 * 2**20  # of a git.diff; a larger one is not kept
ANSWER_S = 60  # for git to answer in, on a slow file system too


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
