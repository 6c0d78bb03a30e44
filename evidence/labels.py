"""Labels of runs that are reported side by side: algorithm, environment, and the settings in which they differ."""

from collections.abc import Iterable
from typing import Any

LEARNS = ("label", "algo", "model", "env")  # settings that tell runs apart as a reader sees them
ELSE = ("stop", "cluster")  # settings that a label names only where the others are all the same
MOST = 3  # differences in a label


def label_of_each(runs: list[dict]) -> list[str]:
    """Label runs by what they are, such as `ppo assault lr=0.0003`.

    Args:
        runs: the composed settings of each.

    Returns:
        A label for each. Runs have the same one if they differ in nothing but seeds and in what is not learned from,
        or in more than three settings of which the first three are alike.
    """
    return [label_beside(run, [one for one in runs if named(one) == named(run)]) for run in runs]


def named(run: dict) -> str:
    """Return the algorithm and the environment of a run."""
    return f"{run['algo']['name']} {run['env']['name']}"


def label_beside(run: dict, others: list[dict]) -> str:
    """Label a run among all runs of its algorithm and environment."""
    flat, all_flat = flatten(run), [flatten(one) for one in others]
    for groups in (LEARNS, ELSE):
        keys = dict.fromkeys(key for one in all_flat for key in one if key.split(".")[0] in groups)
        differ = [key for key in keys if any(one.get(key) != all_flat[0].get(key) for one in all_flat)]
        if differ:
            words = [word(key, flat[key]) for key in differ[:MOST] if flat.get(key) is not None]
            return " ".join([named(run), *words])
    return named(run)


def flatten(settings: dict, prefix: str = "") -> dict[str, Any]:
    """Return nested settings as dotted keys and values."""
    items: Iterable[tuple[str, Any]] = ((f"{prefix}{key}", value) for key, value in settings.items())
    return {
        inner: leaf
        for key, value in items
        for inner, leaf in (flatten(value, f"{key}.") if isinstance(value, dict) else {key: value}).items()
    }


def word(key: str, value: Any) -> str:
    """Write a setting as a label has it: `lr=0.0003`; somebody's own label stands for itself."""
    if key == "label":
        return str(value)
    return f"{key.rpartition('.')[2]}={f'{value:g}' if isinstance(value, float) else value}"
