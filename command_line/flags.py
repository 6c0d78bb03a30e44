"""The flags of run.py, and the words of a command line that are neither flags nor overrides.

argv -> overrides, flags -> overrides in the suite's own words
"""

import os
import re
from dataclasses import dataclass, field
from typing import Any

import yaml

from environments.passwords import mask_passwords
from environments.spelling import translate_env
from experiments.composition import (
    GROUPS,
    compose_settings,
    is_file_option,
    list_dotted_keys,
    list_options,
    spell,
)
from settings.mistakes import Mistake, resolve_path
from settings.suggestions import suggest_option
from settings.synonyms import COMMANDS, suggest_overrides

HYDRA_FLAGS = {  # flag of Hydra's own applications -> what to type instead
    "--info": "--cfg job prints the composed experiment, --help the groups and their options",
    "--config-name": "a file of settings is chosen with tuned_configs=<file>.yaml, see --help tuned_configs",
    "--config-path": "a folder of your own is searched with --config-dir <folder>",
    "--resolve": "--cfg job prints resolved values; leave it out",
    "--package": "type it behind --cfg job, as in --cfg job --package algo",
    "--shell-completion": "type --completion bash, or zsh",
    "--hydra-help": "--help lists groups, settings and examples",
}
SHORT_FLAGS = {"-h": "--help", "-m": "--multirun", "-c": "--cfg", "-cd": "--config-dir", "-p": "--package"}
SHORT_FLAGS |= {"-V": "--version", "-i": "--info", "-cn": "--config-name", "-cp": "--config-path"}
SHORT_FLAGS |= {"-sc": "--shell-completion"}


@dataclass
class Arguments:
    """A command line.

    Attributes:
        overrides: its words of the form key=value, and others that are no flags.
        flags: of --help, --version, --multirun and --cfg, those that are there.
        package: the group to print with --cfg job, or None for all of the experiment.
    """

    overrides: list[str] = field(default_factory=list)
    flags: set[str] = field(default_factory=set)
    package: str | None = None


def split_arguments(argv: list[str]) -> Arguments:
    """Split a command line into its overrides and its flags. Of `--config-dir mine` an override is made.

    Raises:
        Mistake: a flag does not exist, or its value is missing.
    """
    words, found = list(argv), Arguments()
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        flag = SHORT_FLAGS.get(flag, flag)
        if flag in ("--help", "--version", "--multirun") and not equals:
            found.flags.add(flag)
        elif flag in ("--help", "--version", "--multirun"):
            raise Mistake(f"{word}: {flag} takes no value; type {flag}{f' {value}' if flag == '--help' else ''}")
        elif flag in ("--cfg", "--config-dir", "--package"):
            if not equals:
                value = words.pop(0) if words else ""
            read_flag(flag, value, found)
        elif flag in HYDRA_FLAGS:
            raise Mistake(f"{word}: there is no such flag; {HYDRA_FLAGS[flag]}")
        elif word.startswith("-"):
            raise Mistake(explain_flag([word, *words], found.overrides))
        else:
            found.overrides.append(word)
    if found.package is not None and "--cfg" not in found.flags:
        raise Mistake(f"--package {found.package}: {HYDRA_FLAGS['--package']}")
    found.overrides = [spell_override(override) for override in found.overrides]
    return found


def read_flag(flag: str, value: str, found: Arguments) -> None:
    """Add a flag that has a value to what was found of a command line.

    Raises:
        Mistake: it does not take the value.
    """
    if flag == "--cfg":
        if value != "job":
            raise Mistake("--cfg prints the experiment; type it as --cfg job")
        found.flags.add(flag)
    elif not value or value.startswith("-"):
        example = "--config-dir mine" if flag == "--config-dir" else "--cfg job --package algo"
        raise Mistake(f"{flag}: its value is missing; type it as {example}")
    elif flag == "--package":
        found.package = value
    else:
        found.overrides.append(f"config_dir={value}")


def spell_override(override: str) -> str:
    """Return an override with the suite's own word in place of a synonym, and with absolute paths.

    `experiment=` is `tuned_configs=`. A path that is recorded has to hold where the run is continued.
    """
    override = re.sub(r"^experiment=", "tuned_configs=", override)
    key, _, value = override.partition("=")
    is_path = key == "config_dir" and value not in ("", "null")
    if is_path or (is_file_option(override) and os.path.isfile(os.path.expanduser(value))):
        return f"{key}={resolve_path(value, key)}"
    return override


def select_group(settings: dict[str, Any], package: str | None) -> dict[str, Any]:
    """Return the part of an experiment that --package names, or all of it for None.

    Raises:
        Mistake: the experiment has no such group.
    """
    part: Any = settings
    for name in package.split(".") if package else ():
        part = part.get(name) if isinstance(part, dict) else None
    if not isinstance(part, dict):
        groups = [key for key, value in settings.items() if isinstance(value, dict)]
        raise Mistake(f"--package {package}: the experiment has no such group; {suggest_option(str(package), groups)}")
    return part


def format_experiment(settings: dict[str, Any], package: str | None) -> str:
    """Return an experiment as YAML, or the group of it that --package names, as Hydra prints it.

    Raises:
        Mistake: the experiment has no such group.
    """
    header = f"# @package {package}\n" if package else ""
    return header + yaml.safe_dump(mask_passwords(select_group(settings, package)), sort_keys=False)


def explain_flag(words: list[str], overrides: list[str]) -> str:
    """Return the sentence for an unknown flag, the first of `words`; `overrides` stand before it."""
    groups = [*overrides, *(word for word in words if word.startswith("algo=")), *list_typed_groups(words)]
    try:
        known = list_dotted_keys(compose_settings(groups))
    except Mistake:  # of a grid, or with a second mistake, which is answered when the flag has gone
        known = list_dotted_keys(compose_settings([]))
    return f"{words[0]}: there is no such flag; {suggest_overrides(words, [*known, *GROUPS], spell)}"


def list_typed_groups(words: list[str]) -> list[str]:
    """Return the overrides of algorithms that are typed as flags, `algo=a3c` for `--algo a3c`, where there is one."""
    flags = re.findall(r"(?:^|\n)--?algo(?:rithm)?[=\n]([^\n]+)", "\n".join(words))
    return [f"algo={option}" for option in flags if option in list_options("algo")]


def list_meanings(word: str) -> list[str]:
    """Return the overrides that a word without `=` can stand for: `algo=ppo` for ppo, `env=qbert` for Qbert."""
    lower = word.lower()
    if found := [f"{group}={lower}" for group in GROUPS if lower in list_options(group)]:
        return found
    if lower in COMMANDS:
        return [f"command={COMMANDS[lower]}"]
    game = translate_env(word, list_options("env"))
    return [game] if game else []


def refuse_bare_words(overrides: list[str]) -> None:
    """Refuse a word without `=` that is an option of a group, such as `ppo`, a game, or the name of a command."""
    for word in (word for word in overrides if "=" not in word):
        if word.lower() in ("help", "version"):
            raise Mistake(f"{word}: did you mean --{word.lower()}?")
        if meanings := list_meanings(word):
            raise Mistake(f"{word}: did you mean {' or '.join(meanings)}?")
