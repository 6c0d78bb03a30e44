"""The exceptions of user mistakes and of faulty environments, and the sentences of messages."""

import difflib
from pathlib import Path


class Mistake(ValueError):
    """A user's mistake: one sentence naming the setting, the value and the way out. Exit code 2."""


class EnvironmentFault(RuntimeError):
    """An exception that an environment has raised; the message names the environment and the exception."""


class NonFiniteValue(EnvironmentFault):
    """A NaN or infinite reward or observation of an environment; a restart would not help, because it comes again."""


def find_cause(error: BaseException) -> BaseException:
    """Return the exception of another process, taken out of the RayTaskError that Ray puts around it."""
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    return error


def format_error(error: BaseException) -> str:
    """Return `ValueError: first line of the message`; of an actor that could not start, the last traceback line."""
    cause = find_cause(error)
    lines = str(cause).strip().splitlines() or [""]
    return lines[-1] if 'File "' in str(cause) else f"{type(cause).__name__}: {lines[0]}"


def format_count(number: float, noun: str) -> str:
    """Return a number with its noun: `1 CPU`, `2 CPUs`, `1,234 games`."""
    return f"{number:,g} {noun}{'' if number == 1 else 's'}" if number < 1e5 else f"{number:,.0f} {noun}s"


def suggest_option(word: str, offered: list[str]) -> str:
    """Return the end of the message on an unknown option: `did you mean ppo? There are: a2c, ppo`."""
    near = difflib.get_close_matches(word, offered, n=1)
    if not offered:
        return "there is none yet"
    return (f"did you mean {near[0]}? There are: " if near else "there are: ") + ", ".join(offered)


def resolve_path(path: str | Path, setting: str) -> Path:
    """Return the absolute path of a setting's value; the path need not exist.

    Raises:
        Mistake: the path cannot be looked up: no permission, a name that is too long, links in a circle.
    """
    try:
        found = Path(path).expanduser().resolve()
        found.exists()
        return found
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Mistake(f"{setting}={path}: the path cannot be looked up ({why}); name another one") from error
