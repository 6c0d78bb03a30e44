"""What a run directory gets while its seeds report, whatever is killed in between."""

import csv
import math

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from loggers.row_writer import RowWriter


def row(steps: int, wall: float | None = None) -> dict:
    return {"agent_steps": steps, "wall_time_s": steps / 1000 if wall is None else wall, "loss": steps / 10}


def steps_in(path) -> list[int]:
    """Read as anybody would read it, without this suite."""
    with open(path, newline="") as file:
        return [int(line["agent_steps"]) for line in csv.DictReader(file)]


def shown_in(folder) -> list[tuple[int, float]]:
    """What TensorBoard shows of one curve."""
    events = EventAccumulator(str(folder))
    events.Reload()
    return [(event.step, round(event.value, 3)) for event in events.Scalars("loss")]


def test_a_process_that_starts_again_beyond_the_lost_rows_drops_them_all_the_same(tmp_path):
    """The first new row, 3003, is further than the lost 3000: that alone would not tell."""
    record = RowWriter({1: tmp_path}, tmp_path)
    record.begin(1, 0)
    for steps in (1000, 2000, 3000):
        record.add(1, row(steps))
    record.begin(1, 2000)  # Tune starts the trial again, in the same driver
    record.add(1, row(3003, wall=2.9))
    assert steps_in(tmp_path / "progress.csv") == [1000, 2000, 3003]
    resumed = RowWriter({1: tmp_path}, tmp_path)  # another driver
    resumed.begin(1, 1000)
    resumed.add(1, row(3100))
    assert steps_in(tmp_path / "progress.csv") == [1000, 3100]
    assert [step for step, _ in shown_in(tmp_path / "tensorboard")] == [1000, 3100]


def test_a_process_that_starts_from_nothing_leaves_no_row_of_the_one_before(tmp_path):
    record = RowWriter({1: tmp_path}, tmp_path)
    for steps in (1000, 2000):
        record.add(1, row(steps))
    record.begin(1, 0)  # it died before its first checkpoint
    record.add(1, row(2005))
    assert steps_in(tmp_path / "progress.csv") == [2005]
    assert shown_in(tmp_path / "tensorboard") == [(2005, 200.5)]


def test_the_table_above_several_seeds_and_that_of_workers_lose_the_same_rows(tmp_path):
    dirs = {seed: tmp_path / f"seed_{seed}" for seed in (1, 2)}
    for path in dirs.values():
        path.mkdir()
    record = RowWriter(dirs, tmp_path)
    for steps in (1000, 2000, 3000):
        for seed in dirs:
            record.add(seed, row(steps), workers=[{"worker": 0}, {"worker": 1}])
    resumed = RowWriter(dirs, tmp_path)
    resumed.begin(1, 2000)
    with open(tmp_path / "progress.csv", newline="") as file:
        merged = [(int(line["seed"]), int(line["agent_steps"])) for line in csv.DictReader(file)]
    assert [steps for seed, steps in merged if seed == 1] == [1000, 2000]
    assert [steps for seed, steps in merged if seed == 2] == [1000, 2000, 3000]
    assert steps_in(dirs[1] / "workers.csv") == [1000, 1000, 2000, 2000]
    assert steps_in(dirs[2] / "workers.csv") == [1000, 1000, 2000, 2000, 3000, 3000]


def test_tensorboard_has_every_row_of_progress_csv_after_kills(tmp_path):
    """Nobody closes anything, as kill -9 does not; restarts within one second do not write over each other."""
    for start in (0, 30, 60):
        record = RowWriter({1: tmp_path}, tmp_path)
        record.begin(1, start)
        for steps in (start + 10, start + 20, start + 30):
            record.add(1, row(steps) | {"kl": math.nan})
    with open(tmp_path / "progress.csv", newline="") as file:
        rows = [(int(line["agent_steps"]), float(line["loss"])) for line in csv.DictReader(file)]
    assert len(rows) == 9 and shown_in(tmp_path / "tensorboard") == rows


def test_rows_of_a_seed_that_was_trained_by_itself_come_into_the_table_above(tmp_path):
    dirs = {seed: tmp_path / f"seed_{seed}" for seed in (1, 2)}
    for path in dirs.values():
        path.mkdir()
    both = RowWriter(dirs, tmp_path, tensorboard=False)
    for seed in dirs:
        both.begin(seed, 0)
        both.add(seed, row(1000))
    alone = RowWriter({2: dirs[2]}, dirs[2], tensorboard=False)
    alone.begin(2, 1000)
    alone.add(2, row(2000))
    again = RowWriter(dirs, tmp_path, tensorboard=False)
    again.begin(2, 2000)
    again.add(2, row(3000))
    with open(tmp_path / "progress.csv", newline="") as file:
        found = [(line["seed"], line["agent_steps"], line["loss"]) for line in csv.DictReader(file)]
    assert sorted(found) == [("1", "1000", "100.0"), *(("2", f"{n}000", f"{n}00.0") for n in (1, 2, 3))]
