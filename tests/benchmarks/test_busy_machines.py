"""benchmarks.shards and benchmarks.memory: they run, and their tables have what they promise."""

import json
import subprocess
import sys

import pytest

from benchmarks.rounds import ROOT

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)


def run(*words: str) -> list[str]:
    done = subprocess.run([sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@pytest.mark.end_to_end
def test_learning_and_acting_are_measured_beside_a_busy_program(tmp_path):
    few = ("--dtypes", "float32", "--neighbours", "0", "1", "--rows", "16", "--seconds", "0.1")
    table = run("benchmarks.shards", *few, "--out", str(tmp_path / "shards.json"))
    assert [line.split(" | ")[:4] for line in table[2:]] == [
        ["| learn", "16", "float32", "0"],
        ["| learn", "16", "float32", "1"],
        ["| act", "16", "float32", "0"],
        ["| act", "16", "float32", "1"],
    ]
    rounds = json.loads((tmp_path / "shards.json").read_text())["rounds"]
    assert all(min(row["shards"]) > 0 and len(row["openmp"]) >= 3 for row in rounds)


@pytest.mark.end_to_end
def test_the_memory_of_driver_and_training_process_is_watched(tmp_path):
    printed = run("benchmarks.memory", "--minutes", "0.4", "--out", str(tmp_path / "memory.json"))
    assert {"driver", "ray::TrainingProcess", "gcs_server"} <= {line.split(" | ")[0][2:] for line in printed}
    found = json.loads((tmp_path / "memory.json").read_text())
    assert found["rows"] > 1 and all(memory["driver"] > 50 for memory in found["memory"])
