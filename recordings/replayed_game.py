"""Replayed game: a recorded game is played again from its actions alone, and compared with the recording.

    Replay -> open_game -> replay_game -> one StepResult for each agent step: frames in colour, sound, reward, ending

An emulator or a Gymnasium environment with the same seed, start and actions plays the same game. No agent is needed.
`replay_game` raises an error at the end if the game was not the recorded one.
"""

import os
import warnings
from collections.abc import Iterator
from typing import Any, NamedTuple

import ale_py
import gymnasium
import numpy as np
from ale_py import Action, ALEInterface, LoggerMode, roms

from environments.gymnasium_envs import open_env
from recordings.replay import Replay
from settings.mistakes import EnvironmentFault, Mistake, format_error

SOUND_RATE = 30_720  # samples per second, 512 per frame of ALE; unsigned, silence is 128


class ReplayMismatch(RuntimeError):
    """A replayed game is not the recorded one."""


class StepResult(NamedTuple):
    """The result of one agent step."""

    frames: list[np.ndarray]  # each uint8 [H, W, 3], `fps` of the game per second; [] without pictures
    sound: np.ndarray  # uint8 [S], SOUND_RATE per second; empty without sound
    reward: float
    terminated: bool
    truncated: bool


def open_game(replay: Replay, pictures: bool = True, sound: bool = False) -> "Emulator | Environment":
    """Open the game of a replay, at its first agent step.

    Args:
        replay: the recorded game.
        pictures: whether moments hold frames; to compare scores needs none.
        sound: whether moments hold sound; only ALE has sound.

    Raises:
        Mistake: the environment cannot be opened here, or has no pictures.
    """
    return Emulator(replay, pictures, sound) if "game" in replay.env else Environment(replay.env, replay.seed, pictures)


def replay_game(replay: Replay, game: "Emulator | Environment") -> Iterator[StepResult]:
    """Play the actions of a replay in its game, and compare every step with the recording.

    Raises:
        ReplayMismatch: after the last step, if a reward or the end of the game was not the recorded one.
        EnvironmentFault: the environment raised an error.
    """
    score, first_difference = 0.0, None
    for t, (action, expected) in enumerate(zip(replay.actions, replay.rewards, strict=True)):
        moment = game.step(action)
        score += moment.reward
        last = t == len(replay.actions) - 1
        ends = (last and not replay.cut, last and replay.cut)
        if first_difference is None and (moment.reward != expected or (moment.terminated, moment.truncated) != ends):
            first_difference = t
        yield moment
    if first_difference is not None:
        now, then = name_package(replay.env), replay.origin.get("packages")
        raise ReplayMismatch(
            f"the replay scores {score:,g} where {replay.score:,g} was played: the games part at agent step "
            f"{first_difference + 1:,} of {len(replay.actions):,} (played with {then}, replayed with {now})"
        )


def has_pictures(env: dict) -> bool:
    """Return whether the environment of these `env.` settings has pictures.

    Raises:
        Mistake: it cannot be opened, not without pictures either.
    """
    try:
        if "id" in env:
            Environment(env, 0, pictures=True).close()
    except Mistake:
        Environment(env, 0, pictures=False).close()
        return False
    return True


def name_package(env: dict[str, Any]) -> str:
    """Return the package that runs the environment, with its version: `ale-py 0.12.1`."""
    return f"ale-py {ale_py.__version__}" if "game" in env else f"gymnasium {gymnasium.__version__}"


class Emulator:
    """One game of ALE: 60 frames per second in colour, [210, 160, 3] in most games, and sound.

    It begins a game as ALE's vector environment does after a seed: it loads the ROM, resets, presses FIRE if the
    protocol does, and waits. The vector environment draws the length of the wait at random; the replay has recorded it.
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
        ale.loadROM(str(roms.get_rom_path(self._env["game"])))
        ale.reset_game()
        if self._env["fire_reset"] and Action.FIRE in self._buttons:
            ale.act(Action.FIRE)
        while ale.getFrameNumber() < replay.start_frame:
            ale.act(Action.NOOP)
            if ale.game_over():
                ale.reset_game()

    def read_screen(self) -> np.ndarray:
        """Return the present frame: uint8 [H, W, 3]."""
        return self._ale.getScreenRGB()

    def step(self, action: np.ndarray) -> StepResult:
        """Play one agent step: `frameskip` frames, or fewer if the game ends."""
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
        return StepResult(frames, np.concatenate(sound), float(reward), over, truncated)

    def close(self) -> None:
        """Do nothing: an emulator keeps nothing open."""


def find_picture_rate(env: gymnasium.Env) -> float:
    """Return the pictures per second of an environment that is drawn once per agent step, at the game's own speed.

    Other environments say it themselves; a game of ALE says 30, whatever the frames of a step are.
    """
    if not hasattr(env.unwrapped, "ale"):
        return float(env.metadata.get("render_fps") or 30)
    name = "frame_skip" if env.has_wrapper_attr("frame_skip") else "_frameskip"  # AtariPreprocessing's, or the game's
    frames = env.get_wrapper_attr(name)  # a number, or (2, 5) where each step draws 2, 3 or 4
    return Emulator.fps / (frames if isinstance(frames, int) else float(np.mean(range(*frames))))


class Environment:
    """One game of a Gymnasium environment: one frame per agent step, and no sound.

    Args:
        env: the `env.` settings.
        seed: the seed of the game.
        pictures: whether frames are drawn.

    Raises:
        Mistake: the environment cannot be opened, or has no pictures.
    """

    def __init__(self, env: dict[str, Any], seed: int, pictures: bool):
        self._id, self._pictures = env["id"], pictures
        for driver in (
            "SDL_AUDIODRIVER",
            "SDL_VIDEODRIVER",
        ):  # lets pygame draw in memory, without a screen or sound card
            os.environ.setdefault(driver, "dummy")
        try:
            with warnings.catch_warnings():  # Gymnasium warns of missing pictures; the Mistake below says it
                warnings.simplefilter("ignore")
                self._env = open_env(env, render_mode="rgb_array" if pictures else None)
            self._env.reset(seed=seed)
            picture = self.read_screen() if pictures else None
        except Mistake:  # of a wrapper
            raise
        except Exception as error:  # an environment may raise anything
            what = "opened and drawn" if pictures else "opened"
            raise Mistake(
                f"env.id={self._id}: it cannot be {what} here ({format_error(error)}); install what it needs, such as "
                "pygame, or record another environment"
            ) from error
        if pictures and not (
            isinstance(picture, np.ndarray)
            and picture.dtype == np.uint8
            and picture.ndim == 3
            and picture.shape[2] == 3
        ):
            raise Mistake(f"env.id={self._id}: it has no pictures (render_mode rgb_array); record another environment")
        self.fps = find_picture_rate(self._env)

    def read_screen(self) -> np.ndarray:
        """Return the present frame: uint8 [H, W, 3]."""
        picture: Any = self._env.render()
        if not isinstance(picture, np.ndarray):
            return picture
        return np.array(picture[..., :3] if picture.shape[-1:] == (4,) else picture)  # a copy, without transparency

    def step(self, action: np.ndarray) -> StepResult:
        """Play one agent step."""
        try:
            _, reward, terminated, truncated, _ = self._env.step(action)
            frames = [self.read_screen()] if self._pictures else []
        except Exception as error:  # an environment may raise anything
            raise EnvironmentFault(f"env.id={self._id}: a replayed step raised {format_error(error)}") from error
        terminated, truncated = bool(terminated), bool(truncated) and not terminated
        return StepResult(frames, np.empty(0, np.uint8), float(reward), terminated, truncated)

    def close(self) -> None:
        """Close the environment."""
        self._env.close()
