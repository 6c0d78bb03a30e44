"""The RLModule: two heads on a torso or on two, and RLlib's interface to the same computation."""

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ray.rllib.core.columns import Columns

from custom_models.actor_critic import ActorCritic
from custom_models.distributions import Categorical, Gaussian
from runs.build import model_config

NUMBERS = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
PIXELS = gymnasium.spaces.Box(0, 255, (21, 21, 64), np.uint8)


@pytest.fixture
def make_module(compose):
    """Overrides and spaces -> ActorCritic."""

    def make(*overrides: str, observations=NUMBERS, actions=None) -> ActorCritic:
        torch.manual_seed(0)
        return ActorCritic(
            observation_space=observations,
            action_space=actions or gymnasium.spaces.Discrete(3),
            model_config=model_config(compose(overrides)),
        )

    return make


def some(space: gymnasium.spaces.Box, batch: int = 5) -> torch.Tensor:
    rng = np.random.default_rng(0)
    if space.dtype == np.uint8:
        return torch.from_numpy(rng.integers(0, 256, (batch, *space.shape), np.uint8))
    return torch.from_numpy(rng.normal(size=(batch, *space.shape)).astype(np.float32))


MODELS = {
    "mlp": (("env=cartpole",), NUMBERS),
    "mlp, shared": (("env=cartpole", "model.shared_trunk=true"), NUMBERS),
    "nature_cnn": (("model.hidden=16",), PIXELS),
    "nature_cnn, separate": (("model.hidden=16", "model.shared_trunk=false"), PIXELS),
    "dense512": (("model=dense512",), PIXELS),
}


@pytest.fixture(params=MODELS)
def module(request, make_module):
    overrides, observations = MODELS[request.param]
    return make_module(*overrides, "model.dtype=float32", observations=observations)


def test_gradients_reach_every_parameter(module):
    policy, values = module.policy_and_value(some(module.observation_space), module.pack())
    assert policy.shape == (5, 3) and values.shape == (5,)
    (policy.square().sum() + values.square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_heads_are_linear_functions_of_the_features(module):
    obs = some(module.observation_space)
    policy, values = module.policy_and_value(obs, module.pack())
    features = module.torso(obs, module.torso.pack())
    torch.testing.assert_close(policy, module.policy(features))
    if module.value_torso is not None:
        features = module.value_torso(obs, module.value_torso.pack())
    torch.testing.assert_close(values, module.value(features)[:, 0])


def test_rllibs_interface_is_the_same_computation(module):
    obs = some(module.observation_space)
    policy, values = module.policy_and_value(obs, module.pack())
    batch = {Columns.OBS: obs}
    for forward in (module.forward_train, module.forward_inference, module.forward_exploration):
        out = forward(dict(batch))
        torch.testing.assert_close(out[Columns.ACTION_DIST_INPUTS], policy)
        torch.testing.assert_close(module.compute_values(batch, out[Columns.EMBEDDINGS]), values)
    torch.testing.assert_close(module.compute_values(batch), values)


def test_separate_trunks_do_not_touch_each_other(make_module):
    obs = some(NUMBERS)
    for shared in (True, False):
        module = make_module("env=cartpole", f"model.shared_trunk={str(shared).lower()}")
        module.policy_and_value(obs, module.pack())[1].sum().backward()
        assert all((p.grad is not None and p.grad.abs().sum() > 0) == shared for p in module.torso.parameters())
        assert (module.value_torso is None) == shared


def test_the_slides_model_is_dense_512_elu_he_uniform(make_module):
    module = make_module("model=dense512", "model.dtype=float32", observations=PIXELS)
    (layer,) = module.torso.layers
    assert layer.weight.shape == (512, 21 * 21 * 64)
    obs = some(PIXELS, 2)
    features = F.elu(F.linear(obs.flatten(1) / 255, layer.weight, layer.bias))
    torch.testing.assert_close(module.torso(obs, module.torso.pack()), features, atol=1e-4, rtol=1e-4)
    for linear in (layer, module.policy, module.value):
        bound = (6 / linear.in_features) ** 0.5
        assert 0.9 * bound < linear.weight.abs().max() <= bound


def test_the_policy_begins_almost_uniform(make_module):
    module = make_module("model.hidden=64", observations=PIXELS)
    policy, values = module.policy_and_value(some(PIXELS), module.pack())
    assert (policy.softmax(-1) - 1 / 3).abs().max() < 0.01
    assert module.policy.weight.norm(dim=1).tolist() == pytest.approx([0.01] * 3, rel=1e-4)
    assert module.value.weight.norm().item() == pytest.approx(1, rel=1e-4)


def test_nature_cnn_is_the_paper_s(make_module):
    module = make_module(observations=PIXELS)
    shapes = [tuple(conv.weight.shape) for conv in module.torso.convs]
    assert shapes == [(32, 4, 8, 8), (64, 32, 4, 4), (64, 64, 3, 3)]
    assert [conv.stride for conv in module.torso.convs] == [(4, 4), (2, 2), (1, 1)]
    assert tuple(module.torso.fc.weight.shape) == (512, 3136)
    assert sum(p.numel() for p in module.parameters()) == 1_684_128 + 512 * 4 + 4


def test_heads_are_float32_on_a_bfloat16_torso(make_module):
    exact = make_module("model.dtype=float32", observations=PIXELS)
    rounded = make_module("model.dtype=bfloat16", observations=PIXELS)
    rounded.load_state_dict(exact.state_dict())
    obs = some(PIXELS)
    for ours, reference in zip(
        rounded.policy_and_value(obs, rounded.pack()), exact.policy_and_value(obs, exact.pack()), strict=True
    ):
        assert ours.dtype == torch.float32
        assert (ours - reference).norm() / reference.norm() < 0.03


def test_a_box_of_actions_has_a_gaussian_whose_spread_does_not_depend_on_what_is_seen(make_module):
    actions = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
    module = make_module("env=pendulum", actions=actions)
    policy, _ = module.policy_and_value(some(NUMBERS), module.pack())
    assert module.Policy is Gaussian and policy.shape == (5, 4)
    assert (policy[:, 2:] == 0).all()  # a standard deviation of 1 at first
    with torch.no_grad():
        module.log_std[:] = torch.tensor([-1.0, 2.0])
    policy, _ = module.policy_and_value(some(NUMBERS), module.pack())
    torch.testing.assert_close(policy[:, 2:], torch.tensor([[-1.0, 2.0]]).expand(5, 2))
    module.policy_and_value(some(NUMBERS), module.pack())[0].sum().backward()
    torch.testing.assert_close(module.log_std.grad, torch.tensor([5.0, 5.0]))


def test_a_choice_of_actions_has_a_categorical(make_module):
    module = make_module("env=cartpole")
    assert module.Policy is Categorical and module.log_std is None


def test_weights_survive_rllibs_checkpoint(make_module, tmp_path):
    module = make_module("env=cartpole")
    module.save_to_path(tmp_path / "module")
    other = make_module("env=cartpole")
    for parameter in other.parameters():
        torch.nn.init.ones_(parameter)
    other.restore_from_path(tmp_path / "module")
    for mine, theirs in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)
