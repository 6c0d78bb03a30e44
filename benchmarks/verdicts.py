"""How often the verdicts of a comparison are wrong, and how often they miss a difference, by simulation.

    python -m benchmarks.verdicts                 verdicts on one game
    python -m benchmarks.verdicts --games 5       verdicts over several games, and the intervals of their aggregates
    python -m benchmarks.verdicts --games 5 --log-sd 0.45 --other-log-sd 0.15     two arms of unequal spread

Scores are log-normal: exp(normal) with the standard deviation `--log-sd`, 0.35 by default, about that of agents on one
game after the same training. False alarms: arms that do not differ, and a verdict all the same; with several arms, one
verdict of all pairs is enough. Power: the share of comparisons of two arms that shows a ratio, which is the same in
every game.

On one game two methods stand beside the verdicts that are not used: Welch's t on the scores themselves, and the
percentile bootstrap interval of the difference of the means, which alarms where it leaves out 0. Over several games,
whose median human-normalised scores go from LOWEST to HIGHEST, it is the stratified bootstrap interval of the
difference of the IQMs. Coverage: how often the interval of one arm's aggregate holds what endlessly many seeds give.
"""

import argparse

import numpy as np

from benchmarks.rounds import parse_count, parse_positive, run_main
from verdicts.over_games import MEASURES, Games, bootstrap_games, compare_over_games
from verdicts.two_arms import LEVEL, compare_arms, t_welch

SEEDS = (3, 5, 10)
RATIOS = (1.5, 2.0, 3.0)
NUM_RESAMPLES = 1000
LOWEST, HIGHEST = 0.2, 5.0  # median human-normalised scores of the worst and the best game
NUM_TRUE = 200_000  # seeds of each game from which the true aggregates are computed


def draw_scores(rng: np.random.Generator, ratio: float, arms: int, seeds: int, log_sd: float) -> dict[str, list[float]]:
    """Return the scores of arms that do not differ, but for the first one, which is `ratio` times as good."""
    scores = 1000 * np.exp(rng.normal(0, log_sd, (arms, seeds)))
    scores[0] *= ratio
    return {f"arm {index}": list(row) for index, row in enumerate(scores)}


def alarm_of_verdicts(scores: dict[str, list[float]], rng: np.random.Generator) -> bool:
    """Return whether a verdict is certain: Welch's t on logarithms, Holm's correction."""
    return any(verdict.is_certain for verdict in compare_arms(scores))


def alarm_of_raw_scores(scores: dict[str, list[float]], rng: np.random.Generator) -> bool:
    """Return whether Welch's t on the scores themselves shows a difference of the first two arms."""
    first, second = list(scores.values())[:2]
    return t_welch(first, second)[3] < LEVEL


def alarm_of_bootstrap(scores: dict[str, list[float]], rng: np.random.Generator) -> bool:
    """Return whether the 95 % percentile bootstrap interval of the difference of the first two means leaves out 0."""
    first, second = (np.array(row) for row in list(scores.values())[:2])
    means = [one[rng.integers(len(one), size=(NUM_RESAMPLES, len(one)))].mean(1) for one in (first, second)]
    low, high = np.quantile(means[0] - means[1], [0.025, 0.975])
    return not low <= 0 <= high


def measure_share(alarm, ratio: float, arms: int, seeds: int, log_sd: float, rounds: int) -> float:
    """Return the share of simulated comparisons in which a method sees a difference."""
    rng = np.random.default_rng(1)
    return float(np.mean([alarm(draw_scores(rng, ratio, arms, seeds, log_sd), rng) for _ in range(rounds)]))


def draw_games(rng: np.random.Generator, arms: int, games: int, seeds: int, log_sd: float) -> dict[str, Games]:
    """Return the human-normalised scores of arms that do not differ, float [seeds] for each game."""
    medians = np.geomspace(LOWEST, HIGHEST, games)
    scores = medians[:, None] * np.exp(rng.normal(0, log_sd, (arms, games, seeds)))
    return {f"arm {index}": list(of_arm) for index, of_arm in enumerate(scores)}


def measure_games(ratio: float, arms: int, games: int, seeds: int, log_sd: float, rounds: int) -> tuple[float, float]:
    """Return the shares of comparisons over several games in which the verdicts, and the bootstrap intervals that stand
    beside them, see a difference; the first arm is `ratio` times as good in every game."""
    rng, verdicts, intervals = np.random.default_rng(1), 0, 0
    for _ in range(rounds):
        scores = draw_games(rng, arms, games, seeds, log_sd)
        scores["arm 0"] = [ratio * game for game in scores["arm 0"]]
        found = compare_over_games(scores, NUM_RESAMPLES)
        verdicts += any(one.is_certain for one in found)
        intervals += any(not one.low <= 0 <= one.high for one in found)
    return verdicts / rounds, intervals / rounds


def measure_unequal(games: int, seeds: tuple[int, int], log_sds: tuple[float, float], rounds: int) -> float:
    """Return the share of comparisons whose verdict sees a difference of two arms with equal medians in every game.

    Args:
        games: how many there are.
        seeds, log_sds: of the first arm and of the other.
        rounds: how many comparisons.
    """
    rng, alarms = np.random.default_rng(1), 0
    for _ in range(rounds):
        drawn = [draw_games(rng, 1, games, *of_arm)["arm 0"] for of_arm in zip(seeds, log_sds, strict=True)]
        [verdict] = compare_over_games(dict(zip(("first", "other"), drawn, strict=True)), NUM_RESAMPLES)
        alarms += verdict.is_certain
    return alarms / rounds


def measure_coverage(games: int, seeds: int, log_sd: float, rounds: int) -> dict[str, float]:
    """Return measure -> how often its stratified bootstrap interval holds the true value."""
    rng = np.random.default_rng(1)
    (true,) = draw_games(rng, 1, games, NUM_TRUE, log_sd).values()
    truth = {name: float(measure(true)) for name, measure in MEASURES.items()}
    held = dict.fromkeys(MEASURES, 0)
    for index in range(rounds):
        (scores,) = draw_games(rng, 1, games, seeds, log_sd).values()
        for name, measure in MEASURES.items():
            low, high = bootstrap_games(scores, measure, index, NUM_RESAMPLES)
            held[name] += low <= truth[name] <= high
    return {name: number / rounds for name, number in held.items()}


def print_one_game(log_sd: float, rounds: int) -> None:
    """Print the table of verdicts on one game."""
    print(
        "| seeds | method | false alarms, 2 arms | 4 arms | " + " | ".join(f"power, {r:g} times" for r in RATIOS) + " |"
    )
    print("|---|---|---|---|" + "---|" * len(RATIOS))
    methods = {
        "verdicts (Welch on logarithms, Holm)": alarm_of_verdicts,
        "Welch on scores": alarm_of_raw_scores,
        "bootstrap": alarm_of_bootstrap,
    }
    for seeds in SEEDS:
        for name, alarm in methods.items():
            several = alarm is alarm_of_verdicts
            cells = [measure_share(alarm, 1.0, 2, seeds, log_sd, rounds)]
            cells += [measure_share(alarm, 1.0, 4, seeds, log_sd, rounds) if several else None]
            cells += [measure_share(alarm, ratio, 2, seeds, log_sd, rounds) for ratio in RATIOS]
            print(
                f"| {seeds} | {name} | " + " | ".join("" if c is None else f"{c:.1%}" for c in cells) + " |", flush=True
            )


def print_several_games(games: int, log_sd: float, rounds: int) -> None:
    """Print the tables of verdicts over several games, and of the coverage of intervals."""
    print(
        "| seeds of each game | method | false alarms, 2 arms | 4 arms | "
        + " | ".join(f"power, {ratio:g} times" for ratio in RATIOS[:2])
        + " |"
    )
    print("|---|---|---|---|" + "---|" * len(RATIOS[:2]))
    for seeds in SEEDS:
        cases = [(1.0, 2), (1.0, 4), *((ratio, 2) for ratio in RATIOS[:2])]
        shares = [measure_games(ratio, arms, games, seeds, log_sd, rounds) for ratio, arms in cases]
        methods = ("verdicts (permutation within games, Holm)", "bootstrap")
        for name, cells in zip(methods, zip(*shares, strict=True), strict=True):
            texts = [f"{cell:.1%}" for cell in cells]
            texts[1] = "" if name == "bootstrap" else texts[1]  # which no correction would make comparable
            print(f"| {seeds} | {name} | " + " | ".join(texts) + " |", flush=True)
    print("\n| seeds of each game | " + " | ".join(f"interval of the {name}" for name in MEASURES) + " |")
    print("|---|" + "---|" * len(MEASURES))
    for seeds in (2, *SEEDS):
        coverage = measure_coverage(games, seeds, log_sd, rounds)
        print(f"| {seeds} | " + " | ".join(f"{share:.1%}" for share in coverage.values()) + " |", flush=True)


def print_unequal(games: int, log_sds: tuple[float, float], rounds: int) -> None:
    """Print how often arms with equal medians and unequal spreads, or numbers of seeds, are told apart."""
    print("| seeds of the first arm | of the other | verdicts that see a difference |")
    print("|---|---|---|")
    for seeds in (*((number, number) for number in SEEDS), (SEEDS[0], SEEDS[-1]), (SEEDS[-1], SEEDS[0])):
        print(f"| {seeds[0]} | {seeds[1]} | {measure_unequal(games, seeds, log_sds, rounds):.1%} |", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description="Simulated verdicts.")
    parser.add_argument(
        "--log-sd", type=parse_positive, default=0.35, help="standard deviation of the logarithm of scores"
    )
    parser.add_argument("--other-log-sd", type=parse_positive, help="that of the second arm of two, with --games")
    parser.add_argument("--rounds", type=parse_count, default=2000, help="simulated comparisons for each number")
    parser.add_argument("--games", type=parse_count, default=1, help="games that each arm plays")
    options = parser.parse_args()
    if options.other_log_sd and options.games == 1:
        parser.error("--other-log-sd needs --games")
    over = f", {options.games} games" if options.games > 1 else ""
    print(f"log-normal scores, log sd {options.log_sd}{over}, {options.rounds:,} comparisons each")
    if options.other_log_sd:
        print_unequal(options.games, (options.log_sd, options.other_log_sd), options.rounds)
    elif options.games > 1:
        print_several_games(options.games, options.log_sd, options.rounds)
    else:
        print_one_game(options.log_sd, options.rounds)


if __name__ == "__main__":
    run_main(main)
