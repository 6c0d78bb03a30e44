"""The name of an environment, under which results are filed: it follows from what is played, never from a label."""

import re
from pathlib import Path

import yaml

from environments.games import is_game

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "env"


def name_environment(env: dict) -> str:
    """Return the name of what a run plays.

    Args:
        env: the `env.` settings.

    Returns:
        A game of ALE is its own name. A Gymnasium environment is called like the file of experiments/env/ that has its
        id, as far as the file calls it so too; else it has its id without the module, or with it where the rest is the
        name of something else.
    """
    if "game" in env:
        return str(env["game"])
    env_id, files = str(env.get("id")), sorted(FOLDER.glob("*.yaml"))
    names = [path.stem for path in files if gives_name(path, env_id)]
    if env.get("name") in names:
        return env["name"]
    if names:
        return names[0]
    short = env_id.rpartition(":")[2]
    taken = is_game(short) or short in {path.stem for path in files}
    return re.sub(r"[^\w.-]", "-", env_id if taken else short)


def gives_name(path: Path, env_id: str) -> bool:
    """Return whether a file of experiments/env/ names an id after itself; a damaged file names nothing."""
    try:
        env = yaml.safe_load(path.read_text())["env"]
        return env["id"] == env_id and env["name"] == path.stem and not is_game(path.stem)
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return False
