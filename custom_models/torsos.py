"""Torsos: networks from observations to features. Plain torch, and nothing of RLlib.

Parameters keep their ordinary fp32 layout, so that checkpoints are portable. `pack` copies them into a layout that is
faster, through which gradients pass, and `forward` computes with the result. An env runner packs once per rollout, a
learner in every forward pass.

    stack uint8 [B, 21, 21, 64] -> convolutions -> fully connected -> features fp32 [B, size]

Pixels enter convolutions as whole numbers, which bf16 holds exactly, and the first layer's packed weight carries the
scale; MLPTorso divides them, and rounds them so.
"""

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import torch
import torch.nn.functional as F
from torch import nn

from custom_models.convolutions import CONVS, SECTIONS, Conv
from settings.own_parts import is_own

if TYPE_CHECKING:
    from custom_models.own_torso import OwnTorso

NHWC = torch.channels_last
# Functions that overwrite their input. Autograd allows it because their gradient needs their output only.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"relu": F.relu_, "elu": F.elu_, "tanh": torch.tanh_}
# Functions that leave their input as it is, for places where it is needed again.
COPYING_ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "relu": F.relu,
    "elu": F.elu,
    "tanh": torch.tanh,
}


def make_torso(model: dict, shape: tuple[int, ...]) -> "ConvTorso | ResidualTorso | MLPTorso | OwnTorso":
    """Return the torso that the settings of a model ask for, for observations of a shape."""
    torso, dtype = model["torso"], getattr(torch, model["dtype"])
    if is_own(torso):
        from custom_models.own_torso import OwnTorso  # here, because it uses functions of this file

        return OwnTorso(model, shape)
    # Run directories of earlier versions are without zero_mean.
    rest = model["hidden"], model["activation"], model["init"], dtype, model.get("zero_mean", False)
    if torso in CONVS:
        return ConvTorso(model["pixels"], CONVS[torso], *rest)
    if torso in SECTIONS:
        return ResidualTorso(model["pixels"], SECTIONS[torso], *rest)
    return MLPTorso(math.prod(shape), *rest)


def initialize_layer(layer: nn.Linear | nn.Conv2d, init: str, gain: float) -> None:
    """Set the first weights of a layer.

    Args:
        layer: its weights are set in place; its biases to 0.
        init: `orthogonal` (Huang et al. 2022, detail 2), `he_uniform` (the lecture), or `torch` (torch's default).
        gain: of `orthogonal`.
    """
    if init == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    elif init == "he_uniform":
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    if init != "torch" and layer.bias is not None:
        nn.init.zeros_(layer.bias)


def convert_pixels(pixels: torch.Tensor, dtype: torch.dtype, zero_mean: bool) -> torch.Tensor:
    """Return uint8 pixels as whole numbers of a dtype: 0 to 255, or -128 to 127 with `zero_mean`; exact in bf16."""
    x = pixels.to(dtype)
    return x.sub_(128) if zero_mean else x


def scale_weight(weight: torch.Tensor, zero_mean: bool) -> torch.Tensor:
    """Return the first layer's weight for pixels that are whole numbers; the stored parameter is for pixels up to 1."""
    return weight / (128 if zero_mean else 255)


def read_sides(pixels: dict) -> tuple[int, int]:
    """Return height and width of the pictures that a network gets. Those of ALE are square, and have no width here."""
    return pixels["dim"], pixels.get("width") or pixels["dim"]


def unpack_blocks(obs: torch.Tensor, pixels: dict) -> torch.Tensor:
    """Return pixels, uint8 [B, y, x, stack * channels], from stacks in blocks, uint8 [B, h, w, d]; see
    environments/frames.py."""
    (height, width), block = read_sides(pixels), pixels["block"]
    x = obs.view(-1, height // block, width // block, pixels["stack"], block, block, pixels["channels"])
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(-1, height, width, pixels["stack"] * pixels["channels"])


def pack_layer(weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the weight and bias of a layer in the dtype and memory layout of the computation."""
    weight = weight.to(dtype)
    return weight.contiguous(memory_format=NHWC) if weight.ndim == 4 else weight, bias.to(dtype)


class ConvTorso(nn.Module):
    """Convolutions, then one fully connected layer, or none.

    The first convolution is computed on 4x4 blocks of pixels where its kernel and stride allow it (see
    environments/frames.py); otherwise the blocks are first turned into pixels.

    Args:
        pixels: dim, channels, stack and block of the pictures, and width where they are not square.
        layers: the convolutions.
        hidden: features of the output; None: the last convolution's maps, flattened.
        activation: name of the function after every layer.
        init: name of the initialisation of every layer, see `initialize_layer`.
        dtype: of the computation in convolutions and in the fully connected layer.
        zero_mean: pixels are from -1 to 1 instead of 0 to 1.
    """

    def __init__(
        self,
        pixels: dict,
        layers: Sequence[Conv],
        hidden: int | None,
        activation: str,
        init: str,
        dtype: torch.dtype,
        zero_mean: bool = False,
    ):
        super().__init__()
        self.pixels, self.layers, self.dtype, self.zero_mean = pixels, layers, dtype, zero_mean
        self.activate = ACTIVATIONS[activation]
        depth, sides = pixels["stack"] * pixels["channels"], read_sides(pixels)
        self.convs: Any = nn.ModuleList()
        for layer in layers:
            self.convs.append(nn.Conv2d(depth, layer.filters, layer.kernel, layer.stride))
            depth, sides = layer.filters, (layer.compute_side(sides[0]), layer.compute_side(sides[1]))
        flat = math.prod(sides) * depth
        self.size = hidden or flat
        self.fc = nn.Linear(flat, hidden) if hidden else None  # columns in the order y, x, filter
        for layer in self.convs if self.fc is None else (*self.convs, self.fc):
            initialize_layer(layer, init, 2**0.5)
        first, block = layers[0], pixels["block"]
        self.in_blocks = not (first.same or first.kernel % block or first.stride % block)

    def pack(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return weight and bias of every layer, in `dtype` and in the layout that `forward` needs."""
        first, *others = self.convs if self.fc is None else (*self.convs, self.fc)
        weight = scale_weight(first.weight, self.zero_mean)
        if self.in_blocks:
            weight = self._arrange_kernel_in_blocks(weight)
        layers = [(weight, first.bias), *((layer.weight, layer.bias) for layer in others)]
        return [pack_layer(weight, bias, self.dtype) for weight, bias in layers]

    def forward(self, obs: torch.Tensor, packed: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return features, fp32 [B, size], for observations, uint8 [B, h, w, d] stacks in blocks."""
        block = self.pixels["block"] if self.in_blocks else 1
        pixels = obs if self.in_blocks else unpack_blocks(obs, self.pixels)
        x = convert_pixels(pixels, self.dtype, self.zero_mean).permute(0, 3, 1, 2)
        for (weight, bias), layer in zip(packed, self.layers, strict=False):
            (top, bottom), (left, right) = (layer.compute_padding(side) for side in x.shape[-2:])
            if top < bottom or left < right:  # conv2d pads both sides equally only
                x, top, left = F.pad(x, (left, right, top, bottom)), 0, 0
            x = self.activate(F.conv2d(x, weight, bias, layer.stride // block, (top, left)))
            block = 1
        x = x.permute(0, 2, 3, 1).flatten(1)  # [B, y * x * filters]
        return (x if self.fc is None else self.activate(F.linear(x, *packed[-1]))).float()

    def _arrange_kernel_in_blocks(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the first convolution's weight for input in blocks, from its weight for pixels."""
        p, filters, cells = self.pixels, len(weight), weight.shape[-1] // self.pixels["block"]
        weight = weight.view(filters, p["stack"], p["channels"], cells, p["block"], cells, p["block"])
        return weight.permute(0, 1, 4, 6, 2, 3, 5).reshape(filters, -1, cells, cells)


class ResidualTorso(nn.Module):
    """Sections of a convolution, a maximum over 3x3 and two residual blocks; then one fully connected layer.

    The maximum has stride 2, so each section halves the picture, rounding up. As in TorchBeast the maximum is centred;
    the paper's own code, with TensorFlow's "same", is one pixel further to the right and down where a side is even.

    Args:
        sections: filters of each section.
        pixels, hidden, activation, init, dtype, zero_mean: as in ConvTorso.
    """

    def __init__(
        self,
        pixels: dict,
        sections: Sequence[int],
        hidden: int,
        activation: str,
        init: str,
        dtype: torch.dtype,
        zero_mean: bool = False,
    ):
        super().__init__()
        self.pixels, self.dtype, self.zero_mean, self.size = pixels, dtype, zero_mean, hidden
        self.activate, self.activate_copy = ACTIVATIONS[activation], COPYING_ACTIVATIONS[activation]
        depth, (height, width) = pixels["stack"] * pixels["channels"], read_sides(pixels)
        self.convs: Any = nn.ModuleList()  # five per section: one, and two of each block
        for filters in sections:
            self.convs.append(nn.Conv2d(depth, filters, 3, padding=1))
            self.convs.extend(nn.Conv2d(filters, filters, 3, padding=1) for _ in range(4))
            depth, height, width = filters, -(-height // 2), -(-width // 2)
        self.fc = nn.Linear(height * width * depth, hidden)  # columns in the order y, x, filter
        for layer in (*self.convs, self.fc):
            initialize_layer(layer, init, 2**0.5)

    def pack(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return weight and bias of every layer, in `dtype` and in the layout that `forward` needs."""
        first, *others = *self.convs, self.fc
        weight = scale_weight(first.weight, self.zero_mean)
        layers = [(weight, first.bias), *((layer.weight, layer.bias) for layer in others)]
        return [pack_layer(weight, bias, self.dtype) for weight, bias in layers]

    def forward(self, obs: torch.Tensor, packed: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return features, fp32 [B, hidden], for observations, uint8 [B, h, w, d] stacks in blocks."""
        pixels = unpack_blocks(obs, self.pixels)
        x = convert_pixels(pixels, self.dtype, self.zero_mean).permute(0, 3, 1, 2)
        *convs, fc = packed
        for first in range(0, len(convs), 5):
            x = F.max_pool2d(F.conv2d(x, *convs[first], padding=1), 3, 2, 1)
            for block in (first + 1, first + 3):
                h = self.activate(F.conv2d(self.activate_copy(x), *convs[block], padding=1))
                x = F.conv2d(h, *convs[block + 1], padding=1).add_(x)
        x = self.activate(x).permute(0, 2, 3, 1).flatten(1)  # [B, y * x * filters]
        return self.activate(F.linear(x, *fc)).float()


class MLPTorso(nn.Module):
    """Fully connected layers. Pixels are scaled and flattened.

    Args:
        input_size: numbers in one observation.
        hidden: width of each layer.
        activation, init, dtype, zero_mean: as in ConvTorso.
    """

    def __init__(
        self,
        input_size: int,
        hidden: Sequence[int],
        activation: str,
        init: str,
        dtype: torch.dtype,
        zero_mean: bool = False,
    ):
        super().__init__()
        self.dtype, self.zero_mean, self.activate, self.size = dtype, zero_mean, ACTIVATIONS[activation], hidden[-1]
        sizes = [input_size, *hidden]
        self.layers: Any = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:], strict=False))
        for layer in self.layers:
            initialize_layer(layer, init, 2**0.5)

    def pack(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Return weight and bias of every layer, in `dtype`."""
        return [(layer.weight.to(self.dtype), layer.bias.to(self.dtype)) for layer in self.layers]

    def forward(self, obs: torch.Tensor, packed: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """Return features, fp32 [B, hidden[-1]], for observations [B, ...]."""
        x = obs.reshape(obs.shape[0], -1)  # not len(obs), which torch would take for a constant where it traces
        if obs.dtype == torch.uint8:
            x = convert_pixels(x, self.dtype, self.zero_mean) / (128 if self.zero_mean else 255)
        else:
            x = x.to(self.dtype)
        for weight, bias in packed:
            x = self.activate(F.linear(x, weight, bias))
        return x.float()
