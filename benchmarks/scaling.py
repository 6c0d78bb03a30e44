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
import json
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
from benchmarks.hosts import Host, missing
from benchmarks.light_cluster import PORT, Run, cluster_of, slow_down
from benchmarks.rounds import ROOT, alone, begin, command_line, keep, readable, run_main
from benchmarks.scaling_model import Costs, Shape, markdown, predicted, predictions, terms
from cluster.dry_run import count_rollout_bytes, count_weight_bytes
from cluster.plan import make_plan
from rollouts.rollout import RolloutData
from rollouts.runner import VectorEnvRunner
from runs.build import build_config

# What it takes, each alone --------------------------------------------------------------------------------------------

SLOW = ("env=cartpole", "env.id=benchmarks.slow_games:SlowerGame-v0", "model.hidden=[8,8]")
WIDE = tuple(word.replace(":Slower", ":WideSlower") for word in SLOW)
REPEATS = 7
PAUSE_S = 0.1  # a learner waits for its env runners, and caches and cores are cold then: it is measured like that
OBJECT = 20 * 2**20  # bytes


@contextmanager
def one_core() -> Iterator[None]:
    """As many as an env runner has."""
    all_of_them = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(all_of_them)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, all_of_them)


def median_s(work, pause_s: float = 0.0) -> float:
    """Of repetitions with pauses between them, after one that does not count."""
    durations = []
    for _ in range(1 + REPEATS):
        time.sleep(pause_s)
        start = time.perf_counter()
        work()
        durations.append(time.perf_counter() - start)
    return statistics.median(durations[1:])


def runner_alone(horizon: int, num_envs: int, *words: str) -> VectorEnvRunner:
    """An env runner of its own, in this process."""
    minibatch = f"algo.minibatch_size={horizon * num_envs}"  # irrelevant here, and never too large
    words = (*words, f"algo.horizon={horizon}", f"algo.num_envs={num_envs}", minibatch)
    return VectorEnvRunner(config=build_config(make_plan(run.read_experiment(list(words))[0])))


def playing_alone(*words: str, horizon: int = 16, counts: tuple[int, int] = (1, 4)) -> tuple[float, float]:
    """act_s and env_s: the line through what a step takes with few and with more envs."""
    with one_core():
        few, many = (median_s(runner_alone(horizon, n, *words).sample) / horizon for n in counts)
    env_s = (many - few) / (counts[1] - counts[0])
    return few - counts[0] * env_s, env_s


def learning_alone(shape: Shape, *words: str) -> float:
    """learn_s: one update from as many rollouts, of the same sizes; a second core would not help such networks."""
    runner = runner_alone(shape.horizon, shape.envs // shape.runners, *words)
    config = build_config(make_plan(run.read_experiment([*words, *sizes(shape)])[0]))
    rollouts = RolloutData([runner.sample()] * shape.runners)
    with one_core():
        learner = config.build_learner(spaces=runner.get_spaces())
        return median_s(lambda: learner.update(training_data=rollouts, timesteps={PROGRESS: 0.0}), PAUSE_S)


def network_alone(hosts: list[Host], folder: Path) -> float:
    """Bytes/s at which Ray brings one large object from another host to the first."""
    log = folder / "network.txt"
    words = [sys.executable, "-m", "benchmarks.scaling", "--transfer", f"{hosts[0].address}:{PORT}"]
    if hosts[0].start(*words, log=log, cwd=ROOT).wait():
        raise SystemExit(log.read_text())
    return float(log.read_text().splitlines()[-1])


def zeros() -> np.ndarray:
    """The large object: uint8 [OBJECT]."""
    return np.zeros(OBJECT, np.uint8)


def transfer(head: str) -> None:
    """`--transfer`, on the head: print the median bytes/s at which Ray brings an object from another node."""
    ray.init(address=head, log_to_driver=False)
    here = ray.get_runtime_context().get_node_id()
    (there, *_) = (node["NodeID"] for node in ray.nodes() if node["Alive"] and node["NodeID"] != here)
    on = NodeAffinitySchedulingStrategy(there, soft=False)
    made = ray.remote(zeros).options(num_cpus=0, scheduling_strategy=on)
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


def sizes(shape: Shape) -> list[str]:
    """As one types them; one minibatch per epoch."""
    steps = shape.envs * shape.horizon
    return [f"algo.horizon={shape.horizon}", f"algo.num_envs={shape.envs}", f"algo.minibatch_size={steps}"]


def measured(hosts: list[Host], folder: Path, shape: Shape, *words: str) -> dict:
    """Of a run's updates, a row of progress.csv each: agent_steps_per_s and update_s, the median, whatever else the
    machine does in some of them; driver_s, what the training process computes in one.
    """
    steps = shape.envs * shape.horizon
    words = (*words, *sizes(shape), f"cluster.num_env_runners={shape.runners}")
    words += (f"cluster.cpus_per_runner={len(hosts) / shape.runners}", "report_every=1")
    going = Run(hosts, folder, *words, f"stop.agent_steps={(SKIPPED + COUNTED + 1) * steps}")
    first = len(going.after(SKIPPED))
    (driver,) = (p for p in hosts[0].processes() if p.cmdline() and p.cmdline()[0].startswith("ray::TrainingProcess"))
    before = cpu_s(driver)
    last = len(going.after(SKIPPED + COUNTED))
    driver_s = (cpu_s(driver) - before) / (last - first)
    speeds = [float(row["agent_steps_per_s"]) for row in going.end()[SKIPPED : SKIPPED + COUNTED]]
    steps_per_s = statistics.median(speeds)
    return {"agent_steps_per_s": steps_per_s, "update_s": steps / steps_per_s, "driver_s": driver_s}


def cpu_s(process: psutil.Process) -> float:
    """Seconds that it has computed, all threads."""
    times = process.cpu_times()
    return times.user + times.system


class Line(NamedTuple):
    """Least squares."""

    start: float
    slope: float

    @classmethod
    def through(cls, x: Sequence[float], y: Sequence[float]) -> "Line":
        slope, start = np.polyfit(x, y, 1)
        return cls(float(start), float(slope))


def calls_alone(hosts: list[Host], counts: list[int], costs: Costs) -> dict:
    """round_s and runner_s: what is neither playing nor learning of the updates of one env per env runner.

    Env runners that have few cores wait for each other, so runner_s is what it is on this machine; `driver_s` is what
    the training process computes per update and env runner, learning aside, which more cores do not take away.
    """
    found = {}
    for n in counts:
        shape = Shape(n, n, HORIZON)
        got = alone(lambda folder, shape=shape: measured(hosts, folder, shape, *SLOW))
        learn_s = learning_alone(shape, *SLOW)
        rest = got["update_s"] - terms(shape, costs)["play"] - learn_s
        found[n] = {"rest_s": rest, "driver_s": got["driver_s"] - learn_s, "update_s": got["update_s"]}
        print(f"  calls, {n} env runners: {1000 * rest:.1f} of {1000 * got['update_s']:.1f} ms per update", flush=True)
    wall, computed = (Line.through(counts, [found[n][key] for n in counts]) for key in ("rest_s", "driver_s"))
    return {"round_s": wall.start, "runner_s": wall.slope, "driver_s": computed.slope, "runs": found}


# Rounds ---------------------------------------------------------------------------------------------------------------

PER_HOST = (1, 2, 4)  # env runners
SLOW_CABLE = 20  # million bits/s


def one_round(folder: Path, quick: bool) -> dict:
    """Costs alone, then a cluster of one, two and three hosts, and three with slow cables."""
    act_s, env_s = playing_alone(*SLOW)
    wide = playing_alone(*WIDE)
    assault = playing_alone("env=assault", horizon=128, counts=(1, 8))
    found = {"act_s": act_s, "env_s": env_s, "wide_s": wide, "assault_s": assault, "checks": []}
    bare = Costs(act_s, env_s, 0.0, 0.0, 0.0, bytes_of(SLOW), weights_of(SLOW), 1.0)
    for num_hosts in (1, 2, 3):
        with cluster_of(num_hosts, folder) as hosts:
            if num_hosts == 1:
                calls = calls_alone(hosts, [1, 4] if quick else [1, 2, 4, 8], bare)
                found["calls"] = calls
                costs = bare._replace(round_s=calls["round_s"], runner_s=calls["runner_s"], network=float("inf"))
            else:
                costs = costs._replace(network=network_alone(hosts, folder))
                found["network"] = costs.network
            for n in PER_HOST[-1:] if quick else PER_HOST:
                found["checks"].append(check(hosts, n * num_hosts, SLOW, costs))
            if num_hosts == 3:
                act_s, env_s = wide
                costs = costs._replace(
                    act_s=act_s, env_s=env_s, rollout_bytes=bytes_of(WIDE), weight_bytes=weights_of(WIDE)
                )
                found["checks"].append(check(hosts, 12, WIDE, costs))
                for host in hosts:
                    slow_down(host, SLOW_CABLE)
                costs = costs._replace(network=network_alone(hosts, folder))
                found["slow_network"] = costs.network
                for runners in (6, 12):
                    found["checks"].append(check(hosts, runners, WIDE, costs, SLOW_CABLE))
    return found


def bytes_of(words: tuple[str, ...]) -> float:
    """B, bytes of a rollout per agent step at this horizon."""
    settings, _ = run.read_experiment([*words, f"algo.horizon={HORIZON}", "algo.minibatch_size=16"])
    return float(count_rollout_bytes(build_config(make_plan(settings))))


def weights_of(words: tuple[str, ...]) -> float:
    """G, bytes."""
    return float(count_weight_bytes(build_config(make_plan(run.read_experiment(list(words))[0]))))


def check(hosts: list[Host], runners: int, words: tuple[str, ...], costs: Costs, cable: int | None = None) -> dict:
    """A run, and what the model says of it."""
    away = (len(hosts) - 1) / len(hosts)
    shape = Shape(runners, ENVS_PER_RUNNER * runners, HORIZON, away, len(hosts) - 1)
    costs = costs._replace(learn_s=learning_alone(shape, *words))
    got = alone(lambda folder: measured(hosts, folder, shape, *words))
    says = predicted(shape, costs)
    row = {"hosts": len(hosts), "env_runners": runners, "envs": shape.envs}
    row |= {"bytes_per_agent_step": round(costs.rollout_bytes), "cable_mbit_per_s": cable or ""}
    row |= {"measured": round(got["agent_steps_per_s"], 1), "predicted": round(says, 1)}
    row |= {"predicted_over_measured": round(says / got["agent_steps_per_s"], 3)}
    print("  " + ", ".join(f"{key} {value}" for key, value in row.items()), flush=True)
    return row | {"driver_s": got["driver_s"], "terms_s": terms(shape, costs)}


def summary(rounds: list[dict]) -> dict[str, list[float]]:
    """What was measured alone, and how far the model is off."""
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


def write(rows: list[dict], path: Path) -> None:
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> None:
    parser = command_line(__doc__, "scaling.json")
    parser.add_argument("--transfer", metavar="ADDRESS", help="a part of it, on the head")
    parser.add_argument("--predict", type=readable, metavar="JSON", help="predict from what was measured before")
    settings = parser.parse_args()
    if settings.transfer:
        transfer(settings.transfer)
        return
    rounds, folder = [], settings.out.parent
    folder.mkdir(parents=True, exist_ok=True)
    if settings.predict:
        rows = predictions(json.loads(settings.predict.read_text())["summary"])
        print(markdown(rows))
        write(rows, folder / "predictions.csv")
        return
    if why := missing():
        parser.error(why)
    result = begin()
    for i in range(1 if settings.quick else settings.rounds):
        print(f"round {i + 1}", flush=True)
        rounds.append(one_round(folder, settings.quick))
        result |= {"rounds": rounds, "summary": summary(rounds)}
        keep(result, settings.out)  # after each: the next may fail
    write(predictions(result["summary"]), folder / "predictions.csv")


if __name__ == "__main__":
    run_main(main)
