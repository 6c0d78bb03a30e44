"""benchmarks.sizes: the experiments that it measures, their limits, and the memory of an env and of an agent step."""

import json
import subprocess
import sys

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

import run
from benchmarks import rounds, sizes
from benchmarks.rounds import ROOT
from benchmarks.sizes import MEMORY, Size, list_axes, list_overrides
from cluster.plan import make_plan

TORSOS = {"nature_cnn": ("nature_cnn", None), "cnn_lstm": ("a3c_cnn", 256)}  # of networks: torso, size of the LSTM


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_every_size_can_be_typed_and_is_what_its_axis_says(cores, machine_with):
    machine_with(cores)
    axes = list_axes(cores)
    for axis, points in axes.items():
        for label, size in points.items():
            settings, _ = run.read_experiment(list_overrides(size))
            algo, model, plan = settings["algo"], settings["model"], make_plan(settings)
            assert (algo["num_envs"], algo["horizon"]) == (size.num_envs, size.horizon)
            assert algo["num_envs"] * algo["horizon"] % algo["minibatch_size"] == 0
            assert (model["torso"], model["lstm_size"]) == TORSOS.get(size.network, (size.network, None))
            asked = {"envs, 4,096 agent steps per update": algo["num_envs"], "steps of 8 envs": algo["horizon"]}
            asked |= {"cores": plan.training_cpus, "env runners": settings["cluster"]["num_env_runners"]}
            assert label == str(asked.get(axis, size.network))
    assert [int(label) for label in axes["cores"]][-1] == cores
    assert {size.num_envs * size.horizon for size in axes["envs, 4,096 agent steps per update"].values()} == {4096}


def test_sizes_have_the_same_name_only_where_they_are_the_same():
    sizes_of_all = [size for points in list_axes(16).values() for size in points.values()]
    assert len({size.name for size in sizes_of_all}) == len(set(sizes_of_all)) < len(sizes_of_all)


def test_a_limit_is_made_of_the_sizes_own_parts(monkeypatch, tmp_path):
    asked = []

    def run_module(module, folder, *words):
        asked.append((module, *words))
        parts = {"I": 2000.0, "G": 4000.0}
        return {"E": 1000.0, "limit": 7.0} | parts if module == "bare_loop" else {words[0]: {"I": 500.0, "G": 800.0}}

    monkeypatch.setattr(sizes, "run_module", run_module)
    monkeypatch.setattr(rounds, "count_cpus", lambda: 16)
    found = sizes.measure_limit(Size(num_envs=32, cores=1), tmp_path)
    assert found == {"E": 1000.0, "I": 2000.0, "G": 4000.0, "limit": pytest.approx(400.0)}
    assert asked == [("bare_loop", "--num-envs=32", "--horizon=128", "--threads=1", "--updates=1")]
    found = sizes.measure_limit(Size(network="impala"), tmp_path)
    assert found["limit"] == pytest.approx(1 / (1 / 1000 + 1 / 500 + 4 / 800))
    assert "--threads=8" in asked[-2] and asked[-1] == ("models", "impala")  # a run takes 8 of 16 cores
    assert sizes.measure_limit(Size(num_env_runners=1), tmp_path) == {}


def test_memory_per_env_and_per_agent_step_are_found_again():
    peaks = [1000 + 2.5 * n + n * t * 30_000 / 2**20 for n, t in MEMORY]
    assert sizes.fit_memory(peaks) == (pytest.approx(1000), pytest.approx(2.5), pytest.approx(30_000))


def test_the_share_of_the_limit_is_taken_within_a_round_and_drawn(tmp_path):
    one, runner = Size(cores=1), Size(num_env_runners=1)
    axes = {"cores": {"1": one}, "env runners": {"1": runner}}
    rounds = [
        {one.name: {"agent_steps_per_s": speed, "limit": limit}, runner.name: {"agent_steps_per_s": 7.0}}
        for speed, limit in ((100.0, 200.0), (10.0, 40.0))
    ]
    lines = sizes.summarize(rounds, axes, [1000.0, 1030.0, 1000.0, 1030.0])
    assert lines["cores: 1, of the limit"] == [0.5, 0.25]
    assert lines["env runners: 1, agent steps/s"] == [7.0, 7.0] and "env runners: 1, of the limit" not in lines
    sizes.draw(rounds, axes, tmp_path / "sizes.png")
    assert (tmp_path / "sizes.png").stat().st_size > 5_000


@pytest.mark.end_to_end
def test_networks_alone_print_what_they_act_and_train():
    command = [sys.executable, "-m", "benchmarks.models", "a3c_cnn", "--rounds", "1", "--json"]
    printed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.splitlines()
    trained = [float(cell.replace(",", "")) for cell in printed[-2].split(" | ")[2:4]]
    found = json.loads(printed[-1])["a3c_cnn"]
    assert min(abs(found["G"] / speed - 1) for speed in trained) < 0.01, "training alone, in one of the two dtypes"
    assert found["I"] > 0 and found["I"] != found["G"]
