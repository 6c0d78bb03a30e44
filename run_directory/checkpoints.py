"""The checkpoints of a run: `last`, `previous` and `best`.

Ray Tune keeps its own newest checkpoint, for restarts within a run. The files of each checkpoint that Tune makes are
linked into the run directory under a temporary name (or copied, on a file system without links), and the folder is then
renamed, so the three names always belong to whole checkpoints. A manifest of sizes and checksums shows later damage.
"""

import json
import os
import shutil
import time
from pathlib import Path

from run_directory.files import read_json
from run_directory.layout import CHECKPOINT_NAMES, PROGRESS_JSON, TO_PLAY, TO_RESUME, checkpoint_path
from run_directory.manifest import find_damage, refuse_damaged_checkpoint, write_manifest
from run_directory.weights import write_weights
from settings.mistakes import Mistake

MIN_GAMES = 20  # the least number of games whose mean counts as a score


def complete_checkpoint(checkpoint: Path, totals: dict[str, float]) -> None:
    """Add progress.json, the weights as plain arrays and the manifest to RLlib's files of a checkpoint."""
    (checkpoint / PROGRESS_JSON).write_text(json.dumps(totals))
    write_weights(checkpoint)
    write_manifest(checkpoint)


def read_totals(checkpoint: Path) -> dict[str, float]:
    """Read the counters of the run at a checkpoint: agent_steps, episodes, episode_return_mean and more.

    Raises:
        Mistake: progress.json cannot be read.
    """
    return read_json(checkpoint / PROGRESS_JSON, dict)


def list_checkpoints(run: Path) -> list[str]:
    """Return the names of the checkpoints that a run can continue from, the newest first."""
    return [name for name in TO_RESUME if checkpoint_path(run, name).is_dir()]


def has_whole_checkpoint(run: Path) -> bool:
    """Return whether a run has a checkpoint to continue from."""
    return any(find_damage(checkpoint_path(run, name)) is None for name in list_checkpoints(run))


def find_newest_checkpoint(run: Path) -> tuple[Path, list[str]]:
    """Return the newest whole checkpoint of a run, and a sentence for each newer checkpoint, which is damaged.

    Raises:
        Mistake: the run has no whole checkpoint.
    """
    complaints = []
    for name in list_checkpoints(run):
        checkpoint = checkpoint_path(run, name)
        wrong = find_damage(checkpoint)
        if wrong is None:
            return checkpoint, [f"{complaint}; falling back to the one before" for complaint in complaints]
        complaints.append(f"checkpoint {name} is damaged ({wrong})")
    why = "; ".join(complaints) if complaints else "it stopped before its first one, or was copied without them"
    raise Mistake(f"resume={run}: no checkpoint to continue from ({why}); start a new run")


def find_checkpoint(run: Path, name: str | None) -> Path:
    """Return the folder of a checkpoint to play with.

    Args:
        run: the run directory of one seed.
        name: the name of a checkpoint or milestone, or the path of a folder. None stands for the
            first checkpoint of TO_PLAY that exists.

    Raises:
        Mistake: the checkpoint does not exist, or is damaged.
    """
    if name is not None and name not in CHECKPOINT_NAMES and (folder := Path(name).expanduser()).is_dir():
        refuse_damaged_checkpoint(folder.resolve())
        return folder.resolve()
    found = [name for name in CHECKPOINT_NAMES if checkpoint_path(run, name).is_dir()]
    if not found or (name is None and found[0] not in TO_PLAY):
        raise Mistake(f"run={run}: it has no checkpoint yet; wait for its first, or copy them too if this is a copy")
    if name is not None and name not in found:
        raise Mistake(f"checkpoint={name}: {run} has only {', '.join(found)}; name one, or the path of a folder")
    checkpoint = checkpoint_path(run, name or found[0])
    refuse_damaged_checkpoint(checkpoint)
    return checkpoint


def keep_checkpoint(checkpoint: Path, run: Path) -> None:
    """Copy a checkpoint of Tune into the run as `last`; the old `last` becomes `previous`.

    The checkpoint is copied as `best` too, if its score is the highest so far and the mean of at least MIN_GAMES games.
    """
    last, previous, best = (checkpoint_path(run, name) for name in ("last", "previous", "best"))
    arriving, leaving = (checkpoint_path(run, name) for name in ("arriving", "leaving"))
    arriving.parent.mkdir(exist_ok=True)
    _link_files(checkpoint, arriving)
    if last.exists():
        if find_damage(last) is None:  # a damaged checkpoint must not replace a whole one
            make_room(previous)
            os.rename(last, previous)
        else:
            make_room(last)
    os.rename(arriving, last)
    if leaving.exists() and not best.exists():  # killed between the two renamings below
        os.rename(leaving, best)
    now = read_totals(last)
    if now["episodes"] >= MIN_GAMES and (
        not best.exists() or find_damage(best) or now["episode_return_mean"] > read_totals(best)["episode_return_mean"]
    ):
        _link_files(last, arriving)
        make_room(leaving)
        if best.exists():
            os.rename(best, leaving)
        os.rename(arriving, best)
        shutil.rmtree(leaving, ignore_errors=True)


def make_room(folder: Path) -> None:
    """Remove a folder; one of which a file stays, as an open one does on NFS, is moved away until the next call."""
    for path in (*folder.parent.glob("*.left"), folder):
        shutil.rmtree(path, ignore_errors=True)
    if folder.exists():
        os.rename(folder, folder.with_name(f"{folder.name}.{time.time_ns()}.left"))


def _link_files(source: Path, target: Path) -> None:
    """Replace the folder `target` by hard links to all files of `source`, or by copies where links are not possible."""
    make_room(target)
    try:
        shutil.copytree(source, target, copy_function=os.link)
    except OSError:  # source and target are on two file systems, or the file system has no links
        make_room(target)
        for path in (source, *sorted(source.rglob("*"))):  # copytree's error would not say that the disk is full
            copy = target / path.relative_to(source)
            copy.mkdir() if path.is_dir() else shutil.copy2(path, copy)
