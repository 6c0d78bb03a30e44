"""How often the verdicts of a comparison are wrong, and how often they miss a difference, by simulation.

    python -m benchmarks.verdicts

Scores are log-normal: exp(normal) with the standard deviation `--log-sd`, 0.35 by default, about that of agents on one
game after the same training. False alarms: arms that do not differ, and a verdict all the same; with several arms, one
verdict of all pairs is enough. Power: the share of comparisons of two arms that shows a ratio. Beside it stand two
methods that are not used: Welch's t on the scores themselves, and the percentile bootstrap interval of the difference
of the means, which alarms where it leaves out 0.
"""

import argparse

import numpy as np

from comparisons.verdicts import LEVEL, compare_arms, t_welch

SEEDS = (3, 5, 10)
RATIOS = (1.5, 2.0, 3.0)
NUM_RESAMPLES = 1000


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


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.verdicts", description="Simulated verdicts.")
    parser.add_argument("--log-sd", type=float, default=0.35, help="standard deviation of the logarithm of scores")
    parser.add_argument("--rounds", type=int, default=2000, help="simulated comparisons for each number")
    options = parser.parse_args()
    print(f"log-normal scores, log sd {options.log_sd}, {options.rounds:,} comparisons each")
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
            cells = [measure_share(alarm, 1.0, 2, seeds, options.log_sd, options.rounds)]
            cells += [measure_share(alarm, 1.0, 4, seeds, options.log_sd, options.rounds) if several else None]
            cells += [measure_share(alarm, ratio, 2, seeds, options.log_sd, options.rounds) for ratio in RATIOS]
            print(
                f"| {seeds} | {name} | " + " | ".join("" if c is None else f"{c:.1%}" for c in cells) + " |", flush=True
            )


if __name__ == "__main__":
    main()
