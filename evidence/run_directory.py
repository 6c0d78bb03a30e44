"""Reading run directories: the settings, the seeds below them, the checkpoints.

<run>/config.yaml  run.json  progress.csv    one seed
<run>/checkpoints/{best,last,previous}       of it; and milestone_0 to milestone_100
<run>/seed_1/  seed_2/  ...                  a parent: such a directory each
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from algorithms.milestones import MILESTONES
from algorithms.progress import damage
from environments.records import checked, count, number, read_starts, read_table, read_yaml, refuse
from experiments.names import name_of
from settings.mistakes import Mistake
from settings.protocols import describe

CHECKPOINTS = ("best", "last", "previous")  # the first that is there is taken when none is named
NAMED = (*CHECKPOINTS, *MILESTONES)  # all that a name stands for
SHAPES = {  # of what is read of config.yaml
    "seed": int,
    "algo.name": str,
    "env.name": str,
    "env.id": str,
    "env.game": str,
    "env.frameskip": int,
    "env.max_episode_frames": int,
    "env.noop_max": int,
    "env.dim": int,
    "env.sticky": float,
    "model.torso": str,
    "model.dtype": str,
}
REQUIRED = ("seed", "algo.name", "env.name", "model.dtype")
PRINTED = "give the directory that a run printed last"


class NoRows(Mistake):
    """A run has reported nothing yet."""


def runs_of(run: Path) -> list[Path]:
    """The runs of single seeds in a run directory: its children by seed, or itself.

    Raises:
        Mistake: there is no such directory, or it is not a run.
    """
    if not run.is_dir():
        raise Mistake(f"run={run}: there is no such directory; {PRINTED}")
    children = [child for child in run.glob("seed_*") if child.name[5:].isdigit() and child.is_dir()]
    if children:
        return sorted(children, key=lambda child: int(child.name[5:]))
    if not (run / "config.yaml").is_file():
        raise Mistake(f"run={run}: not a run directory, it has no config.yaml; {PRINTED}")
    return [run]


def settings_of(run: Path) -> dict:
    """The composed settings of a run of one seed; `env.name` is what was played, whatever an earlier version called it.

    Raises:
        Mistake: config.yaml is missing, cannot be read, or was written by something else.
    """
    try:
        settings = _settings_in(run / "config.yaml")
    except Mistake as mistake:
        raise Mistake(f"run={run} is not a run directory ({mistake}); {PRINTED}") from mistake
    return settings | {"env": settings["env"] | {"name": name_of(settings["env"])}}


def _settings_in(path: Path) -> dict:
    settings = read_yaml(path)
    for name, kind in SHAPES.items():
        group, _, key = name.partition(".")
        inside = settings if not key else checked(path, settings.get(group), dict, group)
        if name in REQUIRED or (key or group) in inside:
            checked(path, inside.get(key or group), kind, name)
    try:
        describe(settings["env"])
    except (KeyError, TypeError) as error:
        raise refuse(path, f"env has a protocol without {error}") from error
    return settings


def find_checkpoint(run: Path, name: str | None) -> Path:
    """The folder of a checkpoint: the one named, or given by its path; else the best, else the last, never a milestone.

    Raises:
        Mistake: there is no such checkpoint, or it is damaged.
    """
    if name is not None and name not in NAMED and (folder := Path(name).expanduser()).is_dir():
        refuse_damaged(folder.resolve())
        return folder.resolve()
    there = [name for name in NAMED if (run / "checkpoints" / name).is_dir()]
    if not there or (name is None and there[0] not in CHECKPOINTS):
        raise Mistake(f"run={run}: it has no checkpoint yet; wait for its first one, or start the run again")
    if name is not None and name not in there:
        raise Mistake(
            f"checkpoint={name}: {run} has no such checkpoint, only {', '.join(there)}; name one of these, "
            "or give the path of a checkpoint's folder"
        )
    checkpoint = run / "checkpoints" / (name or there[0])
    refuse_damaged(checkpoint)
    return checkpoint


def milestones_of(run: Path) -> list[Path]:
    """The milestones of a run that are there, in the order in which they were taken.

    Raises:
        Mistake: one of them is damaged.
    """
    there = [folder for name in MILESTONES if (folder := run / "checkpoints" / name).is_dir()]
    for folder in there:
        refuse_damaged(folder)
    return there


def refuse_damaged(checkpoint: Path) -> None:
    """Look at the manifest of a checkpoint before anything in it is read; another one is never taken without a word.

    Raises:
        Mistake: the checkpoint is damaged; it names one beside it that is whole.
    """
    if wrong := damage(checkpoint):
        folder = checkpoint.parent
        whole = [name for name in CHECKPOINTS if (folder / name).is_dir() and damage(folder / name) is None]
        way_out = (
            f"evaluate another, checkpoint={' or checkpoint='.join(whole)}"
            if whole
            else "neither best nor last nor previous beside it is whole"
        )
        raise Mistake(f"{checkpoint}: the checkpoint is damaged ({wrong}); {way_out}")


def starts_of(run: Path) -> list[dict[str, Any]]:
    """How a run was started and continued: command, git, packages, hardware; for one seed of several, the parent's.

    Nothing where run.json is missing.
    """
    for folder in (run, run.parent):
        if (path := folder / "run.json").is_file():
            return read_starts(path, required=("command", "packages", "hardware"))
    return []


def progress_of(run: Path, columns: Iterable[str], if_reported: Iterable[str] = ()) -> dict[str, np.ndarray]:
    """Read columns of progress.csv: float [R], NaN where a cell is empty. A row that is half written is left out.

    Args:
        run: its directory.
        columns: what every run reports.
        if_reported: further columns; one that the run does not report is missing in what is returned.

    Raises:
        NoRows: the run has reported nothing yet.
        Mistake: the file is damaged.
    """
    path = run / "progress.csv"
    kinds = dict.fromkeys((*columns, *if_reported), number) | {"agent_steps": count}
    rows = read_table(path, kinds, required=list(columns), grows=True)
    if not rows:
        raise NoRows(f"run={run}: its progress.csv has no rows yet; wait for the first, or leave this run out")
    steps = [row["agent_steps"] for row in rows]
    if (falls := next((i for i in range(1, len(steps)) if steps[i] <= steps[i - 1]), None)) is not None:
        raise refuse(path, f"agent_steps do not rise in line {falls + 2}")
    names = [*columns, *(name for name in if_reported if name in rows[0])]
    return {name: np.array([row[name] for row in rows], float) for name in names}
