"""What the results of a run are filed under: it follows from what is played, and no label takes its place."""

import re

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
    names = [
        settings["env"]["name"]
        for path in sorted(folder_of("env").glob("*.yaml"))
        if isinstance(settings := yaml.safe_load(path.read_text()), dict)
        and isinstance(settings.get("env"), dict)
        and settings["env"].get("id") == env_id
    ]
    if env.get("name") in names:
        return env["name"]
    return names[0] if names else re.sub(r"[^\w.-]", "-", env_id.rpartition(":")[2])
