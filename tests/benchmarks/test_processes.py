"""What the benchmarks read of processes."""

import mmap
import os

from benchmarks.processes import pss_mib


def test_pages_of_files_count_only_where_they_are_asked_for(tmp_path):
    path = tmp_path / "library"
    path.write_bytes(bytes(32 << 20))
    before, own = pss_mib(os.getpid()), pss_mib(os.getpid(), with_files=False)
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as library:
        for place in range(0, 32 << 20, 4096):
            assert library[place] == 0
        assert pss_mib(os.getpid()) - before > 30
        assert abs(pss_mib(os.getpid(), with_files=False) - own) < 5


def test_own_pages_count_both_times():
    before, own = pss_mib(os.getpid()), pss_mib(os.getpid(), with_files=False)
    held = bytearray(os.urandom(32 << 20))
    assert pss_mib(os.getpid()) - before > 30 and pss_mib(os.getpid(), with_files=False) - own > 30
    del held


def test_a_process_that_has_ended_has_none():
    assert pss_mib(2**30) == 0.0
