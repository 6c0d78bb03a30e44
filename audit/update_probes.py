"""Probes of an update: the gradient of the live learner beside the paper's loss, which is written out.

random Rollout -> live learner, watched -> its gradient = a x policy + b x value + c x entropy; a, b and c as set?
"""

import dataclasses
from typing import Any, NamedTuple

import numpy as np
import torch

from audit.written_out import choose_coefficients, compute_gradients, compute_logp, make_policy, run_network
from probes.probe import Finding, Untested, judge, judge_rule, probe
from probes.subject import UNKNOWN_ROWS, Step, Subject, spread_heads
from rollouts.rollout import Rollout

FORMULAS = "Schulman et al. 2017, eqs. 7 and 9; Mnih et al. 2016, section 8; Williams 1992"
MOST_ROWS = 128  # of the random Rollout
TOLERANCE = {"bfloat16": 0.05}  # of the gradient, as a share of its length; others 1e-5
SHARE = 1e-3  # of the length of the gradient, or of the longest term's; a loss term with less of it is not judged
NEAR = 0.5  # how far the coefficient of a loss term that fits best may be from the one that was asked, as a share


class Fit(NamedTuple):
    """A live gradient beside the paper's."""

    coefficients: dict[str, float]  # of the loss terms, those that explain the live gradient best
    has_all_terms: bool  # whether the coefficient of every term that is part of the gradient is about the one asked
    distance: float  # from the paper's gradient, as a share of its length
    clipped_distance: float  # the same after both are clipped


class Comparison:
    """One live update from a random Rollout, and the gradients of the paper's loss for its first and last step.

    Args:
        subject: the live objects.
        progress: share of the run that is done, 0 to 1.
        num_steps: steps of the update that are looked at; 0: all of them.
    """

    def __init__(self, subject: Subject, progress: float = 0.0, num_steps: int = 0):
        learner, self.subject, self.progress = subject.copy_learner(), subject, progress
        spread_heads(learner.net)
        self.rollout = make_near_rollout(subject, learner)
        self.rows = np.flatnonzero(self.rollout["valid"])
        learner.algo = choose_small_minibatches(learner.algo, len(self.rows))
        self.update, self.learner = subject.record_update(learner, self.rollout, progress, num_steps), learner
        if any((step.rows < 0).any() for step in self.update.steps):
            raise Untested(UNKNOWN_ROWS)

    def fit(self, step: Step) -> Fit:
        """Compare the gradient of a step with the paper's."""
        assert step.gradient is not None and step.applied is not None
        parts = compute_gradients(self.subject, self.learner, self.rollout, step, self.progress)
        asked, live = choose_coefficients(self.subject), step.gradient.double()
        paper = sum((asked.get(name, 0.0) * part for name, part in parts.items()), torch.zeros_like(live))
        lengths = {name: float(part.norm()) for name, part in parts.items()}
        present = [name for name in parts if lengths[name] > SHARE * max(lengths.values())]
        table = torch.stack([parts[name] / lengths[name] for name in present], 1)  # [P, terms]
        solution = torch.linalg.lstsq(table, live[:, None]).solution[:, 0].tolist()
        found = {name: number / lengths[name] for name, number in zip(present, solution, strict=True)}
        limit = self.subject.algo.max_grad_norm or float("inf")
        clipped = paper * min(1.0, limit / (float(paper.norm()) + 1e-6))
        distance, after = (
            float((a - b).norm() / b.norm()) for a, b in ((live, paper), (step.applied.double(), clipped))
        )
        # Rounding to bfloat16 hides a term that is a small share of the gradient; its coefficient shows it.
        weights = {name: abs(asked.get(name, 0.0)) for name in present}
        judged = [name for name, weight in weights.items() if weight * lengths[name] > SHARE * float(paper.norm())]
        near = all(abs(found[name] - asked[name]) < NEAR * weights[name] for name in judged)
        return Fit(found, near, distance, after)


def make_near_rollout(subject: Subject, learner: Any) -> Rollout:
    """Return a random Rollout whose old policy and old values are near the learner's, within and beyond clip ranges."""
    steps = max(4, min(24, MOST_ROWS // subject.runner.num_envs))
    rollout, rng = subject.make_rollout(3, steps), np.random.default_rng(4)
    shape, batch = rollout["valid"].shape, learner.load([rollout])
    with torch.no_grad():
        numbers, values = run_network(learner.net, batch, torch.arange(rollout["valid"].size))
    actions = torch.from_numpy(rollout["actions"].copy()).flatten(0, 1)
    logp = compute_logp(make_policy(subject.net.action_space, numbers.double()), actions).view(shape).numpy()
    old = values.double().view(shape).numpy()
    columns = {
        "logp": (logp + rng.normal(0, 0.2, shape)).astype(np.float32),
        "values": np.concatenate([old + rng.normal(0, 0.3, shape), old[-1:]]).astype(np.float32),
    }
    return Rollout(dict(rollout.arrays) | columns, [], [], 0)


def choose_small_minibatches(algo: Any, rows: int) -> Any:
    """Return settings with three minibatches of the Rollout in two epochs, or with three microbatches."""
    small, third = {"num_epochs": 2}, max(2, rows // 3)
    small |= {name: third for name in ("minibatch_size", "microbatch_size") if getattr(algo, name, None)}
    return dataclasses.replace(algo, **{name: value for name, value in small.items() if hasattr(algo, name)})


def format_fit(fit: dict[str, float]) -> str:
    """Return `1 policy + 0.5 value - 0.01 entropy`; terms that are not there are left out."""
    shown = [(fit[name], name) for name in ("policy", "value", "entropy", "KL") if abs(fit.get(name, 0.0)) > 1e-6]
    text = " ".join(f"{'-' if c < 0 else '+'} {abs(c):.3g} {name}" for c, name in shown) or "0"
    return text.removeprefix("+ ") if text[0] != "-" else f"-{text[2:]}"


def measure_distances(subject: Subject, comparison: Comparison, step: Step) -> tuple[bool, str]:
    """Return whether the live gradient of a step is the paper's, and what was found."""
    fit, allowed = comparison.fit(step), TOLERANCE.get(subject.plan.dtype, 1e-5)
    after = fit.clipped_distance
    right = fit.has_all_terms and fit.distance < allowed and after < max(allowed, 1e-3)  # float32 sums of many squares
    text = f"{format_fit(fit.coefficients)}, off by {fit.distance:.1e} of {allowed:.0e} allowed"
    return right, text + ("" if after < max(allowed, 1e-3) else f", when clipped {after:.1e}")


@probe(
    "loss",
    "algorithms/: update and *_loss",
    FORMULAS,
    {"known_rule"},
)
def compare_gradient(subject: Subject) -> Finding:
    """The gradient of an update is that of the paper's loss, row by row."""
    if subject.algo_name == "pg":
        subject.require_choice()
    comparison = Comparison(subject)
    steps, found, right = comparison.update.steps, [], True
    for name, step in [("first", steps[0]), ("last", steps[-1])][: len(steps)]:
        holds, text = measure_distances(subject, comparison, step)
        right, found = right and holds, [*found, f"{name} step {text}"]
    asked = format_fit(choose_coefficients(subject))
    return judge_rule(subject, right, f"{len(comparison.rows)} random rows, asked {asked}; {'; '.join(found)}")


@probe(
    "loss",
    "algorithms/ppo.py: update",
    "Schulman et al. 2017, Table 5: 0.1 x alpha; SB3's and CleanRL's default is constant",
    {"ppo"},
)
def follow_clip(subject: Subject) -> Finding:
    """The clip range falls with the run where that is asked for."""
    algo, found, right = subject.algo, [], True
    for name, share in (("start", 0.0), ("middle", 0.5), ("end", 1.0)):
        comparison = Comparison(subject, share, num_steps=1)
        distance = comparison.fit(comparison.update.steps[0]).distance
        right &= distance < TOLERANCE.get(subject.plan.dtype, 1e-5)
        clip = algo.clip * (1 - share) if algo.clip_schedule == "linear" else algo.clip
        found.append(f"{name} {clip:g} ({distance:.1e})")
    return judge_rule(subject, right, f"{', '.join(found)}: how far the live gradient is from that of this clip range")


@probe(
    "loss",
    "custom_models/distributions.py",
    "all: torch.distributions or the same formulas",
)
def compare_distribution(subject: Subject) -> Finding:
    """Log-probability and entropy are the formulas'."""
    net, generator = subject.net, torch.Generator().manual_seed(1)
    size = net.policy.out_features * (1 if net.log_std is None else 2)
    numbers = torch.randn(32, size, generator=generator, dtype=torch.float64)
    ours, theirs = net.Policy(numbers), make_policy(net.action_space, numbers)
    actions = ours.sample(generator)
    entropy = torch.stack([one.entropy() for one in theirs]).sum(0)
    pairs = (ours.logp(actions), compute_logp(theirs, actions)), (ours.entropy(), entropy)
    worst = max(float((a - b).abs().max()) for a, b in pairs)
    return judge(worst < 1e-12, f"beside torch.distributions: largest difference {worst:.1e}")
