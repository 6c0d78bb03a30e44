"""The exported network gives the numbers of the suite's own, whatever the model, the format and the number of games."""

import warnings

import gymnasium
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from custom_models.actor_critic import ActorCritic
from custom_models.q_network import EVALUATION_EPSILON, QNetwork
from environments.frames import FrameLayout, to_blocks
from exports.commands import PACKAGES
from exports.exported_network import ExportedNetwork
from exports.policy_file import NAMES, run_policy, write_policy
from settings.mistakes import Mistake

NUMBERS = Box(-1, 1, (4,), np.float32)
SHARED = {"activation": "relu", "init": "orthogonal", "zero_mean": False, "shared_trunk": True, "lstm_size": None}
SHARED |= {"dtype": "float32"}
GRAY, COLOURS, SMALL = FrameLayout(84, 1, 4), FrameLayout(84, 3, 2), FrameLayout(42, 1, 4)
MODELS = {
    "nature_cnn": (GRAY, {"torso": "nature_cnn", "hidden": 512}),
    "two-torsos-zero-mean": (GRAY, {"torso": "nature_cnn", "hidden": 32, "zero_mean": True, "shared_trunk": False}),
    "colours": (COLOURS, {"torso": "a3c_cnn", "hidden": 32, "activation": "tanh"}),
    "impala": (GRAY, {"torso": "impala", "hidden": 256}),
    "cnn42": (SMALL, {"torso": "cnn42", "hidden": None, "activation": "elu"}),
    "nature_lstm": (GRAY, {"torso": "nature_cnn", "hidden": 256, "lstm_size": 256}),
    "dense": (GRAY, {"torso": "mlp", "hidden": [16]}),
    "mlp": (None, {"torso": "mlp", "hidden": [64, 64], "activation": "tanh", "shared_trunk": False}),
    "mlp_lstm": (None, {"torso": "mlp", "hidden": [64], "activation": "tanh", "lstm_size": 64}),
    "continuous": (None, {"torso": "mlp", "hidden": [64], "activation": "tanh"}),
    "dqn": (GRAY, {"torso": "nature_cnn", "hidden": 64, "dueling": False}),
    "dueling": (None, {"torso": "mlp", "hidden": [16], "dueling": True, "shared_trunk": False}),
}


def make_network(name: str):
    """Return a network of random weights, and the layout of its pictures."""
    layout, model = MODELS[name]
    pixels = {"pixels": layout._asdict() | {"block": layout.block}} if layout else {}
    space = Box(0, 255, layout.stack_shape, np.uint8) if layout else NUMBERS
    actions = Box(-2, 2, (3,), np.float32) if name == "continuous" else Discrete(5)
    torch.manual_seed(3)
    network = (QNetwork if "dueling" in model else ActorCritic)(
        observation_space=space, action_space=actions, model_config=SHARED | model | pixels
    )
    for parameter in network.parameters():  # policies of first weights are nearly uniform, which hides mistakes
        parameter.data += 0.03 * torch.randn_like(parameter)
    return network, layout


def make_observations(layout: FrameLayout | None, rows: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return random observations as other programs have them, and as the suite has them."""
    generator = np.random.default_rng(seed)
    if layout is None:
        numbers = torch.from_numpy(generator.normal(size=(rows, *NUMBERS.shape)).astype(np.float32))
        return numbers, numbers
    colours = (3,) if layout.channels == 3 else ()
    stacks = generator.integers(0, 256, (rows, layout.stack, layout.dim, layout.dim, *colours), np.uint8)
    blocks = np.empty((rows, layout.stack, *layout.frame_shape), np.uint8)
    for age in range(layout.stack):
        frames = np.empty((rows, *layout.frame_shape), np.uint8)
        to_blocks(frames, np.ascontiguousarray(stacks[:, age : age + 1]), layout)
        blocks[:, age] = frames
    side_by_side = np.concatenate([blocks[:, age] for age in range(layout.stack)], -1)
    return torch.from_numpy(stacks), torch.from_numpy(side_by_side)


def describe(network, parameters: torch.Tensor) -> dict[str, torch.Tensor]:
    """Return the outputs that describe a policy, by the suite's own distributions."""
    if isinstance(network, QNetwork):
        shares = torch.full_like(parameters, EVALUATION_EPSILON / parameters.shape[-1])
        best = network.Policy(parameters).mode()
        shares[torch.arange(len(best)), best] += 1 - EVALUATION_EPSILON
        return {"probabilities": shares, "q_values": parameters}
    policy = network.Policy(parameters)
    if network.discrete:
        return {"probabilities": policy.log_probs.exp()}
    return {"mean": policy.mean, "std": policy.log_std.exp()}


@pytest.fixture(scope="module", params=MODELS)
def pair(request):
    """A network of the suite, its exported one, and the layout of its pictures."""
    network, layout = make_network(request.param)
    return network, ExportedNetwork(network), layout


@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_policy_file_has_the_numbers_of_the_network_over_many_steps(pair, format, tmp_path):
    if format == "onnx":
        pytest.importorskip("onnx", reason="pip install onnx onnxruntime")
        pytest.importorskip("onnxruntime", reason="pip install onnx onnxruntime")
    network, exported, layout = pair
    path = write_policy(exported, format, tmp_path)
    assert path.name == NAMES[format]
    for rows in (1, 7):
        state = network.make_initial_state(rows)
        given = {name: x.clone() for name, x in zip(("h", "c"), state, strict=False)}
        for step in range(6 if state else 2):
            ours, blocks = make_observations(layout, rows, seed=step)
            found = run_policy(path, {"observation": ours} | given, exported.outputs)
            with torch.no_grad():
                parameters, value, state = network.act(blocks, network.pack(), state)
            expected = describe(network, parameters) | {"value": value}
            expected |= {f"next_{name}": part for name, part in zip(("h", "c"), state, strict=False)}
            assert found.keys() == expected.keys()
            for name in found:
                assert found[name].dtype == np.float32
                np.testing.assert_allclose(found[name], expected[name], atol=1e-5, rtol=1e-5, err_msg=name)
            given = {name: torch.from_numpy(found[f"next_{name}"]) for name in given}


def test_a_network_of_bf16_is_exported_in_fp32():
    network, layout = make_network("nature_cnn")
    exported = ExportedNetwork(network)
    network.torso.dtype = torch.bfloat16
    rough = ExportedNetwork(network)
    ours, _ = make_observations(layout, 3, seed=0)
    with torch.no_grad():
        for one, other in zip(exported(ours), rough(ours), strict=True):
            torch.testing.assert_close(one, other, atol=0, rtol=0)


@pytest.mark.parametrize(
    "look", [lambda x: 2 if x.sum() > 1e-6 else 1, lambda x: torch.ones(len(x), 1)], ids=["if", "len"]
)
@pytest.mark.parametrize("format", ["onnx", "torchscript"])
def test_a_torso_that_cannot_be_traced_is_refused(look, format, tmp_path):
    """One whose branch depends on numbers (examples are zeros), and one made for as many games as the example has."""
    for package in PACKAGES[format]:
        pytest.importorskip(package, reason="pip install onnx onnxruntime")
    network, _ = make_network("mlp_lstm")
    exported = ExportedNetwork(network)
    torso = exported.network.torso
    forward = torso.forward
    torso.forward = lambda obs, packed: forward(obs, packed) * look(obs)
    with warnings.catch_warnings(), pytest.raises(Mistake, match=f"format={format}"):
        warnings.simplefilter("ignore")
        write_policy(exported, format, tmp_path)


def test_a_policy_of_another_kind_is_refused():
    network, _ = make_network("mlp")
    network.Policy = gymnasium.Space
    with pytest.raises(Mistake, match="Space"):
        ExportedNetwork(network)
