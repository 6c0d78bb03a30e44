"""Probes of the loss: its value and gradient beside formulas that are written out, and what a minibatch holds."""

import math
from collections.abc import Callable

import numpy as np
import torch

from algorithms.a2c import a2c_loss
from algorithms.pg import pg_loss
from algorithms.ppo import ppo_loss
from custom_models.distributions import Categorical, Gaussian
from probes.probe import Finding, judge, probe
from probes.subject import Subject

ROWS, ACTIONS = 16, 5
LOSSES = {"a2c": a2c_loss, "a3c": a2c_loss, "ppo": ppo_loss, "pg": pg_loss}
CLIP, VF_CLIP = 0.1, 0.2


def make_minibatch(seed: int) -> dict[str, np.ndarray]:
    """Return random rows of a loss, float64 [B], with logits [B, A]; the old policy is near the present one."""
    rng = np.random.default_rng(seed)
    logits, actions = rng.normal(size=(ROWS, ACTIONS)), rng.integers(0, ACTIONS, ROWS)
    log_probs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    values = rng.normal(size=ROWS)
    return {
        "logits": logits,
        "values": values,
        "actions": actions,
        "logp": log_probs[np.arange(ROWS), actions] + rng.normal(0, 0.2, ROWS),
        "old_values": values + rng.normal(0, 0.3, ROWS),
        "advantages": rng.normal(size=ROWS),
        "targets": rng.normal(size=ROWS),
    }


def compute_loss(subject: Subject, rows: dict[str, np.ndarray]) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the suite's loss of these rows, and the logits and values that it was computed from, with gradients."""
    logits, values = (torch.tensor(rows[name], requires_grad=True) for name in ("logits", "values"))
    batch = {name: torch.tensor(rows[name]) for name in ("actions", "logp", "advantages", "targets")}
    batch |= {"values": torch.tensor(rows["old_values"])}
    batch |= {"weights": batch["advantages"], "returns": batch["targets"]}
    algo, policy = subject.algo, Categorical(logits)
    if subject.algo_name == "pg":
        loss, _ = pg_loss(policy, batch, algo.entropy_coeff)
    elif subject.algo_name == "ppo":
        vf_clip = VF_CLIP if algo.vf_clip else None
        loss, _ = ppo_loss(policy, values, batch, CLIP, vf_clip, algo.vf_coeff, algo.entropy_coeff, None)
    else:
        loss, _ = a2c_loss(policy, values, batch, algo.vf_coeff, algo.entropy_coeff)
    return loss, logits, values


def compute_loss_slowly(subject: Subject, rows: dict[str, np.ndarray]) -> float:
    """Return the paper's loss of these rows, row by row."""
    algo, total = subject.algo, 0.0
    for i in range(ROWS):
        exps = [math.exp(x) for x in rows["logits"][i]]
        probs = [x / sum(exps) for x in exps]
        logp = math.log(probs[rows["actions"][i]])
        entropy = -sum(p * math.log(p) for p in probs)
        a, v, old, target = (rows[name][i] for name in ("advantages", "values", "old_values", "targets"))
        if subject.algo_name == "ppo":
            ratio = math.exp(logp - rows["logp"][i])
            policy_loss = -min(ratio * a, min(max(ratio, 1 - CLIP), 1 + CLIP) * a)
            error = (v - target) ** 2
            if algo.vf_clip:
                error = max(error, (old + min(max(v - old, -VF_CLIP), VF_CLIP) - target) ** 2)
        else:
            policy_loss, error = -logp * a, (v - target) ** 2
        value_loss = 0.0 if subject.algo_name == "pg" else algo.vf_coeff * 0.5 * error
        total += policy_loss + value_loss - algo.entropy_coeff * entropy
    return total / ROWS


FORMULAS = "Schulman et al. 2017, eqs. 7 and 9; Mnih et al. 2016, section 8; Williams 1992"


@probe("loss", "algorithms/: *_loss", FORMULAS)
def compare_loss(subject: Subject) -> Finding:
    """The loss is the paper's, row by row."""
    worst = 0.0
    for seed in range(5):
        rows = make_minibatch(seed)
        worst = max(worst, abs(compute_loss(subject, rows)[0].item() - compute_loss_slowly(subject, rows)))
    return judge(worst < 1e-12, f"5 minibatches of {ROWS} in float64: largest difference {worst:.1e}")


@probe("loss", "algorithms/: *_loss", "autograd computes it in all")
def compare_gradient(subject: Subject) -> Finding:
    """Its gradient is that of finite differences."""
    rows, step, worst, count = make_minibatch(9), 1e-6, 0.0, 0
    loss, logits, values = compute_loss(subject, rows)
    loss.backward()
    for name, tensor in (("logits", logits), ("values", values)):
        gradient = np.zeros_like(rows[name]) if tensor.grad is None else tensor.grad.numpy()
        for place in np.ndindex(rows[name].shape):
            sides = []
            for sign in (1, -1):
                moved = rows | {name: rows[name].copy()}
                moved[name][place] += sign * step
                sides.append(compute_loss_slowly(subject, moved))
            worst = max(worst, abs((sides[0] - sides[1]) / (2 * step) - gradient[place]))
            count += 1
    return judge(worst < 1e-7, f"{count} derivatives of the written-out loss: largest difference {worst:.1e}")


@probe(
    "loss",
    "custom_models/distributions.py",
    "all: torch.distributions or the same formulas",
)
def compare_distribution(subject: Subject) -> Finding:
    """Log-probability and entropy are the formulas'."""
    generator = torch.Generator().manual_seed(1)
    numbers = torch.randn(32, 6, generator=generator, dtype=torch.float64)
    if subject.discrete:
        ours, theirs = Categorical(numbers), torch.distributions.Categorical(logits=numbers)
        actions = torch.randint(0, 6, (32,), generator=generator)
        pairs = (ours.logp(actions), theirs.log_prob(actions)), (ours.entropy(), theirs.entropy())
    else:
        ours = Gaussian(numbers)
        theirs = torch.distributions.Normal(numbers[:, :3], numbers[:, 3:].exp())
        actions = torch.randn(32, 3, generator=generator, dtype=torch.float64)
        pairs = (ours.logp(actions), theirs.log_prob(actions).sum(1)), (ours.entropy(), theirs.entropy().sum(1))
    worst = max(float((a - b).abs().max()) for a, b in pairs)
    return judge(worst < 1e-12, f"beside torch.distributions: largest difference {worst:.1e}")


@probe(
    "loss",
    "custom_models/distributions.py: sample",
    "all: the same",
    {"discrete"},
)
def count_actions(subject: Subject) -> Finding:
    """Actions are drawn as often as the policy says."""
    logits, draws = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0]), 20_000
    policy = Categorical(logits.expand(draws, 5))
    drawn = policy.sample(torch.Generator().manual_seed(3)).bincount(minlength=5).double() / draws
    expected = logits.double().softmax(0)
    sigma = float(((drawn - expected).abs() / (expected * (1 - expected) / draws).sqrt()).max())
    return judge(sigma < 5, f"{draws:,} draws: largest deviation {sigma:.1f} standard errors")


@probe(
    "loss",
    "algorithms/learner.py: forward, rollouts/runner.py: _play_step",
    "all: the ratio begins at 1 (Huang et al. 2022, a sign of a right implementation)",
)
def compare_policies(subject: Subject) -> Finding:
    """The policy that learns is the policy that acted: the ratio of the first minibatch is 1."""
    batch = subject.batch
    with torch.no_grad():
        policy, _, rows = subject.learner.forward(subject.learner.select_rows(batch, ("actions", "logp")))
        log_ratio = policy.logp(rows["actions"]) - rows["logp"]
    worst, mean = float(log_ratio.abs().max()), float(log_ratio.abs().mean())
    allowed = 0.05 if subject.plan.dtype == "bfloat16" else 1e-4
    found = f"{len(log_ratio):,} rows in {subject.plan.dtype}: ratios 1 +- {worst:.1e}, {mean:.1e} in the mean"
    return judge(worst < allowed, found)


@probe(
    "loss",
    "algorithms/learner.py: iterate_minibatches",
    "baselines, SB3, CleanRL: the same",
    {"ppo"},
)
def count_rows(subject: Subject) -> Finding:
    """Every epoch shows every row once, in minibatches of the size that was set."""
    minibatches = subject.first_update.minibatches
    rows, epochs = int(subject.batch["valid"].sum()), subject.algo.num_epochs
    axis = 1 if subject.net.recurrent else 0
    sizes = [len(m["actions"]) if axis == 0 else int(m["valid"].sum()) for m in minibatches]
    per_epoch = len(minibatches) / epochs
    found = f"{epochs} epochs of {per_epoch:g} minibatches of {min(sizes)} to {max(sizes)} of {rows} rows"
    return judge(sum(sizes) == rows * epochs and per_epoch == int(per_epoch), found)


@probe(
    "loss",
    "algorithms/a2c.py, algorithms/pg.py: update",
    "Mnih et al. 2016: one step per worker and t_max steps; baselines a2c: one per batch",
    {"one_step"},
)
def count_steps(subject: Subject) -> Finding:
    """An update is one step on all rows."""
    steps, parts = subject.first_update.gradients, subject.first_update.minibatches
    return judge(len(steps) == 1, f"{len(steps)} step of the optimizer; its gradient is summed over {len(parts)} parts")


def measure_scope(subject: Subject, column: str) -> list[tuple[float, float]]:
    """Return mean and standard deviation of a column in every minibatch of one update."""
    found = []
    for minibatch in subject.first_update.minibatches:
        numbers = minibatch[column][minibatch["valid"]] if "valid" in minibatch else minibatch[column]
        found.append((float(numbers.mean()), float(numbers.std(correction=0))))
    return found


@probe(
    "loss",
    "algorithms/learner.py: standardize",
    "PPO: per minibatch in baselines and CleanRL, as here; A2C: raw in the paper and baselines",
    {"actor_critic"},
)
def measure_advantages(subject: Subject) -> Finding:
    """Advantages have mean 0 and standard deviation 1 where that is asked for, else they are raw."""
    parts = measure_scope(subject, "advantages")
    mean, std = max(abs(m) for m, _ in parts), [s for _, s in parts]
    standard = mean < 1e-4 and all(abs(s - 1) < 1e-2 or s == 0 for s in std)
    scope = "per minibatch" if len(parts) > 1 else "per batch"
    found = f"{len(parts)} parts: |mean| up to {mean:.1e}, standard deviation {min(std):.3g} to {max(std):.3g}"
    asked = subject.algo.normalize_advantages
    return judge(standard == asked or (not asked and not standard), f"{found}; asked: {scope if asked else 'raw'}")


@probe(
    "loss",
    "algorithms/pg.py: weigh_returns",
    "the lecture: returns, or returns less their mean",
    {"pg"},
)
def measure_weights(subject: Subject) -> Finding:
    """Returns are weighed as the settings say."""
    returns, valid = torch.randn(50, 4), torch.ones(50, 4, dtype=torch.bool)
    weights = subject.learner.weigh_returns(returns * 3 + 2, valid)
    mean, std = float(weights.mean()), float(weights.std(correction=0))
    algo = subject.algo
    right = (abs(mean) < 1e-5) == (algo.baseline == "average") and (abs(std - 1) < 1e-3) == algo.standardize_returns
    return judge(right, f"returns 2 +- 3 become {mean:.2f} +- {std:.2f}")


def look_at_three_points(change: Callable[[float], float]) -> list[float]:
    """Return what a schedule gives at the start, in the middle and at the end of a run."""
    return [change(share) for share in (0.0, 0.5, 1.0)]


@probe(
    "loss",
    "algorithms/ppo.py: update",
    "Schulman et al. 2017, Table 5: 0.1 x alpha; SB3's and CleanRL's default is constant",
    {"ppo"},
)
def follow_clip(subject: Subject) -> Finding:
    """The clip range falls with the run where that is asked for."""
    learner, algo = subject.learner, subject.algo

    def at(share: float) -> float:
        learner.begin_update(share)
        return learner.anneal(algo.clip, algo.clip_schedule)

    start, middle, end = look_at_three_points(at)
    expected = (algo.clip, algo.clip / 2, 0.0) if algo.clip_schedule == "linear" else (algo.clip,) * 3
    return judge(np.allclose((start, middle, end), expected), f"start {start:g}, middle {middle:g}, end {end:g}")
