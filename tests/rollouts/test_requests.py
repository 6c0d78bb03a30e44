"""Requests: who is asked, what has arrived, and processes that fail, hang or come back."""

import time
from types import SimpleNamespace

import pytest
import ray

from rollouts import requests
from rollouts.requests import FORGIVE_S, MAX_DEATHS, Requests
from settings.mistakes import EnvironmentFault

pytestmark = pytest.mark.usefixtures("shared_ray")


@ray.remote
def sleeper():
    time.sleep(60)


@ray.remote
def failing():
    raise RuntimeError("no licence")


@pytest.fixture
def killed(monkeypatch):
    """The processes that are ended, none of which there is."""
    processes = []
    monkeypatch.setattr(ray, "kill", lambda actor, no_restart: processes.append(actor))
    return processes


@pytest.fixture
def centre(killed):
    """Requests to three processes that do not exist, with a limit of 50 s."""
    return Requests(lambda: {1: "one", 2: "two", 3: "three"}, timeout_s=50)


@pytest.fixture
def silent():
    """A request without an answer."""
    request = sleeper.remote()
    yield request
    ray.cancel(request, force=True)


def test_who_has_fewer_requests_than_it_may_is_asked_and_who_has_failed_is_asked_for_one(centre):
    most = {1: 2, 2: 2, 3: 1}.__getitem__
    assert centre.list_missing(most) == [1, 1, 2, 2, 3]
    first, second = ray.put("a"), ray.put("b")
    centre.add(first, 1)
    centre.add(second, 3)
    assert centre.list_missing(most) == [1, 2, 2]
    centre.lost = {1: 0.0, 2: 0.0, 3: time.monotonic() + 100}
    assert centre.list_missing(most) == [2]  # 1 has one
    del centre.under_way[second]
    assert centre.list_missing(most) == [2]  # it is too early to ask 3


def test_all_that_has_arrived_is_taken_in_the_order_of_the_requests(centre, silent):
    for process, request in enumerate([ray.put("a"), silent, ray.put("b")], start=1):
        centre.add(request, process)
    assert list(centre.take_answers()) == [("a", 1), ("b", 3)]
    assert centre.under_way == {silent: 2}


def test_without_an_answer_one_waits_and_no_longer_than_the_pause_between_requests(centre, silent, monkeypatch):
    waits, wait = [], ray.wait
    monkeypatch.setattr(requests, "time", SimpleNamespace(monotonic=time.monotonic, sleep=waits.append))
    monkeypatch.setattr(
        ray, "wait", lambda *asked, timeout, **more: waits.append(timeout) or wait(*asked, timeout=0, **more)
    )
    for _ in range(2):  # without requests, and with one
        waits.clear()
        assert not list(centre.take_answers())
        assert max(waits) == requests.RETRY_S
        centre.add(silent, 1)


def test_failures_are_forgiven_once_the_process_answers_and_time_has_passed(centre):
    now = time.monotonic()
    centre.deaths[1], centre.lost = [now - FORGIVE_S - 1, now - 1], {1: now, 2: now}
    centre.add(ray.put("a"), 1)
    assert len(list(centre.take_answers())) == 1
    assert centre.deaths[1] == [now - 1] and centre.lost == {2: now}


def test_one_failure_counts_once_however_many_requests_it_costs(centre, silent, killed):
    lost = [failing.remote(), failing.remote()]
    ray.wait(lost, num_returns=2)
    for request, process in zip([*lost, silent], (1, 1, 2), strict=True):
        centre.add(request, process)
    assert not list(centre.take_answers())
    assert len(centre.deaths[1]) == centre.num_replaced == 1 and killed == ["one"]
    assert centre.under_way == {silent: 2} and 1 in centre.lost
    (notice,) = centre.notices
    assert "process 1" in notice and "RuntimeError: no licence" in notice


def test_a_process_that_always_fails_ends_the_run_with_what_it_failed_at(centre):
    with pytest.raises(RuntimeError, match=rf"process 1 .* {MAX_DEATHS + 1} times.*RuntimeError: no licence"):
        for _ in range(20):
            centre.replace_process(1, RuntimeError("no licence"))
    assert len(centre.notices) == centre.num_replaced == 1


def test_a_fault_of_the_environment_ends_the_run_at_once(centre):
    with pytest.raises(EnvironmentFault, match="no such level"):
        centre.replace_process(1, EnvironmentFault("no such level"))


def test_who_has_answered_while_the_caller_was_away_is_not_taken_for_dead(centre, silent, killed):
    """Ctrl-Z, a slow disk: every request is old, and one is answered while the caller looks at another."""
    late = ray.put("late")
    centre.add(ray.put("a"), 1)
    centre.add(silent, 3)
    for answer, _ in centre.take_answers():
        assert answer == "a"
        centre.add(late, 2)
        centre.heard = dict.fromkeys((1, 2, 3), time.monotonic() - 1000)
    assert killed == ["three"] and centre.under_way == {late: 2}
    assert [answer for answer, _ in centre.take_answers()] == ["late"]


def test_a_request_that_waits_for_the_one_before_is_not_late(centre, silent, killed):
    centre.add(ray.put("a"), 1)
    centre.heard[1] -= 49
    centre.add(silent, 1)
    assert len(list(centre.take_answers())) == 1
    for seconds, ended in ((49, []), (2, ["one"])):
        centre.heard[1] -= seconds
        centre.replace_silent_processes()
        assert killed == ended
