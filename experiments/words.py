"""Overrides in other notations, and hints for words of other libraries.

An override in another notation is expanded if its meaning is certain; otherwise a message names what to type.
"""

import re

from environments.spelling import list_games, refuse_gymnasium_id, translate_env
from settings.mistakes import Mistake
from settings.synonyms import takes_value

SEED_LIST = re.compile(r"-?\d+(,-?\d+)+")
MAX_SEEDS = 1000
SEED_RANGE = re.compile(r"range\((?:(\d+),)?(\d+)(?:,([1-9]\d*))?\)")


def expand_override(override: str, envs: list[str]) -> list[str]:
    """Expand the short form of an override: `env=qbert` to `env=atari env.game=qbert`, `seed=1,2` to `seed=[1,2]`.

    Args:
        override: an override of the command line.
        envs: the options of the group env.

    Raises:
        Mistake: `refuse_gymnasium_id` refuses the value, or there are more than MAX_SEEDS seeds.
    """
    key, _, value = override.partition("=")
    if key == "env" and value and value not in envs:
        if value in list_games():
            return ["env=atari", f"env.game={value}"]
        refuse_gymnasium_id(value, envs)
    if key == "seed" and SEED_LIST.fullmatch(value):
        return [f"seed=[{value}]"]
    if key == "seed" and (found := SEED_RANGE.fullmatch(value.replace(" ", ""))):
        first, end, step = found.groups()
        seeds = range(int(first or 0), int(end), int(step or 1))
        if (number := -((seeds.start - seeds.stop) // seeds.step)) > MAX_SEEDS:  # len() fails where it is too large
            raise Mistake(f"{override}: these are {number:,} seeds; give {MAX_SEEDS} at most")
        return [f"seed={list(seeds)}".replace(" ", "")]
    return [override]


def spell_override(name: str, value: str, options: dict[str, list[str]]) -> str:
    """Return the override of a setting or a group with the value that was typed for another name, `algo.lr=1e-4`.

    Returns:
        Only the name, if the setting or the group does not take the value.
    """
    if name == "env":
        return translate_env(value, options["env"]) or name
    takes = value in options[name] if name in options else value and takes_value(name, value)
    return f"{name}={value}" if takes else name
