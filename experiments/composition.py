"""Composition of an experiment with Hydra: overrides in, settings as a dictionary of plain values out.

    overrides -> quotes around paths -> check of the chosen YAML files -> Hydra -> settings

A mistake in the overrides or in a YAML file becomes one sentence. This is the only file that imports Hydra.
"""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Glob, Quote, QuotedString
from hydra.errors import HydraException
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from environments.own_folder import OwnFolder
from environments.spelling import suggest_env
from experiments.words import expand_override, spell_override
from experiments.yaml_files import check_global_file, check_group_file, find_key_line, read_yaml_nodes
from settings.mistakes import Mistake, resolve_path
from settings.protocols import PROTOCOLS
from settings.suggestions import explain_unreadable, suggest_option
from settings.synonyms import COMMANDS, explain_unknown_key

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("algo", "env", "model", "cluster", "size", "command", "tuned_configs", "tune_searches")
FILE_GROUPS = ("tuned_configs", "tune_searches")  # their options may be files anywhere, tuned_configs=mine.yaml
PATH_SETTINGS = ("output_dir", "out", "run", "resume", "pretrained", "checkpoint", "replay", "config_dir")  # literal
# Commas between their values need brackets.
LISTS: tuple[str, ...] = ("runs", "logger", "callbacks", "env.wrappers", "model.hidden")
MAPPINGS = ("env.kwargs={", "search.space={")  # replace what was there; Hydra would add to it
NAMED_FILES: dict[tuple[str, str], Path] = {}  # group, option -> its file, which a command line named by its path


def remove_resume(overrides: list[str]) -> list[str]:
    """Return the overrides without `resume`, which is no part of the experiment itself."""
    return [o for o in overrides if not o.startswith("resume=")]


def compose_settings(overrides: list[str]) -> dict:
    """Compose an experiment with Hydra, and return its settings as plain data.

    Raises:
        Mistake: an override cannot be parsed, or names a group option or a key that does not exist.
    """
    os.environ |= {"SUITE_ROOT": str(ROOT), "SUITE_CONFIG_DIR": str(OwnFolder.path or ROOT)}  # for config.yaml
    if not OmegaConf.has_resolver("protocol"):
        OmegaConf.register_new_resolver("protocol", get_protocol_rule)
    refuse_two_games(overrides)
    overrides = expand_overrides(overrides)
    for override in overrides:
        if override[:1] == "+":
            key, others = override.partition("=")[0].lstrip("+"), [o for o in overrides if o[:1] != "+"]
            refuse_added_key(override, key, compose_settings(others))
        refuse_invalid_override(quote_path(override), override)
        check_option_file(override)
    try:
        config = compose_config(overrides)
        settings = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError, OSError, ValueError, RecursionError) as error:
        for folder in (ROOT / "experiments", *([OwnFolder.path] if OwnFolder.path else [])):
            for path in sorted([*folder.glob("*.yaml"), *folder.glob("*/*.yaml")]):
                read_yaml_nodes(path)  # names a damaged file and its line; Hydra does not
        raise Mistake(explain_error(error, overrides)) from error
    if not isinstance(settings, dict):
        raise Mistake(f"{ROOT / 'experiments' / 'config.yaml'} composes to no settings")
    return settings


def expand_overrides(overrides: list[str]) -> list[str]:
    """Return overrides as Hydra takes them: short forms expanded, and options in place of paths of YAML files.

    Raises:
        Mistake: a short form or a file cannot be used.
    """
    last = max((i for i, o in enumerate(overrides) if o.startswith("env=")), default=0)  # else its game would stay
    kept = [o for i, o in enumerate(overrides) if i >= last or not o.startswith("env=")]
    words = [word for override in kept for word in expand_override(override, list_options("env"))]
    for group in FILE_GROUPS:  # Hydra takes no null for a group that its defaults leave open
        if f"{group}=null" in words:
            last = len(words) - 1 - words[::-1].index(f"{group}=null")
            words = [word for i, word in enumerate(words) if i > last or not word.startswith(f"{group}=")]
    return [name_file(word) if is_file_option(word) else word for word in words]


def is_file_option(override: str) -> bool:
    """Return whether an override chooses a file by its path: `tuned_configs=mine.yaml` or a longer one."""
    group, _, value = override.partition("=")
    looks_so = value.endswith((".yaml", ".yml")) or "/" in value
    several = "," in value or "(" in value  # of a grid, unless there is a file of this name
    return group in FILE_GROUPS and looks_so and (not several or os.path.isfile(os.path.expanduser(value)))


def name_file(override: str) -> str:
    """Check a YAML file that an override names by its path, and make it an option of its group; return its override.

    Raises:
        Mistake: there is no such file, or `check_global_file` refuses it.
    """
    group, _, value = override.partition("=")
    path = resolve_path(value, group)
    if not path.is_file():
        near = f"; {group}={path.stem} is the one of the suite" if path.stem in list_options(group) else ""
        what = "this is a folder, not a file" if path.is_dir() else "there is no such file"
        raise Mistake(f"{override}: {what}{near or f', seen from {Path.cwd()}'}")
    check_global_file(path, {group: list_options(group) for group in GROUPS})
    option = re.sub(r"\W", "_", path.stem) + "_" + hashlib.sha256(str(path).encode()).hexdigest()[:8]
    ConfigStore.instance().store(group=group, name=option, node=OmegaConf.load(path), package="_global_")
    NAMED_FILES[group, option] = path
    return f"{group}={option}"


def compose_config(overrides: list[str], with_hydra: bool = False) -> Any:
    """Compose an experiment as an OmegaConf object, if asked for with Hydra's own settings, the chosen options among
    them."""
    with initialize_config_dir(str(ROOT / "experiments"), version_base=None):
        typed: list[str] = []
        for override in overrides:
            typed += [f"++{override.partition('=')[0]}=null"] * override.startswith(MAPPINGS) + [quote_path(override)]
        return compose("config", typed, return_hydra_config=with_hydra)


def find_place(key: str, overrides: list[str]) -> str | None:
    """Return the YAML file and line that set a key of an experiment which has been composed, or None.

    `hydra.runtime.choices` lists the chosen options, and the files that override others first.
    """
    choices = compose_config(expand_overrides(overrides), with_hydra=True).hydra.runtime.choices
    for choice, option in choices.items():
        group, _, package = choice.partition("@")
        path = find_option_file(group, option) if option else None
        if path and (place := find_key_line(path, key, package or group, list_group_folders(group))):
            return place
    return find_key_line(ROOT / "experiments" / "config.yaml", key, "_global_")


def quote_path(override: str) -> str:
    """Return an override in Hydra's grammar: quotes around paths, URLs and names, ++ before keys of an environment."""
    key, equals, value = override.partition("=")
    if key == "env.kwargs" or key.startswith("env.kwargs."):  # the environment has these names, not a YAML file
        return f"++{override}"
    if key in ("env.wrappers", "callbacks"):  # Hydra takes no colon in the key of a dictionary
        return re.sub(r"([\w.]+):([^\W\d]\w*)(?=\s*:)", r"\1\\:\2", override)
    if key == "runs" and re.fullmatch(r"\[[^][{}'\"\\]+\]", value):  # a list of paths
        return f"runs=[{','.join(quote_path(f'run={path.strip()}')[4:] for path in value[1:-1].split(','))}]"
    # The password in a URL has any character; older lines have the URL in quotes; ${oc.env:NAME} stays a reference.
    a_url = key == "search.storage" and "${" not in value and value[:1] not in "'\""
    a_name = key in ("label", "search.name") and re.fullmatch(r"[\w.-]+", value)  # 2024 and 1e3 are no numbers there
    if not (key in PATH_SETTINGS or a_url or a_name) or value in ("", "null"):
        return override
    escaped = re.sub(r"(\\*)\$\{", r"\1\1\\${", value)  # so that OmegaConf does not resolve it
    return f"{key}{equals}{QuotedString(escaped, Quote.single).with_quotes()}"


def parse_overrides(overrides: list[str]) -> dict[str, Any]:
    """Return key -> value of overrides, as plain data, without composing an experiment.

    Raises:
        Mistake: an override cannot be parsed.
    """
    values: dict[str, Any] = {}
    for override in (word for given in overrides for word in expand_override(given, list_options("env"))):
        if is_file_option(override):
            values[override.partition("=")[0]] = override.partition("=")[2]
            continue
        refuse_invalid_override(quote_path(override), override)
        key, _, path = override.partition("=")
        value = OverridesParser.create().parse_override(quote_path(override)).value()  # of a path, still with escapes
        values[key] = path if key in PATH_SETTINGS and path != "null" else value
    return values


def list_values(override: str) -> list[str] | None:
    """Return the values of an override that has several, as text: of `a,b`, `choice(a,b)`, `range(1,9)`, `glob(a*)`.

    Returns:
        None where the override has one value.

    Raises:
        Mistake: it has an interval, a pattern that matches no option, or a value twice.
    """
    key, _, value = override.partition("=")
    try:
        parsed = OverridesParser.create().parse_override(quote_path(override))
    except (HydraException, ValueError, RecursionError):
        return None  # the check of a single override explains it
    if not parsed.is_sweep_override():
        return None
    if parsed.is_interval_sweep():
        raise Mistake(f"{override}: an interval has no single values; a search draws from it, see tune_searches/")
    pattern = parsed.value()
    if isinstance(pattern, Glob):
        if key not in GROUPS:
            raise Mistake(f"{override}: glob matches the options of a group, and {key} is none; list its values")
        if not (values := pattern.filter(list_options(key))):
            raise Mistake(f"{override}: nothing matches; there are: {', '.join(list_options(key))}")
    else:
        values = [value.replace("\\:", ":") for value in parsed.sweep_string_iterator()]
    if len(set(values)) < len(values):
        raise Mistake(f"{override}: a value is there twice; give each only once")
    return values


def check_option_file(override: str) -> None:
    """Check the YAML file that an override such as `tuned_configs=mine` chooses, before Hydra reads it."""
    group, _, option = override.partition("=")
    if group not in GROUPS or option not in list_options(group):
        return
    path = find_option_file(group, option)
    if path and group in FILE_GROUPS:
        check_global_file(path, {group: list_options(group) for group in GROUPS})
    elif path:
        check_group_file(path, group)


def refuse_two_games(overrides: list[str]) -> None:
    """Refuse two overrides that each choose a game, such as `env=qbert env.game=pong`."""
    last = {o.partition("=")[0]: o for o in overrides}  # of a setting that is typed twice the last one counts
    envs = list_options("env")
    chosen = [o for o in last.values() if any(word.startswith("env.game=") for word in expand_override(o, envs))]
    if len({o.partition("=")[2] for o in chosen}) > 1:
        raise Mistake(f"{' and '.join(chosen)} name two games; leave one out")


def refuse_added_key(override: str, key: str, settings: dict) -> None:
    """Refuse an override `+key=value`, Hydra's syntax for a new key: nothing would read it, or the key exists."""
    known = list_dotted_keys(settings)
    if key in known or key in GROUPS:
        raise Mistake(f"{override}: {key} exists already; leave out the +")
    raise Mistake(explain_typed_key(key, known, override.partition("=")[2]))


def refuse_invalid_override(override: str, typed: str) -> None:
    """Refuse overrides whose error message from Hydra would not be understood: ~key, syntax errors, empty groups.

    Args:
        override: the override as it is passed to Hydra.
        typed: the same override as the user typed it, for the message.
    """
    key, _, value = override.partition("=")
    if key.split(".")[0] == "hydra":
        raise Mistake(f"{override}: Hydra has no settings here, it only composes; --cfg job prints all settings")
    if key[:1] == "~":
        raise Mistake(f"{override}: a setting cannot be removed; give it another value, or null where it takes null")
    try:
        parsed = OverridesParser.create().parse_override(override)
    except (HydraException, ValueError, RecursionError) as error:  # such as a number of 5,000 digits
        raise Mistake(f"{typed!r} cannot be read; {explain_unreadable(typed)}") from error
    if not key:
        raise Mistake(f"{override} cannot be read; write key=value with one value, see --help")
    if parsed.is_sweep_override():
        how = dict.fromkeys(LISTS, f"put brackets around them, {key}=[{value}]")
        how["seed"] = how["seeds"] = "seeds are typed seed=1,2,3 or 'seed=range(1,4)', which are the same"
        one = f"one number is {key}={value.replace(',', '_')}; " if re.fullmatch(r"\d{1,3}(,\d{3})+", value) else ""
        grid = f"{one}add -m for a grid of them, as in python run.py -m {typed}"
        raise Mistake(f"{typed} has several values; {how.get(key, grid)}")
    without_texts = re.sub(r"""(['"]).*?\1(?!\s*:)""", "", value)  # quoted values can hold anything
    keys = re.findall(r"[{,]\s*((?:\\:|[^\s{}\[\]:,])+)\s*:", without_texts)
    if isinstance(parsed.value(), dict) and value.count("{") == 1 and len({*keys}) < len(keys):
        raise Mistake(f"{typed}: {max(keys, key=keys.count)} is there twice, and Hydra would drop one; give new names")
    if key in GROUPS and not value:
        raise Mistake(f"{override}: it takes one of {', '.join(list_options(key))}")
    if key in GROUPS and not isinstance(parsed.value(), str) and not (value == "null" and key.startswith("tune")):
        raise Mistake(f"{override}: there is no such option; {suggest_option(value, list_options(key))}")


def get_protocol_rule(protocol: str, field: str) -> Any:
    """Return the value that a protocol gives a field of `env`; YAML files call it as `${protocol:...}`."""
    if (word := str(protocol or "null")) not in PROTOCOLS:  # a number, a list and null are no words
        raise Mistake(f"env.protocol={word}: there is no such protocol; {suggest_option(word, PROTOCOLS)}")
    return PROTOCOLS[protocol][field]


def explain_error(error: Exception, overrides: list[str]) -> str:
    """Return one sentence for an exception of Hydra or OmegaConf: the override or file, and what to type instead."""
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
            return f"{place}: {key} is no group; {suggest_option(key, GROUPS)}"
        rest = [o for o in overrides if o.partition("=")[0].lstrip("+~") != key]
        known = list_dotted_keys(compose_settings(rest))
        if any(k == key or k.startswith(f"{key}.") for k in known):
            return f"{key}: keys cannot be added to it on the command line; write them into a YAML file"
        (value, *_) = [o.partition("=")[2] for o in overrides if o.partition("=")[0].lstrip("+~") == key]
        return explain_typed_key(key, known, value)
    if found := re.search(r"Could not find '([^']+)/([^'/]+)'", text):
        group, option = found.groups()
        others = [folder / f"{option}.yml" for folder in list_group_folders(group)]
        if other := next((path for path in others if path.exists()), None):
            return f"{group}={option}: {other} has to end in .yaml; rename it"
        return explain_unknown_option(group, option, overrides)
    if found := re.search(r"Error merging override ([^=]+)=|invalid literal for int\(\) with base 10: '(\w+)'", text):
        for typed in (o.partition("=")[0] for o in overrides):
            if typed == found.group(1) or f".{found.group(2)}" in typed:
                return explain_part_of_list(typed, [o for o in overrides if o.partition("=")[0] != typed])
    if found := re.search(r"Missing mandatory value: (\S+)", text):
        return f"{found.group(1)} is not set; give it on the command line ({found.group(1)}=...)"
    if found := re.search(r"full_key: (\S+)", text):
        name = found.group(1).rpartition(".")[2]
        quoted = re.search(r"(?:key|type|variable) '?([\w.:]+)", text)
        reference = rf"\$\{{(oc\.env:)?{re.escape(quoted.group(1))}\b" if quoted else rf"^\s*{name}\s*:.*\$\{{"
        typed = any(o.partition("=")[0] == found.group(1) for o in overrides)
        place = "" if typed else find_line(reference) or ""
        why = f"{' '.join(text.split(chr(10))[0].split())}; see --help"
        if variable := re.search(r"Environment variable '(\w+)' not found", text):
            why = f"the environment variable {variable.group(1)} is not set; set it"
        return f"{place and f'{place}: '}{found.group(1)}: {why}"
    return f"{' '.join(text.split())}; see --help"


def explain_part_of_list(typed: str, others: list[str]) -> str:
    """Return the sentence for an override that names a part of a list, or gives it something else than a list."""
    key, value = "", compose_settings(others)
    for name in typed.split("."):
        if isinstance(value, dict) and name in value:
            key, value = f"{key}.{name}".lstrip("."), value[name]
    whole = str(value).replace(" ", "")
    return f"{typed}: {key} has no parts with names or numbers; type all of it, as in {key}={whole}"


def explain_unknown_option(group: str, option: str, overrides: list[str]) -> str:
    """Return the sentence for an option that a group does not have."""
    options, start = list_options(group), f"{group}={option}: there is no such option;"
    if group == "env":
        return f"{start} {suggest_env(option, options)}"
    if group == "command" and option.lower() in COMMANDS:
        return f"{start} type command={COMMANDS[option.lower()]}"
    fitting = list_fitting_models([o for o in overrides if o[:6] != "model="]) if group == "model" else None
    return f"{start} {suggest_option(option, options, fitting)}"


def list_fitting_models(overrides: list[str]) -> list[str]:
    """Return the models that fit the observations of an experiment: convolutions for pixels, made for their size."""
    env, fitting = compose_settings(overrides)["env"], []
    for option in list_options("model"):
        path = find_option_file("model", option)
        found = re.search(r"^torso: (\w+)", path.read_text("utf-8"), re.M) if path else None
        torso = found.group(1) if found else ""
        made_for = ("42" in torso) == (env.get("dim") == 42) or torso == "mlp"
        fitting += [option] if (torso != "mlp") == ("game" in env) and made_for else []
    return fitting


def spell(name: str, value: str) -> str:
    """Return the override of a setting or group with a value, or only its name if it does not take the value."""
    return spell_override(name, value, {group: list_options(group) for group in GROUPS})


def explain_typed_key(key: str, known: list[str], value: str = "") -> str:
    """Return the sentence for a key that the experiment does not have; `known` are the dotted keys that it has."""
    return explain_unknown_key(key, value, [*known, *GROUPS], spell)


def find_line(pattern: str) -> str | None:
    """Return the first YAML file and line that match, `experiments/env/mine.yaml, line 2`; None if no line does."""
    folders = [folder for group in GROUPS for folder in list_group_folders(group)]
    for path in sorted(path for folder in folders for path in folder.glob("*.yaml")):
        for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
            if re.search(pattern, line.partition("#")[0]):
                return f"{path}, line {number}"
    return None


def list_dotted_keys(settings: dict, prefix: str = "") -> list[str]:
    """Return all keys of nested settings, dotted: `algo.lr`."""
    keys = []
    for key, value in settings.items():
        keys += list_dotted_keys(value, f"{prefix}{key}.") if isinstance(value, dict) and value else [prefix + key]
    return keys


def get_group_folder(group: str) -> Path:
    """Return the folder of the suite that holds the YAML files of a group."""
    return (ROOT if group in FILE_GROUPS else ROOT / "experiments") / group


def list_group_folders(group: str) -> list[Path]:
    """Return the folders that hold the YAML files of a group: that of the suite, then that of `--config-dir`."""
    return [get_group_folder(group), *([OwnFolder.path / group] if OwnFolder.path else [])]


def find_option_file(group: str, option: str) -> Path | None:
    """Return the YAML file of an option of a group, or None if there is none."""
    paths = [folder / f"{option}.yaml" for folder in list_group_folders(group)]
    return NAMED_FILES.get((group, option)) or next((path for path in paths if path.exists()), None)


def list_options(group: str) -> list[str]:
    """Return the options of a group, sorted: the names of its YAML files."""
    return sorted({path.stem for folder in list_group_folders(group) for path in folder.glob("*.yaml")})


def list_tuned_configs(algo: str, env: str) -> list[str]:
    """Return the options of `tuned_configs` that were made for an algorithm and an environment, sorted."""
    made_for = re.compile(rf"^made_for:\s*{{?algo: {re.escape(algo)},?\s+env: {re.escape(env)}(?![\w.-])", re.MULTILINE)
    paths = {option: find_option_file("tuned_configs", option) for option in list_options("tuned_configs")}
    return [option for option, path in paths.items() if path and made_for.search(path.read_text("utf-8", "replace"))]
