"""The evaluations that lie beside the checkpoints of a run, or with a published agent.

checkpoint -> evaluation_<checkpoint>.json, evaluation_<checkpoint>_<n>_games.json, agent.json -> that of the most games
"""

import re
from pathlib import Path
from typing import Any

from run_directory.checkpoints import read_totals
from run_directory.files import check_kind, explain_damage, read_json
from run_directory.layout import AGENT


def read_agent_file(run: Path) -> dict[str, Any]:
    """Return the content of agent.json, which only the folder of a published agent has; {} for a run.

    Raises:
        Mistake: the file is damaged.
    """
    path = run / AGENT
    agent = read_json(path, dict) if path.is_file() else {}
    for index, start in enumerate(check_kind(path, agent.get("starts", []), list, "starts")):
        check_kind(path, start, dict, f"starts[{index}]")
        for key, kind in {"command": str, "hardware": dict, "packages": dict}.items():
            check_kind(path, start.get(key), kind, f"starts[{index}].{key}")
        if (git := start.get("git")) is not None:
            check_kind(path, git, dict, f"starts[{index}].git")
            check_kind(path, git.get("commit"), str, f"starts[{index}].git.commit")
            check_kind(path, git.get("dirty"), bool, f"starts[{index}].git.dirty")
    return agent


def find_evaluation(run: Path, checkpoint: Path) -> dict[str, Any] | None:
    """Return the evaluation of a checkpoint with the most games, under the run's own rules and in both ways; or None.

    One of other weights, which had the name of the checkpoint before or are those of another run, does not count.

    Args:
        run: the run directory of one seed, or the folder of a published agent.
        checkpoint: the folder of the checkpoint.

    Raises:
        Mistake: a file is damaged.
    """
    if checkpoint.resolve().parent != (run / "checkpoints").resolve():
        return None
    name = re.compile(rf"evaluation_{re.escape(checkpoint.name)}(_\d+_games)?\.json")
    files = [path for path in checkpoint.parent.glob("evaluation_*.json") if name.fullmatch(path.name)]
    found = [*((path, read_json(path, dict)) for path in files), (run / AGENT, read_agent_file(run).get("evaluation"))]
    steps = read_totals(checkpoint).get("agent_steps")
    of_it = [
        check_evaluation(path, one)
        for path, one in found
        if isinstance(one, dict) and (one.get("checkpoint"), one.get("agent_steps")) == (checkpoint.name, steps)
    ]
    return max(of_it, key=lambda one: one["episodes"], default=None)


def check_evaluation(path: Path, evaluation: dict[str, Any]) -> dict[str, Any]:
    """Return an evaluation after a check of the numbers that pages and exports read.

    Raises:
        Mistake: a number is missing or of a wrong type.
    """
    check_kind(path, evaluation.get("episodes"), int, "episodes")
    for way in {"stochastic", "greedy"} & evaluation.keys():
        statistics = check_kind(path, evaluation[way], dict, way)
        for key in ("mean", "iqm"):
            check_kind(path, statistics.get(key), float, f"{way}.{key}")
        if "iqm_interval" not in statistics:
            raise explain_damage(path, f"{way} has no iqm_interval")
        ends = statistics["iqm_interval"]
        if ends is not None and len(check_kind(path, ends, list, f"{way}.iqm_interval")) != 2:
            raise explain_damage(path, f"{way}.iqm_interval has {len(ends)} ends")
        for end in ends or ():  # None of few games
            check_kind(path, end, float, f"an end of {way}.iqm_interval")
    return evaluation
