"""loggers.json: the name under which a run directory is known at W&B and MLflow, so that a resumed run is found again.

    {"id": "3f2a9c01b7d4", "name": "2026-11-22_13-05-41_3f2a", "group": "ppo/assault", "sent": {"wandb": 120000},
     "missing": {}, "places": {"wandb": "online"}, "failed": false}

Every seed has a run of its own there. Runs of one experiment share a group: `<algo>/<env>`, with the label where there
is one, `searches/<name>` of the trials of a search, `grids/<name>` of the runs of a grid. For each logger, `sent` has
the agent steps of the newest row that it had when the run was last opened, and `places` where it kept the run. While
the run is open, `missing` has the agent steps of the first row that is not known to have arrived; afterwards, for a
logger that has lost rows, those of the first lost row. `failed` says how the training has ended; before, it is missing.
"""

import hashlib
import json
from pathlib import Path
from typing import Any

from environments.passwords import mask_passwords
from run_directory.files import check_kind, read_json, read_yaml
from run_directory.layout import CONFIG, STARTS
from run_directory.starts import find_starts
from run_directory.writing import write_file

LOGGERS_JSON = "loggers.json"


def make_identity(run: Path, folder: Path, settings: dict) -> dict[str, Any]:
    """Return the content of loggers.json for a run directory that has none yet.

    The id follows from the directory and its first start. It is the same if the file is lost, and another for a copy of
    the directory in which the file is deleted.

    Args:
        run: the run directory of one seed.
        folder: of the run, the search or the grid that it belongs to.
        settings: of the run, the search or an arm of the grid.
    """
    first = (find_starts(run) or [{}])[0]
    word = json.dumps([str(run), first.get("time"), first.get("host")])
    part = folder.parent.name in ("searches", "grids")
    words = (settings["algo"]["name"], settings["env"]["name"], settings["label"])
    return {
        "id": hashlib.sha256(word.encode()).hexdigest()[:12],
        "name": str(run.relative_to(folder if part else folder.parent)),
        "group": f"{folder.parent.name}/{folder.name}" if part else "/".join(filter(None, words)),
        "sent": {},
        "missing": {},
        "places": {},
    }


def read_identity(run: Path) -> dict[str, Any] | None:
    """Read loggers.json; None where there is none.

    Raises:
        Mistake: the file is damaged.
    """
    path = run / LOGGERS_JSON
    if not path.exists():
        return None
    identity = {"places": {}} | read_json(path, dict)  # those of earlier versions are without it
    for key, kind in {"id": str, "name": str, "group": str, "sent": dict, "missing": dict, "places": dict}.items():
        check_kind(path, identity.get(key), kind, key)
    check_kind(path, identity.get("failed", False), bool, "failed")
    for key in ("sent", "missing"):
        for name, steps in identity[key].items():
            check_kind(path, steps, int, f"{key}.{name}")
    for name, place in identity["places"].items():
        check_kind(path, place, str, f"places.{name}")
    return identity


def write_identity(run: Path, identity: dict[str, Any]) -> None:
    """Write loggers.json.

    Raises:
        OSError: the file cannot be written.
    """
    write_file(run / LOGGERS_JSON, json.dumps(identity, indent=1) + "\n")


def describe_run(run: Path, identity: dict[str, Any]) -> dict[str, Any]:
    """Return what the run of a logger is opened with: id, name, group, tags (name -> text) and settings.

    Raises:
        Mistake: config.yaml or run.json is damaged.
    """
    settings, start = read_yaml(run / CONFIG), (find_starts(run) or [{}])[-1]
    git = start.get("git") or {}
    tags = {
        "algo": settings["algo"]["name"],
        "env": settings["env"]["name"],
        "seed": settings["seed"],
        "label": settings.get("label"),
        "run_directory": run,
        "command_line": " ".join(start.get("command", [])),
        "commit": f"{git['commit']}{'-dirty' if git.get('dirty') else ''}" if git else None,
        "host": start.get("host"),
    }
    texts = {key: str(value) for key, value in tags.items() if value not in (None, "")}
    return {key: identity[key] for key in ("id", "name", "group")} | {
        "tags": mask_passwords(texts),
        "config": mask_passwords(settings),
    }


def record_loss(run: Path, losses: dict[str, dict[str, Any]]) -> None:
    """Add to the newest start in run.json what loggers have lost: name -> {"rows": number, "why": sentence}.

    Raises:
        Mistake: run.json is damaged.
        OSError: it cannot be written.
    """
    content = read_json(run / STARTS, dict)
    before = content["starts"][-1].get("rows_not_sent") or {}
    content["starts"][-1]["rows_not_sent"] = before
    for name, loss in losses.items():
        before[name] = loss | {"rows": loss["rows"] + before.get(name, {}).get("rows", 0)}
    write_file(run / STARTS, json.dumps(content, indent=1))
