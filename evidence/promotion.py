"""From a search to a tuned config: the best finalist's settings with where they come from, if they beat the default.

search directory -> finalists on fresh seeds -> tuned_configs/<search>_searched.yaml
"""

import json
import shlex
import sys
from pathlib import Path
from typing import Any

import yaml

from environments.mistakes import Mistake
from environments.protocols import complete_rules
from evidence.saving import save
from evidence.search_result import Finalist, finalists, interval, verdict
from evidence.statistics import t_interval

ROOT = Path(__file__).resolve().parent.parent
GROUPS = ("algo", "env", "model", "stop")


def promote(folder: Path, into: Path = ROOT / "tuned_configs") -> Path | None:
    """Write the tuned config of a search's best finalist.

    Args:
        folder: of the search.
        into: where tuned configs are.

    Returns:
        The file; None where it could not be written: then it is printed, with the reason.

    Raises:
        Mistake: it is no search that came to its end, its finalists do not beat the default settings on fresh seeds, or
            there is such a file already.
    """
    best = finalists(folder)[0]
    if best.failed:
        raise Mistake(
            f"run={folder}: {best.name}, the winner, failed on fresh seed {', '.join(map(str, best.failed))}; "
            "nothing is promoted"
        )
    if best.difference[0] <= 0:
        raise Mistake(
            f"run={folder}: {best.name}, the winner, does not beat the settings the search began with, "
            f"{interval(best.difference)}; nothing is promoted"
        )
    search = yaml.safe_load((folder / "config.yaml").read_text())
    path = into / f"{search['search']['name']}_searched.yaml"
    if path.exists():
        raise Mistake(f"run={folder}: {path} is there already; rename or delete it first")
    trial = folder / "trials" / f"{int(best.name.split()[1]):04d}"
    settings = yaml.safe_load((trial / "config.yaml").read_text())
    text = header(folder, trial, search, best, path.stem) + body(settings)
    if why := save(path, text):
        print(text)
        print(f"the tuned config was not saved: {why}", file=sys.stderr)
        return None
    return path


def header(folder: Path, trial: Path, search: dict[str, Any], best: Finalist, name: str) -> str:
    """Comments: score, seeds, search, commit and hardware of the trial, command."""
    typed = json.loads((folder / "run.json").read_text())["starts"][0]["command"]
    start = json.loads((trial / "run.json").read_text())["starts"][-1]
    git, machine = start["git"], start["hardware"]
    commit = f"{git['commit'][:7]}{', with changes' if git['dirty'] else ''}" if git else "unknown"
    seeds, steps = ", ".join(map(str, best.seeds)), search["stop"]["agent_steps"]
    scores, wide = ", ".join(f"{score:,.1f}" for score in best.scores), ""
    if len(best.scores) > 1:
        wide = " (95 % interval {:,.1f} to {:,.1f})".format(*t_interval(best.scores))
    lines = [
        f"{search['algo']['name']} on {search['env']['name']}, found by the search {search['search']['name']}.",
        "",
        f"Score:  {best.mean:,.1f}{wide} after {steps:,} agent steps, on fresh seeds {seeds}: {scores}; the default",
        f"        settings score {sum(best.default_scores) / len(best.default_scores):,.1f} there: "
        f"{interval(best.difference)}.",
        f"        {verdict(best)}",
        f"Search: {best.name} of {search['search']['trials']}, {search['search']['sampler']} and "
        f"{search['search']['scheduler']}; {shlex.join(typed)}",
        f"Code:   commit {commit}, {start['time'][:10]}; {machine['cpus']} CPUs, {machine['cpu']}, {machine['dtype']}.",
        f"How:    python run.py tuned_configs={name} seed=[{seeds.replace(' ', '')}]",
    ]
    return "# @package _global_\n" + "".join(f"# {line}".rstrip() + "\n" for line in lines)


def body(settings: dict[str, Any]) -> str:
    """All settings that make the agent, complete, so that later defaults do not change it."""
    algo, env = settings["algo"]["name"], settings["env"]["name"]
    option = env if (ROOT / "experiments" / "env" / f"{env}.yaml").exists() else "atari"  # a game without a file
    config: dict[str, Any] = {
        "defaults": [{"override /algo": algo}, {"override /env": option}],
        "made_for": {"algo": algo, "env": env},
    }
    settings = settings | {"env": complete_rules(settings["env"])}
    config |= {group: {k: v for k, v in settings[group].items() if k != "name"} for group in GROUPS}
    return yaml.safe_dump(config, sort_keys=False)
