"""Labels of runs in one report: the algorithm, the environment, and the settings in which the runs differ."""

from collections.abc import Iterable
from typing import Any

LEARNING_GROUPS = ("label", "algo", "model", "env", "pretrained")  # groups of settings that change what is learned
OTHER_GROUPS = ("stop", "cluster")  # groups that are named only if the runs differ in no learning setting
MAX_DIFFERENCES = 3  # in one label


def label_runs(runs: list[dict]) -> list[str]:
    """Return a label for each run, such as `ppo assault lr=0.0003`; where several games are played, `ppo lr=0.0003`.

    Args:
        runs: the settings of each run.

    Returns:
        The labels. Two runs have the same label if they differ only in the seed and in settings outside of the groups
        above, or if they agree in the first three of the settings in which any runs differ. Runs of one algorithm on
        several games have the same label if they differ only in what sets the games apart, so that they are one arm.
    """
    keys: dict[str, dict[str, None]] = {}  # algorithm -> the keys in which its runs of one environment differ
    for name in dict.fromkeys(map(name_run, runs)):
        same = [run for run in runs if name_run(run) == name]
        keys.setdefault(same[0]["algo"]["name"], {}).update(dict.fromkeys(find_differing_keys(same)))
    several = len({run["env"]["name"] for run in runs}) > 1
    names = [run["algo"]["name"] if several else name_run(run) for run in runs]
    return [label_run(name, run, list(keys[run["algo"]["name"]])) for name, run in zip(names, runs, strict=True)]


def name_run(run: dict) -> str:
    """Return the names of the algorithm and of the environment: `ppo assault`."""
    return f"{run['algo']['name']} {run['env']['name']}"


def find_differing_keys(runs: list[dict]) -> list[str]:
    """Return the dotted keys in which runs of one algorithm and environment differ: those of LEARNING_GROUPS, or if
    there are none, those of OTHER_GROUPS."""
    flat = [flatten_settings(one) for one in runs]
    for groups in (LEARNING_GROUPS, OTHER_GROUPS):
        keys = dict.fromkeys(key for one in flat for key in one if key.split(".")[0] in groups)
        if differ := [key for key in keys if any(one.get(key) != flat[0].get(key) for one in flat)]:
            return differ
    return []


def label_run(name: str, run: dict, keys: list[str]) -> str:
    """Return a name followed by the first of the settings of a run that are named by their dotted keys."""
    flat = flatten_settings(run)
    words = [write_setting(key, flat[key]) for key in keys[:MAX_DIFFERENCES] if flat.get(key) is not None]
    return " ".join([name, *words])


def flatten_settings(settings: dict, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as one dictionary with dotted keys."""
    items: Iterable[tuple[str, Any]] = ((f"{prefix}{key}", value) for key, value in settings.items())
    return {
        inner: leaf
        for key, value in items
        for inner, leaf in (flatten_settings(value, f"{key}.") if isinstance(value, dict) else {key: value}).items()
    }


def write_setting(key: str, value: Any) -> str:
    """Return a setting as a label holds it, `lr=0.0003`; a label that the user chose stands alone."""
    if key == "label":
        return str(value)
    return f"{key.rpartition('.')[2]}={f'{value:g}' if isinstance(value, float) else value}"
