"""Where does the time of a network go? Forward and backward of a minibatch of 256, by operation and shape.

python results/2026-11-28_sizes/profile_networks.py impala bfloat16        # the name of a file in experiments/model
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from torch.profiler import ProfilerActivity, profile

from benchmarks.models import made, train
from environments.threads import configure_threads

REPEATS = 3

configure_threads()
agent, obs = made(*sys.argv[1:])
for _ in range(2):
    train(agent, obs)
with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiled:
    for _ in range(REPEATS):
        train(agent, obs)
averages = profiled.key_averages(group_by_input_shape=True)
total = sum(event.self_cpu_time_total for event in averages)
for event in sorted(averages, key=lambda event: -event.self_cpu_time_total)[:24]:
    milliseconds, share = event.self_cpu_time_total / 1000 / REPEATS, event.self_cpu_time_total / total
    shapes = " ".join(str(shape) for shape in event.input_shapes[:3] if shape)
    print(f"{event.key:40.40} {milliseconds:7.1f} ms {share:5.1%} {event.count // REPEATS:3} times {shapes}")
