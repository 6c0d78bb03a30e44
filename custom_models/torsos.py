"""Torsos: from an observation to features. Plain torch, and nothing of RLlib.

Parameters keep their ordinary fp32 layout, so that checkpoints are portable; `pack` lays them out for speed,
differentiably, and `forward` computes with what `pack` made. Acting packs once per rollout, training inside every
forward pass.

    stack uint8 [B, 21, 21, 64] -> convolutions -> fully connected -> features fp32 [B, size]

Pixels enter as whole numbers, which bf16 holds exactly, and the first layer's packed weight carries the scale.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from custom_models.convolutions import CONVS, SECTIONS, Conv

NHWC = torch.channels_last
# In place where autograd allows it: an activation's own output is all that its gradient needs.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"relu": F.relu_, "elu": F.elu_, "tanh": torch.tanh_}
# Where the input is needed again.
COPYING: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"relu": F.relu, "elu": F.elu, "tanh": torch.tanh}


def make_torso(model: dict, shape: tuple[int, ...]) -> "ConvTorso | ResidualTorso | MLPTorso":
    """One torso from the `model.` settings, for observations of a shape."""
    torso, dtype = model["torso"], getattr(torch, model["dtype"])
    # Run directories older than zero_mean are without it.
    rest = model["hidden"], model["activation"], model["init"], dtype, model.get("zero_mean", False)
    if torso in CONVS:
        return ConvTorso(model["pixels"], CONVS[torso], *rest)
    if torso in SECTIONS:
        return ResidualTorso(model["pixels"], SECTIONS[torso], *rest)
    return MLPTorso(math.prod(shape), *rest)


def initialize(layer: nn.Linear | nn.Conv2d, init: str, gain: float) -> None:
    """Fill a layer: `orthogonal` (Huang et al. 2022, detail 2), `he_uniform` (the slides), `torch` (its default)."""
    if init == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    elif init == "he_uniform":
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    if init != "torch" and layer.bias is not None:
        nn.init.zeros_(layer.bias)


def whole_numbers(pixels: torch.Tensor, dtype: torch.dtype, zero_mean: bool) -> torch.Tensor:
    """Bytes in `dtype`, 0 to 255 or, around a mean of zero, -128 to 127: exact in bf16 too."""
    x = pixels.to(dtype)
    return x.sub_(128) if zero_mean else x


def scaled(weight: torch.Tensor, zero_mean: bool) -> torch.Tensor:
    """The first layer's weight on `whole_numbers`; the stored parameter is not scaled."""
    return weight / (128 if zero_mean else 255)


def taken_apart(obs: torch.Tensor, pixels: dict) -> torch.Tensor:
    """Stacks in blocks, uint8 [B, h, w, d] -> pixels, uint8 [B, y, x, stack * channels]; see environments/frames.py."""
    dim, block = pixels["dim"], pixels["block"]
    side = dim // block
    x = obs.view(len(obs), side, side, pixels["stack"], block, block, pixels["channels"])
    return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(obs), dim, dim, -1)


def laid_out(weight: torch.Tensor, bias: torch.Tensor, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """A layer's weight and bias as it is computed."""
    weight = weight.to(dtype)
    return weight.contiguous(memory_format=NHWC) if weight.ndim == 4 else weight, bias.to(dtype)


class ConvTorso(nn.Module):
    """Convolutions, then one fully connected layer, or none.

    The first convolution is computed on 4x4 blocks of pixels where its kernel and stride allow it (see
    environments/frames.py); otherwise the blocks are taken apart first.

    Args:
        pixels: dim, channels, stack and block of the pictures.
        layers: the convolutions.
        hidden: features that come out; None for the last convolution's maps, flattened.
        activation: after every layer.
        init: of every layer.
        dtype: that convolutions and the fully connected layer compute in.
        zero_mean: pixels from -1 to 1 instead of 0 to 1.
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
        depth, side = pixels["stack"] * pixels["channels"], pixels["dim"]
        self.convs: Any = nn.ModuleList()
        for layer in layers:
            self.convs.append(nn.Conv2d(depth, layer.filters, layer.kernel, layer.stride))
            depth, side = layer.filters, layer.side(side)
        self.size = hidden or side * side * depth
        self.fc = nn.Linear(side * side * depth, hidden) if hidden else None  # columns in the order y, x, filter
        for layer in self.convs if self.fc is None else (*self.convs, self.fc):
            initialize(layer, init, 2**0.5)
        first, block = layers[0], pixels["block"]
        self.in_blocks = not (first.same or first.kernel % block or first.stride % block)

    def pack(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of every layer, in `dtype` and in the layout that `forward` wants."""
        first, *others = self.convs if self.fc is None else (*self.convs, self.fc)
        weight = scaled(first.weight, self.zero_mean)
        if self.in_blocks:
            weight = self._kernel_in_blocks(weight)
        layers = [(weight, first.bias), *((layer.weight, layer.bias) for layer in others)]
        return [laid_out(weight, bias, self.dtype) for weight, bias in layers]

    def forward(self, obs: torch.Tensor, packed: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """obs: uint8 [B, h, w, d] stacks in blocks -> features fp32 [B, size]."""
        block = self.pixels["block"] if self.in_blocks else 1
        pixels = obs if self.in_blocks else taken_apart(obs, self.pixels)
        x = whole_numbers(pixels, self.dtype, self.zero_mean).permute(0, 3, 1, 2)
        for (weight, bias), layer in zip(packed, self.layers, strict=False):
            before, after = layer.padding(x.shape[-1])
            if before < after:  # what conv2d cannot do itself
                x, before = F.pad(x, (before, after, before, after)), 0
            x = self.activate(F.conv2d(x, weight, bias, layer.stride // block, before))
            block = 1
        x = x.permute(0, 2, 3, 1).reshape(len(x), -1)  # [B, y * x * filters]
        return (x if self.fc is None else self.activate(F.linear(x, *packed[-1]))).float()

    def _kernel_in_blocks(self, weight: torch.Tensor) -> torch.Tensor:
        p, filters, cells = self.pixels, len(weight), weight.shape[-1] // self.pixels["block"]
        weight = weight.view(filters, p["stack"], p["channels"], cells, p["block"], cells, p["block"])
        return weight.permute(0, 1, 4, 6, 2, 3, 5).reshape(filters, -1, cells, cells)


class ResidualTorso(nn.Module):
    """Sections of a convolution, a maximum over 3x3 and two residual blocks; then one fully connected layer.

    The maximum has stride 2, so each section halves the picture, rounding up. As in TorchBeast the maximum is centred;
    the paper's own code, with TensorFlow's "same", looks one pixel further to the right and down where a side is even.

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
        self.activate, self.activate_copy = ACTIVATIONS[activation], COPYING[activation]
        depth, side = pixels["stack"] * pixels["channels"], pixels["dim"]
        self.convs: Any = nn.ModuleList()  # five per section: its own, and two of each block
        for filters in sections:
            self.convs.append(nn.Conv2d(depth, filters, 3, padding=1))
            self.convs.extend(nn.Conv2d(filters, filters, 3, padding=1) for _ in range(4))
            depth, side = filters, -(-side // 2)
        self.fc = nn.Linear(side * side * depth, hidden)  # columns in the order y, x, filter
        for layer in (*self.convs, self.fc):
            initialize(layer, init, 2**0.5)

    def pack(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of every layer, in `dtype` and in the layout that `forward` wants."""
        first, *others = *self.convs, self.fc
        weight = scaled(first.weight, self.zero_mean)
        layers = [(weight, first.bias), *((layer.weight, layer.bias) for layer in others)]
        return [laid_out(weight, bias, self.dtype) for weight, bias in layers]

    def forward(self, obs: torch.Tensor, packed: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """obs: uint8 [B, h, w, d] stacks in blocks -> features fp32 [B, hidden]."""
        pixels = taken_apart(obs, self.pixels)
        x = whole_numbers(pixels, self.dtype, self.zero_mean).permute(0, 3, 1, 2)
        *convs, fc = packed
        for first in range(0, len(convs), 5):
            x = F.max_pool2d(F.conv2d(x, *convs[first], padding=1), 3, 2, 1)
            for block in (first + 1, first + 3):
                h = self.activate(F.conv2d(self.activate_copy(x), *convs[block], padding=1))
                x = F.conv2d(h, *convs[block + 1], padding=1).add_(x)
        x = self.activate(x).permute(0, 2, 3, 1).reshape(len(x), -1)  # [B, y * x * filters]
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
            initialize(layer, init, 2**0.5)

    def pack(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of every layer, in `dtype`."""
        return [(layer.weight.to(self.dtype), layer.bias.to(self.dtype)) for layer in self.layers]

    def forward(self, obs: torch.Tensor, packed: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """obs: [B, ...] -> features fp32 [B, hidden[-1]]."""
        x = obs.reshape(len(obs), -1)
        if obs.dtype == torch.uint8:
            x = whole_numbers(x, self.dtype, self.zero_mean) / (128 if self.zero_mean else 255)
        else:
            x = x.to(self.dtype)
        for weight, bias in packed:
            x = self.activate(F.linear(x, weight, bias))
        return x.float()
