"""The checkout that the code comes from: its commit, and how the code differs from it."""

import os
import shutil
import subprocess
import tempfile
import threading
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
# The files of a checkout that a run may read, tracked by git or not: all Python, and the YAML that Hydra composes.
READ = ("*.py", "experiments/*.yaml", "tuned_configs/*.yaml", "tune_searches/*.yaml")
DIFF_BYTES = 10 * 2**20  # the largest git.diff that is kept
ANSWER_S = 60  # seconds after which git is killed; a slow file system needs some of them


def run_git(*words: str, **environment: str) -> bytes:
    """Run a git command in the checkout and return its output, undecoded.

    Args:
        words: the command, without `git`.
        environment: additional environment variables for git.

    Raises:
        OSError: git is not installed, does not answer, fails, or prints more than DIFF_BYTES.
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
        late = []  # filled when the time is over
        end = threading.Timer(ANSWER_S, lambda: late.append(process.kill()))
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
        why = f"no answer for {ANSWER_S} s" if late else f"exit code {code}"
        raise OSError(f"git {words[0]}: {(lines or [why])[0].removeprefix('fatal: ')}")
    return said


def read_commit() -> str:
    """Return the hash of the commit that is checked out.

    Raises:
        OSError: git cannot tell.
    """
    return run_git("rev-parse", "HEAD").decode().strip()


def read_changes() -> tuple[list[str], bytes]:
    """Return the untracked files that a run may read, and the difference between the code and its commit.

    The difference is the output of `git diff`, and includes the untracked files. They are added to a copy of git's
    index, so the checkout itself does not change.

    Raises:
        OSError: git cannot tell.
    """
    names = run_git("ls-files", "-z", "--others", "--exclude-standard", "--", *READ).split(b"\0")
    untracked = sorted(os.fsdecode(name) for name in names if name)
    index, objects = (
        Path(ROOT, os.fsdecode(run_git("rev-parse", "--git-path", name)).removesuffix("\n")).resolve()
        for name in ("index", "objects")
    )
    with tempfile.TemporaryDirectory() as folder:
        own = Path(folder, "objects")  # `git add --intent-to-add` writes an (empty) object
        own.mkdir()
        apart = {"GIT_OBJECT_DIRECTORY": str(own), "GIT_ALTERNATE_OBJECT_DIRECTORIES": str(objects)}
        apart["GIT_INDEX_FILE"] = str(shutil.copyfile(index, Path(folder, "index")))
        for first in range(0, len(untracked), 500):
            run_git("add", "--intent-to-add", "--", *untracked[first : first + 500], **apart)
        return untracked, run_git("diff", "--no-ext-diff", "--no-textconv", "--no-color", "HEAD", **apart)
