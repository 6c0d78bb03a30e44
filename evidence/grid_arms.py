"""The arms of a grid, from its grid.json: what a comparison needs to know of a grid.

grid.json -> arms and their swept values -> label and run directory of each arm that has begun
"""

from pathlib import Path
from typing import Any

from run_directory.files import check_kind, read_json
from run_directory.layout import CONFIG, GRID_JSON
from settings.mistakes import Mistake

GAME_KEYS = ("env", "env.game", "env.id")  # swept keys that choose the game
NAMED_GROUPS = ("algo", "model", "cluster", "size", "tuned_configs")  # swept groups whose options speak for themselves


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
    """Return label and run directory of each arm of a grid; of another directory, the label and the directory.

    The label of an arm is its name; that of an arm of a grid over several games leaves out the game, so that one arm
    plays them all. It is None where nothing is left, and then follows from the settings.

    Raises:
        Mistake: grid.json is damaged, or no arm has begun.
    """
    if not is_grid(path):
        return [(label, path)]
    arms = {name: values for name, values in read_grid_file(path)["arms"].items() if (path / name / CONFIG).exists()}
    if not arms:
        raise Mistake(f"runs={path}: no arm of this grid has begun yet")
    games = {tuple(values.get(key) for key in GAME_KEYS) for values in arms.values()}
    names = {name: label_arm(values) if len(games) > 1 else name for name, values in arms.items()}
    return [(" ".join(filter(None, (label, names[name]))) or None, path / name) for name in arms]


def label_arm(values: dict[str, str]) -> str:
    """Return the swept values of an arm without its game: `a2c lr=0.0001`.

    Args:
        values: swept key -> value.
    """
    words = {key: f"{key.rpartition('.')[2]}={value}" for key, value in values.items() if key not in GAME_KEYS}
    return " ".join(values[key] if key in NAMED_GROUPS else word for key, word in words.items())
