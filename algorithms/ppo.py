"""PPO: proximal policy optimisation.

Paper: Schulman et al. 2017 (https://arxiv.org/abs/1707.06347), eqs. 7 and 9, settings of Table 5; where the paper is
silent, openai/baselines ppo2, as Huang et al. 2022 ("The 37 implementation details") describe it.

    env runners --Rollout--> advantages --minibatches, epochs--> loss --gradient--> weights --> env runners

Departures from the paper: 4 epochs instead of 3, a value coefficient of 0.5 instead of 1, the change of a value
clipped, gradients clipped at 0.5 and advantages standardised per minibatch, all as in baselines. Departure from
baselines: a time limit bootstraps; there it counts as a termination. docs/algorithms/ppo.md has the whole list.
"""

from typing import Any

import torch

from algorithms.learner import PROGRESS, Batch, RolloutLearner
from algorithms.suite_algorithm import SuiteAlgorithm, SuiteConfig
from rollouts.returns import clip_to_sign, explained_variance, gae
from rollouts.rollout import RolloutData
from rollouts.sampling import drop_requested_rollouts, sample_ahead, sample_rollouts

COLUMNS = ("actions", "logp", "policy", "values", "advantages", "targets")  # the loss reads them


class PPOConfig(SuiteConfig):
    """RLlib's config with PPO's learner."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or PPO)

    def records_policy(self) -> bool:
        return self.algo.kl_coeff > 0

    def get_default_learner_class(self) -> type["PPOLearner"]:
        return PPOLearner


class PPO(SuiteAlgorithm):
    """The Algorithm: `training_step` samples, updates the learner and sends the weights to the env runners."""

    @classmethod
    def get_default_config(cls) -> PPOConfig:
        return PPOConfig()

    def training_step(self) -> None:
        sample = sample_ahead if self.config.algo.overlap else sample_rollouts
        rollouts, summaries = sample(self.env_runner_group)
        results = self.update_learner(rollouts)
        self.send_weights()
        self.log_update(summaries, results)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        # These rollouts have other weights and other games, and RLlib does not reach a runner that is busy.
        drop_requested_rollouts(self.env_runner_group)
        super().load_checkpoint(checkpoint_dir)


class PPOLearner(RolloutLearner):
    """The learner: an update is several epochs of minibatches, with one step on each.

    Attributes:
        kl_coeff: beta, the weight of the KL penalty, a scalar; it is adapted after every update.
    """

    def build(self) -> None:
        super().build()
        self.kl_coeff = torch.tensor(float(self.algo.kl_coeff), device=self._device)

    def update(self, *, training_data: RolloutData, timesteps: dict[str, Any], **kwargs) -> dict[str, float]:
        """Update the network from Rollouts of equal horizon: `num_epochs` passes, with a step on each minibatch."""
        algo, rollouts = self.algo, training_data.fetch()
        self.begin_update(timesteps[PROGRESS])
        batch = self.load(rollouts)  # [T, N, ...]
        batch |= estimate_advantages(batch, algo.gamma, algo.gae_lambda, self.config.env_settings.clip_rewards)

        clip = self.anneal(algo.clip, algo.clip_schedule)
        vf_clip = None if algo.vf_clip is None else self.anneal(algo.vf_clip, algo.clip_schedule)
        coefficients = algo.vf_coeff, algo.entropy_coeff, self.kl_coeff if algo.kl_coeff > 0 else None
        standardize = "advantages" if algo.normalize_advantages else None
        for minibatch in self.iterate_minibatches(batch, COLUMNS, algo.minibatch_size, algo.num_epochs, standardize):
            self.add_gradient_of(ppo_loss, minibatch, clip, vf_clip, *coefficients)
            self.step()

        if algo.kl_coeff > 0:  # section 4 of the paper, with RLlib's factors
            kl, target = self.take_mean("kl"), algo.kl_target
            self.kl_coeff *= 1.5 if kl > 2 * target else 0.5 if kl < 0.5 * target else 1
        staleness = [self._weights_seq_no - rollout.weights_seq_no for rollout in rollouts]  # in updates
        return self.report() | ({"staleness": sum(staleness) / len(staleness)} if algo.overlap else {})

    def get_state(self, *args, **kwargs) -> dict:
        state = super().get_state(*args, **kwargs)
        return state | {"kl_coeff": float(self.kl_coeff), "kl_coeff_began": self.algo.kl_coeff}

    def set_state(self, state: dict) -> None:
        super().set_state(state)
        if "kl_coeff" in state and state.get("kl_coeff_began", self.algo.kl_coeff) == self.algo.kl_coeff:
            self.kl_coeff.fill_(state["kl_coeff"])


def estimate_advantages(batch: Batch, gamma: float, gae_lambda: float, clip_rewards: bool) -> Batch:
    """Return the old values, the advantages and the targets of the values, each float32 [T, N].

    Args:
        batch: the columns of a Rollout; `values` [T + 1, N], the last row is the bootstrap.
        gamma, gae_lambda: see `gae`.
        clip_rewards: whether rewards are replaced by their signs.

    Returns:
        `values` when the actions were chosen, `advantages`, and `targets` of the values: advantages + values.
    """
    rewards = clip_to_sign(batch["rewards"]) if clip_rewards else batch["rewards"]
    values = batch["values"]
    ends = batch["final_values"], batch["terminated"], batch["truncated"]
    advantages = gae(rewards, values, *ends, gamma, gae_lambda, batch["valid"])
    return {"values": values[:-1], "advantages": advantages, "targets": advantages + values[:-1]}


def ppo_loss(
    policy: Any,
    values: torch.Tensor,
    batch: Batch,
    clip: float,
    vf_clip: float | None,
    vf_coeff: float,
    entropy_coeff: float,
    kl_coeff: torch.Tensor | None,
) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return PPO's loss of one minibatch, -L_clip + c1 L_vf - c2 mean(S) (+ beta KL), and its terms: eqs. 7, 9 and 8.

    Args:
        policy: the present policy, a distribution over [B].
        values: the present values [B].
        batch: actions [B], logp [B], values [B], advantages [B], targets [B]; with a KL penalty also policy [B, P].
        clip: epsilon, how far the ratio may move from 1.
        vf_clip: how far the value may move from the old one; None lets it move freely.
        vf_coeff, entropy_coeff: c1 and c2.
        kl_coeff: beta, a scalar; None: no penalty.

    Returns:
        The loss, a scalar, and its terms for the report, scalars too.
    """
    log_ratio = policy.logp(batch["actions"]) - batch["logp"]
    ratio = log_ratio.exp()  # 1 everywhere in the first minibatch of the first epoch
    surrogate = torch.min(ratio * batch["advantages"], ratio.clamp(1 - clip, 1 + clip) * batch["advantages"])
    policy_loss = -surrogate.mean()
    errors = (values - batch["targets"]) ** 2
    if vf_clip is not None:
        clipped = batch["values"] + (values - batch["values"]).clamp(-vf_clip, vf_clip)
        errors = torch.max(errors, (clipped - batch["targets"]) ** 2)
    value_loss = 0.5 * errors.mean()
    entropy = policy.entropy().mean()
    loss = policy_loss + vf_coeff * value_loss - entropy_coeff * entropy
    kl = None
    if kl_coeff is not None:
        kl = policy.make_other(batch["policy"]).kl(policy).mean()
        loss = loss + kl_coeff * kl

    with torch.no_grad():
        terms = {
            "policy_loss": policy_loss,
            "value_loss": value_loss,
            "entropy": entropy,
            "approx_kl": (ratio - 1 - log_ratio).mean(),  # Schulman's k3 estimate of KL(old || new)
            "clip_fraction": ((ratio - 1).abs() > clip).float().mean(),
            "explained_variance": explained_variance(batch["targets"], values),
        }
    return loss, terms if kl is None else terms | {"kl": kl}
