"""Trainings, searches and grids whose rows go to a logger, as typed."""

import json
from pathlib import Path

import pytest
from comparisons.arms import read_grid
from comparisons.grid_dry_run import shorten_arm

from tests.runs.tiny_runs import TINY, directory_in, go, rows_of

pytestmark = [pytest.mark.end_to_end, pytest.mark.usefixtures("shared_ray")]
SENT = [*TINY, "stop.agent_steps=1500"]


def steps_by_run(told: list) -> dict[str, list[float]]:
    """The name of a run -> the steps of its rows."""
    names = {words["id"]: words["name"] for what, words in told if what == "init"}
    found: dict[str, list[float]] = {name: [] for name in names.values()}
    for what, words in told:
        if what == "log":
            found[names[words["id"]]].append(words["step"])
    return found


@pytest.mark.parametrize("manners", ["hangs", "raises"])
def test_a_training_ends_as_ever_where_its_logger_does_not_work(manners, fake_wandb, tmp_path, monkeypatch):
    """A call that waited for the logger would wait for an hour."""
    monkeypatch.setattr("loggers.run_logs.CLOSE_S", 1.0)
    fake_wandb(manners)
    code, printed = go(*SENT, "logger=[tensorboard,wandb]", f"output_dir={tmp_path}")
    path = directory_in(printed)
    rows = rows_of(path)
    assert code == 0 and rows[-1]["agent_steps"] >= 1500
    assert list((path / "tensorboard").glob("events.*"))
    assert f"{len(rows)} of {len(rows)} rows were not sent" in printed
    (start,) = json.loads((path / "run.json").read_text())["starts"]
    assert start["rows_not_sent"]["wandb"]["rows"] == len(rows)


def test_every_row_is_sent_of_every_seed_and_resumed_and_evaluated_under_its_id(fake_wandb, tmp_path):
    told = fake_wandb()
    words = ["logger=wandb", "seed=1,2", "evaluate=true", "episodes=2", f"output_dir={tmp_path}"]
    code, printed = go(*SENT, *words)
    path = directory_in(printed)
    assert code == 0, printed
    assert steps_by_run(told()) == {
        f"{path.name}/seed_{seed}": [row["agent_steps"] for row in rows_of(path / f"seed_{seed}")] for seed in (1, 2)
    }
    assert not list(path.rglob("tensorboard")) and "tensorboard" not in printed
    opened = [words for what, words in told() if what == "init"]
    assert len({words["id"] for words in opened}) == 2 and {words["group"] for words in opened} == {"ppo/cartpole"}
    results = [words["values"] for what, words in told() if what == "summary"]
    assert len(results) == 2 and all(values["evaluation_best_2_games/greedy/mean"] > 0 for values in results)
    artifacts = [words for what, words in told() if what == "artifact"]
    assert [Path(words["files"][0]).name for words in artifacts] == 2 * ["evaluation_best_2_games.json"]
    before = len(told())
    code, printed = go(f"resume={path}", "stop.agent_steps=3000")
    assert code == 0, printed
    later = told()[before:]
    assert {words["id"] for what, words in later if what == "init"} == {words["id"] for words in opened}
    for seed in (1, 2):
        name = f"{path.name}/seed_{seed}"
        sent = steps_by_run(told()[:before])[name] + steps_by_run(later)[name]
        assert sent == sorted(set(sent)) == [row["agent_steps"] for row in rows_of(path / f"seed_{seed}")]
    code, printed = go("command=evaluate", f"run={path}/seed_2", "episodes=1", "way=greedy", "checkpoint=last")
    assert code == 0 and directory_in(printed.split("logger=")[0].rstrip()) == path / "seed_2"
    (what, words) = told()[-3]
    assert what == "summary" and list(words["values"]) == [
        f"evaluation_last_greedy_1_games/greedy/{name}" for name in ("mean", "median", "iqm", "std")
    ]


def test_no_logger_at_all_leaves_the_rows_alone(tmp_path):
    code, printed = go(*SENT, "logger=null", f"output_dir={tmp_path}")
    path = directory_in(printed)
    assert code == 0 and rows_of(path)
    assert not (path / "tensorboard").exists() and not (path / "loggers.json").exists()


def test_a_search_has_a_run_for_each_trial_and_a_grid_for_each_arm_and_seed(fake_wandb, tmp_path):
    told = fake_wandb()
    words = [*TINY, "report_every=256", "stop.agent_steps=2048", "logger=wandb", f"output_dir={tmp_path}"]
    search = [
        "search.trials=2",
        "search.concurrent=1",
        "search.scheduler=none",
        "search.contender_seeds=0",
        "search.fresh_seeds=0",
    ]
    code, printed = go("tune_searches=cartpole_ppo", *words, *search)
    assert code == 0, printed
    opened = [words for what, words in told() if what == "init"]
    assert {words["group"] for words in opened} == {"searches/cartpole_ppo"}
    assert [words["name"] for words in opened] == ["trials/0000", "trials/0001"]
    folder = tmp_path / "searches" / "cartpole_ppo"
    assert not list(folder.rglob("tensorboard"))
    assert steps_by_run(told()) == {
        name: [row["agent_steps"] for row in rows_of(folder / name)] for name in ("trials/0000", "trials/0001")
    }
    before = len(told())
    grid = ["-m", "algo.lr=1e-3,2e-3", "seed=1,2", "label=pair", *words]
    code, printed = go(*grid, "stop.agent_steps=1000")
    assert code == 0, printed
    opened = [words for what, words in told()[before:] if what == "init"]
    assert {words["group"] for words in opened} == {"grids/pair"}
    names = [f"lr_{lr}/seed_{seed}" for lr in ("0.001", "0.002") for seed in (1, 2)]
    assert sorted(words["name"] for words in opened) == names
    assert [what for what, _ in told()[before:]].count("finish") == 4


def test_the_dry_run_of_a_grid_sends_nothing(fake_wandb):
    fake_wandb()
    grid = read_grid(["env=cartpole", "algo.lr=1e-3,2e-3", "logger=wandb"])
    assert [arm.settings["logger"] for arm in grid.arms] == 2 * [["wandb"]]
    assert [shorten_arm(arm).settings["logger"] for arm in grid.arms] == [None, None]
