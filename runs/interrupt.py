"""What ends a run or a search before its time, so that it can go on later: signals, and a disk that fills up.

| signal | before training | during training |
|---|---|---|
| SIGINT (Ctrl-C), SIGTERM, SIGHUP | ends at once, exit code 1 | a checkpoint, then the end, exit code 1 |
| SIGUSR1 | nothing | a checkpoint, and training goes on (`on_usr1=stop`: as SIGTERM) |

Terminals and schedulers send them to all processes of a run, those of Ray included, which would die of them. So Ray's
processes are started with these signals blocked, and the driver alone decides.
"""

import errno
import io
import os
import shutil
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from run_directory.writing import RESERVE_MB

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
BEFORE_TRAINING = "stopped before the first update was done; the same line starts it again"
AGAIN_S = (
    1.0  # later than this a signal is meant: a terminal that closes and schedulers send several within milliseconds
)


class LastingStream(io.TextIOWrapper):
    """Standard output that outlives its terminal: once nobody can read it any more, what is written is dropped.

    A terminal that is closed sends SIGHUP, and `| tee` dies of the Ctrl-C that is meant for the run; a line that could
    not be printed must not end what was about to write a checkpoint.
    """

    def write(self, text: str) -> int:
        try:
            return super().write(text)
        except OSError:
            self.drop_everything()
            return len(text)

    def flush(self) -> None:
        try:
            super().flush()
        except OSError:
            self.drop_everything()

    def drop_everything(self) -> None:
        """Let the stream, and its buffer with what is left in it, go to /dev/null."""
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self.fileno())
        os.close(null)


def outlive_terminal() -> None:
    """Make standard output and standard error of this process last."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if isinstance(stream, io.TextIOWrapper):
            encoding, errors, at_once = stream.encoding, stream.errors, stream.line_buffering
            lasting = LastingStream(stream.detach(), encoding=encoding, errors=errors, line_buffering=at_once)
            setattr(sys, name, lasting)


def end_before_training(number: int = 0, frame: Any = None) -> None:
    """End this process and all below it: a handler of signals. There is nothing to save."""
    import psutil  # here: run.py asks for this file before it knows that the packages are there

    from environments.machine import kill_processes

    print(f"\n{Interrupt.word}", flush=True)
    kill_processes(psutil.Process().children(recursive=True))
    os._exit(1)  # no exception, which an import under way or Ray might catch


def handle_early_signals() -> None:
    """Until a run has its own handlers: SIGTERM and SIGHUP end the process with exit code 1, SIGUSR1 does nothing."""
    for number in heard(signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end_before_training)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


def heard(*numbers: signal.Signals) -> list[signal.Signals]:
    """Those that this process was not told to ignore, as `nohup` tells it of SIGHUP."""
    return [number for number in numbers if signal.getsignal(number) != signal.SIG_IGN]


@contextmanager
def signals_blocked_below() -> Iterator[None]:
    """Processes that are started meanwhile never hear the signals that end a run, nor SIGUSR1.

    In this process they end it at once, from a thread: it may be waiting for Ray in code that no handler interrupts.
    """
    ends, over = heard(signal.SIGTERM, signal.SIGHUP), threading.Event()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {*ends, signal.SIGUSR1})

    def watch() -> None:
        while not over.is_set():
            if signal.sigtimedwait(ends, 0.1):
                end_before_training()

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class Interrupt:
    """Whether to stop. Ray Tune asks at every report; the trial then writes its last checkpoint."""

    word = BEFORE_TRAINING  # what is said where there is nothing to save
    asked = False
    asked_at = 0.0  # by time.monotonic
    at_once = False  # without a checkpoint: there is no room for one
    why = ""  # the sentence for it, where it was not the user
    own_ray = False  # whether Ray ends with this process; one of a cluster lets a run end in good order at any time
    training = False  # whether a trial has reported since the run started
    checkpoints = 0  # how often one was asked for, beside those of checkpoint_every_s
    answered: dict[str, int] = {}  # trial -> to how many of these it has answered

    @classmethod
    def clear(cls) -> None:
        """Nobody has asked yet."""
        cls.asked, cls.at_once, cls.why, cls.training, cls.checkpoints, cls.answered = False, False, "", False, 0, {}

    @classmethod
    def ask(cls, number: int, frame: Any) -> None:
        """The user asks: a handler of signals."""
        if cls.own_ray and not cls.training:
            if number == signal.SIGUSR1:
                return
            end_before_training()
        if cls.asked:  # once more: at once
            if time.monotonic() - cls.asked_at > AGAIN_S and number != signal.SIGHUP:
                signal.signal(number, signal.SIG_DFL)
                os.kill(os.getpid(), number)
            return
        cls.asked, cls.asked_at = True, time.monotonic()
        print(
            "\nstopping: waiting for the update under way, then writing a checkpoint (again to stop at once)",
            flush=True,
        )

    @classmethod
    def ask_for_checkpoint(cls, number: int, frame: Any) -> None:
        """A scheduler warns: a handler of signals. Every trial writes a checkpoint after its next report."""
        cls.checkpoints += 1
        print("\nSIGUSR1: writing a checkpoint after the update under way, then going on", flush=True)

    @classmethod
    def answer(cls, trial: str, result: dict) -> None:
        """A trial has reported: training is under way, and where a checkpoint was asked for, Tune saves one now."""
        cls.training = True
        if cls.answered.get(trial, 0) < cls.checkpoints:
            cls.answered[trial] = cls.checkpoints
            result["should_checkpoint"] = True

    @classmethod
    def look_at_disk(cls, path: Path) -> None:
        """A disk asks that has less than RESERVE_MB left for `path`."""
        left = shutil.disk_usage(path).free >> 20
        if left < RESERVE_MB and not cls.asked:
            cls.asked = True
            cls.why = f"{path} has {left} MB left: stopped with a checkpoint while there was room for it"

    @classmethod
    def disk_is_full(cls, path: Path, error: BaseException | None) -> bool:
        """Whether it is for want of room that something could not be written below `path`, which ends all at once."""
        if not (isinstance(error, OSError) and error.errno in NO_ROOM):
            return False
        cls.asked = cls.at_once = True
        cls.why = f"{path} cannot be written ({error.strerror}): stopped, and the last checkpoint is whole"
        return True


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Where files below `path` are written: a full disk is no error of who writes them."""
    try:
        yield
    except OSError as error:
        if not Interrupt.disk_is_full(path, error):
            raise
