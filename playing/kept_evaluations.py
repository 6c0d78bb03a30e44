"""The evaluations that lie beside the checkpoints of a run, or with a published agent.

checkpoint -> evaluation_<checkpoint>.json, evaluation_<checkpoint>_<n>_games.json, agent.json -> that of the most games
"""

import re
from pathlib import Path
from typing import Any

from run_directory.checkpoints import read_totals
from run_directory.files import read_json
from run_directory.layout import AGENT


def read_agent_file(run: Path) -> dict[str, Any]:
    """Return the content of agent.json, which only the folder of a published agent has; {} for a run."""
    return read_json(run / AGENT, dict) if (run / AGENT).is_file() else {}


def find_evaluation(run: Path, checkpoint: Path) -> dict[str, Any] | None:
    """Return the evaluation of a checkpoint with the most games, under the run's own rules and in both ways; or None.

    One of other weights, which had the name of the checkpoint before or are those of another run, does not count.

    Args:
        run: the run directory of one seed, or the folder of a published agent.
        checkpoint: the folder of the checkpoint.
    """
    if checkpoint.resolve().parent != (run / "checkpoints").resolve():
        return None
    name = re.compile(rf"evaluation_{re.escape(checkpoint.name)}(_\d+_games)?\.json")
    files = [path for path in checkpoint.parent.glob("evaluation_*.json") if name.fullmatch(path.name)]
    found = [*(read_json(path, dict) for path in files), read_agent_file(run).get("evaluation")]
    steps = read_totals(checkpoint).get("agent_steps")
    of_it = [
        one
        for one in found
        if isinstance(one, dict) and (one.get("checkpoint"), one.get("agent_steps")) == (checkpoint.name, steps)
    ]
    return max(of_it, key=lambda one: one["episodes"], default=None)
