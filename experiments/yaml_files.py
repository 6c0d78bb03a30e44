"""The check of YAML files that users edit; a message names the file and the line.

For most faults Hydra prints a traceback, names a key that is not in the file, or moves the settings into another group
without a message. Therefore the files that a command line chooses are checked before Hydra reads them.
"""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import yaml

from settings.mistakes import Mistake
from settings.suggestions import suggest_option

GLOBAL_PACKAGE = "# @package _global_"  # the first line of a global file: its settings belong to several groups
SETTING_GROUPS = ("algo", "env", "model", "cluster", "stop", "made_for", "search")
MAX_DEPTH, MAX_DIGITS = 20, 30  # more than any setting needs; Python raises errors at 1,000 and at 4,300
PLAIN_TAGS = {f"tag:yaml.org,2002:{tag}" for tag in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq")}


def read_yaml_nodes(path: Path) -> yaml.MappingNode | None:
    """Read a YAML file as nodes, which know their lines; return None for a file without settings.

    Raises:
        Mistake: the file cannot be read, is not UTF-8, is not YAML, or is not a mapping of keys to plain values.
    """
    try:
        if path.exists() and not path.is_file():  # a named pipe would be read for ever
            raise Mistake(f"{path} is no file; put a file of settings there")
        text = path.read_bytes().decode("utf-8")
    except OSError as error:
        raise Mistake(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise Mistake(f"{path}, line {line}: the file is not in UTF-8; save it in this encoding") from error
    if text.startswith("\ufeff"):
        raise Mistake(f"{path}, line 1: the file begins with a byte order mark; save it as UTF-8 without one")
    try:
        root = yaml.compose(text, yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = f", line {mark.line + 1}" if mark else ""
        raise Mistake(f"{path}{line}: this is not YAML ({error.problem})") from error
    except yaml.YAMLError as error:  # a character that YAML does not allow
        raise Mistake(f"{path}: this is not YAML ({' '.join(str(error).split())})") from error
    except RecursionError as error:
        raise Mistake(f"{path}: its values are nested too deeply; a setting is a number, a word or a list") from error
    if root is None:
        return None
    if not isinstance(root, yaml.MappingNode):
        raise Mistake(f"{path}, line {get_line(root)}: a file of settings has lines of the form  key: value")
    _check_values(path, root)
    return root


def get_line(node: yaml.Node) -> int:
    """Return the number of the line on which a node begins, counted from 1."""
    return node.start_mark.line + 1


def find_key_line(path: Path, key: str, package: str, folders: Sequence[Path] = ()) -> str | None:
    """Return the file and line that set a key, `tuned_configs/mine.yaml, line 3`, or None.

    Args:
        path: a file, which is read together with the files of its group that it includes.
        key: the dotted key, `algo.lr`.
        package: the group that the settings of the file belong to; `_global_`: several.
        folders: those that hold the files of the group; the files that a file includes lie in one of them.
    """
    root = read_yaml_nodes(path)
    is_global = package == "_global_" or path.read_text("utf-8").startswith(GLOBAL_PACKAGE)
    node, left = root, key if is_global else key.removeprefix(f"{package}.")
    if is_global or key.startswith(f"{package}."):
        while isinstance(node, yaml.MappingNode):  # a name in a search's space may have dots, algo.lr
            there = [pair for pair in node.value if f"{left}.".startswith(f"{pair[0].value}.")]
            found = max(there, key=lambda pair: len(pair[0].value), default=None)
            if found and found[0].value == left:
                return f"{path}, line {get_line(found[0])}"
            node, left = (found[1], left.removeprefix(f"{found[0].value}.")) if found else (None, left)
    for word, value in root.value if root else []:
        included = value.value if word.value == "defaults" and isinstance(value, yaml.SequenceNode) else []
        for entry in (one.value for one in included if isinstance(one, yaml.ScalarNode) and one.value != "_self_"):
            for other in (folder / f"{entry}.yaml" for folder in folders):
                if other.exists() and (place := find_key_line(other, key, package, folders)):
                    return place
    return None


def _check_values(path: Path, node: yaml.Node, depth: int = 0) -> None:
    """Refuse values of a YAML file that no setting takes, such as objects, and keys that are set twice."""
    if depth > MAX_DEPTH or (node.tag.endswith(":int") and len(node.value) > MAX_DIGITS):
        raise Mistake(f"{path}, line {get_line(node)}: a setting is nested too deeply, or its number is too large")
    if node.tag not in PLAIN_TAGS:
        raise Mistake(f"{path}, line {get_line(node)}: {node.tag} is no plain value; write a number, a word or a list")
    if isinstance(node, yaml.SequenceNode):
        for item in node.value:
            _check_values(path, item, depth + 1)
    if not isinstance(node, yaml.MappingNode):
        return
    seen = set()
    for key, value in node.value:
        if key.tag != "tag:yaml.org,2002:str":
            raise Mistake(f"{path}, line {get_line(key)}: {key.value} is no name of a setting; put a name into quotes")
        if key.value in seen:
            raise Mistake(f"{path}, line {get_line(key)}: {key.value} is set twice; delete one of the two lines")
        seen.add(key.value)
        _check_values(path, value, depth + 1)


def refuse_local_settings(path: Path) -> None:
    """Refuse a file whose first line is not GLOBAL_PACKAGE: its settings would stay in one group."""
    if not re.match(r"#[ \t]*@package[ \t]+_global_[ \t\r]*(\n|$)", path.read_text("utf-8")):
        raise Mistake(f"{path}, line 1: write  {GLOBAL_PACKAGE}  there, because the file sets several groups")


def check_group_file(path: Path, group: str) -> None:
    """Check a file of experiments/<group>/, whose settings belong to the group unless it is a global file.

    Raises:
        Mistake: it sets other groups and is no global file, or `read_yaml_nodes` refuses it.
    """
    for key, value in root.value if (root := read_yaml_nodes(path)) else []:
        sets_others = key.value == "defaults" and "override" in "".join(
            k.value for entry in value.value if isinstance(entry, yaml.MappingNode) for k, _ in entry.value
        )
        if sets_others or key.value == group:
            refuse_local_settings(path)


def check_global_file(path: Path, groups: dict[str, list[str]]) -> None:
    """Check a file of tuned_configs/ or tune_searches/, whose settings belong to several groups.

    Args:
        path: the path of the file.
        groups: group -> its options.

    Raises:
        Mistake: it is no global file, it chooses a group or an option that does not exist, or `read_yaml_nodes` refuses
            it.
    """
    root = read_yaml_nodes(path)
    refuse_local_settings(path)
    for key, value in root.value if root else []:
        if key.value in SETTING_GROUPS and not isinstance(value, yaml.MappingNode):
            raise Mistake(
                f"{path}, line {get_line(value)}: {key.value} is a group; write each of its settings on a line below it"
            )
        if key.value in ("hydra", "size"):
            raise Mistake(f"{path}, line {get_line(key)}: {key.value} has no effect in a file; leave it out")
        if "." in key.value or "/" in key.value:
            group, _, name = key.value.replace("/", ".").partition(".")
            raise Mistake(
                f"{path}, line {get_line(key)}: write {key.value} as two lines,  {group}:  and  {name}: ... below"
            )
        if key.value == "defaults":
            for choice in _list_choices(path, value):
                _check_choice(path, *choice, groups)


def _list_choices(path: Path, defaults: yaml.Node) -> Iterator[tuple[int, str, str]]:
    """Yield the line, key and value of each entry of a defaults list, such as 3, `override /algo` and `ppo`."""
    if not isinstance(defaults, yaml.SequenceNode):
        raise Mistake(f"{path}, line {get_line(defaults)}: defaults is a list; write  - override /algo: ppo  below it")
    for entry in defaults.value:
        if isinstance(entry, yaml.ScalarNode) and entry.value == "_self_":
            continue
        if not isinstance(entry, yaml.MappingNode) or len(entry.value) != 1:
            raise Mistake(f"{path}, line {get_line(entry)}: an entry of defaults is written  - override /algo: ppo")
        key, value = entry.value[0]
        yield get_line(entry), key.value, value.value if isinstance(value, yaml.ScalarNode) else "?"


def _check_choice(path: Path, line: int, key: str, option: str, groups: dict[str, list[str]]) -> None:
    """Refuse an entry of a defaults list that chooses no existing option of a group, or is in another form."""
    group = re.sub(r"^override\s+", "", key).lstrip("/")
    if group not in groups:
        raise Mistake(f"{path}, line {line}: {group} is no group; {suggest_option(group, groups)}")
    if key != f"override /{group}":
        raise Mistake(f"{path}, line {line}: write  - override /{group}: {option}  instead of  - {key}: {option}")
    if group in ("tuned_configs", "tune_searches", "size"):
        raise Mistake(f"{path}, line {line}: only a command line chooses {group}; leave this entry out")
    if option not in groups[group]:
        raise Mistake(
            f"{path}, line {line}: {group}={option}: there is no such option; {suggest_option(option, groups[group])}"
        )
