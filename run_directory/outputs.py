"""Run directories below `output_dir`: making a new one, and finding the newest or the one of the same experiment.

outputs/<algorithm>/<environment>/<time>    a run
outputs/<algorithm>/<environment>/auto_...  a run that was started with resume=auto, named after its settings
outputs/searches/<name>                     a search
"""

import hashlib
import json
import os
import secrets
import sys
import time
from pathlib import Path

from run_directory.layout import CONFIG, STARTS
from settings.mistakes import Mistake, resolve_path
from settings.protocols import EARLIER

AUTO = "auto"  # resume=auto continues the run of the same experiment, or starts it where there is none yet
# Settings that may change without making it another experiment
NOT_THE_EXPERIMENT = {"cluster", "output_dir", "label", "resume", "run", "trust", "on_usr1", "dashboard", "dry_run"}
NOT_THE_EXPERIMENT |= {"max_failures", "checkpoint_every_s", "keep_milestones", "report_every", "evaluate", "page"}
NOT_THE_EXPERIMENT |= {"episodes", "checkpoint", "way", "games", "format", "scale", "fps", "replay", "port"}
NOT_THE_EXPERIMENT |= {"size"}  # a name; what it stands for is in the other settings


def create_run(settings: dict) -> Path:
    """Make a new directory for a run; its parents too.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S") + "_" + secrets.token_hex(2)
    stamp = "_".join(filter(None, (stamp, settings["label"])))
    name = compute_key(settings) if settings["resume"] == AUTO else stamp
    return make_folder(settings, settings["algo"]["name"], settings["env"]["name"], name)


def make_folder(settings: dict, *names: str) -> Path:
    """Make a directory below `output_dir`, where it does not exist yet, and return it.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    path = Path(settings["output_dir"]).expanduser().resolve().joinpath(*names)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(
            f"output_dir={settings['output_dir']} cannot be written ({error.strerror}: {error.filename}); name another"
        ) from error
    return path


def refuse_unwritable_output(settings: dict) -> None:
    """Raise what `create_run` would raise, before anything is made.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    path = resolve_path(settings["output_dir"], "output_dir")
    parent = next(folder for folder in (path, *path.parents) if folder.exists())
    if not parent.is_dir() or not os.access(parent, os.W_OK):
        why = "no permission to write" if parent.is_dir() else "no directory"
        raise Mistake(f"output_dir={settings['output_dir']} cannot be written ({why}: {parent}); name another")


def compute_key(settings: dict) -> str:
    """Return the name of an experiment, which does not depend on machines and paths: `auto_3f2a9c01b7`."""
    experiment = {key: value for key, value in settings.items() if key not in NOT_THE_EXPERIMENT}
    return "auto_" + hashlib.sha256(json.dumps(experiment, sort_keys=True).encode()).hexdigest()[:10]


def find_begun_run(settings: dict) -> Path | None:
    """Return the run directory that the same experiment has with `resume=auto`; None where it has not begun.

    An earlier version may have begun it, under a key without the rules that were added since.
    """
    path = Path(settings["output_dir"]).expanduser().resolve()
    path = path / settings["algo"]["name"] / settings["env"]["name"]
    earlier = {name: value for name, value in settings["env"].items() if name not in EARLIER}
    keys = compute_key(settings), compute_key(settings | {"env": earlier})
    return next((path / key for key in keys if (path / key / STARTS).exists()), None)


def find_newest_run(path: str, setting: str, output_dir: str, kinds: tuple[str, ...] = ("train", "search")) -> str:
    """Return the newest run directory below a directory, or below `output_dir` for `latest`.

    Args:
        path: as it was typed. A run directory is returned as it is, and so is a path without run directories below it.
        setting: the setting that was typed, for messages.
        output_dir: where `latest` looks.
        kinds: `train` for runs, `search` for searches.

    Raises:
        Mistake: the path is `latest`, and there is no run directory.
    """
    folder = resolve_path(path, setting)
    if latest := path == "latest" and not folder.exists():
        folder = resolve_path(output_dir, "output_dir")
    elif not folder.is_dir() or (folder / CONFIG).exists() or (folder / STARTS).exists():
        return path
    holders = {record.parent for depth in ("*", "*/*", "*/*/*") for record in folder.glob(f"{depth}/{STARTS}")}
    whole = holders - {run for run in holders if holders & {*run.parents}}  # no seed of a run, no trial of a search
    found = [run for run in whole if ("search" if run.parent.name == "searches" else "train") in kinds]
    if not found:
        if latest:
            what = "search" if kinds == ("search",) else "run"
            raise Mistake(f"{setting}=latest: there is no {what} in {folder} yet; give {setting}=<its directory>")
        return path
    run = max(found, key=lambda run: (run / STARTS).stat().st_mtime)
    others = f", the newest of {len(found)} in {folder}" if len(found) > 1 else ""
    print(f"{setting}={path} is {run}{others}", file=sys.stderr)
    return str(run)
