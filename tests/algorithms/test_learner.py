"""The learner: which rows it learns from, what it refuses, and what it remembers."""

import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from algorithms import learner as learner_module
from algorithms.a2c import estimate_advantages
from algorithms.learner import PROGRESS
from algorithms.nonfinite import NonFiniteLoss
from custom_models.cuda_graphs import differentiate
from custom_models.optimizers import RMSProp
from rollouts.returns import gae, monte_carlo
from rollouts.rollout import RolloutData


def update(learner, *rollouts, progress: float = 0.0) -> dict:
    return learner.update(training_data=RolloutData(list(rollouts)), timesteps={PROGRESS: progress})


def weights(learner) -> list[torch.Tensor]:
    return [p.detach().clone() for p in learner.net.parameters()]


def same(a: list[torch.Tensor], b: list[torch.Tensor]) -> bool:
    return all(map(torch.equal, a, b))


def spy_on_minibatches(learner) -> list[dict[str, torch.Tensor]]:
    seen, minibatches = [], learner.iterate_minibatches

    def remember(*arguments):
        for minibatch in minibatches(*arguments):
            seen.append(minibatch)
            yield minibatch

    learner.iterate_minibatches = remember
    return seen


def test_every_epoch_shows_every_row_once_in_a_new_order(make_learner, make_rollout, small):
    learner = make_learner(*small, "algo.num_epochs=3")
    rollout = make_rollout()
    seen = spy_on_minibatches(learner)
    update(learner, rollout)
    assert [len(m["actions"]) for m in seen] == [32] * 6
    expected = torch.tensor(rollout["obs"][:-1]).flatten(0, 1)
    epochs = [torch.cat([m["obs"] for m in seen[i : i + 2]]) for i in (0, 2, 4)]
    for epoch in epochs:
        assert torch.equal(epoch.sort(0).values, expected.sort(0).values)
        assert not torch.equal(epoch, expected)
    assert not torch.equal(epochs[0], epochs[1])


def test_columns_stay_together_when_rows_are_shuffled(make_learner, make_rollout, small):
    learner = make_learner(*small)
    rollout = make_rollout()
    number = np.arange(64).reshape(16, 4)
    rollout = make_rollout(
        obs=np.concatenate([number[..., None].repeat(4, -1), np.zeros((1, 4, 4))]),
        logp=-number / 64,
        values=np.concatenate([number, np.zeros((1, 4))]) / 10,
    )
    seen = spy_on_minibatches(learner)
    update(learner, rollout)
    algo = learner.algo
    columns = estimate_advantages(learner.load([rollout]), algo.gamma, algo.gae_lambda, clip_rewards=False)
    advantages = columns["advantages"].flatten()
    for m in seen:
        rows = m["obs"][:, 0].long()
        torch.testing.assert_close(m["logp"], -rows / 64)
        torch.testing.assert_close(m["values"], rows / 10)
        torch.testing.assert_close(m["advantages"], learner.standardize(advantages[rows], None))
        assert torch.equal(m["actions"], torch.tensor(rollout["actions"]).flatten()[rows])


def test_rows_that_are_not_valid_are_never_learned_from(make_learner, make_rollout, small):
    valid = np.ones((16, 4), bool)
    valid[5, 1] = valid[9, 2] = valid[0, 3] = valid[15, 0] = False
    truncated, terminated = np.zeros((2, 16, 4), bool)
    terminated[4, 1] = truncated[8, 2] = truncated[14, 0] = True  # the row before a restart ended its game
    columns = {"valid": valid, "terminated": terminated, "truncated": truncated}
    clean = make_rollout(**columns)
    junk = {name: clean[name].copy() for name in ("obs", "logp", "rewards", "values", "actions")}
    for t, n in zip(*np.nonzero(~valid), strict=True):
        junk["obs"][t, n] = junk["logp"][t, n] = junk["rewards"][t, n] = junk["values"][t, n] = 1e6
        junk["actions"][t, n] = 1 - junk["actions"][t, n]
    one, other = make_learner(*small), make_learner(*small)
    seen = spy_on_minibatches(other)
    reports = update(one, clean), update(other, make_rollout(**columns | junk))
    assert same(weights(one), weights(other))
    for name in ("policy_loss", "value_loss", "entropy", "grad_norm"):
        assert reports[0][name] == reports[1][name]
    assert sum(len(m["actions"]) for m in seen) == 60 * other.config.num_epochs


def test_a_last_minibatch_of_one_row_is_no_reason_to_stop(make_learner, make_rollout, small, tmp_path):
    """Restart rows leave any number of valid ones; the standard deviation of one advantage is not a number."""
    valid = np.ones((16, 4), bool)
    valid.flat[33:] = False  # 33 rows, minibatches of 32
    learner = make_learner(*small, run_dirs={1: str(tmp_path)})
    report = update(learner, make_rollout(valid=valid))
    assert all(torch.isfinite(w).all() for w in weights(learner))
    assert np.isfinite(report["explained_variance"])


def test_several_rollouts_are_learned_from_together(make_learner, make_rollout, small):
    learner = make_learner(*small, "algo.num_epochs=1")
    seen = spy_on_minibatches(learner)
    pieces = [make_rollout(seed) for seed in (1, 2)]
    update(learner, *pieces)
    expected = torch.cat([torch.tensor(p["obs"][:-1]).flatten(0, 1) for p in pieces])
    assert torch.equal(torch.cat([m["obs"] for m in seen]).sort(0).values, expected.sort(0).values)


def test_rollouts_are_shared_out_among_learners_and_none_is_lost(make_rollout):
    rollouts = [make_rollout(seed) for seed in range(5)]
    shards = [data.rollouts for data, _ in RolloutData(rollouts).shard(2)]
    assert shards == [rollouts[0::2], rollouts[1::2]]


@pytest.mark.usefixtures("shared_ray")
def test_references_to_rollouts_are_as_good_as_rollouts(make_learner, make_rollout, small):
    one, other = make_learner(*small), make_learner(*small)
    update(one, make_rollout())
    update(other, ray.put(make_rollout()))
    assert same(weights(one), weights(other))


def test_an_update_needs_a_rollout(make_learner, small):
    with pytest.raises(ValueError, match="rollout"):
        update(make_learner(*small))


@pytest.mark.parametrize("clip_rewards", [True, False])
@pytest.mark.parametrize("algo", ["pg", "a2c", "a3c", "ppo"])
def test_rewards_are_clipped_for_training_only(algo, clip_rewards, make_learner, make_rollout):
    learner = make_learner(f"algo={algo}", "env=cartpole", f"env.clip_rewards={str(clip_rewards).lower()}")
    rewards = np.float32([[0, 21, -7, 0.5]] * 16)
    rollout = make_rollout(rewards=rewards)
    batches, gamma = [], learner.algo.gamma
    for name in ("iterate_minibatches", "iterate_microbatches"):
        iterate = getattr(learner, name)
        setattr(learner, name, lambda batch, *rest, it=iterate: batches.append(batch) or it(batch, *rest))
    update(learner, rollout)
    (batch,) = batches
    used = torch.tensor(np.sign(rewards) if clip_rewards else rewards)
    values, final_values, *ends = (
        torch.tensor(rollout[c]) for c in ("values", "final_values", "terminated", "truncated")
    )
    if algo == "pg":
        expected = {"returns": monte_carlo(used, *ends, gamma)}
    else:
        advantages = gae(used, values, final_values, *ends, gamma, learner.algo.gae_lambda)
        expected = {"advantages": advantages, "targets": advantages + values[:-1]}
    for name, column in expected.items():
        torch.testing.assert_close(batch[name], column)
    np.testing.assert_array_equal(rollout["rewards"], rewards)


def test_gradients_are_clipped_together(make_learner, make_rollout, small):
    def steps(limit: str) -> list[torch.Tensor]:
        # Plain gradient steps: RMSprop's and Adam's do not depend on the gradient's scale.
        one_step = ("algo.num_epochs=1", "algo.minibatch_size=64", "algo.lr=1")
        learner = make_learner(*small, *one_step, f"algo.max_grad_norm={limit}")
        sgd = torch.optim.SGD(learner.net.parameters(), lr=1.0)
        learner.get_optimizer = lambda *_: sgd
        before = weights(learner)
        report = update(learner, make_rollout(rewards=100 * np.ones((16, 4))))
        moved = torch.cat([(a - b).flatten() for a, b in zip(before, weights(learner), strict=True)])
        return moved, report["grad_norm"]

    (free, norm), (clipped, norm_too) = steps("null"), steps("0.5")
    assert norm == norm_too == pytest.approx(free.norm().item(), rel=1e-4) and norm > 5
    assert clipped.norm().item() == pytest.approx(0.5, rel=1e-4)
    torch.testing.assert_close(clipped / clipped.norm(), free / free.norm(), rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize(("name", "kind"), [("adam", torch.optim.Adam), ("rmsprop", RMSProp)])
def test_the_optimizer_is_the_one_that_was_asked_for(name, kind, make_learner, small):
    learner = make_learner(*small, f"algo.optimizer={name}", "algo.optimizer_eps=3e-4")
    optimizer = learner.get_optimizer(DEFAULT_MODULE_ID)
    assert type(optimizer) is kind and optimizer.defaults["eps"] == 3e-4
    assert sum(p.numel() for g in optimizer.param_groups for p in g["params"]) == sum(
        p.numel() for p in learner.net.parameters()
    )


def test_a_report_is_the_mean_over_all_minibatches(make_learner, make_rollout, small):
    learner = make_learner(*small)
    report = update(learner, make_rollout())
    assert len(learner._log) == 2 * 4
    assert report["grad_norm"] == pytest.approx(np.mean([float(norm) for norm in learner._norms]), rel=1e-5)
    for name in ("policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction"):
        mean = np.mean([float(terms[name]) for terms in learner._log])
        assert report[name] == pytest.approx(mean, rel=1e-5, abs=1e-8)


# Numbers that are none ------------------------------------------------------------------------------------------------


def with_nan(array: np.ndarray) -> np.ndarray:
    array = array.copy()
    array.flat[7] = np.nan
    return array


@pytest.mark.parametrize("clip_rewards", ["false", "true"])
@pytest.mark.parametrize("column", ["rewards", "values", "obs", "logp"])
def test_a_nan_stops_before_its_step_and_leaves_its_minibatch(
    column, clip_rewards, make_learner, make_rollout, small, tmp_path
):
    one_step = ("algo.num_epochs=1", "algo.minibatch_size=64", f"env.clip_rewards={clip_rewards}")
    learner = make_learner(*small, *one_step, run_dirs={1: str(tmp_path)})
    update(learner, make_rollout(1))
    before, rollout = weights(learner), make_rollout()
    with pytest.raises(NonFiniteLoss, match=r"nonfinite_minibatch_\d+\.pt") as stopped:
        update(learner, make_rollout(**{column: with_nan(rollout[column])}), progress=0.5)
    assert same(before, weights(learner))
    (path,) = tmp_path.glob("nonfinite_minibatch_*.pt")
    assert str(path) in str(stopped.value)
    left = torch.load(path)
    assert left["progress"] == 0.5
    assert len(left["minibatch"]["actions"]) == 64
    assert any(c.isnan().any() for c in left["minibatch"].values())
    assert same(list(left["module"].values()), before)


def test_a_nan_among_the_weights_stops_too(make_learner, make_rollout, small, tmp_path):
    learner = make_learner(*small, run_dirs={1: str(tmp_path)})
    with torch.no_grad():
        learner.net.value.weight[0, 0] = float("nan")
    before = weights(learner)
    with pytest.raises(NonFiniteLoss):
        update(learner, make_rollout())
    for a, b in zip(before, weights(learner), strict=True):
        torch.testing.assert_close(a, b, equal_nan=True, rtol=0, atol=0)
    assert list(tmp_path.glob("nonfinite_minibatch_*.pt"))


# Checkpoints ----------------------------------------------------------------------------------------------------------


def test_a_restored_learner_goes_on_as_if_nothing_had_happened(make_learner, make_rollout, small, tmp_path):
    """Weights, the optimizer's moments and the order of the minibatches all come back."""
    learner = make_learner(*small)
    update(learner, make_rollout(1))
    learner.save_to_path(tmp_path / "learner")
    update(learner, make_rollout(2), progress=0.5)
    expected = weights(learner)

    fresh = make_learner(*small, "seed=9")
    fresh.restore_from_path(tmp_path / "learner")
    update(fresh, make_rollout(2), progress=0.5)
    assert same(weights(fresh), expected)


def test_an_older_checkpoint_replaces_what_was_learned_since(make_learner, make_rollout, small, tmp_path):
    learner = make_learner(*small)
    update(learner, make_rollout(1))
    saved, then = learner.get_state(), weights(learner)
    learner.save_to_path(tmp_path / "learner")
    update(learner, make_rollout(2))
    newer = weights(learner)
    assert not same(then, newer)
    for restore in (lambda: learner.set_state(saved), lambda: learner.restore_from_path(tmp_path / "learner")):
        restore()
        assert same(weights(learner), then)
        update(learner, make_rollout(2))
        assert same(weights(learner), newer)


def test_each_of_the_three_memories_matters(make_learner, make_rollout, small):
    """Leave one out and the next update differs; so the tests above cannot pass without it."""
    learner = make_learner(*small)
    update(learner, make_rollout(1))
    state = learner.get_state()
    update(learner, make_rollout(2))
    for forgotten in ("rl_module", "optimizer", "generator"):
        fresh = make_learner(*small, "seed=9")
        fresh.set_state({key: value for key, value in state.items() if key != forgotten})
        update(fresh, make_rollout(2))
        assert not same(weights(fresh), weights(learner)), forgotten


def test_a_seed_repeats_the_order_of_the_rows_and_another_does_not(make_learner, make_rollout, small):
    def order(seed: int) -> torch.Tensor:
        learner = make_learner(*small, f"seed={seed}")
        seen = spy_on_minibatches(learner)
        update(learner, make_rollout())
        return torch.cat([m["obs"] for m in seen])

    assert torch.equal(order(1), order(1))
    assert not torch.equal(order(1), order(2))


@pytest.mark.parametrize(
    "words", [("algo=ppo", "algo.minibatch_size=16"), ("algo=a2c", "algo.microbatch_size=16"), ("algo=a2c",)]
)
def test_what_is_computed_for_a_cuda_graph_is_what_is_computed_without(words, make_learner, make_runner):
    """All that a GPU does but the recording: gradients of one function, in the layout that the optimizer takes."""
    words = ("env=assault", "model.hidden=32", "model.dtype=float32", "algo.num_envs=2", "algo.horizon=16", *words)
    rollout = make_runner(*words).sample()
    plain, graphed = make_learner(*words), make_learner(*words)
    graphed.net.load_state_dict(plain.net.state_dict())
    graphed._is_graphed = True
    for _ in range(2):
        assert update(graphed, rollout) == pytest.approx(update(plain, rollout), rel=1e-5, abs=1e-6)
    for a, b in zip(weights(graphed), weights(plain), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    "words",
    [("algo=ppo", "algo.minibatch_size=32"), ("algo=a2c",), ("algo=a2c", "model=cnn_lstm", "model.lstm_size=8")],
)
def test_a_learner_learns_the_same_in_shards(words, make_learner, make_runner, monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 2)
    words = ("env=assault", "model.hidden=32", "model.dtype=float32", "algo.num_envs=4", "algo.horizon=16", *words)
    rollout = make_runner(*words).sample()
    whole, shared = (make_learner(*words, f"cluster.threads={kind}") for kind in ("openmp", "shards"))
    assert whole.shards is None and shared.shards.count == 2
    shared.net.load_state_dict(whole.net.state_dict())
    for _ in range(2):
        assert update(shared, rollout) == pytest.approx(update(whole, rollout), rel=1e-4, abs=1e-5)
    for a, b in zip(weights(shared), weights(whole), strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-6)


def test_a_term_of_a_loss_may_be_a_plain_number(make_learner, make_runner):
    learner = make_learner("algo=a2c", "env=cartpole", "algo.num_envs=2", "algo.horizon=4")
    rollout = make_runner("algo=a2c", "env=cartpole", "algo.num_envs=2", "algo.horizon=4").sample()
    minibatch = learner.select_rows(learner.load([rollout]), ("actions",))
    loss = lambda policy, values, rows: (values.sum(), {"share": 0.5})  # noqa: E731
    terms, gradients = differentiate(learner.forward, learner.parameters, None, loss, minibatch)
    assert float(terms["share"]) == 0.5 and len(gradients) == len(learner.parameters)


def test_a_term_that_the_loss_lacks_is_named(make_learner, small):
    learner = make_learner("algo=ppo", *small)
    learner.begin_update(0.0)
    learner._log, learner._shares = [{"policy_loss": torch.tensor(1.0)}], [1.0]
    with pytest.raises(ValueError, match="kl_coeff"):
        learner.take_mean("kl")


def test_a_report_carries_what_its_process_complains_of(make_learner, make_rollout, monkeypatch):
    """The report of a learner in another process is all that the training process hears of it."""
    monkeypatch.setattr(learner_module, "COMPLAINTS", ["learning runs without a CUDA graph"])
    report = update(make_learner("env=cartpole", "model.hidden=[8]"), make_rollout())
    assert report["complaints"] == ["learning runs without a CUDA graph"]
