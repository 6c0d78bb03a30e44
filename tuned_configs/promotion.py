"""Promotion: the settings of a search's best finalist become a tuned config, if they beat the default settings.

    search directory -> finalists on fresh seeds -> tuned_configs/<search>_searched.yaml

The file begins with comments about its origin: scores, seeds, search, commit and hardware.
"""

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml

from environments.passwords import mask_passwords
from environments.screen import format_score
from evidence.search_result import Finalist, explain_result, format_difference, read_finalists, read_search
from evidence.statistics import t_interval
from run_directory.files import check_kind, explain_damage, read_yaml
from run_directory.layout import CONFIG, STARTS
from run_directory.searches import TRIALS_CSV, parse_value, read_trials, trial_path
from run_directory.starts import read_starts
from run_directory.writing import save_file
from settings.experiment import complete_settings
from settings.mistakes import Mistake, format_count

TUNED_CONFIGS = Path(__file__).resolve().parent
SAVED_GROUPS = ("algo", "env", "model", "stop")
WITHOUT_FILE = ("atari", "gymnasium")  # env= of environments that have no file of their own
ENDED = ("COMPLETE", "PRUNED", "FAIL")  # the states of trials that do not go on


def promote_winner(folder: Path, into: Path = TUNED_CONFIGS) -> Path | None:
    """Write the tuned config of a search's winner, which is its best finalist.

    Args:
        folder: the directory of the search.
        into: the folder of tuned configs.

    Returns:
        The new file, or None if it could not be written; then its text and the reason are printed.

    Raises:
        Mistake: the search has not ended, its best finalist does not beat the default settings on fresh seeds, or the
            file exists already.
    """
    best, search = read_finalists(folder)[0], read_search(folder)
    refuse_unfinished_search(folder, search)
    if best.failed:
        raise Mistake(
            f"run={folder}: {best.name}, the winner, failed on fresh seed {', '.join(map(str, best.failed))}; "
            "nothing is promoted"
        )
    if not best.scores:
        raise Mistake(f"run={folder}: {explain_result(best)} Nothing is promoted")
    if best.difference[0] <= 0:
        raise Mistake(
            f"run={folder}: {best.name}, the winner, does not beat the settings the search began with, "
            f"{format_difference(best.difference)}; nothing is promoted"
        )
    path = find_tuned_config(folder, into)
    if path.exists():
        raise Mistake(f"run={folder}: {path} is there already; rename or delete it first")
    trial = trial_path(folder, int(best.name.split()[1]))
    settings = read_yaml(trial / CONFIG)
    for group in (*SAVED_GROUPS, "cluster"):
        check_kind(trial / CONFIG, settings.get(group), dict, group)
    for group in ("algo", "env"):
        check_kind(trial / CONFIG, settings[group].get("name"), str, f"{group}.name")
    for key, value in best.values.items():
        group, _, name = key.partition(".")
        found = settings.get(group, {}).get(name)
        if value != ("null" if found is None else str(found)) and parse_value(value) != found:
            raise explain_damage(trial / CONFIG, f"{key} is {found} where {folder / TRIALS_CSV} has {value}")
    text = format_header(folder, trial, search, best, path.stem) + format_settings(settings)
    if why := save_file(path, text):
        print(text)
        print(f"the tuned config was not saved: {why}", file=sys.stderr)
        return None
    return path


def refuse_unfinished_search(folder: Path, search: dict[str, Any]) -> None:
    """Refuse a search that is under way again: its seeds.csv is of an earlier result, before it got more trials.

    Raises:
        Mistake: a trial has not begun or not ended.
    """
    check_kind(folder / CONFIG, search["search"].get("trials"), int, "search.trials")
    states = [trial.state for trial in read_trials(folder)]
    ended, total = sum(state in ENDED for state in states), max(len(states), search["search"]["trials"])
    if ended < total:
        raise Mistake(
            f"run={folder}: the search has not ended, only {ended} of {format_count(total, 'trial')} have; let it end "
            f"with resume={folder}"
        )


def find_tuned_config(folder: Path, into: Path = TUNED_CONFIGS) -> Path:
    """Return the path of the tuned config of a search, whether it exists or not.

    Raises:
        Mistake: config.yaml of the search is damaged.
    """
    name = read_search(folder)["search"]["name"]
    if not re.fullmatch(r"[\w.-]*\w", name):
        raise explain_damage(folder / CONFIG, f"search.name={name!r:.80} names a directory")
    return into / f"{name}_searched.yaml"


def format_header(folder: Path, trial: Path, search: dict[str, Any], best: Finalist, name: str) -> str:
    """Return the comments that a tuned config begins with: score, seeds, search, commit, hardware and command."""
    command = read_all_starts(folder, ("command",))[0]["command"]
    start = read_all_starts(trial, ("time", "hardware"))[-1]
    git, machine = start.get("git"), start["hardware"]
    for fact in ("cpu", "cpus", "dtype"):
        if fact not in machine:
            raise explain_damage(trial / STARTS, f"hardware has no {fact}")
    for key in ("sampler", "scheduler"):
        check_kind(folder / CONFIG, search["search"].get(key), str, f"search.{key}")
    own = f" --config-dir {shlex.quote(str(search['config_dir']))}" if search.get("config_dir") else ""
    weights = f" pretrained={shlex.quote(search['pretrained'])}" if search.get("pretrained") else ""
    commit = f"{git['commit'][:7]}{', with changes' if git['dirty'] else ''}" if git else "unknown"
    seeds, steps = ", ".join(map(str, best.seeds)), search["stop"]["agent_steps"]
    scores, wide = ", ".join(format_score(score) for score in best.scores), ""
    if len(best.scores) > 1:
        wide = f" (95 % interval {' to '.join(map(format_score, t_interval(best.scores)))})"
    lines = [
        f"{search['algo']['name']} on {search['env']['name']}, found by the search {search['search']['name']}.",
        "",
        f"Score:  {format_score(best.mean)}{wide} after {steps:,} agent steps, "
        f"on fresh seeds {seeds}: {scores}; the default",
        f"        settings score {format_score(sum(best.default_scores) / len(best.default_scores))} there: "
        f"{format_difference(best.difference)}.",
        f"        {explain_result(best)}",
        f"Search: {best.name}, one of {len(read_trials(folder))}, {search['search']['sampler']} and "
        f"{search['search']['scheduler']}; {shlex.join(mask_passwords(command))}",
        f"Code:   commit {commit}, {start['time'][:10]}; {machine['cpus']} CPUs, {machine['cpu']}, {machine['dtype']}.",
        f"How:    python run.py tuned_configs={name} seed=[{seeds.replace(' ', '')}]{weights}{own}",
    ]
    # A line break in a value would end the comment, so that the text after it would become a setting.
    return "# @package _global_\n" + "".join(f"# {' '.join(line.splitlines())}".rstrip() + "\n" for line in lines)


def read_all_starts(folder: Path, required: tuple[str, ...]) -> list[dict[str, Any]]:
    """Return the starts of a search or a trial, at least one.

    Raises:
        Mistake: run.json is damaged or has no starts.
    """
    path = folder / STARTS
    if not (starts := read_starts(path, required)):
        raise explain_damage(path, "it has no starts")
    return starts


def format_settings(settings: dict[str, Any]) -> str:
    """Return all settings of the agent as YAML; it names every setting, so that later defaults do not change it."""
    algo, env = settings["algo"]["name"], settings["env"]["name"]
    option = "atari" if "game" in settings["env"] else "gymnasium"  # if the environment has no YAML file of its own
    option = env if (TUNED_CONFIGS.parent / "experiments" / "env" / f"{env}.yaml").exists() else option
    config: dict[str, Any] = {
        "defaults": [{"override /algo": algo}, {"override /env": option}],
        "made_for": {"algo": algo, "env": env},
    }
    settings = complete_settings(settings)
    config |= {group: {k: v for k, v in settings[group].items() if k != "name"} for group in SAVED_GROUPS}
    if option in WITHOUT_FILE and env != settings["env"].get("game"):  # a file of --config-dir has named it
        config["env"] = {"name": env} | config["env"]
    if settings["algo"].get("overlap"):  # which needs env runners
        config["cluster"] = {"num_env_runners": settings["cluster"]["num_env_runners"]}
    return yaml.safe_dump(config, sort_keys=False)
