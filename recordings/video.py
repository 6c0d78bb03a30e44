"""Videos of replays: the game is played again, proven to be the one that was recorded, and drawn as it goes.

    Replay -> play_again -> frames -> pictures (60, 30 or 15 a second) -> mp4 with sound, or webp, or gif

Pictures are written as they come and never held, so a game of half an hour takes no more memory than one of a minute.
A video that cannot be proven is not kept.

ALE draws sprites in every other frame only, as games of the Atari 2600 do: at 60 pictures a second one sees what a
television shows, at fewer each picture is the maximum of two frames that follow each other, which is what agents see.
"""

import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from rich.console import Console
from rich.text import Text

from environments.machine import num_cpus
from environments.screen import LINE_EVERY_S, Screen
from recordings.replay import Replay, read_replay
from recordings.replayed_game import SOUND_RATE, Differs, open_game, play_again
from run_directory.layout import RECORDINGS
from run_directory.writing import choose_free_path, explain_unwritable, replace_file
from settings.mistakes import Mistake, reachable

FPS = {"mp4": 60, "webp": 15, "gif": 15}  # pictures per second, where nothing else is asked for
ATARI_SCALE = 2  # 160 x 210 pixels are small, and H.264 halves the resolution of colours
AAC_RATE = 32_000  # samples per second; AAC has no 30,720
CODECS = {  # format -> codec, its pixels, its options, those of the file
    "mp4": ("libx264", "yuv420p", {"preset": "superfast", "crf": "20"}, {"movflags": "faststart"}),  # plays as it loads
    "webp": ("libwebp_anim", "bgra", {"lossless": "1", "compression_level": "2"}, {"loop": "0"}),  # again and again
    "gif": ("gif", "pal8", {}, {"loop": "0"}),
}


class Look(NamedTuple):
    """How a video is made."""

    format: str = "mp4"  # of FPS
    scale: int | None = None  # each pixel becomes so many squared; None: 2 for ALE, else 1
    fps: int | None = None  # pictures per second at most; None: of FPS


class Shot(NamedTuple):
    """One picture of a video, and what is heard meanwhile."""

    picture: np.ndarray  # uint8 [H, W, 3]
    sound: np.ndarray  # uint8 [S], SOUND_RATE a second


class VideoDisplay(Screen):
    """How far a video is.

    Args:
        total: agent steps of the game.
        label: which game it is.
    """

    def __init__(self, total: int, label: str, console: Console | None = None):
        super().__init__(console)
        self._total, self._done, self._label, self._spoken = total, 0, label, time.monotonic()

    def step(self) -> None:
        """One more agent step was drawn."""
        self._done += 1
        line = f"{self._label}: replayed {self._done / self._total:.0%}"
        if self._live:
            self._live.update(Text(line))
        elif time.monotonic() - self._spoken >= LINE_EVERY_S:
            self._spoken = time.monotonic()
            self.say(line)


def find_replay(replay: str, run: Path | None) -> Path:
    """Return the file of a replay: the path that was typed, or of that name among the recordings of a run.

    Raises:
        Mistake: one cannot look there.
    """
    path = reachable(replay, "replay")
    inside = None if run is None else run / RECORDINGS / replay
    return inside if inside is not None and not path.exists() and inside.exists() else path


def film_file(path: Path, look: Look, console: Console | None = None) -> int:
    """Score the replay in a file again, and write its video beside it.

    Returns:
        The exit code: 0; 1 where the score is not the one that was played, or the video cannot be written.

    Raises:
        Mistake: the file is no whole replay, no video can be written there, or the game cannot be opened.
    """
    replay = read_replay(path)
    if why := explain_unwritable(path.with_suffix(f".{look.format}.new")):
        raise Mistake(f"replay={path}: its video would lie beside it ({why}); copy it to another folder")
    return show_film(replay, path, look, path.stem, console)


def show_film(replay: Replay, path: Path, look: Look, label: str, console: Console | None = None) -> int:
    """Write the video of a replay beside the path of its file, and print what came of it; return the exit code."""
    with VideoDisplay(len(replay.actions), label, console) as display:
        video, why = None, ""
        try:
            try:
                video = film(replay, path, look, display.step)
            except OSError as error:
                why = str(error)
                for _ in play_again(replay, open_game(replay, pictures=False)):  # it is proven all the same
                    pass
        except Differs as error:
            display.say(f"{label}: {error}; no video is kept")
            return 1
        steps = f"{len(replay.actions):,} agent steps"
        display.say(f"{label}: score {replay.score:,g} in {steps}, and the replay scores the same")
        size = f"{video.stat().st_size / 1e6:,.2f} MB" if video else ""
        display.say(f"  video: {video} ({size})" if video else f"  the video was not saved: {why}")
    return 0 if video else 1


def film(replay: Replay, path: Path, look: Look, step: Callable[[], None] = lambda: None) -> Path:
    """Play a replay again and write its video.

    Args:
        replay: what is played.
        path: beside which the video goes, under the same name; a file that is there already is left alone.
        look: of the video.
        step: called after every agent step.

    Returns:
        The video.

    Raises:
        Differs: the game is not the one that was recorded; there is no video then.
        OSError: the video could not be written.
        Mistake, EnvironmentFault: the game cannot be opened, or fails.
    """
    fps, atari = look.fps or FPS[look.format], "game" in replay.env
    scale = look.scale or (ATARI_SCALE if atari else 1)
    sound = atari and look.format == "mp4"
    game = open_game(replay, sound=sound)
    every = max(1, round(game.fps / fps))  # frames per picture
    shots = shots_of(replay, game, every, step)
    video = choose_free_path(path.with_suffix(f".{look.format}"))
    try:
        with replace_file(video) as temporary:
            rate = Fraction(game.fps).limit_denominator(1000) / every
            write_video(temporary, shots, rate, scale, look.format, sound)
    finally:
        game.close()
    return video


def shots_of(replay: Replay, game: Any, every: int, step: Callable[[], None]) -> Iterator[Shot]:
    """Play a replay and yield its pictures, one per `every` frames; a rest at the end is a picture as well."""
    frames, sounds = [], []
    for moment in play_again(replay, game):
        frames, sounds = [*frames, *moment.frames], [*sounds, moment.sound]
        while len(frames) >= every:
            yield Shot(
                picture_of(frames[:every], "game" in replay.env), np.concatenate([*sounds, np.empty(0, np.uint8)])
            )
            frames, sounds = frames[every:], []
        step()
    if frames:
        yield Shot(picture_of(frames, "game" in replay.env), np.concatenate(sounds))


def picture_of(frames: list[np.ndarray], flickers: bool) -> np.ndarray:
    """Return the picture for some frames, each uint8 [H, W, 3]: the last; where they flicker the maximum of two."""
    return np.maximum(frames[-1], frames[-2]) if flickers and len(frames) > 1 else frames[-1]


def write_video(
    path: Path,
    shots: Iterator[Shot],
    rate: Fraction,
    scale: int,
    format: str,
    sound: bool,
    key_every: int | None = None,
) -> None:
    """Write pictures, and sound where there is any, by the FFmpeg that PyAV's wheel brings.

    Args:
        path: of the file.
        shots: the pictures.
        rate: of them, per second.
        scale: each pixel becomes so many squared.
        format: of CODECS.
        sound: whether the shots have any.
        key_every: of an mp4, pictures from one that stands by itself, to which a player can jump, to the next; None:
            as many as H.264 likes.

    Colours of an mp4 are BT.709, which is what browsers take them for; WebP and GIF keep them as they are.
    """
    import av  # takes a moment, and only videos need it
    from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

    codec, pixels, options, of_file = CODECS[format]
    options = options | ({"g": str(key_every)} if key_every else {})
    first = next(shots)
    height, width = (scale * side for side in first.picture.shape[:2])
    if format == "mp4":
        height, width = height + height % 2, width + width % 2  # H.264 wants even sides
    palette, samples = Palette(), 0
    try:
        with av.open(str(path), "w", format=format, options=of_file) as file:
            video: Any = file.add_stream(codec, rate=rate, options=options)
            video.width, video.height, video.pix_fmt = width, height, pixels
            video.codec_context.thread_count = min(num_cpus(), 4)
            if format == "mp4":
                for name, value in {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}.items():
                    setattr(video.codec_context, name, value)
            audio: Any = file.add_stream("aac", AAC_RATE, {"aac_coder": "fast"}, layout="mono") if sound else None
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=AAC_RATE, frame_size=1024)
            reformatter = VideoReformatter()  # one for all pictures: to begin one takes longer than the picture
            for shot in chain([first], shots):
                if pixels == "pal8":
                    numbers: Any = palette.apply(shot.picture, scale)
                    frame = av.VideoFrame.from_ndarray(numbers, format="pal8")
                else:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(shot.picture), format="rgb24")
                    frame = reformatter.reformat(
                        frame, width, height, pixels, None, Colorspace.ITU709, Interpolation.POINT
                    )
                file.mux(video.encode(frame))
                if audio is None or not len(shot.sound):
                    continue
                softer = shot.sound // 2 + 64  # ALE's loudest is nearly full, and AAC would overshoot it
                heard: Any = av.AudioFrame.from_ndarray(softer[None], format="u8", layout="mono")
                heard.sample_rate, heard.pts, samples = SOUND_RATE, samples, samples + len(shot.sound)
                for resampled in resampler.resample(heard):
                    file.mux(audio.encode(resampled))
            if audio is not None:
                for resampled in resampler.resample(None):
                    file.mux(audio.encode(resampled))
                file.mux(audio.encode(None))
            file.mux(video.encode(None))
    except av.FFmpegError as error:
        raise OSError(error.errno, f"{error.strerror}: {path}") from error


class Palette:
    """Up to 256 colours, in the order in which a video shows them first; beyond that, the nearest of these.

    ALE has 128, and the maximum of two frames a few more, so that a GIF of a game has all its colours.
    """

    def __init__(self):
        self._numbers = np.full(2**24, -1, np.int16)  # of a colour, red * 65,536 + green * 256 + blue
        self._colours = np.zeros((256, 3), np.uint8)
        self._count = 0

    def apply(self, picture: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Return a picture in numbers, each pixel `scale` x `scale`, and the palette as alpha, red, green, blue.

        Args:
            picture: uint8 [H, W, 3].
            scale: of its pixels.
        """
        codes = picture.astype(np.int32) @ np.array([65_536, 256, 1], np.int32)  # [H, W]
        for code in np.unique(codes[self._numbers[codes] < 0]):
            colour = np.array([code >> 16, code >> 8 & 255, code & 255])
            if self._count < 256:
                self._colours[self._count] = colour
                self._numbers[code], self._count = self._count, self._count + 1
            else:
                self._numbers[code] = np.abs(self._colours.astype(int) - colour).sum(1).argmin()
        numbers = self._numbers[codes].astype(np.uint8).repeat(scale, 0).repeat(scale, 1)
        return numbers, np.concatenate([np.full((256, 1), 255, np.uint8), self._colours], 1)
