"""Threads: a process takes what it was given."""

import os

import pytest
import ray
import torch

from environments.machine import num_cpus, num_threads, take_threads


@pytest.mark.usefixtures("shared_ray")
def test_an_actor_has_as_many_threads_as_cpus():
    class Worker:  # in here, so that Ray sends the class itself and not the name of this file
        def threads(self) -> tuple[int, int, int]:
            return num_threads(), take_threads(), torch.get_num_threads()

    worker = ray.remote(num_cpus=2)(Worker).remote()
    assert ray.get(worker.threads.remote()) == (2, 2, 2)
    ray.kill(worker)


def test_outside_of_an_actor_the_machine_is_ours(monkeypatch):
    assert num_threads() == take_threads() == torch.get_num_threads() == num_cpus()
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {3, 5, 7}, raising=False)  # taskset
    assert num_threads() == 3
