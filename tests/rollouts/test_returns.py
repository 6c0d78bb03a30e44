"""Returns: the paper's sums, written out slowly."""

import pytest
import torch

from rollouts.returns import gae, monte_carlo, next_values


def table(rows) -> torch.Tensor:
    """One env's numbers as float64 [T, 1]."""
    return torch.tensor(rows, dtype=torch.float64)[:, None]


def flags(*times: int, steps: int) -> torch.Tensor:
    """bool [T, 1], true at the times given."""
    return torch.tensor([[t in times] for t in range(steps)])


def world(seed: int, steps: int = 9, envs: int = 5):
    """Random rewards, values and ends: cut, lost, both at once, at the first and at the last step."""
    rng = torch.Generator().manual_seed(seed)
    rewards, final_values = torch.randn(2, steps, envs, generator=rng, dtype=torch.float64)
    values = torch.randn(steps + 1, envs, generator=rng, dtype=torch.float64)
    terminated, truncated = torch.rand(2, steps, envs, generator=rng) < 0.2
    terminated[0, 0] = terminated[-1, 1] = truncated[0, 2] = truncated[-1, 3] = True
    terminated[4, 4] = truncated[4, 4] = True
    return rewards, values, final_values, terminated, truncated


def slow_gae(rewards, values, final_values, terminated, truncated, gamma, lam):
    """Schulman et al. 2016, eq. 16: A_t = sum over l of (gamma lam)^l delta_{t+l}, up to the end of the episode."""
    steps, envs = rewards.shape
    advantages = torch.zeros_like(rewards)
    for n in range(envs):
        for t in range(steps):
            for k in range(t, steps):
                after = float(values[k + 1, n])
                if truncated[k, n]:
                    after = float(final_values[k, n])
                if terminated[k, n]:
                    after = 0.0
                delta = float(rewards[k, n]) + gamma * after - float(values[k, n])
                advantages[t, n] += (gamma * lam) ** (k - t) * delta
                if terminated[k, n] or truncated[k, n]:
                    break
    return advantages


@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_gae_is_the_sum_in_the_paper(seed, lam):
    arrays = world(seed)
    torch.testing.assert_close(gae(*arrays, 0.97, lam), slow_gae(*arrays, 0.97, lam), rtol=1e-12, atol=1e-12)


def test_three_steps_by_hand():
    never = flags(steps=3)
    advantages = gae(table([1, 2, 3]), table([10, 20, 30, 40]), table([0, 0, 0]), never, never, 0.5, 0.5)
    # delta = 1 + 10 - 10, 2 + 15 - 20, 3 + 20 - 30; a quarter of each is carried back
    torch.testing.assert_close(advantages, table([1 - 0.25 * 4.75, -3 - 0.25 * 7, -7]))


def test_a_cut_piece_bootstraps_and_a_lost_game_does_not():
    rewards, values, final_values = table([1]), table([5, 1000]), table([8])
    yes, no = flags(0, steps=1), flags(steps=1)
    assert gae(rewards, values, final_values, terminated=yes, truncated=no, gamma=0.5, lam=1).item() == 1 - 5
    assert gae(rewards, values, final_values, terminated=no, truncated=yes, gamma=0.5, lam=1).item() == 1 + 4 - 5
    assert gae(rewards, values, final_values, terminated=no, truncated=no, gamma=0.5, lam=1).item() == 1 + 500 - 5


def test_a_game_that_was_lost_when_it_was_cut_is_lost():
    yes = flags(0, steps=1)
    assert next_values(table([5, 1000]), table([8]), yes, yes).item() == 0


@pytest.mark.parametrize("end", ["terminated", "truncated"])
def test_nothing_leaks_back_from_the_next_game(end):
    ends = {"terminated": flags(steps=3), "truncated": flags(steps=3)} | {end: flags(1, steps=3)}
    for later in (0.0, 1e9):
        advantages = gae(
            table([1, 1, later]), table([2, 3, later, later]), table([0, 4, later]), **ends, gamma=1, lam=1
        )
        last = 1 + (4 if end == "truncated" else 0) - 3
        torch.testing.assert_close(advantages[:2], table([1 + 3 - 2 + last, last]))


def test_with_lambda_one_an_advantage_is_the_n_step_return_minus_the_value():
    rewards, values, final_values, terminated, truncated = arrays = world(7)
    for n in range(rewards.shape[1]):
        n_step = float(values[-1, n])
        for t in reversed(range(len(rewards))):
            if truncated[t, n]:
                n_step = float(final_values[t, n])
            if terminated[t, n]:
                n_step = 0.0
            n_step = float(rewards[t, n]) + 0.9 * n_step
            assert gae(*arrays, 0.9, 1.0)[t, n].item() == pytest.approx(n_step - float(values[t, n]), abs=1e-12)


def test_with_lambda_zero_an_advantage_looks_one_step_ahead():
    rewards, values, *ends = world(8)
    torch.testing.assert_close(
        gae(rewards, values, *ends, 0.9, 0.0), rewards + 0.9 * next_values(values, *ends) - values[:-1]
    )


@pytest.mark.parametrize("lam", [0.0, 0.9, 1.0])
def test_a_step_that_nobody_chose_counts_for_the_step_before_and_its_value_does_not(lam):
    """A forced FIRE within an episode: 1, then 10 for the FIRE, then a value of 8."""
    never, nobodys = flags(steps=3), ~flags(1, steps=3)
    for junk in (0.0, 1e6):
        arrays = table([1, 10, 2]), table([5, junk, 8, 4]), table([0, 0, 0]), never, never
        last = 2 + 0.5 * 4 - 8
        first = 1 + 0.5 * 10 + 0.25 * 8 - 5 + 0.25 * lam * last
        torch.testing.assert_close(gae(*arrays, 0.5, lam, nobodys)[[0, 2]], table([first, last]))
    arrays = world(3)
    assert torch.equal(gae(*arrays, 0.9, lam, torch.ones(9, 5, dtype=torch.bool)), gae(*arrays, 0.9, lam))


def test_a_nan_outside_of_its_mask_is_not_read():
    never, nan = flags(steps=2), float("nan")
    assert torch.isfinite(gae(table([1, 1]), table([1, 1, 1]), table([nan, nan]), never, never, 0.9, 0.9)).all()
    lost = flags(1, steps=2)
    assert torch.isfinite(gae(table([1, 1]), table([1, 1, nan]), table([0, 0]), lost, never, 0.9, 0.9)).all()


def slow_monte_carlo(rewards, terminated, truncated, gamma):
    """Williams 1992: G_t = sum over l of gamma^l r_{t+l}, up to the end of the episode, whatever ended it."""
    steps, envs = rewards.shape
    returns = torch.zeros_like(rewards)
    for n in range(envs):
        for t in range(steps):
            for k in range(t, steps):
                returns[t, n] += gamma ** (k - t) * float(rewards[k, n])
                if terminated[k, n] or truncated[k, n]:
                    break
    return returns


@pytest.mark.parametrize("gamma", [0.9, 1.0])
@pytest.mark.parametrize("seed", range(3))
def test_a_return_is_the_sum_of_what_came_after_up_to_either_end(seed, gamma):
    rewards, _, _, terminated, truncated = world(seed)
    returns = monte_carlo(rewards, terminated, truncated, gamma)
    torch.testing.assert_close(returns, slow_monte_carlo(rewards, terminated, truncated, gamma), rtol=1e-12, atol=1e-12)


def test_advantages_are_a_function_of_arrays_and_change_none():
    arrays = world(9)
    before = [a.clone() for a in arrays]
    assert gae(*arrays, 0.9, 0.9).dtype == torch.float64
    for a, b in zip(arrays, before, strict=True):
        assert torch.equal(a, b)
