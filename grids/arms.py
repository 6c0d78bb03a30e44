"""Grids: an experiment for each combination of the values of overrides that have several.

    python run.py -m algo=a2c,ppo algo.lr=1e-4,3e-4 'seed=range(1,6)'    4 arms, each with 5 seeds

    overrides -> swept keys and their values -> an arm per combination -> checked settings of every arm

Values are written as Hydra writes them: `a,b`, `choice(a,b)`, `range(1,9,2)`, and for groups `glob(assault_*)`. Seeds
are no arms: every arm is run with all of them.
"""

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

from environments.passwords import mask_passwords
from experiments.composition import (
    FILE_GROUPS,
    GROUPS,
    PATH_SETTINGS,
    compose_settings,
    is_file_option,
    list_values,
)
from experiments.overrides import check_overrides
from run_directory.layout import TUNE
from run_directory.outputs import compute_key
from settings.mistakes import Mistake, format_count
from settings.protocols import complete_rules, describe_protocol
from settings.runs import RunSettings
from settings.setting import list_settings

# Settings that all runs of a grid have in common: they say how it is run, and not what is compared.
COMMON_SETTINGS = (
    "output_dir",
    "label",
    "on_usr1",
    "max_failures",
    "dashboard",
    "dry_run",
    "trust",
    "max_runs",
    "callbacks",
    "logger",
)
COMMON_CLUSTER_SETTINGS = ("cluster.address", "cluster.grows")
REFUSED_SETTINGS = {  # setting -> why a grid does not read it
    "resume": "the same line typed again continues a grid; leave it out",
    "tune_searches": "a search proposes values by itself; leave out -m, or leave out the search",
    "command": "a grid only trains; leave it out",
} | dict.fromkeys(("run", "checkpoint", "way", "games", "replay", "port"), "a grid only trains; leave it out")
TAKEN_NAMES = re.compile(rf"{TUNE}|seed_\d+")  # other folders that a grid or a run has


@dataclass(frozen=True)
class Arm:
    """One combination of the swept values.

    Attributes:
        name: of its directory, `a2c_lr_0.0001`.
        values: swept key -> its value, as text; in the order in which the keys were typed.
        settings: of its experiment, checked; `seed` is that of all its runs.
    """

    name: str
    values: dict[str, str]
    settings: dict[str, Any]

    @property
    def label(self) -> str:
        """The swept values for people: `algo=a2c algo.lr=1e-4`."""
        return " ".join(f"{key}={value}" for key, value in self.values.items())


@dataclass(frozen=True)
class Grid:
    """The arms of a grid.

    Attributes:
        name: of its directory.
        arms: one for each combination of values.
        experiment: a key of everything that its arms learn from; seeds can be added, and `stop.` can change.
    """

    name: str
    arms: list[Arm]
    experiment: str


def read_grid(overrides: list[str]) -> Grid:
    """Return the grid of a command line, with the settings of every arm checked.

    Args:
        overrides: the command line without flags.

    Raises:
        Mistake: there is nothing to compare, there are more runs than `max_runs` allows, or some arms cannot work; all
            of these are listed.
    """
    overrides, limit = split_limit(overrides)
    fixed, swept = split_swept(overrides)
    if not swept:
        raise Mistake(
            "-m makes a grid, and no setting but the seed has several values; give one, such as algo=a2c,ppo, or leave "
            "out -m"
        )
    combinations = [dict(zip(swept, values, strict=True)) for values in itertools.product(*swept.values())]
    if len(combinations) > limit:
        raise Mistake(explain_limit(len(combinations), "arms", limit))
    names = name_arms(combinations)
    arms, mistakes = [], []
    for name, values in zip(names, combinations, strict=True):
        arm = [f"{key}={value}" for key, value in values.items()]
        try:
            settings, _ = check_overrides([*fixed, *arm])
            arms.append(Arm(name, values, settings))
        except Mistake as mistake:
            mistakes.append((" ".join(arm), str(mistake)))
    if mistakes:
        raise Mistake(explain_mistakes(mistakes, len(combinations)))
    refuse_equal_arms(arms)
    refuse_uncommon_settings(arms)
    runs = sum(len(seeds) if isinstance(seeds := arm.settings["seed"], list) else 1 for arm in arms)
    if runs > limit:
        raise Mistake(explain_limit(runs, "runs", limit))
    experiment = compute_grid_key([arm.settings | {"stop": None} for arm in arms])
    return Grid(arms[0].settings["label"] or name_grid(list(swept), arms), arms, experiment)


def split_limit(overrides: list[str]) -> tuple[list[str], int]:
    """Return the overrides without max_runs and trust, which belong to the whole grid, and the value of max_runs."""
    keys = ("max_runs", "trust")
    typed = [override for override in overrides if override.partition("=")[0] in keys]
    composed, known = compose_settings(typed), list_settings(RunSettings)
    limit, _ = (known[key].check(key, composed[key]) for key in keys)
    return [override for override in overrides if override not in typed], limit


def split_swept(overrides: list[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Return the overrides with one value, and key -> values of those with several.

    Raises:
        Mistake: a setting that a grid does not read is typed, or one has several values that all runs have in common.
    """
    fixed: list[str] = []
    swept: dict[str, list[str]] = {}
    for override in overrides:
        key = override.partition("=")[0]
        if why := REFUSED_SETTINGS.get(key):
            raise Mistake(f"{override}: {why}")
        if re.search(r"\bshuffle\s*\(", override):
            raise Mistake(f"{override}: a grid is found again by its values in their order; list them")
        one_path = key in PATH_SETTINGS or is_file_option(override)  # even if it has commas
        try:
            values = None if key == "seed" or one_path else list_values(override)
        except Mistake:
            raise
        except ValueError as error:  # OmegaConf's
            raise Mistake(f"{override}: a list of values cannot hold another one; write them as one") from error
        if values is None:
            fixed.append(override)
            continue
        if key in (*COMMON_SETTINGS, *COMMON_CLUSTER_SETTINGS):
            raise Mistake(f"{override}: all runs of a grid have it in common; give it one value")
        if key in swept:
            raise Mistake(f"{override}: {key} has several values already; write them into one list")
        swept[key] = [re.sub(r"\\(.)", r"\1", value) for value in values] if key in FILE_GROUPS else values
    for override in fixed:
        if (key := override.partition("=")[0]) in swept:
            raise Mistake(f"{override}: {key} has several values already; leave out one of the two")
    return fixed, swept


def name_arms(combinations: Sequence[dict[str, str]]) -> list[str]:
    """Return a directory name for each combination: the option of a group, and key and value of a setting."""
    names: list[str] = []
    for values in combinations:
        parts = [
            ("", re.sub(r".*/|\.ya?ml$", "", value)) if key in GROUPS else (f"{key.rpartition('.')[2]}_", value)
            for key, value in values.items()
        ]
        base = "_".join(key + re.sub(r"[^\w.+-]+", "~", value).strip("~.") for key, value in parts)[:80]
        numbers = (f"{base}~{number}" for number in itertools.count(2))
        free = base not in names and not TAKEN_NAMES.fullmatch(base)
        names.append(base if free else next(name for name in numbers if name not in names))
    return names


def name_grid(keys: list[str], arms: list[Arm]) -> str:
    """Return the name of a grid without a label. The same experiments have the same name on every machine."""
    return "_".join(
        [*(key.rpartition(".")[2] for key in keys[:4]), compute_grid_key([arm.settings for arm in arms])[:6]]
    )


def compute_grid_key(experiments: list[dict[str, Any]]) -> str:
    """Return a key of several experiments. Seeds can be added to it; but one seed and several differ, as a run of one
    seed has no directory below its own."""
    several = [isinstance(settings["seed"], list) and len(settings["seed"]) > 1 for settings in experiments]
    keys = [compute_key(settings | {"seed": more}) for settings, more in zip(experiments, several, strict=True)]
    return compute_key({str(index): key for index, key in enumerate(keys)}).removeprefix("auto_")


def refuse_equal_arms(arms: list[Arm]) -> None:
    """Refuse two arms with the same settings, which other values can spell: `algo.gamma=0.99,0.990`."""
    keys: dict[str, Arm] = {}
    for arm in arms:
        key = compute_key(arm.settings)
        if key in keys:
            raise Mistake(f"{keys[key].label} and {arm.label} are the same experiment; leave one out")
        keys[key] = arm


def refuse_uncommon_settings(arms: list[Arm]) -> None:
    """Refuse arms whose files, such as tuned configs, differ in what all runs of a grid have in common."""
    for key in (*COMMON_SETTINGS, *COMMON_CLUSTER_SETTINGS):
        values = [reduce(dict.__getitem__, key.split("."), arm.settings) for arm in arms]
        for arm, value in zip(arms, values, strict=True):
            if value != values[0]:
                both = f"{arms[0].label} has {key}={values[0]}, {arm.label} {key}={value}"
                raise Mistake(
                    mask_passwords(f"all runs of a grid have {key} in common ({both}); type {key}=<one value>")
                )


def explain_limit(number: int, what: str, limit: int) -> str:
    """Return the sentence that refuses a grid that is larger than `max_runs`."""
    return f"this grid has {number:,} {what}, and max_runs={limit}; add max_runs={number} if that is meant"


def explain_mistakes(mistakes: list[tuple[str, str]], number: int) -> str:
    """Return the sentence that names every arm that cannot work, each reason once.

    Args:
        mistakes: of each such arm, what was typed for it and why it cannot work.
        number: of all arms.
    """
    reasons: dict[str, list[str]] = {}
    for arm, why in mistakes:
        reasons.setdefault(why, []).append(arm)
    lines = [f"  {', '.join(arms)}: {why}" for why, arms in reasons.items()]
    return mask_passwords("\n".join([f"{len(mistakes)} of {format_count(number, 'arm')} cannot work:", *lines]))


def explain_different_rules(arms: list[Arm]) -> str | None:
    """Return a sentence on arms that play a game under different rules, whose scores are not compared; None without."""
    games: dict[str, dict[str, Arm]] = {}
    for arm in arms:
        env = arm.settings["env"]
        games.setdefault(env["name"], {}).setdefault(describe_protocol(env), arm)
    for game, rules in games.items():
        if len(rules) > 1:
            said = "; ".join(f"{arm.label}: {protocol}" for protocol, arm in rules.items())
            first, second, *_ = (complete_rules(arm.settings["env"]) for arm in rules.values())
            rest = (key for key, value in first.items() if second.get(key) != value)
            key = "protocol" if first["protocol"] != second["protocol"] else next(rest)
            value = str(first[key]).lower()
            return (
                f"the arms play {game} under different rules, and their scores will not be compared ({said}); give all "
                f"the same, such as env.{key}={value}"
            )
    return None
