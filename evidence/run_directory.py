"""Reading run directories: the settings, the seeds below them, the checkpoints.

<run>/config.yaml  run.json  progress.csv  checkpoints/{best,last,previous}    one seed
<run>/seed_1/  seed_2/  ...                                                    a parent: such a directory each
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from environments.mistakes import Mistake

CHECKPOINTS = ("best", "last", "previous")  # the first that is there is taken when none is named
PRINTED = "give the directory that a run printed last"


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
    """The composed settings of a run of one seed.

    Raises:
        Mistake: config.yaml is missing, cannot be read, or was written by something else.
    """
    path = run / "config.yaml"
    try:
        settings = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise Mistake(f"run={run}: its config.yaml cannot be read ({reason}); {PRINTED}") from error
    there = settings if isinstance(settings, dict) else {}
    kinds = {"seed": int, "algo": dict, "env": dict, "model": dict}
    missing = [name for name, kind in kinds.items() if not isinstance(there.get(name), kind)]
    if missing:
        raise Mistake(f"run={run}: not a run of this suite, its config.yaml has no `{missing[0]}`; {PRINTED}")
    return settings


def find_checkpoint(run: Path, name: str | None) -> Path:
    """The folder of a checkpoint: the one named, or given by its path; else the best, else the last.

    Raises:
        Mistake: there is no such checkpoint.
    """
    if name is not None and name not in CHECKPOINTS and (folder := Path(name).expanduser()).is_dir():
        return folder.resolve()
    there = [name for name in CHECKPOINTS if (run / "checkpoints" / name).is_dir()]
    if not there:
        raise Mistake(f"run={run}: it has no checkpoint yet; train it further with resume={run}")
    if name is not None and name not in there:
        raise Mistake(
            f"checkpoint={name}: {run} has no such checkpoint, only {' and '.join(there)}; name one of these, "
            "or give the path of a checkpoint's folder"
        )
    return run / "checkpoints" / (name or there[0])


def starts_of(run: Path) -> list[dict[str, Any]]:
    """How a run was started and continued: command, git, packages, hardware; for one seed of several, the parent's.

    Nothing where run.json is missing.
    """
    for folder in (run, run.parent):
        if (folder / "run.json").is_file():
            return json.loads((folder / "run.json").read_text())["starts"]
    return []


def progress_of(run: Path, columns: Iterable[str]) -> dict[str, np.ndarray]:
    """Columns of progress.csv: float [R], NaN where a cell is empty. A row that is half written is left out.

    Raises:
        Mistake: the run has reported nothing yet.
    """
    path = run / "progress.csv"
    text = path.read_text() if path.is_file() else ""
    rows = list(csv.DictReader(text[: text.rfind("\n") + 1].splitlines()))
    if not rows:
        raise Mistake(f"run={run}: its progress.csv has no rows yet; wait for the first, or leave this run out")
    return {name: np.array([float(row[name] or "nan") for row in rows]) for name in columns}
