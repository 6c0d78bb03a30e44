"""What an update ought to compute, written out in float64: advantages in loops, the loss with torch.distributions, its
derivatives by finite differences.

    Rollout, settings --> advantages --> loss terms --finite differences, network--> one gradient per loss term
"""

from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Discrete, MultiDiscrete
from torch.distributions import Categorical, Distribution, Normal, kl_divergence
from torch.nn.utils import vector_to_parameters

from probes.subject import Step, Subject
from rollouts.rollout import Rollout

STEP = 1e-6  # of the finite differences


def sum_errors(rollout: Rollout, rewards: np.ndarray, gamma: float, lam: float) -> np.ndarray:
    """Return sum_l (gamma lambda)^l delta_{t+l} up to the end of the episode: float64 [T, N], 0 in ignored rows.

    A TD error goes from a valid row to the next valid row; rewards of the ignored rows between them belong to it.
    """
    v, last = rollout["values"].astype(float), rollout["final_values"].astype(float)
    dead, cut, valid = (rollout[name] for name in ("terminated", "truncated", "valid"))
    result, steps = np.zeros(rewards.shape), len(rewards)
    for first, n in np.argwhere(valid):
        t, factor, ended = first, 1.0, False
        while t < steps and not ended:
            error, discount, following = -v[t, n], 1.0, False
            while t < steps and not ended and not following:
                error, discount = error + discount * rewards[t, n], discount * gamma
                ended, t = dead[t, n] or cut[t, n], t + 1
                following = t < steps and valid[t, n]
            after = 0.0 if dead[t - 1, n] else last[t - 1, n] if cut[t - 1, n] else v[t, n]
            result[first, n] += factor * (error + discount * after)
            factor *= discount * lam
    return result


def sum_rewards(rollout: Rollout, rewards: np.ndarray, gamma: float) -> np.ndarray:
    """Return the discounted sum of the rewards up to the end of the episode: float64 [T, N]."""
    ends, result = rollout["terminated"] | rollout["truncated"], np.zeros(rewards.shape)
    for t, n in np.ndindex(*rewards.shape):
        for later in range(t, len(rewards)):
            result[t, n] += gamma ** (later - t) * rewards[later, n]
            if ends[later, n]:
                break
    return result


def read_rewards(subject: Subject, rollout: Rollout) -> np.ndarray:
    """Return the rewards that the settings let the loss see: float64 [T, N]."""
    rewards = rollout["rewards"].astype(float)
    return np.sign(rewards) if subject.env.get("clip_rewards") else rewards


def make_policy(space: Any, numbers: torch.Tensor) -> list[Distribution]:
    """Return torch's distributions of each factor of an action, made from the network's numbers [B, P]."""
    if isinstance(space, Discrete):
        return [Categorical(logits=numbers)]
    if isinstance(space, MultiDiscrete):
        return [Categorical(logits=part) for part in numbers.split([int(n) for n in space.nvec.flatten()], -1)]
    mean, log_std = numbers.chunk(2, -1)
    return [Normal(mean[:, n], log_std[:, n].exp()) for n in range(mean.shape[1])]


def compute_logp(policy: list[Distribution], actions: torch.Tensor) -> torch.Tensor:
    """Return the log probabilities of actions [B] or [B, D]: [B]."""
    columns = actions.reshape(len(actions), -1).unbind(1)
    return torch.stack([one.log_prob(chosen) for one, chosen in zip(policy, columns, strict=True)]).sum(0)


def run_network(net: Any, batch: dict[str, torch.Tensor], rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the numbers of the policy [B, P] and the values [B] of rows, with gradients.

    Args:
        net: the live network.
        batch: columns of a Rollout [T, N, ...], as the learner loads them.
        rows: int [B], t * N + n.
    """
    if not net.recurrent:
        return net.compute_policy_and_value(batch["obs"].flatten(0, 1)[rows], net.pack())
    starts = torch.zeros_like(batch["game_reset"])
    starts[1:] = batch["game_reset"][:-1]
    numbers, values = net.unroll(batch["obs"], net.pack(), tuple(batch["memory"]), starts)
    return numbers.flatten(0, 1)[rows], values.flatten()[rows]


def choose_coefficients(subject: Subject) -> dict[str, float]:
    """Return what the paper's loss multiplies each of its terms with."""
    algo = subject.algo
    found = {"policy": 1.0, "value": getattr(algo, "vf_coeff", 0.0), "entropy": -algo.entropy_coeff}
    found["KL"] = getattr(algo, "kl_coeff", 0.0)
    return {name: coefficient for name, coefficient in found.items() if coefficient}


class WrittenLoss:
    """The paper's loss of some rows of a Rollout.

    Args:
        subject: whose settings the loss has.
        rollout: the rows.
        rows: int [B], which of them one step of the optimizer learns from.
        progress: share of the run that is done, 0 to 1, for the clip range.
    """

    def __init__(self, subject: Subject, rollout: Rollout, rows: torch.Tensor, progress: float):
        self.algo, self.name, self.space = subject.algo, subject.algo_name, subject.net.action_space
        rewards, gamma = read_rewards(subject, rollout), subject.algo.gamma

        def pick(column: np.ndarray) -> torch.Tensor:
            return torch.from_numpy(np.array(column)).flatten(0, 1)[rows]

        self.actions, self.old_logp = pick(rollout["actions"]), pick(rollout["logp"]).double()
        self.old_values = pick(rollout["values"][:-1]).double()
        self.old_numbers = pick(rollout["policy"]).double() if "policy" in rollout else None
        if self.name == "pg":
            self.weights = pick(sum_rewards(rollout, rewards, gamma))
            std = self.weights.std(correction=0).clamp(min=1e-3)
            self.weights -= self.weights.mean() if self.algo.baseline == "average" else 0
            self.weights /= std if self.algo.standardize_returns else 1
        else:
            self.weights = pick(sum_errors(rollout, rewards, gamma, self.algo.gae_lambda))
            self.targets = self.weights + self.old_values
            if self.algo.normalize_advantages:
                self.weights = (self.weights - self.weights.mean()) / (self.weights.std(correction=0) + 1e-8)
        share = 1 - progress if getattr(self.algo, "clip_schedule", "") == "linear" else 1.0
        self.clip, self.vf_clip = (getattr(self.algo, name, None) for name in ("clip", "vf_clip"))
        self.clip = self.clip and self.clip * share
        self.vf_clip = self.vf_clip and self.vf_clip * share

    def compute_terms(self, numbers: torch.Tensor, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the terms of the loss, float64 [B] each, of the policy's numbers [B, P] and the values [B]."""
        policy = make_policy(self.space, numbers)
        logp, terms = compute_logp(policy, self.actions), {}
        if self.clip is None:
            terms["policy"] = -logp * self.weights
        else:
            ratio = (logp - self.old_logp).exp()
            terms["policy"] = -torch.minimum(
                ratio * self.weights, ratio.clamp(1 - self.clip, 1 + self.clip) * self.weights
            )
        terms["entropy"] = torch.stack([one.entropy() for one in policy]).sum(0)
        if self.name != "pg":
            errors = (values - self.targets) ** 2
            if self.vf_clip is not None:
                near = self.old_values + (values - self.old_values).clamp(-self.vf_clip, self.vf_clip)
                errors = torch.maximum(errors, (near - self.targets) ** 2)
            terms["value"] = errors / 2
        if self.old_numbers is not None:
            old = make_policy(self.space, self.old_numbers)
            terms["KL"] = torch.stack([kl_divergence(a, b) for a, b in zip(old, policy, strict=True)]).sum(0)
        return terms

    def differentiate(self, numbers: torch.Tensor, values: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return the derivatives of each mean term by the policy's numbers and the value, [B, P + 1] by term."""
        numbers, values, found = numbers.detach().double(), values.detach().double(), {}
        for place in range(numbers.shape[1] + 1):
            sides = []
            for step in (STEP, -STEP):
                moved = torch.cat([numbers, values[:, None]], 1)
                moved[:, place] += step
                sides.append(self.compute_terms(moved[:, :-1], moved[:, -1]))
            for name, up in sides[0].items():
                found.setdefault(name, []).append((up - sides[1][name]) / (2 * STEP) / len(values))
        return {name: torch.stack(columns, 1) for name, columns in found.items()}


def compute_gradients(subject: Subject, learner: Any, rollout: Rollout, step: Step, progress: float) -> dict:
    """Return the gradient of each term of the paper's loss, float64 [P] by term, at the weights before a step.

    The derivatives by what the network puts out are finite differences; the network itself, which other probes
    compare, takes them back to its weights.
    """
    assert step.weights is not None
    vector_to_parameters(step.weights, learner.parameters)
    numbers, values = run_network(learner.net, learner.load([rollout]), step.rows)
    found = {}
    for name, derivatives in WrittenLoss(subject, rollout, step.rows, progress).differentiate(numbers, values).items():
        out = derivatives.to(numbers.dtype)
        parts = torch.autograd.grad(
            (numbers, values), learner.parameters, (out[:, :-1], out[:, -1]), retain_graph=True, allow_unused=True
        )
        filled = [torch.zeros_like(p) if g is None else g for p, g in zip(learner.parameters, parts, strict=True)]
        found[name] = torch.cat([part.flatten() for part in filled]).double()
    return found
