"""Other spellings of environments: ids of Gymnasium, games with dashes or capitals, the nearest name of a wrong one."""

import difflib
import re

from ale_py import roms

from settings.mistakes import Mistake

GYMNASIUM_ID = re.compile(r"(\w+?)(?:-ram)?(?:Deterministic|NoFrameskip)?-v\d+")


def refuse_gymnasium_id(value: str, envs: list[str]) -> None:
    """Refuse a Gymnasium id, or a game in another spelling, as a value of env=; the message names the value to type."""
    of_ale = value.startswith(("ALE/", "atari/"))
    word = value.partition("/")[2] if of_ale else value
    found = GYMNASIUM_ID.fullmatch(word)
    if game := find_game(found.group(1) if found else word):
        sticky = "; for the sticky actions of -v5 add env.protocol=machado" if word.endswith("-v5") else ""
        raise Mistake(f"env={value}: type env={game}{sticky}")
    if of_ale:
        raise Mistake(f"env={value}: there is no such option; {suggest_env(word, envs)}")
    if found and found.group(1).lower() in envs:
        raise Mistake(f"env={value}: type env={found.group(1).lower()}")
    if found:
        raise Mistake(f"env={value}: for an environment of Gymnasium, type env=cartpole env.id={value}")


def find_game(word: str) -> str | None:
    """Return the ALE game of another spelling, `ms_pacman` for `MsPacman`; None if there is no such game."""
    return {game.replace("_", ""): game for game in roms.get_all_rom_ids()}.get(re.sub(r"[_-]", "", word).lower())


def suggest_env(word: str, envs: list[str]) -> str:
    """Return the end of the message on an unknown value of env=: the nearest value, and all values."""
    near = difflib.get_close_matches(word, [*envs, *roms.get_all_rom_ids()], n=1)
    every = f"{', '.join(envs)}, and every game of ALE"
    return f"did you mean {near[0]}? There are: {every}" if near else f"there are: {every}"
