"""PPO's loss: RLlib's where RLlib can say it, the paper's and the slow one where it cannot."""

import numpy as np
import pytest
import torch
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.core.columns import Columns
from ray.rllib.evaluation.postprocessing import Postprocessing
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from algorithms.learner import PROGRESS, RolloutData

AT_RLLIBS_SETTINGS = ("algo.normalize_advantages=false", "algo.vf_clip=null", "algo.clip=0.2")


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


def loss_of(learner, batch: dict, policy: torch.Tensor, values: torch.Tensor, progress: float = 0.0) -> torch.Tensor:
    """Our loss of a policy's parameters and of values."""
    learner.begin(progress)
    learner.kl = []
    return learner.compute_loss_for_module(
        module_id=DEFAULT_MODULE_ID,
        config=learner.config,
        batch=batch,
        fwd_out={"policy": learner.net.Policy(policy), "values": values},
    )


def rllibs_loss_of(learner, batch: dict, policy: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """RLlib's loss at the same settings. Its value loss has no factor of a half, and its vf_clip_param is a ceiling."""
    config = learner.config.copy(copy_frozen=False)
    config.vf_loss_coeff, config.vf_clip_param = learner.config.vf_loss_coeff / 2, float("inf")
    return PPOTorchLearner.compute_loss_for_module(
        learner,
        module_id=DEFAULT_MODULE_ID,
        config=config,
        batch={
            Columns.ACTIONS: batch["actions"],
            Columns.ACTION_LOGP: batch["logp"],
            Columns.ACTION_DIST_INPUTS: batch["policy"],
            Postprocessing.ADVANTAGES: batch["advantages"],
            Postprocessing.VALUE_TARGETS: batch["targets"],
        },
        fwd_out={Columns.ACTION_DIST_INPUTS: policy, Columns.EMBEDDINGS: values},
    )


@pytest.mark.parametrize("kl", [0.0, 0.3])
@pytest.mark.parametrize("env", ["cartpole", "pendulum"])
def test_loss_and_gradient_are_rllibs_at_rllibs_settings(env, kl, make_learner):
    learner = make_learner(f"env={env}", "model.hidden=[8]", *AT_RLLIBS_SETTINGS, f"algo.kl_coeff={kl}")
    rows = 64
    if env == "cartpole":
        batch = minibatch(2, torch.arange(rows) % 2)
    else:
        batch = minibatch(2, torch.linspace(-2, 2, rows, dtype=torch.float64)[:, None])
    batch["logp"] = learner.net.Policy(batch["policy"]).logp(batch["actions"])
    policy = (batch["policy"] + 0.3 * torch.randn(rows, 2, dtype=torch.float64)).requires_grad_()
    values = batch["values"].clone().requires_grad_()
    ours, theirs = (f(learner, batch, policy, values) for f in (loss_of, rllibs_loss_of))
    assert ours.dtype == torch.float64
    torch.testing.assert_close(ours, theirs, rtol=1e-12, atol=1e-12)
    gradients = [torch.autograd.grad(loss, (policy, values)) for loss in (ours, theirs)]
    for mine, rllibs in zip(*gradients, strict=True):
        torch.testing.assert_close(mine, rllibs, rtol=1e-12, atol=1e-12)
        assert mine.abs().sum() > 0
    assert 0.1 < learner._log[0]["clip_fraction"] < 0.9  # both branches of the minimum were asked


def test_the_gradient_of_every_weight_is_rllibs(make_learner, small):
    """The same through the whole network: RLlib's forward_train here, policy_and_value there."""
    learner = make_learner(*small, *AT_RLLIBS_SETTINGS)
    batch = minibatch(2, torch.arange(64) % 2)
    batch = {name: c.float() if c.is_floating_point() else c for name, c in batch.items()}
    batch["logp"] = learner.net.Policy(batch["policy"]).logp(batch["actions"])
    obs, weights = torch.randn(64, 4), list(learner.net.parameters())
    ours = loss_of(learner, batch, *learner.net.policy_and_value(obs, learner.net.pack()))
    out = learner.net.forward_train({Columns.OBS: obs})
    theirs = rllibs_loss_of(learner, batch, out[Columns.ACTION_DIST_INPUTS], out[Columns.EMBEDDINGS])
    for mine, rllibs in zip(torch.autograd.grad(ours, weights), torch.autograd.grad(theirs, weights), strict=True):
        torch.testing.assert_close(mine, rllibs, rtol=1e-5, atol=1e-6)


def test_advantages_are_standardised_per_minibatch(make_learner, make_runner, small):
    """What reaches the loss has mean 0 and deviation 1 in every minibatch, whatever its scale was."""
    learner, seen = make_learner(*small, "algo.minibatch_size=16"), []
    loss = learner.compute_loss_for_module
    learner.compute_loss_for_module = lambda **kwargs: seen.append(kwargs["batch"]["advantages"]) or loss(**kwargs)
    learner.update(training_data=RolloutData([make_runner(*small).sample()]), timesteps={PROGRESS: 0.0})
    assert len(seen) > 2
    for advantages in seen:
        assert abs(advantages.mean()) < 1e-5 and abs(advantages.std(correction=0) - 1) < 1e-4
    batch = minibatch(2, torch.arange(64) % 2)
    shifted = batch | {"advantages": 100 + 7 * batch["advantages"]}
    torch.testing.assert_close(learner.standardized(shifted)["advantages"], learner.standardized(batch)["advantages"])
    plain = make_learner(*small, "algo.normalize_advantages=false")
    assert plain.standardized(batch) is batch


def test_values_are_clipped_like_ratios_one_at_a_time(make_learner, small):
    """One that moved too far away from its target is called back; one too far towards it has no gradient."""
    learner = make_learner(*small, "algo.vf_clip=0.5", "algo.entropy_coeff=0", "algo.vf_coeff=1")
    batch = minibatch(2, torch.arange(64) % 2) | {"advantages": torch.zeros(64, dtype=torch.float64)}
    batch["logp"] = learner.net.Policy(batch["policy"]).logp(batch["actions"])
    values = (batch["values"] + torch.linspace(-2, 2, 64, dtype=torch.float64)).requires_grad_()
    for progress in (0.0, 0.5):
        clip, total, slopes = 0.5 * (1 - progress), 0.0, []
        for new, old, target in zip(values.tolist(), batch["values"].tolist(), batch["targets"].tolist(), strict=True):
            near = min(max(new, old - clip), old + clip)
            total += 0.5 * max((new - target) ** 2, (near - target) ** 2) / 64
            stuck = near != new and abs(near - target) > abs(new - target)  # the clipped square counts, a constant
            slopes.append(0.0 if stuck else (new - target) / 64)
        loss = loss_of(learner, batch, batch["policy"], values, progress)
        assert loss.item() == pytest.approx(total, rel=1e-12)
        assert torch.autograd.grad(loss, values)[0].tolist() == pytest.approx(slopes, rel=1e-12)
        assert 5 < slopes.count(0.0) < 59


@pytest.mark.parametrize(("schedule", "factor"), [("linear", 0.25), ("constant", 1.0)])
def test_the_clip_falls_with_the_run_or_stays(schedule, factor, make_learner, small):
    later = make_learner(*small, "algo.vf_clip=null", "algo.clip=0.4", f"algo.clip_schedule={schedule}")
    fixed = make_learner(*small, "algo.vf_clip=null", f"algo.clip={0.4 * factor}", "algo.clip_schedule=constant")
    batch = minibatch(2, torch.arange(64) % 2)
    batch["logp"] = later.net.Policy(batch["policy"]).logp(batch["actions"])
    policy = batch["policy"] + 0.5 * torch.randn(64, 2, dtype=torch.float64)
    torch.testing.assert_close(
        loss_of(later, batch, policy, batch["values"], progress=0.75), loss_of(fixed, batch, policy, batch["values"])
    )
    if factor < 1:
        early, late = (loss_of(later, batch, policy, batch["values"], p) for p in (0.0, 0.75))
        assert abs(early - late) > 1e-3


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
    overrides = ("env=assault", "algo.horizon=48", "algo.num_envs=4", "algo.minibatch_size=96")
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
    return learner, lambda: float(learner.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID])


@pytest.mark.parametrize(("times_the_target", "factor"), [(2.5, 1.5), (1.5, 1.0), (0.75, 1.0), (0.4, 0.5)])
def test_the_kl_coefficient_follows_its_target(times_the_target, factor, make_learner, make_rollout, small):
    """RLlib's factors: 1.5 above twice the target, 0.5 below half of it."""
    probe, _ = kl_learner(make_learner, small, 0.01)
    rollout = make_rollout(policy=np.random.default_rng(1).normal(size=(16, 4, 2)))
    probe.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: 0.0})
    measured = torch.stack(probe.kl).mean().item()
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
    assert learner.kl == []
