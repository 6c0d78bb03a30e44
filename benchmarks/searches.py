"""Do trials side by side share the cores, and what does a trial cost beside its training?

    python -m benchmarks.searches            # three rounds, 10 minutes on two cores; the last of `make bench`
    python -m benchmarks.searches --quick    # one short round, to see that it works; not for quoting

    one at a time   two trials of a search, PPO on Assault, one thread each, one after the other
    two at once     the same two trials, with the same values and seeds, side by side
    short           six trials of CartPole (--quick: two), one after the other: seconds per trial that are not training

Of two trials at once the agent steps/s are added. What a trial costs beside training is mostly its start; the last line
states it as a share of a trial of ten minutes. How it is measured: `benchmarks/rounds.py`. Prints a table, and writes
JSON to `--out`.
"""

import re
import statistics
import sys
from pathlib import Path

from benchmarks.processes import run_process
from benchmarks.rounds import (
    ROOT,
    Contestant,
    begin,
    compute_speed,
    divide_rounds,
    list_speeds,
    make_parser,
    measure_rounds,
    run_main,
    take_turns,
    wait_output,
)
from run_directory.layout import PROGRESS_CSV
from run_directory.progress_table import read_rows

ALONE = ("search.scheduler=none", "search.sampler=random", "search.contender_seeds=0", "search.fresh_seeds=0")
WARM_UP = 6_144
TEN_MINUTES_S = 600


def run_search(folder: Path, *words: str) -> tuple[list[list[dict]], str]:
    """Run a search to its end; return the rows of progress.csv of each trial, and all that was printed."""
    log = folder / "log.txt"
    command = [sys.executable, "run.py", *words, *ALONE, f"output_dir={folder / 'run'}"]
    with run_process(command, ROOT, log) as process:
        printed = "\n".join(wait_output(process, log))
    tables = sorted((folder / "run").glob(f"searches/*/trials/*/{PROGRESS_CSV}"))
    return [read_rows(path) for path in tables], printed


def make_assault_search(concurrent: int, agent_steps: int) -> Contestant:
    """Return a search with two trials of PPO on Assault as a contestant."""

    def contestant(folder: Path) -> dict:
        words = ("tune_searches=assault_ppo", "search.trials=2", f"search.concurrent={concurrent}")
        tables, _ = run_search(folder, *words, f"stop.agent_steps={WARM_UP + agent_steps}")
        assert len(tables) == 2
        each = [compute_speed(rows, WARM_UP)[0] for rows in (cut_to_shortest(tables) if concurrent == 2 else tables)]
        return {"agent_steps_per_s": sum(each) if concurrent == 2 else statistics.harmonic_mean(each), "each": each}

    return contestant


def cut_to_shortest(tables: list[list[dict]]) -> list[list[dict]]:
    """Return the rows of trials that began together up to the end of the first, after which the other runs alone."""
    end = min(float(rows[-1]["wall_time_s"]) for rows in tables)
    return [[row for row in rows if float(row["wall_time_s"]) <= end] for rows in tables]


def make_short_search(number: int) -> Contestant:
    """Return a search with trials of CartPole, one after the other in one process, as a contestant."""

    def contestant(folder: Path) -> dict:
        words = ("tune_searches=cartpole_ppo", f"search.trials={number}", "search.concurrent=1")
        tables, printed = run_search(folder, *words)
        beside = re.search(r"([\d.]+) s per trial beside training", printed)
        assert beside and len(tables) == number, printed
        steps, seconds = (sum(float(rows[-1][key]) for rows in tables) for key in ("agent_steps", "wall_time_s"))
        return {"agent_steps_per_s": steps / seconds, "beside_s": float(beside[1])}

    return contestant


def summarize(rounds: list[dict]) -> dict[str, list[float]]:
    """Return the lines of the table: label with unit -> one number per round."""
    beside = [measured["short"]["beside_s"] for measured in rounds]
    kept = [statistics.mean(divide_rounds(m["two at once"]["each"], m["one at a time"]["each"])) for m in rounds]
    return {
        "Assault, one trial at a time, agent steps/s": list_speeds(rounds, "one at a time"),
        "Assault, two trials at once, agent steps/s of both": list_speeds(rounds, "two at once"),
        "a trial beside another / the same alone": kept,
        "CartPole, trials in turn: beside training, s per trial": beside,
        "that, in % of a trial of ten minutes": [100 * s / (s + TEN_MINUTES_S) for s in beside],
    }


def main() -> None:
    settings = make_parser(__doc__, "searches.json").parse_args()
    num_rounds, agent_steps, number = (1, 18_000, 2) if settings.quick else (settings.rounds, 60_000, 6)
    contestants = {
        "one at a time": make_assault_search(1, agent_steps),
        "two at once": make_assault_search(2, agent_steps),
        "short": make_short_search(number),
    }
    result = begin() | {"agent_steps": agent_steps, "warm_up": WARM_UP, "short_trials": number}
    measure_rounds(result, num_rounds, lambda number: take_turns(contestants, number), summarize, settings.out)


if __name__ == "__main__":
    run_main(main)
