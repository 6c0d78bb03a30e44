"""What does stopping trials early save, and does it cost the winner anything? ASHA beside no scheduler, on CartPole.

    python -m benchmarks.early_stopping            # five repetitions, some 10 minutes on two cores
    python -m benchmarks.early_stopping --quick    # one repetition with four trials, to see that it works

A repetition is `python run.py tune_searches=cartpole_ppo` twice, with the same seed and so the same fresh seeds: once
with search.scheduler=asha, once with none. Counted are the agent steps of the trials alone; the winners are compared on
five fresh seeds, which no choice was made by. Speed plays no part, so other work may go on beside it.
Prints a table, and writes JSON to `--out`.
"""

import sys
from pathlib import Path

from benchmarks.processes import run_process
from benchmarks.rounds import (
    ROOT,
    begin,
    divide_rounds,
    make_parser,
    measure_rounds,
    run_main,
    take_turns,
    wait_output,
    write_json,
)
from evidence.search_result import read_finalists
from evidence.statistics import paired_difference
from run_directory.layout import PROGRESS_CSV
from run_directory.progress_table import read_rows

FRESH_SEEDS = 5


def make_contestant(scheduler: str, *others: str):
    """Return a search with this scheduler and other overrides as a contestant; each round has a seed of its own."""
    seeds = iter(range(1000, 100_000, 1000))

    def run(folder: Path) -> dict:
        seed, log = next(seeds), folder / "log.txt"
        words = ["tune_searches=cartpole_ppo", f"search.scheduler={scheduler}", f"seed={seed}", "search.finalists=1"]
        words += [f"search.fresh_seeds={FRESH_SEEDS}", f"output_dir={folder / 'run'}", *others]
        with run_process([sys.executable, "run.py", *words], ROOT, log) as process:
            wait_output(process, log)
        search = folder / "run" / "searches" / "cartpole_ppo"
        last = [read_rows(path)[-1] for path in search.glob(f"trials/*/{PROGRESS_CSV}")]
        steps, seconds = (sum(float(row[key]) for row in last) for key in ("agent_steps", "wall_time_s"))
        (winner,) = read_finalists(search)
        return {
            "agent_steps_per_s": steps / seconds,
            "agent_steps": steps,
            "trials": len(last),
            "seed": seed,
            "search_score": winner.search_score,
            "fresh_scores": winner.scores,
            "fresh_mean": winner.mean,
            "default_mean": sum(winner.default_scores) / len(winner.default_scores),
        }

    return run


def summarize(rounds: list[dict]) -> dict[str, list[float]]:
    """Return the lines of the table: label with unit -> one number per repetition."""

    def list_values(scheduler: str, what: str) -> list[float]:
        return [measured[scheduler][what] for measured in rounds]

    lines = {f"{s}, agent steps of all trials": list_values(s, "agent_steps") for s in ("none", "asha")}
    lines["asha / none, agent steps"] = divide_rounds(
        list_values("asha", "agent_steps"), list_values("none", "agent_steps")
    )
    for s in ("none", "asha"):
        lines[f"{s}, winner on fresh seeds"] = list_values(s, "fresh_mean")
        lines[f"{s}, winner's score in the search"] = list_values(s, "search_score")
    lines["default settings on fresh seeds"] = list_values("none", "default_mean")
    return lines


def main() -> None:
    parser = make_parser(__doc__, "early_stopping.json")
    parser.set_defaults(rounds=5)
    settings = parser.parse_args()
    result: dict = begin() | {"fresh_seeds": FRESH_SEEDS}
    num_rounds, others = (1, ["search.trials=4"]) if settings.quick else (settings.rounds, [])
    contestants = {s: make_contestant(s, *others) for s in ("asha", "none")}
    measure_rounds(result, num_rounds, lambda number: take_turns(contestants, number), summarize, settings.out)
    if len(result["rounds"]) > 1:
        asha, none = ([m[s]["fresh_mean"] for m in result["rounds"]] for s in ("asha", "none"))
        mean, low, high = result["difference"] = paired_difference(asha, none)
        print(f"\nwinners on fresh seeds, asha - none: {mean:+.1f} (95 % interval {low:+.1f} to {high:+.1f})")
        write_json(result, settings.out)


if __name__ == "__main__":
    run_main(main)
