"""Two learners, each with half of the rollouts, do what one does with all of them."""

import math
import sys
import time

import numpy as np
import pytest
import torch
from ray import cloudpickle
from ray.rllib.core import DEFAULT_MODULE_ID

from algorithms import data_parallel
from algorithms.learner import PROGRESS
from algorithms.remote_learners import update_learners
from environments.games import make_games
from rollouts.rollout import Rollout, RolloutData
from run_directory.layout import WEIGHTS
from run_directory.weights import read_weights

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the learners' processes cannot import tests
SMALL = ("env=cartpole", "algo.num_envs=4", "algo.max_grad_norm=0.5", "algo.lr=1e-2")
PPO = (*SMALL, "algo.horizon=16", "algo.num_epochs=2", "algo.lr_schedule=constant")
CASES = {
    "ppo": (*PPO, "algo.minibatch_size=24"),  # of up to 128 rows, a random share of each learner's
    "ppo, one minibatch": (*PPO, "algo.minibatch_size=64"),
    "ppo, tiny minibatches": (*PPO, "algo.minibatch_size=2"),
    "ppo, lstm": (*PPO, "algo.minibatch_size=32", "model=mlp_lstm"),  # two sequences, of one learner or both
    "ppo, kl": (*PPO, "algo.minibatch_size=2", "algo.kl_coeff=0.2"),
    "a2c": ("algo=a2c", *SMALL, "algo.horizon=16", "algo.normalize_advantages=true", "algo.microbatch_size=20"),
    "pg": ("algo=pg", *SMALL, "algo.episodes_per_update=4", "algo.entropy_coeff=0.01"),
}


@pytest.fixture
def make_group(make_config, shared_ray):
    """Overrides -> a LearnerGroup of two processes; keywords set attributes of its config."""
    groups = []

    def make(*overrides: str, **attributes):
        config = make_config(*overrides, num_learners=2, num_cpus_per_learner=1, **attributes)
        games = make_games(config.env_config, 1, 1)
        games.close()
        spaces = {DEFAULT_MODULE_ID: (games.observation_space, games.action_space)}
        groups.append(config.build_learner_group(spaces=spaces))
        return groups[-1]

    yield make
    for group in groups:
        group.shutdown()


def in_double(rollout: Rollout) -> Rollout:
    """The same, with every number a float64."""
    arrays = {n: a.astype("float64") if a.dtype == "float32" else a for n, a in rollout.arrays.items()}
    return Rollout(arrays, rollout.scores, rollout.lengths, rollout.weights_seq_no)


def compute_in_double(learner, start: dict) -> None:
    """Weights and all that is computed from them; torsos hand on float32 otherwise."""
    torch.Tensor.float = torch.Tensor.double
    learner.net.double().load_state_dict(start)
    for module in learner.net.modules():
        if hasattr(module, "dtype"):
            module.dtype = torch.float64


@pytest.mark.end_to_end
@pytest.mark.parametrize("case", CASES)
def test_two_learners_take_the_step_that_one_would(case, make_learner, make_group, make_runner, monkeypatch):
    """In float64, so that nothing but rounding is left between them; the two rollouts differ in their rows."""
    monkeypatch.setattr(torch.Tensor, "float", torch.Tensor.float)  # back to it when this test is over
    words = CASES[case]
    rollouts = [in_double(make_runner(*words, f"seed={seed}").sample()) for seed in (1, 2)]
    one, two = make_learner(*words), make_group(*words)
    start = {name: value.double() for name, value in one.net.state_dict().items()}
    two.foreach_learner(lambda learner: compute_in_double(learner, start))
    compute_in_double(one, start)
    report = one.update(training_data=RolloutData(rollouts), timesteps={PROGRESS: 0.0})
    reports = update_learners(two, RolloutData(rollouts), {PROGRESS: 0.0})
    after = [result.get() for result in two.foreach_learner(lambda learner: learner.net.state_dict())]
    moved = 0.0
    for name, value in one.net.state_dict().items():
        moved = max(moved, (value - start[name]).abs().max().item())
        assert torch.equal(after[0][name], after[1][name]), "the two drift apart"
        torch.testing.assert_close(after[0][name], value, rtol=1e-9, atol=1e-12)
    assert moved > 1e-4, "nothing was learned"
    assert all(r["grad_norm"] == pytest.approx(report["grad_norm"], rel=1e-5) for r in reports)


@pytest.mark.end_to_end
def test_nan_in_one_learner_stops_both_and_each_keeps_its_batch(make_group, make_runner, tmp_path):
    words = CASES["a2c"]
    rollouts = [make_runner(*words, f"seed={seed}").sample() for seed in (1, 2)]
    arrays = dict(rollouts[1].arrays)
    arrays["rewards"] = arrays["rewards"] * math.nan
    rollouts[1] = Rollout(arrays, rollouts[1].scores, rollouts[1].lengths, rollouts[1].weights_seq_no)
    with pytest.raises(Exception, match="NonFiniteLoss: .*norm nan"):
        make_group(*words, run_dirs={1: str(tmp_path)}).update(
            training_data=RolloutData(rollouts), timesteps={PROGRESS: 0.0}
        )
    wait_until = time.monotonic() + 60  # the other learner's file may come a moment later
    while len(left := list(tmp_path.glob("nonfinite_minibatch_*.pt"))) < 2 and time.monotonic() < wait_until:
        time.sleep(0.1)
    assert len(left) == 2


def test_a_mean_over_minibatches_counts_each_learners_part_by_its_rows(make_learner, monkeypatch):
    """A quarter of the first minibatch, at 1, and the second, at 3, are here; the rest of the first, at 5, is not."""

    def mean_of(learner, shares: list[float]) -> float:
        learner.begin_update(0.0)
        learner._log, learner._shares = [{"kl": torch.tensor(1.0)}, {"kl": torch.tensor(3.0)}], shares
        mean = learner.take_mean("kl")
        assert learner._log == [{}, {}]
        return mean

    learner = make_learner(*CASES["ppo"])
    assert mean_of(learner, [1.0, 1.0]) == 2
    learner.is_data_parallel = True
    monkeypatch.setattr(data_parallel, "sum_over_learners", lambda x: x + torch.tensor([0.75 * 5, 0.75]))
    assert mean_of(learner, [0.25, 1.0]) == pytest.approx(((0.25 * 1 + 0.75 * 5) + 3) / 2)


def test_a_learner_that_is_alone_computes_without_a_detour(make_learner, make_rollout, monkeypatch):
    for name in ("sum_over_learners", "compute_mean_and_std", "sum_gradients", "RowsOfAllLearners"):
        monkeypatch.setattr(data_parallel, name, None)  # calling it would raise
    for words in (CASES["ppo"], CASES["a2c"]):
        learner, x = make_learner(*words), torch.tensor([1.0, 4.0, 4.0])
        assert learner.compute_mean_and_std(x) == (x.mean(), x.std(correction=0))
        learner.update(training_data=RolloutData([make_rollout()]), timesteps={PROGRESS: 0.0})
        assert set(learner._shares) == {1.0} or sum(learner._shares) == pytest.approx(1)


@pytest.mark.end_to_end
def test_a_run_with_two_learners_learns_and_goes_on_from_its_checkpoint(make_config, shared_ray, tmp_path):
    words = ("env=cartpole", "algo.num_envs=4", "algo.horizon=32", "algo.minibatch_size=64", "report_every=256")
    parts = {"num_learners": 2, "num_env_runners": 2, "num_envs_per_env_runner": 2, "create_local_env_runner": False}
    config = make_config(*words, num_cpus_per_env_runner=0.5, num_cpus_per_learner=0.5, **parts)
    first, second = config.copy().build_algo(), config.copy().build_algo()
    try:
        rows = [first.train()["row"] for _ in range(2)]
        assert rows[1]["grad_norm"] > 0 and rows[1]["policy_loss"] != rows[0]["policy_loss"]
        assert 0 < rows[1]["learner_busy"] <= 1
        named = [answer.get() for answer in first.learner_group.foreach_learner(repr)]
        assert named == ["PPOLearner", "PPOLearner"]  # as the dashboard shows them
        assert 512 <= rows[1]["agent_steps"] <= 2 * (256 + 128)
        first.save_checkpoint(str(tmp_path))
        second.load_checkpoint(str(tmp_path))
        assert second.progress.agent_steps == rows[1]["agent_steps"]

        def weights(algorithm) -> list[dict]:
            answers = algorithm.learner_group.foreach_learner(lambda learner: learner.net.state_dict())
            return [answer.get() for answer in answers]

        one, two, three, four = *weights(first), *weights(second)
        assert all(torch.equal(one[n], other[n]) for n in one for other in (two, three, four))
        plain = read_weights(tmp_path)  # what evaluation plays with, whatever process the learners are in
        assert (tmp_path / WEIGHTS).exists() and plain.keys() == one.keys()
        assert all(np.array_equal(plain[n], one[n]) for n in one)
        assert second.train()["row"]["agent_steps"] > rows[1]["agent_steps"]
    finally:
        first.stop()
        second.stop()
