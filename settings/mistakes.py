"""What a user got wrong, what an environment got wrong, and what went wrong in another process."""

import difflib
from pathlib import Path


class Mistake(ValueError):
    """A user's mistake: one sentence naming the setting, the value and the way out. Exit code 2."""


class EnvironmentFault(RuntimeError):
    """An environment raised something; the message names it and what it raised."""


class NonFinite(EnvironmentFault):
    """An environment gave a reward or an observation that is NaN or infinite: it would do so again."""


def cause_of(error: BaseException) -> BaseException:
    """What was raised in another process, without the traceback that Ray's RayTaskError puts around it."""
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    return error


def in_a_line(error: BaseException) -> str:
    """`ValueError: the first line of what it says`; of an actor that could not start, its traceback's last."""
    cause = cause_of(error)
    lines = str(cause).strip().splitlines() or [""]
    return lines[-1] if 'File "' in str(cause) else f"{type(cause).__name__}: {lines[0]}"


def counted(number: float, noun: str) -> str:
    """Returns a number with its noun: `1 CPU`, `2 CPUs`, `1,234 games`."""
    return f"{number:,g} {noun}{'' if number == 1 else 's'}" if number < 1e5 else f"{number:,.0f} {noun}s"


def choose(word: str, offered: list[str]) -> str:
    """Returns the end of a sentence on a word that is not offered: `did you mean ppo? There are: a2c, ppo`."""
    near = difflib.get_close_matches(word, offered, n=1)
    if not offered:
        return "there is none yet"
    return (f"did you mean {near[0]}? There are: " if near else "there are: ") + ", ".join(offered)


def reachable(path: str | Path, setting: str) -> Path:
    """Returns the absolute path that was typed for a setting, whether something is there or not.

    Raises:
        Mistake: one cannot even look there: no permission, a name that is too long, links in a circle.
    """
    try:
        found = Path(path).expanduser().resolve()
        found.exists()
        return found
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Mistake(f"{setting}={path}: one cannot look there ({why}); name another place") from error
