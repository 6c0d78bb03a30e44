"""The command of this room: `command=export` writes a trained agent as a folder that needs nothing of the suite.

    settings of the command -> is there such an agent, a free folder, the package? -> export_agent -> what to type next

The files that load the agent are imported where they are used, because they take seconds; a mistake is answered before.
"""

import importlib.util
import shlex
from pathlib import Path

from playing.saved_settings import read_run_settings
from run_directory.checkpoints import find_checkpoint
from run_directory.layout import list_seed_runs
from run_directory.writing import choose_free_path, explain_unwritable
from settings.mistakes import Mistake, resolve_path

PACKAGES = {"onnx": ("onnx", "onnxruntime"), "torchscript": ()}  # format -> what it needs beside the suite's packages


def export_run(settings: dict) -> int:
    """Export the agent of a run; return the exit code.

    Args:
        settings: `run`, `checkpoint`, `format` and `out`, see `settings.runs.RunSettings`.

    Raises:
        Mistake: the run has no such agent, its network cannot be exported, or the folder is there or not to be written.
    """
    run, format = resolve_path(settings["run"], "run"), settings["format"]
    runs = list_seed_runs(run)
    if len(runs) > 1:
        raise Mistake(f"run={run} has {len(runs)} seeds; name one of them, such as run={runs[0]}")
    saved, checkpoint = read_run_settings(runs[0]), find_checkpoint(runs[0], settings["checkpoint"])
    folder = choose_folder(settings["out"], f"{saved['algo']['name']}_{saved['env']['name']}")
    refuse_missing_packages(format)
    from exports.export import export_agent

    try:
        packages = export_agent(runs[0], checkpoint, format, folder)
    except OSError as error:
        why = error.strerror or error
        raise Mistake(f"out={folder} cannot be written ({why}); name another folder with out=<folder>") from error
    size = sum(path.stat().st_size for path in folder.iterdir()) / 1e6
    print(f"exported: {folder} ({size:.2f} MB)")
    of_gymnasium = ":" not in saved["env"].get("id", ":")  # such as a physics engine
    needs = ", ".join(packages) + " and what its game needs beside Gymnasium" * of_gymnasium
    command = shlex.join(["python", str(folder / "play.py"), "--games", "3"])
    print(f"it plays, in any Python environment with {needs}, by: {command}")
    return 0


def choose_folder(out: str | None, name: str) -> Path:
    """Return the folder to write, which does not exist yet: `out`, or without it a free name in outputs/exports.

    Raises:
        Mistake: `out` is there already, or cannot be written.
    """
    folder = resolve_path(out, "out") if out else choose_free_path(resolve_path("outputs/exports", "out") / name)
    if folder.exists():
        raise Mistake(f"out={out} is there already, and nothing is overwritten; name another folder, or delete it")
    if why := explain_unwritable(folder / "agent.json"):
        raise Mistake(f"out={folder} cannot be written ({why}); name another folder with out=<folder>")
    return folder


def refuse_missing_packages(format: str) -> None:
    """Refuse a format whose packages are not installed; importing them would take seconds.

    Raises:
        Mistake: a package is missing.
    """
    if missing := [name for name in PACKAGES[format] if importlib.util.find_spec(name) is None]:
        raise Mistake(
            f"format={format} needs {' and '.join(missing)}, which the suite does not install by itself; type "
            f"pip install {' '.join(missing)}, or choose format=torchscript"
        )
