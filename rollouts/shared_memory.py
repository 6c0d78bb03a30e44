"""Memory that the processes of one machine share, for vectors that go back and forth between two of them.

    training process: SharedVectors --its `place`--> env runner: open_vectors

The memory is no file: it is found as /proc/<process>/fd/<number> while the process that made it lives, and nothing is
left of it afterwards, however that process ended. On another machine or in another container there is nothing to be
found, and data has to be sent through Ray.
"""

import mmap
import os
import uuid
from typing import NamedTuple

import numpy as np


class Place(NamedTuple):
    """Where a process of the same machine finds shared vectors."""

    path: str
    name: str  # of the memory that has to be there: on another machine the path may lead to something else
    size: int  # numbers in a vector


class SharedVectors:
    """Vectors that other processes of this machine can read and write.

    Attributes:
        rows: float32 [number, size], zeros at first.
        place: what `open_vectors` takes in another process; None where the system knows no such memory.
    """

    def __init__(self, number: int, size: int):
        self.place: Place | None = None
        if not hasattr(os, "memfd_create"):  # it is Linux's
            self.rows = np.zeros((number, size), np.float32)
            return
        name = f"vectors-{uuid.uuid4().hex}"
        self._file = os.fdopen(os.memfd_create(name), "r+b")
        self._file.truncate(4 * number * size)
        self.rows = _map_vectors(self._file.fileno(), size)
        self.place = Place(f"/proc/{os.getpid()}/fd/{self._file.fileno()}", name, size)


def open_vectors(place: Place | None) -> np.ndarray | None:
    """Return the vectors of another process, float32 [number, size]; None where this process cannot share them."""
    if place is None:
        return None
    try:
        if os.readlink(place.path) != f"/memfd:{place.name} (deleted)":
            return None
        with open(place.path, "r+b") as file:
            return _map_vectors(file.fileno(), place.size)
    except OSError:
        return None


def _map_vectors(descriptor: int, size: int) -> np.ndarray:
    """Return the memory behind a file descriptor, float32 [number, size]; it stays when the descriptor is closed."""
    return np.frombuffer(mmap.mmap(descriptor, 0), np.float32).reshape(-1, size)
