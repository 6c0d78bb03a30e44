"""A torso of two fully connected layers, each followed by a LayerNorm: model.torso=layer_norm_torso:LayerNormTorso."""

import math

import torch
from torch import nn


class LayerNormTorso(nn.Module):
    """obs [B, *shape] -> flatten -> (linear, LayerNorm, tanh) x 2 -> features [B, width]"""

    def __init__(self, model: dict, shape: tuple[int, ...]):
        super().__init__()
        self.size = model.get("width", 64)
        self.layers = nn.Sequential(
            nn.Flatten(),
            nn.Linear(math.prod(shape), self.size),
            nn.LayerNorm(self.size),
            nn.Tanh(),
            nn.Linear(self.size, self.size),
            nn.LayerNorm(self.size),
            nn.Tanh(),
        )

    def forward(self, obs: torch.Tensor) -> torch.Tensor:
        return self.layers(obs)
