"""A2C: the loss written out slowly and as Stable-Baselines3 has it, microbatches that add up, and n-step returns."""

import numpy as np
import pytest
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from algorithms.a2c import a2c_loss, estimate_advantages
from algorithms.learner import PROGRESS
from algorithms.nonfinite import NonFiniteLoss
from custom_models.distributions import Categorical
from rollouts.returns import gae
from rollouts.rollout import RolloutData

A2C = (
    "algo=a2c",
    "env=cartpole",
    "model.hidden=[8]",
    "algo.num_envs=4",
    "algo.horizon=16",
    "algo.lr_schedule=constant",
)
LSTM = ("model=mlp_lstm", "model.hidden=[8]", "model.lstm_size=6")


def gradients(learner) -> list[torch.Tensor]:
    return [p.grad.clone() for p in learner.net.parameters()]


def slow_loss(logits, values, actions, advantages, targets, vf_coeff, entropy_coeff) -> torch.Tensor:
    """Mnih et al. 2016, Algorithm S3, with the entropy bonus of section 4, one agent step at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(actions)):
        probabilities = logits[i].exp() / logits[i].exp().sum()
        entropy = -sum(p * p.log() for p in probabilities)
        total = total - probabilities[actions[i]].log() * advantages[i] - entropy_coeff * entropy
        total = total + vf_coeff * 0.5 * (targets[i] - values[i]) ** 2
    return total / len(actions)


def columns_of(rollout) -> dict[str, torch.Tensor]:
    return {name: torch.from_numpy(np.array(array)) for name, array in rollout.arrays.items()}


def test_loss_and_gradient_are_the_papers():
    logits = torch.randn(32, 2, dtype=torch.float64, requires_grad=True)
    values = torch.randn(32, dtype=torch.float64, requires_grad=True)
    batch = {
        "actions": torch.arange(32) % 2,
        "advantages": torch.randn(32, dtype=torch.float64),
        "targets": 3 * torch.randn(32, dtype=torch.float64),
    }
    ours, _ = a2c_loss(Categorical(logits), values, batch, vf_coeff=0.7, entropy_coeff=0.03)
    reference = slow_loss(logits, values, batch["actions"], batch["advantages"], batch["targets"], 0.7, 0.03)
    torch.testing.assert_close(ours, reference, rtol=1e-12, atol=1e-12)
    for mine, theirs in zip(*(torch.autograd.grad(x, (logits, values)) for x in (ours, reference)), strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-12)


def test_advantages_are_n_step_returns_less_the_value(make_rollout):
    """R_t = r_t + gamma r_{t+1} + ... + gamma^k V, up to the end of the rollout or of the episode."""
    rollout = make_rollout()
    targets = estimate_advantages(columns_of(rollout), gamma=0.9, gae_lambda=1.0, clip_rewards=False)["targets"]
    for n in range(4):
        for t in range(16):
            total, k = 0.0, t
            while True:
                total += 0.9 ** (k - t) * rollout["rewards"][k, n]
                if rollout["terminated"][k, n]:
                    break
                if rollout["truncated"][k, n] or k == 15:
                    last = rollout["final_values"][k, n] if rollout["truncated"][k, n] else rollout["values"][16, n]
                    total += 0.9 ** (k + 1 - t) * last
                    break
                k += 1
            assert targets[t, n].item() == pytest.approx(total, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("lam", [0.0, 0.8])
def test_below_a_lambda_of_one_advantages_are_gae(lam, make_rollout):
    rollout = make_rollout()
    batch = estimate_advantages(columns_of(rollout), gamma=0.9, gae_lambda=lam, clip_rewards=False)
    names = ("rewards", "values", "final_values", "terminated", "truncated")
    rewards, values, *ends = (torch.tensor(rollout[name]) for name in names)
    advantages = gae(rewards, values, *ends, 0.9, lam)
    torch.testing.assert_close(batch["advantages"], advantages)
    torch.testing.assert_close(batch["targets"], advantages + values[:-1])


def compute_sb3_returns(rollout, gamma: float, lam: float) -> tuple[np.ndarray, np.ndarray]:
    """Return advantages and returns, float64 [T, N], in the way of Stable-Baselines3.

    Source: stable_baselines3/common, RolloutBuffer.compute_returns_and_advantage in buffers.py, and collect_rollouts in
    on_policy_algorithm.py: where a game is cut, gamma V(last observation) is added to the reward, and the game is lost.
    """
    values, done = rollout["values"].astype(float), rollout["terminated"] | rollout["truncated"]
    cut = rollout["truncated"] & ~rollout["terminated"]
    rewards = rollout["rewards"] + gamma * np.where(cut, rollout["final_values"], 0.0)
    advantages, later = np.zeros(rewards.shape), np.zeros(rewards.shape[1])
    for t in reversed(range(len(rewards))):
        goes_on = 1.0 - done[t]
        error = rewards[t] + gamma * values[t + 1] * goes_on - values[t]
        later = advantages[t] = error + gamma * lam * goes_on * later
    return advantages, advantages + values[:-1]


@pytest.mark.parametrize(("lam", "standardized"), [(1.0, False), (0.9, False), (1.0, True)])
def test_loss_and_gradient_are_those_of_stable_baselines3(lam, standardized, make_learner, make_rollout):
    """Source: stable_baselines3/a2c/a2c.py, train, and torch's distributions. Its value loss has no half, so that its
    vf_coef of 0.5 is algo.vf_coeff=1 here; it standardises by the deviation of the sample, of n - 1."""
    rollout, vf_coef, ent_coef = make_rollout(), 0.5, 0.03
    words = (f"algo.gae_lambda={lam}", "algo.gamma=0.9", f"algo.vf_coeff={2 * vf_coef}")
    words += (f"algo.entropy_coeff={ent_coef}", f"algo.normalize_advantages={standardized}")
    learner = make_learner(*A2C, *words)
    learner.begin_update(0.0)
    learner.add_gradient_of_rollouts([rollout])

    advantages, returns = (torch.from_numpy(x) for x in compute_sb3_returns(rollout, 0.9, lam))
    if standardized:
        advantages = (advantages - advantages.mean()) / (advantages.std() + 1e-8)
    columns, net = columns_of(rollout), learner.net
    logits, values = net.compute_policy_and_value(columns["obs"][:-1].flatten(0, 1), net.pack())
    policy = torch.distributions.Categorical(logits=logits)
    policy_loss = -(advantages.flatten() * policy.log_prob(columns["actions"].flatten())).mean()
    value_loss = torch.nn.functional.mse_loss(returns.flatten(), values.double())
    loss = policy_loss - ent_coef * policy.entropy().mean() + vf_coef * value_loss

    for ours, theirs in zip(gradients(learner), torch.autograd.grad(loss, list(net.parameters())), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0.01 if standardized else 1e-4, atol=1e-6)
    (terms,) = learner._log
    assert terms["policy_loss"].item() == pytest.approx(policy_loss.item(), rel=0.01 if standardized else 1e-4)
    assert terms["value_loss"].item() == pytest.approx(value_loss.item() / 2, rel=1e-4)


@pytest.mark.parametrize("model", [(), LSTM], ids=["mlp", "lstm"])
@pytest.mark.parametrize("size", [16, 17, 40])
def test_microbatches_add_up_to_the_batch(size, model, make_learner, make_rollout):
    valid = np.ones((16, 4), bool)
    valid[3, 1] = valid[9, 1] = valid[5, 2] = False  # so that microbatches count differently many
    columns = {"memory": np.zeros((2, 4, 6))} if model else {}
    rollout = make_rollout(valid=valid, **columns)
    whole, parts = make_learner(*A2C, *model), make_learner(*A2C, *model, f"algo.microbatch_size={size}")
    for learner in (whole, parts):
        learner.begin_update(0.0)
        learner.add_gradient_of_rollouts([rollout])
    assert len(whole._shares) == 1 and len(parts._shares) > 1
    for one, other in zip(gradients(whole), gradients(parts), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("start", [0, 1])
def test_one_update_is_one_step_down_the_gradient(start, make_learner, make_rollout):
    learner = make_learner(*A2C, "algo.lr=0.5", "algo.max_grad_norm=null", f"algo.rmsprop_start={start}")
    before, rollout = [p.detach().clone() for p in learner.net.parameters()], make_rollout()
    learner.begin_update(0.0)
    learner.add_gradient_of_rollouts([rollout])
    expected = [
        w - 0.5 * g / (0.99 * start + 0.01 * g**2 + 1e-5).sqrt()
        for w, g in zip(before, gradients(learner), strict=True)
    ]
    learner.get_optimizer(DEFAULT_MODULE_ID).zero_grad()
    learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    for w, p in zip(expected, learner.net.parameters(), strict=True):
        torch.testing.assert_close(p.detach(), w, rtol=1e-4, atol=1e-6)


def advantages_of(learner, rollouts) -> torch.Tensor:
    """What reaches the loss."""
    seen, forward = [], learner.forward
    learner.forward = lambda microbatch: seen.append(microbatch["advantages"]) or forward(microbatch)
    learner.update(training_data=RolloutData(rollouts), timesteps={PROGRESS: 0.0})
    (advantages,) = seen
    return advantages


def test_advantages_are_standardised_over_valid_rows_where_asked(make_learner, make_rollout):
    valid = np.ones((16, 4), bool)
    valid[5, 1] = False
    rewards = np.where(valid, 1.0, 1e6)
    rollouts = [make_rollout(valid=valid, rewards=rewards), make_rollout(valid=valid, rewards=3 * rewards)]
    advantages = advantages_of(make_learner(*A2C, "algo.normalize_advantages=true"), rollouts)
    plain = advantages_of(make_learner(*A2C), rollouts)
    assert len(advantages) == 2 * 63, "of both env runners together"
    torch.testing.assert_close(advantages, (plain - plain.mean()) / plain.std(correction=0), rtol=1e-3, atol=1e-3)


def test_a_nan_stops_and_leaves_its_batch(make_learner, make_rollout, tmp_path):
    learner = make_learner(*A2C, run_dirs={1: str(tmp_path)})
    rewards = np.ones((16, 4))
    rewards[3, 2] = np.nan
    before = [p.detach().clone() for p in learner.net.parameters()]
    with pytest.raises(NonFiniteLoss, match=str(tmp_path)):
        learner.update(training_data=RolloutData([make_rollout(rewards=rewards)]), timesteps={PROGRESS: 0.0})
    assert all(map(torch.equal, before, learner.net.parameters()))
    (left,) = tmp_path.glob("nonfinite_minibatch_*.pt")
    assert len(torch.load(left)["minibatch"]["actions"]) == 64


def test_a_nan_stops_the_run_where_its_batch_cannot_be_written_too(make_learner, make_rollout, tmp_path):
    """Another error than NonFiniteLoss would make Tune start the run again."""
    learner = make_learner(*A2C, run_dirs={1: str(tmp_path / "gone")})
    rollout = make_rollout(rewards=np.full((16, 4), np.nan))
    with pytest.raises(NonFiniteLoss, match="could not be written .*exist"):
        learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
