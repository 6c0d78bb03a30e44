"""The user's own folder, which `--config-dir mine` names: YAML files and Python modules beside those of the suite.

    mine/env/swing.yaml      env=swing
    mine/my_env.py           importable as my_env, in this process and in those of Ray

On a cluster the folder travels with the code of the suite (`cluster/package.py`).
"""

import importlib
import os
import sys
from pathlib import Path


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
