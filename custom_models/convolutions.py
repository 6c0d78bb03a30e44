"""The convolutions of each torso, and the smallest picture that each can take. This file needs no torch."""

from typing import Any, NamedTuple

from settings.mistakes import Mistake


class Conv(NamedTuple):
    """One convolution."""

    filters: int
    kernel: int
    stride: int
    same: bool = False  # pad the picture with zeros, as TensorFlow's padding="same" does; otherwise do not pad

    def compute_padding(self, side: int) -> tuple[int, int]:
        """Return the numbers of zeros before and after a side of the picture; an odd number has one more after it."""
        total = max(0, (-(-side // self.stride) - 1) * self.stride + self.kernel - side) if self.same else 0
        return total // 2, total - total // 2

    def compute_side(self, side: int) -> int:
        """Return the side of the output for this side of the input, in pixels."""
        return (side + sum(self.compute_padding(side)) - self.kernel) // self.stride + 1

    def compute_smallest_side(self, side: int) -> int:
        """Return the smallest side of the input whose output has this side."""
        return (side - 1) * self.stride + (1 if self.same else self.kernel)


CONVS = {
    "nature_cnn": (Conv(32, 8, 4), Conv(64, 4, 2), Conv(64, 3, 1)),  # Mnih et al. 2015
    "a3c_cnn": (Conv(16, 8, 4), Conv(32, 4, 2)),  # Mnih et al. 2016, section 8
    # RLlib's Pong example for A3C, on its VisionNetwork, which does not pad the last layer
    "cnn42": (*(Conv(32, 3, 2, same=True),) * 3, Conv(32, 3, 2)),
    # RLlib's default for 42 x 42; its third, 256 of 11 x 11 on what is then 11 x 11, is `hidden` here
    "rllib42": (Conv(16, 4, 2, same=True), Conv(32, 4, 2, same=True)),
    "minigrid_cnn": (Conv(16, 2, 1), Conv(32, 2, 1), Conv(64, 2, 1)),  # Minigrid's documentation, for 7 x 7 cells
}
SECTIONS = {"impala": (16, 32, 32)}  # Espeholt et al. 2018, figure 3, right


def compute_smallest_dim(torso: str) -> int | None:
    """Return the side of the smallest picture that a torso can take; None for a torso without convolutions."""
    if torso in SECTIONS:
        return 1
    side = 1
    for conv in reversed(CONVS.get(torso, ())):
        side = conv.compute_smallest_side(side)
    return side if torso in CONVS else None


def refuse_small_pictures(torso: str, env: dict, layout: Any) -> None:
    """Refuse a torso with convolutions for observations that are no pictures, or pictures that it shrinks to nothing.

    Args:
        torso: `model.torso`, with convolutions.
        env: the `env.` settings.
        layout: a FrameLayout of environments/frames.py; None if observations are no pictures.

    Raises:
        Mistake: the observations do not fit.
    """
    smallest = compute_smallest_dim(torso) or 1
    if layout is None:
        raise Mistake(f"model.torso={torso} needs pixels, and env={env['name']} has none; try model=mlp")
    height, width, _ = layout.picture_shape
    if min(height, width) < smallest and env["dim"] is not None:
        raise Mistake(f"env.dim={env['dim']} is too small for model.torso={torso}, which needs {smallest} pixels")
    if min(height, width) < smallest:
        raise Mistake(
            f"model.torso={torso} needs {smallest} x {smallest} pixels, and the pictures of env.id={env['id']} have "
            f"{height} x {width}; add env.dim=84, or try model=minigrid_cnn"
        )
