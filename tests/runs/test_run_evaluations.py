"""Runs that are evaluated while they train: no evaluation is lost, none is there twice, whoever is killed."""

import csv
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import run
from evidence.evaluate import evaluate
from playing.evaluations import read_evaluations
from playing.periodic_evaluation import PeriodicEvaluation
from run_directory.milestones import list_weights_to_evaluate
from run_directory.starts import read_starts
from runs.interrupt import MESSAGE_OF_EVALUATIONS, Interrupt
from tests.runs.tiny_runs import (
    TINY,
    Disturbance,
    directory_in,
    go,
    kill_actor,
    kill_driver,
    rows_of,
    wait_for,
)

RUN_PY = Path(run.__file__).resolve()
EVERY = 512
WORDS = [f"evaluate_every={EVERY}", "episodes=2"]
A3C = ["algo=a3c", "env=cartpole", "algo.num_workers=2", "algo.num_envs=4", "algo.horizon=64", "report_every=200"]
DQN = ["algo=dqn", "env=cartpole", "report_every=200", "algo.learning_starts=200", "algo.buffer_size=1000"]


def steps_of(run: Path) -> list[int]:
    return [one.agent_steps for one in read_evaluations(run)]


def due_in(run: Path, every: int = EVERY) -> list[int]:
    """The agent steps of the rows that pass a multiple of evaluate_every."""
    steps = [0, *(int(row["agent_steps"]) for row in rows_of(run))]
    return [now for before, now in zip(steps, steps[1:], strict=False) if now // every > before // every]


def assert_whole(run: Path, every: int = EVERY) -> None:
    """Each evaluation is there once, nothing waits, and progress.csv names only those. At most ten may ever wait."""
    assert steps_of(run) == due_in(run, every) != []
    assert not list_weights_to_evaluate(run)
    named = [row["evaluation_agent_steps"] for row in rows_of(run) if row["evaluation_agent_steps"] > 0]
    assert named == sorted(set(named)) and set(named) <= {*steps_of(run)} and named[-1] == steps_of(run)[-1]
    taken = {one.agent_steps: one for one in read_evaluations(run)}
    for row in rows_of(run):
        if row["evaluation_agent_steps"] > 0:
            one = taken[int(row["evaluation_agent_steps"])]
            assert row["agent_steps"] >= one.agent_steps and row["evaluation_mean"] == one.mean


def test_a_run_is_evaluated_while_it_trains_in_another_process_and_waits_for_the_last(
    shared_ray, tmp_path, monkeypatch
):
    code, printed = go(*TINY, *WORDS, "stop.agent_steps=1024", f"output_dir={tmp_path}")
    assert code == 0, printed
    path = directory_in(printed)
    assert_whole(path)
    assert printed.count("evaluated at") == len(steps_of(path)) == 2
    assert re.search(rf"2 games .*\b{EVERY} agent steps, in a process ", printed)
    last = read_evaluations(path)[-1]
    assert last.agent_steps == rows_of(path)[-1]["agent_steps"]
    same = evaluate(path, 2, "milestone_100", ways=["stochastic"])["stochastic"]
    assert last.mean == same["mean"] and last.games == 2 and last.way == "stochastic"

    started = len(read_starts(path / "run.json"))
    code, _ = go(f"resume={path}")
    assert code == 0 and len(read_starts(path / "run.json")) == started, "nothing is left to play"


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "words",
    [
        pytest.param([*A3C, "cluster.num_env_runners=1"], id="a3c"),
        pytest.param(DQN, id="dqn"),
        pytest.param([*TINY, "model=mlp_lstm"], id="lstm"),
        pytest.param(["algo=pg", "env=cartpole", "report_every=200"], id="pg"),
        pytest.param([*TINY, "cluster.num_env_runners=1", "keep_milestones=false"], id="remote"),
    ],
)
def test_every_algorithm_is_evaluated(words, shared_ray, tmp_path):
    code, printed = go(*words, *WORDS, "stop.agent_steps=1100", f"output_dir={tmp_path}")
    assert code == 0, printed
    assert_whole(directory_in(printed))


@pytest.mark.end_to_end
def test_seeds_side_by_side_share_an_evaluator_and_each_has_its_own_table(shared_ray, tmp_path):
    code, printed = go(*TINY, *WORDS, "seed=1,2", "stop.agent_steps=1024", f"output_dir={tmp_path}")
    assert code == 0, printed
    path = directory_in(printed)
    for seed in (1, 2):
        assert_whole(path / f"seed_{seed}")
        assert len(re.findall(rf"^seed {seed} evaluated at", printed, re.MULTILINE)) == 2
        own = [row["evaluation_agent_steps"] for row in rows_of(path / f"seed_{seed}")]
        merged = [row["evaluation_agent_steps"] for row in rows_of(path, seed)]
        assert str(own) == str(merged)


@pytest.mark.end_to_end
@pytest.mark.parametrize("victim", ["Evaluator", "TrainingProcess"])
def test_a_killed_process_costs_no_evaluation_and_doubles_none(victim, shared_ray, tmp_path):
    words = [*TINY, *WORDS, "episodes=40", "stop.agent_steps=4096", f"output_dir={tmp_path}"]
    with Disturbance(tmp_path, lambda: kill_actor(victim)) as disturbance:
        code, printed = go(*words)
    assert disturbance.happened_at, f"{victim} was not there"
    assert code == 0, printed
    assert_whole(directory_in(printed))


@pytest.mark.end_to_end
def test_a_killed_run_makes_up_its_evaluations_when_it_goes_on(shared_ray, tmp_path):
    environment = {name: value for name, value in os.environ.items() if not name.startswith("TUNE_")}
    every = 20_000  # so that few wait, however slow the machine is
    words = [*TINY, f"evaluate_every={every}", "episodes=60", "stop.agent_steps=1_000_000", f"output_dir={tmp_path}"]
    driver = subprocess.Popen([sys.executable, str(RUN_PY), *words], cwd=tmp_path, env=environment)

    def waits() -> list[Path]:
        """Runs with an evaluation and later weights that wait; those of the evaluation itself are just removed."""
        return [
            path
            for path in tmp_path.glob("ppo/cartpole/*")
            if (done := steps_of(path)) and max(list_weights_to_evaluate(path), default=0) > done[-1]
        ]

    def waits_while_stopped() -> list[Path]:
        """The same, with the driver suspended, so that nothing is evaluated meanwhile; if none waits, it goes on."""
        driver.send_signal(signal.SIGSTOP)
        if found := waits():
            return found
        driver.send_signal(signal.SIGCONT)
        return []

    def look() -> list[Path]:
        assert driver.poll() is None, "the run has ended"
        return waits() and waits_while_stopped()

    try:
        (path,) = wait_for(look, timeout_s=240)
    finally:
        kill_driver(driver)
    before, left = read_evaluations(path), list_weights_to_evaluate(path)
    assert left
    steps = max(*left, *(int(row["agent_steps"]) for row in rows_of(path)))
    code, printed = go(f"resume={path}", f"stop.agent_steps={steps + 600}", "episodes=2")
    assert code == 0, printed
    assert_whole(path, every)
    kept = [one for one in read_evaluations(path) if one.games == 60]
    assert kept and kept == before[: len(kept)], "what was played is not played again"


@pytest.mark.end_to_end
def test_an_evaluation_whose_row_is_lost_comes_into_a_row_of_the_run_that_goes_on(shared_ray, tmp_path):
    """kill -9 between evaluations.csv and the next row of progress.csv."""
    code, printed = go(*TINY, *WORDS, "stop.agent_steps=512", f"output_dir={tmp_path}")
    assert code == 0, printed
    path = directory_in(printed)
    (evaluated,) = steps_of(path)
    with open(path / "progress.csv", newline="") as file:
        rows = [{name: row[name] for name in row if "evaluation" not in name} for row in csv.DictReader(file)]
    with open(path / "progress.csv", "w", newline="") as file:
        table = csv.DictWriter(file, rows[0])
        table.writeheader()
        table.writerows(rows)
    code, printed = go(f"resume={path}", "stop.agent_steps=800")
    assert code == 0 and steps_of(path) == [evaluated], printed
    assert_whole(path)


@pytest.mark.end_to_end
def test_ctrl_c_ends_the_wait_for_evaluations_and_the_next_start_plays_them_without_training(
    shared_ray, tmp_path, monkeypatch
):
    polls = []

    def poll(self) -> None:
        """No evaluation ever begins; once the run only waits for them, the user types Ctrl-C."""
        if Interrupt.stop_message == MESSAGE_OF_EVALUATIONS:
            polls.append(self)
            if len(polls) == 3:
                os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(PeriodicEvaluation, "poll", poll)
        code, printed = go(*TINY, *WORDS, "stop.agent_steps=1024", f"output_dir={tmp_path}")
    assert code == 1 and "waiting for 2 evaluations" in printed and "2 evaluations left" in printed, printed
    path = directory_in(printed)
    assert f"resume={path}" in printed and len(list_weights_to_evaluate(path)) == 2 and steps_of(path) == []
    rows = len(rows_of(path))
    code, printed = go(f"resume={path}")
    assert code == 0, printed
    assert_whole(path)
    assert len(rows_of(path)) == rows
