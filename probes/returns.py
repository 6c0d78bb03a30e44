"""Probes of returns and advantages: the code beside sums that are written out, in float64."""

from typing import Any

import numpy as np
import torch

from probes.probe import Finding, judge, probe
from probes.subject import Subject
from rollouts.returns import gae, monte_carlo

RETURNS = "rollouts/returns.py"


def make_rows(subject: Subject, seed: int, steps: int = 24, envs: int = 6) -> dict[str, torch.Tensor]:
    """Return random rows, float64 and bool [T, N], with ends of both kinds; `values` are [T + 1, N]."""
    rng = np.random.default_rng(seed)
    terminated, truncated = rng.random((2, steps, envs)) < 0.1
    columns = {
        "rewards": rng.normal(size=(steps, envs)),
        "values": rng.normal(size=(steps + 1, envs)),
        "final_values": rng.normal(size=(steps, envs)),
        "terminated": terminated,
        "truncated": truncated & ~terminated,
    }
    return {name: torch.from_numpy(column) for name, column in columns.items()}


def sum_slowly(rows: dict[str, torch.Tensor], gamma: float, lam: float) -> np.ndarray:
    """Return sum_l (gamma lambda)^l delta_{t+l} up to the end of the episode, by two loops: float64 [T, N]."""
    r, v, last = (rows[name].numpy() for name in ("rewards", "values", "final_values"))
    dead, cut = rows["terminated"].numpy(), rows["truncated"].numpy()
    result = np.zeros_like(r)
    for n in range(r.shape[1]):
        for t in range(len(r)):
            for later in range(t, len(r)):
                after = 0.0 if dead[later, n] else last[later, n] if cut[later, n] else v[later + 1, n]
                delta = r[later, n] + gamma * after - v[later, n]
                result[t, n] += (gamma * lam) ** (later - t) * delta
                if dead[later, n] or cut[later, n]:
                    break
    return result


def compute_gae(rows: dict[str, torch.Tensor], gamma: float, lam: float, valid: Any = None) -> np.ndarray:
    """Return the suite's advantages of these rows."""
    ends = rows["final_values"], rows["terminated"], rows["truncated"]
    return gae(rows["rewards"], rows["values"], *ends, gamma, lam, valid).numpy()


@probe(
    "returns",
    f"{RETURNS}: gae",
    "Schulman et al. 2016, eq. 16; baselines, SB3, CleanRL: the same",
    {"actor_critic"},
)
def compare_gae(subject: Subject) -> Finding:
    """Advantages are sums of discounted TD errors, at the experiment's gamma and lambda."""
    gamma, lam, rows = subject.algo.gamma, subject.algo.gae_lambda, make_rows(subject, 1)
    worst = float(np.abs(compute_gae(rows, gamma, lam) - sum_slowly(rows, gamma, lam)).max())
    return judge(worst < 1e-12, f"gamma {gamma:g}, lambda {lam:g}: largest difference {worst:.1e}")


@probe(
    "returns",
    f"{RETURNS}: gae",
    "Mnih et al. 2016 (A3C): n-step returns",
    {"actor_critic"},
)
def compare_extremes(subject: Subject) -> Finding:
    """With lambda 1 they are n-step returns less the value, with lambda 0 one-step errors."""
    rows, gamma = make_rows(subject, 2), subject.algo.gamma
    rows["terminated"][:] = rows["truncated"][:] = False
    r, v, steps = rows["rewards"].numpy(), rows["values"].numpy(), len(rows["rewards"])
    discounts = gamma ** np.arange(steps)
    returns = np.stack(
        [discounts[: steps - t] @ r[t:] + gamma ** (steps - t) * v[-1] for t in range(steps)]
    )  # R_t = r_t + gamma r_{t+1} + ... + gamma^n V
    worst = float(np.abs(compute_gae(rows, gamma, 1.0) - (returns - v[:-1])).max())
    short = float(np.abs(compute_gae(rows, gamma, 0.0) - (r + gamma * v[1:] - v[:-1])).max())
    return judge(worst < 1e-12 and short < 1e-12, f"largest differences {worst:.1e} and {short:.1e}")


@probe(
    "returns",
    f"{RETURNS}: next_values",
    "all: the same",
    {"actor_critic"},
)
def look_behind_death(subject: Subject) -> Finding:
    """After a death nothing counts."""
    rows = make_rows(subject, 3)
    rows["terminated"][10] = True
    rows["truncated"][10] = False
    before = compute_gae(rows, 0.99, 0.95)[:11]
    rows["values"][11:] += 100.0
    rows["rewards"][11:] += 100.0
    moved = float(np.abs(compute_gae(rows, 0.99, 0.95)[:11] - before).max())
    return judge(moved == 0, f"rewards and values behind it raised by 100 move advantages before it by {moved:g}")


@probe(
    "returns",
    f"{RETURNS}: next_values",
    "baselines, CleanRL: nothing counts, as after a death; SB3: the same as here (Pardo et al. 2018)",
    {"actor_critic"},
)
def look_behind_limit(subject: Subject) -> Finding:
    """After a time limit the value of the last observation counts."""
    rows = make_rows(subject, 4)
    rows["terminated"][10], rows["truncated"][10] = False, True
    before = compute_gae(rows, 0.99, 0.95)[10]
    rows["final_values"][10] += 1.0
    moved = compute_gae(rows, 0.99, 0.95)[10] - before
    right = bool(np.allclose(moved, 0.99))
    return judge(right, f"1 more of that value moves the advantage by {float(moved.mean()):g}, gamma", differs=True)


@probe(
    "returns",
    f"{RETURNS}: gae, argument valid",
    "baselines, CleanRL: FIRE and the restart are played inside of reset; there is no such row",
    {"actor_critic"},
)
def look_behind_ignored_row(subject: Subject) -> Finding:
    """Rows that ignore their action are stepped over: nobody's value stands between."""
    rows = make_rows(subject, 5)
    rows["terminated"][:] = rows["truncated"][:] = False
    valid = torch.ones_like(rows["terminated"])
    valid[10] = False
    before = compute_gae(rows, 0.99, 0.95, valid)
    rows["values"][10] += 100.0
    moved = np.abs(compute_gae(rows, 0.99, 0.95, valid) - before)[:10].max()
    return judge(float(moved) < 1e-12, f"its value raised by 100 moves advantages before it by {float(moved):.1e}")


@probe(
    "returns",
    "algorithms/: estimate_advantages",
    "baselines, SB3, CleanRL: the same",
    {"actor_critic"},
)
def compare_targets(subject: Subject) -> Finding:
    """A value's target is its advantage plus the value when the action was chosen."""
    from algorithms import a2c, ppo

    estimate = ppo.estimate_advantages if subject.algo_name == "ppo" else a2c.estimate_advantages
    clip = subject.env.get("clip_rewards", False)
    made = estimate(subject.batch, subject.algo.gamma, subject.algo.gae_lambda, clip)
    worst = float((made["targets"] - made["advantages"] - subject.batch["values"][:-1]).abs().max())
    return judge(worst < 1e-5, f"on the live rollout: largest difference {worst:.1e}")


@probe(
    "returns",
    f"{RETURNS}: monte_carlo",
    "Williams 1992, REINFORCE",
    {"monte_carlo"},
)
def compare_returns(subject: Subject) -> Finding:
    """Returns are discounted sums up to the end of the episode."""
    rows, gamma = make_rows(subject, 6), subject.algo.gamma
    rows["terminated"][-1] = True
    ends = (rows["terminated"] | rows["truncated"]).numpy()
    r = rows["rewards"].numpy()
    slow = np.zeros_like(r)
    for n in range(r.shape[1]):
        for t in range(len(r)):
            for later in range(t, len(r)):
                slow[t, n] += gamma ** (later - t) * r[later, n]
                if ends[later, n]:
                    break
    got = monte_carlo(rows["rewards"], rows["terminated"], rows["truncated"], gamma).numpy()
    worst = float(np.abs(got - slow).max())
    return judge(worst < 1e-12, f"gamma {gamma:g}: largest difference {worst:.1e}")


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
