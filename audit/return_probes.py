"""Probes of returns and advantages: what the live learner makes of random rows, beside sums that are written out."""

from typing import Any

import numpy as np

from audit.written_out import read_rewards, sum_errors, sum_rewards
from probes.probe import Finding, Untested, judge, judge_rule, probe
from probes.subject import Subject
from rollouts.rollout import Rollout

RETURNS = "rollouts/returns.py"
PLAIN = {"gamma": 0.99, "gae_lambda": 0.95}  # for probes that do not ask for the experiment's


def change(rollout: Rollout, **columns: Any) -> Rollout:
    """Return a Rollout with other columns; a number stands for a whole column."""
    arrays = {name: np.broadcast_to(column, rollout[name].shape) for name, column in columns.items()}
    return Rollout(dict(rollout.arrays) | {n: a.astype(rollout[n].dtype) for n, a in arrays.items()}, [], [], 0)


def read_column(subject: Subject, rollout: Rollout, name: str, **changes: Any) -> np.ndarray:
    """Return a column that the live loss reads of a Rollout, not standardised: float64 [T, N], NaN in ignored rows."""
    columns = subject.read_columns(rollout, normalize_advantages=False, **changes)
    if name not in columns:
        raise Untested(f"the loss of this learner reads no {name}")
    return columns[name]


def read_advantages(subject: Subject, rollout: Rollout, gamma: float, gae_lambda: float) -> np.ndarray:
    """Return the live advantages of a Rollout with these settings: float64 [T, N], NaN in ignored rows."""
    return read_column(subject, rollout, "advantages", gamma=gamma, gae_lambda=gae_lambda)


def find_largest(differences: np.ndarray) -> float:
    """Return the largest difference; NaN, of ignored rows, is left out."""
    return float(np.nanmax(np.abs(differences)))


@probe(
    "returns",
    f"algorithms/: update, {RETURNS}: gae",
    "Schulman et al. 2016, eq. 16; baselines, SB3, CleanRL: the same",
    {"actor_critic", "known_rule"},
)
def compare_gae(subject: Subject) -> Finding:
    """Advantages are sums of discounted TD errors, at the experiment's gamma and lambda."""
    gamma, lam, rollout = subject.algo.gamma, subject.algo.gae_lambda, subject.make_rollout(1)
    live = read_column(subject, rollout, "advantages")
    worst = find_largest(live - sum_errors(rollout, read_rewards(subject, rollout), gamma, lam))
    found = f"gamma {gamma:g}, lambda {lam:g}: largest difference {worst:.1e} in {live.size} random rows"
    return judge_rule(subject, worst < 1e-4, found)


@probe(
    "returns",
    f"algorithms/: update, {RETURNS}: gae",
    "Mnih et al. 2016 (A3C): n-step returns",
    {"actor_critic", "known_rule"},
)
def compare_extremes(subject: Subject) -> Finding:
    """With lambda 1 they are n-step returns less the value, with lambda 0 one-step errors."""
    rollout, gamma = change(subject.make_rollout(2), terminated=False, truncated=False, valid=True), subject.algo.gamma
    r, v = read_rewards(subject, rollout), rollout["values"].astype(float)
    steps, discounts = len(r), gamma ** np.arange(len(r))
    returns = np.stack(
        [discounts[: steps - t] @ r[t:] + gamma ** (steps - t) * v[-1] for t in range(steps)]
    )  # R_t = r_t + gamma r_{t+1} + ... + gamma^n V
    worst = find_largest(read_advantages(subject, rollout, gamma, 1.0) - (returns - v[:-1]))
    short = find_largest(read_advantages(subject, rollout, gamma, 0.0) - (r + gamma * v[1:] - v[:-1]))
    return judge_rule(subject, worst < 1e-4 and short < 1e-4, f"largest differences {worst:.1e} and {short:.1e}")


@probe(
    "returns",
    f"{RETURNS}: next_values",
    "all: the same",
    {"actor_critic", "known_rule"},
)
def look_behind_termination(subject: Subject) -> Finding:
    """After a termination nothing counts."""
    rollout = subject.make_rollout(3)
    at = np.arange(len(rollout["valid"]))[:, None] == 10
    rollout = change(rollout, terminated=rollout["terminated"] | at, truncated=rollout["truncated"] & ~at)
    before = read_advantages(subject, rollout, **PLAIN)[:11]
    rewards, values = rollout["rewards"].copy(), rollout["values"].copy()
    rewards[11:] += 100.0
    values[11:] += 100.0
    moved = find_largest(
        read_advantages(subject, change(rollout, rewards=rewards, values=values), **PLAIN)[:11] - before
    )
    found = f"rewards and values behind it raised by 100 move advantages before it by {moved:g}"
    return judge_rule(subject, moved == 0, found)


@probe(
    "returns",
    f"{RETURNS}: next_values",
    "baselines, CleanRL: nothing counts, as after a termination; SB3: the same as here (Pardo et al. 2018)",
    {"actor_critic", "known_rule"},
)
def look_behind_limit(subject: Subject) -> Finding:
    """After a time limit the value of the last observation counts."""
    rollout = subject.make_rollout(4)
    at = np.arange(len(rollout["valid"]))[:, None] == 10
    ends = {"terminated": rollout["terminated"] & ~at, "truncated": rollout["truncated"] | at}
    rollout = change(rollout, valid=rollout["valid"] | at, **ends)
    later = change(rollout, final_values=rollout["final_values"] + at)
    moved = read_advantages(subject, later, **PLAIN)[10] - read_advantages(subject, rollout, **PLAIN)[10]
    found = f"1 more of that value moves the advantage by {float(moved.mean()):g}, gamma"
    right = bool(np.allclose(moved, PLAIN["gamma"], atol=1e-4))
    return judge(True, found, differs=True) if right else judge_rule(subject, right, found)


@probe(
    "returns",
    f"{RETURNS}: gae, argument valid",
    "baselines, CleanRL: FIRE and the restart are played inside of reset; there is no such row",
    {"actor_critic", "known_rule"},
)
def look_behind_ignored_row(subject: Subject) -> Finding:
    """Rows that ignore their action are stepped over: nobody's value stands between."""
    rollout = subject.make_rollout(5)
    at = np.arange(len(rollout["valid"]))[:, None] == 10
    rollout = change(rollout, terminated=False, truncated=False, valid=~at)
    values = rollout["values"].copy()
    values[10] += 100.0
    before, after = (read_advantages(subject, one, **PLAIN) for one in (rollout, change(rollout, values=values)))
    moved = find_largest(after - before)
    found = f"its value raised by 100 moves advantages before it by {moved:.1e}"
    return judge_rule(subject, moved < 1e-3, found)


@probe(
    "returns",
    "algorithms/: estimate_advantages",
    "baselines, SB3, CleanRL: the same",
    {"actor_critic", "known_rule"},
)
def compare_targets(subject: Subject) -> Finding:
    """A value's target is its advantage plus the value when the action was chosen."""
    rollout = subject.make_rollout(6)
    targets, advantages = (read_column(subject, rollout, name) for name in ("targets", "advantages"))
    worst = find_largest(targets - advantages - rollout["values"][:-1])
    return judge_rule(subject, worst < 1e-4, f"largest difference {worst:.1e} in {targets.size} random rows")


@probe(
    "returns",
    f"algorithms/pg.py: update, {RETURNS}: monte_carlo",
    "Williams 1992, REINFORCE",
    {"monte_carlo"},
)
def compare_returns(subject: Subject) -> Finding:
    """Returns are discounted sums up to the end of the episode."""
    gamma, rollout = subject.algo.gamma, subject.make_rollout(7)
    live = read_column(subject, rollout, "returns")
    worst = find_largest(live - sum_rewards(rollout, read_rewards(subject, rollout), gamma))
    found = f"gamma {gamma:g}: largest difference {worst:.1e} in {live.size} random rows"
    return judge_rule(subject, worst < 1e-4, found)


@probe(
    "returns",
    "rollouts/episodes.py: EpisodeRunner",
    "the lecture's REINFORCE: whole episodes",
    {"monte_carlo"},
)
def count_episodes(subject: Subject) -> Finding:
    """An update learns from complete episodes, equally many of each env."""
    rollout, wanted = subject.rollout, subject.algo.episodes_per_update
    valid, ends = rollout["valid"], rollout["terminated"] | rollout["truncated"]
    last = [bool(ends[np.flatnonzero(valid[:, n])[-1], n]) for n in range(valid.shape[1])]
    found = f"{len(rollout.scores)} games of {wanted}; the last row of each env ends an episode: {all(last)}"
    return judge(len(rollout.scores) == wanted and all(last), found)
