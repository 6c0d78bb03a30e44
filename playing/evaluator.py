"""The process of a periodic evaluation: it plays complete games with weights that a run has written.

weights -> Agent -> games under the rules of the training -> scores -> Evaluation
"""

import os
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from environments.threads import configure_threads
from playing.agent import Agent
from playing.evaluations import Evaluation
from playing.games_display import GamesDisplay
from playing.whole_games import derive_seeds, play_games, share_games
from run_directory.checkpoints import read_totals

WAY = "stochastic"
LOWEST_PRIORITY = 19  # of os.nice


class Evaluator:
    """A Ray actor that plays the complete games of a periodic evaluation.

    Args:
        has_cpu: whether a CPU is kept for it; without one it runs at the lowest priority.
    """

    def __init__(self, has_cpu: bool):
        if not has_cpu:
            os.nice(LOWEST_PRIORITY)
        configure_threads()

    def play(self, run: Path, weights: Path) -> Evaluation:
        """Play `episodes` complete games, under the rules of the training.

        Args:
            run: the run directory of one seed.
            weights: the folder of the weights.

        Raises:
            Mistake: the weights are damaged, or the environment cannot be opened.
            EnvironmentFault: the environment has failed.
        """
        began, agent = time.perf_counter(), Agent(run, weights)
        episodes = agent.settings["episodes"]
        share = share_games(episodes)
        games = agent.open_games(len(share))
        try:
            seeds, display = derive_seeds(agent.games_seed), GamesDisplay(episodes, Console(quiet=True))
            scores, _, cut = play_games(agent.load_network(games), games, share, *seeds, False, display)
        finally:
            games.close()
        low, high = compute_interval(scores)
        steps, seconds = int(read_totals(weights)["agent_steps"]), round(time.perf_counter() - began, 1)
        return Evaluation(steps, WAY, episodes, float(np.mean(scores)), low, high, cut, seconds)


def compute_interval(scores: list[float]) -> tuple[float, float]:
    """Return the 95 % interval of the mean, Student's t over the games; NaN for a single score."""
    if len(scores) < 2:
        return float("nan"), float("nan")
    from scipy import stats  # takes 50 MB and a second, so only the evaluator imports it

    half = stats.t.ppf(0.975, len(scores) - 1) * np.std(scores, ddof=1) / len(scores) ** 0.5
    return float(np.mean(scores) - half), float(np.mean(scores) + half)
