"""What a run reports: counters, the last hundred games, and a clock that survives a restart."""

import json
import math
import time

import pytest

from rollouts.progress import Progress


def summary(steps: int, scores=(), lengths=(), num_bytes: int = 0) -> dict:
    return {"agent_steps": steps, "scores": tuple(scores), "lengths": tuple(lengths), "num_bytes": num_bytes}


@pytest.fixture
def progress():
    progress = Progress()
    progress.start_clock()
    return progress


def test_agent_steps_and_frames_are_counted_from_the_rollouts(progress):
    progress.count_rollouts([summary(1024, [10.0, 20.0], [5, 7]), summary(1020)], remote=False)
    progress.count_rollouts([summary(1024, [30.0], [9])], remote=False)
    row = progress.make_row(frameskip=4)
    assert row["agent_steps"] == 3068 and row["env_frames"] == 4 * 3068
    assert row["episodes"] == 3
    assert row["episode_return_mean"] == 20 and row["episode_length_mean"] == 7


def test_the_reported_return_is_that_of_the_last_hundred_games(progress):
    progress.count_rollouts([summary(10, [1000.0] * 70, [1] * 70)], remote=False)
    progress.count_rollouts([summary(10, range(60), range(60))], remote=False)
    row = progress.make_row(1)
    assert row["episodes"] == 130
    assert row["episode_return_mean"] == (40 * 1000 + sum(range(60))) / 100
    assert row["episode_length_mean"] == (40 * 1 + sum(range(60))) / 100


def test_a_row_has_the_mean_of_the_games_that_ended_since_the_row_before(progress):
    progress.count_rollouts([summary(10, [1.0, 2.0], [1, 1]), summary(10, [6.0], [1])], remote=False)
    assert progress.make_row(1)["recent_return_mean"] == 3
    assert math.isnan(progress.make_row(1)["recent_return_mean"])
    progress.count_rollouts([summary(10, [50.0], [1])], remote=False)
    progress.set_state(progress.get_state() | {"scores": [1.0]})  # of a checkpoint: the game of 50 is not its
    progress.start_clock()
    progress.count_rollouts([summary(10, [4.0], [1])], remote=False)
    assert progress.make_row(1)["recent_return_mean"] == 4


def test_before_the_first_game_ends_there_is_no_return(progress):
    progress.count_rollouts([summary(10)], remote=False)
    assert math.isnan(progress.make_row(1)["episode_return_mean"])


def test_the_reported_speed_is_that_since_the_last_report(monkeypatch):
    now = 100.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    progress = Progress()
    progress.start_clock()
    now = 102.0
    progress.count_rollouts([summary(1000)], remote=False)
    assert progress.make_row(1)["agent_steps_per_s"] == 500
    now = 106.0
    progress.count_rollouts([summary(1000)], remote=False)
    row = progress.make_row(1)
    assert row["agent_steps_per_s"] == 250 and row["wall_time_s"] == 6


def test_the_clock_stands_still_between_two_starts(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    before = Progress()
    before.start_clock()
    now = 10.0
    before.count_rollouts([summary(500)], remote=False)
    before.make_row(1)
    now = 1000.0  # nothing runs
    after = Progress()
    after.set_state(json.loads(json.dumps(before.get_state())))
    now = 1002.0  # Ray starts
    after.start_clock()
    now = 1003.0
    after.count_rollouts([summary(70)], remote=False)
    row = after.make_row(1)
    assert row["wall_time_s"] == 11 and row["agent_steps_per_s"] == 70 and row["agent_steps"] == 570


def test_starting_the_clock_twice_changes_nothing(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    progress = Progress()
    progress.start_clock()
    now = 5.0
    progress.start_clock()
    assert progress.make_row(1)["wall_time_s"] == 5


def test_counters_and_the_last_hundred_games_survive_a_restart(progress):
    progress.count_rollouts([summary(10, range(130), range(130))], remote=False)
    row = progress.make_row(4)
    other = Progress()
    other.set_state(progress.get_state())
    assert other.compute_totals(4) == {key: row[key] for key in other.compute_totals(4)}
    other.start_clock()
    other.count_rollouts([summary(10, [5.0], [5])], remote=False)
    progress.count_rollouts([summary(10, [5.0], [5])], remote=False)
    assert other.compute_totals(4) | {"wall_time_s": 0} == progress.compute_totals(4) | {"wall_time_s": 0}


def test_traffic_is_counted_where_there_is_any(progress):
    progress.count_rollouts([summary(100, num_bytes=7000), summary(100, num_bytes=8000)], remote=True)
    assert progress.make_row(1)["bytes_per_agent_step"] == 75
    progress.count_rollouts([summary(100, num_bytes=7000)], remote=False)
    assert progress.make_row(1)["bytes_per_agent_step"] == 0


def test_seeds_that_train_in_turn_do_not_count_each_others_time(monkeypatch):
    now = 0.0
    monkeypatch.setattr(time, "perf_counter", lambda: now)
    seeds = Progress(), Progress()
    for _ in range(2):
        for progress in seeds:
            progress.start_clock()
            now += 2.0
            progress.count_rollouts([summary(1000)], remote=False)
            row = progress.make_row(1)
            progress.stop_clock()
            assert row["agent_steps_per_s"] == 500
    assert [progress.wall_time_s for progress in seeds] == [4, 4]
