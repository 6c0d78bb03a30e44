"""What ends a run or a search before its time, so that it can go on later: the user, and a disk that fills up."""

import errno
import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOM_MB = 256  # that have to be left on the disk, for the last checkpoints
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)


class Interrupt:
    """Whether to stop. Ray Tune asks at every report; the trial then writes its last checkpoint."""

    asked = False
    at_once = False  # without a checkpoint: there is no room for one
    why = ""  # the sentence for it, where it was not the user

    @classmethod
    def clear(cls) -> None:
        """Nobody has asked yet."""
        cls.asked, cls.at_once, cls.why = False, False, ""

    @classmethod
    def ask(cls, number: int, frame: Any) -> None:
        """The user asks: a handler of signals."""
        if cls.asked:  # once more: at once
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
        cls.asked = True
        print(
            "\nstopping: waiting for the update under way, then writing a checkpoint (again to stop at once)",
            flush=True,
        )

    @classmethod
    def look_at_disk(cls, path: Path) -> None:
        """A disk asks that has less than ROOM_MB left for `path`."""
        left = shutil.disk_usage(path).free >> 20
        if left < ROOM_MB and not cls.asked:
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
