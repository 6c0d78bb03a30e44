"""The name of an environment, under which results are filed. It is derived from the game or the Gymnasium id."""

import re
from pathlib import Path

import yaml

from environments.games import is_game
from environments.own_folder import OwnFolder

FOLDER = Path(__file__).resolve().parent.parent / "experiments" / "env"


def name_environment(env: dict) -> str:
    """Return the name of the environment that a run plays.

    Args:
        env: the `env.` settings.

    Returns:
        For a game of ALE, `env.game`. For a Gymnasium environment, the name of the file in experiments/env/, or in
        env/ of `--config-dir`, that was chosen, or that has its id, arguments and wrappers, and the same name inside;
        without such a file, the id. The id loses its module (`module:Id`) unless the rest is already the name of a game
        or of a file.
    """
    if "game" in env:
        return str(env["game"])
    folders = [FOLDER, *([OwnFolder.path / "env"] if OwnFolder.path else [])]
    env_id, files = str(env.get("id")), sorted(path for folder in folders for path in folder.glob("*.yaml"))
    same_id = [path for path in files if gives_name(path, env_id)]
    if env.get("name") in [path.stem for path in same_id]:
        return env["name"]
    for path in same_id:
        if all((read_env(path).get(key) or None) == (env.get(key) or None) for key in ("kwargs", "wrappers")):
            return path.stem
    short = env_id.rpartition(":")[2]
    taken = is_game(short) or short in {path.stem for path in files}
    return re.sub(r"[^\w.-]", "-", env_id if taken else short)


def gives_name(path: Path, env_id: str) -> bool:
    """Return whether a file of experiments/env/ has this id, and its own name as env.name; False for a damaged file."""
    try:
        env = read_env(path)
        return env["id"] == env_id and env["name"] == path.stem and not is_game(path.stem)
    except (OSError, ValueError, TypeError, KeyError, yaml.YAMLError):
        return False


def read_env(path: Path) -> dict:
    """Return the `env.` settings of a file."""
    return yaml.safe_load(path.read_text("utf-8"))["env"]
