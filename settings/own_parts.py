"""Parts of an experiment that come from a user's own modules: `module:Class`, with or without arguments.

    model.torso=my_module:MyTorso
    callbacks=[my_module:MyCallback,{my_module:Other: {every: 10}}]

A module is found as Python finds any module: in the folder of --config-dir, on PYTHONPATH, or installed.
"""

import difflib
import importlib
import inspect
import re
import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from settings.mistakes import Mistake

FORM = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*")  # module:Class
WHERE = "put its folder on the path with --config-dir <folder>, or with PYTHONPATH"

ROOT = Path(__file__).resolve().parent.parent
STDLIB = Path(traceback.__file__).resolve().parent


class Part(NamedTuple):
    """A class of a user's own module, and the arguments that an object of it is made with."""

    name: str  # module:Class
    arguments: dict[str, Any]


def is_own(name: Any) -> bool:
    """Return whether a value names a class of a user's own module, as `my_module:MyTorso` does."""
    return isinstance(name, str) and ":" in name


def read_parts(key: str, value: list | None) -> list[Part]:
    """Return the parts that a setting lists.

    Args:
        key: the name of the setting, for messages.
        value: a list of `module:Class` and of {module:Class: {argument: value}}; None: no parts.

    Raises:
        Mistake: an entry has another form.
    """
    parts = []
    for entry in value or []:
        name, arguments = entry, {}
        if isinstance(entry, dict) and len(entry) == 1:
            ((name, arguments),) = entry.items()
        if not isinstance(name, str) or not FORM.fullmatch(name) or not isinstance(arguments or {}, dict):
            raise Mistake(f"{key}: {entry} is neither module:Class nor {{module:Class: {{argument: value}}}}", key)
        parts.append(Part(name, dict(arguments or {})))
    return parts


def import_module(name: str, setting: str, wanted: str = "") -> ModuleType:
    """Import a user's module.

    Args:
        name: of the module, `my_package.my_module`.
        setting: what names the module, for messages: `algo.implementation=my_module`.
        wanted: what will be taken out of it.

    Raises:
        Mistake: it cannot be imported.
    """
    try:
        there = importlib.import_module(name)
        hasattr(there, wanted)  # which may import more
        return there
    except (Exception, SystemExit) as error:  # what a user's module runs may raise anything
        if isinstance(error, ModuleNotFoundError) and error.name and f"{name}.".startswith(f"{error.name}."):
            raise Mistake(f"{setting}: there is no module {error.name}; {WHERE}") from error
        raise Mistake(f"{setting}: {name} cannot be imported ({describe_error(error)})") from error


def import_class(name: str, setting: str) -> type:
    """Import a class of a user's module.

    Args:
        name: `module:Class`.
        setting: the name of the setting whose value names it, `model.torso`.

    Raises:
        Mistake: the name has another form, the module cannot be imported, or it has no such class.
    """
    typed = f"{setting}={name}"
    if not FORM.fullmatch(name):
        raise Mistake(f"{typed}: write a class of your own as module:Class", setting)
    module, _, wanted = name.partition(":")
    there = import_module(module, typed, wanted)
    found = getattr(there, wanted, None)
    if not inspect.isclass(found):
        classes = [one for one, value in vars(there).items() if inspect.isclass(value)]
        near = difflib.get_close_matches(wanted, classes, n=1)
        hint = f"; did you mean {module}:{near[0]}?" if near else ""
        raise Mistake(f"{typed}: {module} ({there.__file__}) has no class {wanted}{hint}")
    return found


def describe_error(error: BaseException) -> str:
    """Return the error that a user's code raised, in a line: `KeyError: 'x' (my_module.py, line 12)`."""
    text = (str(error).strip().splitlines() or [""])[0]
    own = [(frame.filename, frame.lineno) for frame in traceback.extract_tb(error.__traceback__) if is_users(frame)]
    if isinstance(error, SyntaxError) and error.filename:
        text, own = error.msg, [(error.filename, error.lineno)]
    place = f"{Path(own[-1][0]).name}, line {own[-1][1]}" if own else ""
    return f"{type(error).__name__}: {text} ({place})" if place else f"{type(error).__name__}: {text}"


def is_users(frame: traceback.FrameSummary) -> bool:
    """Return whether a line of a traceback is in a user's file: neither in a library nor in a room of the suite."""
    path = Path(frame.filename)
    inside = "site-packages" in path.parts or STDLIB in path.parents or path.parent.parent == ROOT
    return path.is_file() and not inside


def list_own_modules(settings: dict) -> dict[str, str]:
    """Return module -> the setting that names it, of the modules that every process of a run imports."""
    named = {
        "model.torso": settings["model"].get("torso"),
        "env.id": settings["env"].get("id"),
        "algo.implementation": settings["algo"].get("implementation"),
    }
    wrappers = read_parts("env.wrappers", settings["env"].get("wrappers"))
    found = {value.partition(":")[0]: f"{key}={value}" for key, value in named.items() if is_own(value)}
    if named["algo.implementation"]:
        found[named["algo.implementation"]] = f"algo.implementation={named['algo.implementation']}"
    return found | {part.name.partition(":")[0]: f"env.wrappers names {part.name}" for part in wrappers}


def list_own_sources(settings: dict) -> dict[str, Path]:
    """Return the files of a user's modules that this process has imported: path below its folder -> file.

    They are the modules that the settings name, callbacks too, and all others that were imported from the same folders:
    {"corridor.py": /home/me/mine/corridor.py}. Modules of installed packages are not among them, and none in the
    suite's checkout, because its commit and git.diff have them.
    """
    callbacks = [part.name.partition(":")[0] for part in read_parts("callbacks", settings.get("callbacks"))]
    found = {name: place for name in list(sys.modules) if (place := locate(name))}
    named = {found[name][0] for name in (*list_own_modules(settings), *callbacks) if name in found}
    own = {folder for folder in named if folder != ROOT and "site-packages" not in folder.parts}
    return {file: folder / file for folder, file in found.values() if folder in own}


def locate(name: str) -> tuple[Path, str] | None:
    """Return the folder that an imported module was found in, and the path of its file below; None if there is none."""
    known = getattr(sys.modules[name], "__dict__", {})  # asked so, a module that loads itself later does not do it now
    file = "/".join(name.split(".")) + ("/__init__.py" if "__path__" in known else ".py")
    path = known.get("__file__") or ""
    return (Path(path.removesuffix(file)).resolve(), file) if path.endswith(f"/{file}") else None
