"""Suggestions for misspelt names: of options, and of directories."""

import difflib
from collections.abc import Collection
from pathlib import Path

from settings.mistakes import Mistake, resolve_path


def find_similar_names(word: str, offered: Collection[str]) -> list[str]:
    """Return the names that a user can have meant by `word`, the likeliest first; none where all are very different.

    These are the same name in capitals, else the names with `word` as a part (`cnn_lstm` for `lstm`), else the most
    similar name. A similarity below 3/4 counts only where the first letters are the same: `a3c` is not meant by `sac`.
    """
    lower = word.lower()
    if lower in offered:
        return [lower]
    if parts := [name for name in offered if lower in name.split("_")]:
        return parts
    near = difflib.get_close_matches(lower, offered, n=1)
    alike = near and difflib.SequenceMatcher(None, lower, near[0]).ratio() >= 0.75
    return near if alike or (near and near[0][:1] == lower[:1]) else []


def suggest_option(word: str, offered: Collection[str], fitting: Collection[str] | None = None) -> str:
    """Return the end of the message on an unknown option: `did you mean ppo? There are: a2c, ppo`.

    Args:
        word: the unknown option.
        offered: all options.
        fitting: the options that can work with the other settings; None: all of them.
    """
    if not offered:
        return "there is none yet"
    near, every = find_similar_names(word, offered if fitting is None else fitting), ", ".join(offered)
    return (
        f"did you mean {' or '.join(near[:3])}? There are: {every}"
        if near
        else f"no name is similar; there are: {every}"
    )


def explain_unreadable(override: str) -> str:
    """Return the end of the message on an override that Hydra's grammar does not have."""
    if any(override.count(pair[0]) != override.count(pair[1]) for pair in ("[]", "{}", "()")):
        return "a bracket has no partner, and a shell needs quotes around brackets with spaces, see --help"
    return "write key=value, without spaces around = and without commas between, see --help"


def refuse_missing_directory(path: str, setting: str, words: tuple[str, ...]) -> None:
    """Refuse a file, and a directory that does not exist where a similar path exists or a similar word is meant.

    Args:
        path: the path that the user typed.
        setting: the setting that the user typed.
        words: values that the setting takes instead of a path, such as `latest`.
    """
    folder = resolve_path(path, setting)
    if folder.is_file():
        raise Mistake(f"{setting}={path} is a file; give the run directory that holds it")
    if path in words or folder.exists():
        return
    near = difflib.get_close_matches(path, words, n=1, cutoff=0.7)
    if not near and folder.parent.is_dir():
        names = [one.name for one in folder.parent.iterdir() if one.is_dir()]
        near = [
            str(Path(path).parent / name) for name in difflib.get_close_matches(folder.name, names, n=1, cutoff=0.7)
        ]
    if near:
        raise Mistake(f"{setting}={path}: there is no such directory; did you mean {setting}={near[0]}?")
