"""run.json: one entry per start of a run, with its command line, its user, and the versions of code and packages.

A start also writes config.yaml, the complete settings. Passwords are masked in both files.
"""

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from environments.passwords import mask_passwords
from run_directory.files import check_kind, read_json
from run_directory.layout import CONFIG, STARTS
from run_directory.provenance import collect_provenance, identify_user
from run_directory.writing import write_file

KINDS = {"time": str, "command": list, "overrides": list, "git": dict, "packages": dict, "hardware": dict}
KINDS |= {"user": str, "host": str}


def write_start(run: Path, settings: dict, argv: list[str], overrides: list[str], dtype: str) -> None:
    """Record the start or continuation of a run: its settings in config.yaml, and an entry in run.json.

    Args:
        run: the run directory.
        settings: the complete settings of the run.
        argv: the command line.
        overrides: the overrides in the command line.
        dtype: the dtype of the network's torso, which is recorded with the hardware.
    """
    write_file(run / CONFIG, yaml.safe_dump(mask_passwords(settings), sort_keys=False))
    starts = read_starts(run / STARTS) if (run / STARTS).exists() else []
    provenance = collect_provenance(run, settings)
    entry = {
        "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "command": mask_passwords(argv),
        "overrides": mask_passwords(overrides),
        **identify_user(),
        **provenance,
        "hardware": provenance["hardware"] | {"dtype": dtype},
    }
    write_file(run / STARTS, json.dumps({"starts": [*starts, entry]}, indent=1))


def read_starts(path: Path, required: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read a run.json: one entry per start of a run, oldest first.

    Args:
        path: the path of the file.
        required: keys that every entry must have. An entry of an earlier version may lack all other keys.

    Raises:
        Mistake: the file cannot be read, or a value in it has a wrong type.
    """
    starts = check_kind(path, read_json(path, dict).get("starts"), list, "starts")
    for index, start in enumerate(starts):
        check_kind(path, start, dict, f"starts[{index}]")
        for name, kind in KINDS.items():
            if name in required or start.get(name) is not None:
                value = check_kind(path, start.get(name), kind, f"starts[{index}].{name}")
                for item in value if kind is list else ():
                    check_kind(path, item, str, f"an entry of starts[{index}].{name}")
        if git := start.get("git"):
            check_kind(path, git.get("commit"), str, f"starts[{index}].git.commit")
            check_kind(path, git.get("dirty"), bool, f"starts[{index}].git.dirty")
        machine = start.get("hardware") or {}
        check_kind(path, machine.get("dtype", ""), str, f"starts[{index}].hardware.dtype")
    return starts


def find_starts(run: Path) -> list[dict[str, Any]]:
    """Return the starts of a run, each with command, packages and hardware; an empty list without a run.json.

    If the directory of one of several seeds has no run.json, the starts are those of the directory above it.
    """
    for folder in (run, run.parent):
        if os.path.lexists(path := folder / STARTS):
            return read_starts(path, required=("command", "packages", "hardware"))
    return []


def read_overrides(run: Path) -> list[str]:
    """Return the overrides of all starts of a run, oldest first."""
    return [o for start in read_starts(run / STARTS, required=("overrides",)) for o in start["overrides"]]
