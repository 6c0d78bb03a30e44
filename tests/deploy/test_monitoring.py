"""Our row in Ray's dashboard, and that a real Prometheus has data for each of its panels while a run trains."""

import errno
import importlib.util
import json
import math
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import pytest
from ray.dashboard.modules.metrics.grafana_dashboard_factory import generate_default_grafana_dashboard

import run
from loggers import metrics
from loggers.metrics import Metrics

ROOT = Path(run.__file__).resolve().parent
SPEC = importlib.util.spec_from_file_location("monitoring", ROOT / "deploy" / "monitoring.py")
monitoring = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(monitoring)


@pytest.fixture
def session(tmp_path):
    """What a head leaves when it starts."""
    folder = tmp_path / "metrics" / "grafana" / "dashboards"
    folder.mkdir(parents=True)
    text, _ = generate_default_grafana_dashboard()
    (folder / "default_grafana_dashboard.json").write_text(text)
    return tmp_path


def read(session: Path, name: str) -> dict:
    return json.loads((session / "metrics" / "grafana" / "dashboards" / f"{name}.json").read_text())


def test_the_row_stands_above_rays_panels_which_stay_as_they_are(session):
    theirs = read(session, "default_grafana_dashboard")["panels"]
    said = monitoring.install_dashboards(session)
    panels = read(session, "default_grafana_dashboard")["panels"]
    row, *ours = panels[: 1 + len(monitoring.PANELS)]
    assert row["title"] == "RLlib" and [p["title"] for p in ours] == [title for title, *_ in monitoring.PANELS]
    bottom = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in ours)
    rest = panels[len(ours) + 1 :]
    assert [p["id"] for p in rest] == [p["id"] for p in theirs] and {24, 41} <= {p["id"] for p in rest}
    assert min(p["gridPos"]["y"] for p in rest) == bottom
    assert len({p["id"] for p in panels}) == len(panels)
    assert str(session) in said and "prometheus --config.file=" in said


def test_installing_it_again_changes_nothing(session):
    monitoring.install_dashboards(session)
    once = read(session, "default_grafana_dashboard")
    monitoring.install_dashboards(session)
    assert read(session, "default_grafana_dashboard") == once
    own = read(session, "rllib_runs")
    assert own["uid"] == "rllibRuns" and own["templating"] == once["templating"]
    assert [p["title"] for p in own["panels"]] == ["RLlib", *(title for title, *_ in monitoring.PANELS)]


def test_the_command_finds_the_session_where_ray_keeps_it(session, tmp_path):
    (tmp_path / "other" / "ray").mkdir(parents=True)
    (tmp_path / "other" / "ray" / "session_latest").symlink_to(session)
    environment = os.environ | {"RAY_TMPDIR": str(tmp_path / "other")}
    command = [sys.executable, str(ROOT / "deploy" / "monitoring.py")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0 and 'row "RLlib" is in' in done.stdout, done.stderr
    assert read(session, "default_grafana_dashboard")["panels"][0]["title"] == "RLlib"


@pytest.mark.parametrize("variable", ["RAY_TMPDIR", "TMPDIR"])
def test_the_session_of_the_head_is_found_where_a_run_has_made_another(variable, session, tmp_path, monkeypatch):
    ray = tmp_path / "ray"
    (ray / "session_2026-11-29_05-00-00_1_2").mkdir(parents=True)
    (ray / "session_latest").symlink_to("session_2026-11-29_05-00-00_1_2")
    (ray / "session_2026-11-29_04-00-00_1_2").symlink_to(session)
    for name in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(variable, str(tmp_path))
    assert monitoring.find_session() == session


def test_a_dashboard_that_cannot_be_written_is_a_sentence_and_stays_as_it_was(session, monkeypatch):
    def write_on_full_disk(path: Path, text: str):
        path.touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = read(session, "default_grafana_dashboard")
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_text", write_on_full_disk)
        with pytest.raises(SystemExit, match=os.strerror(errno.ENOSPC)):
            monitoring.install_dashboards(session)
    assert read(session, "default_grafana_dashboard") == before
    assert len(list((session / monitoring.DASHBOARDS).iterdir())) == 1


def test_without_a_session_it_says_what_to_start(tmp_path):
    with pytest.raises(SystemExit, match=f"{tmp_path}.*ray start --head"):
        monitoring.install_dashboards(tmp_path)


def test_nothing_is_counted_where_nobody_looks(compose):
    hidden = Metrics(compose(["env=cartpole"]))
    hidden.report("run", 1, {"agent_steps": 5})
    assert hidden.metrics == {}


def test_what_grows_is_counted_once_and_all_else_is_a_gauge(compose, monkeypatch):
    told, labels = [], []

    class Told:
        def __init__(self, name, description, tags):
            self.name = name

        def inc(self, value, tags):
            told.append((self.name, tags["run"], tags["seed"], value))
            labels.append((tags["algo"], tags["env"]))

        set = inc

    monkeypatch.setattr(metrics, "Counter", type("Counter", (Told,), {}))
    monkeypatch.setattr(metrics, "Gauge", type("Gauge", (Told,), {}))
    seen = Metrics(compose(["env=cartpole", "dashboard=true"]))
    for steps in (100, 300, 200, 300, 400):  # back to a checkpoint in between
        seen.report("run", 1, {"agent_steps": steps})
    seen.report("run", 2, {"agent_steps": 50, "entropy": 0.5, "value_loss": math.nan})
    seen.report("run", 2, {"agent_steps": 50, "entropy": 0.4})
    assert [value for name, _, seed, value in told if (name, seed) == ("rl_agent_steps", "1")] == [100, 200, 100]
    other = [("rl_agent_steps", 50), ("rl_entropy", 0.5), ("rl_entropy", 0.4)]
    assert [(name, value) for name, _, seed, value in told if seed == "2"] == other
    seen.report("grid/a2c", 1, {"entropy": 0.4}, compose(["algo=a2c", "env=pong"]))  # another arm of a grid
    assert set(labels[:-1]) == {("ppo", "cartpole")} and labels[-1] == ("a2c", "pong")


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("prometheus"), reason="no Prometheus here: apt-get install prometheus")
def test_every_panel_has_data_while_a_run_trains(tmp_path):
    """PPO with overlap, which has them all, and Prometheus with the configuration that Ray's dashboard writes."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("RAY_", "TUNE_"))}
    environment["RAY_AUTH_MODE"] = "disabled"
    words = [
        "env=cartpole",
        "algo.overlap=true",
        "cluster.num_env_runners=1",
        "cluster.cpus=1",
        "dashboard=true",
        "stop.agent_steps=100_000_000",
        f"output_dir={tmp_path}",
    ]
    environment["RAY_TMPDIR"] = f"/tmp/m{os.getpid()}"  # sockets below it have names of limited length
    Path(environment["RAY_TMPDIR"]).mkdir()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    training = subprocess.Popen([sys.executable, str(ROOT / "run.py"), *words], env=environment, cwd=tmp_path)
    server = None
    try:
        configs = wait(
            lambda: list(Path(environment["RAY_TMPDIR"]).glob("ray/session_2*/metrics/prometheus/*.yml")), 90
        )
        command = ["prometheus", f"--config.file={configs[0]}", f"--storage.tsdb.path={tmp_path / 'db'}"]
        server = subprocess.Popen([*command, f"--web.listen-address=127.0.0.1:{port}"], stderr=subprocess.DEVNULL)

        def missing() -> list[str]:
            found = []
            for expression in monitoring.list_expressions():
                query = urllib.parse.urlencode({"query": expression.replace("$SessionName", ".*")})
                try:
                    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?{query}") as answer:
                        found += [] if json.load(answer)["data"]["result"] else [expression]
                except OSError:
                    return monitoring.list_expressions()
            return found

        wait(lambda: not missing(), 120)
    finally:
        training.terminate()
        training.wait(60)
        if server:
            server.kill()
            server.wait()
        shutil.rmtree(environment["RAY_TMPDIR"], ignore_errors=True)


def wait(what, timeout_s: float):
    """The first answer that is true."""
    end = time.monotonic() + timeout_s
    while not (answer := what()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(1)
    return answer
