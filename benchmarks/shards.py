"""How fast does a learner learn where others compute too? OpenMP, shards and one thread, beside busy neighbours.

    python -m benchmarks.shards                     # 0, 1 and 2 neighbours, 3 minutes on two cores
    python -m benchmarks.shards --model impala --rows 80 --neighbours 0 1

    in turn: each way takes some steps on the same minibatch (forward, backward, Adam)    ->    samples/s, median

A neighbour is a process that counts, in a session of its own, as another user's would be. The cores are those that
this process may use. What the ways are: custom_models/shards.py.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in run.py
os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as in cluster/connection.py

import torch

from benchmarks.models import made
from benchmarks.rounds import machine, writable
from custom_models.shards import Shards
from environments.threads import configure_threads

WAYS = ("openmp", "shards", "one thread")
DTYPES = ("bfloat16", "float32")
STEPS = 6  # of one turn
NEIGHBOUR = [sys.executable, "-c", "while True: pass"]


class Learner:
    """A network, a minibatch and an optimizer.

    Args:
        model, dtype: settings of the network.
        rows: agent steps of the minibatch.
    """

    def __init__(self, model: str, dtype: str, rows: int):
        self.net, obs = made(model, dtype)
        obs = obs.flatten(0, 1)
        self.obs = obs[torch.arange(rows) % len(obs)]
        self.optimizer = torch.optim.Adam(self.net.parameters(), 1e-5, foreach=True)
        self.num_threads = configure_threads()
        self.shards = Shards(self.num_threads)

    def step(self, way: str) -> None:
        """Take one step in one of the WAYS."""
        torch.set_num_threads(1 if way == "one thread" else self.num_threads)
        packed = self.net.pack(self.shards if way == "shards" else None)
        policy, values = self.net.compute_policy_and_value(self.obs, packed)
        (policy.square().mean() + values.square().mean()).backward()
        self.optimizer.step()
        self.optimizer.zero_grad()


def measure(learner: Learner, seconds: float) -> dict[str, list[float]]:
    """Return the samples/s of each way, turn by turn, for so many seconds."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(taken[WAYS[-1]]) < 3:
        for way, speeds in taken.items():
            learner.step(way)
            start = time.perf_counter()
            for _ in range(STEPS):
                learner.step(way)
            speeds.append(STEPS * len(learner.obs) / (time.perf_counter() - start))
    return taken


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nature_cnn")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--rows", type=int, default=256, help="of the minibatch")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=float, default=30, help="for each number of neighbours and dtype")
    parser.add_argument("--out", type=writable, default=str(Path("bench_out") / "shards.json"))
    settings = parser.parse_args()
    result: dict = {"machine": machine(), "rounds": []}
    print("| neighbours | dtype | " + " | ".join(WAYS) + " | shards / openmp |\n|---:|---|---:|---:|---:|---:|")
    for dtype in settings.dtypes:
        learner = Learner(settings.model, dtype, settings.rows)
        for neighbours in settings.neighbours:
            busy = [subprocess.Popen(NEIGHBOUR, start_new_session=True) for _ in range(neighbours)]
            try:
                taken = measure(learner, settings.seconds)
            finally:
                for one in busy:
                    one.kill()
            middle = {way: statistics.median(speeds) for way, speeds in taken.items()}
            ratio = statistics.median(a / b for a, b in zip(taken["shards"], taken["openmp"], strict=True))
            cells = [str(neighbours), dtype, *(f"{middle[way]:,.0f}" for way in WAYS), f"{ratio:.2f}"]
            print("| " + " | ".join(cells) + " |", flush=True)
            result["rounds"].append({"neighbours": neighbours, "dtype": dtype, "rows": settings.rows} | taken)
    settings.out.parent.mkdir(parents=True, exist_ok=True)
    settings.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
