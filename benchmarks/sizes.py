"""How does the cost of PPO grow with the size of the experiment? Speed beside its limit, and memory.

    python -m benchmarks.sizes            # three rounds, an hour on two cores
    python -m benchmarks.sizes --quick    # one short round, to see that it works; not for quoting
    python -m benchmarks.sizes --draw results/2026-11-28_sizes/sizes.json    # the figure only

    first         the suite with few and many envs and steps, its memory sampled -> MiB per env, bytes per agent step
    each round    for each size: its limit, then the suite -> agent steps/s, share of the limit

Every size trains PPO on Assault with 4 epochs of minibatches of 256, and changes one thing of 8 envs x 128 steps, all
cores and the Nature CNN: envs at 4,096 agent steps per update, steps at 8 envs, cores, env runners, network. The limit
is what emulator, acting and training, each measured alone, allow when nothing overlaps (`benchmarks/bare_loop.py`; for
other networks than the Nature CNN `benchmarks/models.py`, whose training is without the optimizer). Env runners share
the cores with the learner, and have no limit here. From 5 cores on, a run computes with OpenMP instead of shards.
"""

import statistics
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from benchmarks.rounds import (
    Contestant,
    begin,
    count_threads,
    divide_rounds,
    list_speeds,
    make_parser,
    measure_rounds,
    parse_input_path,
    run_alone,
    run_main,
    run_module,
    run_suite,
    take_turns,
)
from cluster.plan import MAX_CPUS
from environments.machine import count_cpus
from run_directory.files import read_json

NETWORKS = ("a3c_cnn", "nature_cnn", "impala", "cnn_lstm")
MEMORY = ((8, 128), (8, 1024), (64, 16), (128, 64))  # envs N, steps T, of the runs whose memory is sampled
MIN_WARM_UP = 2048  # agent steps
EPOCHS = 4


class Size(NamedTuple):
    """The size of an experiment, and for how many updates it is timed; by default 8 envs x 128 steps on all cores."""

    num_envs: int = 8
    horizon: int = 128
    cores: int = 0  # 0: all, as many as a run takes by itself
    num_env_runners: int = 0
    network: str = "nature_cnn"
    updates: int = 12

    @property
    def name(self) -> str:
        """The name among the contestants."""
        cores, runners = f"cores={self.cores or 'all'}", f"runners={self.num_env_runners}"
        return f"{self.num_envs}x{self.horizon} {cores} {runners} {self.network}"


Axes = Mapping[str, Mapping[str, Size]]  # axis -> label of a size on it -> size


def list_axes(cores: int) -> Axes:
    """Return the sizes for a machine with so many cores. A size that lies on several axes is measured once."""
    fewer = {str(n): Size(cores=n) for n in (1, 2, 4, 8, 16, 32) if n < cores}
    all_cores = Size() if cores <= MAX_CPUS else Size(cores=cores)  # a run takes no more by itself
    runners = [n for n in (1, 2, 4, 8) if n < cores]  # one core is the training process's
    return {
        "envs, 4,096 agent steps per update": {str(n): Size(n, 4096 // n, updates=3) for n in (8, 32, 128, 512)},
        "steps of 8 envs": {"32": Size(horizon=32, updates=48), "128": Size(), "512": Size(8, 512, updates=3)},
        "cores": fewer | {str(cores): all_cores},
        "env runners": {"0": Size()} | {str(n): Size(num_env_runners=n) for n in runners},
        "network": {name: Size(network=name) for name in NETWORKS},
    }


def make_contestant(size: Size, shorter: int) -> Contestant:
    """Return a function that measures a size's limit, then the suite; the suite's updates are divided by `shorter`."""
    steps = size.num_envs * size.horizon
    warm_up, timed = -(-MIN_WARM_UP // steps) * steps, max(1, size.updates // shorter) * steps
    return lambda folder: measure_limit(size, folder) | run_suite(folder, warm_up, timed, *list_overrides(size))


def list_overrides(size: Size) -> list[str]:
    """Return the overrides that make an experiment of this size, with a row of progress.csv for each update."""
    words = ["algo=ppo", "env=assault", "logger=null", "report_every=1"]
    words += [f"algo.num_envs={size.num_envs}", f"algo.horizon={size.horizon}", f"model={size.network}"]
    words += [f"cluster.num_env_runners={size.num_env_runners}"]
    return words + ([f"cluster.cpus={size.cores}"] if size.cores else [])


def measure_limit(size: Size, folder: Path) -> dict[str, float]:
    """Return E, agent steps/s of the emulator, I and G, samples/s acted and trained, and the limit that they set; of
    env runners nothing."""
    if size.num_env_runners:
        return {}
    threads = size.cores or count_threads()
    shape = (f"--num-envs={size.num_envs}", f"--horizon={size.horizon}")
    parts = run_module("bare_loop", folder, *shape, f"--threads={threads}", "--updates=1")
    if size.network != "nature_cnn":
        assert size._replace(network="nature_cnn", updates=Size().updates) == Size(), "models.py has 8 envs, all cores"
        parts |= run_module("models", folder, size.network)[size.network]
    limit = 1 / (1 / parts["E"] + 1 / parts["I"] + EPOCHS / parts["G"])
    return {name: parts[name] for name in "EIG"} | {"limit": limit}


def measure_memory(num_envs: int, horizon: int) -> dict:
    """Return what a run of two updates measures, with the peak of its memory."""
    steps = num_envs * horizon
    overrides = list_overrides(Size(num_envs, horizon))
    return run_alone(lambda folder: run_suite(folder, steps, steps, *overrides, sample_memory=True))


def fit_memory(peaks_mib: list[float]) -> tuple[float, float, float]:
    """Return MiB without envs, MiB per env, and bytes per agent step of an update: least squares over MEMORY."""
    columns = np.array([(1, n, n * t) for n, t in MEMORY], float)
    base, per_env, per_step = np.linalg.lstsq(columns, np.array(peaks_mib), rcond=None)[0]
    return float(base), float(per_env), float(per_step) * 2**20


def summarize(rounds: list[dict], axes: Axes, peaks_mib: list[float]) -> dict[str, list[float]]:
    """Return the lines of the table: label with unit -> one number per round."""
    lines = {}
    for axis, points in axes.items():
        for label, size in points.items():
            lines[f"{axis}: {label}, agent steps/s"] = suite = list_speeds(rounds, size.name)
            if limits := list_limits(rounds, size):
                lines[f"{axis}: {label}, of the limit"] = divide_rounds(suite, limits)
    for (n, t), peak in zip(MEMORY, peaks_mib, strict=True):
        lines[f"peak memory, {n} envs x {t} steps, MiB PSS"] = [peak]
    base, per_env, per_step = fit_memory(peaks_mib)
    lines |= {"memory without envs, MiB": [base], "memory per env, MiB": [per_env]}
    return lines | {"memory per agent step of an update, bytes": [per_step]}


def list_limits(rounds: list[dict], size: Size) -> list[float]:
    """Return the limit of a size in each round; nothing for a size with env runners."""
    return [] if size.num_env_runners else [measured[size.name]["limit"] for measured in rounds]


def draw(rounds: list[dict], axes: Axes, path: Path) -> None:
    """Draw speed and limit over each axis: medians of the rounds, bars from the slowest to the fastest."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, plots = plt.subplots(1, len(axes), figsize=(14, 3.2), sharey=True, layout="constrained")
    for plot, (axis, points) in zip(plots, axes.items(), strict=True):
        found = [list_speeds(rounds, size.name) for size in points.values()]
        limits = [statistics.median(list_limits(rounds, size) or [np.nan]) for size in points.values()]
        middle = [statistics.median(values) for values in found]
        spread = [[m - min(values), max(values) - m] for m, values in zip(middle, found, strict=True)]
        dashes, line = ("", "") if axis == "network" else ("--", "-")  # there is nothing between two networks
        plot.plot(list(points), limits, f"x{dashes}", color="0.5", label="limit: each part alone")
        plot.errorbar(list(points), middle, np.transpose(spread), fmt=f"o{line}", capsize=3, label="this suite")
        plot.set_xlabel(axis)
        plot.grid(alpha=0.3, which="both")
        plot.tick_params(axis="x", rotation=20 if axis == "network" else 0)
    plots[0].set_ylabel("agent steps/s")
    plots[0].set_ylim(bottom=0)
    plots[0].legend()
    figure.savefig(path, dpi=120)
    print(f"figure: {path}")


def main() -> None:
    parser = make_parser(__doc__, "sizes.json")
    parser.add_argument("--draw", type=parse_input_path, help="draw this file of an earlier run, and measure nothing")
    settings = parser.parse_args()
    if settings.draw:
        result = read_json(settings.draw, dict)
        if not (result.get("rounds") and Size().name in result["rounds"][0]):
            parser.error(f"--draw {settings.draw}: this benchmark did not write it")
        draw(result["rounds"], list_axes(result["machine"]["cores"]), settings.draw.with_suffix(".png"))
        return
    num_rounds, shorter = (1, 12) if settings.quick else (settings.rounds, 1)
    axes = list_axes(count_cpus())
    result = begin() | {"shorter": shorter, "memory": [measure_memory(*shape) for shape in MEMORY]}
    sizes = {size.name: size for points in axes.values() for size in points.values()}
    contestants = {name: make_contestant(size, shorter) for name, size in sizes.items()}
    peaks_mib = [run["peak_pss_mib"] for run in result["memory"]]
    measure_rounds(
        result,
        num_rounds,
        lambda number: take_turns(contestants, number),
        lambda rounds: summarize(rounds, axes, peaks_mib),
        settings.out,
    )
    draw(result["rounds"], axes, settings.out.with_suffix(".png"))


if __name__ == "__main__":
    run_main(main)
