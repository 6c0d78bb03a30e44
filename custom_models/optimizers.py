"""The optimizers: Adam, and RMSProp as the papers of this field write it."""

from collections.abc import Iterable, Sequence

import torch


class RMSProp(torch.optim.Optimizer):
    """RMSProp without momentum, epsilon under the root.

        g     <- decay g + (1 - decay) gradient^2
        theta <- theta - lr gradient / sqrt(g + eps)

    Source: Mnih et al. 2016, eqs. 8 and 9 (A3C). TensorFlow, and so openai/baselines, computes the same. torch's own
    RMSProp adds epsilon outside of the root, so the same epsilon makes a different optimizer: sqrt(1e-5) is 0.003.

    The start of g decides the size of the first steps, because g forgets it slowly: 0.99^500 is 0.0066.

    - 1, as in TensorFlow and so in openai/baselines: a gradient much smaller than 1 meets a root of about 0.99^(k / 2)
      in step k, so the first steps are small. At an eps of 1e-5, those of a gradient of 0.001 have half their size or
      more only from step 1,027 on.
    - 0, as in PFRL and torch: step 1 is lr gradient / sqrt(0.01 gradient^2 + eps). With equal gradients and eps = 0,
      step k is lr / sqrt(1 - 0.99^k): 10 lr, 7.1 lr, 5.8 lr, in step 100 still 1.3 lr. Adam corrects this bias; not to
      correct it, says its paper (Kingma and Ba 2015, section 5), "leads to very large stepsizes and often divergence".
      An epsilon under the root bounds every step to lr gradient / sqrt(eps), so only gradients that are large beside
      10 sqrt(eps), 0.03 at 1e-5, make first steps near 10 lr. At 1e-14 nearly all do.

    Args:
        parameters: the parameters to optimise.
        lr: learning rate; may be changed in `param_groups`.
        eps: under the root.
        start: of the mean square gradient g, 0 or 1.
        decay: of g; A3C's alpha.
    """

    def __init__(
        self, parameters: Iterable[torch.Tensor], lr: float, eps: float, start: float = 1.0, decay: float = 0.99
    ):
        super().__init__(parameters, {"lr": lr, "eps": eps, "start": start, "decay": decay})

    def __setstate__(self, state: dict) -> None:
        """Load a state; in those of earlier versions, g started at 1."""
        super().__setstate__(state)
        for group in self.param_groups:
            group.setdefault("start", 1.0)

    @torch.no_grad()
    def step(self, closure: None = None) -> None:
        """Take one step; parameters without a gradient do not change."""
        for group in self.param_groups:
            moved = [p for p in group["params"] if p.grad is not None]
            for p in moved:
                if not self.state[p]:
                    self.state[p]["square"] = torch.full_like(p, group["start"])
            if not moved:
                continue
            gradients = [p.grad for p in moved]
            squares = [self.state[p]["square"] for p in moved]
            torch._foreach_mul_(squares, group["decay"])
            torch._foreach_addcmul_(squares, gradients, gradients, 1 - group["decay"])
            roots = torch._foreach_add(squares, group["eps"])
            torch._foreach_sqrt_(roots)
            torch._foreach_addcdiv_(moved, gradients, roots, -group["lr"])


def make_optimizer(
    name: str, parameters: Sequence[torch.Tensor], lr: float, eps: float, rmsprop_start: float
) -> torch.optim.Optimizer:
    """Return the optimizer of a name, `adam` or `rmsprop`, for these parameters; Adam does not use `rmsprop_start`."""
    if name == "adam":
        return torch.optim.Adam(parameters, lr, eps=eps, fused=True)
    return RMSProp(parameters, lr, eps, rmsprop_start)
