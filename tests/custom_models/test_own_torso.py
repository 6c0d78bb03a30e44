"""A torso from outside: what it sees, what it may return, and that it works under both models."""

import sys
import types

import gymnasium
import numpy as np
import pytest
import torch
from torch import nn

from custom_models.actor_critic import ActorCritic
from custom_models.own_torso import OwnTorso, try_torso
from custom_models.q_network import QNetwork
from custom_models.torsos import make_torso
from environments.frames import FrameLayout
from settings.mistakes import Mistake
from tests.custom_models.test_torsos import stacks

MODEL = {"torso": "users_net:Net", "hidden": 8, "activation": "relu", "init": "orthogonal", "zero_mean": False}
OBS = torch.tensor([[0.5, -1.0, 2.0, 0.0, 1.0], [1.5, 1.0, -2.0, 3.0, 0.0]])
MODEL |= {"shared_trunk": True, "lstm_size": None, "dtype": "float32"}


class Net(nn.Module):
    """As a user writes it."""

    def __init__(self, model, shape):
        super().__init__()
        self.size, self.shape, self.model = model["hidden"], shape, model
        self.layers = nn.Sequential(nn.Flatten(), nn.Linear(int(np.prod(shape)), self.size), nn.Tanh())

    def forward(self, obs):
        self.seen = obs
        return self.layers(obs)


def make_lazy(self, model, shape):
    nn.Module.__init__(self)
    self.size, self.layers = 8, nn.LazyLinear(8)


@pytest.fixture
def users_net(monkeypatch):
    """A module `users_net` with a class Net; returns how to put another one there."""
    module = types.ModuleType("users_net")
    module.Net, module.__file__ = Net, "users_net.py"
    monkeypatch.setitem(sys.modules, "users_net", module)

    def replace(**methods) -> None:
        module.Net = type("Net", (Net,), methods)

    return replace


@pytest.mark.parametrize("layout", [FrameLayout(84, 1, 4), FrameLayout(42, 3, 2)], ids=["gray", "rgb"])
@pytest.mark.parametrize("zero_mean", [False, True])
def test_pictures_come_as_channels_and_pixels_and_not_in_blocks(layout, zero_mean, users_net):
    obs, plain = stacks(layout)
    model = MODEL | {"zero_mean": zero_mean, "pixels": layout._asdict() | {"block": layout.block}}
    torso = make_torso(model, layout.stack_shape)
    assert isinstance(torso, OwnTorso) and torso.net.shape == (layout.stack * layout.channels, layout.dim, layout.dim)
    assert "pixels" not in torso.net.model
    assert torso(obs, torso.pack()).shape == (3, 8)
    wanted = (plain.float() - 128) / 128 if zero_mean else plain.float() / 255
    assert torso.net.seen.dtype == torch.float32 and torch.equal(torso.net.seen, wanted)


def test_vectors_come_as_they_are_and_bfloat16_is_for_layers_only(users_net):
    torso = make_torso(MODEL | {"dtype": "bfloat16"}, (3,))
    obs = torch.randn(5, 3)
    features = torso(obs, torso.pack())
    assert torch.equal(torso.net.seen, obs) and features.dtype == torch.float32
    exact = torso.net.layers(obs)
    assert not torch.equal(features, exact) and torch.allclose(features, exact, atol=0.05)


def test_what_pack_returns_is_the_second_argument_of_forward(users_net):
    users_net(pack=lambda self: self.layers[1].weight.T, forward=lambda self, obs, packed: obs @ packed)
    torso = make_torso(MODEL, (3,))
    obs = torch.randn(5, 3)
    assert torch.equal(torso(obs, torso.pack()), obs @ torso.net.layers[1].weight.T)


@pytest.mark.parametrize("lstm_size", [None, 6])
@pytest.mark.parametrize("shared_trunk", [True, False])
def test_the_actor_critic_takes_it_with_and_without_a_memory(lstm_size, shared_trunk, users_net):
    if lstm_size and not shared_trunk:
        pytest.skip("one memory serves both heads")
    spaces = {"observation_space": gymnasium.spaces.Box(-1, 1, (3,)), "action_space": gymnasium.spaces.Discrete(2)}
    agent = ActorCritic(**spaces, model_config=MODEL | {"lstm_size": lstm_size, "shared_trunk": shared_trunk})
    policy, values, state = agent.act(torch.randn(4, 3), agent.pack(), agent.make_initial_state(4))
    assert policy.shape == (4, 2) and values.shape == (4,)
    (policy.sum() + values.sum()).backward()
    assert all(one.grad is not None for one in agent.torso.parameters())


def test_the_q_network_takes_it_and_copies_it_for_the_target(users_net):
    spaces = {"observation_space": gymnasium.spaces.Box(-1, 1, (3,)), "action_space": gymnasium.spaces.Discrete(2)}
    agent = QNetwork(**spaces, model_config=MODEL | {"dueling": True})
    assert agent.act(torch.randn(4, 3), agent.pack(), ())[0].shape == (4, 2)
    assert agent.target.torso.net is not agent.online.torso.net


@pytest.mark.parametrize(
    ("methods", "said"),
    [
        ({"forward": lambda self, obs: self.layers(obs)[:, :3]}, r"output is \[2, 3\] .*self\.size is 8"),
        ({"forward": lambda self, obs: self.layers(obs).mean()}, r"output is \[\]"),
        ({"forward": lambda self, obs: 3.0}, r"cannot be run on observations \[2, 5\]"),
        ({"forward": lambda self, obs: self.layers(obs) + obs}, r"\(RuntimeError: .*test_own_torso\.py, line \d+\)"),
        ({"forward": lambda self, obs: torch.zeros(len(obs), 8)}, r"parameter layers\.1\.weight has no part"),
        ({"forward": lambda self, obs: self.layers(obs).reshape(2, 8)}, r"cannot be run on observations \[1, 5\]"),
        (
            {"forward": lambda self, obs: self.layers(obs) - self.layers(obs).mean(0)},
            r"depend on the others in its batch",
        ),
        ({"forward": lambda self, obs: nn.functional.dropout(self.layers(obs))}, r"not the same twice.* dropout"),
        ({"forward": lambda self, obs: self.layers((-1 - obs.abs()).log())}, r"are NaN or infinite"),
        ({"__init__": lambda self, model, shape: nn.Module.__init__(self)}, r"has to set self\.size.*; it is None"),
        (
            {"pack": lambda self: 3.0, "forward": lambda self, obs, packed: self.layers(obs)},
            r"pack\(\) returns a float",
        ),
        ({"__init__": lambda self, model: None}, r"cannot be made for observations of shape \(5,\)"),
        ({"__init__": make_lazy}, r"parameter layers\.weight has no size yet"),
        ({"forward": lambda self, obs: self.layers(obs.mul_(0.5))}, r"forward changes obs"),
    ],
)
def test_a_torso_that_cannot_work_is_one_sentence(methods, said, users_net):
    users_net(**methods)
    with pytest.raises(Mistake, match=f"^model.torso=users_net:Net: .*{said}") as refused:
        try_torso(MODEL, OBS.clone())
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("kind", [dict, nn.Module])
def test_a_class_that_is_no_network_is_refused(kind, users_net):
    sys.modules["users_net"].Net = type("Net", (kind,), {})
    with pytest.raises(Mistake, match=r"torch\.nn\.Module with a method forward"):
        try_torso(MODEL, OBS)


def test_observations_that_hardly_differ_show_that_features_depend_on_the_batch(users_net):
    """As those of new games of CartPole do."""
    users_net(forward=lambda self, obs: self.layers(obs - obs.mean(0)))
    with pytest.raises(Mistake, match="depend on the others in its batch"):
        try_torso(MODEL, 0.05 * OBS)


def test_a_torso_that_works_passes(users_net):
    try_torso(MODEL, OBS.clone())
    users_net(
        __init__=lambda self, model, shape: (Net.__init__(self, model, shape), setattr(self, "size", np.int64(8)))[0]
    )
    try_torso(MODEL, OBS.clone())
    try_torso(MODEL | {"dtype": "bfloat16"}, torch.randint(256, (2, 5), dtype=torch.uint8))
