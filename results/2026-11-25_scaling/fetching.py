"""One after the other, or at once? 16 objects of 270 kB from two nodes, on the head of a cluster of three hosts.

python fetching.py HEAD:6379
"""

import statistics
import sys
import time

import numpy as np
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

ray.init(address=sys.argv[1], log_to_driver=False)
here = ray.get_runtime_context().get_node_id()
there = [node["NodeID"] for node in ray.nodes() if node["NodeID"] != here]
make = [
    ray.remote(lambda: np.zeros(270_000, np.uint8)).options(
        num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False)
    )
    for node in there
]
durations = {"one after the other": [], "at once": []}
for _ in range(20):
    for how in durations:
        refs = [make[i % len(make)].remote() for i in range(16)]
        ray.wait(refs, num_returns=16, fetch_local=False)
        time.sleep(0.1)
        start = time.perf_counter()
        if how == "at once":
            ray.get(refs)
        else:
            for ref in refs:
                ray.get(ref)
        durations[how].append(1000 * (time.perf_counter() - start))
        del refs
print({how: f"{statistics.median(ms):.1f} ms" for how, ms in durations.items()})
