"""Video of a replay: the game is played again, compared with the recorded one, and filmed meanwhile.

    Replay -> replay_game -> frames -> pictures (60, 30 or 15 per second) -> mp4 with sound, or webp, or gif

Pictures are never collected, so a game of half an hour takes no more memory than a game of a minute. If the game is not
the recorded one, its video is deleted.

Games of the Atari 2600 draw many sprites only in every other frame. At 60 pictures per second a video shows this as a
television does. At fewer, each picture is the maximum of two successive frames, which is what agents see.
"""

import math
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from environments.screen import LINE_EVERY_S, Screen
from recordings.replay import Replay, read_replay
from recordings.replayed_game import ReplayMismatch, open_game, replay_game
from recordings.video_file import Picture, write_video
from run_directory.layout import RECORDINGS
from run_directory.writing import choose_free_path, explain_unwritable, replace_file
from settings.mistakes import Mistake, resolve_path

FPS = {"mp4": 60, "webp": 15, "gif": 15}  # pictures per second if the user asks for nothing else
ATARI_SCALE = 2  # 160 x 210 pixels are small, and H.264 halves the resolution of colours


class VideoFormat(NamedTuple):
    """The format, size and speed of a video."""

    format: str = "mp4"  # a key of FPS
    scale: int | None = None  # the side of the square that each pixel becomes; None: 2 for ALE, else 1
    fps: int | None = None  # pictures per second, at most; None: about those of FPS


def find_replay(replay: str, run: Path | None) -> Path:
    """Return the file of a replay.

    Args:
        replay: the path of the file, or its name among the recordings of the run; of several seeds, the first that
            has it.
        run: a run directory, or None.

    Raises:
        Mistake: the path cannot be looked up.
    """
    path = resolve_path(replay, "replay")
    if run is None or path.exists():
        return path
    inside = [one / RECORDINGS / replay for one in (run, *sorted(run.glob("seed_*")))]
    return next((file for file in inside if file.exists()), path)


def film_file(path: Path, look: VideoFormat, console: Console | None = None) -> int:
    """Play the replay in a file again, and write its video beside it.

    Returns:
        The exit code: 0, or 1 if the score is not the recorded one or the video cannot be written.

    Raises:
        Mistake: the file is not an undamaged replay, no video can be written there, or the game cannot be opened.
    """
    replay = read_replay(path)
    if why := explain_unwritable(path.with_suffix(f".{look.format}.new")):
        raise Mistake(f"replay={path}: its video would lie beside it ({why}); copy it to another folder")
    return film_replay(replay, path, look, path.stem, console)


def film_replay(replay: Replay, path: Path, look: VideoFormat, label: str, console: Console | None = None) -> int:
    """Write the video of a replay beside its file and print the result; return the exit code, see `film_file`.

    If the video cannot be written, the game is still played again and compared.
    """
    steps, video = f"{len(replay.actions):,} agent steps", None
    display = VideoDisplay(len(replay.actions), label, console)
    try:
        with display:
            try:
                video, why = make_video(replay, path, look, display.step), ""
            except OSError as error:
                why = str(error)
                for _ in replay_game(replay, open_game(replay, pictures=False)):
                    pass
    except ReplayMismatch as error:
        display.print_line(f"{label}: {error}; no video is kept")
        return 1
    display.print_line(f"{label}: score {replay.score:,g} in {steps}, and the replay scores the same")
    size = f"{video.stat().st_size / 1e6:,.2f} MB" if video else ""
    display.print_line(f"  video: {video} ({size})" if video else f"  the video was not saved: {why}")
    return 0 if video else 1


def make_video(replay: Replay, path: Path, look: VideoFormat, on_step: Callable[[], None]) -> Path:
    """Play a replay again and write its video.

    Args:
        replay: the game.
        path: the file of the replay. The video gets the same name; an existing video is not replaced.
        look: the format, size and speed of the video.
        on_step: called after every agent step.

    Returns:
        The file of the video.

    Raises:
        ReplayMismatch: the game is not the recorded one; there is no video then.
        OSError: the video could not be written.
        Mistake, EnvironmentFault: the game cannot be opened, or fails.
    """
    fps, atari = look.fps or FPS[look.format], "game" in replay.env
    scale = look.scale or (ATARI_SCALE if atari else 1)
    sound = atari and look.format == "mp4"
    game = open_game(replay, sound=sound)
    every = max(1, math.ceil(game.fps / fps) if look.fps else round(game.fps / fps))  # frames per picture
    pictures = iterate_pictures(replay, game, every, on_step)
    video = reserve_path(path.with_suffix(f".{look.format}"))
    try:
        with replace_file(video) as temporary:
            rate = Fraction(game.fps).limit_denominator(1000) / every
            write_video(temporary, pictures, rate, scale, look.format, sound)
    finally:
        game.close()
    return video


def reserve_path(path: Path) -> Path:
    """Return a path as `choose_free_path` does, and make the temporary file of `replace_file`.

    Another process that films the same replay meanwhile takes another path.

    Raises:
        OSError: the temporary file cannot be made.
    """
    free = choose_free_path(path)
    temporary = free.with_name(f"{free.name}.new")
    try:
        temporary.touch(exist_ok=False)
    except FileExistsError:  # made since the path was chosen
        return reserve_path(path)
    if free.exists():  # its video has been completed since then
        temporary.unlink()
        return reserve_path(path)
    return free


def iterate_pictures(
    replay: Replay, game: Any, every: int, on_step: Callable[[], None] = lambda: None
) -> Iterator[Picture]:
    """Play a replay again and yield one picture for each `every` frames, and one for the frames left at the end.

    Args:
        replay: the recorded game.
        game: the open game, from `open_game`.
        every: frames per picture.
        on_step: called after every agent step.

    Raises:
        ReplayMismatch, EnvironmentFault: see `replay_game`.
    """
    flickers = "game" in replay.env
    frames, sounds = [], []
    for moment in replay_game(replay, game):
        frames, sounds = [*frames, *moment.frames], [*sounds, moment.sound]
        while len(frames) >= every:
            yield Picture(combine_frames(frames[:every], flickers), np.concatenate([*sounds, np.empty(0, np.uint8)]))
            frames, sounds = frames[every:], []
        on_step()
    if frames:  # their sound may have gone out with the picture before
        yield Picture(combine_frames(frames, flickers), np.concatenate([*sounds, np.empty(0, np.uint8)]))


def combine_frames(frames: list[np.ndarray], flickers: bool) -> np.ndarray:
    """Return one picture for some frames, each uint8 [H, W, 3].

    It is the last frame. If sprites flicker, it is the maximum of the last two.
    """
    return np.maximum(frames[-1], frames[-2]) if flickers and len(frames) > 1 else frames[-1]


class VideoDisplay(Screen):
    """Shows how much of a game has been played again; in a terminal the line vanishes at the end.

    Args:
        total: the agent steps of the game.
        label: the name of the game.
    """

    def __init__(self, total: int, label: str, console: Console | None = None):
        super().__init__(console, vanishes=True)
        self._total, self._done, self._label, self._spoken = total, 0, label, time.monotonic()

    def step(self) -> None:
        """Count one more agent step."""
        self._done += 1
        line = f"{self._label}: replayed {self._done / self._total:.0%}"
        if self._live:
            self._live.update(Text(line))
        elif time.monotonic() - self._spoken >= LINE_EVERY_S:
            self._spoken = time.monotonic()
            self.print_line(line)
