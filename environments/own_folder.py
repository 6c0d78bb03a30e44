"""The user's own folder, which `--config-dir mine` names: YAML files and Python modules beside those of the suite.

    mine/env/swing.yaml      env=swing
    mine/my_env.py           importable as my_env, in this process and in those of Ray

On a cluster the folder travels with the code of the suite (`cluster/package.py`).
"""

import importlib
import os
import sys
from importlib.machinery import PathFinder
from pathlib import Path

from environments.checkout import ROOT
from settings.mistakes import Mistake


class OwnFolder:
    """The folder of the command line that this process works on; a process has one at a time."""

    path: Path | None = None


def share_modules(folder: Path | None) -> None:
    """Make the modules of a folder importable, in this process and in all that it starts from now on, such as Ray's.

    The folder takes the place of the one that was shared before. Modules of it that were imported stay imported.

    Args:
        folder: an absolute path; None: only the earlier folder is taken away.
    """
    variable = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    before = str(OwnFolder.path) if OwnFolder.path else None
    variable = [path for path in variable if path and path != before]
    sys.path[:] = [path for path in sys.path if path != before]
    if folder:
        sys.path.insert(1, str(folder))  # after the suite; Python puts PYTHONPATH there too
        variable.insert(0, str(folder))
    if before or folder:
        os.environ["PYTHONPATH"] = os.pathsep.join(variable)
        importlib.invalidate_caches()
    OwnFolder.path = folder


def refuse_hidden_modules(folder: Path) -> None:
    """Refuse a module with the name of one of the suite, of Python or of a package: one would hide the other.

    Raises:
        Mistake: there is such a module in the folder.
    """
    own_places = (folder.resolve(), ROOT, OwnFolder.path)  # the last is left when this folder is shared
    others = [place for place in sys.path if Path(place).resolve() not in own_places]
    for path in sorted([*folder.glob("*.py"), *(init.parent for init in folder.glob("*/__init__.py"))]):
        if path.stem in sys.stdlib_module_names:
            raise Mistake(f"{path} would hide the module {path.stem} of Python; rename it")
        own = ROOT / path.stem
        if folder != ROOT and ((own / "__init__.py").exists() or own.with_suffix(".py").exists()):
            raise Mistake(f"{path} would be hidden by {path.stem}, a part of the suite; rename it")
        # A stem with a dot cannot be imported. The folder itself may be installed, in editable mode.
        installed = PathFinder.find_spec(path.stem, others) if path.stem.isidentifier() else None
        if installed and installed.origin and not Path(installed.origin).resolve().is_relative_to(path.resolve()):
            raise Mistake(f"{path} would hide the module {installed.origin}; rename it")
