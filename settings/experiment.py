"""The classes of settings that a composed experiment has, and their objects after the check."""

from typing import Any

from settings.algorithms import IMPLEMENTATION, get_settings_class, list_earlier, remove_newer_settings
from settings.environments import AtariSettings, GymnasiumSettings
from settings.mistakes import Mistake
from settings.models import get_model_class
from settings.protocols import complete_rules, remove_newer_rules
from settings.runs import ClusterSettings, StopSettings
from settings.setting import Setting, list_settings, name_kind


def select_classes(settings: dict) -> dict[str, type]:
    """Return the class of settings of each group, for the algorithm, environment and torso that are chosen.

    Raises:
        Mistake: the algorithm does not exist, or one of the three names is not a word.
    """
    algo, env, torso = (settings[g].get(k) for g, k in (("algo", "name"), ("env", "name"), ("model", "torso")))
    for key, value in {"algo.name": algo, "env.name": env, "model.torso": torso}.items():
        if value is not None and not isinstance(value, str):
            raise Mistake(f"{key}={value} is {name_kind(value)}; it takes a word")
    return {
        "algo": get_settings_class(settings["algo"]),
        "env": AtariSettings if "game" in settings["env"] else GymnasiumSettings,
        "model": get_model_class(torso),
        "cluster": ClusterSettings,
        "stop": StopSettings,
    }


def select_tables(settings: dict) -> dict[str, tuple[dict[str, Setting], str]]:
    """Return, for each group, name -> Setting, and the owner of these settings for messages, such as `PPO`."""
    algo, env, model = settings["algo"], settings["env"], settings["model"]
    classes = select_classes(settings)
    owners = {"algo": str(algo.get("name")).upper(), "env": str(env.get("name")), "model": str(model.get("torso"))}
    owners |= {"cluster": "a cluster", "stop": "stop"}
    tables = {group: list_settings(classes[group]) for group in classes}
    if "implementation" in algo:
        tables["algo"] = {"implementation": IMPLEMENTATION} | tables["algo"]
    return {group: (tables[group], owners[group]) for group in classes}


def complete_settings(settings: dict) -> dict:
    """Return the settings of an experiment, with the values of earlier versions where the saved settings have none."""
    algo = list_earlier(settings["algo"]) | settings["algo"]
    return settings | {"algo": algo, "env": complete_rules(settings["env"])}


def list_versions(settings: dict) -> list[dict]:
    """Return the settings of an experiment, and how each earlier version of the suite would have saved them."""
    second = settings | {"algo": remove_newer_settings(settings["algo"])}
    return [settings, second, second | {"env": remove_newer_rules(settings["env"])}]


def make_settings(group: str, settings: dict) -> Any:
    """Return the settings of a group as an object of their class, such as a PPOSettings.

    Args:
        group: algo, env, model, cluster or stop.
        settings: the whole experiment, checked by `experiments.check.check_settings`, or saved by an earlier version.
    """
    chosen = select_classes(settings)[group]
    values = complete_settings(settings)[group]
    return chosen(**{name: values[name] for name in list_settings(chosen)})
