"""Random play: what a game scores under a protocol when every action is drawn at random, all equally likely.

    python -m evidence.random_play assault protocol=classic --games 1000
    python -m evidence.random_play assault protocol=classic fire_on_life_loss=false --games 1000

The games are whole and the scores raw, as in an evaluation. It prints an entry of MEASURED in evidence/human.py.
"""

import argparse
import sys
import time
from typing import Any

import numpy as np
import torch
import yaml

from custom_models.distributions import Categorical
from environments.games import NOT_OPENED, is_game, make_games
from environments.threads import take_threads
from evidence.evaluate import GamesDisplay, apply_rules, play, seeds, shares
from settings.mistakes import Mistake
from settings.protocols import PROTOCOLS, describe

# Of an Atari experiment: what a picture looks like changes no score, so it is small; one decision lasts four frames.
ENV = {"frameskip": 4, "frame_stack": 1, "dim": 8, "grayscale": True, "protocol": "classic", **PROTOCOLS["classic"]}


class RandomAgent:
    """Plays as an agent does, without looking."""

    Policy = Categorical

    def __init__(self, num_actions: int):
        self.num_actions = num_actions

    def initial_state(self, num_envs: int) -> tuple:
        return ()

    def pack(self) -> None:
        return None

    def act(self, obs: torch.Tensor, packed: None, state: tuple) -> tuple[torch.Tensor, None, tuple]:
        """Equal logits [N, A], no value, no memory."""
        return torch.zeros(len(obs), self.num_actions), None, state


def random_play(game: str, rules: dict[str, Any], num_games: int, seed: int) -> tuple[str, np.ndarray, int]:
    """Play whole games at random.

    Returns:
        The protocol in words, float scores [num_games], and how many of these games the limit has cut.

    Raises:
        Mistake: there is no such game or rule.
    """
    if not is_game(game) or game in NOT_OPENED:
        raise Mistake(f"{game}: ALE has no such game for one player; games are spelt like assault or ms_pacman")
    full = {"full_action_space": PROTOCOLS[rules.get("protocol", "classic")]["full_action_space"]}
    env, _ = apply_rules(ENV | full | {"name": game, "game": game}, rules)
    share, (env_seed, action_seed) = shares(num_games), seeds(seed)
    take_threads()
    games = make_games(env | {"life_loss": False}, len(share), torch.get_num_threads())
    with GamesDisplay(num_games) as display:
        display.begin(game)
        agent: Any = RandomAgent(int(games.action_space.n))  # pyright: ignore[reportAttributeAccessIssue]
        scores, _, cut = play(agent, games, share, env_seed, action_seed, False, display)
    games.close()
    return describe(env), np.array(scores), cut


def main(arguments: list[str]) -> int:
    """The command line; 0, or 2 for a user's mistake."""
    parser = argparse.ArgumentParser(prog="python -m evidence.random_play", description="The score of random play.")
    parser.add_argument("game", help="as env.game spells it, such as assault")
    parser.add_argument("rules", nargs="*", metavar="rule=value", help="such as protocol=machado or noop_max=30")
    parser.add_argument("--games", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(arguments)
    rules = {key: yaml.safe_load(value) for key, _, value in (word.partition("=") for word in options.rules)}
    try:
        if options.games < 2 or rules.get("protocol", "classic") not in PROTOCOLS:
            raise Mistake(f"give --games of at least 2, and a protocol of {', '.join(PROTOCOLS)}")
        protocol, scores, cut = random_play(options.game, rules, options.games, options.seed)
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    error = float(scores.std(ddof=1)) / len(scores) ** 0.5
    print(f"{options.game}, protocol {protocol}: {scores.mean():.2f} +- {error:.2f}, {cut} games cut")
    entry = float(round(scores.mean(), 2)), round(error, 2), len(scores), time.strftime("%Y-%m-%d")
    print(f'    ("{options.game}", "{protocol}"): Measured{entry},')
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
