"""Rows of progress.csv as Prometheus metrics: `ray_rl_episode_return_mean{run, algo, env, seed}` and so on.

    row -> gauges and counters in the driver -> Ray's metrics agent -> Prometheus -> the Metrics tab of Ray's dashboard

Agent steps and full games are counters, such as `ray_rl_agent_steps_total`, so that Prometheus can compute their rate.
All other columns are gauges. Ray exports them every 10 seconds. The gauges disappear when the driver ends; the counters
keep their last values until Ray's metrics agent on the driver's node ends. deploy/monitoring.py makes the panels.
"""

import math
from typing import Any

from ray.util.metrics import Counter, Gauge

from cluster.local_ray import LOCAL

TAGS = ("run", "algo", "env", "seed")
COUNTERS = ("agent_steps", "episodes")  # columns that only grow


class Metrics:
    """The columns of progress.csv as metrics of the driver.

    Nothing is exported from a Ray on this machine without a dashboard, because no Prometheus reads it.

    Args:
        settings: the settings of the run or search, or of any arm of a grid.
    """

    def __init__(self, settings: dict):
        self.enabled = settings["cluster"]["address"] != LOCAL or settings["dashboard"]
        self.settings = settings
        self.metrics: dict[str, Counter | Gauge] = {}
        self.totals: dict[tuple[str, int, str], float] = {}  # (run, seed, column) -> the value that its counter has

    def report(self, run: str, seed: int, row: dict[str, Any], settings: dict | None = None) -> None:
        """Set the metrics of a run and a seed to the values of a new row; values that are not finite are left out.

        Args:
            run: the name of the run in the tags.
            seed: of the row.
            row: column of progress.csv -> value.
            settings: of this run, where those of another were given to the constructor: arms of a grid differ.
        """
        names = {group: (settings or self.settings)[group]["name"] for group in ("algo", "env")}
        for name, value in row.items() if self.enabled else ():
            if not math.isfinite(value):
                continue
            if name not in self.metrics:
                kind = Counter if name in COUNTERS else Gauge
                self.metrics[name] = kind(f"rl_{name}", f"{name} of progress.csv", TAGS)
            metric, tags = self.metrics[name], names | {"run": run, "seed": str(seed)}
            if isinstance(metric, Gauge):
                metric.set(value, tags)
            elif (
                grown := value - self.totals.get((run, seed, name), 0.0)
            ) > 0:  # after a restart from a checkpoint, the counter waits for its old value
                metric.inc(grown, tags)
                self.totals[run, seed, name] = value
