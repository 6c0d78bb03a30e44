"""PG: complete episodes only, each env equally many, and REINFORCE written out slowly."""

import numpy as np
import pytest
import torch

from algorithms.learner import PROGRESS
from algorithms.pg import COLUMNS, pg_loss
from custom_models.distributions import Categorical
from rollouts.rollout import Rollout, RolloutData

PG = ("algo=pg", "env=cartpole", "model.hidden=[8]", "algo.num_envs=4", "algo.episodes_per_update=8")
LSTM = ("model=mlp_lstm", "model.hidden=[8]", "model.lstm_size=6")


@pytest.mark.parametrize("entropy_coeff", [0.0, 0.3])
def test_the_gradient_is_reinforces_and_entropys(entropy_coeff):
    """The lecture: sum over t of grad log pi(a_t | s_t) G_t; here divided by the number of agent steps."""
    logits = torch.randn(20, 2, dtype=torch.float64, requires_grad=True)
    returns = torch.randn(20, dtype=torch.float64)
    batch = {"actions": torch.arange(20) % 2, "returns": returns, "weights": returns}
    (loss, _), expected = pg_loss(Categorical(logits), batch, entropy_coeff), 0.0
    (gradient,) = torch.autograd.grad(loss, logits)
    for i in range(20):
        probabilities = logits[i].detach().exp() / logits[i].detach().exp().sum()
        one_hot = torch.eye(2, dtype=torch.float64)[batch["actions"][i]]
        ascent = (one_hot - probabilities) * batch["returns"][i]  # the gradient of log softmax
        surprise = -probabilities.log()
        ascent += entropy_coeff * probabilities * (surprise - probabilities @ surprise)  # of its entropy
        torch.testing.assert_close(gradient[i], -ascent / 20, rtol=1e-10, atol=1e-12)
        expected += (batch["returns"][i] * surprise[batch["actions"][i]]).item() / 20
        expected -= entropy_coeff * (probabilities @ surprise).item() / 20
    assert loss.item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("model", [(), LSTM], ids=["mlp", "lstm"])
@pytest.mark.parametrize("size", [16, 17, 40])
def test_microbatches_add_up_to_the_batch(size, model, make_learner, make_rollout):
    """Baseline and standard deviation are the whole batch's too."""
    valid = np.ones((16, 4), bool)
    valid[3, 1] = valid[9, 1] = valid[5, 2] = False  # so that microbatches count differently many
    columns = {"memory": np.zeros((2, 4, 6))} if model else {}
    rollout, gradients, counts = make_rollout(valid=valid, **columns), [], []
    words = (*PG, *model, "algo.entropy_coeff=0.3", "algo.max_grad_norm=null")
    for microbatch_size in ("null", size):
        learner = make_learner(*words, f"algo.microbatch_size={microbatch_size}")
        learner.move_weights = lambda: None  # leaves the gradient where it is
        learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
        gradients.append([p.grad for p in learner.parameters if p.grad is not None])
        counts.append(len(learner._shares))
    assert counts[0] == 1 and counts[1] > 1
    for one, other in zip(*gradients, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("baseline", ["average", "none"])
@pytest.mark.parametrize("standardize", [True, False])
def test_baseline_and_standardisation_are_two_settings(baseline, standardize, make_learner):
    learner = make_learner(*PG, f"algo.baseline={baseline}", f"algo.standardize_returns={str(standardize).lower()}")
    returns = torch.tensor([1.0, 2.0, 3.0, 10.0])
    weights = learner.weigh_returns(returns, torch.ones(4, dtype=torch.bool))
    expected = returns - (4.0 if baseline == "average" else 0.0)
    expected = expected / returns.std(correction=0) if standardize else expected
    torch.testing.assert_close(weights, expected)


def test_returns_that_do_not_count_move_no_baseline(make_learner):
    """Sequences keep their invalid rows until the loss."""
    learner = make_learner(*PG)
    returns, valid = torch.tensor([[1.0, 5.0], [3.0, 1e6]]), torch.tensor([[True, True], [True, False]])
    weights = learner.weigh_returns(returns, valid)[valid]
    assert weights.mean().item() == pytest.approx(0, abs=1e-6) and weights.std(correction=0).item() == pytest.approx(1)


def test_the_value_head_is_not_trained(make_runner, make_learner):
    learner, runner = make_learner(*PG, "model.shared_trunk=true"), make_runner(*PG, "model.shared_trunk=true")
    before = learner.net.value.weight.detach().clone(), learner.net.policy.weight.detach().clone()
    learner.update(training_data=RolloutData([runner.sample()]), timesteps={PROGRESS: 0.0})
    assert torch.equal(before[0], learner.net.value.weight)
    assert not torch.equal(before[1], learner.net.policy.weight)


def test_what_idle_envs_do_is_not_learned_from(make_runner, make_learner):
    runner = make_runner(*PG)
    rollout = runner.sample()
    assert not rollout["valid"].all()
    clean, junk = {n: a.copy() for n, a in rollout.arrays.items()}, {n: a.copy() for n, a in rollout.arrays.items()}
    idle = ~rollout["valid"]
    for name in ("rewards", "logp"):
        junk[name][idle] = 1e6
    junk["obs"][:-1][idle] = 1e6
    learners = [make_learner(*PG), make_learner(*PG)]
    for learner, arrays in zip(learners, (clean, junk), strict=True):
        learner.update(training_data=RolloutData([Rollout(arrays, [], [], 0)]), timesteps={PROGRESS: 0.0})
    one, other = (learner.net.state_dict() for learner in learners)
    for name in one:
        assert torch.equal(one[name], other[name]), name


def test_several_rollouts_of_unequal_length_are_learned_from_together(make_runner, make_learner):
    for model in ((), ("model=mlp_lstm",)):
        overrides = (*PG[:2], *PG[3:], *model)
        runner, learner = make_runner(*overrides), make_learner(*overrides)
        rollouts = [runner.sample(), runner.sample()]
        assert len(rollouts[0]["valid"]) != len(rollouts[1]["valid"])
        rows = learner.select_rows(learner.load(rollouts), COLUMNS)
        counted = rows["valid"].sum() if model else len(rows["actions"])
        assert counted == sum(r.agent_steps for r in rollouts)
        report = learner.update(training_data=RolloutData(rollouts), timesteps={PROGRESS: 0.0})
        assert np.isfinite(list(report.values())).all()
