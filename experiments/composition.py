"""Composing an experiment with Hydra: overrides become plain settings, and a mistake in them one sentence.

    overrides -> paths taken literally -> YAML files looked at -> Hydra -> settings, a dictionary of plain values

This is the only file that knows Hydra.
"""

import difflib
import os
import re
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from experiments.words import expand_override, suggest_env, suggest_setting
from experiments.yaml_files import check_global_file, check_group_file, read_yaml_nodes
from settings.mistakes import Mistake, choose
from settings.protocols import PROTOCOLS

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("algo", "env", "model", "cluster", "size", "command", "tuned_configs", "tune_searches")
PATH_SETTINGS = ("output_dir", "run", "resume", "checkpoint", "replay")  # settings whose values are paths


def remove_resume(overrides: list[str]) -> list[str]:
    """Overrides that belong to the experiment: all but the directory it continues."""
    return [o for o in overrides if not o.startswith("resume=")]


def compose_settings(overrides: list[str]) -> dict:
    """What Hydra makes of the overrides, as plain data.

    Raises:
        Mistake: an override names a group option or a key that there is not, or cannot be read.
    """
    os.environ["SUITE_ROOT"] = str(ROOT)
    if not OmegaConf.has_resolver("protocol"):
        OmegaConf.register_new_resolver("protocol", get_protocol_rule)
    refuse_two_games(overrides)
    overrides = [word for override in overrides for word in expand_override(override, list_options("env"))]
    for override in overrides:
        if override[:1] == "+":
            key, others = override.partition("=")[0].lstrip("+"), [o for o in overrides if o[:1] != "+"]
            refuse_added_key(override, key, compose_settings(others))
        refuse_invalid_override(quote_path(override), override)
        check_option_file(override)
    try:
        with initialize_config_dir(str(ROOT / "experiments"), version_base=None):
            config = compose("config", [quote_path(override) for override in overrides])
        settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        for path in sorted((ROOT / "experiments").rglob("*.yaml")):  # a damaged file explains more than Hydra does
            read_yaml_nodes(path)
        raise Mistake(explain_error(error, overrides)) from error
    if not isinstance(settings, dict):
        raise Mistake(f"{ROOT / 'experiments' / 'config.yaml'} composes to no settings")
    return settings


def quote_path(override: str) -> str:
    """Returns an override for Hydra, with quotes around a value that is a path, so that any character may be in it."""
    key, equals, value = override.partition("=")
    # A URL's password may hold any character, or be in the environment; older command lines put it into quotes.
    a_url = key == "search.storage" and "${" not in value and value[:1] not in "'\""
    if not (key in PATH_SETTINGS or a_url) or value in ("", "null"):
        return override
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # OmegaConf would look for a setting of that name
    return f"{key}{equals}{QuotedString(escaped, Quote.single).with_quotes()}"


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """Returns the keys that were typed and their values as plain data, without composing an experiment.

    Raises:
        Mistake: an override cannot be read.
    """
    values: dict[str, Any] = {}
    for override in (word for typed in overrides for word in expand_override(typed, list_options("env"))):
        refuse_invalid_override(quote_path(override), override)
        key, _, path = override.partition("=")
        value = OverridesParser.create().parse_override(quote_path(override)).value()
        values[key] = (
            path if key in PATH_SETTINGS and path != "null" else value
        )  # parsing leaves OmegaConf's escapes in
    return values


def check_option_file(override: str) -> None:
    """Look at the YAML file that an override such as `tuned_configs=mine` chooses, before Hydra reads it.

    Raises:
        Mistake: something is wrong with the file.
    """
    group, _, option = override.partition("=")
    if group not in GROUPS or option not in list_options(group):
        return
    path = get_group_folder(group) / f"{option}.yaml"
    if group in ("tuned_configs", "tune_searches"):
        check_global_file(path, {group: list_options(group) for group in GROUPS})
    else:
        check_group_file(path, group)


def refuse_two_games(overrides: list[str]) -> None:
    """Refuse `env=qbert env.game=pong`.

    Raises:
        Mistake: two overrides name a game.
    """
    naming = [
        o for o in overrides if any(word.startswith("env.game=") for word in expand_override(o, list_options("env")))
    ]
    if len(set(naming)) > 1:
        raise Mistake(f"{' and '.join(naming)} name two games; leave one out")


def refuse_added_key(override: str, key: str, settings: dict) -> None:
    """+key: a setting is there already, or nobody would read it.

    Raises:
        Mistake: always.
    """
    known = list_dotted_keys(settings)
    if key in known or key in GROUPS:
        raise Mistake(f"{override}: {key} is there already; leave out the +")
    raise Mistake(explain_unknown_key(key, known))


def refuse_invalid_override(override: str, typed: str) -> None:
    """Refuse what Hydra would answer with a riddle: what it cannot read, ~key, and groups without an option.

    Args:
        override: as Hydra gets it.
        typed: the same as the user typed it.

    Raises:
        Mistake: the override is one of these.
    """
    key, _, value = override.partition("=")
    if key.split(".")[0] == "hydra":
        raise Mistake(f"{override}: Hydra only composes here; python run.py --cfg job prints the settings there are")
    if key[:1] == "~":
        raise Mistake(f"{override}: no setting can go; give it another value, null where it may be none")
    try:
        parsed = OverridesParser.create().parse_override(override)
    except (HydraException, ValueError, RecursionError) as error:  # a number of 5,000 digits, a list in a list in a ...
        raise Mistake(
            f"{typed!r} cannot be read; write key=value, without spaces around = and without commas between, "
            "see python run.py --help"
        ) from error
    if not key or parsed.is_sweep_override():
        raise Mistake(f"{override} cannot be read; write key=value with one value, see python run.py --help")
    if key in GROUPS and not value:
        raise Mistake(f"{override}: it takes one of {', '.join(list_options(key))}")
    if key in GROUPS and not isinstance(parsed.value(), str) and not (value == "null" and key.startswith("tune")):
        raise Mistake(f"{override}: there is no such option; {choose(value, list_options(key))}")


def get_protocol_rule(protocol: str, field: str):
    """What a protocol says of a field; the config's `${protocol:...}`."""
    if protocol not in PROTOCOLS:
        raise Mistake(f"env.protocol={protocol}: there is no such protocol; {choose(protocol, list(PROTOCOLS))}")
    return PROTOCOLS[protocol][field]


def explain_error(error: Exception, overrides: list[str]) -> str:
    """One sentence for what Hydra or OmegaConf says in several."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, Mistake):
            return str(cause)
        cause = cause.__cause__ or cause.__context__
    text = str(error).strip() or str(error.__cause__ or error.__context__)
    for mistyped in re.findall(r"Could not override '([^']+)'", text):
        key = mistyped.lstrip("+~")
        if not any(o.partition("=")[0].lstrip("+~") == key for o in overrides):
            place = find_line(rf"override\s+/?{re.escape(key)}\b") or "the defaults of a YAML file"
            return f"{place}: {key} is no group; {choose(key, list(GROUPS))}"
        rest = [o for o in overrides if o.partition("=")[0].lstrip("+~") != key]
        known = list_dotted_keys(compose_settings(rest))
        if any(k == key or k.startswith(f"{key}.") for k in known):
            return f"{key}: keys cannot be added to it on the command line; write them into a YAML file"
        return explain_unknown_key(key, known)
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, option = found.groups()
        other = get_group_folder(group) / f"{option}.yml"
        if other.exists():
            return f"{group}={option}: {other} has to end in .yaml; rename it"
        offered = suggest_env(option, list_options(group)) if group == "env" else choose(option, list_options(group))
        return f"{group}={option}: there is no such option; {offered}"
    if found := re.search(r"invalid literal for int\(\) with base 10: '(\w+)'", text):
        typed = [key for key in (o.partition("=")[0] for o in overrides) if f".{found.group(1)}" in key]
        key = typed[0].partition(f".{found.group(1)}")[0] if typed else "a list"
        return f"{(typed or [key])[0]}: {key} is a list, and nothing in it has a name; give {key}=[...] as a whole"
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found.group(1)} is not set; give it on the command line ({found.group(1)}=...)"
    if found := re.search(r"full_key: (\S+)", text):
        name = found.group(1).rpartition(".")[2]
        quoted = re.search(r"(?:key|type|variable) '?([\w.:]+)", text)
        reference = rf"\$\{{(oc\.env:)?{re.escape(quoted.group(1))}\b" if quoted else rf"^\s*{name}\s*:.*\$\{{"
        typed = any(o.partition("=")[0] == found.group(1) for o in overrides)
        place = None if typed else find_line(reference)
        where = f"{place}: " if place else ""
        return f"{where}{found.group(1)}: {join_lines(text.split(chr(10))[0])}; see python run.py --help"
    return f"{join_lines(text)}; see python run.py --help"


def find_line(pattern: str) -> str | None:
    """Returns the first YAML file and line that match: `experiments/env/mine.yaml, line 2`; None where none does."""
    for path in sorted(path for group in GROUPS for path in get_group_folder(group).glob("*.yaml")):
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if re.search(pattern, line.partition("#")[0]):
                return f"{path}, line {number}"
    return None


def join_lines(text: str) -> str:
    """The same without line breaks."""
    return " ".join(text.split())


def explain_unknown_key(key: str, known: list[str]) -> str:
    """The sentence for a key that is not in the experiment."""
    if said := suggest_setting(key, known, GROUPS):
        return f"{key}: this experiment has no such setting; {said}"
    group, _, name = key.rpartition(".")
    siblings = [k for k in known if k.rpartition(".")[0] == group] if group else list({k.split(".")[0] for k in known})
    near = difflib.get_close_matches(key, siblings or known, n=2, cutoff=0.5) or difflib.get_close_matches(
        name, known, n=2, cutoff=0.6
    )
    hint = f"did you mean {' or '.join(near)}?" if near else "python run.py --cfg job prints all there are"
    return f"{key}: this experiment has no such setting; {hint}"


def list_dotted_keys(settings: dict, prefix: str = "") -> list[str]:
    """All keys, dotted."""
    keys = []
    for key, value in settings.items():
        keys += list_dotted_keys(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]
    return keys


def get_group_folder(group: str) -> Path:
    """Returns the folder that holds the YAML files of a group."""
    return (ROOT if group in ("tuned_configs", "tune_searches") else ROOT / "experiments") / group


def list_options(group: str) -> list[str]:
    """Returns what a group offers: the names of its YAML files."""
    return sorted(path.stem for path in get_group_folder(group).glob("*.yaml"))
