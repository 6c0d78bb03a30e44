"""`dry_run=true`: a text that predicts the node of each process and the traffic between them; nothing is trained.

settings, nodes, measured pace of one env runner -> a node per process, bytes per agent step and per second -> text
"""

import math
import time
from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
import ray
from ray.exceptions import GetTimeoutError, RayError
from ray.rllib.core import DEFAULT_MODULE_ID

from cluster.placement import KINDS, Node, format_resources, place_bundles
from cluster.plan import Plan, count_trainings, describe_update
from custom_models.actor_critic import choose_policy
from custom_models.distributions import Gaussian
from environments.games import make_games
from rollouts.rollout import list_columns
from settings.algorithms import A3CSettings
from settings.mistakes import Mistake, format_count, format_error

MEASUREMENT_S = 1.0  # the time for which the pace of an env runner is measured
MEASUREMENT_TIMEOUT_S = 120.0  # of placing and starting the env runner and measuring its pace


class Pace(NamedTuple):
    """The pace of one env runner that never waits for another process."""

    agent_steps: float  # per second
    rollouts: float  # per second; with A3C, fragments per second


@ray.remote
class EnvRunnerProbe:
    """Ray's actor that measures the pace of one env runner, which is made as those of the run are."""

    def measure_pace(self, config: Any) -> Pace:
        """Return the pace of the env runner over MEASUREMENT_S, after a first rollout that is not measured."""
        runner = config.env_runner_cls(config=config, worker_index=1)

        def play() -> tuple[int, int]:  # agent steps and rollouts
            if isinstance(config.algo, A3CSettings):  # A3C's env runners are its workers, which also compute gradients
                played = runner.play_fragments(0, runner.learner.flatten_weights(), 0, 0.0)
                return sum(about["agent_steps"] for _, about in played), len(played)
            return runner.sample().agent_steps, 1

        play()
        played, start = [], time.perf_counter()
        while (took := time.perf_counter() - start) < MEASUREMENT_S:
            played.append(play())
        agent_steps, rollouts = (sum(numbers) / took for numbers in zip(*played, strict=True))
        return Pace(agent_steps, rollouts)


def measure_pace(plan: Plan, config: Any, found: list[Node]) -> Pace | None:
    """Measure the pace of an env runner of this run, on a node that Ray chooses, beside all processes there.

    Args:
        plan: of the run.
        config: RLlib's config, built from it.
        found: the nodes of the cluster.

    Returns:
        None if the run has no env runners, does not fit, or finds no room within MEASUREMENT_TIMEOUT_S.
    """
    if not plan.num_env_runners or place_bundles(plan.bundles, found) is None:
        return None
    cluster = plan.settings["cluster"]  # with the CPUs of an env runner, which are its threads
    alone = EnvRunnerProbe.options(num_cpus=cluster["cpus_per_runner"], num_gpus=cluster["gpus_per_runner"]).remote()
    try:
        return ray.get(alone.measure_pace.remote(config), timeout=MEASUREMENT_TIMEOUT_S)
    except GetTimeoutError:
        return None
    except RayError as error:
        raise Mistake(f"an env runner cannot start: {format_error(error)}") from error


def describe_plan(plan: Plan, config: Any, found: list[Node], pace: Pace | None = None) -> str:
    """Return a text on the node of each process of a run, or of a trial of a search, and on the traffic between them.

    Args:
        plan: of the run, or of a trial.
        config: RLlib's config, built from it.
        found: the nodes of the cluster.
        pace: the pace of one env runner; without it, the text has no traffic per second.
    """
    where, settings = place_bundles(plan.all_bundles, found), plan.settings
    total = {key: sum(node.has[key] for node in found) for key in KINDS}
    lines = [
        f"{settings['algo']['name']} on {settings['env']['name']}, {describe_update(plan)}",
        *describe_repetitions(plan, found),
        f"on {format_count(len(found), 'node')} with {format_resources(total)}:",
    ]
    for i, (name, bundle) in enumerate(zip(name_processes(plan), plan.all_bundles, strict=True)):
        place = where[i].name if where else "no node: the run does not fit"
        takes = format_resources(bundle) if bundle else "low priority"
        lines.append(f"  {name:<17}{takes:<14}{place}")
    if where:
        lines.append("this placement fits; Ray may choose another one when the run starts")
    return "\n".join([*lines, *describe_traffic(plan, config, pace)])


def describe_repetitions(plan: Plan, found: list[Node]) -> list[str]:
    """Return the lines on how many runs or trials with these processes there are, and how many of them run at once."""
    room = count_places(plan, found)
    if plan.settings["command"] == "search":
        search = plan.settings["search"]
        at_once = min(search["trials"], search["concurrent"] or max(1, room))
        seeds = format_count(search["seeds_per_trial"], "seed")
        trials = format_count(search["trials"], "trial")
        return [f"{trials} of {seeds}, {at_once} at once, each with these processes", *describe_cost(plan.settings)]
    if len(plan.seeds) == 1:
        return []
    at_once = min(len(plan.seeds), max(1, room))
    how = {1: "one after the other", len(plan.seeds): "side by side"}.get(at_once, f"{at_once} at once")
    return [
        f"{len(plan.seeds)} runs, one per seed ({', '.join(map(str, plan.seeds))}), {how}, each with these processes"
    ]


def describe_cost(settings: dict) -> list[str]:
    """Return the lines on how many trainings a search has and how many agent steps they take; both at most."""
    search, budget = settings["search"], settings["stop"]["agent_steps"]
    trials, more, fresh = numbers = count_trainings(search)
    words = [f"{trials:,} of trials"]
    words += [f"{more:,} of the best trials on more seeds"] if more else []
    words += [f"{fresh:,} of finalists and the default settings on fresh seeds"] if fresh else []
    stops = search["scheduler"] in ("asha", "median")
    return [
        f"at most {format_count(sum(numbers), 'training')} of {budget:,} agent steps: {', '.join(words)}",
        f"{sum(numbers) * budget:,} agent steps in all{', fewer where trials stop early' if stops else ''}; their time "
        "depends on agent_steps_per_s of a training, which is not measured here",
    ]


def count_places(plan: Plan, found: list[Node]) -> int:
    """Return how many seeds of the run, or trials of the search, fit on the nodes at once; at most all of them."""
    most = plan.settings["search"]["trials"] if plan.settings["command"] == "search" else len(plan.seeds)
    count, evaluator = 0, plan.all_bundles[len(plan.bundles) :]
    while count < most and place_bundles(plan.bundles * (count + 1) + evaluator, found) is not None:
        count += 1
    return count


def name_processes(plan: Plan) -> list[str]:
    """Return the names of the processes in the order of the bundles; of a trial with several seeds, seed by seed.

    The evaluator, which plays the evaluations of `evaluate_every`, is one for all seeds.
    """
    runners, learners = plan.num_env_runners, plan.settings["cluster"]["num_learners"]
    each = [f"env runner {i + 1}" for i in range(runners)] + [f"learner {i + 1}" for i in range(learners)]
    return ["training process", *each * plan.seeds_per_process, *["evaluator"] * (plan.evaluator is not None)]


def describe_traffic(plan: Plan, config: Any, pace: Pace | None) -> Iterable[str]:
    """Yield a line on each kind of data that is sent between processes, with its size in bytes."""
    settings, runners = plan.settings, plan.num_env_runners
    learners = settings["cluster"]["num_learners"]
    weights, each = count_weight_bytes(config), count_rollout_bytes(config)
    ship = settings["algo"].get("ship")  # only A3C has this setting
    spelt_weights = f"{weights / 1e6:,.1f} MB" if weights > 1e5 else f"{weights / 1e3:,.1f} kB"
    if not runners and not learners:
        yield "no traffic: one process plays and learns"
        return
    if ship == "gradients":
        yield f"gradients: {spelt_weights} from a worker per gradient step, weights: {spelt_weights} back"
    elif ship == "experience":
        yield f"rollouts: {each:,.0f} bytes per agent step from a worker, weights: {spelt_weights} back per rollout"
    else:
        yield f"rollouts: {each:,.0f} bytes per agent step to the learner"
        yield f"weights: {spelt_weights} per update to each node with env runners"
    if learners > 1:
        yield f"gradients: {spelt_weights} per minibatch from each learner to the others"
    if runners and not pace:
        yield "expected per second: not measured, because there is no room for an env runner now"
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
    """Return the number of minibatches per update; learners sum their gradients once per minibatch."""
    algo = settings["algo"]
    if "minibatch_size" not in algo:
        return 1
    return algo["num_epochs"] * math.ceil(algo["num_envs"] * algo["horizon"] / algo["minibatch_size"])


def count_rollout_bytes(config: Any) -> float:
    """Return the bytes of a Rollout per agent step; PG's complete episodes are assumed to last 1,000 agent steps.

    Args:
        config: RLlib's config, built from an experiment.
    """
    games, spaces = open_spaces(config)
    horizon, num_envs = getattr(config.algo, "horizon", 1000), config.num_envs_per_env_runner
    policy, size = choose_policy(spaces[1])
    size = size * (2 if policy is Gaussian else 1) if config.records_policy() else 0  # means and deviations
    table = list_columns(horizon, num_envs, *spaces, games.layout, size, config.model_config["lstm_size"] or 0)
    return sum(np.dtype(dtype).itemsize * np.prod(shape) for shape, dtype in table.values()) / (horizon * num_envs)


def count_weight_bytes(config: Any) -> int:
    """Return the bytes of a model's weights, as they are sent between processes.

    Args:
        config: RLlib's config, built from an experiment.
    """
    _, spaces = open_spaces(config)
    module = config.get_rl_module_spec(spaces={DEFAULT_MODULE_ID: spaces}, inference_only=False).build()
    return sum(array.nbytes for array in module.get_state().values())


def open_spaces(config: Any) -> tuple[Any, tuple[Any, Any]]:
    """Return one game of an experiment, closed again, with its observation space and its action space."""
    games = make_games(config.env_config, 1, 1)
    games.close()
    return games, (games.observation_space, games.action_space)
