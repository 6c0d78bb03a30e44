"""A command on a Ray of three nodes, one of which loses its power: `python on_nodes.py SECONDS WORDS...`

The head has no CPU, the others one each. SECONDS after the first checkpoint below ./outputs one of these, with its
trial, is killed with kill -9, raylet and workers: a power cut.
"""

import contextlib
import sys
import threading
import time
from pathlib import Path

import psutil
import ray
from ray.cluster_utils import Cluster

import run  # from the PYTHONPATH, which workers on all nodes inherit


def main(after_s: float, words: list[str]) -> int:
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    victim, _ = cluster.add_node(num_cpus=1), cluster.add_node(num_cpus=1)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    (raylet,) = victim.all_processes["raylet"]
    power = psutil.Process(raylet.process.pid)

    def cut() -> None:
        while not list(Path("outputs").glob("searches/*/trials/*/checkpoints/previous")):
            time.sleep(0.05)
        time.sleep(after_s)
        below, trials = power.children(recursive=True), []
        for process in [power, *below]:
            with contextlib.suppress(psutil.NoSuchProcess):
                trials += [process] if process.name().startswith("ray::Trai") else []
                process.kill()
        print(f"trials killed: {len(trials)}", flush=True)

    thread = threading.Thread(target=cut, daemon=True)
    thread.start()
    code = run.main(words)
    thread.join(timeout=60)
    ray.shutdown()
    cluster.shutdown()
    return code


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]), sys.argv[2:]))
