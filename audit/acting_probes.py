"""Probes of acting: what an env runner records, beside what the learner's network makes of it afterwards.

spread heads, short games -> live env runner -> two Rollouts in a row -> the same network, row by row

The heads of the network are spread, because at the first weights every observation has nearly the same policy; Atari
games are cut after a few agent steps, so that games end within a Rollout, other ones where time limits are looked at.
"""

import numpy as np
import torch

from audit.written_out import run_network
from probes.probe import Finding, Untested, judge, probe
from probes.subject import Acted, Subject
from rollouts.rollout import Rollout

RUNNER = "rollouts/runner.py"


def get_tolerance(subject: Subject) -> float:
    """Return how far two passes of the network may be apart; one acts in batches of N, the other in those of T x N."""
    return 0.03 if subject.plan.dtype == "bfloat16" else 1e-3


def count_ends(rollout: Rollout) -> int:
    """Return how many games ended before the last row of a Rollout."""
    return int(rollout["game_reset"][:-1].sum())


@probe(
    "loss",
    f"algorithms/learner.py: forward, {RUNNER}: _play_step",
    "all: the ratio begins at 1 (Huang et al. 2022, a sign of a right implementation)",
)
def compare_policies(subject: Subject) -> Finding:
    """The policy that learns is the policy that acted: its ratio to that is 1 before the first step."""
    learner, rollout = subject.spread_learner, subject.acted.first
    batch = learner.load([rollout])
    with torch.no_grad():
        policy, _, rows = learner.forward(learner.select_rows(batch, ("actions", "logp")))
        log_ratio = policy.logp(rows["actions"]) - rows["logp"]
    worst, mean = float(log_ratio.abs().max()), float(log_ratio.abs().mean())
    found = f"{len(log_ratio):,} rows in {subject.plan.dtype}, {count_ends(rollout)} ends of games between them: "
    return judge(worst < get_tolerance(subject), f"{found}ratios 1 +- {worst:.1e}, {mean:.1e} in the mean")


@probe(
    "returns",
    f"{RUNNER}: sample",
    "all: the same",
    {"actor_critic"},
)
def compare_values(subject: Subject) -> Finding:
    """The recorded values are the critic's, and so is the one behind the last row."""
    values = compute_values(subject, subject.acted)
    scale, count = max(1.0, float(values.abs().max())), values[:-1].numel()
    differences = (torch.from_numpy(subject.acted.first["values"].copy()) - values).abs()
    worst, behind = float(differences[:-1].max()), float(differences[-1].max())
    found = f"{count:,} values up to {scale:.1f}: largest difference {worst:.1e}, behind them {behind:.1e}"
    return judge(max(worst, behind) < get_tolerance(subject) * scale, found)


def compute_values(subject: Subject, acted: Acted) -> torch.Tensor:
    """Return the values of all observations of the first Rollout and of the one behind it: float32 [T + 1, N]."""
    learner, shape = subject.spread_learner, acted.first["valid"].shape
    with torch.no_grad():
        before, after = (learner.load([one]) for one in (acted.first, acted.second))
        values = run_network(learner.net, before, torch.arange(shape[0] * shape[1]))[1].view(shape)
        return torch.cat([values, run_network(learner.net, after, torch.arange(shape[1]))[1][None]])


@probe(
    "returns",
    f"{RUNNER}: _compute_final_values",
    "baselines and CleanRL: there is no such value; SB3: the same",
    {"actor_critic"},
)
def compare_final_values(subject: Subject) -> Finding:
    """The value behind a time limit is that of the old game's last observation."""
    first = subject.cut.first
    if any(step.final_obs is not None for step in subject.cut.transitions):
        seen = list_final_values(subject)
    else:  # the next row has that observation, and a new game begins behind it
        rows = first["truncated"] & ~first["terminated"]
        expected = compute_values(subject, subject.cut).numpy()[1:][rows]
        seen = list(zip(expected.tolist(), first["final_values"][rows].tolist(), strict=True))
    if not seen:
        raise Untested("no game was cut within a Rollout")
    worst, scale = max(abs(a - b) for a, b in seen), max(1.0, *(abs(a) for a, _ in seen))
    found = f"{len(seen)} games cut: largest difference {worst:.1e}, of values up to {scale:.1f}"
    return judge(worst < get_tolerance(subject) * scale, found)


def list_final_values(subject: Subject) -> list[tuple[float, float]]:
    """Return, of the first game of each env that was cut, the value of its last observation and the recorded one."""
    net, first = subject.spread_learner.net, subject.cut.first
    obs, seen = subject.spread_learner.load([first])["obs"], []
    for n in range(obs.shape[1]):
        ends = np.flatnonzero(first["game_reset"][:, n])
        if len(ends) and first["truncated"][ends[0], n] and not first["terminated"][ends[0], n]:
            last = subject.cut.transitions[ends[0]].final_obs
            assert last is not None
            with torch.no_grad():
                packed, state = net.pack(), net.make_initial_state(1)
                for t in range(ends[0] + 1):
                    state = net.act(obs[t, n : n + 1], packed, state)[2]
                shown = torch.from_numpy(last[n]).to(obs.device)
                if subject.runner.layout:  # a stack, whose newest picture it is
                    shown = torch.cat([obs[ends[0], n][..., shown.shape[-1] :], shown], -1)
                seen.append((float(net.act(shown[None], packed, state)[1]), float(first["final_values"][ends[0], n])))
    return seen


@probe(
    "network",
    f"{RUNNER}, custom_models/memory.py",
    "Mnih et al. 2016; baselines and CleanRL: the same",
    {"recurrent"},
)
def follow_memory(subject: Subject) -> Finding:
    """The memory is empty when a game begins, and goes on between two rollouts."""
    net, first, second = subject.spread_learner.net, subject.acted.first, subject.acted.second
    batch, zero = subject.spread_learner.load([first]), float(np.abs(first["memory"]).max())
    resets, state = torch.from_numpy(first["game_reset"].copy()), tuple(batch["memory"])
    with torch.no_grad():
        features = net.torso(batch["obs"].flatten(0, 1), net.pack()["torso"]).unflatten(0, resets.shape)
        for t, ended in enumerate(resets):
            _, state = net.memory.run_sequence(features[t : t + 1], state, torch.zeros_like(resets[:1]))
            state = tuple(part.masked_fill(ended[:, None], 0) for part in state)
    recorded = torch.from_numpy(second["memory"].copy())
    worst, scale = float((torch.stack(state) - recorded).abs().max()), float(recorded.abs().max())
    found = f"at first {zero:g}; after {len(resets)} steps, in which {int(resets.sum())} games ended, a difference of "
    right = zero == 0 and worst < get_tolerance(subject) * scale
    return judge(right, f"{found}{worst:.1e}, of numbers up to {scale:.2f}")
