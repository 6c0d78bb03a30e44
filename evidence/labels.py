"""Labels of runs in one report: the algorithm, the environment, and the settings in which the runs differ."""

from collections.abc import Iterable
from typing import Any

LEARNING_GROUPS = ("label", "algo", "model", "env")  # groups of settings that change what is learned
OTHER_GROUPS = ("stop", "cluster")  # groups that are named only if the runs differ in no learning setting
MAX_DIFFERENCES = 3  # in one label


def label_runs(runs: list[dict]) -> list[str]:
    """Return a label for each run, such as `ppo assault lr=0.0003`.

    Args:
        runs: the settings of each run.

    Returns:
        The labels. Two runs have the same label if they differ only in the seed and in settings outside of the groups
        above, or if they agree in the first three of the settings in which any runs differ.
    """
    return [label_run(run, [one for one in runs if name_run(one) == name_run(run)]) for run in runs]


def name_run(run: dict) -> str:
    """Return the names of the algorithm and of the environment: `ppo assault`."""
    return f"{run['algo']['name']} {run['env']['name']}"


def label_run(run: dict, others: list[dict]) -> str:
    """Return the label of a run among all runs of the same algorithm and environment, itself included."""
    flat, all_flat = flatten_settings(run), [flatten_settings(one) for one in others]
    for groups in (LEARNING_GROUPS, OTHER_GROUPS):
        keys = dict.fromkeys(key for one in all_flat for key in one if key.split(".")[0] in groups)
        differ = [key for key in keys if any(one.get(key) != all_flat[0].get(key) for one in all_flat)]
        if differ:
            words = [write_setting(key, flat[key]) for key in differ[:MAX_DIFFERENCES] if flat.get(key) is not None]
            return " ".join([name_run(run), *words])
    return name_run(run)


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
