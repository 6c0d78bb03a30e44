"""Functions that write a file in one piece, check whether a file can be written, and lock a folder."""

import csv
import errno
import fcntl
import io
import os
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from run_directory.layout import STARTS
from settings.mistakes import Mistake

FULL_DISK_ERRORS = (errno.ENOSPC, errno.EDQUOT)
RESERVE_MB = 256  # the free space on a disk that is kept for the last checkpoints of a run


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Yield a temporary path, and replace a file by the temporary file at the end of the block.

    Readers of the file see either the old or the new content. If the block raises an error, the old content stays, and
    the temporary file is removed.
    """
    temporary = path.with_name(path.name + ".new")
    try:
        yield temporary
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink()
        raise


def write_file(path: Path, content: str | bytes) -> None:
    """Write a file in one piece.

    Raises:
        OSError: the file cannot be written; the old content stays.
    """
    with replace_file(path) as temporary:
        try:
            temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        except OSError as error:  # of a full disk, it names no file
            raise OSError(error.errno, error.strerror, str(path)) from error


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file in one piece, as `write_file` does."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_file(path, text.getvalue())


def save_file(path: Path, content: str | bytes) -> str | None:
    """Write a file in one piece; return None, or the reason if the file cannot be written."""
    if why := explain_unwritable(path):
        return why
    try:
        write_file(path, content)
    except OSError as error:
        return f"{error.strerror or error}: {path}"
    return None


def explain_unwritable(path: Path) -> str | None:
    """Return the reason why a file cannot be written, without trying to; None if no reason is found."""
    if path.is_dir():
        return f"{path} is a directory"
    if path.exists() and not os.access(path, os.W_OK):
        return f"no permission to write {path}"
    folder = next(parent for parent in path.absolute().parents if parent.exists() or parent.is_symlink())
    if not folder.is_dir():
        return f"{folder} is no directory"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"no permission to write in {folder}"


def choose_free_path(path: Path) -> Path:
    """Return the first of `game.npz`, `game_2.npz`, `game_3.npz`, ... at which no file is, nor one to replace it."""
    names = (path, *(path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(2, 10_000)))
    return next(name for name in names if not (os.path.lexists(name) or os.path.lexists(f"{name}.new")))


def find_lock(folder: Path) -> Path:
    """Return the file that is locked for a run or search; a seed or a trial has that of the run or search above it."""
    return [folder, *(above for above in folder.parents[:3] if (above / STARTS).is_file())][-1] / ".lock"


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Lock the directory of a run or search while the block runs, so that two drivers cannot write the same files.

    Raises:
        Mistake: another process holds the lock, or the folder cannot be written or locked.
    """
    if not os.access(folder, os.W_OK):
        way_out = "begin anew under another output_dir, or copy it and continue the copy"
        raise Mistake(f"{folder} cannot be written; {way_out}")
    path = find_lock(folder)
    try:
        lock = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    except PermissionError:  # made by another user of a shared directory
        lock = os.open(path, os.O_RDONLY)
    try:
        try:
            with suppress(BlockingIOError):  # a page that watches asks for a moment whether anybody has the lock
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            time.sleep(0.01)
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Mistake(f"{path.parent}: another process is at it; wait for it, or end it") from error
        except OSError as error:
            why = f"{folder} cannot be locked against another process ({error.strerror})"
            raise Mistake(f"{why}; name an output_dir on a file system that has locks") from error
        yield
    finally:
        os.close(lock)
