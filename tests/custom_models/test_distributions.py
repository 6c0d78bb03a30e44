"""The two policies are torch's own, without their checks."""

import pytest
import torch
from torch.distributions import Categorical as TorchCategorical
from torch.distributions import Independent, Normal, kl_divergence
from torch.utils._python_dispatch import TorchDispatchMode

from custom_models.distributions import Categorical, Gaussian, MultiCategorical


def parameters(seed: int, shape: tuple[int, ...]) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def torchs(policy: torch.Tensor, kind: type):
    """The same policy as torch has it."""
    if kind is Categorical:
        return TorchCategorical(logits=policy)
    mean, log_std = policy.chunk(2, -1)
    return Independent(Normal(mean, log_std.exp()), 1)


@pytest.mark.parametrize("shape", [(5, 6), (3, 2, 4)], ids=["B", "TN"])
@pytest.mark.parametrize("kind", [Categorical, Gaussian])
def test_logp_entropy_and_kl_are_torchs(kind, shape):
    old, new = parameters(0, shape), parameters(1, shape)
    ours, reference = kind(old), torchs(old, kind)
    actions = reference.sample()
    torch.testing.assert_close(ours.logp(actions), reference.log_prob(actions))
    torch.testing.assert_close(ours.entropy(), reference.entropy())
    torch.testing.assert_close(ours.kl(kind(new)), kl_divergence(reference, torchs(new, kind)))
    assert ours.logp(actions).shape == ours.entropy().shape == shape[:-1]


@pytest.mark.parametrize("kind", [Categorical, Gaussian])
def test_gradients_are_torchs(kind):
    policy = parameters(2, (5, 6)).requires_grad_()
    actions = torchs(policy.detach(), kind).sample()
    ours = kind(policy)
    (mine,) = torch.autograd.grad((ours.logp(actions) + ours.entropy()).sum(), policy)
    reference = torchs(policy, kind)
    (theirs,) = torch.autograd.grad((reference.log_prob(actions) + reference.entropy()).sum(), policy)
    torch.testing.assert_close(mine, theirs)


def test_a_categorical_draws_each_action_as_often_as_it_says():
    logits = torch.tensor([0.0, 1.0, -1.0, 2.0])
    drawn = Categorical(logits.expand(200_000, 4)).sample(torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64 and drawn.shape == (200_000,)
    frequencies = drawn.bincount(minlength=4) / len(drawn)
    torch.testing.assert_close(frequencies, logits.softmax(-1), atol=0.005, rtol=0)


def test_a_gaussian_draws_with_its_mean_and_spread():
    policy = torch.tensor([3.0, -1.0, 0.5, -2.0])  # means, then logs of the standard deviations
    drawn = Gaussian(policy.expand(100_000, 4)).sample(torch.Generator().manual_seed(0))
    torch.testing.assert_close(drawn.mean(0), policy[:2], atol=0.03, rtol=0)
    torch.testing.assert_close(drawn.std(0), policy[2:].exp(), atol=0, rtol=0.02)
    assert abs(torch.corrcoef(drawn.T)[0, 1]) < 0.02


@pytest.mark.parametrize("kind", [Categorical, Gaussian])
def test_a_generator_repeats_its_draws(kind):
    policy = kind(parameters(3, (8, 4)))
    one, again, other = (policy.sample(torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert torch.equal(one, again) and not torch.equal(one, other)


def test_the_mode_is_the_likeliest_action():
    assert Categorical(torch.tensor([[0.0, 3.0, 1.0]])).mode().tolist() == [1]
    assert Gaussian(torch.tensor([[1.0, -2.0, 5.0, 5.0]])).mode().tolist() == [[1.0, -2.0]]


SIZES = (3, 1, 4)  # values of each factor


def torchs_factors(logits: torch.Tensor) -> list[TorchCategorical]:
    """The same policy as torch has it, factor by factor."""
    return [TorchCategorical(logits=part) for part in logits.split(SIZES, -1)]


@pytest.mark.parametrize("shape", [(5, 8), (3, 2, 8)], ids=["B", "TN"])
def test_logp_entropy_and_kl_of_factors_are_sums_of_torchs(shape):
    old, new = parameters(0, shape), parameters(1, shape)
    ours, reference, other = MultiCategorical(old, SIZES), torchs_factors(old), torchs_factors(new)
    actions = torch.stack([one.sample() for one in reference], -1)
    logp = sum(one.log_prob(actions[..., i]) for i, one in enumerate(reference))
    torch.testing.assert_close(ours.logp(actions), logp)
    torch.testing.assert_close(ours.entropy(), sum(one.entropy() for one in reference))
    kl = sum(kl_divergence(*pair) for pair in zip(reference, other, strict=True))
    torch.testing.assert_close(ours.kl(MultiCategorical(new, SIZES)), kl)
    assert ours.logp(actions).shape == ours.entropy().shape == shape[:-1]
    torch.testing.assert_close(ours.mode(), torch.stack([one.probs.argmax(-1) for one in reference], -1))


def test_gradients_of_factors_are_torchs():
    logits = parameters(2, (5, 8)).requires_grad_()
    actions = torch.stack([one.sample() for one in torchs_factors(logits.detach())], -1)
    ours = MultiCategorical(logits, SIZES)
    (mine,) = torch.autograd.grad((ours.logp(actions) + ours.entropy()).sum(), logits)
    total = sum(one.log_prob(actions[:, i]) + one.entropy() for i, one in enumerate(torchs_factors(logits)))
    (theirs,) = torch.autograd.grad(total.sum(), logits)
    torch.testing.assert_close(mine, theirs)


def test_factors_are_drawn_as_often_as_they_say_and_independently():
    logits = torch.tensor([0.0, 1.0, -1.0, 5.0, 0.5, -0.5, 0.0, 2.0])
    drawn = MultiCategorical(logits.expand(200_000, 8), SIZES).sample(torch.Generator().manual_seed(0))
    assert drawn.dtype == torch.int64 and drawn.shape == (200_000, 3)
    for factor, part in enumerate(logits.split(SIZES)):
        frequencies = drawn[:, factor].bincount(minlength=len(part)) / len(drawn)
        torch.testing.assert_close(frequencies, part.softmax(-1), atol=0.005, rtol=0)
    assert abs(torch.corrcoef(drawn[:, [0, 2]].T.float())[0, 1]) < 0.01


def test_each_runner_draws_the_factors_of_its_own_envs():
    logits = torch.randn(6, 8, generator=torch.Generator().manual_seed(3))
    every = MultiCategorical(logits, SIZES).sample(torch.Generator().manual_seed(1))
    halves = [MultiCategorical(logits[i : i + 3], SIZES).sample(torch.Generator().manual_seed(1), i, 6) for i in (0, 3)]
    assert torch.equal(torch.cat(halves), every)


def test_logp_of_factors_copies_nothing_from_the_host_so_that_a_gpu_can_record_it():
    class Names(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            names.append(str(function))
            return function(*args, **(kwargs or {}))

    names: list[str] = []
    policy, actions = MultiCategorical(parameters(0, (5, 9)), (2, 3, 4)), torch.tensor([[1, 2, 3]] * 5)
    with Names():
        policy.logp(actions)
    assert names and not [name for name in names if "copy" in name or "lift" in name]
