"""Rows of progress.csv as Prometheus metrics: `ray_rl_episode_return_mean{run, algo, env, seed}` and so on.

    row -> gauges and counters in the driver -> Ray's metrics agent -> Prometheus -> the Metrics tab of Ray's dashboard

Agent steps and full games are counters, `ray_rl_agent_steps_total`, whose rate Prometheus can be asked for; all else is
a gauge. Ray hands them on every 10 seconds. Gauges end with the driver; counters stay as they are until the agent of
its node ends. deploy/monitoring.py draws them.
"""

import math
from typing import Any

from ray.util.metrics import Counter, Gauge

from cluster.local_ray import LOCAL

TAGS = ("run", "algo", "env", "seed")
GROWS = ("agent_steps", "episodes")


class Metrics:
    """Every column of the rows; none where nobody could see them.

    Args:
        settings: of the run or search.
    """

    def __init__(self, settings: dict):
        self.seen = settings["cluster"]["address"] != LOCAL or settings["dashboard"]
        self.tags = {"algo": settings["algo"]["name"], "env": settings["env"]["name"]}
        self.shown: dict[str, Counter | Gauge] = {}
        self.counted: dict[tuple[str, int, str], float] = {}  # run, seed, column -> how far

    def report(self, run: str, seed: int, row: dict[str, Any]) -> None:
        """Show a new row of a run."""
        for name, value in row.items() if self.seen else ():
            if not math.isfinite(value):
                continue
            if name not in self.shown:
                kind = Counter if name in GROWS else Gauge
                self.shown[name] = kind(f"rl_{name}", f"{name} of progress.csv", TAGS)
            metric, tags = self.shown[name], self.tags | {"run": run, "seed": str(seed)}
            if isinstance(metric, Gauge):
                metric.set(value, tags)
            elif (grown := value - self.counted.get((run, seed, name), 0.0)) > 0:  # not what is played again
                metric.inc(grown, tags)
                self.counted[run, seed, name] = value
