"""The optimizers: Adam, and RMSProp as the papers of this field write it."""

from collections.abc import Iterable, Sequence

import torch


class RMSProp(torch.optim.Optimizer):
    """RMSProp without momentum, epsilon under the root.

        g     <- decay g + (1 - decay) gradient^2
        theta <- theta - lr gradient / sqrt(g + eps)

    Source: Mnih et al. 2016, eqs. 8 and 9 (A3C). TensorFlow, and so openai/baselines, computes the same. torch's own
    RMSProp adds epsilon outside of the root, so the same epsilon makes a different optimizer: sqrt(1e-5) is 0.003.
    As in TensorFlow, g starts at 1, so that the first steps are small.

    Args:
        parameters: the parameters to optimise.
        lr: learning rate; may be changed in `param_groups`.
        eps: under the root.
        decay: of the mean square gradient g; A3C's alpha.
    """

    def __init__(self, parameters: Iterable[torch.Tensor], lr: float, eps: float, decay: float = 0.99):
        super().__init__(parameters, {"lr": lr, "eps": eps, "decay": decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step; parameters without a gradient do not change."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            for p in moved:
                if not self.state[p]:
                    self.state[p]["square"] = torch.ones_like(p)
            if not moved:
                continue
            gradients = [p.grad for p in moved]
            squares = [self.state[p]["square"] for p in moved]
            torch._foreach_mul_(squares, group["decay"])
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(moved, gradients, roots, -group["lr"])


def make_optimizer(name: str, parameters: Sequence[torch.Tensor], lr: float, eps: float) -> torch.optim.Optimizer:
    """Return the optimizer of a name, `adam` or `rmsprop`, for these parameters."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr, eps=eps, fused=True)
    return RMSProp(parameters, lr, eps)
