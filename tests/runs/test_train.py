"""Runs from end to end, as typed: what they leave behind, and how they continue."""

import copy
import dataclasses
import errno
import json
import math
import os
import re
import shutil
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml

import run
from cluster.plan import explain_overshoot, make_plan
from run_directory import checkpoints
from run_directory.checkpoints import read_totals
from run_directory.continuation import open_run
from run_directory.layout import PROGRESS_CSV
from run_directory.manifest import find_damage
from run_directory.progress_table import ProgressTable, lacks_rows
from run_directory.starts import read_overrides
from run_directory.tensorboard import CurveWriter
from runs import interrupt, ray_session, tuning
from runs.interrupt import REPEAT_AFTER_S, Interrupt
from runs.train import count_room, has_reached_stop
from runs.training_process import TrainingProcess
from tests.runs.tiny_runs import (
    RESTARTED,
    ROLLOUT,
    TINY,
    Disturbance,
    assert_no_gap_and_no_double,
    directory_in,
    go,
    kill_actor,
    rows_of,
    send_sigterm_once_told_to_wait,
    send_to_self,
    starts_in,
)

NEVER = {"agent_steps": 10**9, "time_s": None, "episode_return": None}
ROW = {"agent_steps": 1000, "wall_time_s": 60.0, "episodes": 20, "episode_return_mean": 100.0}


@pytest.mark.parametrize(
    ("stop", "row", "enough"),
    [
        ({"agent_steps": 1000}, {}, True),
        ({"agent_steps": 1001}, {}, False),
        ({"time_s": 60.0}, {}, True),
        ({"time_s": 60.1}, {}, False),
        ({"episode_return": 100.0}, {}, True),
        ({"episode_return": 100.1}, {}, False),
        ({"episode_return": 100.0}, {"episodes": 19}, False),
        ({"episode_return": 100.0}, {"episode_return_mean": math.nan}, False),
        ({}, {}, False),
    ],
)
def test_a_run_stops_at_whichever_comes_first(stop, row, enough):
    assert has_reached_stop(NEVER | stop, ROW | row) == enough


def test_the_second_ctrl_c_stops_at_once(monkeypatch, capsys):
    sent, handlers = [], {}
    Interrupt.clear()
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append((pid, number)))
    monkeypatch.setattr(os, "_exit", lambda code: sent.append(code))
    monkeypatch.setattr(signal, "signal", handlers.__setitem__)
    Interrupt.request_stop(signal.SIGINT, None)
    assert Interrupt.stop_requested and not sent and "checkpoint" in capsys.readouterr().out
    Interrupt.request_stop(signal.SIGINT, None)
    assert not sent, "signals that come together are one"
    Interrupt.signalled_at -= 2 * REPEAT_AFTER_S
    Interrupt.request_stop(signal.SIGINT, None)
    assert sent == [(os.getpid(), signal.SIGINT), 130], "the first process of a container does not get the signal"
    assert handlers == {signal.SIGINT: signal.SIG_DFL}
    Interrupt.clear()


def test_the_first_ctrl_c_after_a_stop_of_the_runs_own_waits_for_the_checkpoint(monkeypatch, capsys):
    sent = []
    Interrupt.clear()
    monkeypatch.setattr(os, "kill", lambda pid, number: sent.append(number))
    monkeypatch.setattr(os, "_exit", lambda code: None)
    monkeypatch.setattr(signal, "signal", lambda number, handler: None)
    Interrupt.stop_for("the disk is nearly full")
    Interrupt.request_stop(signal.SIGINT, None)
    assert not sent and "again to stop at once" in capsys.readouterr().out
    assert Interrupt.reason == "the disk is nearly full"
    Interrupt.signalled_at -= 2 * REPEAT_AFTER_S
    Interrupt.request_stop(signal.SIGINT, None)
    assert sent == [signal.SIGINT]
    Interrupt.clear()


# A disk that fills up.


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
def test_a_run_stops_with_a_checkpoint_while_there_is_room_for_it(tmp_path, monkeypatch):
    monkeypatch.setattr(interrupt, "RESERVE_MB", 10**9)
    code, printed = go(*TINY, f"output_dir={tmp_path}", "stop.agent_steps=100_000")
    path = directory_in(printed)
    assert code == 1 and re.search(rf"^{path} .*\b\d+ MB\b", printed, re.MULTILINE)
    assert f"python run.py resume={path}" in printed
    (row,) = rows_of(path)
    assert read_totals(path / "checkpoints" / "last")["agent_steps"] == row["agent_steps"]


def test_a_run_is_refused_where_its_disk_has_no_room_for_a_checkpoint(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_session, "RESERVE_MB", 10**9)
    code, printed = go(*TINY, f"output_dir={tmp_path}")
    assert code == 2 and str(tmp_path) in printed and not list(tmp_path.iterdir())


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize(
    "where",
    [
        "checkpoints",
        pytest.param("progress.csv", marks=pytest.mark.slow),
        pytest.param("tensorboard", marks=pytest.mark.slow),
        pytest.param("the training process", marks=pytest.mark.slow),
    ],
)
def test_a_full_disk_ends_the_run_and_leaves_a_whole_checkpoint(where, tmp_path, monkeypatch):
    """Once it is full nothing more can be written there; Tune writes the checkpoint in the training process."""
    full = OSError(errno.ENOSPC, "full disk")

    def after_three(function):
        calls = []

        def write(*args, **kwargs):
            calls.append(args)
            if len(calls) > 3:
                raise full
            return function(*args, **kwargs)

        return write

    if where == "progress.csv":
        monkeypatch.setattr(ProgressTable, "append", after_three(ProgressTable.append))
    elif where == "checkpoints":
        monkeypatch.setattr(checkpoints, "keep_checkpoint", after_three(checkpoints.keep_checkpoint))
    elif where == "tensorboard":
        monkeypatch.setattr(CurveWriter, "add", after_three(CurveWriter.add))
    else:
        monkeypatch.setattr(tuning, "TrainingProcess", training_process_of_a_full_disk())
    code, printed = go(*TINY, f"output_dir={tmp_path}", "stop.agent_steps=100_000")
    path = directory_in(printed)
    assert code == 1 and re.search(rf"^{path} .*\(full disk\)", printed, re.MULTILINE)
    assert "Traceback" not in printed and RESTARTED not in printed
    assert find_damage(path / "checkpoints" / "last") is None
    last = read_totals(path / "checkpoints" / "last")["agent_steps"]
    monkeypatch.undo()
    code, printed = go(f"resume={path}", f"stop.agent_steps={last + 500:.0f}")
    assert code == 0 and starts_in(printed) == {1: last}
    assert_no_gap_and_no_double(rows_of(path))


def training_process_of_a_full_disk() -> type:
    """A training process whose third checkpoint finds no room. Ray sends a class from within a function as it is."""

    class TrainingProcessOfFullDisk(TrainingProcess):
        saved = 0

        def save_checkpoint(self, checkpoint_dir: str) -> None:
            self.saved += 1
            if self.saved > 2:
                raise OSError(errno.ENOSPC, "full disk")
            super().save_checkpoint(checkpoint_dir)

    return TrainingProcessOfFullDisk


# A run that comes to its end.


def test_a_run_leaves_the_directory_it_promises(finished):
    path, _ = finished
    for name in ("config.yaml", "run.json", "progress.csv", "tensorboard", "checkpoints", "tune"):
        assert (path / name).exists(), name
    assert re.search(r"/ppo/cartpole/\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d_[0-9a-f]{4}$", str(path))
    settings = yaml.safe_load((path / "config.yaml").read_text())
    assert settings["algo"]["horizon"] == 64 and settings["stop"]["agent_steps"] == 1024
    (start,) = json.loads((path / "run.json").read_text())["starts"]
    assert start["command"][:3] == ["python", "run.py", "env=cartpole"]
    assert start["hardware"]["dtype"] in ("bfloat16", "float32")
    assert list((path / "tensorboard").glob("events.*"))
    for name in ("last", "previous", "best"):
        assert find_damage(path / "checkpoints" / name) is None


def test_progress_has_the_columns_scripts_rely_on(finished):
    rows = rows_of(finished[0])
    promised = ["agent_steps", "env_frames", "wall_time_s", "agent_steps_per_s", "episode_return_mean", "episodes"]
    losses = ["policy_loss", "value_loss", "entropy", "approx_kl", "clip_fraction", "grad_norm", "lr"]
    for row in rows:
        assert all(math.isfinite(row[name]) for name in [*promised, *losses, "explained_variance"])
        assert row["env_frames"] == row["agent_steps"]  # CartPole has a frameskip of 1
        assert row["agent_steps_per_s"] > 0
        assert 8 <= row["episode_return_mean"] <= 500 and row["bytes_per_agent_step"] == 0
    assert_no_gap_and_no_double(rows)
    assert 1024 <= rows[-1]["agent_steps"] <= 1024 + ROLLOUT
    assert all(after["wall_time_s"] > before["wall_time_s"] for before, after in zip(rows, rows[1:], strict=False))
    speeds = [
        (after["agent_steps"] - before["agent_steps"]) / (after["wall_time_s"] - before["wall_time_s"])
        for before, after in zip(rows, rows[1:], strict=False)
    ]
    assert [row["agent_steps_per_s"] for row in rows[1:]] == pytest.approx(speeds, rel=0.02)


def test_games_are_counted_once_and_their_mean_is_of_whole_games(finished):
    for row in rows_of(finished[0]):
        scores = row["episodes"] * row["episode_return_mean"]
        assert scores == pytest.approx(round(scores))
        assert scores <= row["agent_steps"]  # 1 per step; games under way are out
        assert row["episode_length_mean"] == pytest.approx(row["episode_return_mean"])


def test_the_learning_rate_falls_to_nothing_over_the_run(finished):
    for row in rows_of(finished[0]):
        done = row["agent_steps"] / 1024
        before = (row["agent_steps"] - ROLLOUT) / 1024
        assert 2.5e-4 * (1 - done) - 1e-9 <= row["lr"] <= 2.5e-4 * (1 - before) + 1e-9


def test_the_last_checkpoint_is_where_the_last_row_is(finished):
    path, _ = finished
    assert read_totals(path / "checkpoints" / "last")["agent_steps"] == rows_of(path)[-1]["agent_steps"]
    assert read_totals(path / "checkpoints" / "previous")["agent_steps"] == rows_of(path)[-2]["agent_steps"]


def test_tensorboard_has_the_same_numbers(finished):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    path, _ = finished
    events = EventAccumulator(str(path / "tensorboard"))
    events.Reload()
    shown = [(event.step, event.value) for event in events.Scalars("episode_return_mean")]
    assert shown == [(row["agent_steps"], pytest.approx(row["episode_return_mean"])) for row in rows_of(path)]


def test_what_is_printed_reads_from_start_to_end(finished):
    path, printed = finished
    lines = printed.splitlines()
    assert re.search(r"^ppo .*cartpole: 1,024 .*\b4 envs x 64 steps = 256 .*\bseed 1\b", printed, re.MULTILINE)
    assert any(line.endswith(f" {path}") for line in lines[:-1])
    assert "there are tuned settings, too: tuned_configs=cartpole_ppo or cartpole_slides_ppo" in lines
    watched = next(line for line in lines if "command=watch" in line)
    assert run.read_experiment(watched.split("  ")[-1].split()[2:])[0]["run"] == str(path), "it can be pasted"
    assert any(line.startswith("agent steps 1,") and "time left 0 s" in line for line in lines)
    assert "what next" in printed and "resume=" in printed
    assert lines[-1] == f"run directory: {path}"
    assert "\x1b" not in printed and "Traceback" not in printed and "Warning" not in printed


def test_an_evaluation_follows_where_it_was_asked_for(finished):
    path, printed = finished
    (file,) = (path / "checkpoints").glob("evaluation_*.json")
    result = json.loads(file.read_text())
    assert result["episodes"] == 2 and result["env"] == "cartpole"
    assert printed.index("time left 0 s") < printed.index("greedy") < printed.index("what next")


def test_a_run_can_be_evaluated_afterwards(copied):
    for file in (copied / "checkpoints").glob("evaluation_*"):
        file.unlink()
    code, printed = go("command=evaluate", f"run={copied}", "episodes=3")
    assert code == 0 and directory_in(printed) == copied
    (file,) = (copied / "checkpoints").glob("evaluation_*.json")
    assert json.loads(file.read_text())["episodes"] == 3


# Resume.


@pytest.mark.end_to_end
def test_a_finished_run_says_so_and_is_left_alone(copied):
    before = {path: path.read_bytes() for path in copied.rglob("*") if path.is_file()}
    code, printed = go(f"resume={copied}")
    assert code == 0
    assert re.search(r"^seed 1 .*\bstop\.agent_steps\b", printed, re.MULTILINE)
    assert directory_in(printed) == copied
    assert {path: path.read_bytes() for path in before} == before


def test_resume_continues_counters_scores_and_schedules_and_what_is_typed_wins(copied):
    old = rows_of(copied)
    code, printed = go(f"resume={copied}", "stop.agent_steps=2048", "algo.lr=1e-3")
    assert code == 0, printed
    assert directory_in(printed) == copied
    assert starts_in(printed) == {1: old[-1]["agent_steps"]}

    rows = rows_of(copied)
    assert_no_gap_and_no_double(rows)
    assert rows[: len(old)] == old
    assert 2048 <= rows[-1]["agent_steps"] <= 2048 + ROLLOUT

    new = rows[len(old)]
    assert new["wall_time_s"] > old[-1]["wall_time_s"]
    games = new["episodes"] - old[-1]["episodes"]
    assert games > 0 and new["episodes"] <= 100
    score = new["episodes"] * new["episode_return_mean"] - old[-1]["episodes"] * old[-1]["episode_return_mean"]
    assert score == pytest.approx(round(score), abs=1e-6), "the old games are in the mean"
    assert 8 * games <= score <= new["agent_steps"] - old[-1]["agent_steps"], "and the new ones are"

    for row in rows[len(old) :]:
        done, before = row["agent_steps"] / 2048, (row["agent_steps"] - ROLLOUT) / 2048
        assert 1e-3 * (1 - done) - 1e-9 <= row["lr"] <= 1e-3 * (1 - before) + 1e-9

    _, settings = open_run(str(copied), "resume")
    assert settings["algo"]["lr"] == 1e-3 and settings["stop"]["agent_steps"] == 2048
    assert settings["algo"]["horizon"] == 64
    assert read_overrides(copied)[-2:] == ["stop.agent_steps=2048", "algo.lr=1e-3"]
    assert len(json.loads((copied / "run.json").read_text())["starts"]) == 2
    assert read_totals(copied / "checkpoints" / "last")["agent_steps"] == rows[-1]["agent_steps"]


@pytest.mark.end_to_end
def test_a_checkpoint_brings_back_weights_optimizer_random_streams_and_counters(shared_ray, make_config, tmp_path):
    config = make_config(*TINY, "algo.kl_coeff=0.2", "stop.agent_steps=10240", run_dirs={1: str(tmp_path)})
    saved, restored = config.copy(copy_frozen=False).build_algo(), config.copy(copy_frozen=False).build_algo()
    try:
        for _ in range(3):
            saved.train()
        for _ in range(4):  # its own weights are newer than those that will come
            restored.train()
        saved.save_checkpoint(str(tmp_path))
        before = everything(saved)
        assert differing(before, everything(restored)), "or this test says nothing"
        restored.load_checkpoint(str(tmp_path))
        assert differing(before, everything(restored)) == []
        acting = restored.env_runner_group.local_env_runner.module.get_state()
        assert differing(before["learner"]["rl_module"]["default_policy"], acting) == []
        assert restored.train()["row"]["agent_steps"] > before["progress"]["agent_steps"]
    finally:
        saved.stop()
        restored.stop()


def everything(algorithm) -> dict:
    learner = algorithm.learner_group._learner
    return copy.deepcopy({"learner": learner.get_state(), "progress": algorithm.progress.get_state()})


def differing(one, other, path: str = "") -> list[str]:
    """Where two nested states are not the same."""
    if isinstance(one, dict):
        if one.keys() != other.keys():
            return [f"{path}: {one.keys() ^ other.keys()}"]
        return [place for key in one for place in differing(one[key], other[key], f"{path}/{key}")]
    if isinstance(one, list | tuple) and len(one) == len(other):
        return [
            place for i, pair in enumerate(zip(one, other, strict=True)) for place in differing(*pair, f"{path}/{i}")
        ]
    if isinstance(one, torch.Tensor | np.ndarray):
        return [] if torch.equal(torch.as_tensor(one), torch.as_tensor(other)) else [path]
    return [] if one == other else [path]


@pytest.mark.end_to_end
def test_a_torn_newest_checkpoint_falls_back_to_the_one_before_and_says_so(copied):
    last = copied / "checkpoints" / "last"
    weights = max(last.rglob("*.pkl"), key=lambda path: path.stat().st_size)
    weights.write_bytes(weights.read_bytes()[:1000])
    before = read_totals(copied / "checkpoints" / "previous")["agent_steps"]
    code, printed = go(f"resume={copied}", "stop.agent_steps=1600")
    assert code == 0, printed
    assert re.search(rf"^{copied}: .*\blast .*\({weights.relative_to(last)} .*\b1000 bytes", printed, re.MULTILINE)
    assert starts_in(printed) == {1: before}
    assert_no_gap_and_no_double(rows_of(copied))
    assert rows_of(copied)[-1]["agent_steps"] >= 1600
    assert find_damage(last) is None and find_damage(copied / "checkpoints" / "previous") is None


def test_a_run_whose_checkpoints_are_all_damaged_is_refused(copied):
    for name in ("last", "previous", "best"):
        (copied / "checkpoints" / name / "manifest.json").unlink()
    code, printed = go(f"resume={copied}", "stop.agent_steps=1600")
    assert code == 2
    assert printed.startswith(f"error: resume={copied}: ") and printed.count("\n") == 1
    assert all(f" {name} " in printed for name in ("last", "previous", "best"))


@pytest.mark.end_to_end
def test_a_moved_run_directory_continues_where_it_is_now(copied, tmp_path):
    moved = Path(shutil.move(copied, tmp_path / "elsewhere"))
    code, printed = go(f"resume={moved}", "stop.agent_steps=1300")
    assert code == 0 and directory_in(printed) == moved
    assert rows_of(moved)[-1]["agent_steps"] >= 1300
    assert not copied.exists()


@pytest.mark.end_to_end
def test_seeds_train_side_by_side_and_continue_whatever_each_had_reached(shared_ray, tmp_path):
    code, printed = go(*TINY, "seed=[1,2,3]", "stop.agent_steps=512", f"output_dir={tmp_path}")
    assert code == 0, printed
    parent = directory_in(printed)
    assert sorted(path.name for path in parent.glob("seed_*")) == ["seed_1", "seed_2", "seed_3"]

    def check(steps):
        for seed in (1, 2, 3):
            child = parent / f"seed_{seed}"
            own, merged = rows_of(child), rows_of(parent, seed)
            assert [row | {"seed": seed} for row in own] == merged
            assert_no_gap_and_no_double(own)
            assert steps <= own[-1]["agent_steps"] <= steps + ROLLOUT
            assert yaml.safe_load((child / "config.yaml").read_text())["seed"] == seed
            assert find_damage(child / "checkpoints" / "last") is None
        assert yaml.safe_load((parent / "config.yaml").read_text())["seed"] == [1, 2, 3]

    check(512)
    one, two = (rows_of(parent, seed) for seed in (1, 2))
    assert one[0]["policy_loss"] != two[0]["policy_loss"]

    # As if everything had been killed while seed 3 still waited for its turn.
    shutil.rmtree(parent / "seed_3" / "checkpoints")
    (parent / "seed_3" / "progress.csv").unlink()
    code, printed = go(f"resume={parent}", "stop.agent_steps=1024")
    assert code == 0, printed
    assert directory_in(printed) == parent
    assert starts_in(printed).keys() == {1, 2}
    check(1024)


@pytest.mark.end_to_end
def test_the_same_seed_gives_the_same_numbers_and_a_resumed_run_agrees_with_itself(copied, tmp_path):
    twin = Path(shutil.copytree(copied, tmp_path / "twin"))
    for path in (copied, twin):
        assert go(f"resume={path}", "stop.agent_steps=1500")[0] == 0
    timed = ("wall_time_s", "agent_steps_per_s", "learner_busy")
    one, two = ([{k: v for k, v in row.items() if k not in timed} for row in rows_of(path)] for path in (copied, twin))
    assert one == two and len(one) > 4


# What goes wrong while a run runs.


@pytest.mark.end_to_end
def test_nan_in_a_learner_of_its_own_process_is_told_once_and_is_no_lost_process(shared_ray, tmp_path):
    words = ("cluster.num_learners=1", "algo.lr=1e30", "algo.max_grad_norm=null", "stop.agent_steps=20_000")
    code, printed = go(*TINY, *words, f"output_dir={tmp_path}")
    assert code == 1 and "Traceback" not in printed and RESTARTED not in printed
    (sentence,) = [line for line in printed.splitlines() if "failed" in line]
    assert re.search(r"^seed 1 failed: .* (nan|inf)\b", sentence)
    (evidence,) = directory_in(printed).glob("nonfinite_minibatch_*.pt")
    assert str(evidence) in sentence


@pytest.mark.end_to_end
def test_the_last_row_counts_the_gradients_that_ended_the_run(shared_ray, tmp_path):
    words = ("algo=a3c", "env=cartpole", "algo.num_workers=0", "algo.num_envs=4", "algo.horizon=64", "cluster.cpus=1")
    code, printed = go(*words, "algo.lr=1e30", "algo.max_grad_norm=null", "report_every=200", f"output_dir={tmp_path}")
    assert code == 1 and re.search(r"^seed 1 failed: 3 .*\bworker 0\b", printed, re.MULTILINE)
    assert rows_of(directory_in(printed))[-1]["dropped_gradients"] == 3


@pytest.mark.end_to_end
def test_what_an_environment_raises_is_told(shared_ray, tmp_path):
    code, printed = go(*TINY, "env.id=tests.runs.broken_env:Broken-v0", "max_failures=0", f"output_dir={tmp_path}")
    assert code == 1
    assert re.search(
        r"^seed 1 failed: .*env\.id=tests\.runs\.broken_env:Broken-v0: .*ValueError: .*licence", printed, re.M
    )
    assert "Traceback" not in printed
    path = directory_in(printed)
    assert checkpoints_in(path) and f"resume={path}" in printed
    error = path / "tune" / "seed_1" / "error.txt"
    assert str(error) in printed and "licence" in error.read_text()


@pytest.mark.end_to_end
def test_an_error_before_the_first_row_ends_the_run_at_once_since_it_would_come_again(shared_ray, tmp_path):
    code, printed = go(*TINY, "env.id=tests.runs.broken_env:BrokenAtOnce-v0", f"output_dir={tmp_path}")
    assert code == 1 and RESTARTED not in printed and "Traceback" not in printed
    path = directory_in(printed)
    assert re.search(r"^seed 1 failed: EnvironmentFault: .*BrokenAtOnce-v0: .*licence", printed, re.M)
    error = path / "tune" / "seed_1" / "error.txt"
    assert str(error) in printed and "broken_env.py" in error.read_text()
    assert not (path / "progress.csv").exists() and "no checkpoint to continue from" in printed


@pytest.mark.end_to_end
def test_a_reward_that_is_none_ends_a_run_at_once_and_leaves_nothing_to_continue(shared_ray, tmp_path):
    words = ["env.id=tests.runs.broken_env:NanReward-v0", "checkpoint_every_s=1e6", f"output_dir={tmp_path}"]
    code, printed = go(*TINY, *words)
    assert code == 1 and RESTARTED not in printed and "Traceback" not in printed
    (sentence,) = [line for line in printed.splitlines() if line.startswith("seed 1 failed")]
    assert "env.id=tests.runs.broken_env:NanReward-v0" in sentence and " is nan " in sentence
    path = directory_in(printed)
    # What is said to come next is true: there is nothing to resume, and nothing is said of it.
    assert not checkpoints_in(path) and "resume=" not in printed
    assert go(f"resume={path}")[0] == 2


@pytest.mark.end_to_end
def test_a_resume_that_is_printed_is_accepted_and_one_that_would_be_refused_is_not_printed(shared_ray, tmp_path):
    """Of two seeds that fail alike, one before its first checkpoint, one after it."""
    words = ["seed=[1,2]", "cluster.cpus=1", "env.id=tests.runs.broken_env:NanReward-v0"]
    code, printed = go(*TINY, *words, f"output_dir={tmp_path}")
    parent = directory_in(printed)
    assert code == 1 and printed.count(" failed: ") == 2
    assert f"python run.py resume={parent}" in printed
    shutil.rmtree(parent / "seed_2" / "checkpoints")
    code, printed = go(f"resume={parent}", "env.id=tests.runs.broken_env:NanReward-v0", "stop.agent_steps=2000")
    assert code == 1 and starts_in(printed).keys() == {1}
    assert re.search(r"^seed 2 ", printed, re.MULTILINE) and directory_in(printed) == parent


@pytest.mark.end_to_end
def test_an_infinite_loss_before_the_first_checkpoint_leaves_nothing_to_continue(shared_ray, tmp_path):
    words = ["algo=a2c", "env=cartpole", "algo.num_envs=4", "algo.horizon=64", "cluster.cpus=1", "algo.lr=1e30"]
    words += ["algo.max_grad_norm=null", "checkpoint_every_s=1e6", f"output_dir={tmp_path}"]
    code, printed = go(*words)
    path = directory_in(printed)
    assert code == 1 and "resume=" not in printed and "algo.lr" in printed and not checkpoints_in(path)
    words[words.index("algo.lr=1e30")] = "algo.lr=1e-4"
    assert go(*words, "stop.agent_steps=512")[0] == 0  # the same line, the cause mended


def checkpoints_in(path: Path) -> list[str]:
    return checkpoints.list_checkpoints(path)


def test_more_agent_steps_than_were_asked_for_are_said_and_explained(compose):
    asked = make_plan(compose(["env=cartpole", "stop.agent_steps=4000"]))
    assert explain_overshoot(asked, 4000) is None and explain_overshoot(asked, 4040) is None
    said = explain_overshoot(asked, 4929) or ""
    assert "4,929" in said and "4,000" in said and "8 envs x 128 steps = 1024" in said


@pytest.mark.end_to_end
def test_nan_stops_the_run_keeps_its_batch_and_leaves_the_last_checkpoint(copied, tmp_path):
    last = copied / "checkpoints" / "last"
    before = {path: path.read_bytes() for path in last.rglob("*") if path.is_file()}
    old = rows_of(copied)
    code, printed = go(f"resume={copied}", "stop.agent_steps=10240", "algo.lr=1e30")
    assert code == 1
    assert re.search(r"^seed 1 failed: .* (nan|inf)\b", printed, re.MULTILINE)
    assert "Traceback" not in printed
    assert f"python run.py resume={copied}" in printed
    assert directory_in(printed) == copied

    (evidence,) = copied.glob("nonfinite_minibatch_*.pt")
    assert str(evidence) in printed
    kept = torch.load(evidence, weights_only=True)
    assert len(kept["minibatch"]["obs"]) <= 64 and "actions" in kept["minibatch"] and kept["module"]
    assert {path: path.read_bytes() for path in before} == before
    assert find_damage(last) is None
    assert "algo.lr" in printed  # what helps, and it does:
    again = Path(shutil.copytree(copied, tmp_path / "again"))
    assert go(f"resume={again}", "algo.lr=1e-4", "stop.agent_steps=1600")[0] == 0
    rows = rows_of(copied)
    assert rows[: len(old)] == old
    assert all(math.isfinite(row["policy_loss"]) for row in rows)


@pytest.mark.end_to_end
def test_a_run_whose_process_is_killed_recovers_by_itself(shared_ray, tmp_path):
    with Disturbance(tmp_path, lambda: kill_actor("TrainingProcess")) as kill:
        code, printed = go(*TINY, "stop.agent_steps=20_480", f"output_dir={tmp_path}")
    assert kill.happened_at, "nothing was killed"
    assert code == 0, printed
    assert re.search(rf"^seed 1: .*{RESTARTED}", printed, re.MULTILINE)
    rows = rows_of(directory_in(printed))
    assert_no_gap_and_no_double(rows)
    assert rows[0] == kill.first_row, "it did not start from the beginning"
    assert rows[-1]["agent_steps"] >= 20_480 and len(rows) > kill.happened_at
    assert find_damage(directory_in(printed) / "checkpoints" / "last") is None


@pytest.mark.end_to_end
def test_a_run_whose_process_dies_too_often_ends_with_1_and_can_be_continued(shared_ray, tmp_path):
    with Disturbance(tmp_path, lambda: kill_actor("TrainingProcess")) as kill:
        code, printed = go(*TINY, "stop.agent_steps=10_000_000", "max_failures=0", f"output_dir={tmp_path}")
    assert kill.happened_at
    assert code == 1
    path = directory_in(printed)
    assert "env.id=CartPole-v1" in printed  # where it may have crashed
    assert "seed 1 failed: ActorDiedError: " in printed and f"python run.py resume={path}" in printed
    assert "Traceback" not in printed
    assert_no_gap_and_no_double(rows_of(path))
    assert find_damage(path / "checkpoints" / "last") is None


@pytest.mark.end_to_end
def test_sigterm_writes_a_checkpoint_and_prints_the_line_that_resumes(shared_ray, tmp_path):
    before = signal.getsignal(signal.SIGTERM)
    with Disturbance(tmp_path, lambda: send_to_self(signal.SIGTERM), with_checkpoint=False) as stop:
        code, printed = go(*TINY, "checkpoint_every_s=1e6", "stop.agent_steps=10_000_000", f"output_dir={tmp_path}")
    assert stop.happened_at, "nothing was sent"
    assert code == 1
    path = directory_in(printed)
    assert f"python run.py resume={path}" in printed
    assert read_totals(path / "checkpoints" / "last")["agent_steps"] == rows_of(path)[-1]["agent_steps"]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.end_to_end
def test_a_run_that_waits_for_nodes_says_so_and_ends_at_the_first_signal(shared_ray, tmp_path, monkeypatch):
    """On a cluster that grows; here none ever comes."""
    send_sigterm_once_told_to_wait(monkeypatch)
    words = ["cluster=ray", "cluster.grows=true", "cluster.num_env_runners=64", "algo.num_envs=64"]
    code, printed = go(*TINY, *words, f"output_dir={tmp_path}")
    assert code == 1 and "Ctrl-C" in printed and "stopping: " in printed
    assert not checkpoints_in(directory_in(printed)) and "resume=" not in printed


@pytest.mark.slow
def test_seeds_that_wait_their_turn_are_not_started_once_the_user_asked_to_stop(shared_ray, tmp_path):
    two_at_a_time = [*TINY, "cluster.cpus=2", "seed=[1,2,3,4,5,6,7]"]
    with Disturbance(tmp_path, lambda: send_to_self(signal.SIGINT), with_checkpoint=False) as interrupt:
        code, printed = go(*two_at_a_time, "stop.agent_steps=10_000_000", f"output_dir={tmp_path}")
    assert interrupt.happened_at and code == 1
    parent = directory_in(printed)
    assert f"python run.py resume={parent}" in printed
    reported = {int(path.parent.name[5:]) for path in parent.glob("seed_*/progress.csv")}
    assert reported and reported <= {1, 2, 3, 4}  # at most two more were on their way
    assert all(find_damage(parent / f"seed_{seed}" / "checkpoints" / "last") is None for seed in reported)


# Processes that play.


@pytest.mark.end_to_end
def test_a_remote_runner_trains_and_reports_what_travels(shared_ray, tmp_path):
    words = ["cluster.num_env_runners=1", "stop.agent_steps=768", f"output_dir={tmp_path}"]
    code, printed = go(*TINY, *words)
    assert code == 0, printed
    rows = rows_of(directory_in(printed))
    assert_no_gap_and_no_double(rows)
    assert all(0 < row["bytes_per_agent_step"] < 200 for row in rows)
    assert all(math.isfinite(row["policy_loss"]) and row["episode_return_mean"] >= 8 for row in rows)


@pytest.mark.end_to_end
def test_a_killed_runner_is_replaced(shared_ray, tmp_path):
    with Disturbance(tmp_path, lambda: kill_actor("VectorEnvRunner")) as kill:
        words = ["cluster.num_env_runners=1", "stop.agent_steps=20_480"]
        code, printed = go(*TINY, *words, f"output_dir={tmp_path}")
    assert kill.happened_at, "nothing was killed"
    assert code == 0, printed
    rows = rows_of(directory_in(printed))
    assert_no_gap_and_no_double(rows)
    assert rows[0] == kill.first_row, "it did not start from the beginning"
    assert rows[-1]["agent_steps"] >= 20_480 and len(rows) > kill.happened_at


@pytest.mark.slow
def test_while_a_killed_runner_starts_anew_the_others_play_its_share(shared_ray, tmp_path, machine_with):
    machine_with(4)  # Ray has as many here, whatever the machine has
    with Disturbance(tmp_path, lambda: kill_actor("VectorEnvRunner")) as kill:
        words = ["cluster.num_env_runners=2", "stop.agent_steps=20_480"]
        code, printed = go(*TINY, *words, f"output_dir={tmp_path}")
    assert kill.happened_at, "nothing was killed"
    assert code == 0, printed
    assert RESTARTED not in printed and "1 of 2 env runners" in printed
    rows = rows_of(directory_in(printed))
    assert_no_gap_and_no_double(rows)
    assert rows[0] == kill.first_row and len(rows) > kill.happened_at
    assert min(row["agent_steps"] for row in rows) >= ROLLOUT - 40, "updates keep their size"


@pytest.mark.end_to_end
def test_each_frame_of_a_game_travels_once(shared_ray, tmp_path):
    horizon, num_envs = 16, 2
    code, printed = go(
        "env=assault",
        "cluster.num_env_runners=1",
        "cluster.cpus=1",
        f"algo.horizon={horizon}",
        f"algo.num_envs={num_envs}",
        "algo.minibatch_size=16",
        "algo.num_epochs=1",
        "stop.agent_steps=64",  # far fewer than report_every
        f"output_dir={tmp_path}",
    )
    assert code == 0, printed
    rows = rows_of(directory_in(printed))
    assert rows[-1]["agent_steps"] == 64, "a run ends where it was told to"
    for row in rows:
        assert 7056 * (horizon + 4) / horizon <= row["bytes_per_agent_step"] <= 7056 * (horizon + 4) / horizon + 64
        assert row["env_frames"] == 4 * row["agent_steps"]


@pytest.mark.parametrize(
    ("rows", "checkpoint", "lacks"),
    [
        ([], 2048, True),
        ([512, 1024, 1536, 2048], 2048, False),
        ([512, 1024, 1536], 2048, False),
        ([512, 1024], 2560, True),
        ([], 0, False),
        ([512, 1024, 4096], 1024, False),
    ],
)
def test_a_table_that_lost_rows_is_noticed_when_its_run_goes_on(rows, checkpoint, lacks, tmp_path):
    table = ProgressTable(tmp_path / PROGRESS_CSV)
    for steps in rows:
        table.append({"agent_steps": steps})
    assert lacks_rows(tmp_path, checkpoint) == lacks


@pytest.mark.parametrize(("cpus", "taken", "room"), [(2, 1, 2), (2, 2, 1), (8, 3, 2), (2, 4, 1)])
def test_as_many_seeds_train_at_once_as_there_are_cpus_for(cpus, taken, room, compose, monkeypatch):
    plan = dataclasses.replace(make_plan(compose(["env=cartpole"])), training_cpus=taken)
    monkeypatch.setattr("runs.train.count_cpus", lambda: cpus)
    assert count_room(plan) == room
    elsewhere = plan.settings | {"cluster": plan.settings["cluster"] | {"address": "auto"}}
    assert count_room(dataclasses.replace(plan, settings=elsewhere)) is None
