"""How fast does a process learn and act where others compute too? `cluster.threads`, beside busy neighbours.

    python -m benchmarks.shards                     # 0, 1 and 2 neighbours, 6 minutes on two cores
    python -m benchmarks.shards --work learn --model impala --rows 80 --neighbours 0 1

    each way in turn: some steps on the same minibatch (forward, backward, Adam), or some steps of as many games
    -> samples/s, or agent steps/s, median

openmp: all threads divide each operation. one thread: no division. shards: parts of the minibatch
(custom_models/shards.py) by all threads or by one, and acting (rollouts/device.py) with all threads or with one,
whichever is faster: before each line, 48 calls that are not measured choose it; a run needs up to 256. A neighbour is a
process that counts, in a session of its own, as another user's would be. The cores are those that this process may use.
"""

import argparse
import itertools
import os
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # as in run.py
os.environ.setdefault("GOMP_SPINCOUNT", "4000")  # as in cluster/connection.py

import torch

from benchmarks.models import make_network
from benchmarks.rounds import describe_machine, parse_count, parse_output_path, parse_positive, run_main, write_json
from custom_models import faster_of_two
from custom_models.shards import Shards
from environments.threads import configure_threads
from rollouts.device import CPU, Acting

WAYS = ("openmp", "shards", "one thread")
DTYPES = ("bfloat16", "float32")
COUNT = "import os; parent = os.getppid()\nwhile os.getppid() == parent: sum(range(10**5))"  # while its parent lives
SETTLING = 24  # calls
NEIGHBOUR = [sys.executable, "-c", COUNT]


class Learner:
    """A network, a minibatch and an optimizer.

    Args:
        model, dtype: settings of the network.
        rows: agent steps of the minibatch.
    """

    steps = 6  # of one turn

    def __init__(self, model: str, dtype: str, rows: int):
        self.net, self.obs = make_rows(model, dtype, rows)
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


class Actor:
    """A network that acts; `rows` is the number of games."""

    steps = 100  # of one turn

    def __init__(self, model: str, dtype: str, rows: int):
        self.net, self.obs = make_rows(model, dtype, rows)
        self.num_threads, self.state = configure_threads(), self.net.make_initial_state(rows)
        self.acting = {"openmp": Acting(CPU), "shards": Acting(CPU, tries_one_thread=True), "one thread": Acting(CPU)}
        self.packed = self.net.pack()

    def step(self, way: str) -> None:
        """Act once in one of the WAYS."""
        torch.set_num_threads(1 if way == "one thread" else self.num_threads)
        with torch.inference_mode():
            self.acting[way].act(self.net, self.obs, self.packed, self.state)


def make_rows(model: str, dtype: str, rows: int) -> tuple[Any, torch.Tensor]:
    """Return a network and `rows` observations [rows, ...]."""
    net, obs = make_network(model, dtype)
    obs = obs.flatten(0, 1)
    return net, obs[torch.arange(rows) % len(obs)]


def settle(subject: Learner | Actor) -> None:
    """Let `shards` find out whether all threads or one of them is faster, within fewer calls than in a run."""
    period, faster_of_two.PERIOD = faster_of_two.PERIOD, SETTLING
    for _ in range(2 * SETTLING):
        subject.step("shards")
    faster_of_two.PERIOD = period


def measure(subject: Learner | Actor, seconds: float) -> dict[str, list[float]]:
    """Return the rows/s of each way, one number per turn, measured for `seconds`."""
    taken: dict[str, list[float]] = {way: [] for way in WAYS}
    end = time.monotonic() + seconds
    while time.monotonic() < end or len(taken[WAYS[-1]]) < 3:
        for way, speeds in taken.items():
            subject.step(way)
            start = time.perf_counter()
            for _ in range(subject.steps):
                subject.step(way)
            speeds.append(subject.steps * len(subject.obs) / (time.perf_counter() - start))
    return taken


KINDS = {"learn": (Learner, 256), "act": (Actor, 8)}


def parse_neighbours(text: str) -> int:
    """Return a number of busy programs: 0 or more."""
    if text.isdecimal():
        return int(text)
    raise argparse.ArgumentTypeError(f"{text}: a whole number from 0 on")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="nature_cnn")
    parser.add_argument("--dtypes", nargs="+", choices=DTYPES, default=DTYPES)
    parser.add_argument("--work", nargs="+", choices=KINDS, default=list(KINDS))
    parser.add_argument(
        "--rows", type=parse_count, help="rows of a minibatch (default 256), or games that act (default 8)"
    )
    parser.add_argument("--neighbours", type=parse_neighbours, metavar="N", nargs="+", default=[0, 1, 2])
    parser.add_argument("--seconds", type=parse_positive, default=30, help="of each line of the table")
    parser.add_argument("--out", type=parse_output_path, default=str(Path("bench_out") / "shards.json"))
    settings = parser.parse_args()
    if "learn" in settings.work and make_network(settings.model, "float32")[0].recurrent:
        parser.error(f"--model {settings.model}: an LSTM does not learn in single minibatches; type --work act")
    result: dict = {"machine": describe_machine(), "rounds": []}
    columns = ("work", "rows", "dtype", "neighbours", *WAYS, "shards / openmp")
    print("| " + " | ".join(columns) + " |\n|---|---:|---|" + "---:|" * (len(columns) - 3))
    for work, dtype in itertools.product(settings.work, settings.dtypes):
        kind, usual_rows = KINDS[work]
        rows = settings.rows or usual_rows
        for neighbours in settings.neighbours:
            subject = kind(settings.model, dtype, rows)
            busy = [subprocess.Popen(NEIGHBOUR, start_new_session=True) for _ in range(neighbours)]
            try:
                settle(subject)
                taken = measure(subject, settings.seconds)
            finally:
                for one in busy:
                    one.kill()
                    one.wait()
            middle = {way: statistics.median(speeds) for way, speeds in taken.items()}
            ratio = statistics.median(a / b for a, b in zip(taken["shards"], taken["openmp"], strict=True))
            cells = [work, str(rows), dtype, str(neighbours), *(f"{middle[way]:,.0f}" for way in WAYS), f"{ratio:.2f}"]
            print("| " + " | ".join(cells) + " |", flush=True)
            row = {"work": work, "rows": rows, "dtype": dtype, "neighbours": neighbours}
            result["rounds"].append(row | taken)
            write_json(result, settings.out)  # after each line: a later one may fail


if __name__ == "__main__":
    run_main(main)
