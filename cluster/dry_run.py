"""`dry_run=true`: which process would run where, and what would travel between them; nothing is trained.

settings, nodes, how fast one env runner plays -> a node per process, bytes per agent step and second -> words
"""

import math
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.rllib.core import DEFAULT_MODULE_ID

from cluster.placement import KINDS, Node, placed, spelt
from cluster.resources import in_words, num_env_runners
from environments.games import make_games
from rollouts.rollout import columns
from settings.mistakes import Mistake, counted, in_a_line

MEASUREMENT_S = 1.0  # that an env runner is watched
MEASUREMENT_TIMEOUT_S = 120.0  # until then it has found room, and started, and played


class Pace(NamedTuple):
    """Of one env runner that waits for nobody."""

    agent_steps: float  # per second
    rollouts: float  # per second; of A3C, fragments


@ray.remote(num_cpus=0)
class EnvRunnerProbe:
    """An env runner by itself, in a process like that of a run."""

    def measure_pace(self, config: Any) -> Pace:
        """Let the env runner play for PLAY_S, after a rollout that does not count, and return its pace."""
        runner = config.env_runner_cls(config=config, worker_index=1)

        def play() -> int:
            if config.algo.name == "a3c":  # its workers learn where they play
                return runner.play_fragment(0, runner.learner.flatten_weights(), 0, 0.0)[1]["agent_steps"]
            return runner.sample().agent_steps

        play()
        played, start = [], time.perf_counter()
        while (took := time.perf_counter() - start) < MEASUREMENT_S:
            played.append(play())
        return Pace(sum(played) / took, len(played) / took)


def measure_pace(settings: dict, config: Any, bundles: list[dict[str, float]], found: list[Node]) -> Pace | None:
    """Measure the pace of an env runner of this run, on a node that Ray chooses, beside whatever runs there.

    Args:
        settings: of the experiment, checked.
        config: RLlib's, built of them.
        bundles: CPUs and GPUs of each process of the run.
        found: the nodes there are.

    Returns:
        None where there are no env runners, or no room for one now.
    """
    if not num_env_runners(settings) or placed(bundles, found) is None:
        return None
    alone = EnvRunnerProbe.options(num_gpus=settings["cluster"]["gpus_per_runner"]).remote()
    try:
        return ray.get(alone.measure_pace.remote(config), timeout=MEASUREMENT_TIMEOUT_S)
    except GetTimeoutError:
        return None
    except RayError as error:
        raise Mistake(f"an env runner cannot start: {in_a_line(error)}") from error


def describe_plan(
    settings: dict, config: Any, bundles: list[dict[str, float]], found: list[Node], pace: Pace | None = None
) -> str:
    """Describe where each process of a run, or of a trial of a search, would be, and what would travel between them.

    Args:
        settings: of the experiment, checked.
        config: RLlib's, built of them.
        bundles: CPUs and GPUs of each process.
        found: the nodes there are.
        pace: of one env runner; without it nothing is said of seconds.
    """
    where = placed(bundles, found)
    total = {key: sum(node.has[key] for node in found) for key in KINDS}
    lines = [
        f"{settings['algo']['name']} on {settings['env']['name']}, {in_words(settings)}",
        f"on {counted(len(found), 'node')} with {spelt(total)}:",
    ]
    for i, (name, bundle) in enumerate(zip(name_processes(settings, len(bundles)), bundles, strict=True)):
        lines.append(f"  {name:<17}{spelt(bundle):<14}{where[i].name if where else 'nowhere: there is no room for it'}")
    if where:
        lines.append("one way that fits; Ray finds its own once the run starts")
    return "\n".join([*lines, *describe_traffic(settings, config, pace)])


def name_processes(settings: dict, number: int) -> list[str]:
    """Return what each process is, in the order of the bundles; of a trial with several seeds, seed after seed."""
    runners, learners = num_env_runners(settings), settings["cluster"]["num_learners"]
    each = [f"env runner {i + 1}" for i in range(runners)] + [f"learner {i + 1}" for i in range(learners)]
    seeds = (number - 1) // max(1, len(each))
    return ["training process", *each * seeds]


def describe_traffic(settings: dict, config: Any, pace: Pace | None) -> Iterable[str]:
    """Yield a line on everything that goes from process to process, with its size."""
    runners, learners = num_env_runners(settings), settings["cluster"]["num_learners"]
    weights, each, ship = count_weight_bytes(config), count_rollout_bytes(config), settings["algo"].get("ship")  # A3C's
    spelt_weights = f"{weights / 1e6:,.1f} MB"
    if not runners and not learners:
        yield "nothing travels: one process plays and learns"
        return
    if ship == "gradients":
        yield f"gradients: {spelt_weights} each from a worker, weights: as much back"
    elif ship == "experience":
        yield f"rollouts: {each:,.0f} bytes per agent step from a worker, weights: {spelt_weights} back for each"
    else:
        yield f"rollouts: {each:,.0f} bytes per agent step to the learner"
        yield f"weights: {spelt_weights} per update to each node with env runners"
    if learners > 1:
        yield f"gradients: {spelt_weights} per minibatch from each learner to the others"
    if runners and not pace:
        yield "expected per second: not tried, there is no room for an env runner"
    if pace:
        yield f"one env runner by itself plays {pace.agent_steps:,.0f} agent steps/s (measured for {MEASUREMENT_S:g} s)"
        back = pace.rollouts * weights * (runners if ship else 1)
        there = back if ship == "gradients" else runners * pace.agent_steps * each
        yield (
            f"expected at most, with {runners}: {there / 1e6:,.1f} MB/s to the learner, {back / 1e6:,.1f} MB/s of "
            f"weights {'back' if ship else 'to each node'}"
        )
    if pace and learners > 1:
        passed = pace.rollouts * count_minibatches(settings) * weights
        yield f"and {passed / 1e6:,.1f} MB/s of gradients from each learner"


def count_minibatches(settings: dict) -> int:
    """Return the minibatches of an update, each of which ends with a sum of gradients."""
    algo = settings["algo"]
    if "minibatch_size" not in algo:
        return 1
    return algo["num_epochs"] * math.ceil(algo["num_envs"] * algo["horizon"] / algo["minibatch_size"])


def count_rollout_bytes(config: Any) -> float:
    """Return the bytes of a Rollout per agent step; of complete episodes, where they are as long as 1,000 agent steps.

    Args:
        config: RLlib's, built of an experiment.
    """
    games, spaces = open_spaces(config)
    horizon, num_envs = getattr(config.algo, "horizon", 1000), config.num_envs_per_env_runner
    table = columns(horizon, num_envs, *spaces, games.layout, 0, config.model_config["lstm_size"] or 0)
    return sum(np.dtype(dtype).itemsize * np.prod(shape) for shape, dtype in table.values()) / (horizon * num_envs)


def count_weight_bytes(config: Any) -> int:
    """Return the bytes of a model's weights as they travel.

    Args:
        config: RLlib's, built of an experiment.
    """
    _, spaces = open_spaces(config)
    module = config.get_rl_module_spec(spaces={DEFAULT_MODULE_ID: spaces}, inference_only=False).build()
    return sum(array.nbytes for array in module.get_state().values())


def open_spaces(config: Any) -> tuple[Any, tuple[Any, Any]]:
    """Open one game of an experiment and close it; return it with its observation space and its action space."""
    games = make_games(config.env_config, 1, 1)
    games.close()
    return games, (games.observation_space, games.action_space)
