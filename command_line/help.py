"""The text of --help: all groups with examples, or each setting of a group with its meaning, values and default.

    python run.py --help             groups and examples
    python run.py --help algo        the options of a group, and the settings of its default option
    python run.py --help algo=a2c    the settings of A2C; --help a2c is the same
    python run.py --help algo.lr     one setting
    python run.py --help algo.lr tuned_configs=assault_a2c    with its value there
    python run.py --help tuned_configs=assault_a2c    what a tuned config is, and the settings that it changes

Meanings and values come from the classes in settings/, defaults from the YAML files in experiments/.
"""

import functools
import itertools
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

from command_line.flags import list_meanings
from environments.own_folder import OwnFolder
from environments.spelling import list_games
from experiments.composition import (
    FILE_GROUPS,
    GROUPS,
    compose_config,
    compose_settings,
    expand_overrides,
    explain_typed_key,
    find_option_file,
    list_options,
)
from settings.commands import (
    COMMAND_DEFAULTS,
    IGNORED_SETTINGS,
    PLAYER_COMMANDS,
    PROTOCOL_SETTINGS,
    READER_ONLY_SETTINGS,
    READER_SETTINGS,
)
from settings.experiment import select_classes
from settings.mistakes import Mistake
from settings.own_parts import is_own
from settings.runs import SEED, RunSettings
from settings.searches import SearchSettings
from settings.setting import Setting, list_settings
from settings.suggestions import suggest_option

WIDTH = 80  # columns, where the terminal does not say how many it has
EXAMPLES = """
examples
  python run.py                             PPO on Assault, 10M agent steps
  python run.py size=short                  the same, within some minutes
  python run.py env=qbert                   any game of ALE
  python run.py env=pong env.protocol=machado         sticky actions, all 18
  python run.py env=cartpole stop.agent_steps=100k
  python run.py seed=1,2,3 algo.lr=1e-4     one run per seed
  python run.py tune_searches=assault_ppo   search for better settings
  python run.py resume=latest               continue the newest run
  python run.py resume=auto algo=ppo        continue it, or begin it
  python run.py command=evaluate run=latest episodes=30
  python run.py command=record run=latest games=3     videos of it
  python run.py command=page run=latest     a page with curves and a played game
  python run.py command=watch run=latest    watch the training in a browser
  python run.py command=export run=latest   take the agent along, as ONNX
  python run.py command=audit algo=a2c      compare it with its paper
  python run.py logger=[tensorboard,wandb]  send rows to W&B, too
  python run.py command=promote run=latest  keep the settings of a search
  python run.py algo=a3c dry_run=true       print where processes would run
  python run.py cluster=ray output_dir=/shared/runs   on a Ray cluster

flags
  --help      this text      --cfg job   print the experiment, run nothing
  --cfg job --package algo   print one group of it
  --config-dir mine   use your own algo/, env/ ... in this folder, too
  tuned_configs=mine.yaml (or experiment=)   use a file of your own
  -m          a grid of experiments, and their comparison: docs/comparing.md
  --help algo, --help a2c, --help algo.lr   settings and what they mean
  --completion bash (or zsh)   Tab completes: eval "$(python run.py ...)"
  --version   of the suite, Python, Ray, PyTorch
"""
SECTIONS = ("algo", "env", "model", "cluster", "stop", "search", "run")  # run stands for the settings of no group
EXAMPLE_SEARCH = "tune_searches=assault_ppo"  # an experiment without a search has no search settings to show
GAMES = {"env=atari": ["env.game=assault"], "env=gymnasium": ["env.id=CartPole-v1"]}  # they have no default game


def format_help(words: list[str]) -> str:
    """Return the text of --help for some words, one after the other; without words, the overview.

    Raises:
        Mistake: a word is neither a group, nor an option of a group, nor a setting.
    """
    words = [meaning for word in words for meaning in expand_word(word)]
    typed = [word for word in words if word.partition("=")[0] in {*GROUPS} - {"command"} and "=" in word]
    return "\n\n".join("\n".join(format_section(word, typed)) for word in words) if words else format_overview()


def expand_word(word: str) -> list[str]:
    """Return what a word of --help stands for: `algo=ppo` for ppo; evaluate is a setting and a command, too."""
    if "=" in word or "." in word or word in (*GROUPS, *SECTIONS):
        return [word]
    of_run = word == "seed" or word in list_settings(RunSettings)
    return [*([word] if of_run else []), *list_meanings(word)] or [word]


def format_overview() -> str:
    """Return the text on all groups with their options, and the examples."""
    lines = ["RLlib Atari suite: policy-gradient experiments on Ray RLlib", ""]
    lines += ["usage: python run.py [group=option] [key=value] ...", "", "groups"]
    for group in GROUPS:
        lines += wrap_text(f"  {group:<14} ", ", ".join(list_options(group)) or "(none yet)")
    return "\n".join(lines) + "\n" + EXAMPLES.rstrip()


def format_section(word: str, typed: list[str]) -> list[str]:
    """Return the lines on one word: a group, `group=option`, or a setting, with its value by the options `typed`."""
    group, equals, option = word.partition("=")
    if equals and group in GROUPS:
        words = expand_overrides([word]) or [word]  # two for a game of ALE; of a user's file, its option; of null, none
        file = words[0].partition("=")[2]
        lines = [line for text in read_header(group, file) for line in (wrap_text("  ", text) if text else [""])]
        if group == "command":
            return [word, *lines, *format_command(option)]
        changes = format_changes(word) if group in FILE_GROUPS else []
        return [word, *lines, *changes, *format_settings(group, [word] if group in FILE_GROUPS else words)]
    if group in (*GROUPS, *SECTIONS) and not equals:
        settings = format_settings(group, [])
        if group in GROUPS and settings:
            default = f"{compose_config([], with_hydra=True).hydra.runtime.choices[group]}, the default"
            title = EXAMPLE_SEARCH if group == "tune_searches" else f"{group}={default}"
            return [*format_options(group), "", f"settings of {title}", *settings]
        title = "settings outside of groups" if group == "run" else group
        return [*(format_options(group) if group in GROUPS else [title]), *settings]
    key = group  # of algo.lr=3, algo.lr
    group, _, name = key.rpartition(".")
    if key == "search.space":
        return format_space(typed)
    options = list_options(group) if group in ("algo", "env", "model") and is_in_files(name, group) else []
    for overrides in [typed, *([f"{group}={option}"] for option in options)]:
        table = list_defaults(group or "run", overrides)
        if name in table:
            games = wrap_text("      ", f"Games: {', '.join(list_games())}") if key == "env.game" else []
            return [*overrides, *format_setting(key, *table[name]), *games]
    if key == "made_for":
        return ["made_for", *wrap_text("  ", "the algorithm and the environment that a tuned config was made for")]
    known = [f"{section}.{name}" for section in SECTIONS[:-1] for name in list_defaults(section, [])]
    raise Mistake(f"--help {explain_typed_key(key, known)}")


def format_command(command: str) -> list[str]:
    """Return the lines on all settings outside of groups that a command reads."""
    if command not in READER_SETTINGS:
        left_out = {"command", *READER_ONLY_SETTINGS, *IGNORED_SETTINGS[command]}
        groups = [section for section in SECTIONS[:-1] if command == "search" or section != "search"]
        table = {key: line for key, line in list_defaults("run", []).items() if key not in left_out}
        pages = ", ".join(f"--help {group}" for group in groups)
        lines = ["", *wrap_text("", f"settings of this command, beside those of groups: {pages}")]
        return [*lines, *(line for key, one in table.items() for line in format_setting(key, *one))]
    of_run = {"seed": SEED} | (
        {f"env.{key}": one for key, one in PROTOCOL_SETTINGS.items()} if command in PLAYER_COMMANDS else {}
    )
    table = list_defaults("run", []) | {key: (setting, "...") for key, setting in of_run.items()}
    for key, default in COMMAND_DEFAULTS.get(command, {}).items():
        table[key] = table[key][0], default
    lines = ["", "settings of this command; where ... stands, the default is the value of the run"]
    for key in (*READER_SETTINGS[command], *list(of_run)[1:]):
        lines += format_setting(key, *table[key])
    return lines


def format_settings(group: str, overrides: list[str]) -> list[str]:
    """Return the lines on all settings of a group."""
    lines, group = [], "search" if group == "tune_searches" else group
    for name, (setting, default) in list_defaults(group, overrides).items():
        lines += format_setting(name if group == "run" else f"{group}.{name}", setting, default)
    return lines + (format_space(overrides) if group == "search" else [])


def format_space(overrides: list[str]) -> list[str]:
    """Return the lines on the space of a search: of the one that the overrides choose, else of EXAMPLE_SEARCH."""
    search = choose_search(overrides)
    meaning = "the settings that vary, each with its range, written in the file of a search; docs/searches.md has the "
    lines = ["  search.space", *wrap_text("      ", f"{meaning}kinds of ranges. That of {search}:")]
    space = compose_once(search, own_folder=OwnFolder.path)["search"]["space"]
    return lines + [line for key, one in space.items() for line in wrap_text("        ", f"{key}: {spell_value(one)}")]


def choose_search(overrides: list[str]) -> str:
    """Return the last override that chooses a search, or EXAMPLE_SEARCH: no other experiment has settings of a search.

    Raises:
        Mistake: the file that it chooses is no search.
    """
    chosen = [one for one in overrides if one.startswith("tune_searches=") and one != "tune_searches=null"]
    search = [EXAMPLE_SEARCH, *chosen][-1]
    if "search" not in compose_once(search, own_folder=OwnFolder.path):
        raise Mistake(f"--help {search}: the file is no search; it needs `override /command: search` in its defaults")
    return search


def format_changes(override: str) -> list[str]:
    """Return the lines on a file of settings: the options that it chooses, and what it changes in their settings."""
    after = compose_once(override, own_folder=OwnFolder.path)
    choices = compose_config(expand_overrides([override]), with_hydra=True).hydra.runtime.choices
    options = [f"{group}={choices[group]}" for group in ("algo", "env", "model", "cluster")]
    before = compose_once(*options, *GAMES.get(options[1], []), own_folder=OwnFolder.path)
    lines: list[str] = []
    for group in sorted(after.keys() - {"command", "search", "made_for"}, key=[*SECTIONS, *after].index):
        values, old = after[group], before.get(group)
        pairs = {group: (values, old)}
        if isinstance(values, dict) and isinstance(old, dict):
            pairs = {f"{group}.{name}": (value, old.get(name)) for name, value in values.items()}
        for key, (value, was) in pairs.items():
            if value != was and not key.endswith(".name"):
                lines += wrap_text("  ", f"{key}={spell_value(value)}, instead of {spell_value(was)}")
    head = ["", *wrap_text("", f"it chooses {' '.join(options)}"), "and changes these of their settings"]
    return [*head, *(lines or ["  none"])]


def list_defaults(group: str, overrides: list[str]) -> dict[str, tuple[Setting, Any]]:
    """Return name -> setting and default of a group of SECTIONS, in the order of its YAML file; else nothing."""
    if group not in SECTIONS:
        return {}
    if group == "search":
        overrides = [choose_search(overrides)]
    settings = compose_once(*overrides, *GAMES.get(" ".join(overrides), []), own_folder=OwnFolder.path)
    if group == "run":
        of_run = {"seed": SEED, **list_settings(RunSettings)}
        return {name: (setting, settings[name]) for name, setting in of_run.items()}
    table = list_settings(SearchSettings if group == "search" else select_classes(settings)[group])
    if group == "model" and is_own(settings[group]["torso"]):
        table = dict.fromkeys(settings[group], Setting("read by your own class", Any)) | table
    names = [name for name in settings[group] if name in table and (name != "name" or group == "search")]
    return {name: (table[name], settings[group][name]) for name in names}


@functools.cache
def compose_once(*overrides: str, own_folder: Path | None) -> dict:
    """Return the settings of an experiment; a page asks for the same ones many times."""
    return compose_settings([*overrides])


def is_in_files(name: str, group: str) -> bool:
    """Return whether any YAML file of a group has a setting of this name."""
    files = (find_option_file(group, option) for option in list_options(group))
    return any(re.search(rf"^ *{re.escape(name)}:", file.read_text("utf-8"), re.M) for file in files if file)


def format_options(group: str) -> list[str]:
    """Return the lines on the options of a group, each with the first sentence of its file."""
    lines = [f"{group}="]
    for option in list_options(group):
        head = " ".join(itertools.takewhile(bool, read_header(group, option)))
        lines += wrap_text(f"  {option:<20} ", re.split(r"(?<=[.])\s+(?=[A-Z])", head)[0])
    return lines


def read_header(group: str, option: str) -> list[str]:
    """Return the lines of the comment at the top of an option's file."""
    if not (path := find_option_file(group, option)):
        hint = suggest_option(option, list_options(group))
        raise Mistake(f"--help {group}={option}: there is no such option; {hint}")
    lines = path.read_text("utf-8").splitlines()
    comments = [line[1:].strip() for line in lines if not line.startswith("# @package")]
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    count = sum(not line.startswith("# @package") for line in lines[:end])
    return comments[:count]


def format_setting(key: str, setting: Setting, default: Any) -> list[str]:
    """Return the lines on a setting: its default as an override, then its meaning and the values that it takes."""
    return [
        f"  {key}={spell_value(default)}",
        *wrap_text("      ", f"{setting.meaning}. Takes {setting.describe_values()}"),
    ]


def spell_value(value: Any) -> str:
    """Return a value as it can be typed: `null`, `true`, `1_000_000`, `{uniform: [0.1, 0.3]}`."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{name}: {spell_value(one)}" for name, one in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(spell_value, value)) + "]"
    if type(value) is int and value >= 100_000:
        return f"{value:_}"
    return {type(None): "null", bool: str(value).lower()}.get(type(value), str(value))


def wrap_text(first: str, text: str) -> list[str]:
    """Return `first` and a text as lines that fit the terminal; the text is indented below its own first line."""
    width = min(shutil.get_terminal_size((WIDTH, 24)).columns, 120)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first)) or [first.rstrip()]
