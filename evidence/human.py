"""Scores of humans and of random play: the published tables, and random play as it was measured with this suite.

A human-normalised score is 0 at the random play and 1 at the human of a table: (score - random) / (human - random).
The tables differ: for Assault they give human scores of 742.0 and of 1496.4, and the same agent looks 2.5 times better
beside the first. Therefore each number carries the name of its table, and a game that no table has gets no such number.

The random play of a table was measured under the rules of its paper. It is used for human-normalised scores, and where
nothing was measured here. `times_random`, the score of an agent divided by that of random play, uses the random play
that was measured here under the agent's own protocol, if there is such a measurement.
"""

from typing import NamedTuple

from settings.protocols import describe_protocol


class Reference(NamedTuple):
    """The scores of random play and of a human in one game, from one table."""

    table: str
    random: float  # mean game score
    human: float

    def normalise(self, score: float) -> float:
        """Return the human-normalised score: 0 at random play, 1 at the human."""
        return (score - self.random) / (self.human - self.random)


# Wang et al. 2016, "Dueling Network Architectures"; dqn_zoo, Dopamine and rliable use the same numbers. Games begin
# with 1 to 30 no-ops and last 108,000 frames at most. Copied from google-deepmind/dqn_zoo, dqn_zoo/atari_data.py.
WANG_2016 = {
    "alien": (227.8, 7127.7),
    "amidar": (5.8, 1719.5),
    "assault": (222.4, 742.0),
    "asterix": (210.0, 8503.3),
    "asteroids": (719.1, 47388.7),
    "atlantis": (12850.0, 29028.1),
    "bank_heist": (14.2, 753.1),
    "battle_zone": (2360.0, 37187.5),
    "beam_rider": (363.9, 16926.5),
    "berzerk": (123.7, 2630.4),
    "bowling": (23.1, 160.7),
    "boxing": (0.1, 12.1),
    "breakout": (1.7, 30.5),
    "centipede": (2090.9, 12017.0),
    "chopper_command": (811.0, 7387.8),
    "crazy_climber": (10780.5, 35829.4),
    "defender": (2874.5, 18688.9),
    "demon_attack": (152.1, 1971.0),
    "double_dunk": (-18.6, -16.4),
    "enduro": (0.0, 860.5),
    "fishing_derby": (-91.7, -38.7),
    "freeway": (0.0, 29.6),
    "frostbite": (65.2, 4334.7),
    "gopher": (257.6, 2412.5),
    "gravitar": (173.0, 3351.4),
    "hero": (1027.0, 30826.4),
    "ice_hockey": (-11.2, 0.9),
    "jamesbond": (29.0, 302.8),
    "kangaroo": (52.0, 3035.0),
    "krull": (1598.0, 2665.5),
    "kung_fu_master": (258.5, 22736.3),
    "montezuma_revenge": (0.0, 4753.3),
    "ms_pacman": (307.3, 6951.6),
    "name_this_game": (2292.3, 8049.0),
    "phoenix": (761.4, 7242.6),
    "pitfall": (-229.4, 6463.7),
    "pong": (-20.7, 14.6),
    "private_eye": (24.9, 69571.3),
    "qbert": (163.9, 13455.0),
    "riverraid": (1338.5, 17118.0),
    "road_runner": (11.5, 7845.0),
    "robotank": (2.2, 11.9),
    "seaquest": (68.4, 42054.7),
    "skiing": (-17098.1, -4336.9),
    "solaris": (1236.3, 12326.7),
    "space_invaders": (148.0, 1668.7),
    "star_gunner": (664.0, 10250.0),
    "surround": (-10.0, 6.5),
    "tennis": (-23.8, -8.3),
    "time_pilot": (3568.0, 5229.2),
    "tutankham": (11.4, 167.6),
    "up_n_down": (533.4, 11693.2),
    "venture": (0.0, 1187.5),
    "video_pinball": (16256.9, 17667.9),
    "wizard_of_wor": (563.5, 4756.5),
    "yars_revenge": (3092.9, 54576.9),
    "zaxxon": (32.5, 9173.3),
}

# Mnih et al. 2015 (Nature), Extended Data Table 2, which prints 1496. Only games that a study in results/ quotes.
MNIH_2015 = {"assault": (222.4, 1496.4)}

TABLES = {"Wang et al. 2016": WANG_2016, "Mnih et al. 2015": MNIH_2015}


class Measurement(NamedTuple):
    """The score of random play in one game under one protocol, at four frames per agent step."""

    mean: float  # mean game score
    standard_error: float
    games: int
    date: str


# (game, protocol in the words of `describe_protocol`) -> the score that this command has measured:
# python -m evidence.random_play <game> protocol=<protocol> <rule>=<value> --games 1000
RANDOM_PLAY: dict[tuple[str, str], Measurement] = {
    ("assault", "classic"): Measurement(245.76, 2.3, 1000, "2026-11-26"),
    ("assault", "classic, fire_on_life_loss False"): Measurement(239.63, 2.18, 1000, "2026-11-28"),
    ("assault", "machado"): Measurement(309.44, 2.59, 1000, "2026-11-26"),
    ("breakout", "classic"): Measurement(1.23, 0.04, 1000, "2026-11-26"),
    ("breakout", "machado"): Measurement(1.48, 0.04, 1000, "2026-11-26"),
    ("pong", "classic"): Measurement(-20.25, 0.03, 1000, "2026-11-26"),
    ("pong", "machado"): Measurement(-20.32, 0.03, 1000, "2026-11-26"),
}


class RandomScore(NamedTuple):
    """The score of random play, and where the number comes from."""

    score: float
    source: str


def find_random_score(env: dict) -> RandomScore | None:
    """Return the score of random play under `env.` settings; None if it is unknown.

    A measurement under the same protocol comes first, then the first table that has the game.
    """
    game, protocol = env.get("game", ""), describe_protocol(env)
    if (found := RANDOM_PLAY.get((game, protocol))) and env.get("frameskip") == 4:
        error = f"{found.mean:g} +- {found.standard_error:g}"
        return RandomScore(found.mean, f"{error}, measured under {protocol}, {found.games:,} games, {found.date}")
    for one in find_references(env):
        return RandomScore(one.random, f"{one.random:g}, {one.table}, under the rules of that paper")
    return None


def find_references(env: dict) -> list[Reference]:
    """Return the entry of each table that has the game of these `env.` settings."""
    game = env.get("game")
    return [Reference(name, *table[game]) for name, table in TABLES.items() if game in table]
