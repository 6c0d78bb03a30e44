"""The code that travels with a run to the nodes of a cluster: Ray packs the checkout, without what .rayignore names."""

import logging
import os
from pathlib import Path

from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE
from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE, _dir_travel

from settings.mistakes import Mistake

JOB_BYTES = 100 * 2**20  # of a job's package, by HTTP; Ray refuses larger ones only after packing them
DRIVER_BYTES = GCS_STORAGE_MAX_SIZE  # of what a driver brings itself


def package_bytes(root: Path) -> int:
    """Bytes of all files below a directory that Ray would pack, before it packs them; a link is what it points to."""
    sizes = []

    def add(path: Path) -> None:
        if path.is_file():
            sizes.append(path.stat().st_size)

    gitignore = os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    _dir_travel(root, [], add, include_gitignore=gitignore, logger=logging.getLogger(__name__))
    return sum(sizes)


def refuse_too_large(root: Path, most: int) -> None:
    """A checkout with more in it than so many bytes."""
    size = package_bytes(root)
    if size > most:
        raise Mistake(
            f"{root} has {size / 2**20:,.0f} MiB that would travel to the cluster, and Ray takes {most >> 20}; name "
            "what a run does not read in .rayignore"
        )
