"""`dry_run=true` of a grid: how many runs, how long, and how much disk, from training every arm for some seconds.

arms -> each trained for MEASURED_S seconds in a temporary folder -> its speed, the size of a checkpoint -> text
"""

import dataclasses
import heapq
import tempfile
from pathlib import Path
from typing import NamedTuple

from cluster.local_ray import LOCAL
from cluster.plan import Plan, make_plan
from environments.screen import format_duration
from grids.arms import Arm, Grid
from grids.grid import train_configs
from grids.grid_directory import GridRun
from run_directory.layout import PERCENTAGES, PROGRESS_CSV, TO_RESUME, WEIGHTS, checkpoint_path
from run_directory.progress_table import read_progress
from runs.interrupt import Interrupt
from runs.ray_session import open_ray
from runs.train import count_room, record_start
from settings.mistakes import format_count

MEASURED_S = 5.0


class Cost(NamedTuple):
    """What one seed of an arm costs."""

    time_s: float
    disk_bytes: int


def describe_grid(grid: Grid) -> str:
    """Train every arm of a grid for some seconds, and return a text on the runs, their time and their disk.

    Raises:
        Mistake: an arm cannot work on the cluster that is named.
    """
    brief = [shorten_arm(arm) for arm in grid.arms]
    plans = {arm.name: make_plan(arm.settings) for arm in brief}
    largest = max(plans.values(), key=lambda plan: (plan.gpus, plan.cpus))
    # On a cluster below output_dir, which all nodes see and which exists once Ray is open.
    shared = None if largest.settings["cluster"]["address"] == LOCAL else largest.settings["output_dir"]
    with (
        open_ray(largest, saves=shared is not None),
        tempfile.TemporaryDirectory(dir=shared, prefix="dry_run_", ignore_cleanup_errors=True) as folder,
    ):
        measure_arms(brief, plans, Path(folder))
        if Interrupt.stop_requested:
            raise SystemExit("stopped before all arms were measured")
        costs = {arm.name: compute_cost(arm, Path(folder) / arm.name) for arm in grid.arms}
    lines, planned, disk = [], [], 0
    for arm in grid.arms:
        plan, cost = make_plan(arm.settings), costs[arm.name]
        runs = len(plan.seeds)
        each = "could not be measured"
        if cost is not None:
            each = f"{format_duration(cost.time_s)} each, {cost.disk_bytes / 1e6:,.0f} MB each"
            disk += runs * cost.disk_bytes
        lines.append(f"  {arm.label}: {format_count(runs, 'run')}, {each}")
        planned += [(index, 1 / (count_room(plan) or 1), cost.time_s if cost else 0.0) for index in range(runs)]
    # Seed by seed, as grids/grid.py gives them to Ray Tune.
    time_s = compute_time([one[1:] for one in sorted(planned, key=lambda one: one[0])])
    about = "at least" if None in costs.values() else "about"
    runs = format_count(len(planned), "run")
    total = f"{format_count(len(grid.arms), 'arm')}, {runs}: {about} {format_duration(time_s)}"
    place = (
        "here" if count_room(largest) else "one after the other; a cluster runs as many side by side as it has room for"
    )
    return "\n".join([*lines, f"{total} {place}, {about} {disk / 1e6:,.0f} MB; evaluations come on top"])


def compute_time(runs: list[tuple[float, float]]) -> float:
    """Return after how many seconds all runs are at their end, each started when there is room for it.

    Args:
        runs: the share of the machine that each run takes, above 0 to 1, and its seconds, in the order of their starts.
    """
    now_s, free, running = 0.0, 1.0, []  # running: when it ends, its share
    for share, time_s in runs:
        while running and free < share - 1e-9:
            now_s, ended = heapq.heappop(running)
            free += ended
        heapq.heappush(running, (now_s + time_s, share))
        free -= share
    return max((end for end, _ in running), default=now_s)


def shorten_arm(arm: Arm) -> Arm:
    """Return an arm with one seed that trains for MEASURED_S seconds."""
    settings = arm.settings
    first = make_plan(settings).seeds[0]
    brief = {"stop": settings["stop"] | {"time_s": MEASURED_S}, "report_every": 1, "logger": None}
    brief |= {"evaluate_every": None}
    return dataclasses.replace(arm, settings=settings | {"seed": first} | brief)


def measure_arms(arms: list[Arm], plans: dict[str, Plan], folder: Path) -> None:
    """Train arms with one seed each, and leave their run directories in a folder."""
    runs, configs = {}, []
    for arm in arms:
        plan, path = plans[arm.name], folder / arm.name
        path.mkdir()
        record_start(plan, path, [], [], list(plan.seeds))
        runs[arm.name] = GridRun(arm.name, plan.seeds[0], "WAITING", 0, float("nan"), "", arm.values)
        config = {"label": arm.name, "arm": arm.name, "dir": str(path), "seeds": list(plan.seeds)}
        configs.append(config | {"settings": plan.trial_settings})
    train_configs(runs, configs, plans, folder)


def compute_cost(arm: Arm, path: Path) -> Cost | None:
    """Return what a seed of an arm costs, from the run directory of its measurement; None where that has no rows."""
    if not (path / PROGRESS_CSV).exists():
        return None
    speeds = read_progress(path, ("agent_steps", "agent_steps_per_s"))["agent_steps_per_s"]
    stop = arm.settings["stop"]
    time_s = float(stop["agent_steps"] / speeds[len(speeds) // 2 :].mean())
    last = checkpoint_path(path, "last")
    checkpoint = sum(file.stat().st_size for file in last.rglob("*") if file.is_file())
    milestone = (last / WEIGHTS).stat().st_size if (last / WEIGHTS).exists() else 0
    milestones = len(PERCENTAGES) if arm.settings["keep_milestones"] else 0
    disk = len(TO_RESUME) * checkpoint + milestones * milestone
    return Cost(time_s if stop["time_s"] is None else min(time_s, stop["time_s"]), disk)
