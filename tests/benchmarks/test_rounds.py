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
import numpy as np

from benchmarks import bare_loop, neighbours, processes, rounds, shards, slow_games
from benchmarks.actor_critics import SUITE
from benchmarks.actor_critics import summarize as summarize_actor_critics
from benchmarks.cleanrl_speed import SCRIPT
from benchmarks.throughput import summarize as summarize_ppo
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
        (rounds.parse_positive, {"0.5": 0.5, "3": 3.0}, "0 -1 nan inf x"),
        (shards.parse_neighbours, {"0": 0, "2": 2}, "-1 1.5 x"),
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

    found = [rounds.take_turns({name: contestant(name) for name in "abc"}, number) for number in range(3)]
    assert "".join(order) == "abccbaabc"
    assert [sorted(measured) for measured in found] == [["a", "b", "c"]] * 3


@pytest.mark.parametrize("error", [SystemExit("a contestant failed"), KeyboardInterrupt()])
def test_complete_rounds_stay_where_a_later_one_fails(error, tmp_path, capsys):
    def take_round(number: int) -> dict:
        if number == 2:
            raise error
        return {"speed": 10.0 + number}

    out, result = tmp_path / "new" / "result.json", {"machine": {}}
    with pytest.raises(type(error)):
        rounds.measure_rounds(result, 5, take_round, lambda found: {"speed": [r["speed"] for r in found]}, out)
    assert not out.exists(), "a complete result of before would stay"
    assert json.loads(out.with_suffix(".part.json").read_text()) == {
        "machine": {},
        "rounds": [{"speed": 10.0}, {"speed": 11.0}],
        "summary": {"speed": [10.0, 11.0]},
    }
    printed = capsys.readouterr().out
    assert "10.0 .. 11.0" in printed and "2 of 5" in printed and str(out.with_suffix(".part.json")) in printed


def test_a_round_that_cannot_be_summarized_is_kept_too(tmp_path):
    with pytest.raises(KeyError):
        rounds.measure_rounds(
            {}, 2, lambda number: {"speed": 1.0}, lambda found: {"": found[0]["E"]}, tmp_path / "a.json"
        )
    assert json.loads((tmp_path / "a.part.json").read_text())["rounds"] == [{"speed": 1.0}]


def test_a_result_is_whole_at_its_end_and_nothing_else_stays(tmp_path, capsys):
    rounds.measure_rounds({}, 2, lambda number: {}, lambda found: {"rounds": [float(len(found))]}, tmp_path / "a.json")
    assert [path.name for path in tmp_path.iterdir()] == ["a.json"]
    assert json.loads((tmp_path / "a.json").read_text())["summary"] == {"rounds": [2.0]}
    assert f"2 of 2 rounds are in {tmp_path / 'a.json'}" in capsys.readouterr().out


def test_nothing_is_written_where_the_first_round_fails(tmp_path):
    with pytest.raises(ZeroDivisionError):
        rounds.measure_rounds({}, 1, lambda number: {"speed": 1 / number}, lambda found: {}, tmp_path / "out.json")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--quik"], "--quik"),
        (["--ou=x.json"], "--ou=x.json"),
        (["output_dir=here"], "output_dir=here"),
        (["--rounds=2", "--quick"], "--quick"),
        (["--out=figure.png"], "figure.png"),
    ],
)
def test_a_word_that_would_do_something_else_is_refused_at_once(words, named, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["start", *words])
    with pytest.raises(SystemExit) as end:
        rounds.parse_with_overrides(rounds.make_parser(None, "start.json"))
    assert end.value.code == 2 and named in capsys.readouterr().err.splitlines()[-1]


def test_overrides_are_passed_on(monkeypatch):
    monkeypatch.setattr(sys, "argv", ["start", "algo=a2c", "--rounds=2", "env=pong"])
    settings, overrides = rounds.parse_with_overrides(rounds.make_parser(None, "start.json"))
    assert settings.rounds == 2 and overrides == ["algo=a2c", "env=pong"]


RUN = """
import pathlib, sys
words = dict(word.split("=", 1) for word in sys.argv[1:])
assert words["algo"] == "ppo" and words["stop.agent_steps"] == "300", words
run = pathlib.Path(words["output_dir"], "ppo", "assault", "a1")
run.mkdir(parents=True)
rows = "agent_steps,wall_time_s,agent_steps_per_s\\n100,50,2\\n200,60,10\\n300,65,20\\n"
(run / "progress.csv").write_text(rows)
print("trained")
print("run directory:", run)
sys.exit({code})
"""


def test_a_run_is_timed_from_the_end_of_its_warm_up(tmp_path, monkeypatch):
    (tmp_path / "run.py").write_text(RUN.replace("{code}", "0"))
    monkeypatch.setattr(rounds, "ROOT", tmp_path)
    found = rounds.run_suite(tmp_path, 150, 150, "algo=ppo")
    assert (found["agent_steps_per_s"], found["timed_s"]) == (20.0, 5.0)
    assert found["last_row"]["agent_steps"] == "300" and found["peak_pss_mib"] is None


def test_a_run_that_fails_is_no_measurement(tmp_path, monkeypatch):
    (tmp_path / "run.py").write_text(RUN.replace("{code}", "3"))
    monkeypatch.setattr(rounds, "ROOT", tmp_path)
    with pytest.raises(SystemExit, match="exit code 3"):
        rounds.run_suite(tmp_path, 150, 150, "algo=ppo")


def test_the_table_of_ppo_has_each_contestant_and_ratios_the_right_way_up():
    bare = {"E": 8.0, "I": 16.0, "G": 32.0, "limit": 4.0, "agent_steps_per_s": 320.0}
    suite = {"agent_steps_per_s": 240.0, "start_s": 9.0}
    others = measured(stock_rllib=120, stock_1_thread=80, stock_its_padding=60, sb3_dummy=96, sb3_subproc=160)
    remote = {"agent_steps_per_s": 200.0, "last_row": {"bytes_per_agent_step": "7000.5"}}
    lines = summarize_ppo([others | {"bare_loop": bare, "suite": suite}], {"peak_pss_mib": 1000.0}, remote)
    ratios = {name: values for name, values in lines.items() if name.startswith(("this suite /", "bare loop /"))}
    assert ratios == {
        "this suite / the faster Stable-Baselines3": [1.5],
        "this suite / bare loop": [0.75],
        "this suite / stock RLlib": [2.0],
        "this suite / stock RLlib with 1 thread": [3.0],
        "this suite / stock RLlib with 1 thread and its own padding": [4.0],
        "this suite / limit": [60.0],
        "bare loop / limit": [80.0],
    }
    assert [lines[f"{key}, samples/s"] for key in ("I, acting alone", "G, training alone")] == [[16.0], [32.0]]
    assert lines["E, emulator alone, agent steps/s"] == [8.0]
    assert lines["one remote runner, bytes per agent step"] == [7000.5]


def test_the_table_of_actor_critics_has_times_with_an_lstm_over_those_without():
    speeds = {"bare_16x5": 400, "bare_64x20": 800, "sb3_dummy": 100, "sb3_subproc": 50, "a3c_64x20": 900}
    speeds |= {"a2c_16x5": 200, "a2c_16x5_lstm": 160, "a2c_64x20": 600, "a2c_64x20_lstm": 400}
    lines = summarize_actor_critics([measured(**speeds, ppo_8x128=120, ppo_8x128_lstm=100)])
    assert {name: values for name, values in lines.items() if " / " in name} == {
        "A2C 16 x 5, suite / bare loop": [0.5],
        "A2C 16 x 5, time with an LSTM / without": [1.25],
        "A2C 16 x 5, this suite / the faster Stable-Baselines3": [2.0],
        "A2C 64 x 20, suite / bare loop": [0.75],
        "A3C 2 processes x 32 x 20 / A2C 64 x 20": [1.5],
        "A2C 64 x 20, time with an LSTM / without": [1.5],
        "PPO 8 x 128, time with an LSTM / without": [1.2],
    }


def test_a_sample_is_learned_once_in_each_epoch(monkeypatch):
    bench, counted = object.__new__(bare_loop.Bench), iter([(8, 400.0), (8, 800.0), (4 * 128 * 8, 1600.0)])
    bench.settings = argparse.Namespace(num_envs=8, horizon=128, epochs=4, seed=0)
    bench.num_actions, bench.frames = 7, np.zeros((1, 8), np.uint8)
    bench.pack = bench.collect = lambda: None

    def measure_rate(call, samples):
        expected, rate = next(counted)
        assert samples == expected
        return rate

    monkeypatch.setattr(bare_loop, "measure_rate", measure_rate)
    assert bench.measure_parts() == {"E": 400.0, "I": 800.0, "G": 1600.0, "limit": pytest.approx(160.0)}


@pytest.mark.parametrize("content", [None, "raise ImportError('no torch for it')", ""])
def test_a_contestant_that_cannot_be_imported_is_said_before_anything_is_measured(content, tmp_path):
    if content is not None:
        (tmp_path / "contestant_of_a_test.py").write_text(content)
    why = rounds.explain_failing_import(["contestant_of_a_test"], str(tmp_path))
    assert why is None if content == "" else why and "Error" in why


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
        assert process.wait(120) == 128 + signal.SIGTERM
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
