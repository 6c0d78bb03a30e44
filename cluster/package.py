"""The size of the code package that Ray sends to the nodes of a cluster: the checkout without files of .rayignore."""

from pathlib import Path

from rollouts.private_ray import get_package_limit, list_packed_files
from settings.mistakes import Mistake

MAX_JOB_BYTES = 100 * 2**20  # of the package of a job; Ray refuses a larger one too, but only after packing it
MAX_DRIVER_BYTES = get_package_limit()  # of the package of a driver that is not a job


def refuse_large_package(root: Path, most: int) -> None:
    """Refuse a checkout whose package has more than `most` bytes; a link counts as the file it points to."""
    size = sum(path.stat().st_size for path in list_packed_files(root))
    if size > most:
        raise Mistake(
            f"{root} has {size / 2**20:,.0f} MiB that would be sent to the cluster, and Ray accepts {most >> 20}; name "
            "the files that a run does not read in .rayignore"
        )
