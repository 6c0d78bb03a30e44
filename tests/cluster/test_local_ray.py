"""Ray of a run's own: what it is given of the machine, and what is said where it cannot start. None is started."""

import errno
import os
import shutil
from collections import namedtuple
from pathlib import Path

import pytest
import ray
from ray._private import ray_constants

from cluster.local_ray import explain_failed_start, refuse_unwritable_folders, start_ray
from cluster.plan import make_plan
from environments import machine
from run_directory.starts import write_start
from run_directory.writing import lock_folder
from runs import train
from settings.mistakes import Mistake

Usage = namedtuple("Usage", "total used free")


@pytest.fixture
def refused_by_ray(monkeypatch):
    """What ray.init raises -> the sentence, and what it was asked for."""

    def answer(settings: dict, error: Exception) -> tuple[str, dict]:
        asked = {}

        def init(**words):
            asked.update(words)
            raise error

        monkeypatch.setattr(ray, "init", init)
        monkeypatch.setattr(ray, "shutdown", lambda: None)  # other tests' Ray stays
        monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
        monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
        with pytest.raises(Mistake) as mistake:
            start_ray(settings, num_processes=1)
        return str(mistake.value), asked

    return answer


def test_ray_has_the_cpus_that_the_suite_counts_and_listens_to_this_machine_only(compose, refused_by_ray, monkeypatch):
    monkeypatch.setattr(machine, "read_cpu_quotas", lambda root: [1.5])
    monkeypatch.setattr(machine, "read_memory_limits", lambda root: [2**31])
    _, asked = refused_by_ray(compose(["env=cartpole"]), RuntimeError("no"))
    assert asked["num_cpus"] == machine.count_cpus() == 1
    assert asked["object_store_memory"] <= 0.3 * 2**31
    assert os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"] == "0" and not ray_constants.ENABLE_RAY_CLUSTER


def test_a_run_that_a_container_can_never_hold_is_refused(monkeypatch, compose):
    monkeypatch.setattr(machine, "read_cpu_quotas", lambda root: [1.5])
    assert make_plan(compose(["env=assault", "size=short", "dashboard=true"])).bundles[0]["CPU"] == 1
    with pytest.raises(Mistake, match=r"cluster\.cpus=2.* 2 CPUs, .*\b1\b"):
        compose(["env=assault", "cluster.cpus=2", "dashboard=true"])
    monkeypatch.setattr(machine, "read_memory_limits", lambda root: [2**20])
    with pytest.raises(Mistake, match=r"algo.num_envs=8, algo.horizon=128: .*memory"):
        compose(["env=assault", "cluster.cpus=1", "dashboard=true"])
    with pytest.raises(Mistake, match=r"algo.buffer_size=100000: .*memory"):
        compose(["env=assault", "algo=dqn", "cluster.cpus=1", "dashboard=true"])


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError("validate_socket_filename failed: AF_UNIX path length cannot exceed 107 bytes"), ["RAY_TMPDIR"]),
        (
            PermissionError(errno.EACCES, "Permission denied", "/tmp/mine/ray/session_1"),
            ["/tmp/mine/ray", "RAY_TMPDIR"],
        ),
        (OSError(errno.EROFS, "Read-only file system", "/home/me/.ray"), ["/home/me/.ray", "HOME", "RAY_AUTH_MODE"]),
        (Exception("The current node timed out during startup.\nMore."), ["3 attempts", "busy", "logs"]),
        (ValueError("After taking into account ... adjust these settings with ray.init(memory=<bytes>)."), ["GiB"]),
    ],
)
def test_what_ray_raises_is_one_sentence_that_names_the_variable(error, words, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv("TMPDIR", "/tmp/mine")
    sentence = explain_failed_start(error)
    assert "\n" not in sentence and all(word in sentence for word in words)


def test_a_busy_machine_is_given_three_times_as_long(compose, refused_by_ray, capsys):
    error = Exception("The current node timed out during startup.")
    sentence, _ = refused_by_ray(compose(["env=cartpole"]), error)
    assert "too busy" in sentence and capsys.readouterr().out.count("trying again") == 2


def test_a_full_disk_or_shared_memory_that_cannot_be_written_is_refused_before_ray_starts(monkeypatch, tmp_path):
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    refuse_unwritable_folders()
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(2**30, 2**30, 2**20))
    with pytest.raises(Mistake, match=f"{tmp_path}.* 1 MB .*RAY_TMPDIR"):
        refuse_unwritable_folders()
    monkeypatch.setattr(os, "access", lambda path, mode: path != Path("/dev/shm"))
    with pytest.raises(Mistake, match="/dev/shm"):
        refuse_unwritable_folders()


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_a_relative_temporary_folder_is_refused_before_ray_waits_for_its_processes(variable, monkeypatch):
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setenv(variable, "scratch")
    with pytest.raises(Mistake, match=f"^{variable}=scratch "):
        refuse_unwritable_folders()


def test_a_resume_of_a_run_that_another_process_is_at_never_starts_ray(compose, tmp_path, monkeypatch):
    monkeypatch.setattr(train, "find_starts", lambda run, plan: ({}, []))
    monkeypatch.setattr(train, "open_ray", lambda settings: pytest.fail("Ray was started"))
    settings = compose(["env=cartpole"])
    write_start(tmp_path, settings, [], [], "float32")
    with lock_folder(tmp_path), pytest.raises(Mistake, match=f"{tmp_path}: another process"):
        train.train(settings, [], [], tmp_path)


@pytest.mark.parametrize(
    "word",
    ["algo.num_envs", "algo.horizon", "cluster.cpus_per_runner", "cluster.num_env_runners", "stop.agent_steps"],
)
def test_more_than_any_machine_can_have_is_refused(word, compose):
    with pytest.raises(Mistake, match=rf"^{word}=1\S* .* to \d"):
        compose([f"{word}=1e30", "cluster=ray", "output_dir=/shared"])
