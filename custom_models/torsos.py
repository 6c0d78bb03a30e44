"""Torsos: from an observation to features. Plain torch, and nothing of RLlib.

Parameters keep their ordinary fp32 layout, so that checkpoints are portable; `pack` lays them out for speed,
differentiably, and `forward` computes with what `pack` made. Acting packs once per rollout, training inside every
forward pass.

    stack uint8 [B, 21, 21, 64] -> conv, conv, conv -> fc -> features fp32 [B, hidden]
"""

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

NHWC = torch.channels_last
# In place where autograd allows it: an activation's own output is all that its gradient needs.
ACTIVATIONS: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {"relu": F.relu_, "elu": F.elu_, "tanh": torch.tanh_}


def initialize(layer: nn.Linear | nn.Conv2d, init: str, gain: float) -> None:
    """Fill a layer: `orthogonal` (Huang et al. 2022, detail 2), `he_uniform` (the slides), `torch` (its default)."""
    if init == "orthogonal":
        nn.init.orthogonal_(layer.weight, gain)
    elif init == "he_uniform":
        nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")
    if init != "torch" and layer.bias is not None:
        nn.init.zeros_(layer.bias)


class ConvTorso(nn.Module):
    """Convolutions without padding, then one fully connected layer.

    The first convolution is computed on 4x4 blocks of pixels where its kernel and stride allow it (see
    environments/frames.py); otherwise the blocks are taken apart first.

    Args:
        pixels: dim, channels, stack and block of the pictures.
        layers: (filters, kernel, stride) of each convolution.
        hidden: features that come out.
        activation: after every layer.
        init: of every layer.
        dtype: that convolutions and the fully connected layer compute in.
    """

    def __init__(
        self,
        pixels: dict,
        layers: Sequence[tuple[int, int, int]],
        hidden: int,
        activation: str,
        init: str,
        dtype: torch.dtype,
    ):
        super().__init__()
        self.pixels, self.dtype, self.activate = pixels, dtype, ACTIVATIONS[activation]
        self.size = hidden
        depth, side = pixels["stack"] * pixels["channels"], pixels["dim"]
        self.convs: Any = nn.ModuleList()
        for filters, kernel, stride in layers:
            self.convs.append(nn.Conv2d(depth, filters, kernel, stride))
            depth, side = filters, (side - kernel) // stride + 1
        self.fc = nn.Linear(side * side * depth, hidden)  # columns in the order y, x, filter
        for layer in (*self.convs, self.fc):
            initialize(layer, init, 2**0.5)
        _, kernel, stride = layers[0]
        self.in_blocks = kernel % pixels["block"] == 0 and stride % pixels["block"] == 0

    def pack(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of every layer, in `dtype` and in the layout that `forward` wants."""
        packed = []
        for index, conv in enumerate(self.convs):
            weight = conv.weight
            if index == 0:
                weight = weight / 255  # pixels arrive as bytes; the stored parameter is not scaled
                if self.in_blocks:
                    weight = self._kernel_in_blocks(weight)
            packed.append((weight.to(self.dtype).contiguous(memory_format=NHWC), conv.bias.to(self.dtype)))
        packed.append((self.fc.weight.to(self.dtype), self.fc.bias.to(self.dtype)))
        return packed

    def forward(self, obs: torch.Tensor, packed: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """obs: uint8 [B, h, w, d] stacks in blocks -> features fp32 [B, hidden]."""
        block = self.pixels["block"] if self.in_blocks else 1
        x = (obs if self.in_blocks else self._pixels(obs)).to(self.dtype).permute(0, 3, 1, 2)
        for (weight, bias), conv in zip(packed, self.convs, strict=False):
            x = self.activate(F.conv2d(x, weight, bias, conv.stride[0] // block))
            block = 1
        x = x.permute(0, 2, 3, 1).reshape(len(x), -1)  # [B, y * x * filters]
        return self.activate(F.linear(x, *packed[-1])).float()

    def _kernel_in_blocks(self, weight: torch.Tensor) -> torch.Tensor:
        p, filters, cells = self.pixels, len(weight), weight.shape[-1] // self.pixels["block"]
        weight = weight.view(filters, p["stack"], p["channels"], cells, p["block"], cells, p["block"])
        return weight.permute(0, 1, 4, 6, 2, 3, 5).reshape(filters, -1, cells, cells)

    def _pixels(self, obs: torch.Tensor) -> torch.Tensor:
        p = self.pixels
        side = p["dim"] // p["block"]
        x = obs.view(len(obs), side, side, p["stack"], p["block"], p["block"], p["channels"])
        return x.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(obs), p["dim"], p["dim"], -1)


class MLPTorso(nn.Module):
    """Fully connected layers. Pixels are divided by 255 and flattened.

    Args:
        input_size: numbers in one observation.
        hidden: width of each layer.
        activation, init, dtype: as in ConvTorso.
    """

    def __init__(self, input_size: int, hidden: Sequence[int], activation: str, init: str, dtype: torch.dtype):
        super().__init__()
        self.dtype, self.activate, self.size = dtype, ACTIVATIONS[activation], hidden[-1]
        sizes = [input_size, *hidden]
        self.layers: Any = nn.ModuleList(nn.Linear(i, o) for i, o in zip(sizes, sizes[1:], strict=False))
        for layer in self.layers:
            initialize(layer, init, 2**0.5)

    def pack(self) -> list[tuple[torch.Tensor, torch.Tensor]]:
        """Weight and bias of every layer, in `dtype`."""
        return [(layer.weight.to(self.dtype), layer.bias.to(self.dtype)) for layer in self.layers]

    def forward(self, obs: torch.Tensor, packed: list[tuple[torch.Tensor, torch.Tensor]]) -> torch.Tensor:
        """obs: [B, ...] -> features fp32 [B, hidden[-1]]."""
        x = obs.reshape(len(obs), -1).to(self.dtype)
        if obs.dtype == torch.uint8:
            x = x / 255
        for weight, bias in packed:
            x = self.activate(F.linear(x, weight, bias))
        return x.float()
