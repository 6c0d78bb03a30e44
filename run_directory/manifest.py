"""The manifest of a checkpoint: the size and CRC-32 of each of its files, so that damage is found before it is read.

A failing or full disk damages files after they were written. The manifest is written last. A checkpoint is damaged if
it has no manifest, or if its files differ from the manifest.
"""

import json
import time
import zlib
from pathlib import Path

from run_directory.layout import MANIFEST, MILESTONES, PROGRESS_JSON, TO_PLAY, WEIGHTS
from run_directory.writing import write_file
from settings.mistakes import Mistake


def write_manifest(checkpoint: Path) -> None:
    """Write the size and CRC-32 of every file of a checkpoint, except files whose names begin with a dot."""
    files = {
        str(p.relative_to(checkpoint)): [p.stat().st_size, zlib.crc32(p.read_bytes())]
        for p in sorted(checkpoint.rglob("*"))
        if p.is_file() and p.name != MANIFEST and not p.name.startswith(".")
    }
    write_file(checkpoint / MANIFEST, json.dumps(files, indent=1))


def read_state(checkpoint: Path) -> tuple[int, int, int] | None:
    """Return numbers that change when a training replaces a checkpoint; None at the moment when it does."""
    try:
        found = (checkpoint / MANIFEST).stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size


def find_damage(checkpoint: Path, to_play: bool = False) -> str | None:
    """Return the damage of a checkpoint, or `to_play` of its weights and counters, in words; None if it is whole."""
    state, wrong = read_state(checkpoint), compare_files(checkpoint, to_play)
    if wrong:
        time.sleep(0.01)
    return find_damage(checkpoint, to_play) if wrong and read_state(checkpoint) != state else wrong


def compare_files(checkpoint: Path, to_play: bool) -> str | None:
    """Return the first difference between the files of a checkpoint and its manifest, in words; None without one."""
    try:
        files = json.loads((checkpoint / MANIFEST).read_bytes())
        expected = {str(name): (int(size), int(crc)) for name, (size, crc) in files.items()}
    except FileNotFoundError:
        return f"{MANIFEST} is missing"
    except (OSError, ValueError, TypeError, AttributeError):
        return f"{MANIFEST} is torn"
    if PROGRESS_JSON not in expected:
        return f"{MANIFEST} does not list {PROGRESS_JSON}"
    played = {WEIGHTS, PROGRESS_JSON} if to_play and WEIGHTS in expected else expected.keys()
    for name in played:
        path, (size, crc) = checkpoint / name, expected[name]
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size} bytes instead of {size}"
        try:
            if zlib.crc32(path.read_bytes()) != crc:
                return f"{name} has changed"
        except OSError as error:
            return f"{name} cannot be read: {error.strerror}"
    return None


def refuse_damaged_checkpoint(checkpoint: Path, to_play: bool = True) -> None:
    """Check a checkpoint against its manifest, before any of its files is read; see `find_damage`.

    Raises:
        Mistake: the checkpoint is damaged; the message names the whole checkpoints of the same run.
    """
    if wrong := find_damage(checkpoint, to_play):
        found = [checkpoint.parent / name for name in (*TO_PLAY, *reversed(MILESTONES))]
        whole = [path.name for path in found if path.is_dir() and find_damage(path, to_play) is None][:3]
        way_out = f"use another one: checkpoint={' or checkpoint='.join(whole)}" if whole else "none beside it is whole"
        raise Mistake(f"{checkpoint}: the checkpoint is damaged ({wrong}); {way_out}")
