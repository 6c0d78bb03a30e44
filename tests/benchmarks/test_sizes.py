"""benchmarks.sizes: the experiments that it measures, their limits, and the memory of an env and of an agent step."""

import sys

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

from benchmarks import sizes
from benchmarks.sizes import MEMORY, Size, list_axes, list_overrides


@pytest.mark.parametrize("cores", [1, 2, 16])
def test_every_size_can_be_typed_and_is_what_its_axis_says(cores, compose, machine_with):
    machine_with(cores)
    axes = list_axes(cores)
    for points in axes.values():
        for size in points.values():
            settings = compose(list_overrides(size))
            assert settings["algo"]["num_envs"] * settings["algo"]["horizon"] % settings["algo"]["minibatch_size"] == 0
    envs = axes["envs, 4,096 agent steps per update"]
    assert [size.num_envs for size in envs.values()] == [8, 32, 128, 512]
    assert {size.num_envs * size.horizon for size in envs.values()} == {4096}
    assert [int(label) for label in axes["cores"]][-1] == cores
    assert max(size.num_env_runners for size in axes["env runners"].values()) < cores


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
    found = sizes.measure_limit(Size(num_envs=32, cores=1), tmp_path)
    assert found == {"E": 1000.0, "I": 2000.0, "G": 4000.0, "limit": pytest.approx(400.0)}
    assert asked == [("bare_loop", "--num-envs=32", "--horizon=128", "--updates=1", "--threads=1")]
    found = sizes.measure_limit(Size(network="impala"), tmp_path)
    assert found["limit"] == pytest.approx(1 / (1 / 1000 + 1 / 500 + 4 / 800))
    assert asked[-1] == ("models", "impala", "--rounds=1")


def test_memory_per_env_and_per_agent_step_are_found_again():
    peaks = [1000 + 2.5 * n + n * t * 30_000 / 2**20 for n, t in MEMORY]
    assert sizes.fit_memory(peaks) == (pytest.approx(1000), pytest.approx(2.5), pytest.approx(30_000))


def test_the_share_of_the_limit_is_taken_within_a_round():
    axes = {"cores": {"1": Size(cores=1)}}
    rounds = [{Size(cores=1).name: {"agent_steps_per_s": s, "limit": t}} for s, t in ((100.0, 200.0), (10.0, 40.0))]
    lines = sizes.summary(rounds, axes, [1000.0, 1030.0, 1000.0, 1030.0])
    assert lines["cores: 1, of the limit"] == [0.5, 0.25]
