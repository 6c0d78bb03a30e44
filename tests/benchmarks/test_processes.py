"""What the benchmarks read of processes."""

import signal
import subprocess
import sys

import psutil
import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

from benchmarks import processes
from benchmarks.processes import read_pss_mib
from environments.checkout import ROOT
from tests.runs.tiny_runs import wait_for


def test_pages_of_files_count_only_where_they_are_asked_for(tmp_path, monkeypatch):
    rollup = tmp_path / "smaps_rollup"
    rollup.write_text("Pss: 4096 kB\nPss_Dirty: 512 kB\nPss_Anon: 1024 kB\nPss_File: 3072 kB\nPss_Shmem: 0 kB\n")
    monkeypatch.setattr(processes, "Path", lambda name: rollup)
    assert read_pss_mib(1) == 4.0 and read_pss_mib(1, with_files=False) == 1.0


OWN_PAGES = """
import mmap, os
from benchmarks.processes import read_pss_mib

me = os.getpid()
before, own = read_pss_mib(me), read_pss_mib(me, with_files=False)
with mmap.mmap(-1, 32 << 20, flags=mmap.MAP_PRIVATE) as held:  # new pages: a list would get freed ones again
    held.write(b"x" * (32 << 20))
    print(read_pss_mib(me) - before, read_pss_mib(me, with_files=False) - own)
"""


def test_own_pages_count_both_times():
    # A process of its own: what else this one holds, other tests' workers share or give back meanwhile.
    done = subprocess.run([sys.executable, "-c", OWN_PAGES], cwd=ROOT, capture_output=True, text=True, check=True)
    with_files, without = (float(word) for word in done.stdout.split())
    assert with_files > 30 and without > 30


STUBBORN = '''
import pathlib, signal, subprocess, sys, threading, time, os
from benchmarks.processes import adopt_orphans, run_process
from benchmarks.rounds import run_main

child = """
import signal, time
signal.signal(signal.SIGTERM, lambda *_: print('asked', flush=True))
print('ready', flush=True)
for _ in range(600):
    time.sleep(0.1)
"""

def main():
    log = pathlib.Path(sys.argv[1])
    with run_process([sys.executable, "-c", child], log.parent, log) as process:
        while "ready" not in log.read_text():
            time.sleep(0.01)
        print(process.pid, flush=True)
        time.sleep(60)

run_main(main)
'''


@pytest.mark.parametrize("number", processes.STOPPING)
def test_a_second_signal_does_not_spare_a_process_that_ignores_the_first(number, tmp_path):
    log = tmp_path / "log"
    command = [sys.executable, "-c", STUBBORN, str(log)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as benchmark:
        assert benchmark.stdout is not None
        child = psutil.Process(int(benchmark.stdout.readline()))
        benchmark.send_signal(number)
        wait_for(lambda: "asked" in log.read_text())  # by the clean-up, which is under way
        benchmark.send_signal(number)
        assert benchmark.wait(120) == (130 if number == signal.SIGINT else 128 + number)
    assert not child.is_running()


def test_a_process_that_has_ended_has_none():
    assert read_pss_mib(2**30) == 0.0
