"""What the results of a run are filed under: it follows from what is played, and no label takes its place."""

import re
from pathlib import Path

import yaml

from experiments.composition import folder_of


def name_of(env: dict) -> str:
    """Returns the name of what a run plays.

    Args:
        env: the `env.` settings.

    Returns:
        A game of ALE is its own name. A Gymnasium environment has the name that a file of experiments/env/ gives to its
        id, or else the id without its module.
    """
    if "game" in env:
        return str(env["game"])
    env_id = str(env.get("id"))
    names = [name for path in sorted(folder_of("env").glob("*.yaml")) for name in names_in(path, env_id)]
    if env.get("name") in names:
        return env["name"]
    return names[0] if names else re.sub(r"[^\w.-]", "-", env_id.rpartition(":")[2])


def names_in(path: Path, env_id: str) -> list[str]:
    """Returns the name that a file of experiments/env/ gives to an id, if it does; a damaged file names nothing."""
    try:
        env = yaml.safe_load(path.read_text())["env"]
        return [env["name"]] if env["id"] == env_id else []
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return []
