"""Shards: the same features and gradients as the whole minibatch, from threads that compute alone."""

import threading
from collections.abc import Callable

import gymnasium
import numpy as np
import pytest
import torch

from cluster.plan import make_plan
from custom_models import shards as module
from custom_models.actor_critic import ActorCritic
from custom_models.faster_of_two import FasterOfTwo
from custom_models.shards import Shards, make_shards
from runs.build import make_model_config

PIXELS = gymnasium.spaces.Box(0, 255, (21, 21, 64), np.uint8)
NUMBERS = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
CPU = torch.device("cpu")
ROWS = torch.zeros(2, 1)  # of two parts
MODELS = {
    "nature_cnn": (),
    "separate torsos": ("model.shared_trunk=false", "model.hidden=32"),
    "zero mean": ("model=a3c_cnn", "model.zero_mean=true"),
    "no dense layer": ("model.hidden=null",),
    "impala": ("model=impala", "model.hidden=32"),
    "with an LSTM": ("model=cnn_lstm", "model.lstm_size=16"),
}


@pytest.fixture
def make_net(compose):
    """Overrides -> network, with the same weights each time."""

    def make(*overrides: str, observations=PIXELS) -> ActorCritic:
        torch.manual_seed(0)
        return ActorCritic(
            observation_space=observations,
            action_space=gymnasium.spaces.Discrete(3),
            model_config=make_model_config(make_plan(compose(["env=assault", *overrides]))),
        )

    return make


def differentiate(net: ActorCritic, shards: Shards | None, rows: int = 50) -> list[torch.Tensor]:
    """Policy, values and all gradients of a loss on pixels, the same each time."""
    obs = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (rows, *PIXELS.shape), np.uint8))
    packed = net.pack(shards)
    if net.recurrent:
        starts = torch.zeros(rows // 2, 2, dtype=torch.bool)
        policy, values = net.unroll(obs.unflatten(0, starts.shape), packed, net.make_initial_state(2), starts)
    else:
        policy, values = net.compute_policy_and_value(obs, packed)
    net.zero_grad()
    (policy.square().sum() + (values - 3).square().mean()).backward()
    gradients = [parameter.grad for parameter in net.parameters() if parameter.grad is not None]
    assert len(gradients) == len(list(net.parameters()))
    return [policy.detach(), values.detach(), *(gradient.clone() for gradient in gradients)]


ALL_THREADS, IN_TURN = 0, 1


def choose(which: int) -> FasterOfTwo:
    """Return a FasterOfTwo that calls function `which` until its first trial."""
    faster = FasterOfTwo()
    faster.chosen = which
    return faster


def compute_distance(one: torch.Tensor, other: torch.Tensor) -> float:
    return float((one - other).norm() / other.norm())


@pytest.mark.parametrize("overrides", MODELS.values(), ids=MODELS)
@pytest.mark.parametrize("count", [2, 3])
def test_gradients_are_those_of_the_whole_minibatch(overrides, count, make_net):
    net = make_net("model.dtype=float32", *overrides)
    whole, parts = differentiate(net, None), differentiate(net, Shards(count))
    assert max(map(compute_distance, parts, whole)) < 1e-5


def test_bf16_differs_by_its_rounding_only_and_a_number_of_shards_repeats_its_bits(make_net):
    exact = differentiate(make_net("model.dtype=float32"), None)
    net, shards = make_net("model.dtype=bfloat16"), Shards(3)
    whole, parts, again = (differentiate(net, one) for one in (None, shards, shards))
    assert all(map(torch.equal, parts, again))
    for one, other, wanted in zip(parts, whole, exact, strict=True):
        assert compute_distance(one, wanted) < 1.5 * compute_distance(other, wanted) + 1e-3


@pytest.mark.parametrize("overrides", MODELS.values(), ids=MODELS)
def test_one_thread_computes_the_same_bits_as_all(overrides, make_net):
    net, shards = make_net(*overrides), Shards(3)
    side_by_side = differentiate(net, shards)
    torsos = 1 if net.value_torso is None else 2
    assert shards.for_features._calls == shards.for_gradients._calls == torsos, "each is timed by itself"
    shards.for_features, shards.for_gradients = choose(IN_TURN), choose(IN_TURN)
    assert all(map(torch.equal, differentiate(net, shards), side_by_side))


def test_parts_are_computed_by_all_threads_or_in_turn_by_one():
    shards, meeting = Shards(2), threading.Barrier(2)

    def meet_within(seconds: float) -> Callable[[torch.Tensor], int]:
        return lambda _: meeting.wait(seconds)  # until another thread is here too

    assert sorted(shards.run(choose(ALL_THREADS), meet_within(60), ROWS)) == [0, 1]
    with pytest.raises(threading.BrokenBarrierError):
        shards.run(choose(IN_TURN), meet_within(0.2), ROWS)


def test_a_thread_computes_alone_and_the_others_as_before():
    before, seen = torch.get_num_threads(), []
    torch.set_num_threads(2)
    try:
        for which in (ALL_THREADS, IN_TURN):
            assert Shards(2).run(choose(which), lambda _: torch.get_num_threads(), ROWS) == [1, 1]
        later = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        later.start()
        later.join()
        assert [torch.get_num_threads(), *seen] == [2, 2]
    finally:
        torch.set_num_threads(before)


def test_a_small_batch_is_computed_in_one_part(make_net, monkeypatch):
    net, shards = make_net("model.dtype=float32"), Shards(2)
    monkeypatch.setattr(shards, "run", lambda *_: pytest.fail("in parts"))
    small = 2 * module.FEWEST_ROWS - 1
    assert all(map(torch.equal, differentiate(net, shards, small), differentiate(net, None, small)))


def test_an_error_in_a_thread_is_raised(make_net):
    net = make_net("model.dtype=float32")
    with pytest.raises(RuntimeError, match="size"):
        net.compute_policy_and_value(torch.zeros(40, 21, 21, 60, dtype=torch.uint8), net.pack(Shards(2)))


@pytest.mark.parametrize(
    ("kind", "threads", "wanted"),
    [("auto", 1, None), ("auto", 2, 2), ("auto", 8, None), ("shards", 8, 8), ("shards", 1, None), ("openmp", 2, None)],
)
def test_which_learners_have_shards(kind, threads, wanted, make_net):
    shards = make_shards(kind, threads, make_net().torso, CPU)
    assert (shards and shards.count) == wanted


def test_other_networks_and_gpus_have_none(make_net):
    mlp = make_net("env=cartpole", observations=NUMBERS)
    assert make_shards("shards", 2, mlp.torso, CPU) is None
    assert make_shards("shards", 2, make_net().torso, torch.device("cuda")) is None
