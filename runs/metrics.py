"""Rows of progress.csv as Prometheus metrics: `ray_rl_episode_return_mean{run, algo, env, seed}` and so on.

    row -> gauges in the driver -> Ray's metrics agent -> Prometheus -> the Metrics tab of Ray's dashboard

Ray hands them on every 10 seconds; they end with the driver. deploy/monitoring.py draws them.
"""

import math
from typing import Any

from ray.util.metrics import Gauge

from runs.cluster import LOCAL

TAGS = ("run", "algo", "env", "seed")


class Metrics:
    """Every column of the rows as a gauge; none where nobody could see them.

    Args:
        settings: of the run or search.
    """

    def __init__(self, settings: dict):
        self.seen = settings["cluster"]["address"] != LOCAL or settings["dashboard"]
        self.tags = {"algo": settings["algo"]["name"], "env": settings["env"]["name"]}
        self.gauges: dict[str, Gauge] = {}

    def report(self, run: str, seed: int, row: dict[str, Any]) -> None:
        """Show a new row of a run."""
        for name, value in row.items() if self.seen else ():
            if math.isfinite(value):
                if name not in self.gauges:
                    self.gauges[name] = Gauge(f"rl_{name}", f"{name} of progress.csv", TAGS)
                self.gauges[name].set(value, self.tags | {"run": run, "seed": str(seed)})
