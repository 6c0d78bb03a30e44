"""Publication: copies an agent from a run into a folder that is small enough to commit and holds no pickles.

    python -m evidence.publication <run> agents/assault_ppo

    run directory -> config.yaml, checkpoints/best/{weights.safetensors, progress.json, manifest.json}, agent.json

The folder can be evaluated and recorded like a run directory, but its training cannot be continued. Weights are stored
in half precision (fp16), and the evaluation in agent.json was made with these rounded weights.
"""

import argparse
import json
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from environments.passwords import mask_passwords
from environments.screen import format_score
from evidence.evaluate import evaluate
from playing.saved_settings import read_run_settings
from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.layout import AGENT, CONFIG, PROGRESS_JSON, checkpoint_path, list_seed_runs
from run_directory.manifest import write_manifest
from run_directory.starts import find_starts
from run_directory.weights import read_weights, write_arrays
from run_directory.writing import FULL_DISK_ERRORS, explain_unwritable
from settings.mistakes import EnvironmentFault, Mistake, resolve_path
from settings.protocols import complete_rules

PLACE_SETTINGS = ("output_dir", "run", "resume", "label", "config_dir")  # say where a run lies, not what it is
MAX_MIB = 4  # of the folder of an agent


def publish_agent(run: Path, folder: Path, checkpoint: str | None = None, episodes: int = 30) -> dict[str, Any]:
    """Write the folder of an agent, from which it can be evaluated and recorded.

    Args:
        run: the run directory of one seed.
        folder: the new folder; it must not exist.
        checkpoint: the checkpoint, as in `evaluate`; None takes the best.
        episodes: whole games for each way of playing in the evaluation in agent.json.

    Returns:
        The content of agent.json.

    Raises:
        Mistake: the folder exists or cannot be written, or the run has several seeds or no undamaged checkpoint.
    """
    if folder.exists():
        raise Mistake(f"{folder} is there already; name another folder, or delete it first")
    if why := explain_unwritable(folder / AGENT):
        raise Mistake(f"{folder} cannot be written: {why}")
    if len(seeds := list_seed_runs(run)) > 1:
        raise Mistake(f"run={run} has {len(seeds)} seeds; name one of them, such as {seeds[0]}")
    settings, source = read_run_settings(run), find_checkpoint(run, checkpoint)
    weights = {name: round_to_half(array) for name, array in read_weights(source).items()}
    best = checkpoint_path(folder, "best")
    try:
        best.mkdir(parents=True)
        write_arrays(best, weights)
        (best / PROGRESS_JSON).write_text(json.dumps(read_totals(source)))
        write_manifest(best)
        kept = {key: value for key, value in settings.items() if key not in PLACE_SETTINGS}
        kept["env"] = complete_rules(kept["env"])
        if kept.get("pretrained"):  # its name, not its place
            kept["pretrained"] = Path(kept["pretrained"]).name
        (folder / CONFIG).write_text(yaml.safe_dump(mask_passwords(kept), sort_keys=False))
        agent: dict[str, Any] = {"starts": [describe_start(start) for start in find_starts(run)]}
        agent["evaluation"] = evaluate_folder(folder, episodes)
        (folder / AGENT).write_text(json.dumps(agent, indent=1) + "\n")
    except BaseException as error:  # what is left would be refused as an agent that is there already
        shutil.rmtree(folder, ignore_errors=True)
        if isinstance(error, OSError) and error.errno in FULL_DISK_ERRORS:
            raise Mistake(f"{folder} cannot be written: {error.strerror}") from error
        raise
    return agent


def round_to_half(array: np.ndarray) -> np.ndarray:
    """Return an array of floats as float16 and any other array with its own dtype; the result is C-contiguous."""
    return np.ascontiguousarray(array, np.float16 if array.dtype.kind == "f" else array.dtype)


def describe_start(start: dict[str, Any]) -> dict[str, Any]:
    """Return the facts of a start or continuation, without paths of the machine."""
    command = [word for word in mask_passwords(start["command"]) if word.partition("=")[0] not in PLACE_SETTINGS]
    facts = {key: start.get(key) for key in ("time", "git", "packages", "hardware")}
    names = [re.sub(r"(^|[=,\[])[/~][^,\]]*/(?=[^/,\]])", r"\1", word) for word in command]  # of files, without folders
    return {"command": shlex.join(names)} | facts


def evaluate_folder(folder: Path, episodes: int) -> dict[str, Any]:
    """Evaluate the weights in the folder, and delete the file of the evaluation."""
    result = evaluate(folder, episodes)
    if result["saved"]:
        Path(result["saved"]).unlink()
    return {key: value for key, value in result.items() if key not in ("saved", "not_saved", "checkpoint_path")}


def main(arguments: list[str]) -> int:
    """Run the command line; return 0, or 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="python -m evidence.publication", description="Publish an agent of a run.")
    parser.add_argument("run", type=Path, help="the run directory of one seed")
    parser.add_argument("folder", type=Path, help="where the agent goes, such as agents/assault_ppo")
    parser.add_argument("--checkpoint", help="best, last, previous or a milestone; if left out, the best")
    parser.add_argument("--episodes", type=int, default=30, help="full games per way of playing in its evaluation")
    options = parser.parse_args(arguments)
    try:
        run, folder = resolve_path(options.run, "run"), resolve_path(options.folder, "folder")
        agent = publish_agent(run, folder, options.checkpoint, options.episodes)
    except (Mistake, EnvironmentFault) as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 2**20
    scores = ", ".join(f"{way} {format_score(agent['evaluation'][way]['mean'])}" for way in agent["evaluation"]["ways"])
    print(f"{folder}: {size:.1f} MiB, mean score {scores}")
    if size > MAX_MIB:
        print(f"it is larger than the {MAX_MIB} MiB that an agent in agents/ may have")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
