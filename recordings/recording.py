"""Recording: an agent plays whole games, each is kept as a replay, proven, and filmed.

    run directory -> weights -> N envs, one game each -> recordings/<checkpoint>_<way>_seed_<seed>_game_<n>.npz
                                                      -> played again from its actions -> .mp4, .webp or .gif

Each game has a seed of its own, so that it can be replayed without the ones before it. The agent plays as in an
evaluation: the same network, the same protocol, a lost life ends nothing.
"""

import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from custom_models.actor_critic import ActorCritic
from custom_models.distributions import Categorical, Gaussian
from custom_models.q_network import QNetwork
from environments.frame_stack import FrameStack
from environments.games import Games
from environments.threads import take_threads
from evidence.evaluate import (
    MAX_ENVS,
    Evaluation,
    GamesDisplay,
    load_agent,
    model_of,
    open_games,
    seeds,
)
from recordings.replay import Replay, pack_replay
from recordings.replayed_game import Environment, versions
from recordings.video import Look, show_film
from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.layout import RECORDINGS, list_seed_runs
from run_directory.writing import choose_free_path, explain_unwritable, save_file
from settings.mistakes import Mistake
from settings.protocols import describe


def record(
    run: Path,
    games: int,
    checkpoint: str | None = None,
    way: str = "stochastic",
    seed: int | None = None,
    rules: dict[str, Any] | None = None,
    look: Look | None = None,
    console: Console | None = None,
) -> int:
    """Play games with the agent of a run, keep their replays in the run directory, and film them.

    Args:
        run: a run directory; of a parent of several seeds the first one plays.
        games: how many.
        checkpoint: as in `evaluate`.
        way: `stochastic` draws actions, `greedy` takes the likeliest.
        seed: of the games; None is the run's.
        rules: `env.` settings that replace the run's own, see `apply_rules`.
        look: of the videos.
        console: where progress and results go.

    Returns:
        The exit code: 0; 1 where a replay does not score what was played, or a file cannot be written.

    Raises:
        Mistake: as `evaluate`; or the environment cannot be drawn, or the run directory cannot be written.
    """
    runs = list_seed_runs(Path(run))
    one = runs[0]
    agent = Evaluation(one, find_checkpoint(one, checkpoint), games, [way], seed, rules or {})
    words = "_".join([agent.name, way, *agent.rule_words, f"seed_{agent.games_seed}"])
    paths = [one / RECORDINGS / f"{words}_game_{number}.npz" for number in range(1, games + 1)]
    if why := explain_unwritable(choose_free_path(paths[0])):
        raise Mistake(f"run={run}: no recording can be kept in it ({why}); copy it, and record the copy")
    if "id" in agent.env:
        Environment(agent.env, 0, pictures=True).close()  # what cannot be drawn is refused before it is played
    take_threads()
    torch.set_num_threads(1)  # a few games are a small batch: threads would mostly wait for each other
    with GamesDisplay(games, console) as display:
        if len(runs) > 1:
            display.say(f"{run} has {len(runs)} seeds, and {one.name} plays; for another, give run=<its directory>")
        for note in agent.notes:
            display.say(note)
        display.begin(f"recording, {way}")
        replays = play_replays(agent, games, way == "greedy", display)
    code = 0
    (one / RECORDINGS).mkdir(exist_ok=True)
    for number, (replay, path) in enumerate(zip(replays, paths, strict=True), 1):
        path = choose_free_path(path)
        why = save_file(path, pack_replay(replay))
        code = max(code, bool(why), show_film(replay, path, look or Look(), f"game {number} of {games}", console))
        display.say(f"  the replay was not saved: {why}" if why else f"  replay: {path}")
    return code


def play_replays(agent: Evaluation, games: int, greedy: bool, display: GamesDisplay) -> list[Replay]:
    """Play games, MAX_ENVS of them side by side, and return what was played.

    Raises:
        Mistake: the environment cannot be opened, or the checkpoint is none of its model.
    """
    settings, env, model = agent.settings, agent.env, model_of(agent.settings)
    env_seed, action_seed = seeds(agent.games_seed)
    origin = {
        "run": "/".join(agent.run.resolve().parts[-3:]),
        "checkpoint": agent.name,
        "agent_steps": read_totals(agent.checkpoint).get("agent_steps"),
        "algo": settings["algo"]["name"],
        "seed": settings["seed"],
        "protocol": describe(env),
        "way": "greedy" if greedy else "stochastic",
        "date": time.strftime("%Y-%m-%d"),
        "packages": versions(env),
    }
    replays = []
    for first in range(0, games, MAX_ENVS):
        envs = open_games(agent.run, env, min(MAX_ENVS, games - first), one_by_one=True)
        try:
            network = load_agent(agent.checkpoint, model, env, envs, settings["algo"])
            played = play_once(network, envs, env_seed + first, action_seed + first, greedy, display)
        finally:
            envs.close()
        for n, game in enumerate(played):
            if settings["algo"]["name"] == "pg":
                game["values"] = None  # it has a value head, which nothing has trained
            score, names = float(game["rewards"].sum()), envs.action_names
            start = int(envs.start_frames[n]) if "game" in env else 0
            replays.append(Replay(env, env_seed + first + n, start, names, score=score, origin=origin, **game))
    return replays


def play_once(
    network: ActorCritic | QNetwork, games: Games, env_seed: int, action_seed: int, greedy: bool, display: GamesDisplay
) -> list[dict[str, Any]]:
    """Play one whole game in each of N envs, env n with the seed `env_seed + n`.

    Returns:
        For each game the arrays of a Replay, its `policy_kind`, and whether it was `cut`.
    """
    generator = torch.Generator().manual_seed(action_seed)
    stack = FrameStack(games.layout, obs := games.reset(env_seed))
    num_envs = len(obs)
    state, kind = network.initial_state(num_envs), ""
    table: dict[str, np.ndarray] = {}  # name -> [capacity, N, ...]; many small arrays would scatter over the heap
    t = 0
    length, cut = np.zeros(num_envs, int), np.zeros(num_envs, bool)
    with torch.inference_mode():
        packed = network.pack()
        while not length.all():
            parameters, values, state = network.act(torch.from_numpy(stack.observations()), packed, state)
            policy = network.Policy(parameters)
            actions = (policy.mode() if greedy else policy.sample(generator)).numpy()
            kind, row = describe_policy(policy)
            row["values"] = values.numpy().astype(np.float32)
            row["actions"], row["decided"] = games.played_actions(actions), ~games.ignores_next
            step = games.step(actions)
            row["rewards"] = step.rewards.astype(np.float64)
            for name, values in row.items():
                if t == len(table.get(name, ())):  # twice the room
                    more = np.empty((max(t, 1024), *values.shape), values.dtype)
                    table[name] = np.concatenate([table[name], more]) if t else more
                table[name][t] = values
            t += 1
            stack.push(step.obs, step.game_reset)
            for part in state:
                part[torch.from_numpy(step.game_reset)] = 0
            over = step.finished & (length == 0)  # whatever an env plays beyond its first game is not looked at
            length[over], cut[over] = t, (step.truncated & ~step.terminated)[over]
            display.update(int(over.sum()), int((length == 0).sum() + over.sum()))
    columns = [{name: array[: length[n], n].copy() for name, array in table.items()} for n in range(num_envs)]
    return [{"entropy": None, "policy_kind": kind, "cut": bool(cut[n])} | column for n, column in enumerate(columns)]


def describe_policy(policy: Any) -> tuple[str, dict[str, np.ndarray]]:
    """Return the kind of a policy for N envs, of POLICIES, and what it is: `policy` float32 [N, P], `entropy` [N]."""
    if isinstance(policy, Categorical):
        kind, numbers = "probabilities", policy.log_probs.exp()
    elif isinstance(policy, Gaussian):
        kind, numbers = "gaussian", torch.cat([policy.mean, policy.log_std.exp()], -1)
    else:
        return "q_values", {"policy": policy.q_values.numpy()}
    return kind, {"policy": numbers.numpy(), "entropy": policy.entropy().numpy()}
