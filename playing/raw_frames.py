"""Raw frames of the emulator, reduced to the pictures that agents see, as ALE's vector env reduces them itself.

    frames in colours uint8 [N, K, H, 160, 3] -> gray -> maximum over K -> area averages -> uint8 [N, 1, dim, dim]

For programs that have an emulator of their own; `AtariGames` does not use it. Area averages are computed in the order
of OpenCV's INTER_AREA, which ALE calls: sums that end in a half would be rounded the other way otherwise. Where dim is
10, a few pixels differ by 1 even so.
"""

import numpy as np

from environments.frames import FrameLayout

WIDTH = 160  # of every picture of ALE, in pixels
LUMA = np.array([0.2989, 0.5870, 0.1140])  # of red, green and blue in ALE's gray
OWN_GRAY = ("air_raid",)  # games in PAL's colours, which ALE turns to another gray


def convert_to_gray(frames: np.ndarray) -> np.ndarray:
    """Return frames in ALE's gray, uint8 [...], from frames in colours, uint8 [..., 3]; not those of OWN_GRAY."""
    return np.round(frames @ LUMA).astype(np.uint8)


def reduce_frames(frames: np.ndarray, layout: FrameLayout) -> np.ndarray:
    """Return the pictures of N games as `to_blocks` takes them, uint8 [N, 1, dim, dim] or [N, 1, dim, dim, 3].

    Args:
        frames: uint8 [N, K, H, 160, 3], the last K frames of a step, 2 in training; the picture is their maximum.
        layout: the layout of the pictures.

    Raises:
        ValueError: the pictures are larger than the frames.
    """
    height, width = frames.shape[2:4]
    if layout.dim > min(height, width):
        raise ValueError(f"frames of {height} x {width} cannot be reduced to env.dim={layout.dim}")
    largest = (frames if layout.channels == 3 else convert_to_gray(frames)).max(1).astype(np.float32)
    small = average_areas(average_areas(largest, 2, layout.dim), 1, layout.dim)
    return np.rint(small).astype(np.uint8)[:, None]


def average_areas(pictures: np.ndarray, axis: int, dim: int) -> np.ndarray:
    """Return pictures whose axis is cut into `dim` equal parts, each the mean of its pixels: float32."""
    size, total = pictures.shape[axis], np.zeros((), np.float32)
    begins = np.arange(dim) * (size / dim)
    ends = begins + size / dim
    shape = [dim if number == axis else 1 for number in range(pictures.ndim)]
    for number in range(int(np.ceil(size / dim)) + 1):  # a part has so many pixels, cut ones among them
        pixels = np.minimum(np.floor(begins).astype(int) + number, size - 1)
        overlaps = np.minimum(ends, pixels + 1) - np.maximum(begins, pixels)
        overlaps[(overlaps < 1e-3) | (np.floor(begins) + number >= size)] = 0  # as OpenCV leaves out slivers
        shares = (overlaps / (size / dim)).astype(np.float32)
        total = total + np.take(pictures, pixels, axis) * shares.reshape(shape)
    return total
