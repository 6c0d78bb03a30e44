"""Trains seeds of a claim's arm, or makes one of its measurements, in this process and without Ray.

    PYTHONPATH=. python results/2026-11-27_claims/without_ray.py train a2c_variance cartpole_pg pg 1 2 3
    PYTHONPATH=. python results/2026-11-27_claims/without_ray.py measure gradient_noise 1 2
    PYTHONPATH=. python results/2026-11-27_claims/without_ray.py values 1 2

Env runner, learner and settings are those that `python -m claims` gives to Ray's processes; with one env runner in the
training process, the same seed gives the same numbers. Rows and weights go to outputs/without_ray/.
`values` prints the mean of the returns of 8 games and that of the critic's values of the same states.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from algorithms.learner import PROGRESS
from claims import measurements
from claims.claim import read_claim, read_training
from claims.measures import COLUMNS
from claims.training import make_grid
from cluster.plan import make_plan
from environments import threads
from environments.games import make_games
from experiments.overrides import check_overrides
from probes.subject import ALONE
from rollouts.progress import Progress
from rollouts.returns import monte_carlo
from rollouts.rollout import RolloutData, summarize
from runs.build import build_config

OUT = Path("outputs/without_ray")
SHARE = 0.3  # of the training, after which weights are kept
threads.count_threads = lambda: 1


def build(settings: dict[str, Any]) -> SimpleNamespace:
    """Return learner, network and env runner of an experiment; they share the network."""
    config = build_config(make_plan(settings))
    games = make_games(config.env_config, 1, 1)
    games.close()
    learner = config.build_learner(spaces={DEFAULT_MODULE_ID: (games.observation_space, games.action_space)})
    torch.set_num_threads(1)
    runner = config.env_runner_cls(config=config, module=learner.net)
    return SimpleNamespace(learner=learner, net=learner.net, runner=runner, algo=config.algo)


def train(settings: dict[str, Any], rows_file: Path, weights_file: Path) -> None:
    """Train one seed to its budget; write the rows of progress.csv, and the weights after SHARE of it."""
    subject, progress, rows, weights = build(settings), Progress(), [], {}
    budget, every = settings["stop"]["agent_steps"], settings["report_every"]
    progress.start_clock()
    due = every
    while progress.agent_steps < budget:
        rollout, share = subject.runner.sample(), progress.agent_steps / budget
        subject.learner.update(training_data=RolloutData([rollout]), timesteps={PROGRESS: share})
        progress.count_rollouts([summarize(rollout)], remote=False)
        if progress.agent_steps >= min(due, budget):
            rows.append(progress.make_row(1))
            due = progress.agent_steps + every
        if not weights and progress.agent_steps >= SHARE * budget:
            weights = {name: tensor.clone().numpy() for name, tensor in subject.net.state_dict().items()}
    rows_file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(rows_file, **{name: np.array([row[name] for row in rows], float) for name in COLUMNS})
    np.savez(weights_file, **weights)


@contextmanager
def open_subject(*overrides: str) -> Iterator[SimpleNamespace]:
    """Build what a measurement asks of probes/subject.py."""
    settings, _ = check_overrides(list(overrides))
    settings = settings | {"cluster": settings["cluster"] | ALONE}
    if settings["algo"]["name"] != "a3c":
        yield build(settings)
        return
    config = build_config(make_plan(settings))
    runner = config.env_runner_cls(config=config)
    torch.set_num_threads(1)
    group = SimpleNamespace(local_env_runner=runner)
    yield SimpleNamespace(algorithm=SimpleNamespace(env_runner_group=group))


def load_weights(subject: Any, run: Path, checkpoint: str) -> None:
    """Load what `train` has kept of a seed of A2C."""
    weights = np.load(run)
    subject.net.load_state_dict({name: torch.as_tensor(weights[name]) for name in weights.files})


def print_values(seeds: list[str]) -> None:
    """Print returns G and values V of 8 games of A2C's policy after SHARE of its training: mean and deviation."""
    with open_subject("algo=pg", *measurements.CARTPOLE) as subject:
        for seed in seeds:
            load_weights(subject, OUT / f"a2c_{seed}_weights.npz", "")
            batch = subject.learner.load([subject.runner.sample()])
            ends = batch["terminated"], batch["truncated"]
            batch["returns"] = monte_carlo(batch["rewards"], *ends, subject.algo.gamma)
            _, values, rows = subject.learner.forward(subject.learner.select_rows(batch, ("actions", "returns")))
            found = [f"{x.mean():.1f} +- {x.std():.1f}" for x in (rows["returns"], values.detach())]
            print(f"seed {seed}: G {found[0]}, V {found[1]}")


def main(what: str, *words: str) -> None:
    """Train, or measure, as the first word says."""
    if what == "train":
        claim, training, arm, *seeds = words
        arms = make_grid(read_training(read_claim(claim), training), 10, "outputs").arms
        settings = next(one.settings for one in arms if one.name == arm)
        for seed in map(int, seeds):
            train(settings | {"seed": seed}, OUT / f"{arm}_{seed}.npz", OUT / f"{arm}_{seed}_weights.npz")
        return
    if what == "values":
        print_values(list(words))
        return
    name, *seeds = words
    measurements.open_subject, measurements.load_weights = open_subject, load_weights
    measurements.list_seed_runs = lambda run: [OUT / f"a2c_{seed}_weights.npz" for seed in seeds]
    table = measurements.MEASUREMENTS[name](len(seeds), {"a2c": OUT})
    lists = {arm: {measure: list(map(float, column)) for measure, column in of.items()} for arm, of in table.items()}
    (OUT / f"{name}_{'_'.join(seeds)}.json").write_text(json.dumps(lists))


if __name__ == "__main__":
    main(*sys.argv[1:])
