"""Benchmarks: what is compared with what, and what the table says of it."""

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import pytest

if sys.platform != "linux":
    pytest.skip("the benchmarks read /proc", allow_module_level=True)

import gymnasium

from benchmarks import neighbours, processes, rounds, slow_games
from benchmarks.actor_critics import SUITE
from benchmarks.cleanrl_speed import SCRIPT
from benchmarks.throughput import summarize_cleanrl
from benchmarks.workers import summarize
from settings.mistakes import Mistake
from tests.runs.tiny_runs import names_of, wait_for


def measured(**speeds) -> dict:
    return {name: {"agent_steps_per_s": speed} for name, speed in speeds.items()}


@pytest.mark.parametrize(
    "kind, good, bad",
    [
        (rounds.parse_count, {"1": 1, "1_000": 1000}, "0 -3 1.5 x"),
        (rounds.parse_duration, {"0.5": 0.5, "3": 3.0}, "0 -1 nan inf x"),
    ],
)
def test_numbers_of_nothing_are_refused(kind, good, bad):
    assert {text: kind(text) for text in good} == good
    for text in bad.split():
        with pytest.raises(argparse.ArgumentTypeError, match=text):
            kind(text)


def test_the_order_turns_round_every_other_round(capsys):
    order = []

    def contestant(name: str):
        def run(folder):
            order.append(name)
            assert not list(folder.iterdir())
            return {"agent_steps_per_s": 1.0}

        return run

    found = rounds.take_turns({name: contestant(name) for name in "abc"}, 3)
    assert "".join(order) == "abccbaabc"
    assert [sorted(measured) for measured in found] == [["a", "b", "c"]] * 3


def test_a_run_that_has_begun_is_found_though_its_checkpoints_come_and_go(tmp_path, monkeypatch):
    run, real = tmp_path / "ppo" / "assault" / "a1", os.scandir
    (run / "checkpoints" / ".last.new").mkdir(parents=True)
    (run / "progress.csv").write_text("agent_steps,agent_steps_per_s\n")

    def scandir(path="."):
        if str(path).endswith(".last.new"):
            raise FileNotFoundError(path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert rounds.find_begun(tmp_path) == []
    (run / "progress.csv").write_text("agent_steps,agent_steps_per_s\n1024,500\n")
    (tmp_path / "progress.csv").write_text("training_iteration\n1\n")  # Ray Tune's
    assert rounds.find_begun(tmp_path) == [run / "progress.csv"]


def test_a_ratio_is_taken_within_a_round_before_the_median():
    faster, slower = [100.0, 10.0, 40.0], [50.0, 10.0, 10.0]
    assert rounds.divide_rounds(faster, slower) == [2.0, 1.0, 4.0]
    assert "| a    |   2.00 | 1.00 .. 4.00 |    3 |" in rounds.format_table(
        {"a   ": rounds.divide_rounds(faster, slower)}
    )


def test_the_warm_up_is_not_counted():
    rows = [
        {"agent_steps": steps, "wall_time_s": seconds}
        for steps, seconds in [("100", "50.0"), ("200", "60.0"), ("300", "61.0"), ("500", "63.0")]
    ]
    steps_per_s, timed_s, last = rounds.compute_speed(rows, warm_up=150)
    assert (steps_per_s, timed_s, last) == (100.0, 3.0, rows[-1])


def test_scaling_is_the_share_of_so_many_workers_alone():
    even = measured(a3c_1=100, a3c_4=360, a2c_4=200)
    lines = summarize([even | measured(a3c_4_one_slow=270, a2c_4_one_slow=20)], [1, 4], 4)
    assert lines["A3C, workers: 4 / 4 x alone"] == [0.9]
    assert lines["A3C, workers: 4, one 10 times slower / all even"] == [0.75]
    assert lines["A2C, env runners: 4, one 10 times slower / all even"] == [0.1]


def test_only_the_first_process_that_plays_is_slow(tmp_path, monkeypatch):
    slept = []
    monkeypatch.setattr(slow_games.time, "sleep", slept.append)
    monkeypatch.setenv(slow_games.SLOWEST, str(tmp_path / "slowest"))

    def play():
        slow_games.find_slowness.cache_clear()  # as in another process
        env = gymnasium.make("benchmarks.slow_games:SlowGame-v0")
        env.reset(seed=0)
        for _ in range(2):
            env.step(0)

    gymnasium.make("benchmarks.slow_games:SlowGame-v0").reset(seed=0)  # looks, does not play
    play()
    play()
    assert slept == [0.05, 0.05, 0.005, 0.005]


@pytest.mark.parametrize("name", SUITE)
def test_what_is_measured_can_be_typed(name, compose, machine_with):
    machine_with(2)
    words, agent_steps = SUITE[name]
    settings = compose((*words, "env=assault", "model=nature_cnn"))
    assert agent_steps % (settings["algo"]["num_envs"] * settings["algo"]["horizon"]) == 0


@pytest.mark.end_to_end
def test_cleanrls_script_is_timed_by_the_lines_that_it_prints_after_its_warm_up(tmp_path):
    """A script of the same name in its place: its first two updates are slow."""
    (tmp_path / SCRIPT).write_text(
        "import sys, time, pathlib\n"
        "assert {'--env-id=Assault-v5', '--total-timesteps=6144', '--no-cuda'} == set(sys.argv[1:])\n"
        "for update in range(6):\n"
        "    time.sleep(3.0 if update < 2 else 0.1)\n"
        "    pathlib.Path(__file__).with_name(f'done_{update}').write_text(str(time.perf_counter()))\n"
        "    print('global_step=7, episodic_return=3.0')\n"
        "    print('SPS:', 5)\n"
    )
    command = [sys.executable, "-m", "benchmarks.cleanrl_speed", f"--cleanrl-path={tmp_path}", "--updates=4", "--json"]
    printed = subprocess.run(command, cwd=rounds.ROOT, capture_output=True, text=True, check=True).stdout
    end, found = time.perf_counter(), json.loads(printed.splitlines()[-1])
    warm = float((tmp_path / "done_1").read_text())
    assert found["agent_steps"] == 4096 and 0 < found["elapsed_s"] < end - warm, "without the two slow updates"

    (tmp_path / SCRIPT).write_text("print('SPS: 5')")
    done = subprocess.run(command, cwd=rounds.ROOT, capture_output=True, text=True)
    assert done.returncode == 1 and "after 1 updates" in done.stderr


def test_a_signal_leaves_no_folder_of_cleanrls_script(tmp_path):
    (tmp_path / SCRIPT).write_text("import time; open('begun', 'w').close(); time.sleep(600)")
    folders = tmp_path / "folders"
    folders.mkdir()
    command = [sys.executable, "-m", "benchmarks.cleanrl_speed", f"--cleanrl-path={tmp_path}"]
    with processes.run_process(command, rounds.ROOT, tmp_path / "log", {"TMPDIR": str(folders)}) as process:
        wait_for(lambda: list(folders.glob("*/begun")))
        process.terminate()
        assert process.wait(30) == 128 + signal.SIGTERM
    assert not list(folders.iterdir())


@pytest.mark.parametrize(("error", "code"), [(Mistake("no such model"), 2), (KeyboardInterrupt(), 130)])
def test_a_mistake_and_ctrl_c_end_a_benchmark_without_a_traceback(error, code, monkeypatch, capsys):
    monkeypatch.setattr(signal, "signal", lambda *_: None)

    def main():
        raise error

    with pytest.raises(SystemExit) as end:
        rounds.run_main(main)
    assert end.value.code == code and str(error) in capsys.readouterr().err


def test_what_the_caller_had_started_before_a_contestant_stays(tmp_path):
    """Tests have a Ray of their own, and `benchmarks.neighbours` its busy program."""
    mine = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    try:
        with processes.run_process(
            [sys.executable, "-c", "import time; time.sleep(600)"], tmp_path, tmp_path / "log"
        ) as one:
            pass
        assert one.poll() is not None and mine.poll() is None
    finally:
        mine.kill()
        mine.wait()


def test_cleanrl_has_lines_where_it_took_part():
    of_all = measured(suite=300.0) | measured(cleanrl=100.0)
    assert summarize_cleanrl([measured(suite=300.0)], [300.0]) == {}
    assert summarize_cleanrl([of_all], [300.0])["this suite / CleanRL on EnvPool"] == [3.0]


def test_what_a_run_keeps_beside_a_busy_program_is_taken_within_a_round():
    every = measured(auto_0=600, auto_1=400, openmp_0=500, openmp_1=100)
    lines = neighbours.summarize([every])
    assert lines["auto, beside / quiet"] == [pytest.approx(2 / 3)] and lines["openmp, beside / quiet"] == [0.2]
    assert lines["beside a busy program, auto / openmp"] == [4.0]


def test_the_busy_program_is_there_while_the_run_is_and_not_afterwards(monkeypatch, tmp_path):
    seen = []

    def count_busy():
        return sum(names_of(process) == " ".join(neighbours.NEIGHBOUR) for process in processes.list_descendants())

    def run_suite(folder, warm_up, timed, *words):
        if expected:  # a process that has just started has no command line for a moment
            wait_for(count_busy)
        seen.append((warm_up, timed, words[-1], count_busy()))
        return {"agent_steps_per_s": 1.0}

    monkeypatch.setattr(neighbours, "run_suite", run_suite)
    for threads, expected in (("auto", 0), ("auto", 1), ("openmp", 1)):
        neighbours.make_contestant(threads, expected, 1)(tmp_path)
    assert seen == [
        (24 * 1024, 16 * 1024, "cluster.threads=auto", 0),
        (24 * 1024, 16 * 1024, "cluster.threads=auto", 1),
        (1024, 4 * 1024, "cluster.threads=openmp", 1),
    ]
    assert count_busy() == 0
