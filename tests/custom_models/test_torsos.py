"""Torsos: fast layouts, ordinary networks."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from custom_models.actor_critic import NATURE
from custom_models.torsos import ConvTorso, MLPTorso
from environments.frames import FrameLayout, to_blocks

LAYOUTS = {"gray": FrameLayout(84, 1, 4), "rgb": FrameLayout(84, 3, 2), "dim42": FrameLayout(42, 3, 4)}


def conv_torso(layout: FrameLayout, dtype=torch.float32, init="torch", layers=NATURE, activation="relu") -> ConvTorso:
    torch.manual_seed(0)
    return ConvTorso(layout._asdict() | {"block": layout.block}, layers, 32, activation, init, dtype)


def stacks(layout: FrameLayout, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """The same pictures twice: in blocks, as they travel, and as plain channels [B, stack * channels, y, x]."""
    shape = (batch, layout.stack, layout.dim, layout.dim, layout.channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    blocks = np.empty((layout.stack, batch, *layout.frame_shape), np.uint8)
    for age in range(layout.stack):
        frames = pixels[:, age, None] if layout.channels == 3 else pixels[:, age, None, ..., 0]
        to_blocks(blocks[age], np.ascontiguousarray(frames), layout)
    plain = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).reshape(batch, -1, layout.dim, layout.dim)
    return torch.from_numpy(np.concatenate(blocks, -1)), plain


def plainly(torso: ConvTorso, plain: torch.Tensor) -> torch.Tensor:
    """The network as a textbook has it, with the same parameters."""
    x = plain.float() / 255
    for conv in torso.convs:
        x = F.relu(F.conv2d(x, conv.weight, conv.bias, conv.stride))
    return F.relu(F.linear(x.permute(0, 2, 3, 1).flatten(1), torso.fc.weight, torso.fc.bias))


@pytest.mark.parametrize("name", LAYOUTS)
def test_convolutions_on_blocks_are_convolutions_on_pixels(name):
    torso = conv_torso(LAYOUTS[name])
    blocks, plain = stacks(LAYOUTS[name])
    features = torso(blocks, torso.pack())
    assert features.shape == (3, 32) and features.dtype == torch.float32
    torch.testing.assert_close(features, plainly(torso, plain), atol=1e-4, rtol=1e-4)
    assert features.std() > 0.01


def test_a_kernel_that_does_not_fit_the_blocks_takes_them_apart():
    torso = conv_torso(LAYOUTS["rgb"], layers=[(8, 7, 3), (8, 4, 2)])
    assert not torso.in_blocks
    blocks, plain = stacks(LAYOUTS["rgb"])
    torch.testing.assert_close(torso(blocks, torso.pack()), plainly(torso, plain), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("name", LAYOUTS)
def test_gradients_on_blocks_are_gradients_on_pixels(name):
    torso = conv_torso(LAYOUTS[name])
    blocks, plain = stacks(LAYOUTS[name])
    ours = torch.autograd.grad(torso(blocks, torso.pack()).square().sum(), list(torso.parameters()))
    reference = torch.autograd.grad(plainly(torso, plain).square().sum(), list(torso.parameters()))
    for (parameter, _), mine, theirs in zip(torso.named_parameters(), ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-4, rtol=1e-3, msg=parameter)
        assert mine.abs().sum() > 0, parameter


def test_bfloat16_is_close_to_float32():
    blocks, plain = stacks(LAYOUTS["gray"])
    torso = conv_torso(LAYOUTS["gray"], torch.bfloat16)
    features, exact = torso(blocks, torso.pack()), plainly(torso, plain)
    assert features.dtype == torch.float32
    assert (features - exact).norm() / exact.norm() < 0.02
    assert not torch.equal(features, exact)  # it did compute in another dtype
    assert all(p.dtype == torch.float32 for p in torso.parameters())


def test_a_pack_is_made_once_and_stays_what_it_was():
    torso = conv_torso(LAYOUTS["gray"])
    blocks, _ = stacks(LAYOUTS["gray"])
    with torch.no_grad():
        packed = torso.pack()
        before = torso(blocks, packed)
        torch.testing.assert_close(torso(blocks, packed), before, atol=0, rtol=0)


def test_a_dense_torso_divides_pixels_by_255_and_numbers_by_nothing():
    torch.manual_seed(0)
    torso = MLPTorso(12, [8, 5], "tanh", "torch", torch.float32)
    pixels = torch.randint(0, 256, (6, 2, 2, 3), dtype=torch.uint8)
    first, second = torso.layers

    def plain(x: torch.Tensor) -> torch.Tensor:
        return torch.tanh(second(torch.tanh(first(x.flatten(1)))))

    torch.testing.assert_close(torso(pixels, torso.pack()), plain(pixels / 255))
    numbers = torch.randn(6, 12)
    torch.testing.assert_close(torso(numbers, torso.pack()), plain(numbers))
    torch.testing.assert_close(torso(numbers.double(), torso.pack()), plain(numbers))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize(("activation", "function"), [("relu", F.relu), ("elu", F.elu), ("tanh", torch.tanh)])
def test_activations_are_what_they_are_called(activation, function, dtype):
    torso = MLPTorso(3, [3], activation, "torch", dtype)
    torch.nn.init.eye_(torso.layers[0].weight)
    torch.nn.init.zeros_(torso.layers[0].bias)
    x = torch.tensor([[-2.0, 0.5, 1.0]], dtype=dtype)
    torch.testing.assert_close(torso(x, torso.pack()), function(x).float())


def test_orthogonal_layers_are_orthogonal_with_gain_root_two():
    torso = conv_torso(LAYOUTS["gray"], init="orthogonal")
    for layer in (*torso.convs, torso.fc):
        weight = layer.weight.flatten(1)
        torch.testing.assert_close(weight @ weight.T, 2 * torch.eye(len(weight)), atol=1e-4, rtol=0)
        assert (layer.bias == 0).all()


def test_he_uniform_fills_plus_minus_root_six_over_fan_in():
    torch.manual_seed(0)
    layer = MLPTorso(600, [512], "elu", "he_uniform", torch.float32).layers[0]
    bound = math.sqrt(6 / 600)
    assert 0.99 * bound < layer.weight.abs().max() <= bound
    torch.testing.assert_close(layer.weight.std(), torch.tensor(bound / math.sqrt(3)), atol=0, rtol=0.01)
    assert (layer.bias == 0).all()
