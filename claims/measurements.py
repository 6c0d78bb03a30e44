"""Measurements of live objects: gradients and experience, which learning curves do not show.

    settings -> network, env runner and learner of an experiment (probes/subject.py) -> games -> a number per seed

Each function takes a number of seeds and the run directories of the arms that were trained for a claim, and returns the
table that its predictions are about. The same seed of all arms is measured on the same network.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch

from claims.verdict import Table
from experiments.overrides import check_overrides
from probes.subject import Subject
from rollouts.returns import monte_carlo
from rollouts.rollout import Rollout, RolloutData
from run_directory.checkpoints import find_checkpoint
from run_directory.layout import list_seed_runs
from run_directory.weights import read_weights

UPDATES = 64  # whose gradients, or whose experience, is compared
MOST_GAMES = 10 * UPDATES  # that are played for them
WORKERS = 16
CARTPOLE = ("env=cartpole", "model.hidden=[256,256]")  # the network of tuned_configs=cartpole_a2c
MILESTONE = "milestone_30"  # of whose weights gradients are measured
WEIGHTS = ("returns", "baseline", "critic")  # what log pi is weighted with
# PPO and A2C with equal settings: one epoch, one minibatch, the lecture's advantages, no limit to the gradient.
EQUAL = ("env=cartpole", "algo.num_envs=8", "algo.horizon=32", "algo.gae_lambda=1", "algo.vf_coeff=0.5")
EQUAL = (*EQUAL, "algo.entropy_coeff=0.01", "algo.max_grad_norm=null")
ONE_STEP = ("algo.num_epochs=1", "algo.minibatch_size=256", "algo.normalize_advantages=false", "algo.vf_clip=null")


@contextmanager
def open_subject(*overrides: str) -> Iterator[Subject]:
    """Build the live objects of an experiment, alone in this process."""
    settings, _ = check_overrides(list(overrides))
    subject = Subject(settings)
    try:
        yield subject
    finally:
        subject.close()


def load_weights(subject: Subject, run: Path, checkpoint: str) -> None:
    """Let the network of a subject, which acts and learns, have the weights of a checkpoint."""
    weights = read_weights(find_checkpoint(run, checkpoint))
    subject.net.load_state_dict({name: torch.as_tensor(array) for name, array in weights.items()})


def compute_gradients(subject: Subject, rollout: Rollout) -> dict[str, torch.Tensor]:
    """Return the gradient of the policy on whole games, with each kind of weights.

    Returns:
        For each of WEIGHTS, float [P]: the gradient of -mean(log pi(a|s) w), where w is the return G that followed the
        action, as PG has it; G less its mean over the games; and G less the critic's V(s), as the lecture's A2C has it.
        Only parameters of the policy are in it, not those of the critic.
    """
    learner, batch = subject.learner, subject.learner.load([rollout])
    batch["returns"] = monte_carlo(batch["rewards"], batch["terminated"], batch["truncated"], subject.algo.gamma)
    policy, values, rows = learner.forward(learner.select_rows(batch, ("actions", "returns")))
    returns, logp = rows["returns"], policy.logp(rows["actions"])
    gradients = {}
    for name, weight in zip(WEIGHTS, (returns, returns - returns.mean(), returns - values.detach()), strict=True):
        found = torch.autograd.grad(-(logp * weight).mean(), learner.parameters, retain_graph=True, allow_unused=True)
        gradients[name] = torch.cat([one.flatten() for one in found if one is not None])
    return gradients


def compute_noise(gradients: torch.Tensor) -> tuple[float, float]:
    """Return the noise of a gradient, and the noise as a multiple of the gradient itself.

    Args:
        gradients: float [K, P], one per update, of the same policy.

    Returns:
        The root of the trace of their covariance, and this divided by the norm of their mean. The mean of K updates is
        itself noisy, which makes it longer on average: about the root of K comes out where there is only noise.
    """
    noise = gradients.var(0).sum().sqrt()
    return float(noise), float(noise / gradients.mean(0).norm())


def measure_gradient_noise(seeds: int, runs: dict[str, Path]) -> Table:
    """Measure the noise of the policy's gradient, with each kind of weights on the same games.

    Policy and critic are those of A2C, `runs["a2c"]`, after 30 % of its 50,000 agent steps; an update has 8 games.
    """
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in WEIGHTS}
    with open_subject("algo=pg", *CARTPOLE) as subject:
        for run in list_seed_runs(runs["a2c"])[:seeds]:
            load_weights(subject, run, MILESTONE)
            updates = [compute_gradients(subject, subject.runner.sample()) for _ in range(UPDATES)]
            for name in WEIGHTS:
                found[name].append(compute_noise(torch.stack([one[name] for one in updates])))
    columns = {name: np.array(numbers).T for name, numbers in found.items()}
    return {name: {"noise": noise, "noise_to_signal": ratio} for name, (noise, ratio) in columns.items()}


def measure_zero_returns(seeds: int, runs: dict[str, Path]) -> Table:
    """Measure the gradient of games that ended without any reward, in FrozenLake, with each kind of weights.

    Every seed has a new network. An update has one game; the first UPDATES games with a return of 0 are measured.
    """
    norms: dict[str, list[float]] = {name: [] for name in WEIGHTS}
    lake = ("env=gymnasium", "env.id=FrozenLake-v1", "env.kwargs.is_slippery=false")
    for seed in range(1, seeds + 1):
        with open_subject("algo=pg", "algo.num_envs=1", "algo.episodes_per_update=1", *lake, f"seed={seed}") as subject:
            games = (subject.runner.sample() for _ in range(MOST_GAMES))
            lost = islice((game for game in games if not any(game.scores)), UPDATES)
            updates = [compute_gradients(subject, game) for game in lost]
        for name in WEIGHTS:
            norms[name].append(float(np.mean([one[name].norm().item() for one in updates])))
    return {name: {"gradient": np.array(of_seeds)} for name, of_seeds in norms.items()}


def record_gradient(subject: Subject, weights: dict[str, torch.Tensor], rollout: Rollout) -> torch.Tensor:
    """Let a new learner of a subject update these weights from a Rollout; returns its only gradient, float [P]."""
    learner, gradients = subject.copy_learner(), []
    learner.net.load_state_dict(weights)

    def keep_gradient() -> None:
        found = [p.grad.flatten() for p in learner.parameters if p.grad is not None]
        gradients.append(torch.cat(found))

    learner.move_weights = keep_gradient
    learner.update(training_data=RolloutData([rollout]), timesteps={"progress": 0.0})
    (gradient,) = gradients
    return gradient


def measure_first_step(seeds: int, runs: dict[str, Path]) -> Table:
    """Measure how far the gradient of PPO's first step is from A2C's, on the same Rollout and weights.

    PPO has one epoch of one minibatch, so its update is this step alone, and else the settings of A2C.
    """
    difference = []
    for seed in range(1, seeds + 1):
        one_seed = (*EQUAL, f"seed={seed}")
        with open_subject("algo=ppo", *ONE_STEP, *one_seed) as ppo, open_subject("algo=a2c", *one_seed) as a2c:
            weights, rollout = ppo.net.state_dict(), ppo.rollout
            ours, theirs = (record_gradient(one, weights, rollout) for one in (ppo, a2c))
            difference.append(float((ours - theirs).norm() / theirs.norm()))
    return {"ppo": {"difference": np.array(difference)}}


def measure_diversity(seeds: int, runs: dict[str, Path]) -> Table:
    """Measure how much of the variance of all states is inside of the experience of WORKERS gradients in a row.

    The gradients are those of WORKERS workers of A3C, one each, or all of one worker. A fragment has 5 agent steps of
    one env. The policy is that of A2C, `runs["a2c"]`, after 30 % of its 50,000 agent steps.
    """
    table: Table = {}
    for name, count in (("one_worker", 1), ("sixteen_workers", WORKERS)):
        shares = []
        workers = (f"algo.num_workers={count}", f"algo.num_envs={count}", "algo.horizon=5")
        with open_subject("algo=a3c", *workers, *CARTPOLE) as subject:
            runner = subject.algorithm.env_runner_group.local_env_runner
            for run in list_seed_runs(runs["a2c"])[:seeds]:
                load_weights(runner.learner, run, MILESTONE)
                fragments = list(runner.workers.values()) * (WORKERS // count)
                states = [[one.sample().arrays["obs"][:-1] for one in fragments] for _ in range(2 * UPDATES)]
                shares.append(compute_variance_inside(np.array(states[UPDATES:]).reshape(UPDATES, -1, 4)))
        table[name] = {"diversity": np.array(shares)}
    return table


def compute_variance_inside(states: np.ndarray) -> float:
    """Return the share of the variance of states that is inside of batches: 0 where each batch has one state only, 1
    where every batch is as varied as all of them together.

    Args:
        states: float [batches, states of a batch, numbers of a state].
    """
    return float(np.mean(states.var(1).mean(0) / states.reshape(-1, states.shape[-1]).var(0)))


class Contents(NamedTuple):
    """What the table of a measurement has, and what it needs."""

    arms: tuple[str, ...]
    measures: tuple[str, ...]
    trained: tuple[str, ...] = ()  # the arms of the claim whose run directories it reads


MEASUREMENTS: dict[str, Callable[[int, dict[str, Path]], Table]] = {
    "gradient_noise": measure_gradient_noise,
    "zero_returns": measure_zero_returns,
    "first_step": measure_first_step,
    "diversity": measure_diversity,
}
CONTENTS = {
    "gradient_noise": Contents(WEIGHTS, ("noise", "noise_to_signal"), ("a2c",)),
    "zero_returns": Contents(WEIGHTS, ("gradient",)),
    "first_step": Contents(("ppo",), ("difference",)),
    "diversity": Contents(("one_worker", "sixteen_workers"), ("diversity",), ("a2c",)),
}
MEANINGS = {  # of what they measure, for tables
    "noise": f"root of the trace of the covariance of the policy's gradient, over {UPDATES} updates of 8 games",
    "noise_to_signal": "the same, divided by the norm of the mean gradient",
    "gradient": f"norm of the policy's gradient from one game with a return of 0, mean of {UPDATES} games",
    "difference": "norm of the difference of the two gradients, divided by the norm of A2C's",
    "diversity": f"share of the variance of all states that is inside of {WORKERS} gradients in a row",
}
