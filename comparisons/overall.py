"""What arms reach over several games, from the comparisons of each game.

    comparisons -> games of one protocol with a human score -> human-normalised scores by arm and game -> Aggregate
                -> games that two arms share -> probability that the one scores more                   -> Improvement

Scores of different games, and of different protocols, are never put together as they are. A human-normalised score is
0 at random play and 1 at the human of a published table (evidence/human.py); games that the table does not have are
left out and named. An arm is what has the same label on every game.
"""

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations
from typing import NamedTuple

import numpy as np

from comparisons.comparison import Comparison
from comparisons.notes import join_names
from evidence.human import TABLES, Reference, find_references
from settings.mistakes import format_count
from settings.protocols import describe_protocol
from verdicts.over_games import (
    MEASURES,
    bootstrap_games,
    bootstrap_improvement,
    can_be_certain,
    compare_over_games,
    has_intervals,
)
from verdicts.two_arms import Verdict

HUMANS = next(iter(TABLES))  # the one table of all references, so that games are normalised alike


class Estimate(NamedTuple):
    """A number and its 95 % interval, whose ends are NaN where a game has one seed."""

    value: float
    low: float
    high: float


class Improvement(NamedTuple):
    """The chance that a seed of one arm scores more than a seed of another, mean over the games that both play."""

    better: str
    worse: str
    chance: Estimate
    games: int


@dataclass(frozen=True)
class Aggregate:
    """Human-normalised scores of several arms on the same games, under one protocol."""

    protocol: str
    games: list[str]
    scores: dict[str, list[np.ndarray]]  # arm -> float [S] for each game

    @cached_property
    def verdicts(self) -> list[Verdict]:
        """A verdict on each pair of arms, by the IQM over all games and seeds."""
        return compare_over_games(self.scores)

    @cached_property
    def estimates(self) -> dict[str, dict[str, Estimate]]:
        """Arm -> measure, from MEASURES -> its value and interval."""
        return {arm: {name: self.estimate(arm, name) for name in MEASURES} for arm in self.scores}

    def estimate(self, arm: str, name: str) -> Estimate:
        """Return a measure of an arm."""
        games, measure = self.scores[arm], MEASURES[name]
        ends = bootstrap_games(games, measure) if has_intervals(games) else (np.nan, np.nan)
        return Estimate(float(measure(games)), *ends)

    def count_seeds(self, arm: str) -> tuple[int, int]:
        """Return the smallest and the largest number of seeds that an arm has in a game."""
        numbers = [len(game) for game in self.scores[arm]]
        return min(numbers), max(numbers)

    def list_hopeless_pairs(self) -> list[tuple[str, str]]:
        """Return the pairs of arms that have several seeds in each game, and yet too few to show any difference."""
        pairs = list(combinations((arm for arm, games in self.scores.items() if has_intervals(games)), 2))
        return [(a, b) for a, b in pairs if not can_be_certain(self.scores[a], self.scores[b], len(pairs))]


@dataclass(frozen=True)
class Overall:
    """What a comparison of several games says over all of them."""

    aggregates: list[Aggregate]  # one for each protocol with at least two games
    improvements: list[Improvement]
    notes: list[str]  # sentences on what was left out, and why


def summarize_games(comparisons: list[Comparison]) -> Overall | None:
    """Return what arms reach over several games; None where there is one game."""
    if len({one.name for one in comparisons}) < 2:
        return None
    notes: list[str] = []
    aggregates = []
    for protocol in dict.fromkeys(describe_protocol(one.env) for one in comparisons if "game" in one.env):
        of_protocol = [one for one in comparisons if "game" in one.env and describe_protocol(one.env) == protocol]
        if aggregate := aggregate_games(protocol, of_protocol, notes):
            aggregates.append(aggregate)
    if missing := [one.name for one in comparisons if find_reference(one) is None]:
        notes.append(
            f"{', '.join(dict.fromkeys(missing))}: not in the aggregate, as {HUMANS} has no human score for it."
        )
    if not aggregates:
        notes.append("An aggregate takes arms that share at least two games with a human score under one protocol.")
    improvements = list_improvements(comparisons)
    if not improvements:
        notes.append(
            "No two arms have scores in the same two games, so no arm can be compared with another over games. An arm "
            "is the same on two games where its label is."
        )
    return Overall(aggregates, improvements, notes)


def find_reference(comparison: Comparison) -> Reference | None:
    """Return the scores of random play and of the human of the table HUMANS; None where it lacks the game."""
    return next((one for one in find_references(comparison.env) if one.table == HUMANS), None)


def aggregate_games(protocol: str, comparisons: list[Comparison], notes: list[str]) -> Aggregate | None:
    """Return the human-normalised scores of the arms that play several games of a protocol, on the games they share.

    Args:
        protocol: in words.
        comparisons: the games of this protocol.
        notes: sentences on what is left out are added.

    Returns:
        None where no arm plays two games that have a human score. Arms that share too few games with the others are
        left out.
    """
    known = [(one, reference) for one in comparisons if (reference := find_reference(one))]
    played = {
        arm: [one.name for one, _ in known if one.scores.get(arm)]
        for arm in dict.fromkeys(arm for one, _ in known for arm in one.arms)
    }
    arms = [arm for arm, games in played.items() if len(games) > 1]
    while len(names := [one.name for one, _ in known if all(one.name in played[arm] for arm in arms)]) < 2 and arms:
        times = Counter(game for arm in arms for game in played[arm])
        arms.remove(min(reversed(arms), key=lambda arm: sum(times[game] - 1 for game in played[arm])))
    if not arms:
        return None
    shared = [(one, reference) for one, reference in known if one.name in names]
    if left := [arm for arm in played if arm not in arms]:
        notes.append(
            f"{', '.join(left)}: fewer than two games with a score shared with the others, so not in the aggregate."
        )
    if left := [one.name for one, _ in known if one.name not in [game.name for game, _ in shared]]:
        notes.append(f"{', '.join(left)}: not played by every arm, so not in the aggregate.")
    scores = {
        arm: [np.array([reference.normalise(score) for score in one.scores[arm]]) for one, reference in shared]
        for arm in arms
    }
    aggregate = Aggregate(protocol, [one.name for one, _ in shared], scores)
    counts = {number for arm in arms for number in aggregate.count_seeds(arm)}
    if counts == {1}:
        notes.append("One seed of each game: an aggregate has no interval, and there is no verdict.")
    elif min(counts) == 1:
        notes.append("An arm with one seed in some game has no interval over games, and no verdict.")
    if len(counts) > 1:
        notes.append(
            "Games with more seeds than others weigh more in an IQM, and a difference of arms of which the one with "
            "fewer seeds spreads more is less certain than its p says."
        )
    if pairs := aggregate.list_hopeless_pairs():
        notes.append(
            f"So few seeds of {format_count(len(shared), 'game')} cannot show any difference, however large: "
            f"{join_names([f'{a} and {b}' for a, b in pairs])}. Give each arm more seeds, or play more games."
        )
    return aggregate


def list_improvements(comparisons: list[Comparison]) -> list[Improvement]:
    """Return the chance of improvement for each pair of arms that plays at least two games with scores.

    A game that both arms play under several protocols is one game: its protocols share its weight.
    """
    arms = dict.fromkeys(arm for one in comparisons for arm in one.arms)
    by_game, improvements = [(one.name, one.scores) for one in comparisons], []
    for pair in combinations(arms, 2):
        shared = [(name, scores) for name, scores in by_game if all(scores.get(arm) for arm in pair)]
        protocols = Counter(name for name, _ in shared)
        if len(protocols) < 2:
            continue
        weights = [1 / protocols[name] for name, _ in shared]
        first, second = ([np.asarray(scores[arm], float) for _, scores in shared] for arm in pair)
        better, worse = pair
        chance = bootstrap_improvement(first, second, weights)
        if chance[0] < 0.5:
            better, worse = worse, better
            chance = bootstrap_improvement(second, first, weights)
        improvements.append(Improvement(better, worse, Estimate(*chance), len(protocols)))
    return improvements
