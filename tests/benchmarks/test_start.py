"""benchmarks.start: what each process is, and the stations of a real start."""

import json
import subprocess
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

from benchmarks.rounds import ROOT
from benchmarks.start import STATIONS, name_process, sum_by_kind, summarize


@pytest.mark.parametrize(
    ("words", "name"),
    [
        (["/venv/bin/python", "run.py", "algo=ppo"], "driver"),
        (["/site-packages/ray/core/src/ray/gcs/gcs_server", "--gcs_server_port=0"], "gcs_server"),
        (["ray::TrainingProcess.train"], "ray::TrainingProcess.train"),
        (["/venv/bin/python", "-u", "/site-packages/ray/dashboard/dashboard.py"], "Ray, the rest"),
        ([], "Ray, the rest"),  # it has just ended
    ],
)
def test_a_process_is_known_by_its_command_line(words, name):
    assert name_process(words) == name


def test_processor_time_is_summed_by_kind():
    used = {
        1: ("ray::TrainingProcess.train", 4.0),
        2: ("ray::IDLE", 1.0),
        3: ("Ray, the rest", 0.5),
        4: ("raylet", 0.25),
    }
    assert sum_by_kind(used) == {"ray::TrainingProcess": 4.0, "Ray, the rest": 1.5, "raylet": 0.25}


def test_a_kind_that_a_round_lacks_counts_as_nothing():
    began = dict.fromkeys([*STATIONS, "first row"], 1.0)
    lines = summarize([{"began": began, "used": {"raylet": 0.5}}, {"began": began, "used": {"driver": 2.0}}])
    assert lines["processor time until then, driver, s"] == [0.0, 2.0]
    assert lines["first row of progress.csv, s"] == [1.0, 1.0]


@pytest.mark.end_to_end
def test_the_stations_of_a_start_come_in_order(tmp_path):
    out = tmp_path / "start.json"
    command = [sys.executable, "-m", "benchmarks.start", "--quick", f"--out={out}", "algo=ppo", "env=cartpole"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    (measured,) = json.loads(out.read_text())["rounds"]
    stations = [measured["began"][title] for title in [*STATIONS, "first row"]]
    assert stations == sorted(stations) and stations[0] > 0
    assert measured["used"]["ray::TrainingProcess"] > 0 and measured["used"]["driver"] > 0
