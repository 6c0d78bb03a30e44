"""Random play: the score of a game under a protocol when actions are random and all equally likely.

    python -m evidence.random_play assault protocol=classic --games 1000
    python -m evidence.random_play assault protocol=classic fire_on_life_loss=false --games 1000

Games are whole and scores not clipped, as in an evaluation. The last line is an entry of RANDOM_PLAY in evidence.human.
"""

import argparse
import sys
import time
from typing import Any

import numpy as np
import torch

from custom_models.distributions import Categorical
from environments.games import NOT_OPENED, is_game, make_games
from environments.threads import configure_threads
from experiments.overrides import check_overrides
from playing.games_display import GamesDisplay
from playing.rules import apply_rules
from playing.whole_games import derive_seeds, play_games, share_games
from settings.mistakes import Mistake
from settings.protocols import PROTOCOLS, describe_protocol
from settings.runs import SEED

# The settings of an Atari experiment with four frames per agent step. Pictures are small, as they do not change scores.
ENV = {"frameskip": 4, "frame_stack": 1, "dim": 8, "grayscale": True, "protocol": "classic", **PROTOCOLS["classic"]}


class RandomNetwork:
    """Stands in for a network and gives all actions the same probability."""

    Policy = Categorical

    def __init__(self, num_actions: int):
        self.num_actions = num_actions

    def make_initial_state(self, num_envs: int) -> tuple:
        return ()

    def pack(self) -> None:
        return None

    def act(self, obs: torch.Tensor, packed: None, state: tuple) -> tuple[torch.Tensor, None, tuple]:
        """Return equal logits [N, A], no values, and the state as it was."""
        return torch.zeros(len(obs), self.num_actions), None, state


def play_at_random(game: str, rules: dict[str, Any], num_games: int, seed: int) -> tuple[str, np.ndarray, int]:
    """Play whole games with random actions.

    Args:
        game: the name of an ALE game.
        rules: `env.` settings that replace those of the classic protocol, see `apply_rules`.
        num_games: how many games are played.
        seed: the seed of the games and of the actions.

    Returns:
        The protocol in words, the scores as float [num_games], and how many of the games the time limit has cut.

    Raises:
        Mistake: there is no such game or rule.
    """
    if not is_game(game) or game in NOT_OPENED:
        raise Mistake(f"{game}: ALE has no such game for one player; games are spelt like assault or ms_pacman")
    full = {"full_action_space": PROTOCOLS[rules.get("protocol", "classic")]["full_action_space"]}
    env, _ = apply_rules(ENV | full | {"name": game, "game": game}, rules)
    share, (env_seed, action_seed) = share_games(num_games), derive_seeds(seed)
    configure_threads()
    games = make_games(env | {"life_loss": False}, len(share), torch.get_num_threads())
    with GamesDisplay(num_games) as display:
        display.begin(game)
        network = RandomNetwork(int(games.action_space.n))  # pyright: ignore[reportAttributeAccessIssue]
        scores, _, cut = play_games(network, games, share, env_seed, action_seed, False, display)
    games.close()
    return describe_protocol(env), np.array(scores), cut


def main(arguments: list[str]) -> int:
    """Run the command line; return 0, or 2 for a mistake of the user."""
    parser = argparse.ArgumentParser(prog="python -m evidence.random_play", description="The score of random play.")
    parser.add_argument("game", help="as env.game spells it, such as assault")
    parser.add_argument("rules", nargs="*", metavar="rule=value", help="such as protocol=machado or noop_max=30")
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    try:
        if options.games < 2:
            raise Mistake(f"--games {options.games}: a standard error needs at least 2 games")
        SEED.check("--seed", options.seed)
        env = check_overrides([f"env={options.game}", *(f"env.{word}" for word in options.rules)])[0]["env"]
        rules = {word.partition("=")[0]: env[word.partition("=")[0]] for word in options.rules}
        protocol, scores, cut = play_at_random(options.game, rules, options.games, options.seed)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    error = float(scores.std(ddof=1)) / len(scores) ** 0.5
    print(f"{options.game}, protocol {protocol}: {scores.mean():.2f} +- {error:.2f}, {cut} games cut")
    entry = float(round(scores.mean(), 2)), round(error, 2), len(scores), time.strftime("%Y-%m-%d")
    print(f'    ("{options.game}", "{protocol}"): Measurement{entry},')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
