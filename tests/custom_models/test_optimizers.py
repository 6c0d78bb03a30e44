"""RMSProp as the papers write it, from both starts, and what torch's own computes."""

import copy

import numpy as np
import pytest
import torch

from custom_models.optimizers import RMSProp, make_optimizer

THETA, LR = (1.0, -2.0, 3.0), 0.01
GRADIENTS = np.random.default_rng(1).normal(size=(50, 3)) * [1e-3, 1.0, 100.0]


def follow_equations(eps: float, start: float) -> np.ndarray:
    """Return where THETA is after GRADIENTS: Mnih et al. 2016, eqs. 8 and 9, float64, one number at a time."""
    places = []
    for theta, gradients in zip(THETA, GRADIENTS.T, strict=True):
        g = start
        for gradient in gradients:
            g = 0.99 * g + 0.01 * gradient**2
            theta = theta - LR * gradient / np.sqrt(g + eps)
        places.append(theta)
    return np.array(places)


def follow(make_optimizer) -> np.ndarray:
    """Return where an optimizer moves THETA by GRADIENTS."""
    theta = torch.tensor(THETA, dtype=torch.float64, requires_grad=True)
    optimizer = make_optimizer([theta])
    for gradient in GRADIENTS:
        theta.grad = torch.tensor(gradient)
        optimizer.step()
    return theta.detach().numpy()


@pytest.mark.parametrize("start", [0, 1])
@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_steps_are_those_of_the_equations(eps, start):
    ours = follow(lambda parameters: make_optimizer("rmsprop", parameters, LR, eps, start))
    np.testing.assert_allclose(ours, follow_equations(eps, start), rtol=1e-12)


def test_from_0_and_without_epsilon_it_is_torch_s_own():
    """torch starts at 0 as well, but has epsilon outside of the root: the two agree where epsilon does not count."""

    def compare(eps: float) -> np.ndarray:
        theirs = follow(lambda parameters: torch.optim.RMSprop(parameters, LR, alpha=0.99, eps=eps))
        return np.abs(follow_equations(eps, start=0) - theirs)

    assert compare(0.0).max() < 1e-12
    assert compare(1e-5)[0] > 1e-3 > 1e-6 > compare(1e-5)[2], "only small gradients notice where epsilon is"


@pytest.mark.parametrize(
    ("start", "gradient", "step"),
    [
        (0, 1.0, 10.0),  # 1 / sqrt(0.01), in units of lr
        (0, 1e-3, 1e-3 / 1e-5**0.5),  # epsilon holds it back
        (1, 1.0, 1.0),
        (1, 1e-3, 1e-3 / 0.99**0.5),
    ],
)
def test_the_first_step_is_as_large_as_the_docstring_says(start, gradient, step):
    theta = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = RMSProp([theta], lr=1.0, eps=1e-5, start=start)
    theta.grad = torch.full((1,), gradient, dtype=torch.float64)
    optimizer.step()
    assert -theta.item() == pytest.approx(step, rel=1e-3)


def test_what_has_no_gradient_stays():
    moved, still = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = RMSProp([moved, still], lr=0.1, eps=1e-5)
    moved.grad = torch.ones(2)
    optimizer.step()
    optimizer.zero_grad()
    optimizer.step()
    assert (still == 1).all() and moved.tolist() == pytest.approx([0.9, 0.9], rel=1e-4)


@pytest.mark.parametrize("saved_by", ["this version", "an earlier version"])
def test_the_statistics_are_saved(saved_by):
    theta, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    one, restored = RMSProp([theta], lr=0.1, eps=1e-5), RMSProp([other], lr=0.1, eps=1e-5, start=0)
    theta.grad = torch.tensor([3.0, -4.0])
    one.step()
    saved = copy.deepcopy(one.state_dict())
    if saved_by == "an earlier version":
        del saved["param_groups"][0]["start"]
    restored.load_state_dict(saved)
    assert restored.param_groups[0]["start"] == 1
    with torch.no_grad():
        other.copy_(theta)
    for parameter, optimizer in ((theta, one), (other, restored)):
        parameter.grad = torch.tensor([1.0, 1.0])
        optimizer.step()
    assert torch.equal(theta, other)
