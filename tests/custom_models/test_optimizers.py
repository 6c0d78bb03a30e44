"""RMSProp as the papers write it."""

import copy

import pytest
import torch

from custom_models.optimizers import RMSProp


def slow_rmsprop(theta: list[float], gradients: list[list[float]], lr: float, eps: float) -> list[float]:
    """Mnih et al. 2016, eqs. 8 and 9, one number at a time."""
    theta, squares = list(theta), [1.0] * len(theta)
    for step in gradients:
        for i, gradient in enumerate(step):
            squares[i] = 0.99 * squares[i] + 0.01 * gradient**2
            theta[i] -= lr * gradient / (squares[i] + eps) ** 0.5
    return theta


@pytest.mark.parametrize("eps", [1e-5, 0.1])
def test_epsilon_is_under_the_root(eps):
    gradients = torch.randn(50, 3, dtype=torch.float64) * torch.tensor([1e-3, 1.0, 100.0])
    theta = torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64, requires_grad=True)
    optimizer = RMSProp([theta], lr=0.01, eps=eps)
    expected = slow_rmsprop(theta.tolist(), gradients.tolist(), 0.01, eps)
    for gradient in gradients:
        theta.grad = gradient.clone()
        optimizer.step()
    assert theta.tolist() == pytest.approx(expected, rel=1e-12)


def test_what_has_no_gradient_stays():
    moved, still = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    optimizer = RMSProp([moved, still], lr=0.1, eps=1e-5)
    moved.grad = torch.ones(2)
    optimizer.step()
    optimizer.zero_grad()
    optimizer.step()
    assert (still == 1).all() and moved.tolist() == pytest.approx([0.9, 0.9], rel=1e-4)


def test_the_statistics_are_saved():
    theta, other = torch.ones(2, requires_grad=True), torch.ones(2, requires_grad=True)
    one, restored = (RMSProp([p], lr=0.1, eps=1e-5) for p in (theta, other))
    theta.grad = torch.tensor([3.0, -4.0])
    one.step()
    restored.load_state_dict(copy.deepcopy(one.state_dict()))
    with torch.no_grad():
        other.copy_(theta)
    for parameter, optimizer in ((theta, one), (other, restored)):
        parameter.grad = torch.tensor([1.0, 1.0])
        optimizer.step()
    assert torch.equal(theta, other)
