"""Replays: a file that holds one game, and the same game played again from its actions alone.

    file -> read_replay -> Replay -> open_game -> play_again -> per agent step: frames, sound, reward, and was it equal?

A game is its seed, its start and its actions: an emulator, or a Gymnasium environment, that is given these plays it
again frame by frame. What the agent thought lies beside them (policy, value, entropy per step), so whoever shows a game
needs neither the network nor torch. A file from somebody else can be replayed safely: nothing in it is run, and no
value is used before it was looked at.

Actions are those that were played: FIRE where the protocol pressed it for the agent, and inside of their box. Reading
`decided` tells which were the agent's own.
"""

import io
import json
import math
import warnings
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import gymnasium
import numpy as np
from ale_py import Action, ALEInterface, LoggerMode, roms

from environments.games import NOT_OPENED, is_game, spec_of
from environments.mistakes import EnvironmentFault, Mistake, in_a_line

VERSION = 1  # of the file's layout
SOUND_RATE = 30_720  # samples per second of ALE, 512 per frame; unsigned, silence is 128
POLICIES = ("probabilities", "gaussian", "q_values")  # of each action [A]; means, then deviations [2 D]; [A]
ARRAYS = ("actions", "decided", "rewards", "policy", "values", "entropy")
RULES = {"game": str, "frameskip": int, "sticky": float, "fire_reset": bool, "max_episode_frames": int}
LARGEST = 2**30  # bytes of a file, unpacked: ten thousand hours of play have less


class Differs(RuntimeError):
    """A game that was played again is not the one that was recorded."""


@dataclass(frozen=True)
class Replay:
    """One whole game of T agent steps, and what the agent thought.

    Attributes:
        env: all `env.` settings it was played under.
        seed: of the emulator or environment, which plays this game first after it.
        start_frame: emulator frames before the first agent step; 0 outside of ALE.
        action_names: what ALE calls the actions, `NOOP` and so on; empty outside of ALE.
        policy_kind: what `policy` holds, of POLICIES.
        score: sum of `rewards`.
        cut: the game was cut by a limit and did not end by itself.
        origin: where it comes from: run, checkpoint, agent_steps, algo, way, date, packages.
        actions: int64 [T], or float32 [T, ...] where they are continuous.
        decided: bool [T], false where the action was not the agent's: FIRE after a lost life.
        rewards: float64 [T], unclipped.
        policy: float32 [T, P], before each action, in the way that `policy_kind` says.
        values: float32 [T], what the critic expected, in units of the training reward; None without a critic (PG).
        entropy: float32 [T], of the policy, in nats; None where Q-values stand for the policy.
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


class Moment(NamedTuple):
    """What one agent step led to."""

    frames: list[np.ndarray]  # each uint8 [H, W, 3], in the order shown, `fps` of the game a second; [] if not wanted
    sound: np.ndarray  # uint8 [S], SOUND_RATE a second; empty if not wanted
    reward: float
    terminated: bool
    truncated: bool


# The file -------------------------------------------------------------------------------------------------------------


def pack_replay(replay: Replay) -> bytes:
    """Return what stands in the file of a replay: a compressed npz without pickles."""
    header = asdict(replay)
    arrays = {name: array for name in ARRAYS if (array := header.pop(name)) is not None}
    np.savez_compressed(packed := io.BytesIO(), header=json.dumps(header | {"version": VERSION}), **arrays)
    return packed.getvalue()


def read_replay(path: Path) -> Replay:
    """Read the file of a replay.

    Raises:
        Mistake: it is not there, cannot be read, is damaged, or something else than a replay.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            if sum(entry.file_size for entry in file.zip.infolist()) > LARGEST:
                raise ValueError("it is too large for a game")
            arrays = {name: file[name] for name in file.files}
        header = json.loads(str(arrays.pop("header")))
    except FileNotFoundError as error:
        raise Mistake(f"replay={path}: there is no such file; command=record run=<run> makes one") from error
    except OSError as error:
        raise Mistake(f"replay={path} cannot be read ({error.strerror or error})") from error
    except Exception as error:  # wrong bytes can make zip and numpy raise anything
        raise damaged(path, in_a_line(error)) from error
    if not isinstance(header, dict) or header.pop("version", None) != VERSION:
        raise damaged(path, f"its header is not one of version {VERSION}")
    try:
        replay = Replay(**{"values": None, "entropy": None} | header | arrays)
        if wrong := fault_in(replay):
            raise damaged(path, wrong)
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise error if isinstance(error, Mistake) else damaged(path, in_a_line(error)) from error
    return replay


def damaged(path: Path, why: str) -> Mistake:
    """Return the Mistake for a file that is no whole replay."""
    return Mistake(f"replay={path} is damaged, or no replay: {' '.join(why.split())[:200]}; record the game again")


def fault_in(replay: Replay) -> str | None:
    """Return what is wrong with a replay that was read; None where nothing is."""
    env, steps = replay.env, len(replay.rewards)
    kinds = {"seed": int, "start_frame": int, "score": float, "cut": bool, "origin": dict, "policy_kind": str}
    for name, kind in kinds.items():
        if not of_kind(getattr(replay, name), kind):
            return f"{name} is {getattr(replay, name)!r:.80}"
    if not (0 <= replay.seed < 2**31 and 0 <= replay.start_frame < 2**16 and math.isfinite(replay.score)):
        return "its seed, start or score is out of range"
    if replay.policy_kind not in POLICIES or steps == 0 or replay.score != replay.rewards.sum():
        return "its policy or score is not one of a game"
    shapes = {"decided": ("b", 1), "rewards": ("f", 1), "policy": ("f", 2), "values": ("f", 1), "entropy": ("f", 1)}
    for name, (kind, dimensions) in shapes.items():
        array = getattr(replay, name)
        if array is None and name in ("values", "entropy"):
            continue
        if array.dtype.kind != kind or array.ndim != dimensions or len(array) != steps or not np.isfinite(array).all():
            return f"{name} is {array.dtype} {array.shape} of {steps} agent steps, or not finite"
    actions, names = replay.actions, replay.action_names
    if len(actions) != steps or actions.dtype.kind not in "if" or not np.isfinite(actions).all():
        return f"actions are {actions.dtype} {actions.shape} of {steps} agent steps, or not finite"
    if "game" not in env:
        return None if of_kind(env["id"], str) and names == [] else "env names neither a game nor an id"
    for name, kind in RULES.items():
        if not of_kind(env[name], kind):
            return f"env.{name} is {env[name]!r:.80}"
    if not is_game(env["game"]) or env["game"] in NOT_OPENED:
        return f"env.game={env['game']:.80} is no game of ALE for one player"
    if not (1 <= env["frameskip"] <= 16 and 0 <= env["sticky"] <= 1 and env["max_episode_frames"] >= 1):
        return "env has rules that there are not"
    if not names or not {*names} <= {*Action.__members__}:
        return f"action_names are {names!r:.80}"
    in_range = actions.ndim == 1 and actions.dtype.kind == "i" and actions.min() >= 0 and actions.max() < len(names)
    return None if in_range else "an action has no name"


def of_kind(value: Any, kind: type) -> bool:
    """Return whether a value of a JSON text is of a type; a whole number is a float, and truth is no number."""
    return isinstance(value, (float, int) if kind is float else kind) and isinstance(value, bool) == (kind is bool)


# The game -------------------------------------------------------------------------------------------------------------


def open_game(replay: Replay, pictures: bool = True, sound: bool = False) -> "Emulator | Environment":
    """Open the game of a replay, at its first agent step.

    Args:
        replay: whose game it is.
        pictures: whether frames are wanted; scores alone need none.
        sound: whether sound is wanted; only ALE has any.

    Raises:
        Mistake: the environment cannot be opened or drawn here.
    """
    return Emulator(replay, pictures, sound) if "game" in replay.env else Environment(replay.env, replay.seed, pictures)


def play_again(replay: Replay, game: "Emulator | Environment") -> Iterator[Moment]:
    """Play the actions of a replay in its game, and compare every step with what was recorded.

    Raises:
        Differs: after the last step, if any reward, or when the game ended, was not the recorded one.
        EnvironmentFault: the environment raised something.
    """
    score, parted = 0.0, None
    for t, (action, expected) in enumerate(zip(replay.actions, replay.rewards, strict=True)):
        moment = game.step(action)
        score += moment.reward
        last = t == len(replay.actions) - 1
        ends = (last and not replay.cut, last and replay.cut)
        if parted is None and (moment.reward != expected or (moment.terminated, moment.truncated) != ends):
            parted = t
        yield moment
    if parted is not None:
        now, then = versions(replay.env), replay.origin.get("packages")
        raise Differs(
            f"the replay scores {score:,g} where {replay.score:,g} was played: the games part at agent step "
            f"{parted + 1:,} of {len(replay.actions):,} (played with {then}, replayed with {now})"
        )


def versions(env: dict[str, Any]) -> str:
    """Return the package that plays these `env.` settings, with its version: `ale-py 0.12.1`."""
    import ale_py

    return f"ale-py {ale_py.__version__}" if "game" in env else f"gymnasium {gymnasium.__version__}"


class Emulator:
    """One game of ALE: 60 frames a second in colour, [210, 160, 3] in most games, and sound.

    It does what ALE's vector env does with a seed: loads the ROM, resets, presses FIRE where the protocol does, and
    waits. How long that one waited is drawn at random there and known here.
    """

    fps = 60.0

    def __init__(self, replay: Replay, pictures: bool, sound: bool):
        self._env, self._pictures, self._sound, self._elapsed = replay.env, pictures, sound, 0
        self._buttons = [Action.__members__[name] for name in replay.action_names]
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self._ale = ale = ALEInterface()
        ale.setFloat("repeat_action_probability", self._env["sticky"])
        ale.setInt("random_seed", replay.seed)
        ale.setBool("sound_obs", sound)
        ale.loadROM(roms.get_rom_path(self._env["game"]))
        ale.reset_game()
        if self._env["fire_reset"] and Action.FIRE in self._buttons:
            ale.act(Action.FIRE)
        while ale.getFrameNumber() < replay.start_frame:
            ale.act(Action.NOOP)
            if ale.game_over():
                ale.reset_game()

    def screen(self) -> np.ndarray:
        """Return what is on the screen now: uint8 [H, W, 3]."""
        return self._ale.getScreenRGB()

    def step(self, action: np.ndarray) -> Moment:
        """Play one agent step: `frameskip` frames, or fewer where the game ends."""
        ale, reward, frames, sound = self._ale, 0, [], [np.empty(0, np.uint8)]
        for _ in range(self._env["frameskip"]):
            reward += ale.act(self._buttons[action])
            self._elapsed += 1
            if self._pictures:
                frames.append(ale.getScreenRGB())
            if self._sound:
                sound.append(ale.getAudio())
            if ale.game_over() or self._elapsed >= self._env["max_episode_frames"]:
                break
        over = ale.game_over()
        truncated = self._elapsed >= self._env["max_episode_frames"] and not over
        return Moment(frames, np.concatenate(sound), float(reward), over, truncated)

    def close(self) -> None:
        """Nothing is left open."""


class Environment:
    """One game of a Gymnasium environment: one picture per agent step, and no sound.

    Args:
        env: the `env.` settings.
        seed: of the game.
        pictures: whether it is drawn.

    Raises:
        Mistake: it cannot be opened, or cannot be drawn.
    """

    def __init__(self, env: dict[str, Any], seed: int, pictures: bool):
        self._id, self._pictures = env["id"], pictures
        try:
            with warnings.catch_warnings():  # Gymnasium's, of environments without pictures: that is said below
                warnings.simplefilter("ignore")
                if spec_of(self._id) is None:
                    raise gymnasium.error.UnregisteredEnv("nobody has registered it")
                self._env = gymnasium.make(self._id, render_mode="rgb_array" if pictures else None)
            self._env.reset(seed=seed)
            picture = self.screen() if pictures else None
        except Exception as error:  # an environment may raise anything
            what = "opened and drawn" if pictures else "opened"
            raise Mistake(
                f"env.id={self._id}: it cannot be {what} here ({in_a_line(error)}); install what it needs, such as "
                "pygame, or record another environment"
            ) from error
        if pictures and not (isinstance(picture, np.ndarray) and picture.dtype == np.uint8 and picture.ndim == 3):
            raise Mistake(f"env.id={self._id}: it has no pictures (render_mode rgb_array); record another environment")
        self.fps = float(self._env.metadata.get("render_fps") or 30)

    def screen(self) -> np.ndarray:
        """Return what is to be seen now: uint8 [H, W, 3]."""
        picture: Any = self._env.render()
        return picture

    def step(self, action: np.ndarray) -> Moment:
        """Play one agent step."""
        try:
            _, reward, terminated, truncated, _ = self._env.step(action)
            frames = [self.screen()] if self._pictures else []
        except Exception as error:  # an environment may raise anything
            raise EnvironmentFault(f"env.id={self._id}: a replayed step raised {in_a_line(error)}") from error
        terminated, truncated = bool(terminated), bool(truncated) and not terminated
        return Moment(frames, np.empty(0, np.uint8), float(reward), terminated, truncated)

    def close(self) -> None:
        """Give the environment back."""
        self._env.close()
