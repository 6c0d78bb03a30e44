"""How pixels are laid out: 4x4 blocks, channels last, one frame at a time.

A convolution of 8x8 with stride 4 on 84x84 pixels is a convolution of 2x2 with stride 1 on 21x21 blocks of 4x4 pixels:
the same sums, but with the 16 pixels of a block next to each other in memory, which is what makes two cores fast. So a
frame travels as uint8 [21, 21, 16] from the emulator to the learner, and four of them side by side are a stack.

Pictures of other environments than ALE's travel as they are, uint8 [H, W, C]: in blocks of 1x1.
"""

from typing import Any, NamedTuple

import numpy as np
from gymnasium.spaces import Space

from environments.gymnasium_envs import is_picture, open_env


class FrameLayout(NamedTuple):
    """The shape of a game's pictures. All sizes in pixels unless said otherwise."""

    dim: int  # height, and width as well where `width` is None
    channels: int  # 1 gray, 3 RGB
    stack: int  # frames the agent sees at once
    width: int | None = None  # of pictures that are not cut into blocks; None: they are square, and may be

    @property
    def block(self) -> int:
        """Side of a block; 1 where the picture is not, or cannot be, cut into 4x4 blocks."""
        return 4 if self.width is None and self.dim % 4 == 0 else 1

    @property
    def picture_shape(self) -> tuple[int, int, int]:
        """One frame in pixels: [height, width, channels]."""
        return self.dim, self.width or self.dim, self.channels

    @property
    def frame_shape(self) -> tuple[int, int, int]:
        """One frame in blocks: [height / block, width / block, block * block * channels]."""
        height, width, channels = self.picture_shape
        return height // self.block, width // self.block, self.block**2 * channels

    @property
    def stack_shape(self) -> tuple[int, int, int]:
        """A stack in blocks, the oldest frame first along the last axis."""
        height, width, depth = self.frame_shape
        return height, width, depth * self.stack

    def to_pixels(self, blocks: np.ndarray) -> np.ndarray:
        """Return a frame as one looks at it: uint8 [height, width], or [height, width, 3] of colours.

        Args:
            blocks: uint8 [*frame_shape]. Of pictures with another number of channels than 1 or 3, the first is shown.
        """
        (height, width, _), block = self.frame_shape, self.block
        pixels = blocks.reshape(height, width, block, block, self.channels).transpose(0, 2, 1, 3, 4)
        picture = pixels.reshape(self.picture_shape)
        return picture if self.channels == 3 else picture[..., 0]


def atari_layout(env: dict) -> FrameLayout:
    """The layout that the settings of an ALE game ask for."""
    return FrameLayout(env["dim"], 1 if env["grayscale"] else 3, env["frame_stack"])


def picture_layout(space: Space, env: dict) -> FrameLayout | None:
    """The layout of the observations of a Gymnasium environment; None where they are not pictures.

    Args:
        space: of its observations, as `environments.gymnasium_envs.open_env` gives them.
        env: the `env.` settings; those of earlier versions are without env.frame_stack.
    """
    if not is_picture(space):
        return None
    shape: Any = space.shape
    height, width, *channels = shape
    return FrameLayout(height, channels[0] if channels else 1, env.get("frame_stack", 1), width)


def layout_of(env: dict) -> FrameLayout | None:
    """The layout that the settings of any environment ask for; None where it has no pictures.

    A Gymnasium environment is opened for it, and closed again; what its constructor raises is raised here.
    """
    if "game" in env:
        return atari_layout(env)
    opened = open_env(env)
    opened.close()
    return picture_layout(opened.observation_space, env)


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
