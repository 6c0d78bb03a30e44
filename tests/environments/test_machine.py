"""CPUs, memory and threads: a process takes what it was given."""

import os
import re
from pathlib import Path

import psutil
import pytest
import ray
import torch

import run
from environments import machine
from environments.machine import count_cpus, get_memory_bytes, get_shared_memory_bytes
from environments.threads import configure_threads, count_threads

SUITE = Path(run.__file__).resolve().parent
V1 = "9:name=systemd:/\n4:memory:/slurm/job_7\n2:cpu,cpuacct:/slurm/job_7\n0::/\n"  # /proc/self/cgroup
V2 = "0::/kubepods/pod_7/main\n"
CPU, MEMORY = "sys/fs/cgroup/cpu", "sys/fs/cgroup/memory"
NO_LIMIT = "9223372036854771712\n"  # as v1 says it


@pytest.mark.usefixtures("shared_ray")
def test_an_actor_has_as_many_threads_as_cpus():
    class Worker:  # in here, so that Ray sends the class itself and not the name of this file
        def threads(self) -> tuple[int, int, int]:
            return count_threads(), configure_threads(), torch.get_num_threads()

    worker = ray.remote(num_cpus=2)(Worker).remote()
    assert ray.get(worker.threads.remote()) == (2, 2, 2)
    ray.kill(worker)


def test_outside_of_an_actor_the_machine_is_ours(monkeypatch):
    assert count_threads() == configure_threads() == torch.get_num_threads() == count_cpus()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3}, raising=False)  # taskset
    assert count_threads() == 1


@pytest.fixture
def machine_of(tmp_path, monkeypatch):
    """What the kernel says, file by file -> the root of a machine with 16 CPUs."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(16)), raising=False)

    def make(cgroup: str, files: dict[str, str]) -> Path:
        for name, text in {"proc/self/cgroup": cgroup, **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return make


def quota(folder: str, cpus: float) -> dict[str, str]:
    """Version 1's two files; -1: no limit."""
    quota_us = "-1" if cpus < 0 else f"{cpus * 100_000:.0f}"
    return {f"{CPU}{folder}/cpu.cfs_quota_us": f"{quota_us}\n", f"{CPU}{folder}/cpu.cfs_period_us": "100000\n"}


@pytest.mark.parametrize(
    "cgroup, files, cpus",
    [
        pytest.param(V1, quota("", -1) | quota("/slurm/job_7", 3), 3, id="v1"),
        pytest.param(V1, quota("/slurm/job_7", -1) | quota("/slurm", 4), 4, id="v1-above"),
        pytest.param(V1, quota("", 2), 2, id="v1-the-container's-own-is-the-root"),
        pytest.param(V1, quota("", -1) | quota("/slurm/job_7", -1), 16, id="v1-none"),
        pytest.param(V1, quota("", 40), 16, id="v1-more-than-there-are"),
        pytest.param(V1, quota("", 2.9), 2, id="v1-rounded-down"),
        pytest.param(V1, quota("", 0.5), 1, id="v1-at-least-one"),
        pytest.param(V2, {"sys/fs/cgroup/kubepods/pod_7/main/cpu.max": "350000 100000\n"}, 3, id="v2"),
        pytest.param(V2, {"sys/fs/cgroup/kubepods/cpu.max": "200000 100000\n"}, 2, id="v2-above"),
        pytest.param(V2, {"sys/fs/cgroup/kubepods/pod_7/main/cpu.max": "max 100000\n"}, 16, id="v2-none"),
        pytest.param("0::/\n", {"sys/fs/cgroup/cpu.max": "50000 100000\n"}, 1, id="v2-at-least-one"),
        pytest.param("0::/../..\n", {"sys/fs/cgroup/cpu.max": "700000 100000\n"}, 7, id="v2-not-mounted"),
        pytest.param("0::/a\n", {"sys/fs/cgroup/unified/a/cpu.max": "500000 100000\n"}, 5, id="v2-beside-v1"),
        pytest.param("", {}, 16, id="no-cgroups"),
        pytest.param("0::/\n", {"sys/fs/cgroup/cpu.max": "many\n"}, 16, id="nonsense"),
    ],
)
def test_cpus_are_the_least_that_any_cgroup_leaves(cgroup, files, cpus, machine_of, monkeypatch):
    root = machine_of(cgroup, files)
    assert count_cpus(root) == cpus
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1}, raising=False)
    assert count_cpus(root) == min(2, cpus)


@pytest.mark.parametrize(
    "cgroup, files, wanted",
    [
        (V1, {f"{MEMORY}/slurm/job_7/memory.limit_in_bytes": "1048576\n"}, 1048576),
        (
            V1,
            {f"{MEMORY}/slurm/memory.limit_in_bytes": "2097152\n", f"{MEMORY}/memory.limit_in_bytes": NO_LIMIT},
            2**21,
        ),
        (V1, {f"{MEMORY}/memory.limit_in_bytes": NO_LIMIT}, psutil.virtual_memory().total),
        (V2, {"sys/fs/cgroup/kubepods/pod_7/memory.max": "1048576\n"}, 2**20),
        (V2, {"sys/fs/cgroup/memory.max": "max\n"}, psutil.virtual_memory().total),
    ],
)
def test_memory_is_the_least_that_any_cgroup_leaves(cgroup, files, wanted, machine_of):
    assert get_memory_bytes(machine_of(cgroup, files)) == wanted


@pytest.mark.parametrize(
    ("flags", "allowed", "dtype"),
    [
        ("avx2 avx512f", None, "float32"),
        ("avx2 avx512_bf16", None, "bfloat16"),
        ("amx_bf16", "DEFAULT", "bfloat16"),
        ("avx512_bf16", "AVX512_CORE_BF16", "bfloat16"),
        ("avx512_bf16", "avx2", "float32"),
        ("avx512_bf16", "AVX512_CORE", "float32"),
    ],
)
def test_bf16_is_chosen_where_the_cpu_has_it_and_onednn_may_use_it(flags, allowed, dtype, tmp_path, monkeypatch):
    (tmp_path / "cpuinfo").write_text(f"flags\t\t: fpu {flags}\n")
    monkeypatch.setattr(machine, "CPUINFO", tmp_path / "cpuinfo")
    monkeypatch.delenv("ONEDNN_MAX_CPU_ISA", raising=False)
    if allowed:
        monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", allowed)
    assert machine.find_fastest_dtype() == dtype


def test_shared_memory_that_is_not_there_is_none(tmp_path):
    assert get_shared_memory_bytes(tmp_path) == 0
    (tmp_path / "dev/shm").mkdir(parents=True)
    assert get_shared_memory_bytes(tmp_path) > 0


def test_nothing_else_counts_cpus_or_memory():
    counts = re.compile(r"cpu_count\(|sched_getaffinity\(|virtual_memory\(")
    rooms = (
        "algorithms",
        "cluster",
        "custom_models",
        "environments",
        "evidence",
        "extensions",
        "loggers",
        "exports",
        "pages",
        "audit",
        "probes",
        "comparisons",
        "grids",
        "claims",
        "verdicts",
        "playing",
        "recordings",
        "rollouts",
        "runs",
        "tune_searches",
    )
    files = [SUITE / "run.py", *(path for room in rooms for path in (SUITE / room).rglob("*.py"))]
    assert [path.name for path in files if counts.search(path.read_text())] == ["machine.py"]
