"""progress.csv: rows in order, none lost and none twice, whatever is killed in between."""

import csv
import errno
import tracemalloc

import pytest

from run_directory import writing
from run_directory.progress_table import ProgressTable, read_rows
from settings.mistakes import Mistake


@pytest.fixture
def path(tmp_path):
    return tmp_path / "progress.csv"


def fill(path, *steps, **more) -> ProgressTable:
    """A table with a row at each of these agent steps."""
    table = ProgressTable(path)
    for step in steps:
        table.append({"agent_steps": step, "loss": step / 10} | more)
    return table


def steps_in(path) -> list[int]:
    """Read as anybody would read it, without this suite."""
    with open(path, newline="") as file:
        return [int(row["agent_steps"]) for row in csv.DictReader(file)]


def test_rows_come_back_as_they_were_written(path):
    fill(path, 10, 20, 30)
    assert path.read_text().splitlines() == ["agent_steps,loss", "10,1.0", "20,2.0", "30,3.0"]
    assert read_rows(path)[1] == {"agent_steps": "20", "loss": "2.0"}


def test_lines_end_as_shell_scripts_expect(path):
    fill(path, 10)
    fill(path, 20)
    assert b"\r" not in path.read_bytes()


def test_every_row_is_on_disk_as_soon_as_it_is_reported(path):
    table = ProgressTable(path)
    for step in (10, 20, 30):
        table.append({"agent_steps": step})
        assert steps_in(path)[-1] == step


def test_rows_that_are_reported_again_replace_the_old_ones(path):
    fill(path, 10, 20, 30, 40)
    fill(path, 30, loss="new")
    assert steps_in(path) == [10, 20, 30]
    assert read_rows(path)[-1]["loss"] == "new"


def test_a_restart_in_the_same_process_drops_the_rows_after_its_checkpoint(path):
    table = fill(path, 10, 20, 30, 40)
    for step in (25, 35, 45):
        table.append({"agent_steps": step, "loss": 0})
    assert steps_in(path) == [10, 20, 25, 35, 45]


def test_a_continued_table_only_appends(path):
    fill(path, 10, 20)
    fill(path, 30, 40)
    assert steps_in(path) == [10, 20, 30, 40]
    assert path.read_text().count("agent_steps") == 1


@pytest.mark.parametrize("missing", range(2, 14))
def test_a_line_that_was_cut_short_is_left_out_and_the_next_one_stands_alone(path, missing):
    fill(path, 10, 20, 12345)
    # Of "12345,1234.5" and the end of the line; what is left may look like a whole number and be half of one.
    path.write_bytes(path.read_bytes()[:-missing])
    assert [int(row["agent_steps"]) for row in read_rows(path)] == [10, 20]
    fill(path, 12345, 20000)
    assert steps_in(path) == [10, 20, 12345, 20000]
    assert all(row["loss"] == str(int(row["agent_steps"]) / 10) for row in read_rows(path))


@pytest.mark.parametrize("content", ["", "agent_st", "agent_steps,loss", "agent_steps,loss\n", "agent_steps,loss\n10"])
def test_a_table_that_was_killed_before_its_first_row_starts_anew(path, content):
    path.write_text(content)
    assert read_rows(path) == []
    fill(path, 10)
    assert path.read_text().splitlines() == ["agent_steps,loss", "10,1.0"]


def test_a_new_column_is_empty_above_and_the_old_rows_stay(path):
    table = fill(path, 10, 20)
    table.append({"agent_steps": 30, "loss": 3.0, "kl": 0.5})
    table.append({"agent_steps": 40, "kl": 0.6})
    assert path.read_text().splitlines() == ["agent_steps,loss,kl", "10,1.0,", "20,2.0,", "30,3.0,0.5", "40,,0.6"]
    fill(path, 50)
    assert steps_in(path) == [10, 20, 30, 40, 50]


def test_a_count_that_no_run_can_reach_is_damage(path):
    path.write_text(f"agent_steps\n{10**14}\n")
    assert read_rows(path) == [{"agent_steps": str(10**14)}]
    path.write_text(f"agent_steps\n{10**15}\n")
    with pytest.raises(Mistake, match=str(10**15)):
        read_rows(path)


def test_a_long_table_is_not_read_again_where_no_row_is_beyond_the_checkpoint(path, monkeypatch):
    table = fill(path, 10, 20, seed=1)
    table.append({"agent_steps": 30, "seed": 2})
    monkeypatch.setattr("run_directory.progress_table.read_rows", lambda _: pytest.fail("it was read"))
    table.drop_rows_beyond(20, value="1")
    table.drop_rows_beyond(30)


def test_seeds_share_a_table_and_none_drops_the_rows_of_another(path):
    table = ProgressTable(path)
    for seed, step in [(1, 10), (2, 10), (1, 20), (2, 20), (1, 30), (2, 20)]:
        table.append({"seed": seed, "agent_steps": step})
    assert [(row["seed"], row["agent_steps"]) for row in read_rows(path)] == [
        ("1", "10"),
        ("2", "10"),
        ("1", "20"),
        ("1", "30"),
        ("2", "20"),
    ]


@pytest.mark.parametrize(
    "rows", [{"10": "1", "25": "2"}, {"10": "1"}, {"10": "1", "20": "1", "30": "1"}, {}, {"10": "1", "20": "99"}]
)
def test_the_rows_of_a_seed_become_those_of_its_own_table(rows, path):
    table = ProgressTable(path)
    for seed, step in [(1, 10), (2, 10), (1, 20), (2, 20)]:
        table.append({"seed": seed, "agent_steps": step, "score": 1})
    table.replace_rows([{"agent_steps": step, "score": score} for step, score in rows.items()], "1")
    found = [(row["seed"], row["agent_steps"], row["score"]) for row in read_rows(path)]
    assert sorted(found) == sorted([("2", "10", "1"), ("2", "20", "1"), *(("1", *row) for row in rows.items())])


def test_rows_that_are_the_same_are_not_written_again(path, monkeypatch):
    table = ProgressTable(path)
    for seed in (1, 2):
        table.append({"seed": seed, "agent_steps": 10, "of_seed_2": seed - 1 or ""})
    monkeypatch.setattr(ProgressTable, "_rewrite", lambda *_: pytest.fail("written again"))
    table.replace_rows([{"agent_steps": "10"}], "1")


def test_a_table_that_somebody_deleted_or_emptied_begins_anew(path):
    table = fill(path, 10, 20)
    path.unlink()
    table.append({"agent_steps": 30, "loss": 3.0})
    table.append({"agent_steps": 40, "loss": 4.0})
    assert path.read_text().splitlines() == ["agent_steps,loss", "30,3.0", "40,4.0"]
    path.write_text("")
    table.append({"agent_steps": 50, "loss": 5.0})
    assert path.read_text().splitlines() == ["agent_steps,loss", "50,5.0"]
    path.unlink()
    table.amend({"evaluation_mean": 7.5})
    assert not path.exists()
    table.append({"agent_steps": 60, "loss": 6.0})
    assert steps_in(path) == [60]


def test_the_newest_row_of_a_seed_is_amended_and_no_other(path):
    table = ProgressTable(path)
    for seed, step in [(1, 10), (2, 10), (1, 20), (2, 20)]:
        table.append({"seed": seed, "agent_steps": step})
    table.amend({"evaluation_mean": 7.5}, "1")
    assert path.read_text().splitlines() == [
        "seed,agent_steps,evaluation_mean",
        "1,10,",
        "2,10,",
        "1,20,7.5",
        "2,20,",
    ]
    table.append({"seed": 1, "agent_steps": 30})
    assert steps_in(path) == [10, 10, 20, 20, 30]


def test_the_latest_filled_cells_are_known_of_every_seed_and_after_rows_are_dropped(path):
    table = ProgressTable(path)
    for seed, step, mean in [(1, 10, 5.0), (2, 10, ""), (1, 20, 6.0), (1, 30, "")]:
        table.append({"seed": seed, "agent_steps": step, "mean": mean})
    expected = {"1": {"seed": "1", "agent_steps": "30", "mean": "6.0"}, "2": {"seed": "2", "agent_steps": "10"}}
    assert table.latest == ProgressTable(path).latest == expected
    table.drop_rows_beyond(10, "1")
    assert table.latest["1"] == {"seed": "1", "agent_steps": "10", "mean": "5.0"} and table.last_step == 10
    table.drop_rows_beyond(5)
    assert table.latest == {} and table.last_step == -1 and path.read_text() == "seed,agent_steps,mean\n"


def test_rows_are_not_kept_in_memory_nor_read_again_for_each(path):
    """A run of 100 million agent steps has 50,000 rows."""
    table = fill(path, 1)
    path.write_text("damage\n")  # whoever reads it again fails
    tracemalloc.start()
    try:
        for step in range(2, 2002):
            table.append({"agent_steps": step, "loss": 0.5})
        assert tracemalloc.get_traced_memory()[0] < 100_000, "bytes"
    finally:
        tracemalloc.stop()
    assert path.read_text() == "damage\n" + "".join(f"{step},0.5\n" for step in range(2, 2002))


def test_there_are_no_rows_where_there_is_no_table(path):
    assert read_rows(path) == []


@pytest.mark.parametrize("change", ["new columns", "amend", "drop"])
def test_a_rewrite_that_fails_changes_nothing_and_the_next_row_fits(path, monkeypatch, change):
    table = fill(path, 10, 20)
    before = path.read_text()

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(writing.os, "replace", full)
        with pytest.raises(OSError, match="No space"):
            if change == "new columns":
                table.append({"agent_steps": 30, "kl": 0.1})
            elif change == "amend":
                table.amend({"evaluation_mean": 7.5})
            else:
                table.drop_rows_beyond(10)
    assert path.read_text() == before and table.last_step == 20 and table.header == ["agent_steps", "loss"]
    table.append({"agent_steps": 15 if change == "drop" else 30, "loss": 3.0})
    assert [row["agent_steps"] for row in read_rows(path)] == (["10", "15"] if change == "drop" else ["10", "20", "30"])


@pytest.mark.parametrize(("written", "left"), [("200", []), ("200,2.0\n", ["200,2.0"]), ("", [])])
@pytest.mark.parametrize("next_step", [200, 300])
def test_a_row_whose_write_failed_is_there_once_or_not_at_all(path, monkeypatch, written, left, next_step):
    """Otherwise `200` and `300,3.0` become a row at 200,300 agent steps, or a row is there twice."""
    table = fill(path, 100)

    class HalfWriter(csv.DictWriter):
        def writerow(self, row):
            path.open("a").write(written)
            raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(csv, "DictWriter", HalfWriter)
        with pytest.raises(OSError, match="No space"):
            table.append({"agent_steps": 200, "loss": 2.0})
    table.append({"agent_steps": next_step, "loss": 3.0})
    left = left if next_step > 200 else []
    assert path.read_text().splitlines() == ["agent_steps,loss", "100,10.0", *left, f"{next_step},3.0"]


@pytest.mark.parametrize("cell", ["1000.0", "1e3", "n/a", "nan", "-1"])
def test_an_evaluation_at_no_number_of_agent_steps_is_damage(path, cell):
    path.write_text("agent_steps,evaluation_agent_steps\n10,\n20,20\n")
    assert [row["evaluation_agent_steps"] for row in read_rows(path)] == ["", "20"]
    path.write_text(f"agent_steps,evaluation_agent_steps\n10,\n20,{cell}\n")
    with pytest.raises(Mistake, match="line 3, column evaluation_agent_steps"):
        read_rows(path)


def test_nothing_is_lost_when_a_rewrite_is_killed(path, monkeypatch):
    table = fill(path, 10, 20, 30)

    def killed(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(writing.os, "replace", killed)
    with pytest.raises(KeyboardInterrupt):
        table.append({"agent_steps": 15})
    assert steps_in(path) == [10, 20, 30]
