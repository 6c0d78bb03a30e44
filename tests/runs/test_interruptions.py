"""Runs that somebody kills: the command itself, in a process of its own, as in a terminal."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from run_directory.checkpoints import read_totals
from run_directory.manifest import find_damage
from tests.runs.tiny_runs import (
    RESTARTED,
    TINY,
    assert_no_gap_and_no_double,
    directory_in,
    go,
    lines_in,
    names_of,
    processes_below,
    rows_of,
    starts_in,
    wait_for,
)

RUN_PY = Path(__file__).resolve().parents[2] / "run.py"
ENDLESS = [*TINY, "stop.agent_steps=10_000_000", "output_dir=outputs"]


@pytest.fixture
def started(tmp_path):
    """A run in a directory of its own, away from the checkout, that has reported and has a checkpoint."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    process = subprocess.Popen(
        [sys.executable, str(RUN_PY), *ENDLESS],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # its Ctrl-C is not ours
    )
    wait_for(lambda: process.poll() is not None or lines_in(tmp_path / "outputs") > 5, timeout_s=240)
    assert process.poll() is None, process.stdout.read()
    below = processes_below(process.pid)
    yield process, below
    for left in [*below, *processes_below(process.pid)]:
        if left.is_running():
            left.kill()
    process.kill()
    process.communicate()


def assert_gone(processes: list[psutil.Process]) -> None:
    """Within seconds. Ray's two agents look for a GCS that is gone for a minute more, and then end by themselves."""
    ours = [one for one in processes if not names_of(one).startswith(("ray::DashboardAgent", "ray::RuntimeEnvAgent"))]
    assert len(ours) > 3
    _, alive = psutil.wait_procs(ours, timeout=120)
    assert not alive, [names_of(process) for process in alive]


@pytest.mark.end_to_end
def test_a_killed_run_leaves_no_process_and_continues_without_gap_or_double(started, tmp_path, shared_ray):
    process, below = started
    names = [names_of(one) for one in below]
    assert any(name.startswith("ray::TrainingProcess") for name in names) and any("raylet" in name for name in names)
    assert not any(name.startswith("ray::IDLE") for name in names)  # they take time from training
    process.kill()
    assert process.wait() == -signal.SIGKILL
    assert_gone(below)

    (path,) = tmp_path.glob("outputs/ppo/cartpole/*")
    with open(path / "progress.csv", "ab") as table:
        table.write(b"123")  # as if it had been killed while it wrote
    first, *_, whole, _ = rows_of(path)
    steps, kept = whole["agent_steps"], read_totals(path / "checkpoints" / "last")["agent_steps"]
    code, printed = go(f"resume={path}", f"stop.agent_steps={steps + 500:.0f}")
    assert code == 0, printed
    assert starts_in(printed) == {1: kept}
    rows = rows_of(path)
    assert_no_gap_and_no_double(rows)
    assert rows[0] == first and rows[-1]["agent_steps"] >= steps + 500
    assert rows[-1]["episodes"] > rows[0]["episodes"]
    assert find_damage(path / "checkpoints" / "last") is None


def test_ctrl_c_writes_a_checkpoint_prints_the_line_that_resumes_and_exits_with_1(started, tmp_path):
    process, below = started
    os.killpg(process.pid, signal.SIGINT)  # a terminal sends it to the whole group
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1, printed
    path = directory_in(printed)
    assert path.parent == tmp_path / "outputs" / "ppo" / "cartpole"
    assert "stopping: " in printed
    assert f"run.py resume={path}" in printed
    assert "Traceback" not in printed and "KeyboardInterrupt" not in printed
    assert not psutil.wait_procs(below, timeout=60)[1]
    assert_no_gap_and_no_double(rows_of(path))
    assert read_totals(path / "checkpoints" / "last")["agent_steps"] == rows_of(path)[-1]["agent_steps"]
    assert find_damage(path / "checkpoints" / "last") is None
    assert time.time() - (path / "checkpoints" / "last" / "manifest.json").stat().st_mtime < 120


@pytest.mark.slow
def test_sigusr1_to_all_processes_leaves_them_alive_and_sighup_to_all_writes_a_checkpoint(started, tmp_path):
    process, below = started
    os.killpg(process.pid, signal.SIGUSR1)  # as SLURM sends it without B:
    rows = lines_in(tmp_path / "outputs")
    wait_for(lambda: process.poll() is not None or lines_in(tmp_path / "outputs") > rows + 5)
    assert process.poll() is None and all(one.is_running() for one in below if "ray::TrainingProcess" in names_of(one))
    os.killpg(process.pid, signal.SIGHUP)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1, printed
    path = directory_in(printed)
    assert f"run.py resume={path}" in printed
    assert "Traceback" not in printed and "GCS" not in printed and RESTARTED not in printed
    assert not psutil.wait_procs(below, timeout=60)[1]
    assert_no_gap_and_no_double(rows_of(path))
    assert read_totals(path / "checkpoints" / "last")["agent_steps"] == rows_of(path)[-1]["agent_steps"]


@pytest.mark.slow
def test_a_run_whose_ray_is_killed_ends_with_1_and_prints_the_line_that_resumes(started):
    process, below = started
    (raylet,) = [one for one in below if "/raylet/raylet " in names_of(one)]
    raylet.kill()
    printed, _ = process.communicate(timeout=150)
    assert process.returncode == 1, printed
    path = directory_in(printed)
    assert f"run.py resume={path}" in printed
    assert_gone(below)
    assert find_damage(path / "checkpoints" / "last") is None
