"""What the windows of claims/measures.py say of ten runs of PG and A2C, games spread over their row or at its end.

PYTHONPATH=. python results/2026-11-30_claims_windows/windows.py outputs/grids    after python -m claims a2c_variance
"""

import sys
from pathlib import Path

import numpy as np

from claims import measures
from claims.training import read_seeds
from verdicts.two_arms import t_welch

ARMS = {"pg": "claims_cartpole_pg/pg", "pg_pure": "claims_cartpole_pg/pg_pure", "a2c": "claims_cartpole_a2c/a2c"}
compute_spread_windows = measures.compute_windows


def compute_ending_windows(progress: measures.Progress, until: int, windows: int = measures.WINDOWS) -> np.ndarray:
    """The windows as they were until commit e2c5525: all games of a row count where it ends."""
    steps, score = progress["agent_steps"], progress["recent_return_mean"]
    games = np.diff(progress["episodes"], prepend=0.0)
    used = (steps <= until) & (games > 0) & np.isfinite(score)
    window = np.minimum(np.ceil(steps[used] * windows / until).astype(int) - 1, windows - 1)
    played = np.bincount(window, games[used], windows)
    return np.bincount(window, games[used] * score[used], windows) / played


tables = {}
for name, compute in (("at the end of the row", compute_ending_windows), ("spread", compute_spread_windows)):
    measures.compute_windows = compute
    for arm, run in ARMS.items():
        tables[name, arm] = measures.measure_arm(read_seeds(Path(sys.argv[1]) / run, 10), 50_000, None)
    for arm in ARMS:
        means = {key: f"{values.mean():.4g}" for key, values in tables[name, arm].items() if key != "pace"}
        print(name, arm, means)
    for other in ("pg_pure", "pg"):
        for key in ("area", "oscillation"):
            found = t_welch(tables[name, "a2c"][key], tables[name, other][key])
            print(name, "a2c -", other, key, "{:+.3f}, 95 % {:+.3f} to {:+.3f}, p {:.4f}".format(*found))
