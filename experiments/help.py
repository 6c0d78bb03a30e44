"""The text of --help: the groups and examples, or every setting of a group with its meaning, values and default.

    python run.py --help             groups and examples
    python run.py --help algo        what there is to choose from, and the settings of the default
    python run.py --help algo=a2c    the settings of A2C
    python run.py --help algo.lr     one setting

Meanings and values come from the classes in settings/, which check them; defaults from experiments/.
"""

import itertools
import re
import shutil
import textwrap
from typing import Any

from experiments.composition import GROUPS, compose_settings, explain_unknown_key, get_group_folder, list_options
from experiments.words import expand_override
from settings.experiment import select_classes
from settings.mistakes import Mistake, choose
from settings.runs import SEED, RunSettings
from settings.searches import SearchSettings
from settings.setting import Setting, list_settings

WIDTH = 80  # columns, or as many as the terminal has
EXAMPLES = """
examples
  python run.py                             PPO on Assault, 10M agent steps
  python run.py size=short                  the same for some minutes
  python run.py env=qbert                   any game of ALE
  python run.py env=pong env.protocol=machado         sticky actions, all 18
  python run.py env=cartpole stop.agent_steps=100k
  python run.py seed=1,2,3 algo.lr=1e-4     one run per seed
  python run.py tune_searches=assault_ppo   search for better settings
  python run.py resume=latest               continue; settings may follow
  python run.py resume=auto algo=ppo        this very experiment, begun or not
  python run.py command=evaluate run=latest episodes=30
  python run.py command=record run=latest games=3     videos of it
  python run.py command=page run=latest     curves, videos, thoughts: one page
  python run.py command=watch run=latest    see it train, in a browser
  python run.py command=promote run=latest  keep what a search found
  python run.py algo=a3c dry_run=true       say what would run where, and stop
  python run.py cluster=ray output_dir=/shared/runs   on a Ray cluster

flags
  --help      this text      --cfg job   print the experiment, run nothing
  --help algo, --help algo=a2c, --help algo.lr   settings and what they mean
  --completion bash (or zsh)   Tab completes: eval "$(python run.py ...)"
"""
SECTIONS = ("algo", "env", "model", "cluster", "stop", "search", "run")  # run: settings of no group
EXAMPLE_SEARCH = "tune_searches=assault_ppo"  # any: an experiment without a search has no settings of one


def format_help(words: list[str]) -> str:
    """Return the text for the words that stand beside --help, for all of them in turn.

    Raises:
        Mistake: one of them is no group, option or setting.
    """
    return "\n\n".join("\n".join(format_section(word)) for word in words) if words else format_overview()


def format_overview() -> str:
    """Return the text on all groups with their options, and worked examples."""
    lines = ["RLlib Atari suite: policy-gradient experiments on Ray RLlib", ""]
    lines += ["usage: python run.py [group=option] [key=value] ...", "", "groups"]
    for group in GROUPS:
        lines += wrap_text(f"  {group:<14} ", ", ".join(list_options(group)) or "(none yet)")
    return "\n".join(lines) + "\n" + EXAMPLES.rstrip()


def format_section(word: str) -> list[str]:
    """Return the lines on one word: a group, an option of it, or a setting."""
    group, equals, option = word.partition("=")
    if group == "env" and equals and expand_override(word, list_options("env")) != [word]:  # any game of ALE
        group, equals, option = "env=atari".partition("=")
    if equals and group in GROUPS:
        lines = [line for text in read_header(group, option) for line in (wrap_text("  ", text) if text else [""])]
        return [f"{group}={option}", *lines, *format_settings(group, [f"{group}={option}"])]
    word = group  # of algo.lr=3 only the setting matters
    if group in (*GROUPS, *SECTIONS) and not equals:
        offered = (
            format_options(group) if group in GROUPS else [group if group != "run" else "settings outside of groups"]
        )
        return [*offered, *format_settings(group, [])]
    group, _, name = word.rpartition(".")
    for overrides in [
        [],
        *([f"{group}={option}"] for option in list_options(group) if group in ("algo", "env", "model")),
    ]:
        known = list_defaults(group or "run", overrides)
        if name in known:
            return [*overrides, *format_setting(word, *known[name])]
    raise Mistake(
        f"--help {explain_unknown_key(word, [f'{g}.{name}' for g in SECTIONS[:-1] for name in list_defaults(g, [])])}"
    )


def format_settings(group: str, overrides: list[str]) -> list[str]:
    """Return the lines on all settings of a group."""
    lines, group = [], "search" if group == "tune_searches" else group
    for name, (setting, default) in list_defaults(group, overrides).items():
        lines += format_setting(name if group == "run" else f"{group}.{name}", setting, default)
    return lines


def list_defaults(group: str, overrides: list[str]) -> dict[str, tuple[Setting, Any]]:
    """Return name -> setting and default of a group, in the order of its YAML file; nothing if it is not LISTED."""
    if group not in SECTIONS:
        return {}
    if group == "search" and not overrides:
        overrides = [EXAMPLE_SEARCH]
    settings = compose_settings(
        [*overrides, *["env.game=assault"] * (overrides == ["env=atari"])]
    )  # it has no game of its own
    if group == "run":
        of_run = {"seed": SEED, **list_settings(RunSettings)}
        return {name: (setting, settings[name]) for name, setting in of_run.items()}
    table = list_settings(SearchSettings if group == "search" else select_classes(settings)[group])
    names = [name for name in settings[group] if name in table and (name != "name" or group == "search")]
    return {name: (table[name], settings[group][name]) for name in names}


def format_options(group: str) -> list[str]:
    """Return the lines on the options of a group, each with the first sentence of its file."""
    lines = [f"{group}="]
    for option in list_options(group):
        head = " ".join(itertools.takewhile(bool, read_header(group, option)))
        lines += wrap_text(f"  {option:<20} ", re.split(r"(?<=[.])\s+(?=[A-Z])", head)[0])
    return lines


def read_header(group: str, option: str) -> list[str]:
    """Return the comment at the top of an option's file, line by line."""
    if option not in list_options(group):
        raise Mistake(f"--help {group}={option}: there is no such option; {choose(option, list_options(group))}")
    lines = (get_group_folder(group) / f"{option}.yaml").read_text().splitlines()
    comments = [line[1:].strip() for line in lines if not line.startswith("# @package")]
    end = next((i for i, line in enumerate(lines) if not line.startswith("#")), len(lines))
    count = sum(not line.startswith("# @package") for line in lines[:end])
    return comments[:count]


def format_setting(key: str, setting: Setting, default: Any) -> list[str]:
    """Return the lines on a setting: its default, as one types it, then its meaning and the values it takes."""
    shown = {type(None): "null", bool: str(default).lower()}.get(type(default), str(default))
    if type(default) is int and default >= 100_000:
        shown = f"{default:_}"
    return [f"  {key}={shown}", *wrap_text("      ", f"{setting.meaning}. Takes {setting.wanted()}")]


def wrap_text(first: str, text: str) -> list[str]:
    """Return a text, behind its first words, in lines that fit the terminal."""
    width = min(shutil.get_terminal_size((WIDTH, 24)).columns, 120)
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=" " * len(first)) or [first.rstrip()]
