"""The area under each learning curve of curves.csv beside it, and what whole returns cost.

python results/2026-12-01_pg_whole_returns/areas.py        from the root of the project
"""

import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

ROOM = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOM.parent.parent))
from verdicts.two_arms import t_paired  # noqa: E402

curves = defaultdict(list)
with (ROOM / "curves.csv").open() as file:
    for row in csv.DictReader(file):
        if row["episode_return_mean"]:
            point = float(row["agent_steps"]), float(row["episode_return_mean"])
            curves[row["label"], int(row["seed"])].append(point)

areas = defaultdict(list)  # label -> the mean score over 50,000 agent steps, of seeds 1 to 10
for label, seed in sorted(curves):
    steps, scores = np.array(curves[label, seed]).T
    areas[label].append(np.interp(np.arange(1_000, 50_001, 1_000), steps, scores).mean())

for label, of_seeds in areas.items():
    print(f"{label}: {np.mean(of_seeds):.1f}")
for gamma in (0.99, 1.0):
    effect, low, high, p = t_paired(areas[f"pg_gamma_{gamma}"], areas[f"whole_returns_gamma_{gamma}"])
    interval = f"95 % {low:+.1f} to {high:+.1f}, p {p:.3f}"
    print(f"gamma {gamma}: what comes after, minus whole returns {effect:+.1f}, {interval}")
