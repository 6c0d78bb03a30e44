"""What went wrong in another process, told in a line."""

import pytest
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from settings.mistakes import cause_of, in_a_line

TEXT = "two\nlines"


@ray.remote
def fails():
    raise ValueError(TEXT)


@ray.remote
def passes_it_on():
    return ray.get(fails.remote())


@ray.remote
class Unborn:
    def __init__(self):
        raise KeyError("no such game")

    def ping(self):
        return "pong"


def raised(reference) -> RayError:
    with pytest.raises(RayError) as caught:
        ray.get(reference)
    return caught.value


def test_the_cause_is_what_was_raised_however_many_processes_ago(shared_ray):
    for task in (fails, passes_it_on):
        error = raised(task.remote())
        assert isinstance(error, RayTaskError) and 'File "' in str(error)
        assert type(cause_of(error)) is ValueError and str(cause_of(error)) == TEXT
        assert in_a_line(error) == "ValueError: two"


def test_of_an_actor_that_could_not_start_its_last_words(shared_ray):
    error = raised(Unborn.remote().ping.remote())
    assert isinstance(error, RayActorError)
    assert in_a_line(error) == "KeyError: 'no such game'"


def test_an_error_of_this_process_is_its_own_cause():
    error = RuntimeError()
    assert cause_of(error) is error and in_a_line(error) == "RuntimeError: "
