"""The code package that Ray sends to the nodes of a cluster: the checkout without files of .rayignore, and own files.

    overrides -> files of the user that they name -> their places in the package -> a folder of links, which Ray packs

The folder of `--config-dir` becomes own_folder/ in the package, whose modules every process can import. YAML files that
are named by their paths go to own_files/.
"""

import re
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from environments.checkout import ROOT
from rollouts.private_ray import get_package_limit, list_packed_files
from settings.mistakes import Mistake

MAX_JOB_BYTES = 100 * 2**20  # of the package of a job; Ray refuses a larger one too, but only after packing it
MAX_DRIVER_BYTES = get_package_limit()  # of the package of a driver that is not a job
# In the package; no names of settings, or Hydra takes them for groups.
OWN_FOLDER, OWN_FILES = "own_folder", "own_files"


def place_own_files(words: list[str]) -> tuple[list[str], dict[str, Path]]:
    """Return the overrides as they hold inside of the package, and the files and folders of the user that go with it.

    Args:
        words: the overrides.

    Returns:
        The overrides with paths inside of the package; and path inside -> path here.
    """
    placed: dict[str, Path] = {}

    def place_file(typed: str) -> str:
        path = Path(typed.strip()).expanduser().absolute()  # a link to a relative path would lead nowhere
        if not path.is_file():
            return typed
        name = next((name for name, other in placed.items() if other == path), f"{OWN_FILES}/{len(placed)}/{path.name}")
        placed[name] = path
        return name

    moved = []
    for word in words:
        key, equals, value = word.partition("=")
        if key == "config_dir" and value not in ("", "null"):
            placed[OWN_FOLDER], value = Path(value), OWN_FOLDER
        elif key in ("tuned_configs", "tune_searches"):
            of_grid = not Path(value).expanduser().is_file()  # several, unless a file has commas in its name
            value = re.sub(r"[^,()]+\.ya?ml", lambda f: place_file(f.group()), value) if of_grid else place_file(value)
        moved.append(f"{key}{equals}{value}")
    return moved, placed


@contextmanager
def pack_code(own: Mapping[str, Path], most: int) -> Iterator[dict[str, Any]]:
    """Yield the parts of a runtime environment that bring the code to every node; Ray packs it before this ends.

    Args:
        own: path inside of the package -> file or folder of the user.
        most: bytes that the package may have.

    Raises:
        Mistake: the package is larger.
    """
    if not own:
        refuse_large_package(ROOT, most)
        yield {"working_dir": str(ROOT)}
        return
    with tempfile.TemporaryDirectory() as folder:
        for path in ROOT.iterdir():
            Path(folder, path.name).symlink_to(path)
        for name, path in own.items():
            link = Path(folder, name)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(path)
        refuse_large_package(Path(folder), most, " and ".join(map(str, (ROOT, *own.values()))))
        # Ray starts its processes inside of the package, so this path is relative to it.
        modules = {"env_vars": {"PYTHONPATH": OWN_FOLDER}} if OWN_FOLDER in own else {}
        yield {"working_dir": folder, **modules}


def refuse_large_package(root: Path, most: int, shown: str | None = None) -> None:
    """Refuse a folder whose package has more than `most` bytes; a link counts as what it points to.

    Args:
        root: the folder that Ray packs.
        most: bytes.
        shown: what the folder consists of, for the message; None: the folder itself.
    """
    size = sum(path.stat().st_size for path in list_packed_files(root))
    if size > most:
        raise Mistake(
            f"{shown or root} {'have' if shown else 'has'} {size / 2**20:,.0f} MiB that would be sent to the cluster, "
            f"and Ray accepts {most >> 20}; name the files that a run does not read in .rayignore"
        )
