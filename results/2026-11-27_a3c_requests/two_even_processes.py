"""A3C's own code with two processes of equal speed that answer in turn, played inside of one process. See README.md.

    OMP_WAIT_POLICY=PASSIVE PYTHONPATH=. python two_even_processes.py \
        <curves.jsonl> <Ray's address> <agent steps> <per row> <seeds, with commas> <overrides>

It is started in the checkout of a version. A request is played when it is its turn to be answered, with the weights it
was sent, so each gradient has the staleness that two processes of equal speed would give it, and nothing depends on the
machine.
"""

import json
import sys
from types import SimpleNamespace
from typing import Any

import ray
import torch

import run
from algorithms import a3c
from cluster.plan import make_plan
from environments import threads
from runs.build import build_config

out, address, agent_steps, every = sys.argv[1], sys.argv[2], int(sys.argv[3]), sys.argv[4]
seeds, overrides = sys.argv[5].split(","), sys.argv[6:]
has_groups = hasattr(a3c, "list_groups")  # the version after the change
ray.init(address=address, log_to_driver=False)
threads.count_threads = lambda: 1


class Process:
    """Stands for the actor of a process: keeps its requests until they are played."""

    def __init__(self, runner: Any):
        self.runner, self.waiting = runner, []
        self.play = runner.play_fragments if has_groups else runner.play_fragment
        self.play_fragments = self.play_fragment = self

    def remote(self, *request: Any) -> object:
        self.waiting.append((object(), request))
        return self.waiting[-1][0]


def make_config(seed: str, processes: int) -> Any:
    words = [f"cluster.num_env_runners={processes}", "cluster.cpus_per_runner=0.5", f"report_every={every}"]
    return build_config(make_plan(run.read_experiment([*overrides, *words, f"seed={seed}"])[0]))


def train(seed: str) -> list[tuple[float, ...]]:
    """Return agent steps, mean score of the last 100 games, and staleness, row by row."""
    algorithm: Any = make_config(seed, 0).build_algo()
    torch.set_num_threads(1)
    config = make_config(seed, 2)
    processes = {number: Process(config.env_runner_cls(config=config, worker_index=number)) for number in (1, 2)}
    algorithm.config = algorithm.config.copy(copy_frozen=False)
    algorithm.config.num_env_runners = 2
    algorithm.get_actors = lambda: processes
    turns, answers = [0], {}

    def play_next() -> tuple[Any, int]:
        turns[0] += 1
        number = 1 + turns[0] % 2
        request, arguments = processes[number].waiting.pop(0)
        answers[request] = processes[number].play(*arguments)
        return request, number

    def take_answers() -> list[tuple[Any, int]]:
        request, number = play_next()
        del algorithm.requests.under_way[request]
        return [(answers.pop(request), number)]

    def wait(requests: list, timeout: float, **_: Any) -> tuple[list, list]:
        request = play_next()[0] if timeout else None
        return [request] if timeout else [], [other for other in requests if other is not request]

    if has_groups:
        algorithm.requests.take_answers = take_answers
    a3c.ray = SimpleNamespace(put=lambda weights: weights, get=answers.pop, wait=wait, ObjectRef=ray.ObjectRef)
    curve = []
    while algorithm.progress.agent_steps < agent_steps:
        row = algorithm.train()["row"]
        curve.append((row["agent_steps"], row["episode_return_mean"], row["staleness"]))
    algorithm.stop()
    return curve


for seed in seeds:
    line = {"version": "new" if has_groups else "old", "overrides": overrides, "seed": int(seed), "curve": train(seed)}
    with open(out, "a") as file:
        file.write(json.dumps(line) + "\n")
