"""PPO's loss: RLlib's where RLlib can say it, the paper's and the slow one where it cannot."""

from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO
from ray.rllib.utils.schedules.scheduler import Scheduler

from algorithms import ppo
from algorithms.learner import PROGRESS
from algorithms.ppo import ppo_loss
from custom_models.distributions import Categorical, Gaussian, MultiCategorical
from rollouts.rollout import RolloutData


def minibatch(policy_size: int, actions: torch.Tensor, seed: int = 0, rows: int = 64) -> dict[str, torch.Tensor]:
    """Columns of the loss in float64, with ratios on both sides of the clip."""
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=rng, dtype=torch.float64)

    policy = normal(rows, policy_size)
    return {
        "actions": actions,
        "policy": policy,
        "values": normal(rows),
        "advantages": normal(rows),
        "targets": 5 * normal(rows),
    }


def loss_of(
    policy: torch.Tensor,
    values: torch.Tensor,
    batch: dict,
    kind: Any = Categorical,
    clip: float = 0.2,
    vf_clip: float | None = None,
    vf_coeff: float = 0.5,
    entropy_coeff: float = 0.01,
    kl_coeff: float | None = None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Our loss of a policy's parameters and of values, and its terms."""
    beta = None if kl_coeff is None else torch.tensor(kl_coeff)
    return ppo_loss(kind(policy), values, batch, clip, vf_clip, vf_coeff, entropy_coeff, beta)


def rllibs_loss_of(
    learner, batch: dict, policy: torch.Tensor, values: torch.Tensor, kl_coeff: float | None = None
) -> torch.Tensor:
    """RLlib's loss at the same settings. Its value loss has no factor of a half, and its vf_clip_param is a ceiling."""
    entropy_coeff = Scheduler(fixed_value_or_schedule=0.01, framework="torch")
    theirs = SimpleNamespace(
        module=learner.module,
        metrics=learner.metrics,
        entropy_coeff_schedulers_per_module={DEFAULT_MODULE_ID: entropy_coeff},
        curr_kl_coeffs_per_module={DEFAULT_MODULE_ID: torch.tensor(kl_coeff or 0.0)},
    )
    settings = {"use_critic": True, "clip_param": 0.2, "vf_loss_coeff": 0.5 / 2, "vf_clip_param": float("inf")}
    return PPOTorchLearner.compute_loss_for_module(
        theirs,
        module_id=DEFAULT_MODULE_ID,
        config=SimpleNamespace(use_kl_loss=kl_coeff is not None, **settings),
        batch={
            Columns.ACTIONS: batch["actions"],
            Columns.ACTION_LOGP: batch["logp"],
            Columns.ACTION_DIST_INPUTS: batch["policy"],
            Postprocessing.ADVANTAGES: batch["advantages"],
            Postprocessing.VALUE_TARGETS: batch["targets"],
        },
        fwd_out={Columns.ACTION_DIST_INPUTS: policy, Columns.EMBEDDINGS: values},
    )


@pytest.mark.parametrize("kl_coeff", [None, 0.3])
@pytest.mark.parametrize(("env", "kind"), [("cartpole", Categorical), ("pendulum", Gaussian)])
def test_loss_and_gradient_are_rllibs_at_rllibs_settings(env, kind, kl_coeff, make_learner):
    learner, rows = make_learner(f"env={env}", "model.hidden=[8]"), 64
    if env == "cartpole":
        batch = minibatch(2, torch.arange(rows) % 2)
    else:
        batch = minibatch(2, torch.linspace(-2, 2, rows, dtype=torch.float64)[:, None])
    batch["logp"] = kind(batch["policy"]).logp(batch["actions"])
    policy = (batch["policy"] + 0.3 * torch.randn(rows, 2, dtype=torch.float64)).requires_grad_()
    values = batch["values"].clone().requires_grad_()
    ours, terms = loss_of(policy, values, batch, kind, kl_coeff=kl_coeff)
    theirs = rllibs_loss_of(learner, batch, policy, values, kl_coeff)
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(loss, (policy, values)) for loss in (ours, theirs)]
    for mine, rllibs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, rllibs, rtol=1e-12, atol=1e-12)
        assert mine.abs().sum() > 0
    assert 0.1 < terms["clip_fraction"] < 0.9  # both branches of the minimum were asked
    assert ("kl" in terms) == (kl_coeff is not None)


def test_the_kl_penalty_on_actions_of_two_factors_is_that_of_each():
    """As choose_policy makes the policy of a MultiDiscrete action space."""
    sizes = (2, 3)
    batch = minibatch(sum(sizes), torch.stack([torch.arange(64) % size for size in sizes], -1))
    policy = batch["policy"] + 0.3 * torch.randn(64, 5, dtype=torch.float64)
    kind = partial(MultiCategorical, sizes=sizes)
    batch["logp"] = kind(batch["policy"]).logp(batch["actions"])
    free, bound = (loss_of(policy, batch["values"], batch, kind, kl_coeff=beta) for beta in (None, 0.3))
    pairs = zip(batch["policy"].split(sizes, -1), policy.split(sizes, -1), strict=True)
    kl = sum(Categorical(old).kl(Categorical(new)).mean() for old, new in pairs)
    torch.testing.assert_close(bound[1]["kl"], kl)
    torch.testing.assert_close(bound[0] - free[0], 0.3 * kl)


def test_the_gradient_of_every_weight_is_rllibs(make_learner, small):
    """The same through the whole network: RLlib's forward_train here, compute_policy_and_value there."""
    learner = make_learner(*small)
    batch = minibatch(2, torch.arange(64) % 2)
    batch = {name: c.float() if c.is_floating_point() else c for name, c in batch.items()}
    batch["logp"] = learner.net.Policy(batch["policy"]).logp(batch["actions"])
    obs, weights = torch.randn(64, 4), list(learner.net.parameters())
    ours, _ = loss_of(*learner.net.compute_policy_and_value(obs, learner.net.pack()), batch)
    out = learner.net.forward_train({Columns.OBS: obs})
    theirs = rllibs_loss_of(learner, batch, out[Columns.ACTION_DIST_INPUTS], out[Columns.EMBEDDINGS])
    for mine, rllibs in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(mine, rllibs, rtol=1e-5, atol=1e-6)


def advantages_of(learner, rollout) -> list[torch.Tensor]:
    """What reaches the loss, minibatch by minibatch."""
    seen, forward = [], learner.forward
    learner.forward = lambda minibatch: seen.append(minibatch["advantages"]) or forward(minibatch)
    learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    return seen


def test_advantages_are_standardised_per_minibatch(make_learner, make_runner, small):
    """What reaches the loss has mean 0 and deviation 1 in every minibatch, whatever its scale was."""
    words, rollout = (*small, "algo.minibatch_size=16"), make_runner(*small).sample()
    learner = make_learner(*words)
    seen = advantages_of(learner, rollout)
    assert len(seen) > 2
    for advantages in seen:
        assert abs(advantages.mean()) < 1e-5 and abs(advantages.std(correction=0) - 1) < 1e-4
    advantages = torch.randn(64, dtype=torch.float64)
    shifted = learner.standardize(100 + 7 * advantages, None)
    torch.testing.assert_close(shifted, learner.standardize(advantages, None))
    plain = advantages_of(make_learner(*words, "algo.normalize_advantages=false"), rollout)
    assert max(abs(advantages.mean()) for advantages in plain) > 0.1


def test_values_are_clipped_like_ratios_one_at_a_time():
    """One that moved too far away from its target is called back; one too far towards it has no gradient."""
    batch = minibatch(2, torch.arange(64) % 2) | {"advantages": torch.zeros(64, dtype=torch.float64)}
    batch["logp"] = Categorical(batch["policy"]).logp(batch["actions"])
    values = (batch["values"] + torch.linspace(-2, 2, 64, dtype=torch.float64)).requires_grad_()
    for clip in (0.5, 0.25):
        total, slopes = 0.0, []
        for new, old, target in zip(values.tolist(), batch["values"].tolist(), batch["targets"].tolist(), strict=True):
            near = min(max(new, old - clip), old + clip)
            total += 0.5 * max((new - target) ** 2, (near - target) ** 2) / 64
            stuck = near != new and abs(near - target) > abs(new - target)  # the clipped square counts, a constant
            slopes.append(0.0 if stuck else (new - target) / 64)
        loss, _ = loss_of(batch["policy"], values, batch, vf_clip=clip, vf_coeff=1.0, entropy_coeff=0.0)
        assert loss.item() == pytest.approx(total, rel=1e-12)
        assert torch.autograd.grad(loss, values)[0].tolist() == pytest.approx(slopes, rel=1e-12)
        assert 5 < slopes.count(0.0) < 59


@pytest.mark.parametrize(("schedule", "factor"), [("linear", 0.25), ("constant", 1.0)])
def test_both_clips_fall_with_the_run_or_stay(schedule, factor, make_learner, make_rollout, small, monkeypatch):
    asked = []

    def remember(policy, values, batch, clip, vf_clip, *coefficients):
        asked.append((clip, vf_clip))
        return ppo_loss(policy, values, batch, clip, vf_clip, *coefficients)

    monkeypatch.setattr(ppo, "ppo_loss", remember)
    learner = make_learner(*small, "algo.vf_clip=0.8", "algo.clip=0.4", f"algo.clip_schedule={schedule}")
    learner.update(training_data=RolloutData([make_rollout()]), timesteps={PROGRESS: 0.75})
    assert set(asked) == {(0.4 * factor, 0.8 * factor)}


@pytest.mark.parametrize(("schedule", "expected"), [("linear", 0.75e-3), ("constant", 1e-3)])
def test_the_learning_rate_falls_with_the_run_or_stays(schedule, expected, make_learner, make_rollout, small):
    learner = make_learner(*small, "algo.lr=1e-3", f"algo.lr_schedule={schedule}")
    report = learner.update(training_data=RolloutData([make_rollout()]), timesteps={PROGRESS: 0.25})
    assert report["lr"] == pytest.approx(expected)
    assert learner.get_optimizer(DEFAULT_MODULE_ID).param_groups[0]["lr"] == pytest.approx(expected)


def test_at_the_end_of_a_linear_schedule_nothing_moves(make_learner, make_rollout, small):
    learner = make_learner(*small)
    before = [p.clone() for p in learner.net.parameters()]
    learner.update(training_data=RolloutData([make_rollout()]), timesteps={PROGRESS: 1.0})
    assert all(map(torch.equal, before, learner.net.parameters()))


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_the_ratio_is_one_in_the_first_minibatch(dtype, make_runner, make_learner):
    """What the runner saw and what the learner rebuilds give the same probabilities, to the rounding of the dtype."""
    overrides = ("env=assault", "algo.horizon=32", "algo.num_envs=2", "algo.minibatch_size=32", "algo.num_epochs=2")
    overrides += ("model.hidden=64", f"model.dtype={dtype}")
    runner, learner = make_runner(*overrides), make_learner(*overrides)
    with torch.no_grad():
        learner.net.policy.weight *= 1000  # a policy that cares what it sees
    runner.set_state({COMPONENT_RL_MODULE: learner.net.get_state(), WEIGHTS_SEQ_NO: 1})
    rollout = runner.sample()
    assert rollout["logp"].std() > 0.1
    learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    first, last = learner._log[0], learner._log[-1]
    assert abs(first["approx_kl"]) < (1e-6 if dtype == "float32" else 1e-4)
    assert first["clip_fraction"] == 0
    assert last["approx_kl"] > 1e-3  # and then the policy moves


# The KL penalty -------------------------------------------------------------------------------------------------------


def kl_learner(make_learner, small, target: float):
    learner = make_learner(*small, "algo.kl_coeff=0.8", f"algo.kl_target={target}", "algo.lr=1e-9", "algo.num_epochs=1")
    return learner, lambda: float(learner.kl_coeff)


@pytest.mark.parametrize(("times_the_target", "factor"), [(2.5, 1.5), (1.5, 1.0), (0.75, 1.0), (0.4, 0.5)])
def test_the_kl_coefficient_follows_its_target(times_the_target, factor, make_learner, make_rollout, small):
    """RLlib's factors: 1.5 above twice the target, 0.5 below half of it."""
    (probe, _), measurements = kl_learner(make_learner, small, 0.01), []
    take_mean = probe.take_mean
    probe.take_mean = lambda name: measurements.append(take_mean(name)) or measurements[-1]
    rollout = make_rollout(policy=np.random.default_rng(1).normal(size=(16, 4, 2)))
    report = probe.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    assert "kl" not in report
    (measured,) = measurements
    assert measured > 0.01
    learner, coefficient = kl_learner(make_learner, small, measured / times_the_target)
    learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    assert coefficient() == pytest.approx(0.8 * factor)


def test_the_kl_coefficient_is_saved(make_learner, make_rollout, small, tmp_path):
    learner, coefficient = kl_learner(make_learner, small, 1e-4)
    rollout = make_rollout(policy=np.random.default_rng(1).normal(size=(16, 4, 2)))
    learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    learner.save_to_path(tmp_path / "learner")
    other, restored = kl_learner(make_learner, small, 1e-4)
    assert restored() == pytest.approx(0.8)
    other.restore_from_path(tmp_path / "learner")
    assert restored() == coefficient() == pytest.approx(1.2)


def test_without_a_kl_coefficient_there_is_no_penalty(make_learner, make_rollout, small):
    learner = make_learner(*small)
    learner.update(training_data=RolloutData([make_rollout()]), timesteps={PROGRESS: 0.0})
    assert all("kl" not in terms for terms in learner._log) and float(learner.kl_coeff) == 0
