"""What can be wrong with a YAML file that people edit, in one sentence that names the file and the line.

Hydra answers most of this with a traceback, with the name of a key that nobody typed, or by filing the settings under
another group without a word. So the files that a command line names are looked at before Hydra reads them.
"""

import re
from collections.abc import Iterator
from pathlib import Path

import yaml

from settings.mistakes import Mistake, choose

GLOBAL_PACKAGE = "# @package _global_"  # the first line of a file whose settings belong to several groups
SETTING_GROUPS = ("algo", "env", "model", "cluster", "stop", "made_for", "search")
MAX_DEPTH, MAX_DIGITS = 20, 30  # beyond what any setting needs; Python itself gives up at 1,000 and at 4,300
PLAIN_TAGS = {
    f"tag:yaml.org,2002:{kind}" for kind in ("str", "int", "float", "bool", "null", "timestamp", "map", "seq")
}


def read_yaml_nodes(path: Path) -> yaml.MappingNode | None:
    """Returns the settings of a file as YAML's nodes, which know their lines; None where the file has none.

    Raises:
        Mistake: the file cannot be read, is not UTF-8 or not YAML, or holds something else than named plain values.
    """
    try:
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
    except yaml.YAMLError as error:  # a character that no YAML file may hold
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
    """Returns the line a node begins on, counted from 1."""
    return node.start_mark.line + 1


def _check_values(path: Path, node: yaml.Node, depth: int = 0) -> None:
    if depth > MAX_DEPTH or (node.tag.endswith(":int") and len(node.value) > MAX_DIGITS):
        raise Mistake(f"{path}, line {get_line(node)}: no setting is nested so deeply, or so large a number")
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
            raise Mistake(
                f"{path}, line {get_line(key)}: {key.value} is no name of a setting; put it into quotes if it is"
            )
        if key.value in seen:
            raise Mistake(f"{path}, line {get_line(key)}: {key.value} is set twice; leave one of the two lines out")
        seen.add(key.value)
        _check_values(path, value, depth + 1)


def refuse_local_settings(path: Path) -> None:
    """Check that the settings of a file reach several groups.

    Raises:
        Mistake: its first line does not say so.
    """
    first = path.read_text().splitlines()[:1] or [""]
    if not re.fullmatch(r"#\s*@package\s+_global_\s*", first[0]):
        raise Mistake(
            f"{path}, line 1: the first line has to be  {GLOBAL_PACKAGE}  for its settings to reach their groups"
        )


def check_group_file(path: Path, group: str) -> None:
    """Check a file of experiments/<group>/, whose settings belong to the group unless its first line says otherwise.

    Raises:
        Mistake: it has settings of other groups and does not say so, or `read_yaml` refuses it.
    """
    for key, value in root.value if (root := read_yaml_nodes(path)) else []:
        others = key.value == "defaults" and "override" in "".join(
            k.value for entry in value.value if isinstance(entry, yaml.MappingNode) for k, _ in entry.value
        )
        if others or key.value == group:
            refuse_local_settings(path)


def check_global_file(path: Path, groups: dict[str, list[str]]) -> None:
    """Check a file of tuned_configs/ or tune_searches/, whose settings belong to several groups.

    Args:
        path: of the file.
        groups: each group with the options it offers.

    Raises:
        Mistake: its first line does not say where its settings belong, it chooses a group or an option that there is
            not, or `read_yaml` refuses it.
    """
    root = read_yaml_nodes(path)
    refuse_local_settings(path)
    for key, value in root.value if root else []:
        if key.value in SETTING_GROUPS and not isinstance(value, yaml.MappingNode):
            raise Mistake(
                f"{path}, line {get_line(value)}: {key.value} is a group; write its settings below it, one a line"
            )
        if key.value == "hydra":
            raise Mistake(f"{path}, line {get_line(key)}: Hydra only composes here; leave its own settings out")
        if "." in key.value or "/" in key.value:
            group, _, name = key.value.replace("/", ".").partition(".")
            raise Mistake(
                f"{path}, line {get_line(key)}: write {key.value} as two lines,  {group}:  and  {name}: ... below"
            )
        if key.value == "defaults":
            for choice in _list_choices(path, value):
                _check_choice(path, *choice, groups)


def _list_choices(path: Path, defaults: yaml.Node) -> Iterator[tuple[int, str, str]]:
    """Line, key and value of each entry of a defaults list: `override /algo` and `ppo`."""
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
    group = re.sub(r"^override\s+", "", key).lstrip("/")
    if group not in groups:
        raise Mistake(f"{path}, line {line}: {group} is no group; {choose(group, list(groups))}")
    if key != f"override /{group}":
        raise Mistake(f"{path}, line {line}: write  - override /{group}: {option}  instead of  - {key}: {option}")
    if group in ("tuned_configs", "tune_searches"):
        raise Mistake(f"{path}, line {line}: {group} are chosen on the command line, not by another file; leave it out")
    if option not in groups[group]:
        raise Mistake(
            f"{path}, line {line}: {group}={option}: there is no such option; {choose(option, groups[group])}"
        )
