"""Shell completion of the command line `python run.py ...`.

    eval "$(python run.py --completion bash)"      in ~/.bashrc; zsh the same, in ~/.zshrc

At every Tab the shell runs `python run.py --complete <word under the cursor> <words before it>`. The answer therefore
follows the algorithm on the command line, and knows new YAML files and new run directories.
"""

import re
from collections.abc import Iterable
from pathlib import Path

from command_line.flags import split_arguments
from command_line.help import SECTIONS, list_defaults
from environments.spelling import list_games
from experiments.composition import FILE_GROUPS, GROUPS, PATH_SETTINGS, list_options
from experiments.config_dir import open_typed_folder
from run_directory.layout import CHECKPOINT_NAMES
from settings.commands import PLAYER_COMMANDS, PROTOCOL_SETTINGS, READER_SETTINGS
from settings.mistakes import Mistake
from settings.runs import SEED, RunSettings
from settings.setting import Setting, list_settings
from settings.suggestions import suggest_option

FLAGS = ("--help", "--multirun", "--cfg", "--package", "--config-dir", "--completion", "--version")
PATH_NAMES = {  # settings whose values are paths -> names that they take instead of a path
    "run": ("latest",),
    "resume": ("latest", "auto"),
    "checkpoint": CHECKPOINT_NAMES,
    "replay": (),
    "output_dir": (),
    "config_dir": (),
}
SHELLS = {
    # Bash ends a word at `=`, so a reply holds only the text after the last `=`. Commands without run.py get files.
    # `read` without -r takes `my\ dir` for one word.
    "bash": """
_rllib_suite() {
    local words current prefix
    read -a words <<< "${COMP_LINE:0:COMP_POINT}"
    [[ ${COMP_LINE:0:COMP_POINT} == *[^\\\\][[:space:]] ]] && words+=("")
    current=${words[-1]} prefix=
    if [[ ${words[1]} != *run.py ]] || (( ${#words[@]} < 3 )); then
        COMPREPLY=(); compopt -o default +o nospace; return
    fi
    [[ $current == *=* ]] && prefix=${current%=*}=
    mapfile -t COMPREPLY < <("${words[@]:0:2}" --complete "$current" "${words[@]:2:${#words[@]}-3}" 2>/dev/null)
    COMPREPLY=("${COMPREPLY[@]#"$prefix"}")
}
complete -o nospace -F _rllib_suite python python3
""",
    "zsh": """
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit; }
_rllib_suite() {
    if [[ ${words[2]} != *run.py ]] || (( CURRENT < 3 )); then _files; return; fi
    compadd -Q -S '' -- ${(f)"$(${(Q)words[1,2]} --complete "${(Q)PREFIX}" ${(Q)words[3,CURRENT-1]} 2>/dev/null)"}
}
compdef _rllib_suite python python3
""",
}


def get_completion_script(shell: str) -> str:
    """Return the script that a shell evaluates to complete the overrides and flags of run.py.

    Raises:
        Mistake: there is no script for this shell.
    """
    if shell not in SHELLS:
        raise Mistake(f"--completion {shell}: there is no completion for this shell; {suggest_option(shell, SHELLS)}")
    return SHELLS[shell].strip()


def complete_word(current: str, before: list[str]) -> list[str]:
    """Return the completions of a word, sorted, as they are typed into a shell: `run=my\\ folder/`.

    A completion that needs no further typing ends with a space.

    Args:
        current: the word under the cursor, up to the cursor; it may be empty.
        before: the words before it. If they contain a mistake, they are ignored.
    """
    try:
        overrides = split_arguments(before).overrides
        open_typed_folder(overrides)
    except Mistake:
        overrides = [word for word in before if not word.startswith("-")]
    if before[-1:] == ["--cfg"]:
        offered: Iterable[str] = ["job"]
    elif before[-1:] == ["--config-dir"]:
        offered = list_folders(current)
    elif before[-1:] == ["--package"]:
        offered = [section for section in SECTIONS if section != "run"]
    elif before[-1:] == ["--completion"]:
        offered = SHELLS
    elif current.startswith("-"):
        offered = FLAGS
    else:
        try:
            offered = list_overrides(current, overrides)
        except Mistake:
            offered = list_overrides(current, [])
    words = [re.sub(r"([^\w@%+=:,./~-])", r"\\\1", word) for word in sorted({*offered}) if word.startswith(current)]
    return [word if word.endswith(("=", ".", "/")) else f"{word} " for word in words]


def list_overrides(current: str, before: list[str]) -> list[str]:
    """Return the overrides that share the key, or the group, of an incomplete word."""
    key, equals, path = current.partition("=")
    if not equals:
        return list_keys(current, before)
    if key in PATH_SETTINGS:
        values = [*PATH_NAMES.get(key, ()), *list_folders(path)]
    else:
        listed = path[: max(path.rfind("["), path.rfind(",")) + 1]  # the values before the last one of a list
        taken = {*re.split(r"[\[,]", listed), *(["null"] if "[" in listed else [])}
        values = [f"{listed}{value}" for value in list_values(key, before) if value not in taken]
    if key in FILE_GROUPS and path:
        values = [*values, *list_folders(path), *list_yaml_files(path)]
    return [f"{key}={value}" for value in values]


def list_keys(current: str, before: list[str]) -> list[str]:
    """Return groups and settings as overrides without a value; settings of a group only after its name and a dot."""
    command = next((word.partition("=")[2] for word in reversed(before) if word.startswith("command=")), "train")
    section, dot, _ = current.partition(".")
    if command in READER_SETTINGS:
        rules = [f"env.{name}=" for name in PROTOCOL_SETTINGS] if command in PLAYER_COMMANDS else []
        return [*(f"{key}=" for key in READER_SETTINGS[command]), *(rules if dot else ["env."] if rules else [])]
    if dot:
        return [f"{section}.{name}=" for name in list_group_settings(section, before)]
    sections = [section for section in SECTIONS if section != "run" and (section != "search" or chooses_search(before))]
    return [
        *(f"{key}=" for key in (*GROUPS, "seed", *list_settings(RunSettings))),
        *(f"{section}." for section in sections),
    ]


def chooses_search(before: list[str]) -> bool:
    """Return whether the overrides choose a search."""
    return any(word.startswith("tune_searches=") and word != "tune_searches=null" for word in before)


def list_group_settings(section: str, before: list[str]) -> dict[str, Setting]:
    """Return name -> setting of a group, for the algorithm, environment and model that the overrides choose."""
    if section == "search" and not chooses_search(before):
        return {}
    return {name: setting for name, (setting, _) in list_defaults(section, before).items()}


def list_values(key: str, before: list[str]) -> list[str]:
    """Return the values of a group or a setting; an empty list if it has infinitely many, such as a number."""
    if key in GROUPS:
        return [*list_options(key), *(list_games() if key == "env" else [])]
    section, dot, name = key.rpartition(".")
    table = list_group_settings(section, before) if dot else {"seed": SEED, **list_settings(RunSettings)}
    if name not in table:
        return []
    setting = table[name]
    values = ["true", "false"] if setting.kind is bool else [str(option) for option in setting.options]
    return [*values, *(["null"] if setting.optional else [])]


def list_yaml_files(path: str) -> list[str]:
    """Return the YAML files whose paths begin with `path`."""
    parent = path.rpartition("/")[0] + "/" if "/" in path else ""
    try:
        return [f"{parent}{file.name}" for file in Path(parent or ".").expanduser().glob("*.yaml")]
    except (OSError, RuntimeError):  # a user who is not known has no home
        return []


def list_folders(path: str) -> list[str]:
    """Return the folders whose paths begin with `path`, each with a slash at its end."""
    parent = path.rpartition("/")[0] + "/" if "/" in path else ""
    try:
        names = [one.name for one in Path(parent or ".").expanduser().iterdir() if one.is_dir()]
    except (OSError, RuntimeError):
        return []
    hidden = path[len(parent) :].startswith(".")
    return [f"{parent}{name}/" for name in names if hidden or not name.startswith(".")]
