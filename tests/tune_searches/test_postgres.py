"""Searches whose storage is a database of its own, as on a cluster: a real PostgreSQL server."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
import uuid
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
from test_search import TINY

import run
from tests.runs.tiny_runs import go
from tune_searches.space import parse_space
from tune_searches.study import Study


def binaries() -> Path | None:
    """Where the server is: on the PATH, or where Debian puts it."""
    found = shutil.which("initdb")
    return Path(found).parent if found else max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


class Server:
    """A PostgreSQL of a test's own; it refuses to run as root, so root lends it to the user postgres."""

    def __init__(self, folder: Path):
        self.folder, self.bin = folder, binaries()
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.url = f"postgresql://suite@127.0.0.1:{self.port}/postgres"
        self.command("initdb", "-D", str(folder), "-A", "trust", "-U", "suite", "--no-sync")
        self.start()

    def command(self, name: str, *arguments: str) -> None:
        lent = ("setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups") if os.geteuid() == 0 else ()
        log = {"stdout": subprocess.DEVNULL, "stderr": subprocess.STDOUT, "cwd": "/"}
        subprocess.run([*lent, str(self.bin / name), *arguments], check=True, timeout=60, **log)

    def start(self) -> None:
        options = f"-p {self.port} -h 127.0.0.1 -k {self.folder}"
        self.command("pg_ctl", "-w", "-D", str(self.folder), "-o", options, "start")

    def stop(self) -> None:
        self.command("pg_ctl", "-w", "-D", str(self.folder), "-m", "immediate", "stop")


@pytest.fixture(scope="module")
def server():
    if not binaries():
        pytest.skip("no PostgreSQL server on this machine: apt-get install postgresql")
    folder = Path(tempfile.mkdtemp(prefix="postgres"))
    if os.geteuid() == 0:
        shutil.chown(folder, "postgres", "postgres")
    server = Server(folder)
    yield server
    server.stop()
    shutil.rmtree(folder)


@pytest.mark.end_to_end
def test_a_search_goes_on_in_a_database_and_belongs_to_one_directory(server, tmp_path, shared_ray, capsys):
    words = (*TINY, f"search.storage={server.url}")
    assert go(*words, "search.trials=2", f"output_dir={tmp_path / 'one'}")[0] == 0
    first = optuna.load_study(study_name="cartpole_ppo", storage=server.url).trials
    code, printed = go(*words, "search.trials=4", f"output_dir={tmp_path / 'one'}")
    assert code == 0 and re.search(r"^ppo .*cartpole: 2 left of 4 trials\b", printed, re.MULTILINE)
    both = optuna.load_study(study_name="cartpole_ppo", storage=server.url).trials
    assert len(first) == 2 and len(both) == 4 and [t.params for t in both[:2]] == [t.params for t in first]
    assert not list(tmp_path.rglob("study.db"))
    assert run.main([*words, f"output_dir={tmp_path / 'two'}"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert re.search(rf"search\.name=cartpole_ppo: .* folder={tmp_path}/one/.* {tmp_path}/two/", sentence)
    assert go(*words, "search.name=another", "search.trials=1", f"output_dir={tmp_path / 'two'}")[0] == 0


@pytest.mark.end_to_end
def test_a_database_that_is_away_for_a_while_is_waited_for(server, compose, tmp_path, capsys, monkeypatch):
    settings = compose([*TINY, f"search.storage={server.url}", "search.name=patient", "search.scheduler=none"])
    study = Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)
    number, _ = study.ask()
    study.report(number, 512, 1.0)
    server.stop()
    starts = [server.start]  # it is back once the study has said that it waits
    wait = SimpleNamespace(monotonic=time.monotonic, sleep=lambda _: starts and starts.pop()())
    monkeypatch.setattr("tune_searches.study.time", wait)
    try:
        study.report(number, 1024, 2.0)
    finally:
        while starts:
            starts.pop()()
    study.tell(number, 2048, 3.0)
    assert re.search(r"search\.storage .* \d s \(.*Ctrl-C", capsys.readouterr().out)
    (trial,) = optuna.load_study(study_name="patient", storage=server.url).trials
    assert list(trial.intermediate_values.values()) == [1.0, 2.0] and trial.value == 3.0


@pytest.mark.end_to_end
def test_a_password_is_written_nowhere_and_comes_from_the_environment_when_the_search_goes_on(
    server, tmp_path, shared_ray, monkeypatch
):
    password = uuid.uuid4().hex  # not a word of this file, which stands in a run's git.diff while it is being changed
    with_password = server.url.replace("suite@", f"suite:{password}@")
    monkeypatch.setenv("STORAGE", with_password)
    words = (*TINY, "search.name=secret", "search.trials=1", f"output_dir={tmp_path}")
    code, printed = go(*words, f"search.storage={with_password}")
    assert code == 0, printed
    folder = tmp_path / "searches" / "secret"
    code, refused = go(f"resume={folder}")
    assert code == 2 and "search.storage" in refused and "${oc.env:STORAGE}" in refused
    code, more = go(f"resume={folder}", "search.storage=${oc.env:STORAGE}", "search.trials=2")
    assert code == 0 and re.search(r"^ppo .*cartpole: 1 left of 2 trials\b", more, re.MULTILINE), more
    code, again = go(f"resume={folder}")
    assert code == 0 and "search.trials" in again, again
    assert password not in printed + refused + more + again
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) > 20 and not [path for path in files if password.encode() in path.read_bytes()]
    study = optuna.load_study(study_name="secret", storage=server.url)
    assert password not in repr([study.user_attrs, [trial.user_attrs for trial in study.trials]])
