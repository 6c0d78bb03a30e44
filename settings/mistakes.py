"""The exceptions of user mistakes and of faulty environments, and the sentences of messages."""

from contextlib import suppress
from pathlib import Path


class Mistake(ValueError):
    """A mistake of the user; the message is one sentence with the setting, its value and a way out. Exit code 2.

    Args:
        message: the sentence.
        key: the setting that is wrong by itself, whatever the other settings are; it may stand in a YAML file.
    """

    def __init__(self, message: str, key: str | None = None):
        super().__init__(message)
        self.key = key


class EnvironmentFault(RuntimeError):
    """An exception that an environment has raised; the message names the environment and the exception."""


class NonFiniteValue(EnvironmentFault):
    """A NaN or infinite reward or observation of an environment. No restart follows, since it would happen again."""


def find_cause(error: BaseException) -> BaseException:
    """Return the exception of another process that Ray has wrapped in a RayTaskError; other exceptions as they are."""
    while isinstance(cause := getattr(error, "cause", None), BaseException):
        error = cause
    return error


def format_error(error: BaseException) -> str:
    """Return an error in one line: `ValueError: first line`; if its message is a traceback, the last line of that."""
    cause = find_cause(error)
    lines = str(cause).strip().splitlines() or [""]
    return lines[-1] if 'File "' in str(cause) else f"{type(cause).__name__}: {lines[0]}"


def format_count(number: float, noun: str) -> str:
    """Return a number with its noun: `1 CPU`, `2 CPUs`, `1,234 games`."""
    return f"{number:,g} {noun}{'' if number == 1 else 's'}" if number < 1e5 else f"{number:,.0f} {noun}s"


def resolve_path(path: str | Path, setting: str) -> Path:
    """Return the value of a setting as an absolute path, which need not exist.

    Raises:
        Mistake: the file system cannot look the path up: no permission, a too long name, or a circle of links.
    """
    try:
        found = Path(path).expanduser().resolve()
        with suppress(FileNotFoundError, NotADirectoryError):
            found.stat()
        return found
    except (OSError, RuntimeError, ValueError) as error:
        why = getattr(error, "strerror", None) or error
        raise Mistake(f"{setting}={path}: the path cannot be looked up ({why}); name another one") from error
