"""Recording: an agent plays whole games, and each game becomes a replay and a video.

    run directory -> Agent -> N environments, one game each -> recordings/<checkpoint>_<way>_seed_<seed>_game_<n>.npz
                                                            -> played again from its actions -> .mp4, .webp or .gif

Each game has a seed of its own, so it can be replayed without the games before it. The agent plays as in an evaluation:
with the same network and the same protocol, and a lost life ends no game.
"""

import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from custom_models.actor_critic import ActorCritic
from custom_models.distributions import Categorical, Gaussian, MultiCategorical
from custom_models.q_network import QNetwork
from environments.frame_stack import FrameStack
from environments.games import Games
from environments.threads import configure_threads
from playing.agent import Agent
from playing.games_display import GamesDisplay
from playing.whole_games import MAX_ENVS, derive_seeds
from recordings.replay import Replay, list_factors, pack_replay
from recordings.replayed_game import Environment, name_package
from recordings.video import VideoFormat, film_replay
from run_directory.checkpoints import find_checkpoint
from run_directory.layout import RECORDINGS, list_seed_runs
from run_directory.writing import choose_free_path, explain_unwritable, save_file
from settings.algorithms import find_base
from settings.mistakes import Mistake
from settings.protocols import describe_protocol

ROOM = 2**20  # bytes that the replay of a game of half an hour takes


def record(
    run: Path,
    games: int,
    checkpoint: str | None = None,
    way: str = "stochastic",
    seed: int | None = None,
    rules: dict[str, Any] | None = None,
    look: VideoFormat | None = None,
    console: Console | None = None,
) -> int:
    """Play games with the agent of a run, write their replays into the run directory, and film them.

    Replays are written as soon as the games that are played side by side have ended, before any of them is filmed.

    Args:
        run: a run directory; if it holds several seeds, the first one plays.
        games: how many games.
        checkpoint: as in `evaluate`.
        way: `stochastic` samples actions, `greedy` takes the likeliest.
        seed: the seed of the games; None takes the run's.
        rules: `env.` settings that replace the run's own, see `apply_rules`.
        look: the format, size and speed of the videos.
        console: where progress and results are shown.

    Returns:
        The exit code: 0, or 1 if a replay does not reach the score of its game or a file cannot be written.

    Raises:
        Mistake: see `evaluate`; or the environment has no pictures, or no replay can be written.
    """
    runs = list_seed_runs(Path(run))
    one = runs[0]
    agent = Agent(one, find_checkpoint(one, checkpoint), seed, rules)
    words = "_".join([agent.name, way, *agent.rule_words, f"seed_{agent.games_seed}"])
    paths = [one / RECORDINGS / f"{words}_game_{number}.npz" for number in range(1, games + 1)]
    if why := explain_unwritable(choose_free_path(paths[0])):
        raise Mistake(f"run={run}: no recording can be kept in it ({why}); copy it, and record the copy")
    if "id" in agent.env:
        Environment(
            agent.env, 0, pictures=True
        ).close()  # raises a Mistake before hours of play if there are no pictures
    make_folder(one)
    configure_threads()
    torch.set_num_threads(1)  # a few games are a small batch: threads would mostly wait for each other
    saved = []  # replay, its file, and why it was not saved
    with GamesDisplay(games, console) as display:
        if len(runs) > 1:
            display.print_line(
                f"{run} has {len(runs)} seeds, and {one.name} plays; for another, give run=<its directory>"
            )
        for note in agent.notes:
            display.print_line(note)
        display.begin(f"recording, {way}")
        for replay, path in zip(play_replays(agent, games, way == "greedy", display), paths, strict=True):
            content = pack_replay(replay)
            path = choose_free_path(path)
            saved.append((replay, path, save_file(path, content)))
    code = 0
    for number, (replay, path, why) in enumerate(saved, 1):
        failed = film_replay(replay, path, look or VideoFormat(), f"game {number} of {games}", console)
        code = max(code, bool(why), failed)
        display.print_line(f"  the replay was not saved: {why}" if why else f"  replay: {path}")
    return code


def make_folder(run: Path) -> None:
    """Make the folder of the recordings of a run, and find out whether a replay has room in it, before hours of play.

    Raises:
        Mistake: the folder cannot be made, or has no room.
    """
    folder = run / RECORDINGS
    try:
        folder.mkdir(exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(ROOM))
    except OSError as error:
        with suppress(OSError):
            folder.rmdir()  # only if it is empty
        why = f"{error.strerror}: {folder}"
        raise Mistake(
            f"run={run}: no recording can be kept in it ({why}); free room, or copy it to another disk, "
            "and record the copy"
        ) from error


def play_replays(agent: Agent, games: int, greedy: bool, display: GamesDisplay) -> Iterator[Replay]:
    """Play games, up to MAX_ENVS side by side, and yield their replays.

    Raises:
        Mistake: the environment cannot be opened, or the checkpoint belongs to another model.
    """
    settings, env = agent.settings, agent.env
    env_seed, action_seed = derive_seeds(agent.games_seed)
    origin = {
        "run": "/".join(agent.run.resolve().parts[-3:]),
        "checkpoint": agent.name,
        "algo": settings["algo"]["name"],
        "seed": settings["seed"],
        "protocol": describe_protocol(env),
        "way": "greedy" if greedy else "stochastic",
        "date": time.strftime("%Y-%m-%d"),
        "packages": name_package(env),
    }
    for first in range(0, games, MAX_ENVS):
        envs = agent.open_games(min(MAX_ENVS, games - first), one_by_one=True)
        try:
            network = agent.load_network(envs)
            records = play_one_game_each(network, envs, env_seed + first, action_seed + first, greedy, display)
        finally:
            envs.close()
        for n, record in enumerate(records):
            if find_base(settings["algo"]) == "pg":
                record["values"] = None  # the network has a value head, but PG does not train it
            score, names = float(record["rewards"].sum()), envs.action_names
            start = int(envs.start_frames[n]) if "game" in env else 0
            record |= {"score": score, "origin": origin | {"agent_steps": agent.totals.get("agent_steps")}}
            record |= {"factors": list_factors(envs.action_space)}
            yield Replay(env, env_seed + first + n, start, names, **record)


def play_one_game_each(
    network: ActorCritic | QNetwork, games: Games, env_seed: int, action_seed: int, greedy: bool, display: GamesDisplay
) -> list[dict[str, Any]]:
    """Play one whole game in each of N environments; environment n has the seed `env_seed + n`.

    Returns:
        For each game the fields of a Replay that playing decides: its arrays, `policy_kind`, and `cut`.
    """
    generator = torch.Generator().manual_seed(action_seed)
    stack = FrameStack(games.layout, obs := games.reset(env_seed))
    num_envs = len(obs)
    state, kind = network.make_initial_state(num_envs), ""
    table: dict[str, np.ndarray] = {}  # name -> [capacity, N, ...]; many small arrays would fragment the memory
    t = 0
    length, cut = np.zeros(num_envs, int), np.zeros(num_envs, bool)
    with torch.inference_mode():
        packed = network.pack()
        while not length.all():
            parameters, values, state = network.act(torch.from_numpy(stack.get_observations()), packed, state)
            policy = network.Policy(parameters)
            actions = (policy.mode() if greedy else policy.sample(generator)).numpy()
            kind, row = describe_policy(policy)
            row["values"] = values.numpy().astype(np.float32)
            row["actions"], row["decided"] = games.played_actions(actions), ~games.ignores_next
            step = games.step(actions)
            row["rewards"] = step.rewards.astype(np.float64)
            for name, values in row.items():
                if t == len(table.get(name, ())):  # the table is full: double it
                    more = np.empty((max(t, 1024), *values.shape), values.dtype)
                    table[name] = np.concatenate([table[name], more]) if t else more
                table[name][t] = values
            t += 1
            stack.push(step.obs, step.game_reset)
            for part in state:
                part[torch.from_numpy(step.game_reset)] = 0
            over = step.finished & (length == 0)  # later games of an environment are ignored
            length[over], cut[over] = t, (step.truncated & ~step.terminated)[over]
            display.update(int(over.sum()), int((length == 0).sum() + over.sum()))
    columns = [{name: array[: length[n], n].copy() for name, array in table.items()} for n in range(num_envs)]
    return [{"entropy": None, "policy_kind": kind, "cut": bool(cut[n])} | column for n, column in enumerate(columns)]


def describe_policy(policy: Any) -> tuple[str, dict[str, np.ndarray]]:
    """Return the policy of N environments as numbers.

    Returns:
        The kind of the policy, from POLICIES; and `policy`, float32 [N, P], and unless they are Q-values `entropy`,
        float32 [N].
    """
    if isinstance(policy, Categorical | MultiCategorical):
        kind, numbers = "probabilities", policy.log_probs.exp()
    elif isinstance(policy, Gaussian):
        kind, numbers = "gaussian", torch.cat([policy.mean, policy.log_std.exp()], -1)
    else:
        return "q_values", {"policy": policy.q_values.numpy()}
    return kind, {"policy": numbers.numpy(), "entropy": policy.entropy().numpy()}
