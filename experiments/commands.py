"""The check of the settings that each command reads; an override that it does not read is refused by name."""

from typing import Any

from settings.commands import (
    COMMAND_DEFAULTS,
    COMMAND_LINE_DEFAULTS,
    COMMAND_OPTIONS,
    DERIVED_NAMES,
    IGNORED_SETTINGS,
    PLAYER_COMMANDS,
    PROTOCOL_SETTINGS,
    READER_ONLY_SETTINGS,
    READER_SETTINGS,
    VIDEO_SETTINGS,
)
from settings.mistakes import Mistake
from settings.runs import SEED, RunSettings
from settings.setting import list_settings
from settings.synonyms import find_similar_setting


def refuse_derived_names(overrides: list[str]) -> None:
    """Refuse an override of a name that the suite derives itself; results are filed under these names."""
    for override in overrides:
        if way_out := DERIVED_NAMES.get(override.partition("=")[0]):
            raise Mistake(
                f"{override}: results are filed under names that the suite derives; leave it out, or {way_out}"
            )


def refuse_reader_settings(overrides: list[str]) -> None:
    """Refuse an override that only a command reads which reads a run directory."""
    for override in overrides:
        key, _, value = override.partition("=")
        if value != "null" and (why := READER_ONLY_SETTINGS.get(key)):
            raise Mistake(f"{override}: {why}")


def refuse_misplaced_settings(overrides: list[str], settings: dict) -> None:
    """Refuse a setting of a YAML file that only a command line may set, such as the run directory to read or resume.

    Args:
        overrides: the overrides of the command line.
        settings: the settings composed from them.
    """
    typed = {override.partition("=")[0] for override in overrides}
    for key, default in COMMAND_LINE_DEFAULTS.items():
        if key not in typed and settings.get(key) != default:
            raise Mistake(
                f"{key}={settings[key]} stands in a YAML file; remove it there, and type it on the command line", key
            )
    if settings["command"] in READER_SETTINGS and "command" not in typed:
        raise Mistake(f"command={settings['command']} stands in a YAML file; type it instead, with run=", "command")
    if "search" in settings and settings["command"] == "train" and not {"tune_searches", "command"} <= typed:
        lacking = "its defaults lack  - override /command: search"
        way_out = lacking if "tune_searches" in typed else "move it to tune_searches/"
        raise Mistake(f"search stands in a YAML file, and this is a training; {way_out}", "search")


def refuse_ignored_settings(overrides: list[str], settings: dict) -> None:
    """Refuse an override that the command does not read.

    Args:
        overrides: the overrides of the command line.
        settings: the settings composed from them.
    """
    command = settings["command"]
    for override in overrides:
        key, _, value = override.partition("=")
        if value == "null":
            continue
        if why := IGNORED_SETTINGS[command].get(key.split(".")[0]):
            raise Mistake(f"{override}: {why}")
        if command == "train" and key == "episodes" and not (settings["evaluate"] or settings["evaluate_every"]):
            way_out = "add evaluate=true, or evaluate_every=<agent steps>"
            raise Mistake(f"{override}: no evaluation is part of this training; {way_out}")
        if command == "train" and key == "trust" and not settings["resume"]:
            raise Mistake(f"{override}: this run is not resumed; add resume=<run directory>, or leave it out")


def check_reader_settings(command: str, typed: dict[str, Any], defaults: dict) -> dict[str, Any]:
    """Return the settings of a command that reads a run directory, with every value checked.

    Args:
        command: a key of READER_SETTINGS.
        typed: the overrides, key -> value.
        defaults: the settings of the default experiment, for keys without an override.

    Returns:
        `command` and the settings that it reads, key -> value; for PLAYER_COMMANDS also `rules`, the overridden fields
        of the protocol. `seed` is None where the command takes the seed of the run.

    Raises:
        Mistake: the command does not read a key, a value is not allowed, or `run` is missing.
    """
    keys = READER_SETTINGS[command]
    result: dict[str, Any] = {"command": command} | {key: defaults[key] for key in keys}
    result |= COMMAND_DEFAULTS.get(command, {}) | ({"seed": None} if "seed" in keys else {})
    rules: dict[str, Any] = {}
    for key, value in typed.items():
        group, _, field = key.partition(".")
        if value == "" and key in ("run", "checkpoint", "out", "replay"):
            raise Mistake(f"{key}=: give it a value, or leave it out")
        if key == "runs" and key in keys:
            result[key] = read_labels(value) if value else None
        elif key in keys:
            if (options := COMMAND_OPTIONS.get(command, {}).get(key)) and value not in options:
                raise Mistake(f"{key}={value}: command={command} takes {key}={' or '.join(options)}; type one of them")
            setting = SEED if key == "seed" else list_settings(RunSettings)[key]
            result[key] = setting.check(key, value)
        elif command in PLAYER_COMMANDS and group == "env" and field in PROTOCOL_SETTINGS:
            rules[field] = PROTOCOL_SETTINGS[field].check(key, value)
        elif key != "command":
            if key == "output_dir" and "run" in keys and typed.get("run") in (None, "latest"):
                raise Mistake(f"{key}={value}: the newest run below it is run={value}; leave out {key}")
            rule_keys = [f"env.{name}" for name in PROTOCOL_SETTINGS] if command in PLAYER_COMMANDS else []
            if meant := find_similar_setting(key, [*keys, *rule_keys]):
                raise Mistake(f"{key}={value}: command={command} reads no such setting; did you mean {meant}?")
            more = " and env.<field> of the protocol" if rule_keys else ""
            raise Mistake(
                f"{key}={value}: command={command} reads {', '.join(keys)}{more}, and takes all other settings from "
                "the run directory; leave it out"
            )
    if command == "record":
        check_recording_settings(typed, result)
    if command == "compare":
        if not result["runs"]:
            raise Mistake("runs is not set; command=compare takes runs=[<run directory>,<run directory>]")
        return result
    if not result["run"] and not result.get("replay"):
        raise Mistake(f"run is not set; command={command} takes run=<directory>, or run=latest")
    return result | ({"rules": rules} if command in PLAYER_COMMANDS else {})


def read_labels(value: Any) -> list[tuple[str | None, str]]:
    """Return label and directory of each run to compare; the label is None where none was typed.

    Args:
        value: a list of directories, or label -> directory.

    Raises:
        Mistake: it is neither.
    """
    if isinstance(value, str):
        raise Mistake(f"runs={value}: it takes a list; put brackets around it, runs=[{value}]")
    labels = list(value) if isinstance(value, dict) else None
    paths = list_settings(RunSettings)["runs"].check("runs", list(value.values()) if isinstance(value, dict) else value)
    return list(zip(map(str, labels) if labels else [None] * len(paths or ()), paths or (), strict=True))


def check_recording_settings(typed: dict[str, Any], settings: dict[str, Any]) -> None:
    """Refuse overrides that a replay does not read, and pictures that follow too fast for a GIF."""
    if (settings["format"], settings["fps"]) == ("gif", 60):  # it counts in 1/100 s, and browsers show 1/100 s as 1/10
        raise Mistake("fps=60: no browser shows more than 50 pictures of a gif per second; type fps=30, or format=webp")
    if settings["replay"] is None:
        return
    for key, value in typed.items():
        if key not in ("command", "run", "replay", *VIDEO_SETTINGS):
            raise Mistake(f"{key}={value}: a replay's file holds this setting itself; leave out {key} or replay")
