"""A2C with normalised returns: advantages and value errors are divided by the running scale of the returns.

So algo.lr and algo.entropy_coeff need not change with the size of a game's rewards.
"""

from dataclasses import dataclass
from typing import Any

from algorithms.a2c import A2C, COLUMNS, A2CLearner, a2c_loss, estimate_advantages
from settings.algorithms import A2CSettings
from settings.setting import at_least


@dataclass(frozen=True)
class Settings(A2CSettings):
    """The settings of A2C, and one more; its value stands in algo/normalized_a2c.yaml."""

    scale_decay: float = at_least(0, "share of the old scale that each update keeps", most=1)


class Algorithm(A2C):
    """Samples, updates and sends weights as A2C does."""


class Learner(A2CLearner):
    """A2C's learner with a scale: the running standard deviation of the returns."""

    scale = 1.0

    def add_gradient_of_rollouts(self, rollouts: list) -> None:
        algo, batch = self.algo, self.load(rollouts)  # [T, N, ...]
        batch |= estimate_advantages(batch, algo.gamma, algo.gae_lambda, self.config.env_settings.clip_rewards)
        std = self.compute_mean_and_std(batch["targets"][batch["valid"]])[1].item()
        self.scale = algo.scale_decay * self.scale + (1 - algo.scale_decay) * max(std, 1e-3)
        batch["advantages"] /= self.scale
        if algo.normalize_advantages:
            batch["advantages"] = self.standardize(batch["advantages"], batch["valid"])
        for microbatch in self.iterate_microbatches(batch, COLUMNS, algo.microbatch_size):
            policy, values, rows = self.forward(microbatch)
            loss, terms = a2c_loss(policy, values, rows, algo.vf_coeff / self.scale**2, algo.entropy_coeff)
            self.add_gradient(loss, terms | {"return_scale": loss.new_tensor(self.scale)})

    def get_state(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        return super().get_state(*args, **kwargs) | {"scale": self.scale}

    def set_state(self, state: dict[str, Any]) -> None:
        super().set_state(state)
        self.scale = state.get("scale", self.scale)
