"""Learners in processes of their own: an update ends when one of them is lost, or the rollouts it waits for."""

import os
import sys
import time

import pytest
import ray
from ray import cloudpickle
from ray.exceptions import RayActorError, RaySystemError

from algorithms import remote_learners
from algorithms.remote_learners import update_learners
from rollouts.rollout import RolloutData

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the learners' processes cannot import tests


class Waiting:
    """A learner that waits for another one."""

    def update(self, **kwargs):
        time.sleep(600)


class Dying:
    """The other one."""

    def update(self, **kwargs):
        os._exit(1)


class Group:
    """RLlib's LearnerGroup, as far as `update_learners` asks."""

    is_local = False

    def __init__(self, *learners: type):
        self._workers = [ray.remote(num_cpus=0)(learner).remote() for learner in learners]
        self._backend_executor, self.ended_gracefully = self, None

    def shutdown(self, graceful_termination: bool) -> None:
        self.ended_gracefully = graceful_termination
        for actor in self._workers:
            ray.kill(actor)


@pytest.mark.end_to_end
def test_the_first_learner_to_die_ends_the_update_of_those_that_would_wait_for_it(shared_ray):
    group = Group(Waiting, Dying)
    with pytest.raises(RayActorError):
        update_learners(group, RolloutData(["one", "two"]), {})
    assert group.ended_gracefully is False


def test_learners_that_wait_for_what_a_lost_node_had_are_ended(shared_ray, monkeypatch):
    nodes = [{"this", "that"}, {"this"}]
    monkeypatch.setattr(remote_learners, "LOOK_S", 0.2)
    monkeypatch.setattr(remote_learners, "find_owner_nodes", lambda data: {"this", "that"})
    monkeypatch.setattr(remote_learners, "list_living_nodes", lambda: nodes[0] if len(nodes) == 1 else nodes.pop(0))
    group = Group(Waiting, Waiting)
    with pytest.raises(RaySystemError, match="node .*rollouts"):
        update_learners(group, RolloutData(["one", "two"]), {})
    assert group.ended_gracefully is False and nodes == [{"this"}]


class Slow:
    """A learner that takes its time."""

    def update(self, **kwargs):
        time.sleep(2)
        return {"loss": 1.0}


@pytest.mark.end_to_end
def test_a_lost_node_that_the_learners_do_not_need_does_not_end_them(shared_ray, monkeypatch):
    asked = []
    monkeypatch.setattr(remote_learners, "LOOK_S", 0.2)
    monkeypatch.setattr(remote_learners, "find_owner_nodes", lambda data: {"this", "that"})
    monkeypatch.setattr(remote_learners, "list_living_nodes", lambda: asked.append(1) or {"this", "that", "new"})
    assert update_learners(Group(Slow, Slow), RolloutData(["one", "two"]), {}) == [{"loss": 1.0}] * 2
    assert asked


def test_a_rollout_is_lost_with_the_process_that_made_it(shared_ray):
    @ray.remote(num_cpus=0)
    class Maker:
        def make(self):
            return [ray.put(bytes(10**6)), ray.put(1)]

    (here,) = remote_learners.list_living_nodes()
    refs = ray.get(Maker.remote().make.remote())
    assert remote_learners.find_owner_nodes(RolloutData([*refs, "not in Ray"])) == {here}
    assert remote_learners.find_owner_nodes(RolloutData(["not in Ray"])) == set()
