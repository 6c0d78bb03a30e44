"""How pixels are laid out: 4x4 blocks, channels last, one frame at a time.

A convolution of 8x8 with stride 4 on 84x84 pixels is a convolution of 2x2 with stride 1 on 21x21 blocks of 4x4 pixels:
the same sums, but with the 16 pixels of a block next to each other in memory, which is what makes two cores fast. So a
frame travels as uint8 [21, 21, 16] from the emulator to the learner, and four of them side by side are a stack.
"""

from typing import NamedTuple

import numpy as np


class FrameLayout(NamedTuple):
    """The shape of a game's pictures. All sizes in pixels unless said otherwise."""

    dim: int  # height and width
    channels: int  # 1 gray, 3 RGB
    stack: int  # frames the agent sees at once

    @property
    def block(self) -> int:
        """Side of a block; 1 where the picture cannot be cut into 4x4 blocks."""
        return 4 if self.dim % 4 == 0 else 1

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """One frame in blocks: [dim / block, dim / block, block * block * channels]."""
        side = self.dim // self.block
        return side, side, self.block**2 * self.channels

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """A stack in blocks, the oldest frame first along the last axis."""
        height, width, depth = self.frame_shape
        return height, width, depth * self.stack

    def to_pixels(self, blocks: np.ndarray) -> np.ndarray:
        """Return a frame as one looks at it: uint8 [dim, dim], or [dim, dim, 3] of colours, from [*frame_shape]."""
        side, block = self.dim // self.block, self.block
        pixels = blocks.reshape(side, side, block, block, self.channels).transpose(0, 2, 1, 3, 4)
        picture = pixels.reshape(self.dim, self.dim, self.channels)
        return picture[..., 0] if self.channels == 1 else picture


def atari_layout(env: dict) -> FrameLayout:
    """The layout that the settings of an ALE game ask for."""
    return FrameLayout(env["dim"], 1 if env["grayscale"] else 3, env["frame_stack"])


def layout_of(env: dict) -> FrameLayout | None:
    """The layout that the settings of any environment ask for; None where it has no pixels."""
    return atari_layout(env) if "game" in env else None


def to_blocks(into: np.ndarray, frames: np.ndarray, layout: FrameLayout) -> None:
    """Write frames into blocks.

    Args:
        into: uint8 [N, *layout.frame_shape], contiguous; overwritten.
        frames: uint8 [N, 1, dim, dim] or [N, 1, dim, dim, 3], contiguous.
        layout: shape of the pictures.
    """
    n, side, block = len(frames), layout.dim // layout.block, layout.block
    if block == 4 and layout.channels == 1:  # four bytes at a time
        words = frames.view(np.uint32).reshape(n, side, block, side)
        into.view(np.uint32).reshape(n, side, side, block)[...] = words.transpose(0, 1, 3, 2)
        return
    pixels = frames.reshape(n, side, block, side, block, layout.channels)
    into.reshape(n, side, side, block, block, layout.channels)[...] = pixels.transpose(0, 1, 3, 2, 4, 5)
