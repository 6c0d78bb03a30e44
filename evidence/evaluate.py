"""Evaluation: full games with a trained agent, under the protocol it was trained under.

    run directory -> settings, weights -> N envs, each its share of the games -> scores -> statistics -> JSON

Two ways to play: `stochastic` draws from the policy, as training does; `greedy` takes its likeliest action. Either way
the games are whole, a lost life ends nothing, and the scores are unclipped.

Which games count is settled before the first is played: each env plays its share, and whatever it plays beyond that is
not looked at. The first 30 games to finish would be the short ones, and in most games those score low.

Seeds: both ways of playing start from the same games, and those are a branch of the run's seed that training never
draws from. The same run, checkpoint and number of episodes give the same result.
"""

import json
import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console
from rich.table import Table

from algorithms.progress import PROGRESS_FILE
from custom_models.actor_critic import ActorCritic
from custom_models.q_network import QNetwork
from environments.frames import layout_of
from environments.games import Games, make_games
from environments.machine import fastest_dtype, take_threads
from environments.mistakes import Mistake, in_a_line
from environments.protocols import describe
from environments.records import read_json
from evidence.human import references
from evidence.run_directory import find_checkpoint, runs_of, settings_of
from evidence.statistics import bootstrap_interval, iqm
from evidence.weights import read_weights

WAYS = ("stochastic", "greedy")
MAX_ENVS = 16
SEED_BRANCH = 1


def evaluate(run: Path, episodes: int, checkpoint: str | None = None) -> dict[str, Any]:
    """Play full games with the agent of a run, and write the result beside its checkpoint.

    Args:
        run: a run directory; for a parent of several seeds each of them is evaluated.
        episodes: full games per way of playing.
        checkpoint: `best`, `last` or `previous`; None takes the best where there is one.

    Returns:
        What the agent is (`env`, `algo`, `protocol`, `checkpoint`, `agent_steps`, `env_frames`, `seed`, `dtype`), how
        it played (`episodes`, `num_envs`, `env_seed`), and `stochastic` and `greedy`, see `summary`. For a parent:
        `seeds`, a list of such results. Each is in `<run>/checkpoints/evaluation_<checkpoint>.json` as well.

    Raises:
        Mistake: no such run or checkpoint, weights of another model, fewer than one episode.
    """
    if episodes < 1:
        raise Mistake(f"episodes={episodes}: an evaluation needs at least one game; give 1 or more")
    run = Path(run)
    runs = runs_of(run)
    for one in runs:
        settings_of(one)
    checkpoints = [find_checkpoint(one, checkpoint) for one in runs]  # all of them, before hours of play
    take_threads()
    results = [evaluate_checkpoint(*pair, episodes) for pair in zip(runs, checkpoints, strict=True)]
    return results[0] if runs == [run] else {"seeds": results}


def evaluate_checkpoint(run: Path, checkpoint: Path, episodes: int) -> dict[str, Any]:
    """`evaluate` for one seed and one checkpoint."""
    settings = settings_of(run)
    env, model = settings["env"], dict(settings["model"])
    if model["dtype"] == "auto":
        model["dtype"] = fastest_dtype()
    share = shares(episodes)
    env_seed, action_seed = seeds(settings["seed"])
    played = {}
    try:
        games = make_games({**env, "life_loss": False}, len(share), torch.get_num_threads())
    except Exception as error:  # Gymnasium's own, or whatever an environment makes of settings that were damaged
        raise Mistake(
            f"run={run}: its environment cannot be opened here ({in_a_line(error)}); install or register it, and see "
            "that env in its config.yaml is whole"
        ) from error
    try:
        agent = load_agent(checkpoint, model, env, games, settings["algo"])
        for way in WAYS:
            scores, lengths = play(agent, games, share, env_seed, action_seed, greedy=way == "greedy")
            played[way] = summary(scores, lengths, env)
    finally:
        games.close()
    progress = read_progress(checkpoint)
    result = {
        "env": env["name"],
        "algo": settings["algo"]["name"],
        "protocol": describe(env),
        "checkpoint": checkpoint.name,
        "agent_steps": progress.get("agent_steps"),
        "env_frames": progress.get("env_frames"),
        "seed": settings["seed"],
        "dtype": model["dtype"],
        "episodes": episodes,
        "num_envs": len(share),
        "env_seed": env_seed,  # of env 0; env i has the one i higher
        **played,
    }
    write_beside(checkpoint, result)
    return result


def shares(episodes: int) -> np.ndarray:
    """How many games each env plays: int [N], as even as can be."""
    num_envs = min(MAX_ENVS, episodes)
    return episodes // num_envs + (np.arange(num_envs) < episodes % num_envs)


def seeds(seed: int) -> tuple[int, int]:
    """The seeds of the first env and of the drawn actions, from the seed of the run."""
    branch = np.random.SeedSequence(seed, spawn_key=(SEED_BRANCH,))
    env_seed, action_seed = branch.generate_state(2)
    return int(env_seed) % 2**30, int(action_seed)


def load_agent(
    checkpoint: Path, model: dict, env: dict, games: Games, algo: dict | None = None
) -> ActorCritic | QNetwork:
    """The network of a checkpoint; `algo` holds the `algo.` settings, and says which class it is of.

    Raises:
        Mistake: the checkpoint is damaged or holds weights of another model.
    """
    layout = layout_of(env)
    if layout is not None:
        model = model | {"pixels": layout._asdict() | {"block": layout.block}}
    logging.getLogger("ray._common.deprecation").setLevel(logging.ERROR)  # RLModule uses what RLlib deprecates
    spaces = {"observation_space": games.observation_space, "action_space": games.action_space}
    try:
        if algo is not None and algo["name"] == "dqn":
            agent = QNetwork(**spaces, model_config=model | {"dueling": algo["dueling"]})
        else:
            agent = ActorCritic(**spaces, model_config=model)
    except Exception as error:  # torch may raise anything where settings were damaged
        run = checkpoint.parent.parent
        raise Mistake(f"run={run}: model in its config.yaml makes no network ({in_a_line(error)})") from error
    state = read_weights(checkpoint)
    found = {name: weights.shape for name, weights in state.items()}
    wanted = {name: tuple(weights.shape) for name, weights in agent.state_dict().items()}
    for name in sorted(found.keys() | wanted.keys()):
        if found.get(name) != wanted.get(name):
            raise Mistake(
                f"{checkpoint}: a checkpoint of another model, {name} is {found.get(name, 'missing')} where the run's "
                f"config.yaml asks for {wanted.get(name, 'none')}; evaluate the run it was saved by"
            )
    agent.load_state_dict({name: torch.as_tensor(weights) for name, weights in state.items()})
    return agent


def play(
    agent: ActorCritic | QNetwork, games: Games, share: np.ndarray, env_seed: int, action_seed: int, greedy: bool
) -> tuple[list[float], list[int]]:
    """Play `share[n]` full games in env n.

    Returns:
        Unclipped scores and lengths in agent steps, all of env 0 first.
    """
    scores, lengths = [[] for _ in share], [[] for _ in share]
    score, length = np.zeros(len(share)), np.zeros(len(share), np.int64)
    generator = torch.Generator().manual_seed(action_seed)
    view, state = View(games, env_seed), agent.initial_state(len(share))
    with torch.inference_mode():
        packed = agent.pack()
        while sum(map(len, scores)) < share.sum():
            parameters, _, state = agent.act(view.seen(), packed, state)
            policy = agent.Policy(parameters)
            actions = policy.mode() if greedy else policy.sample(generator)
            step = games.step(actions.numpy())
            view.move(step)
            for part in state:
                part[torch.from_numpy(step.game_reset)] = 0
            score += step.rewards
            length += step.valid
            for n in np.flatnonzero(step.finished):
                if len(scores[n]) < share[n]:
                    scores[n].append(float(score[n]))
                    lengths[n].append(int(length[n]))
                score[n] = length[n] = 0
    return sum(scores, []), sum(lengths, [])


class View:
    """What the agent sees of N games: observations as they come, or stacks of the last frames of each game."""

    def __init__(self, games: Games, seed: int):
        self.layout, obs = games.layout, games.reset(seed)
        self.obs = obs
        if self.layout is not None:
            height, width, depth = self.layout.frame_shape
            self.obs = np.zeros((len(obs), height, width, self.layout.stack, depth), np.uint8)
            self.obs[..., -1, :] = obs

    def seen(self) -> torch.Tensor:
        """[N, ...]; pixels as stacks in blocks."""
        obs = self.obs if self.layout is None else self.obs.reshape(len(self.obs), *self.layout.stack_shape)
        return torch.from_numpy(obs)

    def move(self, step) -> None:
        """On to what a Transition led to."""
        if self.layout is None:
            self.obs = step.obs
            return
        self.obs[..., :-1, :] = self.obs[..., 1:, :]
        self.obs[step.game_reset] = 0
        self.obs[..., -1, :] = step.obs


def summary(scores: list[float], lengths: list[int], env: dict) -> dict[str, Any]:
    """The numbers of one way to play.

    `iqm_interval` is a 95 % bootstrap interval over the games: how sure the score of this one agent is, not how much
    agents of other seeds differ. `human_normalised` is by table, of the mean.
    """
    mean = float(np.mean(scores))
    return {
        "mean": mean,
        "median": float(np.median(scores)),
        "iqm": float(iqm(np.array(scores))),
        "iqm_interval": list(bootstrap_interval(np.array(scores))),
        "std": float(np.std(scores)),
        "min": min(scores),
        "max": max(scores),
        "mean_length": float(np.mean(lengths)),  # agent steps
        "human_normalised": {reference.table: reference.normalise(mean) for reference in references(env)},
        "scores": scores,
        "lengths": lengths,
    }


def read_progress(checkpoint: Path) -> dict[str, Any]:
    """The counters that were saved beside the weights."""
    return read_json(checkpoint / PROGRESS_FILE, dict)


def write_beside(checkpoint: Path, result: dict[str, Any]) -> None:
    """Write the JSON in one piece, so that nobody reads half of it."""
    path = checkpoint.with_name(f"evaluation_{checkpoint.name}.json")
    temporary = path.with_suffix(".new")
    temporary.write_text(json.dumps(result, indent=1))
    os.replace(temporary, path)


def print_evaluation(result: dict[str, Any], console: Console | None = None) -> None:
    """A small table: one column per way to play; one such table per seed."""
    console = console or Console()
    for one in result.get("seeds", [result]):
        table = Table()
        table.add_column("score of full games")
        for way in WAYS:
            table.add_column(way, justify="right")
        for name in ("mean", "median", "iqm", "iqm_interval", "std", "min", "max", "mean_length"):
            label = {"iqm": "IQM", "iqm_interval": "IQM, 95 % interval", "mean_length": "mean length, agent steps"}
            table.add_row(label.get(name, name), *(number(one[way][name]) for way in WAYS))
        for name in one[WAYS[0]]["human_normalised"]:
            values = (f"{one[way]['human_normalised'][name]:.2f}" for way in WAYS)
            table.add_row(f"human-normalised, {name}", *values)
        console.print(title(one), table, sep="\n", highlight=False)


def title(result: dict[str, Any]) -> str:
    """Whose scores they are, and of how many games."""
    steps = "an unknown number of" if result["agent_steps"] is None else f"{result['agent_steps']:,}"
    return (
        f"{result['algo']} on {result['env']}, protocol {result['protocol']}, seed {result['seed']}\n"
        f"{result['checkpoint']} checkpoint at {steps} agent steps, {result['episodes']} games each"
    )


def number(value: float | list[float]) -> str:
    """`1,234.5`, or two of them."""
    return " to ".join(f"{v:,.1f}" for v in (value if isinstance(value, list) else [value]))
