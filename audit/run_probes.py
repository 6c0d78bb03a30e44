"""Probes of a run: its random streams, what it counts, its checkpoints, and whether its policy moves."""

import copy
import math
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from algorithms.a3c import list_workers
from probes.probe import Finding, judge, probe
from probes.subject import Subject

SCORES = ("episode_", "recent_return_")  # columns of a row that are not a number until a game has ended
STEPS, FEW_ENVS = 16, 2  # of games that are compared
MAX_UPDATES = 1_000  # of the audit's training; 20,000 agent steps of A3C would be 4,000 updates of 5 steps
PARTS = 8  # of this training; after each, the policy is looked at
CLEAR_KL = 1e-3  # a policy that is this far from its beginning has moved, and the training ends


@probe(
    "seeds",
    "rollouts/runner.py: start_games, rollouts/streams.py",
    "baselines and SB3: seed + rank; streams of neighbouring seeds then share games",
)
def compare_streams(subject: Subject) -> Finding:
    """Workers, envs and actions have random streams of their own."""
    workers, envs = max(16, getattr(subject.algo, "num_workers", 0)), subject.runner.num_envs
    if subject.algo_name == "a3c":
        pairs = [read_seeds(subject, worker, 0) for worker in range(workers)]
        seeds = [env + n for env, _ in pairs for n in range(envs)] + [action for _, action in pairs]
    else:  # env runners draw the actions of all envs from one stream, and each takes those of its own envs
        pairs = [read_seeds(subject, worker, 0, workers) for worker in range(1, workers + 1)]
        seeds = [env + n for env, _ in pairs for n in range(envs)] + [*{action for _, action in pairs}]
    found = f"{workers} workers of {envs} envs: {len(set(seeds))} different seeds of {len(seeds)}"
    return judge(len(set(seeds)) == len(seeds), found)


def read_seeds(subject: Subject, worker: int, agent_steps: int, shares: int = 0) -> tuple[int, int]:
    """Return the seeds, of the first env and of the actions, with which the live env runner starts games.

    Args:
        subject: whose env runner it is.
        worker: the number of the env runner, or of the worker of A3C, that it is meanwhile.
        agent_steps: of the run so far.
        shares: how many env runners share the envs of the run; 0: the training process plays all of them.
    """
    runner, given = subject.runner, []
    before, reset, frames = dict(vars(runner)), runner.games.reset, runner._stack.frames
    obs = (frames[..., -1, :] if runner.layout else frames).copy()
    runner.worker_index, runner.games.reset = worker, lambda seed: (given.append(seed), obs)[1]
    runner.config = runner.config.copy(copy_frozen=False)
    runner.config.num_env_runners = shares
    try:
        runner.start_games(agent_steps)
        return given[0], runner._generator.initial_seed()
    finally:
        runner.games.reset = reset
        vars(runner).update(before)  # its games go on where they were


@probe(
    "seeds",
    "rollouts/runner.py: start_games, rollouts/streams.py",
    "SB3 and CleanRL do not resume in this sense",
)
def compare_resumed(subject: Subject) -> Finding:
    """A run that is resumed plays other games than those it began with."""
    subject.require_choice()
    seeds = [read_seeds(subject, 0, steps) for steps in (0, 1_000, 10_000)]
    counts = [len(set(column)) for column in zip(*seeds, strict=True)]
    began, resumed, again = (play_steps(subject, steps) for steps in (0, 1_000, 1_000))
    differ, agree = not np.array_equal(began, resumed), np.array_equal(resumed, again)
    found = f"{counts[0]} and {counts[1]} different seeds of envs and actions at 0, 1,000 and 10,000 agent steps; "
    found += f"{STEPS} steps from 1,000 on differ from the first ones: {differ}, two runs from there agree: {agree}"
    return judge(counts == [3, 3] and differ and agree, found)


def play_steps(subject: Subject, agent_steps: int) -> np.ndarray:
    """Return the observations and actions of STEPS steps of a new env runner that goes on at these agent steps."""
    config = subject.config.copy(copy_frozen=False)
    config.num_envs_per_env_runner = min(FEW_ENVS, subject.runner.num_envs)
    runner = type(subject.runner)(config=config, worker_index=subject.runner.worker_index, module=subject.net)
    if agent_steps:
        runner.start_games(agent_steps)
    with torch.inference_mode():
        arrays, packed = runner._make_arrays(STEPS), subject.net.pack()
        for t in range(STEPS):
            runner._play_step(arrays, t, packed)
    runner.stop()
    seen = arrays["frames" if "frames" in arrays else "obs"]
    return np.concatenate([seen.flatten().astype(np.float64), arrays["actions"].flatten()])


def sample_with(subject: Subject, seed: int) -> dict[str, np.ndarray]:
    """Return the first Rollout of a new env runner with this seed, the present weights and at most FEW_ENVS envs."""
    config = subject.config.copy(copy_frozen=False)
    config.seed, config.num_envs_per_env_runner = seed, min(FEW_ENVS, subject.runner.num_envs)
    runner = type(subject.runner)(config=config, module=subject.net)
    rollout = runner.sample()
    runner.stop()
    return dict(rollout.arrays) | {"seed of actions": np.array(runner._generator.initial_seed())}


@probe(
    "seeds",
    "rollouts/runner.py",
    "CleanRL: torch_deterministic; on a GPU none promises it",
)
def repeat_rollout(subject: Subject) -> Finding:
    """The same seed gives the same rollout to the bit, another seed another."""
    subject.require_choice()
    seed = subject.config.seed
    first, again, other = (sample_with(subject, s) for s in (seed, seed, seed + 1))
    same = [name for name in first if np.array_equal(first[name], again[name])]
    changed = [name for name in first if not np.array_equal(first[name], other[name])]
    differ = "seed of actions" in changed and len(changed) > 1  # a few actions may be the same by chance
    return judge(
        len(same) == len(first) and differ, f"{len(same)} of {len(first)} columns equal; other seed differs: {differ}"
    )


@probe(
    "run",
    "rollouts/rollout.py: agent_steps",
    "baselines and SB3 count env steps the same way",
)
def count_agent_steps(subject: Subject) -> Finding:
    """Agent steps are counted, and rows that ignore their action are not."""
    counted = []
    for rollout in (subject.rollout, subject.make_rollout(1)):  # the second has rows that ignore their action
        counted.append((rollout.agent_steps, int(rollout["valid"].sum()), rollout["valid"].size))
    found = " and ".join(f"{steps:,} agent steps in {rows:,} rows" for steps, _, rows in counted)
    return judge(all(steps == valid <= rows for steps, valid, rows in counted), found)


def flatten_state(state: Any, path: str = "") -> dict[str, Any]:
    """Return path -> leaf of nested dicts and lists."""
    if isinstance(state, dict):
        parts = [flatten_state(value, f"{path}.{key}") for key, value in state.items()]
    elif isinstance(state, list | tuple):
        parts = [flatten_state(value, f"{path}.{n}") for n, value in enumerate(state)]
    else:
        return {path: state}
    return {name: leaf for part in parts for name, leaf in part.items()}


def list_differences(before: Any, after: Any) -> tuple[int, list[str]]:
    """Return how many leaves two states have, and the paths of those that differ."""
    one, two = flatten_state(before), flatten_state(after)
    equal = lambda a, b: bool(np.array_equal(np.asarray(a), np.asarray(b)))  # noqa: E731
    return len(one), [name for name in one if name not in two or not equal(one[name], two[name])]


@probe(
    "run",
    "algorithms/suite_algorithm.py: save_checkpoint, load_checkpoint",
    "SB3: weights and optimizer; CleanRL: weights",
)
def restore_checkpoint(subject: Subject) -> Finding:
    """A checkpoint restores weights, optimizer and shuffling to the bit."""
    subject.train(1)
    learner = subject.learner
    with tempfile.TemporaryDirectory() as folder:
        before = copy_state(learner)
        subject.algorithm.save_checkpoint(folder)
        subject.train(1)
        moved = list_differences(before, copy_state(learner))[1]
        begun, start_games = [], subject.runner.start_games
        subject.runner.start_games = lambda agent_steps: (begun.append(agent_steps), start_games(agent_steps))
        subject.algorithm.load_checkpoint(folder)
        subject.runner.start_games = start_games
        size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
    count, differ = list_differences(before, copy_state(learner))
    found = (
        f"{count} parts, {size / 2**20:.1f} MiB; an update changed {len(moved)}, after restoring {len(differ)} differ; "
        f"new games begin at agent step {', '.join(map(str, begun))} of {subject.algorithm.progress.agent_steps}"
    )
    return judge(not differ and len(moved) > 0 and begun == [subject.algorithm.progress.agent_steps], found)


def copy_state(learner: Any) -> dict[str, Any]:
    """Return a copy of the weights, the optimizer's state and the state of the shuffling."""
    optimizer = next(iter(learner.get_state(components=["optimizer"])["optimizer"].values()))
    state = {"net": learner.net.state_dict(), "optimizer": optimizer.get("state", optimizer)}
    state["generator"] = learner._generator.get_state()
    return copy.deepcopy(flatten_state(state))


@probe(
    "run",
    "algorithms/",
    "baselines: entropy in the log; Huang et al. 2022: a policy that stays uniform is a first sign of a fault",
)
def follow_policy(subject: Subject) -> Finding:
    """How far the policy has moved from its beginning."""
    subject.require_choice()
    obs = subject.batch["obs"].flatten(0, 1)[:256]
    before, fresh = describe_policy(subject, obs), subject.algorithm.progress.agent_steps
    most, steps, kl = min(subject.agent_steps, MAX_UPDATES * subject.rollout["valid"].size), 0, 0.0
    while steps < most and kl < CLEAR_KL:
        steps += subject.train(min(math.ceil(most / PARTS), most - steps))
        after = describe_policy(subject, obs)
        kl = max(0.0, float(before.kl(after).mean()))
    moved = float((before.mode() != after.mode()).float().mean())
    entropies = f"entropy {float(before.entropy().mean()):.5f} -> {float(after.entropy().mean()):.5f}"
    found = f"{steps:,} agent steps from {fresh:,} on: {entropies}, KL {kl:.1e}; "
    found += f"another action is the likeliest in {moved:.0%} of the states"
    return judge(kl > 0 or moved > 0, found, differs=kl < 1e-4)


def describe_policy(subject: Subject, obs: torch.Tensor) -> Any:
    """Return the present policy for these observations."""
    net = subject.net
    with torch.no_grad():
        return net.Policy(net.act(obs, net.pack(), net.make_initial_state(len(obs)))[0].clone())


@probe(
    "run",
    "algorithms/suite_algorithm.py: step",
    "all: none checks it",
)
def look_at_row(subject: Subject) -> Finding:
    """All numbers of its rows are finite, and the loss terms are there."""
    row = subject.last_row
    numbers = {name: value for name, value in row.items() if isinstance(value, int | float)}
    bad = [name for name, value in numbers.items() if not np.isfinite(value) and not name.startswith(SCORES)]
    return judge(not bad and "entropy" in row, f"{len(numbers)} numbers; not finite: {', '.join(bad) or 'none'}")


@probe(
    "run",
    "algorithms/a3c.py: apply_fragment",
    "Mnih et al. 2016: Hogwild, unmeasured",
    {"a3c"},
)
def follow_staleness(subject: Subject) -> Finding:
    """The row says how many updates old gradients are: none where one process plays all workers in turn."""
    staleness = subject.last_row.get("staleness", -1)
    return judge(staleness == 0, f"{staleness:g} in the mean")


@probe(
    "run",
    "algorithms/a3c.py: A3CLearner.apply_gradient",
    "Mnih et al. 2016: shared RMSProp, the most robust of three in their figure 8",
    {"a3c"},
)
def count_optimizers(subject: Subject) -> Finding:
    """All workers share one optimizer, whose statistics see every gradient."""
    runner: Any = subject.algorithm.env_runner_group.local_env_runner
    optimizer = runner.learner.get_optimizer("default_policy")
    learner, worker = len(subject.learner.get_optimizer("default_policy").state), len(optimizer.state)
    numbers = list_workers(0, subject.config)
    found = f"{len(numbers)} workers; statistics of {learner} parameters at the learner, of {worker} at the workers"
    return judge(learner > 0 and worker == 0, found)


Reader = Callable[[Subject], Any]
# What the paper's table has -> (its value, how the live objects are asked, why it differs here).
TABLES: dict[str, tuple[str, dict[str, tuple[Any, Reader, str]]]] = {
    "ppo": (
        "Schulman et al. 2017, Table 5",
        {
            "horizon T": (128, lambda s: s.runner.horizon, ""),
            "Adam step size": (2.5e-4, lambda s: s.algo.lr, ""),
            "epochs": (3, lambda s: s.algo.num_epochs, "baselines, which made the figures: 4"),
            "minibatch size": (256, lambda s: s.algo.minibatch_size, ""),
            "discount gamma": (0.99, lambda s: s.algo.gamma, ""),
            "GAE lambda": (0.95, lambda s: s.algo.gae_lambda, ""),
            "actors N": (8, lambda s: s.runner.num_envs, ""),
            "clip epsilon": (0.1, lambda s: s.algo.clip, ""),
            "value coefficient c1": (
                "1 of the whole square",
                lambda s: f"{s.algo.vf_coeff:g} of half the square",
                "baselines: as here",
            ),
            "entropy coefficient c2": (0.01, lambda s: s.algo.entropy_coeff, ""),
        },
    ),
    "a2c": (
        "openai/baselines a2c",
        {
            "envs N": (16, lambda s: s.runner.num_envs, ""),
            "steps T": (5, lambda s: s.runner.horizon, ""),
            "step size": (7e-4, lambda s: s.algo.lr, ""),
            "optimizer": ("rmsprop", lambda s: s.algo.optimizer, ""),
            "epsilon": (1e-5, lambda s: s.algo.optimizer_eps, ""),
            "gradient norm": (0.5, lambda s: s.algo.max_grad_norm, ""),
            "discount gamma": (0.99, lambda s: s.algo.gamma, ""),
            "value coefficient, of half the square (its later versions: of the whole)": (
                0.5,
                lambda s: s.algo.vf_coeff,
                "",
            ),
            "entropy coefficient": (0.01, lambda s: s.algo.entropy_coeff, ""),
        },
    ),
    "a3c": (
        "Mnih et al. 2016, section 8",
        {
            "workers": (16, lambda s: s.algo.num_workers, ""),
            "t_max": (5, lambda s: s.runner.horizon, ""),
            "optimizer": ("rmsprop", lambda s: s.algo.optimizer, ""),
            "discount gamma": (0.99, lambda s: s.algo.gamma, ""),
            "entropy coefficient": (0.01, lambda s: s.algo.entropy_coeff, ""),
        },
    ),
    "pg": (
        "RLlib's PG, which the lecture configures",
        {
            "step size": (4e-4, lambda s: s.algo.lr, ""),
            "optimizer": ("adam", lambda s: s.algo.optimizer, ""),
            "discount gamma": (0.99, lambda s: s.algo.gamma, ""),
            "gradient norm": (None, lambda s: s.algo.max_grad_norm, ""),
        },
    ),
}


def add_table(algo: str) -> None:
    """Add a probe for each setting in the table of an algorithm's paper."""
    source, rows = TABLES[algo]
    for name, (value, read, why) in rows.items():

        def compare(subject: Subject, value: Any = value, read: Reader = read, why: str = why) -> Finding:
            here = read(subject)
            note = f"; {why}" if why and here != value else ""
            return judge(True, f"{here} here, {value} there{note}", differs=here != value)

        compare.__doc__ = name
        probe("settings", f"experiments/algo/{algo}.yaml", source, {algo, "atari"})(compare)


for _algo in TABLES:
    add_table(_algo)
