"""Writing files in one piece, finding out beforehand whether that is possible, and locking a folder."""

import csv
import fcntl
import io
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from settings.mistakes import Mistake

RESERVE_MB = 256  # that have to be left on a disk, for the last checkpoints of a run


@contextmanager
def replace_file(path: Path) -> Iterator[Path]:
    """Give a temporary path to write to, and put what was written there in the place of a file when the block ends.

    Readers of the file see the old content or the new content and nothing in between. Where the block raises, the old
    content stays and the temporary file is removed.
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
        OSError: it cannot be written; the old content stays.
    """
    with replace_file(path) as temporary:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)


def write_table(path: Path, header: Iterable[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write a CSV file in one piece, as `write_file` does."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    write_file(path, text.getvalue())


def save_file(path: Path, content: str | bytes) -> str | None:
    """Write a file in one piece; return the reason where that fails, None where the file was written."""
    if why := explain_unwritable(path):
        return why
    try:
        write_file(path, content)
    except OSError as error:
        return f"{error.strerror or error}: {path}"
    return None


def explain_unwritable(path: Path) -> str | None:
    """Return why a file cannot be written, as far as one can see without writing; None where it can be written."""
    if path.is_dir():
        return f"{path} is a directory"
    if path.exists() and not os.access(path, os.W_OK):
        return f"no permission to write {path}"
    folder = next(parent for parent in path.absolute().parents if parent.exists() or parent.is_symlink())
    if not folder.is_dir():
        return f"{folder} is no directory"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"no permission to write in {folder}"


def choose_free_path(path: Path) -> Path:
    """Return a path that is not taken: `game.npz`, or the first free one of `game_2.npz`, `game_3.npz`, ..."""
    names = (path, *(path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(2, 10_000)))
    return next(name for name in names if not os.path.lexists(name))


@contextmanager
def lock_folder(folder: Path) -> Iterator[None]:
    """Hold the lock of a run or a search directory while the block runs: two drivers would write the same files.

    Raises:
        Mistake: another process holds the lock, or the folder cannot be written or locked.
    """
    if not os.access(folder, os.W_OK):
        raise Mistake(
            f"{folder} cannot be written; begin anew under another output_dir, or copy it and continue the copy"
        )
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Mistake(f"{folder}: another process is at it; wait for it, or end it") from error
        except OSError as error:
            raise Mistake(
                f"{folder} cannot be locked against another process ({error.strerror}); name an output_dir on a file "
                "system that has locks"
            ) from error
        yield
