"""Two versions of A3C in turn on one Ray: agent steps/s, CPU time per agent step, staleness. See README.md.

    OMP_WAIT_POLICY=PASSIVE GOMP_SPINCOUNT=4000 PYTHONPATH=. python take_turns.py <name> <all names, with commas> \
        <rows.jsonl> <Ray's address> <seconds> <rounds> <overrides>

It is started in the checkout of its version, once per name, at the same time; each builds its algorithm, then they take
turns. CPU time is that of the training process and of its worker processes, not of Ray's own.
"""

import json
import os
import sys
import time
from pathlib import Path

import psutil
import ray
import torch

import run
from cluster.plan import make_plan
from runs.build import build_config

name, names, out, address = sys.argv[1], sys.argv[2].split(","), sys.argv[3], sys.argv[4]
seconds, rounds, overrides = float(sys.argv[5]), int(sys.argv[6]), sys.argv[7:]


def wait_for(what: str) -> None:
    """Say that this version has got so far, and wait for the others."""
    Path(f"{out}.{name}.{what}").touch()
    while not all(Path(f"{out}.{other}.{what}").exists() for other in names):
        time.sleep(0.5)


def whose_turn() -> str:
    """Return the version whose turn it is, and the round."""
    file = Path(f"{out}.turn")
    return file.read_text() if file.exists() else f"{names[0]}:0"


ray.init(address=address, log_to_driver=False, namespace=name + out.replace("/", "_"))
algorithm = build_config(make_plan(run.read_experiment(overrides)[0])).build_algo()
torch.set_num_threads(1)
workers = ray.get([actor.apply.remote(lambda _: os.getpid()) for actor in algorithm.get_actors().values()])
processes = [psutil.Process(pid) for pid in (os.getpid(), *workers)]
wait_for("built")
algorithm.train()
wait_for("warm")
for number in range(rounds):
    while whose_turn() != f"{name}:{number}":
        time.sleep(0.05)
    algorithm.train()
    steps, cpu, began = algorithm.progress.agent_steps, [sum(p.cpu_times()[:2]) for p in processes], time.perf_counter()
    staleness = []
    while time.perf_counter() - began < seconds:
        staleness.append(algorithm.train()["row"]["staleness"])
    took, steps = time.perf_counter() - began, algorithm.progress.agent_steps - steps
    spent = [sum(p.cpu_times()[:2]) - before for p, before in zip(processes, cpu, strict=True)]
    row = {"name": name, "round": number, "steps_per_s": steps / took, "staleness": sum(staleness) / len(staleness)}
    row |= {"centre_ms": 1e3 * spent[0] / steps, "workers_ms": 1e3 * sum(spent[1:]) / steps, "load": os.getloadavg()[0]}
    with open(out, "a") as file:
        file.write(json.dumps(row) + "\n")
    place = names.index(name) + 1
    Path(f"{out}.turn.{name}").write_text(f"{names[place % len(names)]}:{number + place // len(names)}")
    Path(f"{out}.turn.{name}").replace(f"{out}.turn")
algorithm.stop()
