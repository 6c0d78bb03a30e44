"""The arms of a grid, from its grid.json: what a comparison needs to know of a grid.

grid.json -> arms and their swept values -> label and run directory of each arm that has begun
"""

from pathlib import Path
from typing import Any

from run_directory.files import check_kind, read_json
from run_directory.layout import CONFIG
from settings.mistakes import Mistake

GRID_JSON = "grid.json"


def is_grid(folder: Path) -> bool:
    """Return whether a directory is that of a grid."""
    return (folder / GRID_JSON).is_file()


def read_grid_file(folder: Path) -> dict[str, Any]:
    """Read grid.json: `arms`, name -> swept values, and `starts`.

    Raises:
        Mistake: it is missing or damaged.
    """
    path = folder / GRID_JSON
    content = read_json(path, dict)
    check_kind(path, content.get("arms"), dict, "arms")
    for name, values in content["arms"].items():
        check_kind(path, values, dict, f"arms.{name}")
    check_kind(path, content.get("starts"), list, "starts")
    return content


def expand_grid(label: str | None, path: Path) -> list[tuple[str | None, Path]]:
    """Return the arms of a grid with their names as labels; of another directory, the label and the directory."""
    if not is_grid(path):
        return [(label, path)]
    arms = [name for name in read_grid_file(path)["arms"] if (path / name / CONFIG).exists()]
    if not arms:
        raise Mistake(f"runs={path}: no arm of this grid has begun yet")
    return [(" ".join(filter(None, (label, name))), path / name) for name in arms]
