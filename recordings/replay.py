"""Replay: the file of one game, with the policy and the values of the agent at every step.

    game -> Replay -> pack_replay -> recordings/<name>.npz -> read_replay -> Replay

A game is stored as its seed, its start and its actions; recordings/replayed_game.py plays it again from these, frame by
frame. Policy, value and entropy of each step are stored too, so showing a game needs neither the network nor torch. A
file from another person can be read safely: it holds no pickles, and every value is checked. Playing it opens the
environment that it names, which may import modules (SECURITY.md).

The actions are those that the environment received: FIRE after a lost life if the protocol presses it for the agent,
and continuous actions clipped to their box. `decided` says which actions the agent chose itself.
"""

import io
import json
import math
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from ale_py import Action
from gymnasium.spaces import MultiDiscrete, Space

from environments.games import NOT_OPENED, is_game
from settings.mistakes import Mistake

VERSION = 1  # of the layout of the file
# [A] each action, or each value of each factor of an action; [2 D] means, then deviations; [A] each action
POLICIES = ("probabilities", "gaussian", "q_values")
ARRAYS = ("actions", "decided", "rewards", "policy", "values", "entropy")
RULES = {"game": str, "frameskip": int, "sticky": float, "fire_reset": bool, "max_episode_frames": int}
MAX_BYTES = 2**30  # of the unpacked content, more than 200 hours of play have


@dataclass(frozen=True)
class Replay:
    """One whole game of T agent steps, with the policy and the values of the agent.

    Attributes:
        env: all `env.` settings of the game.
        seed: the seed of the emulator or environment; this is the first game after it was set.
        start_frame: emulator frames before the first agent step; 0 outside of ALE.
        action_names: ALE's names of the actions, such as `NOOP`; empty outside of ALE.
        policy_kind: the meaning of `policy`, from POLICIES.
        score: the sum of `rewards`.
        cut: whether a limit has cut the game before its end.
        origin: the source of the game: run, checkpoint, agent_steps, algo, seed, protocol, way, date, packages.
        actions: int64 [T], or [T, D] for actions of D factors; [T, D] of the space's dtype for continuous ones.
        decided: bool [T], false where the protocol and not the agent chose the action: FIRE after a lost life.
        rewards: float64 [T], unclipped.
        policy: float32 [T, P], the policy before each action.
        values: float32 [T], the critic's values, in units of the training reward; None without a critic (PG).
        entropy: float32 [T], the entropy of the policy in nats; None for Q-values.
        factors: the number of values of each factor of an action; empty if an action is one number, or continuous.
    """

    env: dict[str, Any]
    seed: int
    start_frame: int
    action_names: list[str]
    policy_kind: str
    score: float
    cut: bool
    origin: dict[str, Any]
    actions: np.ndarray
    decided: np.ndarray
    rewards: np.ndarray
    policy: np.ndarray
    values: np.ndarray | None
    entropy: np.ndarray | None
    factors: list[int] = field(default_factory=list)


def pack_replay(replay: Replay) -> bytes:
    """Return the content of the file of a replay: a compressed npz without pickles."""
    header = asdict(replay)
    if not replay.factors:  # earlier versions can read the file then
        del header["factors"]
    arrays = {name: array for name in ARRAYS if (array := header.pop(name)) is not None}
    np.savez_compressed(packed := io.BytesIO(), header=json.dumps(header | {"version": VERSION}), **arrays)
    return packed.getvalue()


def read_replay(path: Path) -> Replay:
    """Read the file of a replay.

    Raises:
        Mistake: the file does not exist, cannot be read, is damaged, or is no replay.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if sum(entry.file_size for entry in file.zip.infolist()) > MAX_BYTES:
                raise ValueError("the content is too large for a game")
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
    except FileNotFoundError as error:
        raise Mistake(f"replay={path}: there is no such file; command=record run=<run> makes one") from error
    except OSError as error:
        raise Mistake(f"replay={path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # zip and numpy may raise anything, and numpy's words advise to open pickles
        raise refuse_file(path) from error
    if not isinstance(header, dict) or header.pop("version", None) != VERSION:
        raise refuse_file(path, f"its header is not one of version {VERSION}")
    content: dict[str, Any] = {"values": None, "entropy": None} | header | arrays
    try:
        replay = Replay(**content)
        wrong = find_fault(replay)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise refuse_file(path, "its fields are not those of a game") from error
    if wrong:
        raise refuse_file(path, wrong)
    return replay


def refuse_file(path: Path, why: str = "") -> Mistake:
    """Return the Mistake for a file that is no recording of this suite, or a damaged one."""
    detail = f" ({' '.join(why.split())[:200]})" if why else ""
    return Mistake(
        f"replay={path} is no recording of this suite, or it is damaged{detail}; command=record run=<run> makes one"
    )


def find_fault(replay: Replay) -> str | None:
    """Return a description of the first wrong value in a replay, or None if all values are possible."""
    env, steps = replay.env, len(replay.rewards)
    kinds = {"seed": int, "start_frame": int, "score": float, "cut": bool, "origin": dict, "policy_kind": str}
    for name, kind in kinds.items():
        if not is_of_type(getattr(replay, name), kind):
            return f"{name} is {getattr(replay, name)!r:.80}"
    if not (0 <= replay.seed < 2**31 and 0 <= replay.start_frame < 2**16 and math.isfinite(replay.score)):
        return "its seed, start or score is out of range"
    if replay.policy_kind not in POLICIES or steps == 0 or replay.score != replay.rewards.sum():
        return "its policy or score is not one of a game"
    shapes = {"decided": ("b", 1), "rewards": ("f", 1), "policy": ("f", 2), "values": ("f", 1), "entropy": ("f", 1)}
    for name, (kind, dimensions) in shapes.items():
        array: np.ndarray = getattr(replay, name)
        if name in ("values", "entropy") and getattr(replay, name) is None:
            continue
        if array.dtype.kind != kind or array.ndim != dimensions or len(array) != steps or not np.isfinite(array).all():
            return f"{name} is {array.dtype} {array.shape} of {steps} agent steps, or not finite"
    if replay.factors and (fault := find_factor_fault(replay)):
        return fault
    actions, names = replay.actions, replay.action_names
    if len(actions) != steps or actions.dtype.kind not in "if" or not np.isfinite(actions).all():
        return f"actions are {actions.dtype} {actions.shape} of {steps} agent steps, or not finite"
    if "game" not in env:
        return None if is_of_type(env["id"], str) and names == [] else "env names neither a game nor an id"
    for name, kind in RULES.items():
        if not is_of_type(env[name], kind):
            return f"env.{name} is {env[name]!r:.80}"
    if not is_game(env["game"]) or env["game"] in NOT_OPENED:
        return f"env.game={env['game']:.80} is no game of ALE for one player"
    if not (1 <= env["frameskip"] <= 16 and 0 <= env["sticky"] <= 1 and env["max_episode_frames"] >= 1):
        return "env has rules that there are not"
    if not names or not {*names} <= {*Action.__members__} or replay.policy.shape[1] != len(names):
        return f"action_names are {names!r:.80}"
    in_range = actions.ndim == 1 and actions.dtype.kind == "i" and actions.min() >= 0 and actions.max() < len(names)
    return None if in_range else "an action has no name"


def find_factor_fault(replay: Replay) -> str | None:
    """Return a description of the first wrong value in the factors of the actions of a replay, or None."""
    factors, actions = replay.factors, replay.actions
    if not (isinstance(factors, list) and all(is_of_type(size, int) and size > 0 for size in factors)):
        return f"factors are {factors!r:.80}"
    if replay.policy_kind != "probabilities" or replay.policy.shape[1] != sum(factors):
        return "its policy has not a probability for each value of each factor"
    in_range = actions.dtype.kind == "i" and actions.shape == (len(actions), len(factors))
    return None if in_range and (actions >= 0).all() and (actions < factors).all() else "an action has no such factors"


def list_factors(space: Space) -> list[int]:
    """Return the number of values of each factor of an action; empty if an action is one number, or continuous."""
    return space.nvec.tolist() if isinstance(space, MultiDiscrete) else []


def list_played(actions: np.ndarray, factors: list[int]) -> np.ndarray:
    """Return the places of the played values in the numbers of the policies: int64 [T, D], or [T, 1] of single actions.

    Args:
        actions: int64 [T] or [T, D]. Continuous actions have no such places; then 0 is returned.
        factors: the number of values of each factor of an action, as in a Replay.
    """
    if actions.dtype.kind != "i":
        return np.zeros((len(actions), 1), np.int64)
    return actions.reshape(len(actions), -1) + np.cumsum([0, *factors[:-1]])


def is_of_type(value: Any, kind: type) -> bool:
    """Return whether a JSON value has a type; whole numbers count as floats, and true and false are no numbers."""
    return isinstance(value, (float, int) if kind is float else kind) and isinstance(value, bool) == (kind is bool)


def label_policy(replay: Replay) -> tuple[list[str], str]:
    """Return the name of each number in the policy of a replay, and a sentence that explains its bars on the page."""
    width = replay.policy.shape[1]
    if replay.policy_kind == "gaussian":
        half = width // 2
        names = [f"{what} {i + 1}" for what in ("mean", "deviation") for i in range(half)]
        return names, "The policy before this step: a normal distribution for each part of the action"
    if replay.factors:
        names = [f"part {i}: {value}" for i, size in enumerate(replay.factors, 1) for value in range(size)]
        return names, "The policy before this step: for each part of the action, in per cent; orange was drawn from it"
    names = [name.lower().replace("_", " ") for name in replay.action_names] or [f"action {i}" for i in range(width)]
    if replay.policy_kind == "q_values":
        return names, "What each action would bring, as the network expects before this step; orange was played"
    return names, "The policy before this step, in per cent; orange was drawn from it"
