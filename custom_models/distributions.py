"""The three kinds of policy: categorical over A actions, the same for each factor of an action, Gaussian over a box.

RLlib has them on top of torch.distributions. The formulas here are the same, without torch's checks of arguments: for
the small batch of one agent step the checks would take more time than the formulas.
"""

import math

import torch

LOG_2PI = math.log(2 * math.pi)


def allocate_noise(x: torch.Tensor, of: int | None) -> torch.Tensor:
    """Return an uninitialised tensor for the noise of `of` rows like those of x; None: for as many rows as x has.

    x has a row for each env of one env runner, and `of` is the number of envs of all env runners. Each env runner draws
    the noise of all envs and uses the rows of its own, so the actions do not depend on the number of env runners.
    """
    return torch.empty_like(x) if of is None else x.new_empty(of, *x.shape[1:])


class Categorical:
    """A categorical distribution over A actions, made from unnormalised log probabilities [..., A]."""

    def __init__(self, logits: torch.Tensor):
        self.log_probs = logits.log_softmax(-1)  # [..., A]

    def make_other(self, logits: torch.Tensor) -> "Categorical":
        """Return the policy of the same kind with other parameters [..., A]."""
        return Categorical(logits)

    def sample(self, generator: torch.Generator, first: int = 0, of: int | None = None) -> torch.Tensor:
        """Return random actions, int64 [...], by the Gumbel trick.

        Args:
            generator: of the random numbers.
            first: place of this policy's first row among the rows of all env runners.
            of: rows of all env runners together; None: there are no others. See `allocate_noise`.
        """
        noise = allocate_noise(self.log_probs, of).exponential_(generator=generator).log_()
        return (self.log_probs - noise[first:][: len(self.log_probs)]).argmax(-1)

    def mode(self) -> torch.Tensor:
        """Return the likeliest actions, int64 [...]."""
        return self.log_probs.argmax(-1)

    def logp(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the log probabilities of actions [...]."""
        return self.log_probs.gather(-1, actions[..., None])[..., 0]

    def entropy(self) -> torch.Tensor:
        """Return the entropy [...], in nats."""
        return -(self.log_probs.exp() * self.log_probs).sum(-1)

    def kl(self, other: "Categorical") -> torch.Tensor:
        """Return KL(self || other) [...], in nats."""
        return (self.log_probs.exp() * (self.log_probs - other.log_probs)).sum(-1)


class MultiCategorical:
    """Independent categorical distributions over D factors of an action, made from unnormalised log probabilities.

    Args:
        logits: [..., n_1 + ... + n_D], those of the first factor first.
        sizes: n_1, ..., n_D, the numbers of values of each factor.

    Log probability, entropy and KL are the sums of those of the factors.
    """

    def __init__(self, logits: torch.Tensor, sizes: tuple[int, ...]):
        self.sizes = sizes
        self.log_probs = torch.cat([part.log_softmax(-1) for part in logits.split(sizes, -1)], -1)

    def make_other(self, logits: torch.Tensor) -> "MultiCategorical":
        """Return the policy of the same kind and sizes with other parameters [..., n_1 + ... + n_D]."""
        return MultiCategorical(logits, self.sizes)

    def sample(self, generator: torch.Generator, first: int = 0, of: int | None = None) -> torch.Tensor:
        """Return random actions, int64 [..., D]; for the arguments see Categorical."""
        noise = allocate_noise(self.log_probs, of).exponential_(generator=generator).log_()
        return self._choose(self.log_probs - noise[first:][: len(self.log_probs)])

    def mode(self) -> torch.Tensor:
        """Return the likeliest actions, int64 [..., D]."""
        return self._choose(self.log_probs)

    def logp(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the log probabilities [...] of actions [..., D]."""
        parts = zip(self.log_probs.split(self.sizes, -1), actions.split(1, -1), strict=True)
        return torch.cat([part.gather(-1, chosen) for part, chosen in parts], -1).sum(-1)

    entropy, kl = Categorical.entropy, Categorical.kl  # they add up over all log_probs, of whichever factor

    def _choose(self, scores: torch.Tensor) -> torch.Tensor:
        """Return the place of the largest score of each factor, int64 [..., D]."""
        return torch.stack([part.argmax(-1) for part in scores.split(self.sizes, -1)], -1)


class Gaussian:
    """Independent normal distributions of D numbers, made from [..., 2 D]: means, then logs of standard deviations.

    Actions are unbounded here. The environment clips them to its box, but logp is that of the action before clipping
    (Huang et al. 2022, detail 27).
    """

    def __init__(self, parameters: torch.Tensor):
        self.mean, self.log_std = parameters.chunk(2, -1)

    def make_other(self, parameters: torch.Tensor) -> "Gaussian":
        """Return the policy of the same kind with other parameters [..., 2 D]."""
        return Gaussian(parameters)

    def sample(self, generator: torch.Generator, first: int = 0, of: int | None = None) -> torch.Tensor:
        """Return random actions, float32 [..., D]; for the arguments see Categorical."""
        noise = allocate_noise(self.mean, of).normal_(generator=generator)[first:][: len(self.mean)]
        return self.mean + self.log_std.exp() * noise

    def mode(self) -> torch.Tensor:
        """Return the likeliest actions, float32 [..., D]."""
        return self.mean

    def logp(self, actions: torch.Tensor) -> torch.Tensor:
        """Return the log densities of actions [...]."""
        z = (actions - self.mean) * (-self.log_std).exp()
        return (-0.5 * (z**2 + LOG_2PI) - self.log_std).sum(-1)

    def entropy(self) -> torch.Tensor:
        """Return the entropy [...], in nats."""
        return (self.log_std + 0.5 * (1 + LOG_2PI)).sum(-1)

    def kl(self, other: "Gaussian") -> torch.Tensor:
        """Return KL(self || other) [...], in nats."""
        variance_ratio = (2 * (self.log_std - other.log_std)).exp()
        distance = ((self.mean - other.mean) * (-other.log_std).exp()) ** 2
        return 0.5 * (variance_ratio + distance - 1 - variance_ratio.log()).sum(-1)
