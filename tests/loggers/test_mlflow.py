"""MLflow itself: a store in SQLite, with a server in front of it and without."""

import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.request
from pathlib import Path

import pytest
import yaml

from loggers.check import is_installed
from loggers.results import send_results
from loggers.row_writer import RowWriter
from loggers.run_logs import RunLogs

pytestmark = pytest.mark.skipif(not is_installed("mlflow"), reason="no mlflow here: pip install -e '.[mlflow]'")
WITH_SERVER = pytest.mark.skipif(not shutil.which("mlflow"), reason="no mlflow server on the PATH: pip install mlflow")


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store without a server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    return f"sqlite:///{tmp_path}/mlflow.db"


class Server:
    """`mlflow server` with SQLite, on 127.0.0.1."""

    def __init__(self, folder: Path):
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = [str(shutil.which("mlflow")), "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--backend-store-uri", f"sqlite:///{self.folder}/server.db", "--workers", "1"]
        command += ["--artifacts-destination", str(self.folder / "artifacts")]
        hidden = ("PYTHONPATH", "MLFLOW_TRACKING_URI")
        environment = {name: value for name, value in os.environ.items() if name not in hidden}
        with open(self.folder / "server.log", "w") as log:
            self.process = subprocess.Popen(
                command, env=environment, stdout=log, stderr=log, start_new_session=True, cwd=self.folder
            )
        end = time.monotonic() + 120
        while True:
            try:
                urllib.request.urlopen(f"{self.url}/health").close()
                return
            except OSError:
                assert time.monotonic() < end, (self.folder / "server.log").read_text()
                time.sleep(0.2)

    def stop(self) -> None:
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@pytest.fixture
def server(tmp_path, store, monkeypatch):
    (tmp_path / "server").mkdir()
    one = Server(tmp_path / "server")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", one.url)
    yield one
    one.stop()


def make_row(steps: int) -> dict[str, float]:
    return {"agent_steps": steps, "entropy": steps / 1000, "loss": float("nan")}


def train(run: Path, settings: dict, began_at: int, steps: list[int]) -> list[str]:
    logs, writer = RunLogs(settings, run), RowWriter({1: run}, run, tensorboard=False)
    logs.begin(run, began_at)
    writer.begin(1, began_at)
    for count in steps:
        writer.add(1, make_row(count))
        logs.report(run, make_row(count))
    return logs.close(120)


def check_runs(uri: str, run: Path, settings: dict) -> None:
    """Train twice, send results, and look with MLflow's own client at what is there."""
    from mlflow.tracking import MlflowClient

    train(run, settings, 0, [1000, 2000, 3000])
    settings = settings | {"stop": settings["stop"] | {"agent_steps": 99}}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    (sentence,) = train(run, settings, 2000, [2900, 3900])
    assert "ppo/cartpole/wide" in sentence
    (run / "checkpoints").mkdir()
    result = {"agent_steps": 3900, "ways": ["greedy"], "greedy": {"mean": 9.5, "median": 9.0, "iqm": 9.25, "std": 1.0}}
    (run / "checkpoints" / "evaluation_best.json").write_text(json.dumps(result))
    (run / "page.html").write_text("<p>")
    send_results(run, since=0)
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name("ppo/cartpole/wide")
    (found,) = client.search_runs([experiment.experiment_id])
    assert (found.info.run_name, found.info.status) == ("run", "FINISHED")
    history = client.get_metric_history(found.info.run_id, "entropy")
    assert [(m.step, m.value) for m in history] == [(1000, 1.0), (2000, 2.0), (3000, 3.0), (3900, 3.9)]
    assert "loss" not in found.data.metrics
    assert found.data.metrics["evaluation_best/greedy/mean"] == 9.5
    params, tags = found.data.params, found.data.tags
    assert params["algo.horizon"] == str(settings["algo"]["horizon"]) and params["seed"] == "3"
    assert tags["stop.agent_steps"] == "99" != params["stop.agent_steps"] and tags["env"] == "cartpole"
    assert tags["run_directory"] == str(run)
    for folder, name in ("evaluation", "evaluation_best.json"), ("page", "page.html"):
        assert [f.path for f in client.list_artifacts(found.info.run_id, folder)] == [f"{folder}/{name}"]


def test_a_store_without_a_server_has_every_row_over_agent_steps_in_one_run(store, begun_run):
    run, settings = begun_run("logger=mlflow", "label=wide", "seed=3")
    check_runs(store, run, settings)


@WITH_SERVER
@pytest.mark.end_to_end
def test_a_server_has_every_row_over_agent_steps_in_one_run(server, begun_run):
    run, settings = begun_run("logger=mlflow", "label=wide", "seed=3")
    check_runs(server.url, run, settings)


@WITH_SERVER
@pytest.mark.end_to_end
def test_a_server_that_goes_away_costs_rows_which_are_counted_and_gets_those_after_its_return(server, begun_run):
    run, settings = begun_run("logger=mlflow")
    logs = RunLogs(settings, run)
    logs.begin(run, 0)

    def send(steps: int) -> None:
        before = logs.senders["mlflow"].taken.total() + logs.senders["mlflow"].lost.total()
        logs.report(run, make_row(steps))
        end = time.monotonic() + 120
        while logs.senders["mlflow"].taken.total() + logs.senders["mlflow"].lost.total() == before:
            assert time.monotonic() < end, "the row is neither sent nor lost"
            time.sleep(0.05)

    send(1000)
    server.stop()
    send(2000)
    server.start()
    send(3000)
    sentences = logs.close(60)
    assert "1 of 3 rows was not sent" in sentences[-1]
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server.url)
    (found,) = client.search_runs([client.get_experiment_by_name("ppo/cartpole").experiment_id])
    assert [m.step for m in client.get_metric_history(found.info.run_id, "entropy")] == [1000, 3000]
