"""How much of its speed does PPO keep beside a busy program? Whole runs, with `cluster.threads=auto` and `openmp`.

    python -m benchmarks.neighbours            # three rounds
    python -m benchmarks.neighbours --quick    # one short round, to see that it works; not for quoting

    each round    quiet: auto, openmp | beside one program that only counts: auto, openmp

PPO on Assault, 8 envs x 128 steps, 4 epochs of minibatches of 256, Nature CNN, in the dtype that the CPU is fastest at.
`openmp` is how every run learned before `auto` was there, and `auto` learns so with more than 4 cores. `auto` tries the
other way in 4 of 256 minibatches, so its warm-up is long; `--quick` ends before that. The program is in a session of
its own, as another user's would be. Two cores shared evenly by the run's two threads and the program are 0.67 of the
quiet speed.
"""

import subprocess
from pathlib import Path

from benchmarks.rounds import (
    Contestant,
    begin,
    divide_rounds,
    list_speeds,
    make_parser,
    measure_rounds,
    run_main,
    run_suite,
    take_turns,
)
from benchmarks.shards import NEIGHBOUR

STEPS_PER_UPDATE = 8 * 128
UPDATES = {"auto": (24, 16), "openmp": (1, 4)}  # of `cluster.threads`: warm-up, timed
WORDS = ("algo=ppo", "env=assault", "logger=null", "report_every=1")


def make_contestant(threads: str, neighbours: int, shorter: int) -> Contestant:
    """Return a run with one setting of `cluster.threads`, beside so many busy programs, as a contestant.

    Args:
        shorter: its updates are divided by this number.
    """
    warm_up, timed = (max(1, updates // shorter) * STEPS_PER_UPDATE for updates in UPDATES[threads])

    def run(folder: Path) -> dict:
        busy = [subprocess.Popen(NEIGHBOUR, start_new_session=True) for _ in range(neighbours)]
        try:
            return run_suite(folder, warm_up, timed, *WORDS, f"cluster.threads={threads}")
        finally:
            for one in busy:
                one.kill()
                one.wait()

    return run


def summarize(rounds: list[dict]) -> dict[str, list[float]]:
    """Return the lines of the table: label with unit -> one number per round."""
    lines = {}
    for threads in UPDATES:
        quiet, beside = (list_speeds(rounds, f"{threads}_{neighbours}") for neighbours in (0, 1))
        lines |= {f"{threads}, quiet, agent steps/s": quiet, f"{threads}, beside a busy program": beside}
        lines[f"{threads}, beside / quiet"] = divide_rounds(beside, quiet)
    beside_one = (list_speeds(rounds, f"{threads}_1") for threads in UPDATES)
    return lines | {"beside a busy program, auto / openmp": divide_rounds(*beside_one)}


def main() -> None:
    settings = make_parser(__doc__, "neighbours.json").parse_args()
    num_rounds, shorter = (1, 8) if settings.quick else (settings.rounds, 1)
    result = begin() | {"updates": UPDATES, "shorter": shorter}
    cases = [(threads, neighbours) for neighbours in (0, 1) for threads in UPDATES]
    contestants = {f"{threads}_{n}": make_contestant(threads, n, shorter) for threads, n in cases}
    measure_rounds(result, num_rounds, lambda number: take_turns(contestants, number), summarize, settings.out)


if __name__ == "__main__":
    run_main(main)
