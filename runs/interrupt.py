"""Signals and full disks: they stop a run or a search early, in such a way that it can continue later.

| signal | before training | during training |
|---|---|---|
| SIGINT (Ctrl-C), SIGTERM, SIGHUP, SIGUSR2, SIGXCPU | exits at once: code 1 | writes a checkpoint, then exits: 1 |
| SIGUSR1 | is ignored | writes a checkpoint and continues (with `on_usr1=stop`: like SIGTERM) |

Terminals and schedulers send these signals to all processes of a run, and Ray's processes would die of them. Therefore
Ray's processes are started with all of them blocked but SIGINT, and only the driver reacts to them.
"""

import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from run_directory.writing import FULL_DISK_ERRORS, RESERVE_MB
from settings.mistakes import Mistake

# Grid Engine warns of the end with SIGUSR2 (-notify) or SIGXCPU (a limit of CPU time), others with SIGTERM.
SCHEDULER_SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2, signal.SIGXCPU)
STOP_SIGNALS = (signal.SIGINT, *SCHEDULER_SIGNALS)
MESSAGE_BEFORE_TRAINING = (
    "stopped before the first update of this start, so nothing is lost; the same line starts it again"
)
MESSAGE_OF_STOP = "stopping: waiting for the update under way, then writing a checkpoint (again to stop at once)"
MESSAGE_OF_END = "stopping: no training is under way; waiting for loggers and Ray (again to stop at once)"
MESSAGE_OF_EVALUATIONS = "stopping: the evaluations that are left are played when the run is continued"
REPEAT_AFTER_S = 1.0  # before that, a signal is of the same request: terminals and schedulers send several at once


def exit_before_training(number: int = 0, frame: Any = None) -> None:
    """Handle a signal that arrives when there is nothing to save: kill all child processes and exit with code 1."""
    import psutil  # imported here because run.py imports this file before it checks that packages are installed

    from environments.machine import kill_processes

    print(f"\n{Interrupt.message}", flush=True)
    kill_processes(psutil.Process().children(recursive=True))
    os._exit(1)  # instead of an exception, which Ray or a running import might catch


def handle_early_signals() -> None:
    """Set the handlers for the time before a run sets its own.

    SCHEDULER_SIGNALS end the process with exit code 1, and SIGUSR1 is ignored.
    """
    for number in select_unignored_signals(*SCHEDULER_SIGNALS):
        signal.signal(number, exit_before_training)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def select_unignored_signals(*numbers: signal.Signals) -> list[signal.Signals]:
    """Return the signals that this process does not ignore; `nohup`, for example, makes it ignore SIGHUP."""
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


@contextmanager
def block_signals_in_children() -> Iterator[None]:
    """Block SCHEDULER_SIGNALS and SIGUSR1 in all processes that are started inside of this context.

    In this process, SCHEDULER_SIGNALS exit at once. A thread waits for them, because the main thread may be inside of
    Ray's C++ code, where Python runs no handlers.
    """
    ends, over = select_unignored_signals(*SCHEDULER_SIGNALS), threading.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*ends, signal.SIGUSR1})

    def exit_on_signal() -> None:
        while not over.is_set():
            if signal.sigtimedwait(ends, 0.1):
                exit_before_training()

    watcher = threading.Thread(target=exit_on_signal, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupt:
    """The requests to stop, or to write a checkpoint, of this process.

    Ray Tune's stopper reads them at every report of a trial. A trial that is stopped writes a last checkpoint.
    """

    message = MESSAGE_BEFORE_TRAINING  # printed at an exit with nothing to save
    stop_message = MESSAGE_OF_STOP  # printed at the first request
    stop_requested = False
    signalled_at: float | None = None  # the time of the first signal that asked to stop, of time.monotonic
    stop_without_checkpoint = False  # because the disk has no room for one
    reason = ""  # a sentence for the user, if the disk or a callback is the reason to stop
    owns_ray = False  # True if Ray was started by this process and not by a cluster
    saves = True  # False in a dry run, which has nothing to save
    training = False  # True after the first report of a trial
    has_ended = False  # True when no trial is left that could write a checkpoint
    num_checkpoint_requests = 0  # requests of the user, without those of checkpoint_every_s
    num_answered: dict[str, int] = {}  # trial -> how many of these requests it has met

    @classmethod
    def clear(cls) -> None:
        """Forget all requests."""
        cls.stop_requested, cls.stop_without_checkpoint, cls.reason = False, False, ""
        cls.training, cls.num_checkpoint_requests, cls.num_answered = False, 0, {}
        cls.stop_message, cls.signalled_at, cls.has_ended = MESSAGE_OF_STOP, None, False

    @classmethod
    def end_trials(cls) -> None:
        """Note that no trial is left that could write a checkpoint."""
        cls.has_ended, cls.stop_message = True, MESSAGE_OF_END

    @classmethod
    def begin_trials(cls) -> None:
        """Note that trials begin, of a search perhaps after others."""
        cls.has_ended, cls.stop_message = False, MESSAGE_OF_STOP

    @classmethod
    def begin_evaluations(cls) -> None:
        """Note that all trials have ended, and that the driver waits for evaluations: a request ends the wait."""
        cls.training, cls.stop_message = True, MESSAGE_OF_EVALUATIONS

    @classmethod
    def request_stop(cls, number: int, frame: Any) -> None:
        """Handle a signal that asks to stop.

        Before training, a run with a Ray of its own exits at once; a run on a cluster is stopped in good order at any
        time. A second signal, after REPEAT_AFTER_S, kills the process, except for SIGHUP and SIGXCPU.
        """
        if (cls.owns_ray or not cls.saves) and not cls.training:
            if number == signal.SIGUSR1:
                return
            exit_before_training()
        if cls.signalled_at is not None:
            repeated = time.monotonic() - cls.signalled_at > REPEAT_AFTER_S
            if repeated and number not in (signal.SIGHUP, signal.SIGXCPU):  # the kernel sends SIGXCPU every second
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
                os._exit(128 + number)  # the first process of a container, to which the kernel does not deliver it
            return
        cls.stop_requested, cls.signalled_at = True, time.monotonic()
        print(f"\n{cls.stop_message}", flush=True)

    @classmethod
    def request_checkpoint(cls, number: int, frame: Any) -> None:
        """Handle a signal that asks for a checkpoint; every trial writes one at its next report."""
        if cls.has_ended or not cls.training:
            return
        cls.num_checkpoint_requests += 1
        print("\nSIGUSR1: writing a checkpoint after the update under way, then going on", flush=True)

    @classmethod
    def handle_report(cls, trial: str, result: dict) -> None:
        """Note the report of a trial, and set `should_checkpoint` in its result if it has not met a request yet.

        Ray Tune then saves a checkpoint of the trial.
        """
        cls.training = True
        if cls.num_answered.get(trial, 0) < cls.num_checkpoint_requests:
            cls.num_answered[trial] = cls.num_checkpoint_requests
            result["should_checkpoint"] = True

    @classmethod
    def stop_for(cls, reason: str) -> None:
        """Request a stop with a checkpoint for a reason, a sentence for the user; the first request stays."""
        if not cls.stop_requested:
            cls.stop_requested, cls.reason = True, reason

    @classmethod
    def check_disk_space(cls, path: Path) -> None:
        """Request a stop if the disk of `path` has less than RESERVE_MB left."""
        left = shutil.disk_usage(path).free >> 20
        if left < RESERVE_MB:
            cls.stop_for(f"{path} has {left} MB left: stopped with a checkpoint while there was room for it")

    @classmethod
    def stop_if_disk_full(cls, path: Path, error: BaseException | None) -> bool:
        """Return whether an error means that the disk of `path` is full; if so, request a stop without a checkpoint."""
        if not (isinstance(error, OSError) and error.errno in FULL_DISK_ERRORS):
            return False
        cls.stop_requested = cls.stop_without_checkpoint = True
        cls.reason = f"{path} cannot be written ({error.strerror}): stopped without another checkpoint"
        return True


@contextmanager
def stop_on_file_error(path: Path, may_save: bool = True) -> Iterator[None]:
    """Request a stop where files below `path` cannot be read or written; with a checkpoint if it `may_save` one and
    the disk is not full. One that came after a row that was lost would leave a gap in the table."""
    try:
        yield
    except (OSError, Mistake) as found:
        error = found.__cause__ if isinstance(found, Mistake) else found
        if not isinstance(error, OSError) or not error.errno or isinstance(error, ConnectionError):  # of Ray
            raise
        if Interrupt.stop_if_disk_full(path, error):
            return
        why = f"{error.filename or path} cannot be read or written ({error.strerror}): stopped"
        Interrupt.stop_requested, earlier = True, Interrupt.reason
        Interrupt.stop_without_checkpoint |= not may_save
        Interrupt.reason = earlier if why in earlier else f"{earlier}\n{why}".strip()
