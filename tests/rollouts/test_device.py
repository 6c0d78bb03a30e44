"""What crosses between host and GPU: nothing on the CPU; as many numbers, and the same ones, on a GPU."""

from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from custom_models.faster_of_two import PERIOD, TRIAL
from rollouts.device import (
    CPU,
    NUM_COMPARED,
    Acting,
    act_in_one_tensor,
    choose_runner_device,
    copy_to_device,
    have_equal_bits,
    run_in_one_thread,
)
from rollouts.runner import VectorEnvRunner

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")
ASSAULT = ("env=assault", "algo.num_envs=2", "algo.horizon=16", "algo.minibatch_size=16", "model.hidden=32")
ASSAULT = (*ASSAULT, "model.dtype=float32")
WORLDS = {
    "assault": ASSAULT,
    "lstm": ("env=cartpole", "model=mlp_lstm", "algo.num_envs=4", "algo.horizon=32", "algo.minibatch_size=32"),
    "pendulum": ("env=pendulum", "algo.num_envs=4", "algo.horizon=32", "algo.minibatch_size=32"),
}


def test_on_the_cpu_a_rollout_is_not_copied(make_runner):
    rollout = make_runner("env=cartpole", "algo.horizon=16", "algo.minibatch_size=16").sample()
    for name, column in copy_to_device(rollout.arrays, CPU).items():
        assert column.data_ptr() == rollout[name].ctypes.data


def test_on_the_cpu_the_models_own_answer_is_taken():
    answer = torch.zeros(2, 3), torch.zeros(2), ()
    module = SimpleNamespace(act=lambda obs, packed, state: (obs, packed, state, *answer))
    obs = torch.zeros(2, 4)
    assert Acting(CPU).act(module, obs, "packed", ())[0] is obs


class Counting:
    """A network that counts the threads it computes with, and tells their number in one of its results."""

    def __init__(self, tells: str = "nothing"):
        self.tells, self.threads = tells, []

    def act(self, obs, packed, state):
        self.threads.append(torch.get_num_threads())
        told = {"policy": torch.zeros(3, 2), "values": torch.zeros(3), "state": torch.zeros(3, 4), "nothing": [0]}
        told[self.tells][0] = self.threads[-1]
        return told["policy"], told["values"], (told["state"],)


@pytest.fixture
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


@pytest.mark.usefixtures("two_threads")
def test_one_thread_is_tried_after_calls_in_which_it_gave_the_same_bits():
    net, acting = Counting(), Acting(CPU, tries_one_thread=True)
    for _ in range(NUM_COMPARED + PERIOD):
        acting.act(net, torch.zeros(3, 4), "packed", ())
    assert net.threads == [2, 1] * NUM_COMPARED + [2] * (PERIOD - TRIAL) + [1] * TRIAL
    acting.act(net, torch.zeros(2, 4), "packed", ())
    assert net.threads[-2:] == [2, 1], "what holds for three rows need not hold for two"


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("tells", ["policy", "values", "state"])
def test_all_threads_act_where_one_gives_other_bits(tells):
    net, acting = Counting(tells), Acting(CPU, tries_one_thread=True)
    names = "policy", "values", "state"
    for _ in range(2 * PERIOD):
        policy, values, (state,) = acting.act(net, torch.zeros(3, 4), "packed", ())
        assert dict(zip(names, (policy, values, state), strict=True))[tells].max() == 2
    assert net.threads == [2, 1] + [2] * (2 * PERIOD - 1)


@pytest.mark.usefixtures("two_threads")
def test_all_threads_act_where_one_is_not_tried():
    net, acting = Counting(), Acting(CPU)
    for _ in range(2 * PERIOD):
        acting.act(net, torch.zeros(3, 4), "packed", ())
    assert net.threads == [2] * (2 * PERIOD)


@pytest.mark.usefixtures("two_threads")
def test_threads_are_given_back_after_an_error():
    with pytest.raises(ZeroDivisionError):
        run_in_one_thread(lambda: 1 / 0)
    assert torch.get_num_threads() == 2


@pytest.mark.usefixtures("two_threads")
@pytest.mark.parametrize("model", ["nature_cnn", "cnn_lstm", "impala", "mlp"])
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_a_network_gives_the_same_bits_with_one_thread_and_with_two_or_differs_soon(model, dtype, make_runner):
    """Which of the two is up to the CPU: in float32, impala and mlp differ on an Intel Xeon, and not on an AMD EPYC."""
    size = ["model.lstm_size=16"] if model == "cnn_lstm" else ["model.hidden=32"] if model == "impala" else []
    runner = make_runner("env=assault", f"model={model}", f"model.dtype={dtype}", *size, "algo.num_envs=4")
    torch.set_num_threads(2)  # the runner was made for one
    net, random = runner.module, np.random.default_rng(0)
    state = tuple(torch.randn_like(part) for part in net.make_initial_state(4))
    equal = []
    with torch.inference_mode():
        for _ in range(2 * NUM_COMPARED):
            obs = torch.from_numpy(random.integers(0, 256, (4, *net.observation_space.shape), np.uint8))
            act = partial(net.act, obs, net.pack(), state)
            assert torch.get_num_threads() == 2
            equal.append(have_equal_bits(act(), run_in_one_thread(act)))
    assert all(equal) or not all(equal[:NUM_COMPARED]), "Acting would have taken one thread for equal"


@pytest.mark.parametrize(
    ("threads", "count", "torso", "tried"),
    [
        ("auto", 2, None, True),
        ("shards", 2, None, True),
        ("openmp", 2, None, False),
        ("auto", 1, None, False),
        ("auto", 2, torch.nn.Identity(), False),  # somebody's own: how it rounds is not known
    ],
)
def test_one_thread_is_tried_with_a_suite_torso_and_several_threads_unless_openmp_is_set(
    threads, count, torso, tried, make_runner
):
    runner = make_runner(*ASSAULT)
    runner.config.threads, runner.num_threads = threads, count
    runner.module.torso = torso or runner.module.torso
    runner.use_module(runner.module)
    assert runner._acting._tries_one_thread == tried


def test_policies_and_values_come_back_apart_as_they_were_sent_together(monkeypatch):
    """On a device that is not the CPU, as far as `Acting` sees."""
    answer = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([5.0, 6.0])
    module, memory = SimpleNamespace(act=lambda obs, packed, state: (*answer, state)), torch.tensor([7.0])
    acting = Acting(torch.device("meta"))
    monkeypatch.setattr(acting, "_graphed", lambda fixed, *arguments: act_in_one_tensor(fixed, *arguments))
    parameters, values, state = acting.act(module, torch.zeros(2), None, (memory,))
    assert parameters.tolist() == [[1, 2], [3, 4]] and values.tolist() == [5, 6]
    assert state[0] == memory and state[0] is not memory, "the next call overwrites it"


def asks_for(gpus: float):
    return SimpleNamespace(num_gpus_per_env_runner=gpus)


def test_a_runner_acts_on_the_cpu_unless_it_asks_for_a_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert (
        choose_runner_device(asks_for(0), 1)
        == choose_runner_device(asks_for(0.5), 0)
        == choose_runner_device(asks_for(1), None)
        == CPU
    )
    assert choose_runner_device(asks_for(0.5), 1) == torch.device("cuda", 0)


def test_a_runner_whose_gpu_torch_does_not_see_does_not_fall_back_to_the_cpu(make_config, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    config = make_config("env=cartpole", num_gpus_per_env_runner=0.5)
    with pytest.raises(RuntimeError, match=r"cluster\.gpus_per_runner=0\.5: .* env runner 3;"):
        VectorEnvRunner(config=config, worker_index=3)


# With a GPU -----------------------------------------------------------------------------------------------------------


@pytest.mark.gpu
@needs_gpu
def test_a_rollout_arrives_on_the_gpu_as_it_was(make_runner):
    rollout, device = make_runner(*ASSAULT).sample(), torch.device("cuda", 0)
    for _ in range(3):  # memory is used again
        for name, column in copy_to_device(rollout.arrays, device).items():
            assert column.device == device
            np.testing.assert_array_equal(column.cpu().numpy(), rollout[name])


@pytest.mark.gpu
@needs_gpu
def test_what_is_computed_waits_for_what_is_copied():
    """A column large enough to be under way still, many times over."""
    device, rng = torch.device("cuda", 0), np.random.default_rng(0)
    for _ in range(10):
        arrays = {name: rng.integers(0, 256, (64, 2**20), np.uint8) for name in "ab"}
        there = copy_to_device(arrays, device)
        total = there["a"].long().sum() + there["b"].long().sum()
        del there
        assert total.item() == sum(int(array.astype(np.int64).sum()) for array in arrays.values())


@pytest.mark.gpu
@needs_gpu
@pytest.mark.parametrize("world", WORLDS)
def test_a_runner_on_a_gpu_records_what_one_on_the_cpu_would(world, make_config, one_thread):
    """Actions are drawn on the host from the same stream, so games are the same until rounding decides one."""
    config = make_config(*WORLDS[world], num_gpus_per_env_runner=1)
    there = VectorEnvRunner(config=config, worker_index=1)
    config.num_gpus_per_env_runner = 0
    here = VectorEnvRunner(config=config, worker_index=1)
    there.module.set_state(here.module.get_state())
    assert there.module.policy.weight.is_cuda and not here.module.policy.weight.is_cuda
    try:
        for _ in range(2):
            a, b = here.sample(), there.sample()
            np.testing.assert_array_equal(a["actions"], b["actions"]) if world != "pendulum" else None
            for name in ("logp", "values", "final_values", *(("memory",) if "memory" in a else ())):
                np.testing.assert_allclose(a[name], b[name], rtol=1e-3, atol=1e-4)
    finally:
        here.stop()
        there.stop()
