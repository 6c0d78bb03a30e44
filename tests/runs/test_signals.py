"""Signals of schedulers and terminals, which go to every process of a run."""

import array
import fcntl
import math
import os
import pty
import signal
import subprocess
import sys
import termios
import threading
import time
from pathlib import Path

import pytest

import run
from runs import interrupt
from runs.interrupt import Interrupt, block_signals_in_children
from tests.runs.tiny_runs import TINY, names_of, processes_below, wait_for

RUN_PY = Path(run.__file__).resolve()
EARLY = "import signal, sys, time\n{}from runs.interrupt import handle_early_signals\nhandle_early_signals()\n"
WAITS = "print('ready', flush=True)\ntime.sleep(60)\n"


def started(code: str) -> subprocess.Popen:
    process = subprocess.Popen([sys.executable, "-c", code], cwd=RUN_PY.parent, stdout=subprocess.PIPE, text=True)
    assert process.stdout and process.stdout.readline() == "ready\n"
    return process


@pytest.mark.parametrize("number", interrupt.SCHEDULER_SIGNALS)
def test_a_signal_while_the_command_is_imported_ends_it_with_1(number):
    process = started(EARLY.format("") + WAITS)
    process.send_signal(signal.SIGUSR1)  # which does nothing
    process.send_signal(number)
    assert process.communicate(timeout=120)[0].strip() == interrupt.MESSAGE_BEFORE_TRAINING
    assert process.returncode == 1


def test_nohup_keeps_its_promise():
    process = started(EARLY.format("signal.signal(signal.SIGHUP, signal.SIG_IGN)\n") + WAITS)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 1


def test_processes_that_ray_starts_never_hear_them_and_this_one_does(monkeypatch):
    ended = threading.Event()
    monkeypatch.setattr(interrupt, "exit_before_training", lambda *_: ended.set())
    before = signal.pthread_sigmask(signal.SIG_BLOCK, [])
    old = signal.signal(signal.SIGTERM, lambda *_: ended.set())
    with block_signals_in_children():
        child = subprocess.Popen([sys.executable, "-c", WAITS.replace("time.", "import time; time.")])
        for number in (*interrupt.SCHEDULER_SIGNALS, signal.SIGUSR1):
            child.send_signal(number)
        os.kill(os.getpid(), signal.SIGTERM)
        wait_for(ended.is_set)  # by the watching thread, or by the handler where another thread was sent the signal
    assert child.poll() is None
    child.kill()
    child.wait()
    signal.signal(signal.SIGTERM, old)
    assert signal.pthread_sigmask(signal.SIG_BLOCK, []) == before


def test_every_trial_answers_each_request_for_a_checkpoint_once():
    Interrupt.clear()

    def due(trial: str) -> bool:
        Interrupt.handle_report(trial, result := {"should_checkpoint": False})
        return result["should_checkpoint"]

    assert not due("a") and Interrupt.training
    Interrupt.request_checkpoint(signal.SIGUSR1, None)
    assert [due("a"), due("b"), due("a"), due("b")] == [True, True, False, False]
    Interrupt.request_checkpoint(signal.SIGUSR1, None)
    assert [due("a"), due("a")] == [True, False] and not Interrupt.stop_requested
    Interrupt.clear()


def test_sigterm_to_all_processes_before_training_ends_them_with_1_and_one_line(tmp_path):
    process = subprocess.Popen(
        [sys.executable, str(RUN_PY), *TINY, "stop.agent_steps=10_000_000", "output_dir=outputs"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )

    def ray_starts() -> bool:
        return any("gcs_server" in names_of(one) for one in processes_below(process.pid))

    wait_for(lambda: ray_starts() or process.poll() is not None, timeout_s=240)
    process.send_signal(signal.SIGSTOP)  # it gets no further before it hears of the signal
    below = processes_below(process.pid)
    os.killpg(process.pid, signal.SIGTERM)
    process.send_signal(signal.SIGCONT)
    printed, _ = process.communicate(timeout=120)
    assert process.returncode == 1, printed
    said = [line for line in printed.splitlines() if line and not line.startswith("starting ")]
    assert len(said) == 1 and said[0].startswith("stopped "), printed
    assert "GCS" not in printed and "Traceback" not in printed
    wait_for(lambda: not any(one.is_running() and names_of(one) for one in below), timeout_s=90)


TOGETHER = """import signal, time
from runs.interrupt import Interrupt
numbers = {signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM}
Interrupt.training = True
for number in numbers:
    signal.signal(number, Interrupt.request_stop)
signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
print("ready", flush=True)
while signal.sigpending() != numbers:  # all of them are handled at once, however slow the machine is
    time.sleep(0.05)
signal.pthread_sigmask(signal.SIG_UNBLOCK, numbers)
print("whole", Interrupt.stop_requested)
"""
TRAINS = """import signal, sys, time
from pathlib import Path
from rich.console import Console
from rich.live import Live
from command_line.output_streams import protect_output_streams
from runs.interrupt import STOP_SIGNALS, Interrupt
protect_output_streams()
Interrupt.training = True
for number in STOP_SIGNALS:
    signal.signal(number, Interrupt.request_stop)
with Live(console=Console()) as live:
    print("ready", flush=True)
    while not Interrupt.stop_requested:
        live.update(str(time.time()))
        time.sleep(0.01)
    live.update("a checkpoint is written")
Path(sys.argv[1]).write_text("whole")
print("to continue: ...")
sys.exit(1)
"""


@pytest.mark.parametrize("terminal", [True, False], ids=["a-closed-terminal", "a-reader-that-died"])
def test_a_run_that_nobody_can_read_any_more_still_writes_its_checkpoint(terminal, tmp_path):
    ours, theirs = pty.openpty() if terminal else os.pipe()
    words = [sys.executable, "-c", TRAINS, str(tmp_path / "checkpoint")]
    adopt = "import fcntl, os, sys, termios; fcntl.ioctl(1, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
    if terminal:  # its own, which sends SIGHUP when it is closed
        words = [sys.executable, "-c", adopt, *words]
    process = subprocess.Popen(
        words, cwd=RUN_PY.parent, stdin=theirs, stdout=theirs, stderr=theirs, start_new_session=True
    )
    os.close(theirs)
    said = b""
    while b"ready" not in said:
        said += os.read(ours, 100)
    os.close(ours)
    if not terminal:
        process.send_signal(signal.SIGINT)
    assert process.wait(timeout=120) == 1
    assert (tmp_path / "checkpoint").read_text() == "whole"


def test_signals_that_come_together_are_one():
    process = started(TOGETHER)
    for number in (signal.SIGHUP, signal.SIGUSR1, signal.SIGTERM):
        process.send_signal(number)
    assert process.communicate(timeout=120)[0].endswith("whole True\n") and process.returncode == 0


def test_what_is_said_where_there_is_nothing_to_save(monkeypatch, capsys):
    monkeypatch.setattr("environments.machine.kill_processes", lambda processes: None)
    monkeypatch.setattr(os, "_exit", lambda code: None)
    monkeypatch.setattr(Interrupt, "message", "stopped")
    interrupt.exit_before_training()
    assert capsys.readouterr().out.strip() == "stopped"


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGXCPU])
def test_a_signal_that_comes_again_by_itself_is_no_second_request(number, monkeypatch):
    """A closing terminal sends SIGHUP twice; past a limit of CPU time, the kernel sends SIGXCPU every second."""
    killed = []
    Interrupt.clear()
    monkeypatch.setattr(os, "kill", lambda pid, number: killed.append(number))
    monkeypatch.setattr(Interrupt, "training", True)
    Interrupt.request_stop(number, None)
    Interrupt.signalled_at = -math.inf
    Interrupt.request_stop(number, None)
    assert Interrupt.stop_requested and not killed
    Interrupt.clear()


WRITES = """import os, signal
from command_line.output_streams import protect_output_streams
from runs.interrupt import Interrupt
protect_output_streams()
Interrupt.training = Interrupt.owns_ray = True
signal.signal(signal.SIGTERM, Interrupt.request_stop)
while not Interrupt.stop_requested:
    print("a row " * 1000, flush=True)
os.write(2, b"in order")
"""


def test_a_signal_that_comes_while_a_row_waits_for_a_slow_reader_stops_in_order():
    """The handler prints, too, and Python forbids it to write into what is being written."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    process = subprocess.Popen([sys.executable, "-c", WRITES], cwd=RUN_PY.parent, env=environment, **pipes)
    assert process.stdout and process.stderr
    unread, before = array.array("i", [0]), -1
    while not 0 < unread[0] == before:  # the pipe is full
        before = unread[0]
        assert process.poll() is None
        time.sleep(1)
        fcntl.ioctl(process.stdout, termios.FIONREAD, unread)
    process.send_signal(signal.SIGTERM)
    time.sleep(1)  # it may handle the signal before it is read, which is what can go wrong
    threading.Thread(target=process.stdout.read, daemon=True).start()
    assert process.stderr.read() == b"in order" and process.wait(120) == 0


@pytest.mark.parametrize("unbuffered", ["", "1"])
def test_what_is_said_is_read_at_once_where_python_does_not_buffer(unbuffered):
    """Containers set PYTHONUNBUFFERED; standard error is never buffered by whole blocks."""
    code = (
        "import sys, time\nfrom command_line.output_streams import protect_output_streams\nprotect_output_streams()\n"
    )
    code += "print('said', file=sys.stderr)\ntime.sleep(60)"
    environment = os.environ | {"PYTHONUNBUFFERED": unbuffered}
    process = subprocess.Popen(
        [sys.executable, "-c", code], cwd=RUN_PY.parent, stderr=subprocess.PIPE, env=environment, text=True
    )
    assert process.stderr
    reader = threading.Thread(target=process.stderr.readline, daemon=True)
    reader.start()
    reader.join(120)
    read = not reader.is_alive()
    process.kill()
    process.wait()
    assert read
