"""The RLModule: two heads on a torso or on two, a memory between, and RLlib's interface to the same computation."""

import gymnasium
import numpy as np
import pytest
import torch
import torch.nn.functional as F
from ray.rllib.core.columns import Columns

from cluster.plan import make_plan
from custom_models.actor_critic import ActorCritic
from custom_models.distributions import Categorical, Gaussian
from runs.build import make_model_config

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
            model_config=make_model_config(make_plan(compose(overrides))),
        )

    return make


def some(space: gymnasium.spaces.Box, batch: int = 5) -> torch.Tensor:
    rng = np.random.default_rng(0)
    if space.dtype == np.uint8:
        return torch.from_numpy(rng.integers(0, 256, (batch, *space.shape), np.uint8))
    return torch.from_numpy(rng.normal(size=(batch, *space.shape)).astype(np.float32))


SMALL = gymnasium.spaces.Box(0, 255, (42, 42, 4), np.uint8)  # env.dim=42, which is not cut into blocks
MODELS = {
    "mlp": (("env=cartpole",), NUMBERS),
    "mlp, shared": (("env=cartpole", "model.shared_trunk=true"), NUMBERS),
    "nature_cnn": (("model.hidden=16",), PIXELS),
    "nature_cnn, separate": (("model.hidden=16", "model.shared_trunk=false"), PIXELS),
    "a3c_cnn, zero mean": (("model=a3c_cnn", "model.hidden=16", "model.zero_mean=true"), PIXELS),
    "a3c_cnn, separate": (("model=a3c_cnn", "model.shared_trunk=false"), PIXELS),
    "cnn42": (("model=cnn42", "env.dim=42"), SMALL),
    "cnn42, separate": (("model=cnn42", "env.dim=42", "model.hidden=16", "model.shared_trunk=false"), SMALL),
    "rllib42": (("model=rllib42", "env.dim=42"), SMALL),
    "impala": (("model=impala", "env.dim=42", "model.hidden=16"), SMALL),
    "dense512": (("model=dense512",), PIXELS),
}
MEMORIES = {
    "mlp_lstm": (("env=cartpole", "model=mlp_lstm"), NUMBERS),
    "cnn_lstm": (("model=cnn_lstm", "model.lstm_size=16"), PIXELS),
    "nature_lstm": (("model=nature_lstm", "model.lstm_size=16"), PIXELS),
    "cnn42_lstm": (("model=cnn42_lstm", "env.dim=42", "model.lstm_size=16"), SMALL),
    "impala with a memory": (("model=impala", "env.dim=42", "model.lstm_size=16"), SMALL),
    "dense512 with a memory": (("model=dense512", "model.hidden=[16]", "model.lstm_size=8"), PIXELS),
}
T, N = 7, 3


@pytest.fixture(params=MODELS)
def module(request, make_module):
    overrides, observations = MODELS[request.param]
    return make_module(*overrides, "model.dtype=float32", observations=observations)


@pytest.fixture(params=MEMORIES)
def recurrent(request, make_module):
    overrides, observations = MEMORIES[request.param]
    return make_module(*overrides, "model.dtype=float32", observations=observations)


def a_rollout(module: ActorCritic) -> tuple[torch.Tensor, tuple[torch.Tensor, torch.Tensor], torch.Tensor]:
    """Observations [T, N, ...], a state that is not zero, and starts: at the first step, later, two at once."""
    size = module.memory.size
    torch.manual_seed(1)
    starts = torch.zeros(T, N, dtype=torch.bool)
    for t, n in ((0, 1), (3, 0), (3, 1), (5, 2)):
        starts[t, n] = True
    obs = some(module.observation_space, T * N).unflatten(0, (T, N))
    return obs, (torch.randn(N, size), torch.randn(N, size)), starts


def test_gradients_reach_every_parameter(module):
    policy, values = module.compute_policy_and_value(some(module.observation_space), module.pack())
    assert policy.shape == (5, 3) and values.shape == (5,)
    (policy.square().sum() + values.square().sum()).backward()
    for name, parameter in module.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_gradients_reach_every_parameter_of_a_model_with_a_memory(recurrent):
    obs, state, starts = a_rollout(recurrent)
    policy, values = recurrent.unroll(obs, recurrent.pack(), state, starts)
    assert policy.shape == (T, N, 3) and values.shape == (T, N)
    (policy.square().sum() + values.square().sum()).backward()
    for name, parameter in recurrent.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def test_acting_step_by_step_is_the_rollout_at_once(recurrent):
    obs, state, starts = a_rollout(recurrent)
    packed = recurrent.pack()
    policies, values = recurrent.unroll(obs, packed, state, starts)
    for t in range(T):
        state = tuple(torch.where(starts[t, :, None], 0.0, x) for x in state)
        policy, value, state = recurrent.act(obs[t], packed, state)
        torch.testing.assert_close(policy, policies[t], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(value, values[t], atol=1e-5, rtol=1e-4)
        assert policy.dtype == value.dtype == torch.float32
    assert policies.std() > 0 and values.std() > 0


def test_what_was_seen_before_matters_until_a_new_game_starts(recurrent):
    obs, state, starts = a_rollout(recurrent)
    packed = recurrent.pack()
    _, values = recurrent.unroll(obs, packed, state, starts)
    other = obs.clone()
    other[2] = obs[1]
    _, changed = recurrent.unroll(other, packed, state, starts)
    torch.testing.assert_close(changed[3:, :2], values[3:, :2], atol=1e-6, rtol=0)  # games 0 and 1 started at t = 3
    assert (changed[3:5, 2] != values[3:5, 2]).all()  # game 2 went on until t = 5
    torch.testing.assert_close(changed[5:, 2], values[5:, 2], atol=1e-6, rtol=0)


def test_a_model_without_a_memory_acts_on_what_it_sees(module):
    obs, packed = some(module.observation_space), module.pack()
    assert not module.recurrent and module.make_initial_state(5) == ()
    policy, values, state = module.act(obs, packed, ())
    assert state == ()
    for mine, reference in zip((policy, values), module.compute_policy_and_value(obs, packed), strict=True):
        assert torch.equal(mine, reference)


def test_a_model_with_a_memory_needs_a_state(recurrent):
    assert recurrent.recurrent
    for state in recurrent.make_initial_state(N):
        assert state.shape == (N, recurrent.memory.size) and state.dtype == torch.float32 and not state.any()
    with pytest.raises(TypeError, match="call act"):
        recurrent.compute_policy_and_value(some(recurrent.observation_space), recurrent.pack())


def test_heads_are_linear_functions_of_the_features(module):
    obs = some(module.observation_space)
    policy, values = module.compute_policy_and_value(obs, module.pack())
    features = module.torso(obs, module.torso.pack())
    torch.testing.assert_close(policy, module.policy(features))
    if module.value_torso is not None:
        features = module.value_torso(obs, module.value_torso.pack())
    torch.testing.assert_close(values, module.value(features)[:, 0])


def test_rllibs_interface_is_the_same_computation(module):
    obs = some(module.observation_space)
    policy, values = module.compute_policy_and_value(obs, module.pack())
    batch = {Columns.OBS: obs}
    for forward in (module.forward_train, module.forward_inference, module.forward_exploration):
        out = forward(dict(batch))
        torch.testing.assert_close(out[Columns.ACTION_DIST_INPUTS], policy)
        torch.testing.assert_close(module.compute_values(batch, out[Columns.EMBEDDINGS]), values)
    torch.testing.assert_close(module.compute_values(batch), values)


def test_rllibs_interface_to_a_memory_is_the_same_computation(recurrent):
    obs, (h, c), _ = a_rollout(recurrent)
    no_starts = torch.zeros(T, N, dtype=torch.bool)
    policy, values = recurrent.unroll(obs, recurrent.pack(), (h, c), no_starts)
    state = h, c
    for t in range(T):
        *_, state = recurrent.act(obs[t], recurrent.pack(), state)
    batch = {Columns.OBS: obs.transpose(0, 1), Columns.STATE_IN: {"h": h, "c": c}}  # rows of RLlib are [B, T]
    for forward in (recurrent.forward_train, recurrent.forward_inference, recurrent.forward_exploration):
        out = forward(dict(batch))
        torch.testing.assert_close(out[Columns.ACTION_DIST_INPUTS], policy.transpose(0, 1))
        torch.testing.assert_close(recurrent.compute_values(batch, out[Columns.EMBEDDINGS]), values.transpose(0, 1))
        torch.testing.assert_close(out[Columns.STATE_OUT]["h"], state[0], atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(out[Columns.STATE_OUT]["c"], state[1], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(recurrent.compute_values(batch), values.transpose(0, 1))


def test_rllib_knows_which_model_has_a_state(make_module):
    plain, memory = make_module("env=cartpole"), make_module("env=cartpole", "model=mlp_lstm")
    assert plain.get_initial_state() == {} and not plain.is_stateful()
    state = memory.get_initial_state()
    assert memory.is_stateful() and sorted(state) == ["c", "h"]
    assert all(x.shape == (64,) and x.dtype == np.float32 and not x.any() for x in state.values())


def test_separate_trunks_do_not_touch_each_other(make_module):
    obs = some(NUMBERS)
    for shared in (True, False):
        module = make_module("env=cartpole", f"model.shared_trunk={str(shared).lower()}")
        module.compute_policy_and_value(obs, module.pack())[1].sum().backward()
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
    policy, values = module.compute_policy_and_value(some(PIXELS), module.pack())
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


def test_a3c_s_nets_are_the_paper_s(make_module):
    plain = make_module("model=a3c_cnn", observations=PIXELS)
    shapes = [tuple(conv.weight.shape) for conv in plain.torso.convs]
    assert shapes == [(16, 4, 8, 8), (32, 16, 4, 4)]
    assert [conv.stride for conv in plain.torso.convs] == [(4, 4), (2, 2)]
    assert tuple(plain.torso.fc.weight.shape) == (256, 9 * 9 * 32)
    torso = 4 * 64 * 16 + 16 + 16 * 16 * 32 + 32 + 2592 * 256 + 256
    assert sum(p.numel() for p in plain.parameters()) == torso + 256 * 4 + 4
    memory = make_module("model=cnn_lstm", observations=PIXELS)
    cells = memory.memory.cells
    assert cells.weight_ih_l0.shape == cells.weight_hh_l0.shape == (4 * 256, 256)
    assert sum(p.numel() for p in memory.parameters()) == torso + 2 * 1024 * (256 + 1) + 256 * 4 + 4


def test_cnn42_is_rllibs_pong_example(make_module):
    module = make_module("model=cnn42_lstm", "env.dim=42", observations=SMALL)
    assert [tuple(conv.weight.shape) for conv in module.torso.convs] == [(32, 4, 3, 3)] + [(32, 32, 3, 3)] * 3
    assert module.torso.fc is None and module.torso.size == 2 * 2 * 32
    assert tuple(module.memory.cells.weight_ih_l0.shape) == (4 * 256, 128)


def test_impala_s_net_is_the_paper_s(make_module):
    module = make_module("model=impala", observations=PIXELS)
    depths = [(conv.in_channels, conv.out_channels) for conv in module.torso.convs]
    assert depths == [(4, 16)] + [(16, 16)] * 4 + [(16, 32)] + [(32, 32)] * 4 + [(32, 32)] * 5  # 15 convolutions
    assert tuple(module.torso.fc.weight.shape) == (256, 11 * 11 * 32)
    assert sum(p.numel() for p in module.torso.parameters()) == 97_744 + 3872 * 256 + 256


def test_heads_are_float32_on_a_bfloat16_torso(make_module):
    exact = make_module("model.dtype=float32", observations=PIXELS)
    rounded = make_module("model.dtype=bfloat16", observations=PIXELS)
    rounded.load_state_dict(exact.state_dict())
    obs = some(PIXELS)
    for ours, reference in zip(
        rounded.compute_policy_and_value(obs, rounded.pack()),
        exact.compute_policy_and_value(obs, exact.pack()),
        strict=True,
    ):
        assert ours.dtype == torch.float32
        assert (ours - reference).norm() / reference.norm() < 0.03


def test_a_box_of_actions_has_a_gaussian_whose_spread_does_not_depend_on_what_is_seen(make_module):
    actions = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
    module = make_module("env=pendulum", actions=actions)
    policy, _ = module.compute_policy_and_value(some(NUMBERS), module.pack())
    assert module.Policy is Gaussian and policy.shape == (5, 4)
    assert (policy[:, 2:] == 0).all()  # a standard deviation of 1 at first
    with torch.no_grad():
        module.log_std[:] = torch.tensor([-1.0, 2.0])
    policy, _ = module.compute_policy_and_value(some(NUMBERS), module.pack())
    torch.testing.assert_close(policy[:, 2:], torch.tensor([[-1.0, 2.0]]).expand(5, 2))
    module.compute_policy_and_value(some(NUMBERS), module.pack())[0].sum().backward()
    torch.testing.assert_close(module.log_std.grad, torch.tensor([5.0, 5.0]))


def test_the_gaussian_s_spread_survives_a_memory(make_module):
    actions = gymnasium.spaces.Box(-2, 2, (2,), np.float32)
    module = make_module("env=pendulum", "model=mlp_lstm", actions=actions)
    with torch.no_grad():
        module.log_std[:] = torch.tensor([-1.0, 2.0])
    obs, state, starts = a_rollout(module)
    policies, _ = module.unroll(obs, module.pack(), state, starts)
    policy, *_ = module.act(obs[0], module.pack(), module.make_initial_state(N))
    assert policies.shape == (T, N, 4) and policy.shape == (N, 4)
    for parameters in (policies, policy):
        assert (parameters[..., 2:] == torch.tensor([-1.0, 2.0])).all()


def test_a_choice_of_actions_has_a_categorical(make_module):
    module = make_module("env=cartpole")
    assert module.Policy is Categorical and module.log_std is None


@pytest.mark.parametrize("model", ["mlp", "mlp_lstm"])
def test_weights_survive_rllibs_checkpoint(model, make_module, tmp_path):
    module = make_module("env=cartpole", f"model={model}")
    module.save_to_path(tmp_path / "module")
    other = make_module("env=cartpole", f"model={model}")
    for parameter in other.parameters():
        torch.nn.init.ones_(parameter)
    other.restore_from_path(tmp_path / "module")
    assert len(list(module.parameters())) == (12 if model == "mlp" else 10)
    for mine, theirs in zip(module.parameters(), other.parameters(), strict=True):
        assert torch.equal(mine, theirs)


def test_settings_older_than_the_memory_make_the_model_they_made(compose):
    settings = make_model_config(make_plan(compose(["env=cartpole"])))
    del settings["lstm_size"], settings["zero_mean"]
    module = ActorCritic(observation_space=NUMBERS, action_space=gymnasium.spaces.Discrete(3), model_config=settings)
    assert not module.recurrent and not module.torso.zero_mean
