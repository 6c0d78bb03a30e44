"""The code that travels with a run to the nodes of a cluster: Ray packs the checkout, without what .rayignore names."""

from pathlib import Path

from rollouts.private_ray import get_package_limit, list_packed_files
from settings.mistakes import Mistake

MAX_JOB_BYTES = 100 * 2**20  # of a job's package, by HTTP; Ray refuses larger ones only after packing them
MAX_DRIVER_BYTES = get_package_limit()  # of what a driver brings itself


def refuse_large_package(root: Path, most: int) -> None:
    """Refuse a checkout from which more than so many bytes would travel; a link is what it points to."""
    size = sum(path.stat().st_size for path in list_packed_files(root))
    if size > most:
        raise Mistake(
            f"{root} has {size / 2**20:,.0f} MiB that would travel to the cluster, and Ray takes {most >> 20}; name "
            "what a run does not read in .rayignore"
        )
