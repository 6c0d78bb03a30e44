"""Playing while learning: what was asked for last time comes first, and the next is asked for."""

import pytest

from rollouts.overlap import NEXT, forget, process, sample_ahead, signed


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
        if method is process:
            return [f"process {i}" for i in self.healthy_worker_ids() if i not in self.started_again]
        self.asked.append(("now", remote_worker_ids))
        return [self.play(i) for i in remote_worker_ids]

    def foreach_env_runner_async(self, method, tag):
        assert method is signed and tag == NEXT
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
    with pytest.raises(RuntimeError, match="every env runner is lost"):
        sample_ahead(group)


def test_what_was_under_way_is_not_learned_from_once_it_is_forgotten():
    group = Group(1)
    sample_ahead(group)
    forget(group)
    assert sample_ahead(group)[0] == ["rollout 3 of 1"]
