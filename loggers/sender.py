"""The sender of a logger: a bounded queue, a thread that empties it, and the process that the thread talks to.

    driver -> queue -> thread -> pipe -> process (process.py) -> wandb, mlflow

The driver only puts messages into the queue, which never waits. The thread waits for the answers of the process,
however long they take. What does not fit into the queue, and what the process cannot send, is lost and counted.
"""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from typing import Any

from environments.checkout import ROOT
from environments.passwords import mask_passwords
from settings.mistakes import format_count, format_error

QUEUE_MESSAGES = 1000  # rows that wait at most: of a training, some minutes
RETRY_S = 30.0  # until a run that could not be opened, or a process that ended, is tried again; rows are lost meanwhile
POLL_S = 0.2
FULL = f"its queue of {QUEUE_MESSAGES:,} rows was full"


class SendError(RuntimeError):
    """A message that the logger did not take; the text says why."""


class Sender:
    """Sends rows and results to one logger. No call waits, but for `close`.

    Args:
        name: of the logger: wandb or mlflow.

    Attributes:
        lost: run directory -> its rows that were not sent.
        lost_from: run directory -> the agent steps of the first of them.
        lost_results: run directories with results that were not sent.
        lost_ends: run directories whose end the logger did not take.
        reason: why the last of them were lost.
        unfinished: run directories whose end the logger has not confirmed.
    """

    def __init__(self, name: str):
        self.name = name
        self.lost: Counter[str] = Counter()
        self.taken: Counter[str] = Counter()  # run directory -> its rows that the logger has taken
        self.lost_from: dict[str, int] = {}
        self.taken_to: dict[str, int] = {}  # run directory -> the agent steps of the newest of these
        self.lost_results: set[str] = set()
        self.lost_ends: set[str] = set()
        self.reason = ""
        self.unfinished: set[str] = set()
        self._facts: dict[str, dict[str, Any]] = {}  # run directory -> what its run is opened with
        self._queue: queue.Queue[dict[str, Any]] = queue.Queue(QUEUE_MESSAGES)
        self._notices: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._closing, self._killed = threading.Event(), threading.Event()
        self._lock = threading.Lock()  # of the counters
        # Only the thread touches these, but for `close`, which kills the process.
        self._process: subprocess.Popen | None = None
        self._opened: set[str] = set()
        self._retry_at, self._restart_at, self._told = dict[str, float](), 0.0, False
        self._thread = threading.Thread(target=self._work, name=f"logger {name}", daemon=True)
        self._thread.start()

    def open(self, run: str, facts: dict[str, Any]) -> None:
        """Say what a run is opened with, when its first message is sent; see `open` in wandb_runs.py."""
        self._facts[run] = facts

    def send_rows(self, run: str, rows: list[dict[str, float]]) -> None:
        """Send rows, each with finite numbers and `agent_steps` among them."""
        self._put({"do": "log", "run": run, "rows": rows})

    def send_amendment(self, run: str, row: dict[str, float]) -> None:
        """Send numbers that belong to the last row that was sent, whose `agent_steps` are among them."""
        self._put({"do": "amend", "run": run, "rows": [row]})

    def send_results(self, run: str, values: dict[str, float], files: dict[str, list[str]], steps: int | None) -> None:
        """Send values, name -> number, and the paths of files, kind -> paths."""
        self._put({"do": "add", "run": run, "values": values, "files": files, "agent_steps": steps})

    def finish(self, run: str, failed: bool) -> None:
        """End a run; it may be opened again."""
        self.unfinished.add(run)
        self._put({"do": "finish", "run": run, "failed": failed})

    def find_first_unsent(self, run: str) -> int | None:
        """Return the agent steps from which on rows of a run may not have arrived; None before any row has."""
        with self._lock:
            if run not in self.taken_to:
                return self.lost_from.get(run)
            return min(self.taken_to[run] + 1, self.lost_from.get(run, sys.maxsize))

    def take_notices(self) -> list[str]:
        """Return what the user should know and has not been told yet."""
        notices = []
        with suppress(queue.Empty):
            while True:
                notices.append(self._notices.get_nowait())
        return notices

    def close(self, deadline: float) -> None:
        """Wait until everything is sent, or until the deadline, of time.monotonic; then the rest is lost."""
        self._closing.set()
        self._thread.join(max(0.0, deadline - time.monotonic()))
        if self._thread.is_alive():
            self._killed.set()
            self._kill_process()
            self._thread.join(5)
        with suppress(queue.Empty):  # of a thread that still hangs
            while True:
                self._lose(self._queue.get_nowait(), "it did not answer")

    def describe_losses(self) -> list[str]:
        """Return sentences on the rows and results that were lost; none where nothing was."""
        lost, taken, sentences = self.lost.total(), self.taken.total(), []
        if lost:
            were = "was" if lost == 1 else "were"
            sentences.append(f"{lost:,} of {format_count(lost + taken, 'row')} {were} not sent")
        if self.lost_results:
            sentences.append("evaluations, videos or pages were not sent")
        if self.lost_ends and not sentences:
            sentences.append("the end of a run was not recorded there, so it may be shown as running")
        return [f"logger={self.name}: {sentence} ({self.reason})" for sentence in sentences]

    def _put(self, message: dict[str, Any]) -> None:
        try:
            self._queue.put_nowait(message)
        except queue.Full:
            self._lose(message, FULL)

    def _lose(self, message: dict[str, Any], reason: str) -> None:
        """Count the rows of a message as lost; the first time, the user is told why."""
        run, rows = message["run"], message["rows"] if message["do"] == "log" else ()
        with self._lock:
            first, self.reason = not self.reason, reason
            self.lost[run] += len(rows)
            for row in rows:
                self.lost_from[run] = min(int(row["agent_steps"]), self.lost_from.get(run, sys.maxsize))
            if message["do"] in ("add", "amend"):
                self.lost_results.add(run)
            elif message["do"] == "finish" and not self._killed.is_set():
                self.unfinished.discard(run)
                self.lost_ends.add(run)
        if first and not self._killed.is_set():
            self._notices.put(f"logger={self.name}: {reason}; the run goes on, and what is not sent is counted")

    def _work(self) -> None:
        try:
            self._ask({"do": "load", "run": ""})  # importing a package takes seconds, while Ray starts
        except Exception as error:
            self._lose({"do": "load", "run": ""}, describe_error(error))
        while True:
            try:
                message = self._queue.get(timeout=POLL_S)
            except queue.Empty:
                if self._closing.is_set():
                    break
                continue
            try:
                self._deliver(message)
            except Exception as error:
                self._lose(message, describe_error(error))
        self._end_process()

    def _deliver(self, message: dict[str, Any]) -> None:
        """Send a message, after opening its run where that has not been done.

        Raises:
            SendError: the logger did not take it.
        """
        run = message["run"]
        if message["do"] == "finish" and run not in self._opened:
            self.unfinished.discard(run)
            return
        if run not in self._opened:
            if time.monotonic() < max(self._retry_at.get(run, 0.0), self._restart_at):
                raise SendError(self.reason)
            try:
                answer = self._ask({"do": "open", "run": run, **self._facts[run]})
            except SendError:
                self._retry_at[run] = time.monotonic() + RETRY_S
                raise
            self._opened.add(run)
            if not self._told:  # of the first of many trials
                self._told = True
                self._notices.put(f"logger={self.name}: {mask_passwords(answer['where'])}")
        self._ask(message)
        with self._lock:
            if message["do"] == "log":
                self.taken[run] += len(message["rows"])
                self.taken_to[run] = int(message["rows"][-1]["agent_steps"])
        if message["do"] == "finish":
            self._opened.discard(run)
            self.unfinished.discard(run)

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        """Hand a message to the process, and return its answer.

        Raises:
            SendError: the answer is an error, or the process ended.
        """
        if self._killed.is_set():
            raise SendError("it did not answer")
        process = self._process = self._process or self._start_process()
        assert process.stdin and process.stdout
        line = ""
        with suppress(BrokenPipeError):
            process.stdin.write(json.dumps(message, default=str) + "\n")
            process.stdin.flush()
            line = process.stdout.readline()
        if not line:
            code = process.wait()
            self._process = None
            self._opened.clear()
            self._restart_at = time.monotonic() + RETRY_S
            if self._killed.is_set():
                raise SendError("it did not answer")
            raise SendError(f"its process ended with code {code}")
        answer = json.loads(line)
        if "error" in answer:
            raise SendError(answer["error"])
        return answer

    def _start_process(self) -> subprocess.Popen:
        """Start the process of the logger, in a session of its own, where no terminal sends it signals."""
        path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
        return subprocess.Popen(
            [sys.executable, "-m", "loggers.process", self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env=os.environ | {"PYTHONPATH": path},
            start_new_session=True,
        )

    def _end_process(self) -> None:
        """Close the pipe, at which the process ends, and wait for that."""
        if self._process:
            assert self._process.stdin
            with suppress(OSError):
                self._process.stdin.close()
            self._process.wait()

    def _kill_process(self) -> None:
        if process := self._process:  # read once: the thread may forget it meanwhile
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL)


def describe_error(error: Exception) -> str:
    """Return why a message was not sent, in a line without passwords."""
    return mask_passwords(str(error) if isinstance(error, SendError) else format_error(error))
