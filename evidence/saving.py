"""Saving what a command has found: whether that is possible is looked at before the work, not after it."""

import os
from pathlib import Path


def why_not(path: Path) -> str | None:
    """Return why a file cannot be written, as far as one can see without writing; None where it can."""
    if path.is_dir():
        return f"{path} is a directory"
    if path.exists() and not os.access(path, os.W_OK):
        return f"no permission to write {path}"
    folder = next(parent for parent in path.absolute().parents if parent.exists() or parent.is_symlink())
    if not folder.is_dir():
        return f"{folder} is no directory"
    return None if os.access(folder, os.W_OK | os.X_OK) else f"no permission to write in {folder}"


def new_path(path: Path) -> Path:
    """Return a path where nothing is yet: `game.npz`, or the first of `game_2.npz`, `game_3.npz`, ... that is free."""
    names = (path, *(path.with_name(f"{path.stem}_{number}{path.suffix}") for number in range(2, 10_000)))
    return next(name for name in names if not os.path.lexists(name))


def save(path: Path, content: str | bytes) -> str | None:
    """Write a file in one piece, so that nobody reads half of it; return why that failed, None where it did not."""
    if why := why_not(path):
        return why
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_bytes(content.encode() if isinstance(content, str) else content)
        os.replace(temporary, path)
    except OSError as error:
        return f"{error.strerror or error}: {path}"
    return None
