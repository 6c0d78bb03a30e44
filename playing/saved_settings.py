"""config.yaml: the saved settings of a run of one seed, which all commands read that play or report the run."""

from pathlib import Path

from environments.names import name_environment
from run_directory.files import check_kind, explain_damage, read_yaml
from run_directory.layout import CONFIG, HINT
from settings.mistakes import Mistake
from settings.protocols import describe_protocol

TEXTS = ("algo.name", "env.name", "env.id", "env.game", "model.torso", "model.dtype")
WHOLE_NUMBERS = ("seed", "env.frameskip", "env.max_episode_frames", "env.noop_max")
# The types of the settings that these commands use
KINDS = dict.fromkeys(TEXTS, str) | dict.fromkeys(WHOLE_NUMBERS, int) | {"env.sticky": float}
NULLABLE_KINDS = {"env.dim": int, "env.kwargs": dict, "env.wrappers": list, "model.lstm_size": int}
REQUIRED = ("seed", "algo.name", "env.name", "model.dtype")


def read_run_settings(run: Path) -> dict:
    """Read the settings of a run of one seed. `env.name` is derived again, since earlier versions saved other names.

    Raises:
        Mistake: config.yaml is missing, cannot be read, or was not written by the suite.
    """
    try:
        settings = _read_checked(run / CONFIG)
    except Mistake as mistake:
        raise Mistake(f"run={run} is not a whole run directory ({mistake}); {HINT}") from mistake
    return settings | {"env": settings["env"] | {"name": name_environment(settings["env"])}}


def _read_checked(path: Path) -> dict:
    """Read a config.yaml and check the types of the settings in KINDS and NULLABLE_KINDS."""
    settings = read_yaml(path)
    for name, kind in (KINDS | NULLABLE_KINDS).items():
        group, _, key = name.partition(".")
        values = settings if not key else check_kind(path, settings.get(group), dict, group)
        is_null = name in NULLABLE_KINDS and values.get(key) is None
        if name in REQUIRED or ((key or group) in values and not is_null):
            check_kind(path, values.get(key or group), kind, name)
    for key, limit in check_kind(path, settings.get("stop", {}), dict, "stop").items():
        if limit is not None:
            check_kind(path, limit, float, f"stop.{key}")
    try:
        describe_protocol(settings["env"])
    except (KeyError, TypeError) as error:
        raise explain_damage(path, f"env has a protocol without {error}") from error
    return settings
