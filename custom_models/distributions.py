"""The two policies: a choice among A actions, and a Gaussian over a box.

RLlib has both on top of torch.distributions; these are the same formulas without its argument checks, which cost more
than the formulas at the batch sizes of an acting step.
"""

import math

import torch

LOG_2PI = math.log(2 * math.pi)


def noise_like(x: torch.Tensor, of: int | None) -> torch.Tensor:
    """Room for noise: as x, or where x are only some rows of `of` (`first` and the next), for them all.

    So each row is drawn what it would be if all were drawn together, wherever the others are.
    """
    return torch.empty_like(x) if of is None else x.new_empty(of, *x.shape[1:])


class Categorical:
    """A choice among A actions, from unnormalised log probabilities [..., A]."""

    def __init__(self, logits: torch.Tensor):
        self.log_probs = logits.log_softmax(-1)  # [..., A]

    def sample(self, generator: torch.Generator, first: int = 0, of: int | None = None) -> torch.Tensor:
        """int64 [...], by the Gumbel trick; `first` and `of` as in `noise_like`."""
        noise = noise_like(self.log_probs, of)
        return (self.log_probs - noise.exponential_(generator=generator).log_()[first:][: len(self.log_probs)]).argmax(
            -1
        )

    def mode(self) -> torch.Tensor:
        return self.log_probs.argmax(-1)

    def logp(self, actions: torch.Tensor) -> torch.Tensor:
        return self.log_probs.gather(-1, actions[..., None])[..., 0]

    def entropy(self) -> torch.Tensor:
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def kl(self, other: "Categorical") -> torch.Tensor:
        """KL(self || other) [...]."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(-1)


class Gaussian:
    """Independent normals over D numbers, from [..., 2 D]: the means, then the logs of the standard deviations.

    Actions are unbounded here; the environment clips them to its box, and logp stays that of the unclipped action
    (Huang et al. 2022, detail 27).
    """

    def __init__(self, parameters: torch.Tensor):
        self.mean, self.log_std = parameters.chunk(2, -1)

    def sample(self, generator: torch.Generator, first: int = 0, of: int | None = None) -> torch.Tensor:
        """[..., D]; `first` and `of` as in `noise_like`."""
        noise = noise_like(self.mean, of).normal_(generator=generator)[first:][: len(self.mean)]
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> torch.Tensor:
        return self.mean

    def logp(self, actions: torch.Tensor) -> torch.Tensor:
        z = (actions - self.mean) * (-self.log_std).exp()
        return (-0.5 * (z**2 + LOG_2PI) - self.log_std).sum(-1)

    def entropy(self) -> torch.Tensor:
        return (self.log_std + 0.5 * (1 + LOG_2PI)).sum(-1)

    def kl(self, other: "Gaussian") -> torch.Tensor:
        """KL(self || other) [...]."""
        variance_ratio = (2 * (self.log_std - other.log_std)).exp()
        distance = ((self.mean - other.mean) * (-other.log_std).exp()) ** 2
        return 0.5 * (variance_ratio + distance - 1 - variance_ratio.log()).sum(-1)
