"""The run directories below `output_dir`: how a new one is made, and how an existing one is found.

outputs/<algorithm>/<environment>/<time>    a run
outputs/<algorithm>/<environment>/auto_...  a run that was started with resume=auto, named after its settings
outputs/searches/<name>                     a search
"""

import hashlib
import json
import secrets
import sys
import time
from datetime import datetime
from pathlib import Path

from run_directory.files import read_yaml
from run_directory.layout import CONFIG, STARTS
from run_directory.starts import read_starts
from run_directory.writing import explain_unwritable
from settings.experiment import list_versions
from settings.mistakes import Mistake, resolve_path
from settings.runs import NOT_THE_EXPERIMENT

AUTO = "auto"  # resume=auto continues the run of the same experiment, or starts it where there is none yet


def create_run(settings: dict) -> Path:
    """Make a new run directory, and the directories above it.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S") + "_" + secrets.token_hex(2)
    words = compute_key(settings) if settings["resume"] == AUTO else stamp, settings["label"]
    return make_folder(settings, settings["algo"]["name"], settings["env"]["name"], "_".join(filter(None, words)))


def make_folder(settings: dict, *names: str) -> Path:
    """Return a directory below `output_dir`; make it if it does not exist yet.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    path = Path(settings["output_dir"]).expanduser().resolve().joinpath(*names)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        why = f"{error.strerror}: {error.filename}"
        raise Mistake(f"output_dir={settings['output_dir']} cannot be written ({why}); name another") from error
    return path


def refuse_unwritable_output(settings: dict, *names: str) -> None:
    """Refuse an `output_dir` in which `make_folder` could not make a directory of these names; nothing is made.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    path = resolve_path(settings["output_dir"], "output_dir").joinpath(*names)
    if why := explain_unwritable(path / CONFIG):
        raise Mistake(f"output_dir={settings['output_dir']} cannot be written ({why}); name another")


def compute_key(settings: dict) -> str:
    """Return a name that is the same for each start of an experiment, on any machine: `auto_3f2a9c01b7`."""
    experiment = {k: v for k, v in settings.items() if k not in NOT_THE_EXPERIMENT and (k, v) != ("pretrained", None)}
    return "auto_" + hashlib.sha256(json.dumps(experiment, sort_keys=True).encode()).hexdigest()[:10]


def find_begun_run(settings: dict) -> Path | None:
    """Return the run directory that an earlier start with `resume=auto` has made for the experiment, or None.

    If an earlier version of the suite has made it, its name was computed without the newer settings, and has no label.
    """
    path = Path(settings["output_dir"]).expanduser().resolve() / settings["algo"]["name"] / settings["env"]["name"]
    label, keys = settings["label"], [compute_key(version) for version in list_versions(settings)]
    names = [*(f"{key}_{label}" for key in keys if label), *keys]
    begun = [path / name for name in names if (path / name / STARTS).exists()]
    return next((run for run in begun if not label or read_yaml(run / CONFIG).get("label") == label), None)


def find_newest_run(path: str, setting: str, output_dir: str, kinds: tuple[str, ...] = ("train", "search")) -> str:
    """Return the newest run directory below a directory, or below `output_dir` for `latest`.

    Args:
        path: the path that the user typed. It is returned unchanged if it is a run directory, or has none below it.
        setting: the setting that the user typed, for messages.
        output_dir: the directory that `latest` stands for.
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
    whole = holders - {run for run in holders if holders & {*run.parents}}  # no seeds, no trials
    found = [run for run in whole if ("search" if run.parent.name == "searches" else "train") in kinds]
    if not found:
        if latest:
            what = "search" if kinds == ("search",) else "run"
            raise Mistake(f"{setting}=latest: there is no {what} in {folder} yet; give {setting}=<its directory>")
        return path
    run = max(found, key=find_time)
    others = f", the newest of {len(found)} in {folder}" if len(found) > 1 else ""
    print(f"{setting}={path} is {run}{others}", file=sys.stderr)
    return str(run)


def find_time(run: Path) -> float:
    """Return when the newest start of a run began, which a copy of the run keeps, in seconds since 1970."""
    try:
        return datetime.strptime(read_starts(run / STARTS)[-1]["time"], "%Y-%m-%dT%H:%M:%S%z").timestamp()
    except (Mistake, IndexError, KeyError, ValueError):
        return (run / STARTS).stat().st_mtime
