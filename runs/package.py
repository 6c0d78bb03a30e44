"""The code that travels with a run to the nodes of a cluster: Ray packs the checkout, without what .rayignore names."""

import logging
from pathlib import Path

from ray._private.runtime_env.packaging import _dir_travel

from environments.mistakes import Mistake

MAX_BYTES = 100 * 2**20  # of a package; Ray refuses larger ones only after packing them


def package_bytes(root: Path) -> int:
    """Bytes of all files below a directory that Ray would pack, before it packs them."""
    sizes = []

    def add(path: Path) -> None:
        if not path.is_dir():
            sizes.append(path.lstat().st_size)

    _dir_travel(root, [], add, include_gitignore=True, logger=logging.getLogger(__name__))
    return sum(sizes)


def refuse_too_large(root: Path) -> None:
    """A checkout with more in it than Ray takes."""
    size = package_bytes(root)
    if size > MAX_BYTES:
        raise Mistake(
            f"{root} has {size / 2**20:,.0f} MiB that would travel to the cluster, and Ray takes {MAX_BYTES >> 20}; "
            "name what a run does not read in .rayignore"
        )
