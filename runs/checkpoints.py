"""Checkpoints in a run directory: `last`, `previous` and `best`, and which of them is whole.

Ray Tune keeps its own newest checkpoint for restarts within a run; after each one it makes, its files are linked (or
copied, where links cannot be made) into the run directory under a temporary name and renamed, so that a name always
stands for a whole checkpoint. A manifest of sizes and checksums finds what a failing disk or a full one did later.
"""

import json
import os
import shutil
from pathlib import Path

from algorithms.progress import PROGRESS_FILE, damage
from settings.mistakes import Mistake

MIN_GAMES = 20  # that `best` must rest on


def progress_of(checkpoint: Path) -> dict[str, float]:
    """Where the run stood: agent_steps, episodes, episode_return_mean and more."""
    return json.loads((checkpoint / PROGRESS_FILE).read_text())


def names(run: Path) -> list[str]:
    """The checkpoints of a run, newest first."""
    return [name for name in ("last", "previous", "best") if (run / "checkpoints" / name).is_dir()]


def any_whole(run: Path) -> bool:
    """Return whether a run has a checkpoint to continue from."""
    return any(damage(run / "checkpoints" / name) is None for name in names(run))


def newest_whole(run: Path) -> tuple[Path, list[str]]:
    """The newest checkpoint that is whole, and a sentence for every newer one that is not.

    Raises:
        Mistake: there is none.
    """
    complaints = []
    for name in names(run):
        checkpoint = run / "checkpoints" / name
        wrong = damage(checkpoint)
        if wrong is None:
            return checkpoint, [f"{complaint}; falling back to the one before" for complaint in complaints]
        complaints.append(f"checkpoint {name} is damaged ({wrong})")
    why = "; ".join(complaints) if complaints else "it stopped before its first checkpoint"
    raise Mistake(f"resume={run}: no checkpoint to continue from ({why}); start a new run")


def keep(checkpoint: Path, run: Path) -> None:
    """Make a checkpoint of Tune's the run's `last`, the former one `previous`, and `best` where it is."""
    folder = run / "checkpoints"
    folder.mkdir(exist_ok=True)
    last, previous, best = (folder / name for name in ("last", "previous", "best"))
    arriving = _copy(checkpoint, folder / "arriving")
    if last.exists():
        if damage(last) is None:  # a damaged one must not push a whole one out
            shutil.rmtree(previous, ignore_errors=True)
            os.rename(last, previous)
        else:
            shutil.rmtree(last)
    os.rename(arriving, last)
    now = progress_of(last)
    if now["episodes"] >= MIN_GAMES and (
        not best.exists() or damage(best) or now["episode_return_mean"] > progress_of(best)["episode_return_mean"]
    ):
        arriving = _copy(last, folder / "arriving")
        shutil.rmtree(best, ignore_errors=True)
        os.rename(arriving, best)


def _copy(source: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    try:
        return shutil.copytree(source, target, copy_function=os.link)
    except OSError:  # another file system, or one without links
        shutil.rmtree(target, ignore_errors=True)
        return shutil.copytree(source, target)
