"""Torsos: fast layouts, ordinary networks."""

import copy
import math

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F

from custom_models.convolutions import CONVS, SECTIONS, Conv, compute_smallest_dim
from custom_models.torsos import ConvTorso, MLPTorso, ResidualTorso
from environments.frames import FrameLayout, to_blocks
from settings.models import CNNS, RESNETS

LAYOUTS = {"gray": FrameLayout(84, 1, 4), "rgb": FrameLayout(84, 3, 2), "dim42": FrameLayout(42, 3, 4)}
LAYOUTS |= {"dim43": FrameLayout(43, 1, 3), "dim50": FrameLayout(50, 3, 1)}
LAYOUTS |= {"wide": FrameLayout(40, 3, 2, 53), "high": FrameLayout(47, 1, 1, 38)}  # of other environments than ALE's
TORSOS = (*CONVS, *SECTIONS)


def make_torso(
    name: str, layout: FrameLayout, dtype=torch.float32, init="torch", activation="relu", hidden=32, zero_mean=False
) -> ConvTorso | ResidualTorso:
    torch.manual_seed(0)
    kind, layers = (ConvTorso, CONVS[name]) if name in CONVS else (ResidualTorso, SECTIONS[name])
    pixels = layout._asdict() | {"block": layout.block}
    return kind(pixels, layers, hidden, activation, init, dtype, zero_mean)


def test_the_torsos_one_can_choose_are_those_that_are_built():
    assert tuple(CONVS) == CNNS and tuple(SECTIONS) == RESNETS


def stacks(layout: FrameLayout, batch: int = 3) -> tuple[torch.Tensor, torch.Tensor]:
    """The same pictures twice: in blocks, as they travel, and as plain channels [B, stack * channels, y, x]."""
    height, width, channels = layout.picture_shape
    shape = (batch, layout.stack, height, width, channels)
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    blocks = np.empty((layout.stack, batch, *layout.frame_shape), np.uint8)
    for age in range(layout.stack):
        if layout.width:
            blocks[age] = pixels[:, age]
            continue
        frames = pixels[:, age, None] if layout.channels == 3 else pixels[:, age, None, ..., 0]
        to_blocks(blocks[age], np.ascontiguousarray(frames), layout)
    plain = torch.from_numpy(pixels).permute(0, 1, 4, 2, 3).reshape(batch, -1, height, width)
    return torch.from_numpy(np.concatenate(blocks, -1)), plain


def plainly(name: str, torso, plain: torch.Tensor, activate=F.relu) -> torch.Tensor:
    """The network as its paper has it, with the same parameters, on pixels; in float64, which no CPU rounds visibly."""
    torso = copy.deepcopy(torso).double()
    return apply_plainly(name, torso, plain, activate).float()


def apply_plainly(name: str, torso, plain: torch.Tensor, activate=F.relu) -> torch.Tensor:
    """The same with the parameters that are given, in their dtype."""
    x = plain.to(torso.convs[0].weight.dtype)
    x = (x - 128) / 128 if torso.zero_mean else x / 255
    convs = list(torso.convs)
    if name in ("nature_cnn", "a3c_cnn", "minigrid_cnn"):
        for conv, stride in zip(convs, (1, 1, 1) if name == "minigrid_cnn" else (4, 2, 1), strict=False):
            x = activate(F.conv2d(x, conv.weight, conv.bias, stride))
    elif name == "cnn42":  # TensorFlow's "same": nothing before an even side, one after; one and one around an odd side
        for conv in convs[:3]:
            top, left = x.shape[-2] % 2, x.shape[-1] % 2
            x = activate(F.conv2d(F.pad(x, (left, 1, top, 1)), conv.weight, conv.bias, 2))
        x = activate(F.conv2d(x, convs[3].weight, convs[3].bias, 2))
    elif name == "rllib42":  # with a kernel of 4: one and one around an even side, one and two around an odd one
        for conv in convs:
            bottom, right = 1 + x.shape[-2] % 2, 1 + x.shape[-1] % 2
            x = activate(F.conv2d(F.pad(x, (1, right, 1, bottom)), conv.weight, conv.bias, 2))
    else:
        while convs:
            first, *blocks = (convs.pop(0) for _ in range(5))
            x = F.conv2d(F.pad(x, (1, 1, 1, 1)), first.weight, first.bias)
            x = F.max_pool2d(F.pad(x, (1, 1, 1, 1), value=-math.inf), 3, 2)
            for one, two in (blocks[:2], blocks[2:]):
                h = F.conv2d(F.pad(activate(x), (1, 1, 1, 1)), one.weight, one.bias)
                x = x + F.conv2d(F.pad(activate(h), (1, 1, 1, 1)), two.weight, two.bias)
        x = activate(x)
    x = x.permute(0, 2, 3, 1).flatten(1)
    return x if torso.fc is None else activate(F.linear(x, torso.fc.weight, torso.fc.bias))


@pytest.mark.parametrize("zero_mean", [False, True])
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", TORSOS)
def test_a_torso_on_blocks_is_its_paper_s_on_pixels(name, layout, zero_mean):
    torso = make_torso(name, LAYOUTS[layout], zero_mean=zero_mean)
    blocks, plain = stacks(LAYOUTS[layout])
    features = torso(blocks, torso.pack())
    assert features.shape == (3, torso.size) == (3, 32) and features.dtype == torch.float32
    torch.testing.assert_close(features, plainly(name, torso, plain), atol=1e-4, rtol=1e-4)
    assert features.std() > 0.002


@pytest.mark.parametrize("zero_mean", [False, True])
def test_without_a_fully_connected_layer_the_maps_are_the_features(zero_mean):
    for name, layout, size in (("cnn42", "dim42", 128), ("cnn42", "gray", 5 * 5 * 32), ("nature_cnn", "gray", 3136)):
        torso = make_torso(name, LAYOUTS[layout], activation="elu", hidden=None, zero_mean=zero_mean)
        blocks, plain = stacks(LAYOUTS[layout])
        features = torso(blocks, torso.pack())
        assert features.shape == (3, torso.size) == (3, size)
        torch.testing.assert_close(features, plainly(name, torso, plain, F.elu), atol=1e-4, rtol=1e-4)


def test_a_kernel_that_does_not_fit_the_blocks_takes_them_apart():
    layout = LAYOUTS["rgb"]
    assert [make_torso(name, layout).in_blocks for name in CONVS] == [True, True, False, False, False]
    layers = Conv(8, 7, 3), Conv(8, 4, 2)
    torso = ConvTorso(layout._asdict() | {"block": 4}, layers, None, "relu", "torch", torch.float32)
    assert not torso.in_blocks
    blocks, plain = stacks(layout)
    x = plain / 255
    for conv in torso.convs:
        x = F.relu(F.conv2d(x, conv.weight, conv.bias, conv.stride))
    torch.testing.assert_close(torso(blocks, torso.pack()), x.permute(0, 2, 3, 1).flatten(1), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("zero_mean", [False, True])
@pytest.mark.parametrize("layout", ["gray", "dim42"])
@pytest.mark.parametrize("name", TORSOS)
def test_gradients_on_blocks_are_gradients_on_pixels(name, layout, zero_mean):
    """Both in float64: in fp32 two CPUs round differently, and another of two nearly equal pixels is the maximum."""
    torso = make_torso(name, LAYOUTS[layout], torch.float64, zero_mean=zero_mean).double()
    blocks, plain = stacks(LAYOUTS[layout])
    ours = torch.autograd.grad(torso(blocks, torso.pack()).square().sum(), list(torso.parameters()))
    reference = torch.autograd.grad(apply_plainly(name, torso, plain).square().sum(), list(torso.parameters()))
    for (parameter, _), mine, theirs in zip(torso.named_parameters(), ours, reference, strict=True):
        torch.testing.assert_close(mine, theirs, atol=1e-6, rtol=1e-5, msg=parameter)
        assert mine.abs().sum() > 0, parameter


@pytest.mark.parametrize("activation", ["relu", "elu", "tanh"])
def test_every_torso_takes_every_activation(activation):
    function = {"relu": F.relu, "elu": F.elu, "tanh": torch.tanh}[activation]
    blocks, plain = stacks(LAYOUTS["dim42"])
    for name in TORSOS:
        torso = make_torso(name, LAYOUTS["dim42"], activation=activation)
        features = torso(blocks, torso.pack())
        torch.testing.assert_close(features, plainly(name, torso, plain, function), atol=1e-4, rtol=1e-4)
        features.sum().backward()  # in place only where the gradient does not need what was there


@pytest.mark.parametrize("zero_mean", [False, True])
@pytest.mark.parametrize("name", TORSOS)
def test_bfloat16_is_close_to_float32(name, zero_mean):
    blocks, plain = stacks(LAYOUTS["gray"])
    torso = make_torso(name, LAYOUTS["gray"], torch.bfloat16, zero_mean=zero_mean)
    features, exact = torso(blocks, torso.pack()), plainly(name, torso, plain)
    assert features.dtype == torch.float32
    assert (features - exact).norm() / exact.norm() < 0.02
    assert not torch.equal(features, exact)  # it did compute in another dtype
    assert all(p.dtype == torch.float32 for p in torso.parameters())


def test_around_a_picture_is_what_is_zero_after_the_scaling():
    black, gray = torch.zeros(1, 42, 42, 4, dtype=torch.uint8), torch.full((1, 42, 42, 4), 128, dtype=torch.uint8)
    for name in ("cnn42", "impala"):
        for zero_mean, nothing, something in ((False, black, gray), (True, gray, black)):
            torso = make_torso(name, FrameLayout(42, 1, 4), zero_mean=zero_mean, hidden=8)
            for conv in torso.convs:
                torch.nn.init.zeros_(conv.bias)
            torch.nn.init.zeros_(torso.fc.bias)
            assert (torso(nothing, torso.pack()) == 0).all()
            assert (torso(something, torso.pack()) != 0).any()


@pytest.mark.parametrize("dim", [42, 84])
def test_cnn42_is_rllibs_vision_network(dim):
    visionnet = pytest.importorskip("ray.rllib.models.torch.visionnet", reason="RLlib's old models are gone")
    from ray.rllib.models import MODEL_DEFAULTS

    config = MODEL_DEFAULTS | {"conv_filters": [[32, [3, 3], 2]] * 4, "conv_activation": "elu"}
    space = gymnasium.spaces.Box(0, 1, (dim, dim, 4), np.float32)
    theirs = visionnet.VisionNetwork(space, gymnasium.spaces.Discrete(3), None, config, "rllib")
    torso = make_torso("cnn42", FrameLayout(dim, 1, 4), activation="elu", hidden=None)
    convs = [module for module in theirs._convs.modules() if isinstance(module, torch.nn.Conv2d)]
    for mine, other in zip(torso.convs, convs, strict=True):
        mine.load_state_dict(other.state_dict())
    blocks, plain = stacks(FrameLayout(dim, 1, 4))
    with torch.no_grad():
        maps = theirs._convs(plain / 255).unflatten(1, (32, -1)).transpose(1, 2).flatten(1)  # there: filter, y, x
        torch.testing.assert_close(torso(blocks, torso.pack()), maps, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "smallest"),
    [("nature_cnn", 36), ("a3c_cnn", 20), ("cnn42", 17), ("rllib42", 1), ("minigrid_cnn", 4), ("impala", 1)],
)
def test_the_smallest_picture_leaves_one_pixel_and_a_smaller_one_none(name, smallest):
    assert compute_smallest_dim(name) == smallest
    layout = FrameLayout(smallest, 1, 4)
    torso = make_torso(name, layout)
    assert torso.fc.in_features == torso.convs[-1].out_channels
    blocks, plain = stacks(layout)
    torch.testing.assert_close(torso(blocks, torso.pack()), plainly(name, torso, plain), atol=1e-4, rtol=1e-4)
    if name in CONVS:
        side = smallest - 1
        for conv in CONVS[name]:
            side = conv.compute_side(side)
        assert side == 0
    assert compute_smallest_dim("mlp") is None


@pytest.mark.parametrize("name", TORSOS)
def test_a_pack_is_made_once_and_stays_what_it_was(name):
    torso = make_torso(name, LAYOUTS["gray"])
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
    torso.zero_mean = True
    torch.testing.assert_close(torso(pixels, torso.pack()), plain((pixels.float() - 128) / 128))
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
    for name in TORSOS:
        torso = make_torso(name, LAYOUTS["gray"], init="orthogonal")
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
