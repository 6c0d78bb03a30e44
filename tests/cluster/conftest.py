"""A Ray cluster of two light nodes, for tests that run something on it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def start_cluster(monkeypatch):
    """Starts two nodes in a process of their own; gives what they print and the environment that reaches them."""
    started = []

    def start(*words: str, **variables: str) -> tuple[str, str, dict[str, str]]:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
        environment |= {"RAY_AUTH_MODE": "disabled", "RAY_USAGE_STATS_ENABLED": "0", **variables}
        environment["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{environment['PATH']}"
        script = Path(__file__).parent / "two_nodes.py"
        command = [sys.executable, str(script), *words]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        started.append(subprocess.Popen(command, env=environment, text=True, cwd="/", **pipes))
        address, dashboard = started[-1].stdout.readline().split()
        return address, f"http://{dashboard}", environment

    yield start
    for process in started:
        process.stdin.close()
        process.wait(timeout=60)
