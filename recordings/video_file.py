"""The file of a video: pictures, and sound if there is any, are encoded one by one as they arrive.

pictures -> Palette (gif) or conversion of colours (mp4, webp) -> FFmpeg, from the wheel of PyAV -> file
"""

from collections.abc import Iterator
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from environments.machine import count_cpus
from recordings.replayed_game import SOUND_RATE

AAC_RATE = 32_000  # samples per second; AAC does not know 30,720
CODECS = {  # format -> codec, its pixels, its options, options of the file
    "mp4": ("libx264", "yuv420p", {"preset": "superfast", "crf": "20"}, {"movflags": "faststart"}),  # plays as it loads
    "webp": ("libwebp_anim", "bgra", {"lossless": "1", "compression_level": "2"}, {"loop": "0"}),  # repeats
    "gif": ("gif", "pal8", {}, {"loop": "0"}),
}


class Picture(NamedTuple):
    """One picture of a video, and the sound that is heard while it is shown."""

    pixels: np.ndarray  # uint8 [H, W, 3]
    sound: np.ndarray  # uint8 [S], SOUND_RATE samples per second


def write_video(
    path: Path,
    pictures: Iterator[Picture],
    rate: Fraction,
    scale: int,
    format: str,
    sound: bool,
    key_every: int | None = None,
) -> None:
    """Write a video file.

    Colours of an mp4 are BT.709, which browsers expect; WebP and GIF keep the colours of the pictures.

    Args:
        path: the new file.
        pictures: at least one, all of the same size.
        rate: pictures per second.
        scale: each pixel becomes a square with sides of this many pixels.
        format: a key of CODECS.
        sound: whether the sound of the pictures is written.
        key_every: for an mp4, how many pictures lie between two key frames, to which a player can jump; None lets H.264
            decide.

    Raises:
        OSError: the file cannot be written.
    """
    import av  # takes a moment, so only this function imports it
    from av.video.reformatter import Colorspace, Interpolation, VideoReformatter

    codec, pixel_format, options, file_options = CODECS[format]
    options = options | ({"g": str(key_every)} if key_every else {})
    first = next(pictures)
    height, width = (scale * side for side in first.pixels.shape[:2])
    if format == "mp4":
        height, width = height + height % 2, width + width % 2  # H.264 needs even sides
    palette, samples = Palette(), 0
    try:
        with av.open(str(path), "w", format=format, options=file_options) as file:
            video: Any = file.add_stream(codec, rate=rate, options=options)
            video.width, video.height, video.pix_fmt = width, height, pixel_format
            video.codec_context.thread_count = min(count_cpus(), 4)
            if format == "mp4":
                for name, value in {"colorspace": 1, "color_primaries": 1, "color_trc": 1, "color_range": 1}.items():
                    setattr(video.codec_context, name, value)
            audio: Any = file.add_stream("aac", AAC_RATE, {"aac_coder": "fast"}, layout="mono") if sound else None
            resampler = av.AudioResampler(format="fltp", layout="mono", rate=AAC_RATE, frame_size=1024)
            reformatter = VideoReformatter()  # one for all pictures, because making one takes longer than using it
            for picture in chain([first], pictures):
                if pixel_format == "pal8":
                    numbers: Any = palette.apply(picture.pixels, scale)
                    frame = av.VideoFrame.from_ndarray(numbers, format="pal8")
                else:
                    frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture.pixels), format="rgb24")
                    frame = reformatter.reformat(
                        frame, width, height, pixel_format, None, Colorspace.ITU709, Interpolation.POINT
                    )
                file.mux(video.encode(frame))
                if audio is None or not len(picture.sound):
                    continue
                softer = picture.sound // 2 + 64  # the loudest sound of ALE is near the maximum, which AAC would exceed
                heard: Any = av.AudioFrame.from_ndarray(softer[None], format="u8", layout="mono")
                heard.sample_rate, heard.pts, samples = SOUND_RATE, samples, samples + len(picture.sound)
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
    """Holds up to 256 colours, in the order in which a video shows them first; later colours take the nearest of them.

    ALE has 128 colours, and the maximum of two frames gives a few more, so a GIF of a game has all its colours.
    """

    def __init__(self):
        self._numbers = np.full(
            2**24, -1, np.int16
        )  # red * 65,536 + green * 256 + blue -> number in the palette, or -1
        self._colours = np.zeros((256, 3), np.uint8)
        self._count = 0

    def apply(self, picture: np.ndarray, scale: int) -> tuple[np.ndarray, np.ndarray]:
        """Return the palette numbers of a picture, and the palette as alpha, red, green and blue.

        Args:
            picture: uint8 [H, W, 3].
            scale: each pixel becomes a square with sides of this many pixels.
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
