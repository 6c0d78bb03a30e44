"""config.yaml: the settings of a run as they were saved, read by everything that plays, reports or continues it.

Earlier versions saved fewer rules of a game; those rules are filled in as they were played then.
"""

from pathlib import Path

from environments.names import name_of
from run_directory.files import check_kind, damaged_file, read_yaml
from run_directory.layout import CONFIG, HINT
from settings.mistakes import Mistake
from settings.protocols import EARLIER, complete_rules, describe

KINDS = {  # of the settings that readers use
    "seed": int,
    "algo.name": str,
    "env.name": str,
    "env.id": str,
    "env.game": str,
    "env.frameskip": int,
    "env.max_episode_frames": int,
    "env.noop_max": int,
    "env.dim": int,
    "env.sticky": float,
    "model.torso": str,
    "model.dtype": str,
}
REQUIRED = ("seed", "algo.name", "env.name", "model.dtype")


def read_run_settings(run: Path) -> dict:
    """Read the settings of a run of one seed. `env.name` follows from what was played, also for earlier versions.

    Raises:
        Mistake: config.yaml is missing, cannot be read, or was written by something else.
    """
    try:
        settings = _read_checked(run / CONFIG)
    except Mistake as mistake:
        raise Mistake(f"run={run} is not a run directory ({mistake}); {HINT}") from mistake
    return settings | {"env": settings["env"] | {"name": name_of(settings["env"])}}


def _read_checked(path: Path) -> dict:
    settings = read_yaml(path)
    for name, kind in KINDS.items():
        group, _, key = name.partition(".")
        values = settings if not key else check_kind(path, settings.get(group), dict, group)
        if name in REQUIRED or (key or group) in values:
            check_kind(path, values.get(key or group), kind, name)
    try:
        describe(settings["env"])
    except (KeyError, TypeError) as error:
        raise damaged_file(path, f"env has a protocol without {error}") from error
    return settings


def keep_rules(settings: dict, folder: Path, overrides: list[str]) -> dict:
    """Return the settings of an experiment that continues by its name (`resume=auto`, a search), with its own rules.

    Where an earlier version has begun it, its rules are not today's; rules that are typed override them.
    """
    saved = complete_rules(read_yaml(folder / CONFIG)["env"])
    typed = {override.partition("=")[0] for override in overrides}
    own = {name: saved[name] for name in EARLIER if name in saved and f"env.{name}" not in typed}
    return settings | {"env": settings["env"] | own}
