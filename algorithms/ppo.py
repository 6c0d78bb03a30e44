"""PPO: proximal policy optimisation.

Paper: Schulman et al. 2017 (https://arxiv.org/abs/1707.06347), eqs. 7 and 9, settings of Table 5; where the paper is
silent, openai/baselines ppo2, as Huang et al. 2022 ("The 37 implementation details") describe it.

    env runners --Rollout--> advantages --minibatches, epochs--> loss --gradient--> weights --> env runners

Departures from the paper: 4 epochs instead of 3, a value coefficient of 0.5 instead of 1, values clipped like ratios,
gradients clipped at 0.5 and advantages standardised per minibatch, all as in baselines. Departure from baselines: a
time limit bootstraps; there it is a death. docs/algorithms/ppo.md has the whole list.
"""

import math
from typing import Any

import torch
from ray.rllib.algorithms.ppo import PPO as RLlibPPO
from ray.rllib.algorithms.ppo import PPOConfig as RLlibPPOConfig
from ray.rllib.algorithms.ppo.torch.ppo_torch_learner import PPOTorchLearner
from ray.rllib.core import DEFAULT_MODULE_ID

from algorithms.experiment import ReportsProgress, SuiteConfig
from algorithms.learner import Batch, RolloutLearner, Rows, everyones, mean_of_parts, num_rows
from rollouts.overlap import forget, sample_ahead
from rollouts.returns import clipped, explained_variance, gae
from rollouts.runner import Rollout, sample


class PPOConfig(SuiteConfig, RLlibPPOConfig):
    """RLlib's PPOConfig with the suite's runner, learner and model, and the settings RLlib has no word for."""

    def __init__(self, algo_class: type | None = None):
        super().__init__(algo_class or PPO)
        self.anneal_clip = True
        self.normalize_advantages = True
        self.overlap = False  # play the next rollouts while learning from the last
        self._dont_auto_sync_env_runner_states = True  # RLlib would wait for the env runners after every row
        self.vf_clip = None  # the value may move this far from the old one (baselines); None lets it move freely

    def get_default_learner_class(self) -> type["PPOLearner"]:
        return PPOLearner


class PPO(ReportsProgress, RLlibPPO):
    """`training_step` is one update: sample, learn, send the weights out."""

    @classmethod
    def get_default_config(cls) -> PPOConfig:
        return PPOConfig()

    def training_step(self) -> None:
        play = sample_ahead if self.config.overlap else sample
        rollouts, summaries = play(self.env_runner_group)
        results = self.learn_from(rollouts)
        self.send_weights()
        self.count(summaries, results)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        forget(self.env_runner_group)  # of other weights and other games; RLlib does not reach a runner that is busy
        super().load_checkpoint(checkpoint_dir)


class PPOLearner(RolloutLearner, PPOTorchLearner):
    """The loss, and the KL penalty's coefficient that follows its target."""

    def load(self, rollouts: list[Rollout]) -> Batch:
        ages = [self._weights_seq_no - rollout.weights_seq_no for rollout in rollouts]
        self.staleness = {"staleness": sum(ages) / len(ages)} if self.config.overlap else {}
        self.rows = Rows([rollout["valid"] for rollout in rollouts], self.net.recurrent, self._device)
        return super().load(rollouts)

    def report(self) -> dict[str, float]:
        return super().report() | self.staleness  # of the policy that acted, in updates

    def learn(self, batch: Batch) -> None:
        config, self.kl = self.config, []
        num_minibatches = math.ceil(everyones(num_rows(batch), self._device) / config.minibatch_size)
        for _epoch in range(config.num_epochs):
            for minibatch in self.pieces(batch, num_minibatches, self.rows):
                rows = num_rows(minibatch)
                everybodys, minibatch = everyones(rows, self._device), self.standardized(minibatch)
                if rows:  # not all of them are other learners'
                    self.add_gradient(minibatch, rows / everybodys)
                self.descend(minibatch)
        if self.kl:  # section 4 of the paper, with RLlib's factors
            measured, target = mean_of_parts(self.kl, self._shares).item(), config.kl_target
            coefficient: Any = self.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID]
            coefficient.data *= 1.5 if measured > 2 * target else 0.5 if measured < 0.5 * target else 1

    def get_state(self, *args, **kwargs) -> dict:
        state = super().get_state(*args, **kwargs)
        now = float(self.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID])
        return state | {"kl_coeff": now, "kl_coeff_began": self.config.kl_coeff}

    def set_state(self, state: dict) -> None:
        super().set_state(state)
        if "kl_coeff" in state and state.get("kl_coeff_began", self.config.kl_coeff) == self.config.kl_coeff:
            coefficient: Any = self.curr_kl_coeffs_per_module[DEFAULT_MODULE_ID]
            coefficient.data.fill_(state["kl_coeff"])

    def prepare(self, batch: Batch) -> Batch:
        config = self.config
        rewards = clipped(batch["rewards"]) if config.clip_rewards else batch["rewards"]
        values = batch["values"]
        ends = batch["final_values"], batch["terminated"], batch["truncated"]
        advantages = gae(rewards, values, *ends, config.gamma, config.lambda_, batch["valid"])
        targets = advantages + values[:-1]
        columns = {name: batch[name] for name in ("obs", "actions", "logp", "policy") if name in batch}
        return columns | {"values": values[:-1], "advantages": advantages, "targets": targets}

    def compute_loss_for_module(self, *, module_id: str, config: Any, batch: Batch, fwd_out: dict) -> Any:
        """L = L_clip + c1 L_vf - c2 S (+ beta KL), eqs. 7, 9 and 8 of the paper, over one minibatch.

        Args:
            batch: obs [B, ...], actions [B], logp [B], values [B], advantages [B], targets [B]; with a KL penalty also
                policy [B, P].
            fwd_out: `policy`, the present policy, and `values` [B].
        """
        policy, values = fwd_out["policy"], fwd_out["values"]
        clip = self.annealed(config.clip_param, config.anneal_clip)
        log_ratio = policy.logp(batch["actions"]) - batch["logp"]
        ratio = log_ratio.exp()  # 1 everywhere in the first minibatch of the first epoch
        surrogate = torch.min(ratio * batch["advantages"], ratio.clamp(1 - clip, 1 + clip) * batch["advantages"])
        policy_loss = -surrogate.mean()
        errors = (values - batch["targets"]) ** 2
        if config.vf_clip is not None:
            vf_clip = self.annealed(config.vf_clip, config.anneal_clip)
            near = batch["values"] + (values - batch["values"]).clamp(-vf_clip, vf_clip)
            errors = torch.max(errors, (near - batch["targets"]) ** 2)
        value_loss = 0.5 * errors.mean()
        entropy = policy.entropy().mean()
        loss = policy_loss + config.vf_loss_coeff * value_loss - config.entropy_coeff * entropy
        if config.use_kl_loss:
            kl = type(policy)(batch["policy"]).kl(policy).mean()
            coefficient: Any = self.curr_kl_coeffs_per_module[module_id]
            loss = loss + coefficient * kl
            self.kl.append(kl.detach())

        with torch.no_grad():
            self.log(
                policy_loss=policy_loss,
                value_loss=value_loss,
                entropy=entropy,
                approx_kl=(ratio - 1 - log_ratio).mean(),  # Schulman's k3 estimate of KL(old || new)
                clip_fraction=((ratio - 1).abs() > clip).float().mean(),
                explained_variance=explained_variance(batch["targets"], values),
            )
        return loss
