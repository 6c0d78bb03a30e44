"""The model of throughput (`benchmarks/scaling_model.py`) checked against runs, then asked about larger ones.

    python -m benchmarks.scaling            # root, iproute2; three rounds, 40 minutes on two cores
    python -m benchmarks.scaling --quick    # one round
    python -m benchmarks.scaling --predict results/2026-11-25_scaling/scaling.json      # the tables only

    each part alone -> the model's numbers; runs on one, two and three hosts -> how far it is off; larger ones -> tables

Games sleep in every step (`benchmarks/slow_games.py`), so the cores of one machine can stand for many. What the model
takes is measured in the same round, without the runs that it predicts: playing and learning alone in this process, the
network with one large object, and what is left, calls and their answers, with one env per env runner on one host.
"""

import csv
import os
import statistics
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

import run
from algorithms.learner import PROGRESS
from benchmarks.hosts import Host, explain_missing
from benchmarks.light_cluster import PORT, Run, slow_down, start_cluster
from benchmarks.rounds import ROOT, begin, make_parser, measure_rounds, parse_input_path, run_alone, run_main
from benchmarks.scaling_model import Costs, Shape, compute_terms, format_markdown, list_predictions, predict_speed
from cluster.dry_run import count_rollout_bytes, count_weight_bytes
from cluster.plan import make_plan
from rollouts.rollout import RolloutData
from rollouts.runner import VectorEnvRunner
from run_directory.files import read_json
from runs.build import build_config

# Each cost alone ------------------------------------------------------------------------------------------------------

SLOW = ("env=cartpole", "env.id=benchmarks.slow_games:SlowerGame-v0", "model.hidden=[8,8]")
WIDE = tuple(word.replace(":Slower", ":WideSlower") for word in SLOW)
REPEATS = 7
PAUSE_S = 0.1  # a learner waits for its env runners, and caches and cores are cold then: it is measured like that
OBJECT = 20 * 2**20  # bytes


@contextmanager
def use_one_core() -> Iterator[None]:
    """Keep this process to one core, as an env runner has, for as long as a `with` block lasts."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_of_them)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


def time_repetitions(work, pause_s: float = 0.0) -> float:
    """Return the median duration of a call in seconds, with pauses between the calls; the first does not count."""
    durations = []
    for _ in range(1 + REPEATS):
        time.sleep(pause_s)
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[1:])


def make_runner(horizon: int, num_envs: int, *words: str) -> VectorEnvRunner:
    """Return an env runner in this process."""
    minibatch = f"algo.minibatch_size={horizon * num_envs}"  # irrelevant here, and never too large
    words = (*words, f"algo.horizon={horizon}", f"algo.num_envs={num_envs}", minibatch)
    return VectorEnvRunner(config=build_config(make_plan(run.read_experiment(list(words))[0])))


def time_playing(*words: str, horizon: int = 16, counts: tuple[int, int] = (1, 4)) -> tuple[float, float]:
    """Return act_s and env_s of Costs, from the duration of a step with few and with more envs."""
    with use_one_core():
        few, many = (time_repetitions(make_runner(horizon, n, *words).sample) / horizon for n in counts)
    env_s = (many - few) / (counts[1] - counts[0])
    return few - counts[0] * env_s, env_s


def time_learning(shape: Shape, *words: str) -> float:
    """Return learn_s of Costs: the duration of one update on one core; a second would not help such small networks."""
    runner = make_runner(shape.horizon, shape.envs // shape.runners, *words)
    config = build_config(make_plan(run.read_experiment([*words, *list_sizes(shape)])[0]))
    rollouts = RolloutData([runner.sample()] * shape.runners)
    with use_one_core():
        learner = config.build_learner(spaces=runner.get_spaces())
        return time_repetitions(lambda: learner.update(training_data=rollouts, timesteps={PROGRESS: 0.0}), PAUSE_S)


def measure_network(hosts: list[Host], folder: Path) -> float:
    """Return the bytes/s at which Ray brings one large object from another host to the first."""
    log = folder / "network.txt"
    words = [sys.executable, "-m", "benchmarks.scaling", "--transfer", f"{hosts[0].address}:{PORT}"]
    if hosts[0].start(*words, log=log, cwd=ROOT).wait():
        raise SystemExit(log.read_text())
    return float(log.read_text().splitlines()[-1])


def make_zeros() -> np.ndarray:
    """Return the large object: uint8 [OBJECT]."""
    return np.zeros(OBJECT, np.uint8)


def measure_transfers(head: str) -> None:
    """Print the median bytes/s at which Ray brings an object from another node; `--transfer` runs this on the head."""
    ray.init(address=head, log_to_driver=False)
    here = ray.get_runtime_context().get_node_id()
    (there, *_) = (node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here)
    on = NodeAffinitySchedulingStrategy(there, soft=False)
    made = ray.remote(make_zeros).options(num_cpus=0, scheduling_strategy=on)
    speeds = []
    for _ in range(REPEATS):
        ref = made.remote()
        ray.wait([ref], fetch_local=False)
        start = time.perf_counter()
        ray.get(ref)
        speeds.append(OBJECT / (time.perf_counter() - start))
    print(statistics.median(speeds))


# Runs -----------------------------------------------------------------------------------------------------------------

HORIZON, ENVS_PER_RUNNER = 16, 2
SKIPPED, COUNTED = 3, 12  # updates: until processes are warm, and after


def list_sizes(shape: Shape) -> list[str]:
    """Return the overrides for a shape, with one minibatch per epoch."""
    steps = shape.envs * shape.horizon
    return [f"algo.horizon={shape.horizon}", f"algo.num_envs={shape.envs}", f"algo.minibatch_size={steps}"]


def measure_run(hosts: list[Host], folder: Path, shape: Shape, *words: str) -> dict:
    """Train on a cluster and measure its updates.

    Returns:
        agent_steps_per_s and update_s, medians over updates, which other work on the machine moves less than means;
        driver_s, the processor time of the training process per update.
    """
    steps = shape.envs * shape.horizon
    words = (*words, *list_sizes(shape), f"cluster.num_env_runners={shape.runners}")
    words += (f"cluster.cpus_per_runner={len(hosts) / shape.runners}", "report_every=1")
    going = Run(hosts, folder, *words, f"stop.agent_steps={(SKIPPED + COUNTED + 1) * steps}")
    first = len(going.wait_rows(SKIPPED))
    (driver,) = (
        p for p in hosts[0].list_processes() if p.cmdline() and p.cmdline()[0].startswith("ray::TrainingProcess")
    )
    before = read_cpu_s(driver)
    last = len(going.wait_rows(SKIPPED + COUNTED))
    driver_s = (read_cpu_s(driver) - before) / (last - first)
    speeds = [float(row["agent_steps_per_s"]) for row in going.wait_end()[SKIPPED : SKIPPED + COUNTED]]
    steps_per_s = statistics.median(speeds)
    return {"agent_steps_per_s": steps_per_s, "update_s": steps / steps_per_s, "driver_s": driver_s}


def read_cpu_s(process: psutil.Process) -> float:
    """Return the processor time of all threads of a process, in seconds."""
    times = process.cpu_times()
    return times.user + times.system


class Line(NamedTuple):
    """A straight line."""

    start: float
    slope: float

    @classmethod
    def fit(cls, x: Sequence[float], y: Sequence[float]) -> "Line":
        """Return the line with the least squared error through the points (x, y)."""
        slope, start = np.polyfit(x, y, 1)
        return cls(float(start), float(slope))


def measure_calls(hosts: list[Host], counts: list[int], costs: Costs) -> dict:
    """Measure what an update takes beside playing and learning, with one env per env runner.

    Returns:
        round_s and runner_s of Costs; env runners with few cores wait for each other, so runner_s holds on this
        machine. driver_s, the processor time of the training process per update and env runner without learning,
        which more cores do not lower. runs, what was measured of each number of env runners.
    """
    found = {}
    for n in counts:
        shape = Shape(n, n, HORIZON)
        got = run_alone(lambda folder, shape=shape: measure_run(hosts, folder, shape, *SLOW))
        learn_s = time_learning(shape, *SLOW)
        rest = got["update_s"] - compute_terms(shape, costs)["play"] - learn_s
        found[n] = {"rest_s": rest, "driver_s": got["driver_s"] - learn_s, "update_s": got["update_s"]}
        print(f"  calls, {n} env runners: {1000 * rest:.1f} of {1000 * got['update_s']:.1f} ms per update", flush=True)
    wall, computed = (Line.fit(counts, [found[n][key] for n in counts]) for key in ("rest_s", "driver_s"))
    return {"round_s": wall.start, "runner_s": wall.slope, "driver_s": computed.slope, "runs": found}


# Rounds ---------------------------------------------------------------------------------------------------------------

PER_HOST = (1, 2, 4)  # env runners
SLOW_CABLE = 20  # million bits/s


def measure_round(folder: Path, quick: bool) -> dict:
    """Measure each cost alone, then runs on one, two and three hosts, and on three with slow cables."""
    act_s, env_s = time_playing(*SLOW)
    wide = time_playing(*WIDE)
    assault = time_playing("env=assault", horizon=128, counts=(1, 8))
    found = {"act_s": act_s, "env_s": env_s, "wide_s": wide, "assault_s": assault, "checks": []}
    bare = Costs(act_s, env_s, 0.0, 0.0, 0.0, count_bytes(SLOW), count_weights(SLOW), 1.0)
    for num_hosts in (1, 2, 3):
        with start_cluster(num_hosts, folder) as hosts:
            if num_hosts == 1:
                calls = measure_calls(hosts, [1, 4] if quick else [1, 2, 4, 8], bare)
                found["calls"] = calls
                costs = bare._replace(round_s=calls["round_s"], runner_s=calls["runner_s"], network=float("inf"))
            else:
                costs = costs._replace(network=measure_network(hosts, folder))
                found["network"] = costs.network
            for n in PER_HOST[-1:] if quick else PER_HOST:
                found["checks"].append(check_model(hosts, n * num_hosts, SLOW, costs))
            if num_hosts == 3:
                act_s, env_s = wide
                costs = costs._replace(
                    act_s=act_s, env_s=env_s, rollout_bytes=count_bytes(WIDE), weight_bytes=count_weights(WIDE)
                )
                found["checks"].append(check_model(hosts, 12, WIDE, costs))
                for host in hosts:
                    slow_down(host, SLOW_CABLE)
                costs = costs._replace(network=measure_network(hosts, folder))
                found["slow_network"] = costs.network
                for runners in (6, 12):
                    found["checks"].append(check_model(hosts, runners, WIDE, costs, SLOW_CABLE))
    return found


def count_bytes(words: tuple[str, ...]) -> float:
    """Return rollout_bytes of Costs, at HORIZON."""
    settings, _ = run.read_experiment([*words, f"algo.horizon={HORIZON}", "algo.minibatch_size=16"])
    return float(count_rollout_bytes(build_config(make_plan(settings))))


def count_weights(words: tuple[str, ...]) -> float:
    """Return weight_bytes of Costs."""
    return float(count_weight_bytes(build_config(make_plan(run.read_experiment(list(words))[0]))))


def check_model(
    hosts: list[Host], runners: int, words: tuple[str, ...], costs: Costs, cable: int | None = None
) -> dict:
    """Measure a run and return it beside what the model predicts for it."""
    away = (len(hosts) - 1) / len(hosts)
    shape = Shape(runners, ENVS_PER_RUNNER * runners, HORIZON, away, len(hosts) - 1)
    costs = costs._replace(learn_s=time_learning(shape, *words))
    got = run_alone(lambda folder: measure_run(hosts, folder, shape, *words))
    says = predict_speed(shape, costs)
    row = {"hosts": len(hosts), "env_runners": runners, "envs": shape.envs}
    row |= {"bytes_per_agent_step": round(costs.rollout_bytes), "cable_mbit_per_s": cable or ""}
    row |= {"measured": round(got["agent_steps_per_s"], 1), "predicted": round(says, 1)}
    row |= {"predicted_over_measured": round(says / got["agent_steps_per_s"], 3)}
    print("  " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row | {"driver_s": got["driver_s"], "terms_s": compute_terms(shape, costs)}


def summarize(rounds: list[dict]) -> dict[str, list[float]]:
    """Return the lines of the table: label -> one number per round, the costs first, then the model beside runs."""
    lines = {
        "env runner alone, sleeping game: us per step": [1e6 * r["act_s"] for r in rounds],
        "and per env": [1e6 * r["env_s"] for r in rounds],
        "env runner alone, Assault: us per step": [1e6 * r["assault_s"][0] for r in rounds],
        "and per env of Assault": [1e6 * r["assault_s"][1] for r in rounds],
        "calls, ms per update": [1e3 * r["calls"]["round_s"] for r in rounds],
        "calls, ms per update and env runner": [1e3 * r["calls"]["runner_s"] for r in rounds],
        "of which the training process computes": [1e3 * r["calls"]["driver_s"] for r in rounds],
        "network, MB/s": [r["network"] / 1e6 for r in rounds],
        f"network, cables of {SLOW_CABLE} Mbit/s, MB/s": [r["slow_network"] / 1e6 for r in rounds],
    }
    for i, row in enumerate(rounds[0]["checks"]):
        name = f"{row['hosts']} hosts, {row['env_runners']} env runners, {row['bytes_per_agent_step']} bytes per step"
        name += f", {row['cable_mbit_per_s']} Mbit/s" if row["cable_mbit_per_s"] else ""
        for key in ("measured", "predicted", "predicted_over_measured"):
            lines[f"{name}: {key}"] = [r["checks"][i][key] for r in rounds]
    return lines


def write_rows(rows: list[dict], path: Path) -> None:
    """Write rows as a CSV file."""
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = make_parser(__doc__, "scaling.json")
    parser.add_argument("--transfer", metavar="ADDRESS", help="a part of it, on the head")
    parser.add_argument(
        "--predict", type=parse_input_path, metavar="JSON", help="predict from what was measured before"
    )
    settings = parser.parse_args()
    if settings.transfer:
        measure_transfers(settings.transfer)
        return
    folder = settings.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    if settings.predict:
        try:
            rows = list_predictions(read_json(settings.predict, dict).get("summary", {}))
        except KeyError:
            parser.error(f"--predict {settings.predict}: this benchmark did not write it")
        print(format_markdown(rows))
        write_rows(rows, folder / "predictions.csv")
        return
    if why := explain_missing():
        parser.error(why)
    result, num_rounds = begin(), 1 if settings.quick else settings.rounds

    def take_round(number: int) -> dict:
        print(f"round {number + 1}", flush=True)
        return measure_round(folder, settings.quick)

    measure_rounds(result, num_rounds, take_round, summarize, settings.out)
    write_rows(list_predictions(result["summary"]), folder / "predictions.csv")


if __name__ == "__main__":
    run_main(main)
