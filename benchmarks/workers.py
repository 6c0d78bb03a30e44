"""What do workers gain, and who waits for the slowest? A3C and A2C on games that sleep, so that cores do not matter.

    python -m benchmarks.workers            # three rounds, 18 minutes on two cores; the third of `make bench`
    python -m benchmarks.workers --quick    # one short round with fewer workers, to see that it works; not for quoting

    scaling     A3C with 1, 2, 4 and 8 worker processes, one env each
    one slow    A3C with 4 worker processes, A2C with 4 env runners: all even | one of them ten times slower

Every step sleeps 5 ms (`benchmarks/slow_games.py`), the network is two layers of 8, 20 steps make a gradient; a worker
alone plays less than 200 agent steps/s. With one of 4 ten times slower, A3C should keep (3 + 0.1) / 4 of its speed, and
A2C 0.1. How it is measured: `benchmarks/rounds.py`. Prints a table, and writes JSON to `--out` and a figure beside it.
"""

import statistics
from pathlib import Path

from matplotlib.figure import Figure

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
from benchmarks.slow_games import SECONDS, SLOWER, SLOWEST

HORIZON = 20
GAME = ("env=cartpole", "env.id=benchmarks.slow_games:SlowGame-v0", "model.hidden=[8,8]")
WARM_UP_S = 2


def make_contestant(algo: str, workers: int, one_slow: bool, seconds: float) -> Contestant:
    """Return a contestant: this suite with `workers` processes of one env each, for about `seconds` after warm-up."""
    runs_at = workers / SECONDS * (1 / SLOWER if one_slow and algo == "a2c" else 1)  # agent steps/s, at most
    words = [f"algo={algo}", *GAME, f"algo.num_envs={workers}", f"algo.horizon={HORIZON}"]
    words += [f"cluster.num_env_runners={workers}", "cluster.cpus_per_runner=0.1"]  # they mostly sleep
    words += [f"report_every={runs_at:.0f}"]  # a row each second
    words += [f"algo.num_workers={workers}"] if algo == "a3c" else []
    steps = round(WARM_UP_S * runs_at), round(seconds * runs_at)
    return lambda folder: run_suite(
        folder, *steps, *words, variables={SLOWEST: str(folder / "slowest")} if one_slow else {}
    )


def summarize(rounds: list[dict], counts: list[int], many: int) -> dict[str, list[float]]:
    """Return the lines of the table: label with unit -> one number per round."""
    alone = list_speeds(rounds, "a3c_1")
    lines = {f"A3C, workers: {n}, agent steps/s": list_speeds(rounds, f"a3c_{n}") for n in counts}
    for n in counts[1:]:
        lines[f"A3C, workers: {n} / {n} x alone"] = [
            x / n for x in divide_rounds(list_speeds(rounds, f"a3c_{n}"), alone)
        ]
    for algo, name in {"a3c": "A3C, workers", "a2c": "A2C, env runners"}.items():
        even, slow = list_speeds(rounds, f"{algo}_{many}"), list_speeds(rounds, f"{algo}_{many}_one_slow")
        lines[f"{name}: {many}, all even, agent steps/s"] = even
        lines[f"{name}: {many}, one {SLOWER} times slower, agent steps/s"] = slow
        lines[f"{name}: {many}, one {SLOWER} times slower / all even"] = divide_rounds(slow, even)
    return lines


def draw_figure(rounds: list[dict], counts: list[int], many: int) -> Figure:
    """Draw medians and ranges: left agent steps/s over workers, right what one slow worker leaves of A3C and of A2C."""
    drawing = Figure(figsize=(10, 4), layout="constrained")
    left, right = drawing.subplots(1, 2)

    def compute_range(name: str) -> tuple[float, list[list[float]]]:
        values = list_speeds(rounds, name)
        m = statistics.median(values)
        return m, [[m - min(values)], [max(values) - m]]

    def format_share(name: str, of: str, times: int = 1) -> str:
        return f"{statistics.median(divide_rounds(list_speeds(rounds, name), list_speeds(rounds, of))) / times:.2f}"

    ends = [0, 1.15 * counts[-1]]
    left.plot(ends, [n * compute_range("a3c_1")[0] for n in ends], "--", color="0.5", label="n times one worker")
    for n in counts:
        m, span = compute_range(f"a3c_{n}")
        left.errorbar(n, m, span, fmt="o", color="C0", capsize=4, label="A3C" if n == 1 else None)
        left.annotate(format_share(f"a3c_{n}", "a3c_1", n), (n, m), (6, -12), textcoords="offset points")
    left.set(xlabel="worker processes n", ylabel="agent steps/s", xticks=counts, xlim=ends, ylim=0)
    left.set_title(f"A3C, every step sleeps {1000 * SECONDS:.0f} ms\n(number: share of n times one worker)")
    left.legend()

    for i, (algo, kept) in enumerate({"a3c": (many - 1 + 1 / SLOWER) / many, "a2c": 1 / SLOWER}.items()):
        (even, even_span), (slow, slow_span) = compute_range(f"{algo}_{many}"), compute_range(f"{algo}_{many}_one_slow")
        right.bar(i - 0.2, even, 0.38, yerr=even_span, capsize=4, color="C0", label=None if i else "all even")
        right.bar(
            i + 0.2, slow, 0.38, yerr=slow_span, capsize=4, color="C1", label=None if i else f"one {SLOWER} x slower"
        )
        right.hlines(kept * even, i, i + 0.4, "k", "dashed", label=None if i else "expected of the even speed")
        right.annotate(
            format_share(f"{algo}_{many}_one_slow", f"{algo}_{many}"),
            (i + 0.2, slow),
            (0, 8),
            textcoords="offset points",
            ha="center",
        )
    right.set(ylabel="agent steps/s", xticks=[0, 1], xticklabels=[f"A3C, {many} workers", f"A2C, {many} env runners"])
    right.set_title("One slow worker\n(number: share of the even speed)")
    right.margins(y=0.25)
    right.legend(loc="upper center", ncols=2, fontsize="small")
    return drawing


def main() -> None:
    settings = make_parser(__doc__, "workers.json").parse_args()
    num_rounds, counts, many, seconds = (1, [1, 2], 2, 4) if settings.quick else (settings.rounds, [1, 2, 4, 8], 4, 15)
    result = begin() | {"sleep_s": SECONDS, "slower": SLOWER, "horizon": HORIZON, "about_s": seconds}
    contestants = {f"a3c_{n}": make_contestant("a3c", n, False, seconds) for n in counts}
    contestants[f"a2c_{many}"] = make_contestant("a2c", many, False, seconds)
    for algo in ("a3c", "a2c"):
        contestants[f"{algo}_{many}_one_slow"] = make_contestant(algo, many, True, seconds)
    measure_rounds(
        result,
        num_rounds,
        lambda number: take_turns(contestants, number),
        lambda rounds: summarize(rounds, counts, many),
        settings.out,
    )
    picture: Path = settings.out.with_suffix(".png")
    draw_figure(result["rounds"], counts, many).savefig(picture, dpi=150)
    print(f"figure: {picture}")


if __name__ == "__main__":
    run_main(main)
