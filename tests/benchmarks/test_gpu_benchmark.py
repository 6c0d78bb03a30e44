"""The benchmark of GPUs, on a CPU: its parts measure, its runs can be typed, its table says what limits what."""

import re
import subprocess
import sys

import pytest
import torch

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

from benchmarks import gpu
from cluster.plan import make_plan
from settings.mistakes import Mistake

CPU = torch.device("cpu")


@pytest.fixture
def machine(machine_with):
    """Sixteen cores and a GPU, as far as settings are checked."""
    machine_with(16, gpus=1)


def test_without_a_gpu_it_says_so_in_one_sentence(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(sys, "argv", ["gpu"])
    with pytest.raises(Mistake):
        gpu.main()


@pytest.mark.parametrize("name", gpu.PARTS)
def test_every_part_is_measured(name, monkeypatch, machine, one_thread):
    monkeypatch.setattr(gpu, "HORIZON", 8)
    assert gpu.measure_part(name, CPU, 2, 0.05) > 1


def test_a_rate_does_not_count_the_first_time(monkeypatch):
    clock, done = [0.0], []
    monkeypatch.setattr(gpu.time, "perf_counter", lambda: clock[0])

    def work():
        clock[0] += 1.0 if done else 100.0
        done.append(1)

    assert gpu.measure_rate(work, steps=6, duration_s=10) == 6 and len(done) == 11


@pytest.mark.parametrize("num_envs", gpu.UPDATES)
@pytest.mark.parametrize(("runners", "overlap"), [(0, False), (2, True), (8, False), (8, True)])
def test_what_is_measured_can_be_typed(num_envs, runners, overlap, compose, machine):
    plan = make_plan(compose(gpu.list_overrides(num_envs, runners, overlap, cores=16)))
    assert plan.settings["algo"]["num_envs"] == num_envs and plan.settings["algo"]["overlap"] == overlap
    assert plan.gpus == 1 and plan.cpus <= 16


def test_there_is_a_contestant_for_every_combination_the_machine_has_cores_for(capsys):
    found = gpu.make_contestants("cuda", {8: 4, 64: 4}, 16, 1.0)
    assert len(found) == 2 * (3 + 1 + 2 + 2) and "64 envs, 8 env runners, overlap" in found
    found = gpu.make_contestants("cuda", {8: 4}, 9, 1.0)
    assert len(found) == 3 + 1 + 2 and re.search(r"\b8 env runners, .* 10 cores of 9\b", capsys.readouterr().out)


def test_the_table_compares_with_the_limit_that_holds():
    measured = {"emulator 8": 200, "acting 8": 200, "learning 8": 100}
    measured |= {"8 envs, 2 env runners": 25, "8 envs, 2 env runners, overlap": 50}
    lines = gpu.summarize([{name: {"agent_steps_per_s": float(x)} for name, x in measured.items()}], (8,))
    assert lines["8 envs: limit, agent steps/s"] == [50] and lines["8 envs: limit, overlap, agent steps/s"] == [100]
    assert lines["8 envs, 2 env runners / limit"] == lines["8 envs, 2 env runners, overlap / limit"] == [0.5]
    assert "8 envs, 0 env runners, agent steps/s" not in lines


@pytest.mark.slow
def test_it_runs_to_its_end_on_the_cpu(tmp_path):
    out = tmp_path / "gpu.json"
    command = [sys.executable, "-m", "benchmarks.gpu", "--quick", "--device=cpu", f"--out={out}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # it ends all that is below it
    assert done.returncode == 0, done.stdout + done.stderr
    assert "8 envs, 0 env runners / limit" in done.stdout and out.exists()
