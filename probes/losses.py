"""Probes of the loss: how actions are drawn, and what a minibatch holds."""

import math
from collections.abc import Sequence

import torch

from probes.probe import Finding, Untested, judge, judge_rule, probe
from probes.subject import UNKNOWN_ROWS, Subject

DRAWS = 20_000  # actions that are counted
FEW_ROWS = 10  # may come in the same order twice


@probe(
    "loss",
    "custom_models/distributions.py: sample",
    "all: the same",
)
def count_actions(subject: Subject) -> Finding:
    """Actions are drawn as often as the policy says."""
    net, size = subject.net, 5 if subject.discrete else subject.net.policy.out_features
    numbers = torch.tensor([0.0, 1.0, -1.0, 0.5, 2.0]).repeat(size)[:size]
    if net.log_std is not None:
        numbers = torch.cat([numbers, numbers.flip(0) / 2])
    policy = net.Policy(numbers.expand(DRAWS, -1))
    actions = policy.sample(torch.Generator().manual_seed(3)).double()
    if net.log_std is None:
        errors = list_errors_of_counts(actions.view(DRAWS, -1).long(), numbers, getattr(policy, "sizes", (size,)))
        return judge(max(errors) < 5, f"{DRAWS:,} draws: largest deviation {max(errors):.1f} standard errors")
    z = (actions - policy.mean) / policy.log_std.exp()
    mean = float((z.mean(0).abs() * DRAWS**0.5).max())
    spread = float(((z.std(0) - 1).abs() * (2 * DRAWS) ** 0.5).max())
    found = f"{DRAWS:,} draws: means deviate by up to {mean:.1f} standard errors, standard deviations by {spread:.1f}"
    return judge(max(mean, spread) < 5, found)


def list_errors_of_counts(actions: torch.Tensor, logits: torch.Tensor, sizes: Sequence[int]) -> list[float]:
    """Return how far the counts of each factor of actions are from what its logits say, in standard errors.

    Args:
        actions: int64 [B, D].
        logits: float32 [n_1 + ... + n_D].
        sizes: n_1, ..., n_D.
    """
    errors = []
    for chosen, part in zip(actions.unbind(1), logits.double().split(tuple(sizes)), strict=True):
        share, drawn = part.softmax(0), chosen.bincount(minlength=len(part)) / len(chosen)
        error = (share * (1 - share) / len(chosen)).sqrt().clamp_min(1e-9)  # 0 where a part has one value
        errors.append(float(((drawn - share).abs() / error).max()))
    return errors


@probe(
    "loss",
    "algorithms/learner.py: iterate_minibatches",
    "baselines, SB3, CleanRL: the same",
    {"ppo"},
)
def count_rows(subject: Subject) -> Finding:
    """Every epoch shows every row once, in a new order and in minibatches of the size that was set."""
    steps, epochs = subject.first_update.steps, subject.algo.num_epochs
    sizes, per_epoch = [len(step.rows) for step in steps], len(steps) / epochs
    whole = [list_rows(steps[round(epoch * per_epoch) : round((epoch + 1) * per_epoch)]) for epoch in range(epochs)]
    every, wrong = list_valid_rows(subject), 0
    for rows in whole:
        wrong += len(every) - len(set(rows) & set(every)) + len(rows) - len(set(rows))
    found = f"{epochs} epochs of {per_epoch:g} minibatches of {min(sizes)} to {max(sizes)} of {len(every)} rows"
    orders, recurrent = len(set(map(tuple, whole))), "recurrent" in subject.words
    most = subject.batch["valid"].shape[1] if recurrent else len(every)  # whole envs, or rows
    even = per_epoch == min(math.ceil(len(every) / subject.algo.minibatch_size), most)
    even &= recurrent or max(sizes) - min(sizes) <= 1
    mixed = most < FEW_ROWS or (orders == epochs and every not in whole)
    found += f", {orders} different orders; {wrong} rows left out or repeated"
    return judge_rule(subject, wrong == 0 and even and mixed, found)


def list_rows(steps: list) -> list[int]:
    """Return the numbers of the rows that steps learned from, in their order."""
    rows = torch.cat([step.rows for step in steps]).tolist()
    if -1 in rows:
        raise Untested(UNKNOWN_ROWS)
    return rows


def list_valid_rows(subject: Subject) -> list[int]:
    """Return the numbers of the rows of the Rollout whose action was chosen."""
    return subject.batch["valid"].flatten().nonzero()[:, 0].tolist()


@probe(
    "loss",
    "algorithms/a2c.py, algorithms/pg.py: update",
    "Mnih et al. 2016: one step per worker and t_max steps; baselines a2c: one per batch",
    {"one_step"},
)
def count_steps(subject: Subject) -> Finding:
    """An update is one step on all rows."""
    steps, parts = subject.first_update.steps, subject.first_update.minibatches
    rows, every = list_rows(steps), list_valid_rows(subject)
    found = f"{len(steps)} step of the optimizer on {len(rows)} of {len(every)} rows; its gradient is summed over "
    return judge_rule(subject, len(steps) == 1 and sorted(rows) == every, f"{found}{len(parts)} parts")


def measure_scope(subject: Subject, column: str) -> list[tuple[float, float]]:
    """Return mean and standard deviation of a column in every minibatch of one update; microbatches are one.

    Raises:
        Untested: the loss does not read the column.
    """
    columns = []
    for minibatch in subject.first_update.minibatches:
        if column not in minibatch:
            raise Untested(f"the loss of this learner reads no {column}")
        columns.append(minibatch[column][minibatch["valid"]] if "valid" in minibatch else minibatch[column])
    if len(subject.first_update.steps) == 1:
        columns = [torch.cat(columns)]
    return [(float(numbers.mean()), float(numbers.std(correction=0))) for numbers in columns]


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
    return judge_rule(subject, standard == asked, f"{found}; asked: {scope if asked else 'raw'}")


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
    return judge_rule(subject, right, f"returns 2 +- 3 become {mean:.2f} +- {std:.2f}")
