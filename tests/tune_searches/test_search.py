"""Whole searches, as a user starts them: what they leave, that they go on, and what they refuse."""

import csv
import errno
import fcntl
import io
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from itertools import pairwise
from pathlib import Path

import optuna
import pytest
import yaml
from optuna.exceptions import StorageInternalError
from rich.console import Console
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import plugin_data_pb2

import run
from evidence.evaluate import evaluate
from loggers.metrics import Metrics
from loggers.run_logs import RunLogs
from run_directory import checkpoints
from run_directory.checkpoints import read_totals
from run_directory.manifest import find_damage
from run_directory.progress_table import ProgressTable
from runs import interrupt
from runs.display import SearchDisplay
from runs.tuning import Recorder, StopCondition
from settings.mistakes import Mistake
from tests.runs.tiny_runs import (
    RESTARTED,
    Disturbance,
    go,
    kill_actor,
    kill_driver,
    rows_of,
    send_sigterm_once_told_to_wait,
    send_to_self,
    wait_for,
)
from tune_searches import sources
from tune_searches.sources import SearchSource
from tune_searches.study import Study

ROOT = Path(run.__file__).resolve().parent
# Seconds: 4 updates of 4 envs x 64 steps each, and a game ends after 20 steps or so.
TINY = (
    "tune_searches=cartpole_ppo",
    "search.trials=5",
    "search.concurrent=2",
    "search.sampler=random",
    "search.reduction_factor=5",  # of five, the best so far goes on
    "search.rungs=1",
    "algo.num_envs=4",
    "algo.horizon=64",
    "algo.minibatch_size=64",
    "stop.agent_steps=2048",
    "search.contender_seeds=0",
    "search.fresh_seeds=0",
    "report_every=200",
    "checkpoint_every_s=0.01",
)
# At the only rung trials 2 and 4 of this seed score 22, and 0 and 1, one of which was there before them, 35 and 28: so
# whichever of two trials comes to it first, some are stopped early and trial 0 is not.
SEARCHED = (*TINY, "seed=87")


def trials_of(folder: Path) -> list[dict[str, str]]:
    with open(folder / "trials.csv", newline="") as file:
        return list(csv.DictReader(file))


def study_of(folder: Path) -> optuna.Study:
    return optuna.load_study(study_name="cartpole_ppo", storage=f"sqlite:///{folder / 'study.db'}")


@pytest.fixture(scope="session")
def searched(shared_ray, tmp_path_factory):
    """A search that came to its end, and what it printed. Shared: look, and do not touch."""
    outputs = tmp_path_factory.mktemp("searched")
    code, printed = go(*SEARCHED, f"output_dir={outputs}")
    assert code == 0, printed
    return outputs / "searches" / "cartpole_ppo", printed


def test_the_trials_of_a_search_keep_no_milestones(searched):
    folder, _ = searched
    assert list(folder.rglob("checkpoints/last")) and not list(folder.rglob("milestone_*"))


def test_a_search_ends_with_all_its_trials_and_the_best_of_them(searched):
    folder, printed = searched
    rows = trials_of(folder)
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert {row["state"] for row in rows} == {"COMPLETE", "PRUNED"}
    complete = [row for row in rows if row["state"] == "COMPLETE"]
    best = max(complete, key=lambda row: float(row["score"]))
    assert re.search(rf"^5 of 5 .*: {len(complete)} complete, {5 - len(complete)} ", printed, re.MULTILINE)
    score = f"{float(best['score']):,.1f}"
    assert f"  trial {best['trial']}  {score}  algo.lr=" in printed
    assert printed.splitlines()[-1] == f"search directory: {folder}"
    assert str(folder / "report.html") in printed
    assert re.search(rf"score, {score}, \w+ trial {best['trial']}\b", (folder / "report.html").read_text())


def test_a_search_prints_what_its_trials_cost_beside_training_and_that_is_little_of_ten_minutes(searched):
    _, printed = searched
    seconds, share = re.search(r"^([\d.]+) s\b.* ([\d.]+)%", printed, re.MULTILINE).groups()
    assert 0 < float(seconds) / (float(seconds) + 600) < 0.05
    assert 0 < float(share) < 100


def test_what_trials_took_beside_training_is_what_is_left_of_their_time(monkeypatch):
    source = SearchSource(SearchDisplay(lambda: "", Console(file=io.StringIO())))
    source.budget, source.end_trial, source.display.start_trial = 100, lambda *_: None, lambda *_: None
    clock = iter((0.0, 10.0, 10.0, 30.0))
    monkeypatch.setattr(sources.time, "monotonic", lambda: next(clock))
    for trained in (9.0, 18.0):
        source.hand_over("id", {"label": "trial"}, {})
        source.on_trial_complete("id", {"trained_s": trained})
    monkeypatch.undo()
    assert source.overheads == [(1.0, 10.0), (2.0, 20.0)]
    assert re.search(r"^1\.5 s\b.* 10\.0%", source.describe_overhead())


@pytest.mark.end_to_end
def test_a_storage_that_fails_while_it_is_written_to_stops_the_search_with_a_sentence(
    tmp_path, shared_ray, monkeypatch
):
    def broken(*arguments):
        raise StorageInternalError("the server went away during the commit")

    with monkeypatch.context() as patch:
        patch.setattr(Study, "report", broken)
        code, printed = go(*TINY, "search.trials=1", f"output_dir={tmp_path}")
    assert code == 1 and "search.storage=sqlite" in printed
    assert "Traceback" not in printed
    code, printed = go(*TINY, "search.trials=1", f"output_dir={tmp_path}")
    assert code == 0 and "1 of 1 trials: 1 complete" in printed


def make_recorder(folder: Path, display: SearchDisplay, settings: dict, metrics: type[Metrics] = Metrics) -> Recorder:
    stop = StopCondition(folder, lambda _, result: result["agent_steps"] >= 100)
    reporters = metrics(settings), RunLogs(settings, folder)
    return Recorder(folder, SearchSource(display), stop, display, lambda config, result: None, *reporters)


def test_what_a_trials_processes_have_to_say_is_said_once(tmp_path, compose):
    class Trial:
        trial_id = "a"
        config = {"label": "trial 3", "dir": str(tmp_path)}

    said = io.StringIO()
    display = SearchDisplay(lambda: "", Console(file=said))
    recorder = make_recorder(tmp_path, display, compose([]))
    result = {"failure": None, "reports": [], "agent_steps": 1, "score": 1.0}
    for _ in range(2):
        recorder.on_trial_result(1, [], Trial(), result | {"notices": [(1, "worker 2")]})
    assert said.getvalue() == "trial 3: seed 1: worker 2\n"


def test_what_optuna_was_told_is_what_the_trials_reported(searched):
    folder, _ = searched
    for trial in study_of(folder).trials:
        rows = rows_of(folder / "trials" / f"{trial.number:04d}")
        if trial.state is optuna.trial.TrialState.COMPLETE:
            assert rows[-1]["agent_steps"] >= 2048 and trial.value == rows[-1]["episode_return_mean"]
        else:
            assert rows[-1]["agent_steps"] < 2048 and trial.value == trial.intermediate_values[trial.last_step]
        for point, score in trial.intermediate_values.items():
            reached = next(row for row in rows if row["agent_steps"] >= point and row["episodes"] >= 20)
            assert score == reached["episode_return_mean"]


def test_a_trial_is_a_run_like_any_other(searched):
    folder, _ = searched
    row = next(row for row in trials_of(folder) if row["state"] == "COMPLETE")
    path = folder / "trials" / f"{int(row['trial']):04d}"
    settings = yaml.safe_load((path / "config.yaml").read_text())
    assert settings["command"] == "train" and "search" not in settings
    assert settings["algo"]["lr"] == float(row["algo.lr"]) and settings["seed"] == 87
    assert find_damage(path / "checkpoints" / "last") is None
    assert list((path / "tensorboard").iterdir())
    assert evaluate(path, 2)["episodes"] == 2


def test_tensorboard_shows_what_a_trial_was_given_and_what_it_scored(searched):
    for row in trials_of(searched[0]):
        events = EventAccumulator(str(searched[0] / "trials" / f"{int(row['trial']):04d}" / "tensorboard" / "hparams"))
        events.Reload()
        content = events.SummaryMetadata("_hparams_/session_start_info").plugin_data.content
        given = plugin_data_pb2.HParamsPluginData.FromString(content).session_start_info.hparams
        assert given["algo.lr"].number_value == pytest.approx(float(row["algo.lr"]))
        assert given["algo.num_epochs"].number_value == int(row["algo.num_epochs"])
        if row["state"] == "COMPLETE":
            assert events.Scalars("score")[-1].value == pytest.approx(float(row["score"]))


def test_optunas_dashboard_shows_a_search(searched, tmp_path):
    """The release of it that requirements.txt has, on the storage of a search, asked for what its page asks for."""
    folder, _ = searched
    storage = shutil.copy(folder / "study.db", tmp_path / "study.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "optuna-dashboard"), "--port", str(port), f"sqlite:///{storage}"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ask(path: str) -> dict | None:
        assert server.poll() is None, server.stdout.read()
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
                return json.load(answer)
        except urllib.error.URLError:  # it has only just been started
            return None

    try:
        (summary,) = wait_for(lambda: ask("/api/studies"), 60)["study_summaries"]
        study = ask(f"/api/studies/{summary['study_id']}")
    finally:
        server.kill()
        server.communicate()
    assert study["name"] == "cartpole_ppo"
    states = {row["trial"]: row["state"] for row in trials_of(folder)}
    states = {number: {"COMPLETE": "Complete", "PRUNED": "Pruned"}[state] for number, state in states.items()}
    assert {str(trial["number"]): trial["state"] for trial in study["trials"]} == states


@pytest.mark.end_to_end
def test_a_trial_of_a_search_can_be_trained_on(searched, tmp_path, shared_ray):
    row = next(row for row in trials_of(searched[0]) if row["state"] == "COMPLETE")
    path = Path(shutil.copytree(searched[0] / "trials" / f"{int(row['trial']):04d}", tmp_path / "trial"))
    code, printed = go(f"resume={path}", "stop.agent_steps=2500")
    assert code == 0, printed
    assert rows_of(path)[-1]["agent_steps"] >= 2500
    assert yaml.safe_load((path / "config.yaml").read_text())["algo"]["lr"] == float(row["algo.lr"])


@pytest.mark.end_to_end
def test_the_same_search_again_has_nothing_to_do_until_it_may_have_more_trials(searched, tmp_path, shared_ray):
    folder = Path(shutil.copytree(searched[0], tmp_path / "searches" / "cartpole_ppo"))
    before = trials_of(folder)
    code, printed = go(*SEARCHED, f"output_dir={tmp_path}")
    assert code == 0 and "search.trials" in printed
    code, printed = go(f"resume={folder}", "search.trials=6")
    assert code == 0, printed
    assert trials_of(folder)[:5] == before and len(trials_of(folder)) == 6


@pytest.mark.end_to_end
def test_seeds_of_a_trial_are_played_side_by_side_and_their_mean_is_its_score(tmp_path, shared_ray):
    words = ("search.trials=1", "search.seeds_per_trial=2", "seed=5", "search.scheduler=none")
    code, printed = go(*TINY, *words, f"output_dir={tmp_path}")
    assert code == 0, printed
    folder = tmp_path / "searches" / "cartpole_ppo"
    last = [rows_of(folder / "trials" / "0000" / f"seed_{seed}")[-1] for seed in (5, 6)]
    (trial,) = study_of(folder).trials
    assert trial.value == sum(row["episode_return_mean"] for row in last) / 2
    assert last[0]["episode_return_mean"] != last[1]["episode_return_mean"]
    merged = rows_of(folder / "trials" / "0000")
    assert {row["seed"] for row in merged} == {5, 6}


@pytest.mark.end_to_end
def test_the_best_and_the_default_are_trained_again_on_seeds_nothing_was_chosen_by(tmp_path, shared_ray, monkeypatch):
    words = [*TINY, "search.trials=3", "search.scheduler=none", "search.contenders=2", "search.finalists=1"]
    words += ["search.contender_seeds=1", "search.fresh_seeds=2", f"output_dir={tmp_path}"]
    code, printed = go(*words)
    assert code == 0, printed
    folder = tmp_path / "searches" / "cartpole_ppo"
    with open(folder / "seeds.csv", newline="") as file:
        seeds = list(csv.DictReader(file))
    by_score = sorted(trials_of(folder), key=lambda row: -float(row["score"]))
    contenders = {f"trial {row['trial']}": float(row["score"]) for row in by_score[:2]}
    more = {row["name"]: float(row["score"]) for row in seeds if row["stage"] == "contender"}
    assert more.keys() == contenders.keys() and {row["seed"] for row in seeds if row["stage"] == "contender"} == {"2"}
    finalist = max(contenders, key=lambda name: contenders[name] + more[name])
    fresh = [(row["name"], row["seed"]) for row in seeds if row["stage"] == "fresh"]
    assert sorted(fresh) == sorted((name, seed) for name in (finalist, "default") for seed in ("3", "4"))
    default = folder / "fresh" / "default" / "seed_3"
    assert rows_of(default)[-1]["episode_return_mean"] == next(
        float(r["score"]) for r in seeds if r["name"] == "default"
    )
    assert re.search(rf"\b{finalist} \w+ [\d.,]+ (less|more)\b", printed) and "minus default" in printed
    code, again = go(*words)
    assert code == 0 and "search.trials" in again and " seeds 3, 4 have been seen" in again and "minus default" in again
    (folder / "seeds.csv").unlink()  # as if it had been killed before the last write
    assert "minus default" in go(*words)[1]
    with open(folder / "seeds.csv", newline="") as file:
        assert list(csv.DictReader(file)) == seeds
    monkeypatch.setattr("tune_searches.search.run_confirmation", lambda *_: 1)
    code, _ = go(f"resume={folder}", "search.fresh_seeds=3")
    assert code == 1 and not (folder / "seeds.csv").exists(), "its winner would be promoted on seeds of before"


# What goes wrong while a search runs.


@pytest.mark.end_to_end
def test_ctrl_c_lets_trials_go_on_later_where_they_were(tmp_path, shared_ray):
    words = (*TINY, "search.trials=2", "stop.agent_steps=20480", "search.scheduler=none", f"output_dir={tmp_path}")
    folder = tmp_path / "searches" / "cartpole_ppo"

    with Disturbance(folder, lambda: send_to_self(signal.SIGINT), pattern="trials/*/progress.csv") as ctrl_c:
        code, printed = go(*words)
    assert ctrl_c.happened_at and code == 1
    assert f"python run.py resume={folder}" in printed
    under_way = {int(path.parent.name): rows_of(path.parent) for path in folder.glob("trials/*/progress.csv")}
    assert {t.state for t in study_of(folder).trials} == {optuna.trial.TrialState.RUNNING}
    assert {row["state"] for row in trials_of(folder)} == {"UNFINISHED"}
    code, printed = go(*words)
    assert code == 0, printed
    assert {t.state for t in study_of(folder).trials} == {optuna.trial.TrialState.COMPLETE}
    for number, before in under_way.items():
        assert rows_of(folder / "trials" / f"{number:04d}")[: len(before)] == before, "it began anew"


@pytest.mark.slow
def test_a_search_stops_with_checkpoints_while_there_is_room_for_them(tmp_path, shared_ray, monkeypatch):
    words = (*TINY, "search.trials=2", "search.scheduler=none", f"output_dir={tmp_path}")
    folder = tmp_path / "searches" / "cartpole_ppo"
    with monkeypatch.context() as patch:
        patch.setattr(interrupt, "RESERVE_MB", 10**9)
        code, printed = go(*words)
    assert code == 1 and re.search(rf"^{folder} .*\b\d+ MB\b", printed, re.MULTILINE)
    assert f"python run.py resume={folder}" in printed
    under_way = {path.parent: rows_of(path.parent) for path in folder.glob("trials/*/progress.csv")}
    for trial, rows in under_way.items():
        assert read_totals(trial / "checkpoints" / "last")["agent_steps"] == rows[-1]["agent_steps"] < 2048
    code, printed = go(*words)
    assert code == 0 and "2 of 2 trials: 2 complete" in printed
    assert under_way and all(rows_of(trial)[: len(rows)] == rows for trial, rows in under_way.items())


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "where",
    [
        pytest.param((ProgressTable, "append"), id="progress.csv", marks=pytest.mark.slow),
        pytest.param((sources.RunWriter, "write_run"), id="config.yaml", marks=pytest.mark.slow),
        pytest.param((checkpoints, "keep_checkpoint"), id="checkpoints"),
    ],
)
def test_a_full_disk_ends_a_search_with_a_sentence_and_no_trial_fails_for_it(where, tmp_path, shared_ray, monkeypatch):
    """At the fourth row, as the second trial begins, or at the second checkpoint."""
    owner, name = where
    function, calls, room = getattr(owner, name), [], 1 if name != "append" else 3

    def write(*args, **kwargs):
        calls.append(args)
        if len(calls) > room:
            raise OSError(errno.ENOSPC, "full disk")
        return function(*args, **kwargs)

    words = (*TINY, "search.trials=2", "search.concurrent=1", "search.scheduler=none", f"output_dir={tmp_path}")
    with monkeypatch.context() as patch:
        patch.setattr(owner, name, write)
        code, printed = go(*words)
    assert code == 1 and re.search(rf"^{tmp_path}\S* .*\(full disk\)", printed, re.MULTILINE)
    assert "Traceback" not in printed and RESTARTED not in printed
    code, printed = go(*words)
    assert code == 0 and "2 of 2 trials: 2 complete" in printed


def test_trials_that_would_share_gpus_have_to_fit_on_them(compose, monkeypatch):
    """Of two GPUs, three trials of 0.6 each are 1.8, and there is room for two."""
    monkeypatch.setattr("tune_searches.check.count_cpus", lambda: 64)
    monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
    words = ["tune_searches=cartpole_ppo", "cluster.gpus_per_learner=0.6"]
    assert compose([*words, "search.concurrent=2"])["search"]["concurrent"] == 2
    with pytest.raises(Mistake, match=r"search\.concurrent=3 .* 0\.6 GPUs, .*\b2\b"):
        compose([*words, "search.concurrent=3"])


@pytest.mark.end_to_end
def test_a_search_that_waits_for_nodes_says_so_and_ends_at_the_first_signal(shared_ray, tmp_path, monkeypatch):
    """On a cluster that grows; here none ever comes."""
    send_sigterm_once_told_to_wait(monkeypatch)
    words = ["cluster=ray", "cluster.grows=true", "cluster.cpus_per_runner=64", "search.trials=2"]
    code, printed = go(*TINY, *words, f"output_dir={tmp_path}")
    assert code == 1 and "Ctrl-C" in printed
    assert "stopping: " in printed and f"python run.py resume={tmp_path}" in printed


@pytest.mark.end_to_end
def test_a_trial_whose_process_is_killed_recovers_by_itself(tmp_path, shared_ray):
    words = (*TINY, "search.trials=1", "stop.agent_steps=20480", f"output_dir={tmp_path}")
    folder = tmp_path / "searches" / "cartpole_ppo"
    with Disturbance(folder, lambda: kill_actor("TrainingProcess"), pattern="trials/*/progress.csv") as kill:
        code, printed = go(*words)
    assert kill.happened_at, "nothing was killed"
    assert code == 0 and re.search(rf"^trial 0: .*{RESTARTED}", printed, re.MULTILINE)
    assert rows_of(folder / "trials" / "0000")[0] == kill.first_row, "it did not start from the beginning"


@pytest.mark.slow
def test_a_trial_that_dies_too_often_fails_and_the_others_go_on(tmp_path, shared_ray):
    words = (*TINY, "search.trials=2", "search.concurrent=1", "max_failures=0", "stop.agent_steps=10240")
    folder = tmp_path / "searches" / "cartpole_ppo"
    with Disturbance(folder, lambda: kill_actor("TrainingProcess"), pattern="trials/*/progress.csv") as kill:
        code, printed = go(*words, f"output_dir={tmp_path}")
    assert kill.happened_at and code == 0, printed
    assert "trial 0 failed, ActorDiedError: " in printed
    assert [row["state"] for row in trials_of(folder)] == ["FAIL", "COMPLETE"]
    assert int(trials_of(folder)[0]["agent_steps"]) == rows_of(folder / "trials" / "0000")[-1]["agent_steps"] > 0


@pytest.mark.end_to_end
def test_a_trial_that_computes_nan_fails_and_the_search_goes_on(tmp_path, shared_ray):
    space = "search.space={algo.lr: {loguniform: [1e25, 1e30]}}"
    code, printed = go(*TINY, space, "search.trials=2", "algo.max_grad_norm=null", f"output_dir={tmp_path}")
    assert code == 1, printed
    rows = trials_of(tmp_path / "searches" / "cartpole_ppo")
    assert [row["state"] for row in rows] == ["FAIL", "FAIL"] and "gradient norm" in rows[0]["failure"]


def test_rows_of_trials_are_metrics_under_the_names_of_their_run_directories(tmp_path, compose):
    class Trial:
        trial_id = "a"
        config = {"label": "trial 7", "dir": str(tmp_path / "cartpole_ppo" / "trials" / "0007"), "settings": {"of": 7}}

    class Seen(Metrics):
        reports = []

        def report(self, run: str, seed: int, row: dict, settings: dict | None = None) -> None:
            self.reports.append((run, seed, row["agent_steps"], settings))

    settings, folder = compose(["env=cartpole"]), tmp_path / "cartpole_ppo"
    Path(Trial.config["dir"]).mkdir(parents=True)
    Path(Trial.config["dir"], "config.yaml").write_text("seed: 3\n")
    display = SearchDisplay(lambda: "", Console(file=io.StringIO()))
    recorder = make_recorder(folder, display, settings, Seen)
    result = {"failure": None, "notices": [], "agent_steps": 5, "score": 1.0}
    recorder.on_trial_result(1, [], Trial(), result | {"reports": [(3, {"agent_steps": 5}, [], None)]})
    assert Seen.reports == [("cartpole_ppo/trials/0007", 3, 5, {"of": 7})]


@pytest.mark.slow
def test_a_driver_killed_with_kill_9_loses_nothing_but_the_steps_since_the_last_checkpoint(tmp_path):
    words = (*TINY, "stop.agent_steps=20480", "search.scheduler=none", f"output_dir={tmp_path}")
    folder = tmp_path / "searches" / "cartpole_ppo"
    environment = os.environ | {"RAY_AUTH_MODE": "disabled"}
    driver = subprocess.Popen([sys.executable, "run.py", *words], cwd=ROOT, env=environment, stdout=subprocess.DEVNULL)
    wait_for(lambda: list(folder.glob("trials/0001/checkpoints/previous")) and not driver.poll(), 180)
    time.sleep(random.uniform(0, 3))
    kill_driver(driver)
    before = {t.number: t.params for t in study_of(folder).trials}
    last = {path: read_totals(path / "checkpoints" / "last")["agent_steps"] for path in folder.glob("trials/000[01]")}
    kept = {path: [row for row in rows_of(path) if row["agent_steps"] <= last[path]] for path in last}
    second = subprocess.run(
        [sys.executable, "run.py", *words], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert second.returncode == 0, second.stderr
    trials = study_of(folder).trials
    assert {t.state for t in trials} == {optuna.trial.TrialState.COMPLETE} and len(trials) == 5
    assert all(trials[number].params == params for number, params in before.items())
    for path, rows in kept.items():
        assert rows and rows_of(path)[: len(rows)] == rows, "it began anew"


@pytest.mark.slow
def test_a_node_that_loses_its_power_takes_no_trial_with_it(tmp_path):
    """Of two nodes with a trial each, one is killed at a random moment: its trial goes on on the other."""
    after_s = random.uniform(0, 3)
    words = (*TINY, "search.trials=3", "search.scheduler=none", "stop.agent_steps=40960", "output_dir=outputs")
    environment = os.environ | {"RAY_AUTH_MODE": "disabled", "PYTHONPATH": str(ROOT)}
    script = Path(__file__).parent / "on_nodes.py"
    done = subprocess.run(
        [sys.executable, str(script), str(after_s), *words],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    told = f"killed after {after_s:.2f} s\n{done.stdout}\n{done.stderr}"
    assert done.returncode == 0, told
    assert "trials killed: 1" in done.stdout and RESTARTED in told
    folder = tmp_path / "outputs" / "searches" / "cartpole_ppo"
    assert [row["state"] for row in trials_of(folder)] == ["COMPLETE"] * 3, told
    for path in folder.glob("trials/*"):
        steps = [row["agent_steps"] for row in rows_of(path)]
        assert steps == sorted(set(steps)) and max(b - a for a, b in pairwise([0, *steps])) <= 200 + 256, "began anew"


# What is refused, before anything starts.


@pytest.fixture
def refused(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    def refuse(*words: str) -> str:
        assert run.main(list(words)) == 2
        (sentence,) = capsys.readouterr().err.splitlines()
        return sentence

    return refuse


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("command=search",), r"search\.name .*tune_searches=<"),
        (("tune_searches=cartpole_ppo", "seed=[1,2]"), r"seed=\[1, 2\]: .*search\.seeds_per_trial\b"),
        (("tune_searches=cartpole_ppo", "algo=a2c"), r"algo=a2c: .*algo=ppo\b"),
        (
            ("tune_searches=cartpole_ppo", "stop.agent_steps=2000"),
            r"\.agent_steps=2000 .*search\.reduction_factor",
        ),
        (("tune_searches=cartpole_ppo", "search.space={1: {choice: [1, 2]}}"), r"search\.space\.1: "),
        (("tune_searches=cartpole_ppo", "stop.time_s=60"), r"stop\.time_s=60\.0: .*\bnull$"),
        (("tune_searches=cartpole_ppo", "stop.episode_return=60"), r"stop\.episode_return=60\.0: .*\bnull$"),
        (("tune_searches=cartpole_ppo", "search.sampler=grid"), r"search\.sampler=grid .*\btpe, random\b"),
        (("tune_searches=cartpole_ppo", "search.trials=0"), r"search\.trials=0 .* 1 to "),
        (("tune_searches=cartpole_ppo", "search.name=a/b"), r"search\.name=a/b .*- and _$"),
        (("tune_searches=cartpole_ppo", "search.concurrent=5000"), r"search\.concurrent=5000 .*\b1 CPU,"),
        (
            ("tune_searches=cartpole_ppo", "cluster=ray", "output_dir=/shared", "cluster.grows=true"),
            r"search\.concurrent .*cluster\.grows=true\b",
        ),
        (("tune_searches=cartpole_ppo", "cluster.gpus_per_learner=99"), r"cluster\.gpus_per_learner=99"),
        (("tune_searches=cartpole_pp",), r" cartpole_ppo\?"),
        (("tune_searches=cartpole_ppo", "search.finalists=5"), r"search\.finalists=5 .*search\.contenders=3;"),
        (("command=promote", "run=."), r"trials\.csv is missing"),
        (
            ("tune_searches=cartpole_ppo", "search.space={algo.lrr: {uniform: [0.1, 0.2]}}"),
            r"search\.space\.algo\.lrr: .*search\.space\.algo\.lr\?",
        ),
        (
            ("tune_searches=cartpole_ppo", "search.storage=postgresql://nobody@127.0.0.1:1/none"),
            r"search\.storage=postgresql://nobody@127\.0\.0\.1:1/none .*\bsqlite, journal\b",
        ),
    ],
)
def test_a_mistake_is_one_sentence(words, named, refused):
    assert re.search(named, refused(*words))


def write_search(folder: Path, entry: str) -> Path:
    """A file of a search; the entry of its space begins in line 6."""
    chosen = "defaults: [{override /command: search}, {override /algo: ppo}, {override /env: cartpole}]"
    file = folder / "mine.yaml"
    file.write_text(f"# @package _global_\n{chosen}\nsearch:\n  name: mine\n  space:\n    {entry}\n")
    return file


@pytest.mark.parametrize(
    ("entry", "line", "named"),
    [
        ("algo.lrr: {uniform: [0.1, 0.2]}", 6, "algo.lrr"),
        ("algo.lr: {uniform: [0.2, 0.1]}", 6, "algo.lr"),
        ("algo.gae_lambda: {uniform: [0.1, 2]}", 6, "algo.gae_lambda"),
        ("algo: {lr: {loguniform: [0, 0.1]}}", 6, "algo.lr"),
        ("algo:\n      gamma: {uniform: [0.9, 0.99]}\n      lr: {int: [1, 2]}", 8, "algo.lr"),
        ("cluster.cpus: {int: [1, 2]}", 6, "cluster.cpus"),
        ("algo: {gamma: {uniform: [0.9, 0.99]}}\n    algo.lr: {int: [1, 2]}", 7, "algo.lr"),
        ("algo: {lr: {uniform: [0.1, 0.2]}}\n    algo.lr: {uniform: [0.1, 0.2]}", 7, "algo.lr"),
    ],
)
def test_a_mistake_in_the_space_of_a_file_names_its_line(entry, line, named, refused, tmp_path):
    file = write_search(tmp_path, entry)
    assert refused(f"tune_searches={file}").startswith(f"error: {file}, line {line}: search.space.{named}")


def test_a_range_that_is_typed_below_a_space_of_a_file_is_no_mistake_of_the_file(refused, tmp_path):
    file = write_search(tmp_path, "algo: {lr: {uniform: [0.1, 0.2]}}")
    typed = "search.space.algo.lr.uniform=[0.2,0.1]"
    assert refused(f"tune_searches={file}", typed).startswith("error: search.space.algo.lr: ")


def test_two_drivers_at_one_search_are_refused(refused, tmp_path):
    folder = tmp_path / "outputs" / "searches" / "cartpole_ppo"
    folder.mkdir(parents=True)
    with open(folder / ".lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert refused("tune_searches=cartpole_ppo").startswith(f"error: {folder}: another process")


def test_a_search_can_be_trained_instead(compose):
    settings = compose(["tune_searches=cartpole_ppo", "command=train"])
    assert settings["command"] == "train" and "search" not in settings and settings["stop"]["agent_steps"] == 30_000
