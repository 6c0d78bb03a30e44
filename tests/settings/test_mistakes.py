"""What went wrong in another process, told in a line."""

import pytest
import ray
from ray.exceptions import RayActorError, RayError, RayTaskError

from settings.mistakes import find_cause, format_error

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
        assert type(find_cause(error)) is ValueError and str(find_cause(error)) == TEXT
        assert format_error(error) == "ValueError: two"


def test_of_an_actor_that_could_not_start_its_last_words(shared_ray):
    error = raised(Unborn.remote().ping.remote())
    assert isinstance(error, RayActorError)
    assert format_error(error) == "KeyError: 'no such game'"


def test_an_error_of_this_process_is_its_own_cause():
    error = RuntimeError()
    assert find_cause(error) is error and format_error(error) == "RuntimeError: "
