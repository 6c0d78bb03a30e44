"""Requests to processes that do not wait for each other: which are under way, and which processes have failed.

    list_missing -> the caller asks -> add ... take_answers: all that have arrived

RLlib would wait for the slowest process, and ask a lost one at every step. Here a process that died, failed or does not
answer loses its requests. Ray starts it again while the others go on, and it is asked again until it answers.
"""

import time
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from typing import Any

import ray
from ray.exceptions import ActorUnavailableError, RayActorError, RayError, RayTaskError

from settings.mistakes import EnvironmentFault, find_cause, format_error

MAX_DEATHS = 5  # recent failures of one process that the run survives
FORGIVE_S = 600.0  # a failure that is older than this counts no longer, once the process has answered again
RETRY_S = 1.0  # between two requests to a process that starts again


class Requests:
    """The requests under way.

    Args:
        get_actors: returns the processes by number, lost ones included.
        timeout_s: a process that is silent for longer is taken for dead.

    Attributes:
        under_way: request -> its process.
        lost: a process that has failed and not answered since -> time.monotonic() from which on it is asked again.
        notices: sentences for the terminal, each of them once.
        num_replaced: how often a process was lost.
    """

    def __init__(self, get_actors: Callable[[], dict[int, Any]], timeout_s: float):
        self.get_actors, self.timeout_s = get_actors, timeout_s
        self.under_way: dict[ray.ObjectRef, int] = {}
        self.heard: dict[int, float] = {}  # process -> time.monotonic() of its last answer, or when it was asked first
        self.lost: dict[int, float] = {}
        self.deaths: dict[int, list[float]] = defaultdict(list)  # process -> time.monotonic() of each
        self.notices: list[str] = []
        self.num_replaced = 0

    def list_missing(self, most: Callable[[int], int]) -> list[int]:
        """Return the processes to ask now, each as often as requests are missing there.

        Args:
            most: returns the number of requests that a process may have under way; one that is lost may have one.
        """
        count, now = Counter(self.under_way.values()), time.monotonic()
        due = [process for process in self.get_actors() if self.lost.get(process, 0) <= now]
        return [p for p in due for _ in range((1 if p in self.lost else most(p)) - count[p])]

    def add(self, request: ray.ObjectRef, process: int) -> None:
        """Take note of a request that was sent."""
        if process not in self.under_way.values():
            self.heard[process] = time.monotonic()
        self.under_way[request] = process

    def take_answers(self) -> Iterator[tuple[Any, int]]:
        """Wait for an answer, RETRY_S seconds at most, and iterate over all that are there, each with its process.

        Raises:
            RuntimeError: a process has failed too often.
            EnvironmentFault: the environment of a process raised an error, or gave NaN.
        """
        requests = list(self.under_way)
        if not requests:
            time.sleep(RETRY_S)
        there = ray.wait(requests, num_returns=len(requests), timeout=0)[0]
        for request in there or ray.wait(requests, timeout=RETRY_S)[0]:
            if request not in self.under_way:  # its process has failed at the one before
                continue
            process = self.under_way.pop(request)
            try:
                answer = ray.get(request)
            except RayError as error:
                self.replace_process(process, error)
                continue
            self.heard[process] = now = time.monotonic()
            self.deaths[process] = [t for t in self.deaths[process] if now - t < FORGIVE_S]
            self.lost.pop(process, None)
            yield answer, process
        self.replace_silent_processes()

    def replace_silent_processes(self) -> None:
        """Replace the processes that have requests, and have answered none of them for `timeout_s`."""
        now = time.monotonic()
        late = [request for request, p in self.under_way.items() if now - self.heard[p] > self.timeout_s]
        answered, silent = ray.wait(late, num_returns=len(late), timeout=0)
        for process in {self.under_way[r] for r in silent} - {self.under_way[r] for r in answered}:
            self.replace_process(process, TimeoutError(f"no answer for {self.timeout_s:g} s"))

    def replace_process(self, process: int, error: Exception) -> None:
        """End a process that died, failed or does not answer, and let Ray start it again while the others go on.

        Raises:
            RuntimeError: the process has failed too often.
            EnvironmentFault: its environment raised an error, or gave NaN.
        """
        if isinstance(cause := find_cause(error), EnvironmentFault):
            raise cause from error
        self.under_way = {request: p for request, p in self.under_way.items() if p != process}
        self.num_replaced += process not in self.lost
        self.lost[process] = time.monotonic() + RETRY_S
        if isinstance(error, ActorUnavailableError):  # Ray is starting it again
            return
        why = format_error(error)
        self.deaths[process].append(time.monotonic())
        if len(self.deaths[process]) > MAX_DEATHS:
            kind = RayError if isinstance(error, RayActorError | TimeoutError) else RuntimeError  # not of its code
            raise kind(f"worker process {process} failed {len(self.deaths[process])} times: {why}") from error
        notice = f"worker process {process} failed and is started again ({why})"
        self.notices += [notice] * (notice not in self.notices)
        if isinstance(error, RayTaskError | TimeoutError):  # it is still there, in an unknown state
            ray.kill(self.get_actors()[process], no_restart=False)
