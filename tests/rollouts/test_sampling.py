"""Sampling from all env runners, those that are lost, and rollouts that are asked for one update ahead."""

import pickle

import pytest
from ray.exceptions import RayError

from extensions import own_environment
from rollouts.sampling import (
    NEXT,
    drop_requested_rollouts,
    get_process_id,
    sample_ahead,
    sample_rollouts,
    sample_with_process_id,
)
from settings.mistakes import EnvironmentFault
from tests.runs import broken_env


class AnsweringGroup:
    """RLlib's EnvRunnerGroup, as far as `sample_rollouts` asks."""

    def __init__(self, remote: int, healthy: list[list[int]], runner=None):
        self.remote, self.healthy, self.local_env_runner, self.asked = remote, healthy, runner, []

    def num_remote_env_runners(self) -> int:
        return self.remote

    def healthy_worker_ids(self) -> list[int]:
        return self.healthy.pop(0)

    def foreach_env_runner(self, method, local_env_runner, remote_worker_ids):
        assert method == "sample_ref" and not local_env_runner
        self.asked.append(remote_worker_ids)
        return [(f"rollout of {i}", {"runner": i}) for i in remote_worker_ids]


def test_without_remote_runners_the_rollout_is_handed_over_as_it_is(make_runner):
    runner = make_runner("env=cartpole", "model.hidden=[4]")
    made = []
    runner.sample = lambda original=runner.sample: made.append(original()) or made[-1]
    rollouts, summaries = sample_rollouts(AnsweringGroup(0, [], runner))
    assert rollouts[0] is made[0] and len(rollouts) == 1
    expected = {"agent_steps", "scores", "lengths", "num_bytes"}
    assert summaries[0].keys() == expected and summaries[0]["agent_steps"] == made[0].agent_steps


def test_the_others_sample_the_share_of_a_lost_runner():
    group = AnsweringGroup(3, [[1, 3], [1, 3]])
    rollouts, summaries = sample_rollouts(group)
    assert rollouts == ["rollout of 1", "rollout of 3", "rollout of 1"]
    assert [s["runner"] for s in summaries] == [1, 3, 1]
    assert group.asked == [[1, 3], [1]]


def test_without_a_runner_that_is_alive_the_run_stops():
    with pytest.raises(RayError, match="env runner .*lost"):
        sample_rollouts(AnsweringGroup(2, [[1], []]))


@pytest.mark.parametrize("algo", ["a2c", "pg"])
def test_a_fault_of_the_first_reset_is_raised_by_the_first_sample(algo, make_runner, monkeypatch):
    """Later games would not be those of the seed."""
    monkeypatch.setattr(broken_env.RaisesOnce, "has_raised", False)
    monkeypatch.setattr(own_environment, "try_game", lambda env: None)  # it would raise there
    runner = make_runner(f"algo={algo}", "env=cartpole", "env.id=tests.runs.broken_env:RaisesOnce-v0")
    with pytest.raises(EnvironmentFault, match="no licence yet"):
        runner.sample()


@pytest.mark.parametrize("world", ["NanFirst", "NanReward", "Broken"])
def test_a_fault_of_an_environment_elsewhere_comes_back_as_an_answer_and_is_raised_here(world, make_runner):
    runner = make_runner("env=cartpole", "model.hidden=[4]", f"env.id=tests.runs.broken_env:{world}-v0")
    while "fault" not in (about := runner.sample_ref()[1]):
        assert about["agent_steps"]
    group = AnsweringGroup(1, [[1]])
    group.foreach_env_runner = lambda *_, **__: [pickle.loads(pickle.dumps((None, about)))]
    with pytest.raises(EnvironmentFault, match=f"env.id=tests.runs.broken_env:{world}-v0") as told:
        sample_rollouts(group)
    assert "Traceback" in str(told.value.__cause__)  # with the line of the environment that raised


# One update ahead -----------------------------------------------------------------------------------------------------


class Group:
    """RLlib's EnvRunnerGroup, as far as `sample_ahead` asks: what it was asked for, in order."""

    def __init__(self, *runners: int):
        self.runners, self.lost, self.started_again = list(runners), set(), set()
        self.under_way, self.asked, self.number = [], [], 0

    def num_remote_env_runners(self) -> int:
        return len(self.runners)

    def healthy_worker_ids(self) -> list[int]:
        return [i for i in self.runners if i not in self.lost]

    def play(self, runner: int):
        self.number += 1
        return f"rollout {self.number} of {runner}", {"runner": runner}

    def foreach_env_runner(self, method, local_env_runner, remote_worker_ids=()):
        if method is get_process_id:
            return [f"process {i}" for i in self.healthy_worker_ids() if i not in self.started_again]
        self.asked.append(("now", remote_worker_ids))
        return [self.play(i) for i in remote_worker_ids]

    def foreach_env_runner_async(self, method, tag):
        assert method is sample_with_process_id and tag == NEXT
        self.asked.append(("next", self.healthy_worker_ids()))
        self.under_way = [(i, (f"process {i}", *self.play(i))) for i in self.healthy_worker_ids()]

    def fetch_ready_async_reqs(self, tags=None, timeout_seconds=0.0):
        assert tags in (None, NEXT) and timeout_seconds is None, "it waits for all of them"
        done, self.under_way = [(i, played) for i, played in self.under_way if i not in self.lost], []
        return done


def test_what_was_asked_for_before_comes_first_and_the_next_is_asked_for():
    group = Group(1, 2)
    assert sample_ahead(group)[0] == ["rollout 1 of 1", "rollout 2 of 2"]
    assert group.asked == [("now", [1, 2]), ("next", [1, 2])]
    assert sample_ahead(group)[0] == ["rollout 3 of 1", "rollout 4 of 2"]
    assert group.asked[2:] == [("next", [1, 2])]


def test_what_a_lost_runner_owes_the_others_play():
    group = Group(1, 2, 3)
    sample_ahead(group)
    group.lost = {2}
    rollouts, summaries = sample_ahead(group)
    assert rollouts == ["rollout 4 of 1", "rollout 6 of 3", "rollout 7 of 1"]
    assert [s["runner"] for s in summaries] == [1, 3, 1]
    assert group.asked[2:] == [("now", [1]), ("next", [1, 3])]
    group.lost.clear()  # started again: it was asked for nothing
    assert len(sample_ahead(group)[0]) == 3 and group.asked[4:] == [("now", [1]), ("next", [1, 2, 3])]


def test_what_a_process_played_that_has_died_since_is_not_waited_for():
    group = Group(1, 2)
    sample_ahead(group)
    group.started_again = {1}  # it answers, as another process, and its rollout is lost
    assert sample_ahead(group)[0] == ["rollout 4 of 2", "rollout 5 of 1"]


def test_without_any_runner_left_the_run_stops():
    group = Group(1)
    sample_ahead(group)
    group.lost = {1}
    with pytest.raises(RayError, match="env runner .*lost"):
        sample_ahead(group)


def test_what_was_under_way_is_not_learned_from_once_it_is_dropped():
    group = Group(1)
    sample_ahead(group)
    drop_requested_rollouts(group)
    assert sample_ahead(group)[0] == ["rollout 3 of 1"]
