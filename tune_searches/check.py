"""Checks of a search before it starts; `experiments/check.py` checks the settings of its trials."""

import re
from typing import Any

from cluster.placement import Node, place_bundles
from cluster.plan import make_plan
from environments.machine import count_cpus, count_gpus
from environments.passwords import is_masked
from experiments.check import check_settings
from settings.algorithms import PART_OF_CHECKPOINT, find_base
from settings.mistakes import Mistake, format_count
from settings.runs import SEED
from settings.searches import SearchSettings
from settings.setting import explain_unknown, list_settings
from tune_searches.space import Parameter, parse_space


def check_experiment(settings: dict) -> dict:
    """Return the settings of a training or a search, every value checked and converted to its kind.

    Args:
        settings: the composed experiment as plain data.

    Raises:
        Mistake: a value from the command line or from a YAML file cannot work.
    """
    return check_search_part(check_settings(settings))


def check_search_part(settings: dict) -> dict:
    """Return settings with the group `search` checked as well, if the command is a search.

    Args:
        settings: the settings, all other groups checked by `experiments.check.check_settings`.

    Raises:
        Mistake: a setting of the search cannot work.
    """
    if settings["command"] != "search":
        return settings
    return settings | {"search": check_search(settings["search"], settings)}


def check_search(search: Any, settings: dict) -> dict:
    """Return the group `search`, as it was composed, with every value checked and converted, given all settings.

    Raises:
        Mistake: a setting of the search cannot work.
    """
    if not isinstance(search, dict) or search.get("name") is None:
        raise Mistake("search.name is not set; choose a search with tune_searches=<name>, or give yours a name")
    checked, known = dict(search), list_settings(SearchSettings)
    for key in search:
        if key not in known and key != "space":
            raise explain_unknown(f"search.{key}", "a search", [f"search.{name}" for name in (*known, "space")])
    for key, setting in known.items():
        if key not in search:
            raise Mistake(f"search.{key} is missing; it takes {setting.describe_values()}")
        checked[key] = setting.check(f"search.{key}", search[key])
    if is_masked(checked["storage"]):
        raise Mistake(
            f"search.storage={checked['storage']}: a password is kept in no run directory; give search.storage again, "
            "best as '${oc.env:STORAGE}' with the URL in the environment variable STORAGE, which every start then reads"
        )
    if not re.fullmatch(r"[\w.-]{0,99}\w", checked["name"]):
        raise Mistake(f"search.name={checked['name']} names a directory; use at most 100 letters, digits, - and _")
    if checked["finalists"] > checked["contenders"]:
        raise Mistake(
            f"search.finalists={checked['finalists']} are the best of search.contenders={checked['contenders']}; lower "
            "the one or raise the other"
        )
    if isinstance(settings["seed"], list):
        raise Mistake(f"seed={settings['seed']}: a search has one seed, and search.seeds_per_trial of them per trial")
    last = settings["seed"] + checked["seeds_per_trial"] + checked["contender_seeds"] + checked["fresh_seeds"] - 1
    if last > (high := SEED.high or last):
        raise Mistake(
            f"seed={settings['seed']}: the search needs seeds up to {last}, beyond the last, {high}; lower it"
        )
    space = parse_space(checked.get("space", {}), settings)
    pbt = checked["scheduler"] == "pbt"
    if pbt:
        _check_population(checked, space, settings["algo"])
    algo, stop = settings["algo"], settings["stop"]
    for key in ("time_s", "episode_return"):
        if stop[key] is not None:
            raise Mistake(f"stop.{key}={stop[key]}: a search compares trials after equal budgets; leave it null")
    first = max(algo["num_envs"] * algo.get("horizon", 1), settings["report_every"])
    share = "search.generations" if pbt else "search.reduction_factor^search.rungs"
    least = first * (checked["generations"] if pbt else checked["reduction_factor"] ** checked["rungs"])
    if checked["scheduler"] != "none" and stop["agent_steps"] < least:  # `none` compares trials only at their ends
        raise Mistake(
            f"stop.agent_steps={stop['agent_steps']} is less than {least}: the first comparison of trials, at "
            f"1 / {share} of it, would come before the first report; raise it, or lower "
            f"report_every={settings['report_every']}"
        )
    cluster = settings["cluster"]
    if cluster["address"] != "local":  # a cluster is asked for its CPUs and GPUs later, when Ray is connected
        if cluster["grows"] and not checked["concurrent"]:
            raise Mistake(
                "search.concurrent is not set: a cluster that grows, cluster.grows=true, cannot be counted; say "
                "how many trials there are at once"
            )
        return checked
    seeds, at_once = checked["seeds_per_trial"], checked["concurrent"] or 1
    trial, cpus = make_plan({**settings, "search": checked}), count_cpus()
    if at_once * trial.cpus > cpus:
        raise Mistake(
            f"search.concurrent={at_once} trials of {format_count(trial.cpus, 'CPU')}, with "
            f"search.seeds_per_trial={seeds}, ask for more than the {cpus} of this machine; ask for fewer"
        )
    if trial.gpus:
        gpus = count_gpus()
        machine = Node("", "this machine", {"CPU": cpus, "GPU": gpus})
        if place_bundles(trial.bundles * at_once, [machine]) is None:
            raise Mistake(
                f"search.concurrent={at_once} trials of {format_count(trial.gpus, 'GPU')}, with search.seeds_per_trial="
                f"{seeds} and each process its part of one, do not fit on the {gpus} of this machine; ask for fewer"
            )
    return checked


def _check_population(search: dict, space: list[Parameter], algo: dict) -> None:
    """Raise a Mistake if the search cannot be a population, search.scheduler=pbt."""
    if search["sampler"] != "random":
        raise Mistake(
            f"search.sampler={search['sampler']}: search.scheduler=pbt gives a schedule, not a point that a sampler "
            "could learn from; set search.sampler=random"
        )
    if find_base(algo) == "dqn":
        raise Mistake(
            f"algo={algo['name']}: a checkpoint has no replay buffer, so search.scheduler=pbt would empty it over and "
            "over"
        )
    if search["trials"] < 2:
        raise Mistake(f"search.trials={search['trials']} is no population, search.scheduler=pbt; raise it")
    for parameter in space:
        group, _, name = parameter.key.partition(".")
        if group != "algo" or name in PART_OF_CHECKPOINT or parameter.when:
            raise Mistake(
                f"search.space.{parameter.key}: search.scheduler=pbt changes settings of algo while a trial trains, "
                "and neither what its checkpoint is made of nor what depends on another; leave it out"
            )
