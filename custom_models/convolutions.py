"""Which convolutions each torso has, and how small a picture they can look at. Numbers only: no torch."""

from typing import NamedTuple


class Conv(NamedTuple):
    """One convolution."""

    filters: int
    kernel: int
    stride: int
    same: bool = False  # zeros around the picture, as TensorFlow's padding="same" has them; otherwise none

    def padding(self, side: int) -> tuple[int, int]:
        """Zeros before and after a side; where they are odd in number, one more after."""
        total = max(0, (-(-side // self.stride) - 1) * self.stride + self.kernel - side) if self.same else 0
        return total // 2, total - total // 2

    def side(self, side: int) -> int:
        """The side of what comes out."""
        return (side + sum(self.padding(side)) - self.kernel) // self.stride + 1

    def smallest(self, side: int) -> int:
        """The smallest side to come in for `side` to come out."""
        return (side - 1) * self.stride + (1 if self.same else self.kernel)


CONVS = {
    "nature_cnn": (Conv(32, 8, 4), Conv(64, 4, 2), Conv(64, 3, 1)),  # Mnih et al. 2015
    "a3c_cnn": (Conv(16, 8, 4), Conv(32, 4, 2)),  # Mnih et al. 2016, section 8
    # RLlib's Pong example for A3C, on its VisionNetwork, which does not pad the last layer
    "cnn42": (*(Conv(32, 3, 2, same=True),) * 3, Conv(32, 3, 2)),
    # RLlib's default for 42 x 42; its third, 256 of 11 x 11 on what is then 11 x 11, is `hidden` here
    "rllib42": (Conv(16, 4, 2, same=True), Conv(32, 4, 2, same=True)),
}
SECTIONS = {"impala": (16, 32, 32)}  # Espeholt et al. 2018, figure 3, right


def smallest_dim(torso: str) -> int | None:
    """The smallest picture a torso can look at; None for one that takes any numbers."""
    if torso in SECTIONS:
        return 1
    side = 1
    for conv in reversed(CONVS.get(torso, ())):
        side = conv.smallest(side)
    return side if torso in CONVS else None
