"""A run with an environment from a folder of one's own, in processes of Ray: trained, continued, evaluated."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import run
from tests.runs.tiny_runs import TINY, directory_in

FOLDER = Path(__file__).parent.parent / "cluster" / "own_folder"


def type_line(*words: object, cwd: Path) -> tuple[int, str]:
    """Type a command line in a process of its own; returns the exit code and everything printed."""
    command = [sys.executable, str(Path(run.__file__).resolve()), *map(str, words)]
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=500)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.end_to_end
def test_modules_of_a_folder_are_imported_by_the_processes_of_a_run_and_again_when_it_continues(tmp_path):
    words = [word for word in TINY if word != "env=cartpole"]
    words += ["env=swing", "stop.agent_steps=500", "cluster.num_env_runners=1", "output_dir=out"]
    code, printed = type_line(*words, "--config-dir", os.path.relpath(FOLDER, tmp_path), cwd=tmp_path)
    assert code == 0, printed
    folder = directory_in(printed)
    assert re.search(rf"command=evaluate run=\S+ .*--config-dir {FOLDER}$", printed, re.MULTILINE)
    code, printed = type_line(f"resume={folder}", "stop.agent_steps=1000", cwd=tmp_path)
    assert code == 0, printed
    evaluate = ["command=evaluate", f"run={folder}", "episodes=1"]
    code, printed = type_line(*evaluate, cwd=tmp_path)
    assert code == 2 and printed.count("\n") == 1
    assert "own_swing" in printed and f"--config-dir {FOLDER}" in printed
    code, printed = type_line(*evaluate, f"--config-dir={FOLDER}", cwd=tmp_path)
    assert code == 0, printed
