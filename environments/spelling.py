"""Other spellings of environments: ids of Gymnasium, games with dashes or capitals, the nearest name of a wrong one."""

import re

from settings.mistakes import Mistake
from settings.suggestions import find_similar_names

ALE_PREFIXES = ("ALE/", "atari/")
GYMNASIUM_ID = re.compile(r"(\w+?)(?:-ram)?(?:Deterministic|NoFrameskip)?-v\d+")


def list_games() -> list[str]:
    """Return the names of all games of ALE."""
    from ale_py import roms  # it imports Gymnasium, which took a third of the time of --help

    return roms.get_all_rom_ids()


def refuse_gymnasium_id(value: str, envs: list[str]) -> None:
    """Refuse a Gymnasium id, or a game in another spelling, as a value of env=; the message names the value to type."""
    if words := translate_env(value, envs):
        has_sticky_actions = value.endswith("-v5") and find_game(words.partition("=")[2])
        sticky = "; for the sticky actions of -v5 add env.protocol=machado" if has_sticky_actions else ""
        raise Mistake(f"env={value}: type {words}{sticky}")
    if value.startswith(ALE_PREFIXES):
        raise Mistake(f"env={value}: there is no such option; {suggest_env(value.partition('/')[2], envs)}")


def translate_env(value: str, envs: list[str]) -> str | None:
    """Return the overrides for an environment in another spelling: `env=pong` for `ALE/Pong-v5` or `Pong`.

    Returns:
        None if the value is neither a game nor the id of a Gymnasium environment.
    """
    word = value.partition("/")[2] if value.startswith(ALE_PREFIXES) else value
    found = GYMNASIUM_ID.fullmatch(word)
    if game := find_game(found.group(1) if found else word):
        return f"env={game}"
    name = (found.group(1) if found else word).lower()
    if name in envs:
        return f"env={name}"
    return f"env=gymnasium env.id={value}" if found and word == value else None


def find_game(word: str) -> str | None:
    """Return the ALE game of another spelling, `ms_pacman` for `MsPacman`; None if there is no such game."""
    return {game.replace("_", ""): game for game in list_games()}.get(re.sub(r"[_-]", "", word).lower())


def suggest_env(word: str, envs: list[str]) -> str:
    """Return the end of the message on an unknown value of env=: the nearest value, and all values."""
    near = find_similar_names(word, [*envs, *list_games()])[:3]
    every = f"{', '.join(envs)}, and every game of ALE (--help env.game lists them)"
    hint = f"did you mean {' or '.join(near)}? There" if near else "no name is similar; there"
    return f"{hint} are: {every}"
