"""A grid from the command line to its verdict: killed, typed again, compared."""

import contextlib
import csv
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import psutil
import pytest

import run
from playing.evaluations import read_evaluations
from playing.periodic_evaluation import PeriodicEvaluation
from run_directory.milestones import list_weights_to_evaluate
from runs.interrupt import MESSAGE_OF_EVALUATIONS, Interrupt
from tests.runs.tiny_runs import TINY, go, rows_of, wait_for

RUN_PY = Path(run.__file__).resolve()
ARMS = ["-m", "algo=a2c,ppo", "env=cartpole", "seed=1,2", "report_every=200", "checkpoint_every_s=0.01"]
TINY_PPO = [word for word in TINY if word.startswith("algo.")]


def arms_of(folder: Path) -> list[dict[str, str]]:
    """The rows of arms.csv."""
    with open(folder / "arms.csv", newline="") as file:
        return list(csv.DictReader(file))


def directory_in(printed: str) -> Path:
    """The directory that a grid prints last."""
    words, _, path = printed.splitlines()[-1].partition(": ")
    assert words == "grid directory"
    return Path(path)


@pytest.mark.end_to_end
def test_a_killed_grid_goes_on_by_the_same_line_and_ends_with_a_comparison(tmp_path):
    words = [*ARMS, "stop.agent_steps=6000", f"output_dir={tmp_path}"]
    process = subprocess.Popen([sys.executable, RUN_PY, *words], cwd=tmp_path, stdout=subprocess.DEVNULL)
    begun = list[Path]()

    def has_a_checkpoint() -> bool:
        begun[:] = tmp_path.glob("grids/*/*/seed_1/checkpoints/last/manifest.json")
        return bool(begun) or process.poll() is not None

    wait_for(has_a_checkpoint, timeout_s=240)
    below = psutil.Process(process.pid).children(recursive=True)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    for one in below:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    code, printed = go(*words)
    assert code == 0, printed
    folder = directory_in(printed)
    assert begun[0].is_relative_to(folder)
    rows = arms_of(folder)
    assert [(row["arm"], row["seed"], row["state"]) for row in rows] == [
        (arm, seed, "COMPLETE") for arm in ("a2c", "ppo") for seed in ("1", "2")
    ]
    assert [row["algo"] for row in rows] == ["a2c", "a2c", "ppo", "ppo"]
    assert all(int(row["agent_steps"]) >= 6000 and float(row["score"]) > 0 for row in rows)
    for arm in ("a2c", "ppo"):
        for seed in (1, 2):
            steps = [row["agent_steps"] for row in rows_of(folder / arm / f"seed_{seed}")]
            assert steps == sorted(set(steps)) and steps[-1] >= 6000
    assert re.search(r"\bppo\b.*\ba2c\b.* 2 seeds|better than", printed)
    assert (folder / "compare.html").exists() and (folder / "compare.md").exists()
    assert len(json.loads((folder / "grid.json").read_text())["starts"]) == 2
    code, printed = go(*words)  # nothing is left to do
    assert code == 0 and directory_in(printed) == folder


@pytest.mark.end_to_end
def test_an_arm_that_fails_leaves_the_others_and_is_named(tmp_path):
    words = ["-m", "algo.lr=1e-3,1e30", "env=cartpole", "seed=1", "stop.agent_steps=2000", *TINY_PPO]
    code, printed = go(*words, f"output_dir={tmp_path}", "report_every=200")
    folder = directory_in(printed)
    states = {row["arm"]: row["state"] for row in arms_of(folder)}
    assert code == 1 and states == {"lr_0.001": "COMPLETE", "lr_1e+30": "FAIL"}
    assert re.search(r"^lr_1e\+30 seed 1 failed: ", printed, re.MULTILINE)
    assert "-m algo.lr=1e-3,1e30" in printed  # to type again


@pytest.mark.end_to_end
def test_a_dry_run_says_how_many_runs_how_long_and_how_much_disk(tmp_path, monkeypatch):
    monkeypatch.setattr("grids.grid_dry_run.MEASURED_S", 0.5)
    code, printed = go("-m", "algo=a2c,ppo", "env=cartpole", "seed=1,2,3", f"output_dir={tmp_path}", "dry_run=true")
    assert code == 0 and re.search(r"\b2 arms, 6 runs\b.* \d+ (?:s|min)\b.*\d MB", printed.splitlines()[-1])
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("places", "times", "total"),
    [(16, [60, 60], 60), (2, [60, 60, 60], 120), (2, [10, 60, 10, 10], 60), (3, [60] * 4, 120), (1, [60, 10], 70)],
)
def test_runs_that_are_fewer_than_places_take_as_long_as_one(places, times, total):
    from grids.grid_dry_run import compute_time

    assert compute_time([(1 / places, time_s) for time_s in times]) == total


def test_runs_that_need_unequal_shares_of_the_machine_wait_for_their_room():
    from grids.grid_dry_run import compute_time

    assert compute_time([(0.5, 60), (1.0, 10), (0.5, 30), (0.5, 20)]) == 100


def test_a_dry_run_says_that_an_arm_could_not_be_measured(monkeypatch):
    from grids import grid_dry_run
    from grids.arms import read_grid

    grid = read_grid(["algo=a2c,ppo", "env=cartpole", "seed=1", "stop.agent_steps=1000", "cluster.cpus=1"])
    cost = grid_dry_run.Cost(3600.0, 5_000_000)
    costs: dict[str, grid_dry_run.Cost | None] = {"a2c": cost, "ppo": cost}
    monkeypatch.setattr(grid_dry_run, "open_ray", lambda plan, saves: contextlib.nullcontext())
    monkeypatch.setattr(grid_dry_run, "measure_arms", lambda *_: None)
    monkeypatch.setattr(grid_dry_run, "compute_cost", lambda arm, path: costs[arm.name])
    monkeypatch.setattr("runs.train.count_cpus", lambda: 16)
    assert "about 1 h 00 min here, about 10 MB" in grid_dry_run.describe_grid(grid)
    costs["a2c"] = None
    a2c, ppo, total = grid_dry_run.describe_grid(grid).splitlines()
    assert "MB" not in a2c and "5 MB each" in ppo
    assert "at least 1 h 00 min here, at least 5 MB" in total


def test_a_dry_run_that_is_stopped_prints_no_estimate_and_is_no_success(monkeypatch):
    from grids import grid_dry_run
    from grids.arms import read_grid
    from runs.interrupt import Interrupt

    grid = read_grid(["algo=a2c,ppo", "env=cartpole", "seed=1", "cluster.cpus=1"])
    monkeypatch.setattr(Interrupt, "stop_requested", False)
    monkeypatch.setattr(grid_dry_run, "open_ray", lambda plan, saves: contextlib.nullcontext())
    monkeypatch.setattr(grid_dry_run, "measure_arms", lambda *_: setattr(Interrupt, "stop_requested", True))
    with pytest.raises(SystemExit) as stopped:
        grid_dry_run.describe_grid(grid)
    assert stopped.value.code not in (0, None)


@pytest.mark.parametrize("cluster", [[], ["cluster=ray", "cluster.num_env_runners=1"]])
def test_a_dry_run_on_a_cluster_trains_where_all_nodes_see_its_files(tmp_path, monkeypatch, cluster):
    from grids import grid_dry_run
    from grids.arms import read_grid

    places = []

    def measure(arms, plans, folder):
        places.append(folder.parent)

    monkeypatch.setattr(grid_dry_run, "open_ray", lambda plan, saves: contextlib.nullcontext())
    monkeypatch.setattr(grid_dry_run, "measure_arms", measure)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "of_this_machine"))
    for folder in ("of_this_machine", "shared"):
        (tmp_path / folder).mkdir()
    grid = read_grid(["algo=a2c,ppo", "env=cartpole", f"output_dir={tmp_path / 'shared'}", *cluster])
    assert "2 arms, 2 runs" in grid_dry_run.describe_grid(grid)
    assert places == [tmp_path / ("shared" if cluster else "of_this_machine")]
    assert not list(tmp_path.glob("*/*"))


def test_seeds_of_earlier_starts_stay_in_the_table(tmp_path):
    from grids.grid_directory import GridRun, read_arms, write_arms

    def write(*runs: GridRun) -> None:
        write_arms(tmp_path, list(runs), read_arms(tmp_path))

    def row(arm: str, seed: int, score: float) -> GridRun:
        return GridRun(arm, seed, "COMPLETE", 500, score, "", {"algo": arm})

    write(row("ppo", 1, 7.0), row("ppo", 2, 8.0), row("a2c", 1, 5.0), row("a2c", 10, math.nan))
    write(row("ppo", 3, 9.0), row("ppo", 2, 8.5), row("a2c", 3, 6.0))
    found = [(one["arm"], one["seed"], one["score"], one["algo"]) for one in arms_of(tmp_path)]
    ppo = [("ppo", seed, score, "ppo") for seed, score in (("1", "7.0"), ("2", "8.5"), ("3", "9.0"))]
    assert found == [*ppo, *(("a2c", seed, score, "a2c") for seed, score in (("1", "5.0"), ("3", "6.0"), ("10", "")))]
    write(row("ppo", 3, 9.0))
    assert len(arms_of(tmp_path)) == 6


class SilentDisplay:
    """A display of seeds that shows nothing."""

    def start_trial(self, *_):
        pass

    end_trial = pause_trial = start_trial


def open_source(folder: Path, *seeds: int):
    """A grid of one arm, a2c, of some seeds that have begun to train with Tune's ids t1, t2, ..."""
    from grids.grid import GridSource
    from grids.grid_directory import GridRun

    stop = {"agent_steps": 50_000, "time_s": None, "episode_return": None}
    labels = {seed: f"a2c seed {seed}" for seed in seeds}
    runs = {label: GridRun("a2c", seed, "WAITING", 0, math.nan, "", {"algo": "a2c"}) for seed, label in labels.items()}
    configs = [{"label": label, "seeds": [seed], "settings": {"stop": stop}} for seed, label in labels.items()]
    source = GridSource(folder, runs, configs, SilentDisplay())  # type: ignore[arg-type]
    for seed in seeds:
        source.suggest(f"t{seed}")
    return source


def end_seed(agent_steps: int, score: float, failure: str | None = None) -> dict:
    """The last result of a seed."""
    row = {"agent_steps": agent_steps, "wall_time_s": 1, "episodes": 50, "episode_return_mean": score}
    return {"failure": failure, "agent_steps": agent_steps, "score": score, "reports": [(1, row, [], None)]}


def test_a_failed_seed_keeps_how_far_it_was(tmp_path):
    source = open_source(tmp_path, 1, 2, 3)
    source.on_trial_complete("t1", end_seed(40_000, 123.4, failure="NaN"))
    source.on_trial_result("t2", end_seed(30_000, 5.0))
    source.fail_trial(source.configs["t2"], "its process died")
    source.on_trial_result("t3", end_seed(20_000, 6.0))
    source.on_trial_complete("t3", end_seed(0, math.nan, failure="it could not be built again"))
    found = [(row["state"], row["agent_steps"], row["score"]) for row in arms_of(tmp_path)]
    assert found == [("FAIL", "40000", "123.4"), ("FAIL", "30000", "5.0"), ("FAIL", "20000", "6.0")]


def test_a_table_that_was_damaged_meanwhile_fails_no_seed(tmp_path):
    source = open_source(tmp_path, 1, 2)
    source.on_trial_complete("t1", end_seed(50_000, 7.0))
    (tmp_path / "arms.csv").write_text((tmp_path / "arms.csv").read_text()[:-1])
    source.on_trial_complete("t2", end_seed(50_000, 8.0))
    assert [(row["state"], row["score"]) for row in arms_of(tmp_path)] == [("COMPLETE", "7.0"), ("COMPLETE", "8.0")]


@pytest.mark.parametrize(("games", "score"), [(3, math.nan), (20, 9.5)])
def test_a_checkpoint_with_few_games_has_no_score(tmp_path, monkeypatch, games, score):
    from grids import grid

    totals = {"agent_steps": 700, "episodes": games, "episode_return_mean": 9.5}
    monkeypatch.setattr(grid.checkpoints, "list_checkpoints", lambda run: ["last"])
    monkeypatch.setattr(grid.checkpoints, "find_newest_checkpoint", lambda run: (run, []))
    monkeypatch.setattr(grid.checkpoints, "read_totals", lambda checkpoint: totals)
    assert grid.read_standing(tmp_path) == pytest.approx((700, score), nan_ok=True)


def test_two_grids_do_not_share_a_label(tmp_path):
    from grids.grid_directory import refuse_another_grid, write_grid
    from settings.mistakes import Mistake

    refuse_another_grid(tmp_path, "x", {"a2c": {"algo": "a2c"}})
    write_grid(tmp_path, [], [], "x", {"a2c": {"algo": "a2c"}})
    refuse_another_grid(tmp_path, "x", {"a2c": {"algo": "a2c"}})
    for experiment, arm in ("x", "ppo"), ("y", "a2c"):
        with pytest.raises(Mistake, match="a2c"):
            refuse_another_grid(tmp_path, experiment, {arm: {"algo": arm}})


@pytest.mark.parametrize("other", ["algo.lr=1e-3,1e-4", "algo.gamma=0.9,0.99"])
def test_a_grid_that_began_and_ended_while_ray_started_is_not_written_over(tmp_path, monkeypatch, other):
    from grids import grid
    from grids.arms import read_grid
    from settings.mistakes import Mistake

    def read(word: str) -> grid.Grid:
        return read_grid([word, "env=cartpole", "label=mine", f"output_dir={tmp_path}"])

    others = []

    def train(grid, plans, folder, *_) -> int:
        for arm in grid.arms:
            (folder / arm.name / "run.json").write_text("{}")
        return 0

    @contextlib.contextmanager
    def open_ray(plan):
        others.append(plan)
        if len(others) == 1:
            grid.run_grid(read(other), ["python", "run.py"], ["of the other"])
        yield

    monkeypatch.setattr(grid, "open_ray", open_ray)
    monkeypatch.setattr(grid, "train_arms", train)
    with pytest.raises(Mistake, match="another grid" if "gamma" in other else "same grid .* type the line again"):
        grid.run_grid(read("algo.lr=1e-3,1e-4"), ["python", "run.py"], ["of this one"])
    assert "of this one" not in (tmp_path / "grids/mine/grid.json").read_text()


@pytest.mark.end_to_end
def test_the_arms_of_a_grid_share_an_evaluator_and_one_that_was_left_is_made_up_by_the_same_line(tmp_path, monkeypatch):
    words = [*ARMS, "stop.agent_steps=2048", "evaluate_every=1024", "episodes=2", f"output_dir={tmp_path}"]
    polls = []

    def poll(self) -> None:
        """No evaluation ever begins; once the grid only waits for them, the user types Ctrl-C."""
        if Interrupt.stop_message == MESSAGE_OF_EVALUATIONS and not polls:
            polls.append(self)
            os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(PeriodicEvaluation, "poll", poll)
        code, printed = go(*words)
    folder = directory_in(printed)
    seeds = [folder / arm / f"seed_{seed}" for arm in ("a2c", "ppo") for seed in (1, 2)]
    assert code == 1 and all(len(list_weights_to_evaluate(seed)) == 2 for seed in seeds), printed
    assert {row["state"] for row in arms_of(folder)} == {"COMPLETE"}
    code, printed = go(*words)
    assert code == 0, printed
    for seed in seeds:
        steps = [one.agent_steps for one in read_evaluations(seed)]
        assert len(steps) == 2 and not list_weights_to_evaluate(seed)
        assert rows_of(seed)[-1]["evaluation_agent_steps"] == steps[-1]
    assert "ppo seed 2 evaluated at" in printed and (folder / "compare.html").exists()


@pytest.mark.end_to_end
def test_a_grid_of_one_seed_goes_on_though_some_arms_have_not_begun(tmp_path):
    words = ["-m", "algo.lr=1e-3,1e-4", "env=cartpole", "stop.agent_steps=1000", "report_every=200"]
    words = [*words, *TINY_PPO, "label=waits", f"output_dir={tmp_path}"]
    code, printed = go(*words)
    assert code == 0, printed
    arm = tmp_path / "grids/waits/lr_0.0001"
    for name in ("checkpoints", "tensorboard"):  # as if the grid had been killed while this arm waited
        shutil.rmtree(arm / name)
    (arm / "progress.csv").unlink()
    code, printed = go(*words)
    assert code == 0 and "1 at their end already, 1 to train, 1,000 agent steps" in printed
    assert {row["arm"]: row["state"] for row in arms_of(arm.parent)} == {
        "lr_0.001": "COMPLETE",
        "lr_0.0001": "COMPLETE",
    }
    left = sum(1500 - int(row["agent_steps"]) for row in arms_of(arm.parent))
    code, printed = go(*[word.replace("steps=1000", "steps=1500") for word in words])
    assert code == 0 and f"2 to train, {left:,} agent steps" in printed
