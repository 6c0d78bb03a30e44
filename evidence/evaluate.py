"""Evaluation: an agent plays whole games, under the rules it was trained with or under others, and is scored.

    run directory -> Agent -> whole games, stochastic and greedy -> statistics of the scores -> JSON

There are two ways to play: `stochastic` samples actions from the policy, as training does, and `greedy` takes the
likeliest action. Both begin with the same games. The same run, checkpoint, rules, seed and number of games give the
same scores.

Every game ends: an environment without a time limit is refused, and the result says how many games a limit has cut.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from environments.threads import configure_threads
from evidence.human import find_references
from evidence.statistics import bootstrap_interval, iqm, t_interval
from playing.agent import Agent, choose_dtype
from playing.games_display import GamesDisplay
from playing.saved_settings import read_run_settings
from playing.seed_checkpoints import refuse_foreign_checkpoint
from playing.whole_games import derive_seeds, play_games, share_games
from run_directory.checkpoints import MIN_GAMES, find_checkpoint, read_totals
from run_directory.files import read_json
from run_directory.layout import evaluation_path, list_seed_runs
from run_directory.provenance import describe_commit
from run_directory.writing import explain_unwritable, save_file
from settings.mistakes import Mistake
from settings.protocols import PROTOCOLS, describe_protocol

WAYS = ("stochastic", "greedy")
DEFAULT_EPISODES = 30  # the default in experiments/config.yaml; file names leave this number out


def evaluate(
    run: Path,
    episodes: int,
    checkpoint: str | None = None,
    ways: Sequence[str] = WAYS,
    seed: int | None = None,
    rules: dict[str, Any] | None = None,
    console: Console | None = None,
) -> dict[str, Any]:
    """Play whole games with the agent of a run, and write the result beside its checkpoints.

    Args:
        run: a run directory; if it holds several seeds, each of them is evaluated.
        episodes: whole games for each way of playing.
        checkpoint: `best`, `last`, `previous`, a milestone, or the path of a checkpoint folder, which may lie
            elsewhere; None takes the best if there is one.
        ways: the ways of playing, from WAYS.
        seed: the seed of the games; None takes the run's.
        rules: `env.` settings that replace the run's own, see `apply_rules`.
        console: where progress is shown.

    Returns:
        The result of one seed. It describes the agent (`env`, `algo`, `protocol`, `checkpoint`, `agent_steps`,
        `env_frames`, `seed`, `dtype`), the games (`episodes`, `ways`, `rules`, `games_seed`, `num_envs`, `env_seed`),
        and holds the statistics of each way of playing, see `summarize_games`. `saved` is the path of its file, or
        None if it could not be written; then `not_saved` is the reason. Neither stands in the file. For a run with
        several seeds: `seeds`, a list of such results.

    Raises:
        Mistake: there is no such run or checkpoint, the weights are of another model, there is less than one game to
            play, the agent cannot play by the rules, or a game may never end.
    """
    if episodes < 1:
        raise Mistake(f"episodes={episodes}: an evaluation needs at least one game; give 1 or more")
    run, ways = Path(run), [way for way in WAYS if way in ways]
    runs = list_seed_runs(run)
    for one in runs:
        read_run_settings(one)
    checkpoints = [find_checkpoint(one, checkpoint) for one in runs]  # all are checked before hours of play
    refuse_foreign_checkpoint(run, checkpoint)
    agents = [Agent(one, path, seed, rules) for one, path in zip(runs, checkpoints, strict=True)]
    configure_threads()
    with GamesDisplay(episodes * len(ways) * len(agents), console) as display:
        for agent in agents:
            if why := explain_unwritable(result_path(agent, episodes, ways)):
                display.print_line(f"the result will be printed and not saved: {why}")
        results = [evaluate_agent(agent, episodes, ways, display) for agent in agents]
    return results[0] if runs == [run] else {"seeds": results}


def evaluate_agent(agent: Agent, episodes: int, ways: list[str], display: GamesDisplay) -> dict[str, Any]:
    """Play whole games with one agent and write the result; arguments and result are those of `evaluate`."""
    share = share_games(episodes)
    env_seed, action_seed = derive_seeds(agent.games_seed)
    statistics = {}
    games = agent.open_games(len(share))
    try:
        network = agent.load_network(games)
        for way in ways:
            display.begin(f"seed {agent.settings['seed']}, {way}")
            scores, lengths, cut = play_games(network, games, share, env_seed, action_seed, way == "greedy", display)
            statistics[way] = summarize_games(scores, lengths, cut, agent.env)
    finally:
        games.close()
    result = {
        "env": agent.env["name"],
        "algo": agent.settings["algo"]["name"],
        "protocol": describe_protocol(agent.env),
        "checkpoint": agent.checkpoint.name,
        "checkpoint_path": None if agent.is_from_run else str(agent.checkpoint),
        "agent_steps": agent.totals.get("agent_steps"),
        "env_frames": agent.totals.get("env_frames"),
        "seed": agent.settings["seed"],
        "dtype": choose_dtype(agent.settings["model"])["dtype"],
        "episodes": episodes,
        "ways": ways,
        "rules": {name: agent.env[name] for name in PROTOCOLS["classic"] if "game" in agent.env},
        "games_seed": agent.games_seed,
        "num_envs": len(share),
        "env_seed": env_seed,  # the seed of environment 0; that of environment n is greater by n
        "notes": agent.notes,
        "commit": describe_commit(),
        **statistics,
    }
    path = result_path(agent, episodes, ways)
    why = save_file(path, json.dumps(result, indent=1))
    return result | {"saved": None if why else str(path), "not_saved": why}


def result_path(agent: Agent, episodes: int, ways: list[str]) -> Path:
    """Return the file of a result; its name holds everything that differs from a plain evaluation of the run."""
    words = [agent.name]
    if agent.games_seed != agent.settings["seed"]:
        words.append(f"seed_{agent.games_seed}")
    words += agent.rule_words
    words += [] if ways == list(WAYS) else ways
    return evaluation_path(agent.run, "_".join([*words, *name_episodes(episodes)]))


def name_episodes(episodes: int) -> list[str]:
    """Return the word for the number of games in the name of a result; none for the default."""
    return [] if episodes == DEFAULT_EPISODES else [f"{episodes}_games"]


def is_evaluated(run: Path, episodes: int) -> bool:
    """Return whether the checkpoint that `evaluate` would play has been evaluated, as it is now.

    Args:
        run: the run directory of one seed.
        episodes: whole games for each way of playing; an evaluation of another number of games is another one.

    Raises:
        Mistake: the run has no whole checkpoint.
    """
    checkpoint = find_checkpoint(run, None)
    path = evaluation_path(run, "_".join([checkpoint.name, *name_episodes(episodes)]))
    try:
        played = read_json(path, dict).get("agent_steps") if path.is_file() else None
    except Mistake:  # a damaged result is no result
        return False
    return played is not None and played == read_totals(checkpoint).get("agent_steps")


def summarize_games(scores: list[float], lengths: list[int], cut: int, env: dict) -> dict[str, Any]:
    """Return the statistics of the games of one way of playing.

    `mean_interval`, Student's t (None of a single game), and `iqm_interval`, a bootstrap interval (None of fewer than
    MIN_GAMES games, where it is too narrow), are 95 % intervals
    over the games: they say how certain the score of this one agent is, not how much agents of other seeds
    differ. `human_normalised` has a value for each table, computed from the mean.

    Args:
        scores: the unclipped score of each game.
        lengths: the length of each game in agent steps.
        cut: how many games the time limit has cut.
        env: the `env.` settings of the games.
    """
    mean = float(np.mean(scores))
    return {
        "mean": mean,
        "mean_interval": list(t_interval(scores)) if len(scores) > 1 else None,
        "median": float(np.median(scores)),
        "iqm": float(iqm(np.array(scores))),
        "iqm_interval": list(bootstrap_interval(np.array(scores))) if len(scores) >= MIN_GAMES else None,
        "std": float(np.std(scores)),
        "min": min(scores),
        "max": max(scores),
        "mean_length": float(np.mean(lengths)),  # agent steps
        "cut": cut,
        "human_normalised": {reference.table: reference.normalise(mean) for reference in find_references(env)},
        "scores": scores,
        "lengths": lengths,
    }
