"""agent.json: the inputs and outputs of an exported policy, the rules of its games, its score and origin."""

import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np

from environments.checkout import read_commit
from environments.passwords import mask_passwords
from evidence.publication import describe_start
from exports.exported_network import ExportedNetwork
from playing.agent import Agent
from playing.kept_evaluations import find_evaluation, read_agent_file
from run_directory.layout import AGENT
from run_directory.starts import find_starts
from settings.protocols import complete_rules, describe_protocol

WAYS = ("stochastic", "greedy")
STATISTICS = ("mean", "std", "iqm", "iqm_interval")
PLAYERS = {True: ("ale-py", "numpy"), False: ("gymnasium", "numpy")}  # is it a game of ALE? -> what play.py imports
RUNTIMES = {"onnx": "onnxruntime", "torchscript": "torch"}


def describe_agent(agent: Agent, network: ExportedNetwork, games: Any, file: str, format: str) -> dict[str, Any]:
    """Return the content of agent.json.

    Args:
        agent: the agent.
        network: its exported network.
        games: open environments of the agent.
        file: the name of the network's file.
        format: `onnx` or `torchscript`.
    """
    env, starts = complete_rules(agent.env), find_starts(agent.run)
    totals, published = agent.totals, read_agent_file(agent.run)
    origin = [describe_start(start) for start in starts] or published.get("starts", [])
    needed = [*PLAYERS["game" in env], RUNTIMES[format], *list_modules(env)]
    return {
        "algo": agent.settings["algo"]["name"],
        "env": mask_passwords(env),
        "protocol": describe_protocol(env),
        "preprocessing": describe_preprocessing(env),
        "policy": {
            "file": file,
            "kind": network.kind,
            "inputs": [describe_tensor(name, example) for name, example in network.inputs.items()],
            "outputs": list(network.outputs),
        },
        "actions": describe_actions(games),
        "score": find_scores(agent),
        "checkpoint": {"name": agent.checkpoint.name} | {key: totals.get(key) for key in ("agent_steps", "env_frames")},
        "seed": agent.settings["seed"],
        "model": agent.settings["model"],
        "trained_by": origin[-1] if origin else None,
        "exported_by": {
            "commit": find_commit(),
            "packages": {name: find_version(name) for name in ("torch", "onnx", *needed)},
        },
        "needs": [f"{name}=={version}" if (version := find_version(name)) else name for name in needed],
    }


def list_modules(env: dict) -> list[str]:
    """Return the package, or else the module, that registers `module:Id`; nothing for other environments."""
    module = str(env.get("id", "")).rpartition(":")[0]
    package = module.partition(".")[0]
    return [package if find_version(package) else module] if module else []


def describe_tensor(name: str, example: Any) -> dict[str, Any]:
    """Return name, dtype and shape of an input; the first axis is as long as there are games, which "N" stands for."""
    return {"name": name, "dtype": str(example.dtype).removeprefix("torch."), "shape": ["N", *example.shape[1:]]}


def describe_preprocessing(env: dict) -> dict[str, Any]:
    """Return how observations are made from what the environment shows."""
    if "game" not in env:
        return {"observation": "as the environment gives it"}
    return {
        "frames_per_action": env["frameskip"],
        "maximum_of_last_frames": min(2, env["frameskip"]),
        "colours": "gray, by ALE's palette" if env["grayscale"] else "RGB",
        "size": [env["dim"], env["dim"]],
        "resizing": "area averages, as cv2.INTER_AREA",
        "stack": env["frame_stack"],
        "stack_order": "oldest first; 0 before the first frame of a game",
    }


def describe_actions(games: Any) -> list[str] | dict[str, Any]:
    """Return the names of ALE's actions; of another environment their number, or the box they are clipped to.

    An end of the box that is infinite is null.
    """
    if games.action_names:
        return games.action_names
    space = games.action_space
    if hasattr(space, "n"):
        return [str(action) for action in range(int(space.n))]
    return {name: list_bounds(end) for name, end in (("low", space.low), ("high", space.high))}


def list_bounds(ends: np.ndarray) -> list:
    """Return the ends of a box, nested as it is, with None for those that are infinite."""
    bounds = ends.astype(object)
    bounds[~np.isfinite(ends)] = None
    return bounds.tolist()


def find_scores(agent: Agent) -> dict[str, Any] | None:
    """Return the statistics of the evaluation of this checkpoint for each way of playing; None where there was none."""
    result = find_evaluation(agent.run, agent.checkpoint)
    if result is None:
        return None
    scores = {way: {key: result[way][key] for key in STATISTICS} for way in WAYS if way in result}
    return {"games": result["episodes"], "games_seed": result["games_seed"], "dtype": result.get("dtype")} | scores


def find_commit() -> str | None:
    """Return the commit of the suite; None where git cannot tell."""
    try:
        return read_commit()
    except OSError:
        return None


def find_version(package: str) -> str | None:
    """Return the version of an installed package without its build (`+cpu`); None where it is not installed."""
    try:
        return importlib.metadata.version(package).partition("+")[0]
    except importlib.metadata.PackageNotFoundError:
        return None


def write_description(description: dict[str, Any], folder: Path) -> None:
    """Write agent.json."""
    (folder / AGENT).write_text(json.dumps(description, indent=1, allow_nan=False) + "\n")
