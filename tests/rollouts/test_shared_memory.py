"""Shared memory: another process reads and writes the same numbers, and whoever cannot is told so."""

import os
import subprocess
import sys

import numpy as np
import pytest

from environments.checkout import ROOT
from rollouts.shared_memory import Place, SharedVectors, open_vectors

OTHER = """
import sys
from rollouts.shared_memory import Place, open_vectors
rows = open_vectors(Place(sys.argv[1], sys.argv[2], int(sys.argv[3])))
assert rows.shape == (3, 5) and rows[1].tolist() == [0, 1, 2, 3, 4], rows
rows[1] *= 2
"""
needs_linux = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="memory without a file is Linux's")


@needs_linux
def test_another_process_reads_and_writes_the_same_vectors():
    shared = SharedVectors(3, 5)
    shared.rows[1] = np.arange(5)
    assert shared.place is not None
    subprocess.run([sys.executable, "-c", OTHER, *map(str, shared.place)], cwd=ROOT, check=True, timeout=60)
    assert shared.rows.tolist() == [[0] * 5, [0, 2, 4, 6, 8], [0] * 5] and shared.rows.dtype == np.float32


@needs_linux
def test_memory_that_is_not_there_or_is_another_is_not_opened(tmp_path):
    shared = SharedVectors(3, 5)
    assert shared.place is not None
    assert open_vectors(shared.place) is not None
    assert open_vectors(shared.place._replace(name="another")) is None
    assert open_vectors(Place("/proc/1/fd/999", shared.place.name, 5)) is None
    assert open_vectors(None) is None


@needs_linux
def test_nothing_is_left_open_and_what_was_opened_stays():
    shared = SharedVectors(3, 5)
    place, rows = shared.place, shared.rows
    opened = open_vectors(place)
    del shared
    assert open_vectors(place) is None
    rows[2] = 1
    assert opened is not None and opened[2].tolist() == [1] * 5


def test_where_the_system_has_no_such_memory_the_vectors_are_of_one_process(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    shared = SharedVectors(3, 5)
    assert shared.place is None and shared.rows.shape == (3, 5) and not shared.rows.any()
