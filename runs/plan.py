"""`dry_run=true`: which process would run where, and what would travel between them; nothing is trained.

settings, nodes -> a node per process, bytes per agent step and per update -> words
"""

from collections.abc import Iterable
from typing import Any

import numpy as np
from ray.rllib.core import DEFAULT_MODULE_ID

from environments.games import make_games
from rollouts.rollout import columns
from runs.build import build, bundles_of, in_words, num_env_runners
from runs.placement import KINDS, Node, placed, spelt


def plan(settings: dict, found: list[Node]) -> str:
    """In words, for a run or a trial of a search.

    Args:
        settings: checked by `runs.check.check`.
        found: the nodes there are.
    """
    bundles = bundles_of(settings)
    where = placed(bundles, found)
    total = {key: sum(node.has[key] for node in found) for key in KINDS}
    lines = [
        f"{settings['algo']['name']} on {settings['env']['name']}, {in_words(settings)}",
        f"on {len(found)} node{'s' * (len(found) > 1)} with {spelt(total)}:",
    ]
    for i, (name, bundle) in enumerate(zip(names_of(settings, len(bundles)), bundles, strict=True)):
        lines.append(f"  {name:<17}{spelt(bundle):<14}{where[i].name if where else 'nowhere: there is no room for it'}")
    if where:
        lines.append("one way that fits; Ray finds its own once the run starts")
    return "\n".join([*lines, *travels(settings)])


def names_of(settings: dict, number: int) -> list[str]:
    """What the processes of a run are, in the order of its bundles; of a trial with several seeds, seed after seed."""
    runners, learners = num_env_runners(settings), settings["cluster"]["num_learners"]
    each = [f"env runner {i + 1}" for i in range(runners)] + [f"learner {i + 1}" for i in range(learners)]
    seeds = (number - 1) // max(1, len(each))
    return ["training process", *each * seeds]


def travels(settings: dict) -> Iterable[str]:
    """What goes from process to process, with its size."""
    runners, weights = num_env_runners(settings), weight_bytes(settings)
    learners = settings["cluster"]["num_learners"]
    if not runners and not learners:
        yield "nothing travels: one process plays and learns"
    elif settings["algo"].get("ship") == "gradients":
        yield f"gradients: {weights / 1e6:,.1f} MB each from a worker, weights: as much back"
    else:
        each = rollout_bytes(settings)
        rate = f"{each / 1e3:,.1f} MB/s at 1,000 agent steps/s"
        yield f"rollouts: {each:,.0f} bytes per agent step to the learner, {rate}"
        yield f"weights: {weights / 1e6:,.1f} MB per update to each node with env runners"
    if learners > 1:
        yield f"gradients: {weights / 1e6:,.1f} MB per minibatch from each learner to the others"


def rollout_bytes(settings: dict) -> float:
    """Bytes of a Rollout per agent step; of complete episodes, where they are as long as 1,000 agent steps."""
    config, (games, spaces) = build(settings), spaces_of(settings)
    horizon, num_envs = settings["algo"].get("horizon", 1000), config.num_envs_per_env_runner
    table = columns(horizon, num_envs, *spaces, games.layout, 0, settings["model"]["lstm_size"] or 0)
    return sum(np.dtype(dtype).itemsize * np.prod(shape) for shape, dtype in table.values()) / (horizon * num_envs)


def weight_bytes(settings: dict) -> int:
    """Of the model, as it travels."""
    _, spaces = spaces_of(settings)
    module = build(settings).get_rl_module_spec(spaces={DEFAULT_MODULE_ID: spaces}, inference_only=False).build()
    return sum(array.nbytes for array in module.get_state().values())


def spaces_of(settings: dict) -> tuple[Any, tuple[Any, Any]]:
    """One game, closed, and what its agent sees and does."""
    games = make_games(settings["env"], 1, 1)
    games.close()
    return games, (games.observation_space, games.action_space)
