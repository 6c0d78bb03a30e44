"""Do trials side by side share the cores, and what does a trial cost beside its training?

    python -m benchmarks.searches            # three rounds, 10 minutes on two cores; the last of `make bench`
    python -m benchmarks.searches --quick    # one short round, to see that it works; not for quoting

    one at a time   two trials of a search, PPO on Assault, one thread each, one after the other
    two at once     the same two trials, with the same values and seeds, side by side
    short           six trials of CartPole (--quick: two), one after the other: seconds per trial that are not training

Of two trials at once the agent steps/s are added. What a trial costs beside training is mostly its start, so its share
is that of a trial of ten minutes. How it is measured: `benchmarks/rounds.py`. Comes out: a table, and JSON in `--out`.
"""

import re
import statistics
import sys
from pathlib import Path

from benchmarks.processes import started
from benchmarks.rounds import (
    ROOT,
    Contestant,
    begin,
    command_line,
    finished,
    keep,
    ratio,
    run_main,
    speed,
    speeds,
    take_turns,
)
from run_directory.layout import PROGRESS_CSV
from run_directory.progress_table import read_rows

ALONE = ("search.scheduler=none", "search.sampler=random", "search.contender_seeds=0", "search.fresh_seeds=0")
WARM_UP = 6_144
TEN_MINUTES_S = 600


def run_search(folder: Path, *words: str) -> tuple[list[list[dict]], str]:
    """A search from its start to its end: progress.csv of each trial, and all that was printed."""
    log = folder / "log.txt"
    command = [sys.executable, "run.py", *words, *ALONE, f"output_dir={folder / 'run'}"]
    with started(command, ROOT, log) as process:
        printed = "\n".join(finished(process, log))
    tables = sorted((folder / "run").glob(f"searches/*/trials/*/{PROGRESS_CSV}"))
    return [read_rows(path) for path in tables], printed


def on_assault(concurrent: int, agent_steps: int) -> Contestant:
    """Two trials of PPO on Assault."""

    def contestant(folder: Path) -> dict:
        words = ("tune_searches=assault_ppo", "search.trials=2", f"search.concurrent={concurrent}")
        tables, _ = run_search(folder, *words, f"stop.agent_steps={WARM_UP + agent_steps}")
        assert len(tables) == 2
        each = [speed(rows, WARM_UP)[0] for rows in (side_by_side(tables) if concurrent == 2 else tables)]
        return {"agent_steps_per_s": sum(each) if concurrent == 2 else statistics.harmonic_mean(each), "each": each}

    return contestant


def side_by_side(tables: list[list[dict]]) -> list[list[dict]]:
    """Rows of trials that began together, up to the end of the first: the other then has the machine to itself."""
    end = min(float(rows[-1]["wall_time_s"]) for rows in tables)
    return [[row for row in rows if float(row["wall_time_s"]) <= end] for rows in tables]


def short(number: int) -> Contestant:
    """Trials of CartPole, one after the other in one process."""

    def contestant(folder: Path) -> dict:
        words = ("tune_searches=cartpole_ppo", f"search.trials={number}", "search.concurrent=1")
        tables, printed = run_search(folder, *words)
        beside = re.search(r"([\d.]+) s per trial beside training", printed)
        assert beside and len(tables) == number, printed
        steps, seconds = (sum(float(rows[-1][key]) for rows in tables) for key in ("agent_steps", "wall_time_s"))
        return {"agent_steps_per_s": steps / seconds, "beside_s": float(beside[1])}

    return contestant


def summary(rounds: list[dict]) -> dict[str, list[float]]:
    """The lines of the table: what it is, with its unit, and one number per round."""
    beside = [measured["short"]["beside_s"] for measured in rounds]
    kept = [statistics.mean(ratio(m["two at once"]["each"], m["one at a time"]["each"])) for m in rounds]
    return {
        "Assault, one trial at a time, agent steps/s": speeds(rounds, "one at a time"),
        "Assault, two trials at once, agent steps/s of both": speeds(rounds, "two at once"),
        "a trial beside another / the same alone": kept,
        "CartPole, trials in turn: beside training, s per trial": beside,
        "that, in % of a trial of ten minutes": [100 * s / (s + TEN_MINUTES_S) for s in beside],
    }


def main() -> None:
    settings = command_line(__doc__, "searches.json").parse_args()
    num_rounds, agent_steps, number = (1, 18_000, 2) if settings.quick else (settings.rounds, 60_000, 6)
    contestants = {
        "one at a time": on_assault(1, agent_steps),
        "two at once": on_assault(2, agent_steps),
        "short": short(number),
    }
    result = begin() | {"agent_steps": agent_steps, "warm_up": WARM_UP, "short_trials": number}
    result["rounds"] = take_turns(contestants, num_rounds)
    result["summary"] = summary(result["rounds"])
    keep(result, settings.out)


if __name__ == "__main__":
    run_main(main)
