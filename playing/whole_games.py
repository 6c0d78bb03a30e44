"""Whole games: a network plays N environments side by side until each has finished its share of the games.

    seed -> derive_seeds -> open_games -> play_games -> scores, lengths, games that a limit has cut

The number of games of each environment is fixed before the first game begins, and games beyond it are ignored. The
first 30 games to finish would be the short ones, and in most games those have low scores.

The seeds of these games are a branch of the run's seed that training never uses. A lost life ends no game, and scores
are not clipped.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from environments.frame_stack import FrameStack
from environments.games import Games, make_games
from playing.games_display import GamesDisplay
from settings.mistakes import Mistake, format_error

MAX_ENVS = 16
SEED_BRANCH = 1


def share_games(episodes: int) -> np.ndarray:
    """Return how many games each environment plays: int [N], as equal as possible."""
    num_envs = min(MAX_ENVS, episodes)
    return episodes // num_envs + (np.arange(num_envs) < episodes % num_envs)


def derive_seeds(seed: int) -> tuple[int, int]:
    """Return the seed of the first environment and the seed that actions are sampled with, from the seed of a run."""
    branch = np.random.SeedSequence(seed, spawn_key=(SEED_BRANCH,))
    env_seed, action_seed = branch.generate_state(2)
    return int(env_seed) % 2**30, int(action_seed)


def open_games(run: Path, env: dict, num_envs: int, one_by_one: bool = False) -> Games:
    """Open N environments of a run, in which a lost life does not end a game.

    Args:
        run: the run directory, which error messages name.
        env: the `env.` settings of the games.
        num_envs: N.
        one_by_one: each environment has a seed of its own, see `make_games`.

    Raises:
        Mistake: the environment cannot be opened here.
    """
    try:
        return make_games({**env, "life_loss": False}, num_envs, torch.get_num_threads(), one_by_one)
    except Exception as error:  # Gymnasium, or an environment with damaged settings, may raise anything
        raise Mistake(explain_unopened(run, error)) from error


def explain_unopened(run: Path, error: Exception) -> str:
    """Return the sentence on an environment that cannot be opened; a module of one's own may not be on the path."""
    return (
        f"run={run}: its environment cannot be opened here ({format_error(error)}); install or register it, put the "
        "folder of a module of your own on the path, and see that env in its config.yaml is whole"
    )


def play_games(
    network: Any,
    games: Games,
    share: np.ndarray,
    env_seed: int,
    action_seed: int,
    greedy: bool,
    display: GamesDisplay,
) -> tuple[list[float], list[int], int]:
    """Play `share[n]` whole games in environment n.

    Args:
        network: an ActorCritic, a QNetwork, or anything else with their `make_initial_state`, `pack`, `act` and
            `Policy`.
        games: N open environments.
        share: int [N], from `share_games`.
        env_seed: the seed of environment 0; environment n has the seed `env_seed + n`.
        action_seed: the seed that actions are sampled with.
        greedy: whether the network takes its likeliest action instead of sampling one.
        display: where progress is shown.

    Returns:
        The unclipped scores and the lengths in agent steps, those of environment 0 first; and how many of these games
        the time limit has cut.
    """
    cut, ended = 0, 0
    scores, lengths = [[] for _ in share], [[] for _ in share]
    score, length = np.zeros(len(share)), np.zeros(len(share), np.int64)
    generator = torch.Generator().manual_seed(action_seed)
    stack, state = FrameStack(games.layout, games.reset(env_seed)), network.make_initial_state(len(share))
    with torch.inference_mode():
        packed = network.pack()
        while ended < share.sum():
            parameters, _, state = network.act(torch.from_numpy(stack.get_observations()), packed, state)
            policy = network.Policy(parameters)
            actions = policy.mode() if greedy else policy.sample(generator)
            step = games.step(actions.numpy())
            stack.push(step.obs, step.game_reset)
            for part in state:
                part[torch.from_numpy(step.game_reset)] = 0
            score += step.rewards
            length += step.valid
            for n in np.flatnonzero(step.finished):
                if len(scores[n]) < share[n]:
                    scores[n].append(float(score[n]))
                    lengths[n].append(int(length[n]))
                    cut += bool(step.truncated[n] and not step.terminated[n])
                score[n] = length[n] = 0
            before, ended = ended, sum(map(len, scores))
            display.update(ended - before, int(step.valid.sum()))
    return sum(scores, []), sum(lengths, []), cut
