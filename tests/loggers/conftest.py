"""A package that stands in for wandb, for the processes of loggers: it notes what it is told, or behaves badly."""

import json
from pathlib import Path

import pytest

from run_directory.starts import write_start

FAKE_WANDB = '''
"""Appends what it is told to the file FAKE_NOTES; FAKE_MANNERS says how it behaves."""
import json, os, time
MANNERS = os.environ.get("FAKE_MANNERS", "good")
PROJECT = os.environ.get("WANDB_PROJECT")

def note(what, **words):
    with open(os.environ["FAKE_NOTES"], "a") as file:
        file.write(json.dumps([what, words], default=str) + "\\n")

class Settings:
    def __init__(self, **words):
        pass

class Artifact:
    def __init__(self, name, type):
        self.name, self.files = name, []
    def add_file(self, path):
        self.files.append(path)

class Summary:
    def __init__(self, id):
        self.id = id
    def update(self, values):
        note("summary", id=self.id, values=values)

class Run:
    url, dir = "https://me:hunter2@fake/run", "."
    def __init__(self, id, step):
        self.id, self.summary, self.step = id, Summary(id), step
    def define_metric(self, name, step_metric):
        pass
    def log(self, row, step):
        if MANNERS == "raises":
            raise ConnectionError("the network is gone")
        if MANNERS == "hangs":
            time.sleep(3600)
        if MANNERS == "dies":
            os._exit(3)
        note("log", id=self.id, step=step, row=row, project=PROJECT)
        self.step = step
    def log_artifact(self, artifact):
        note("artifact", id=self.id, name=artifact.name, files=artifact.files)
    def finish(self, exit_code):
        if MANNERS == "ends badly":
            raise ConnectionError("the network is gone")
        note("finish", id=self.id, exit_code=exit_code)

def init(**words):
    if MANNERS == "refuses" and "/first" in words["dir"]:
        raise ConnectionError("no such project")
    note("init", **words)
    told = [told for what, told in map(json.loads, open(os.environ["FAKE_NOTES"])) if what == "log"]
    steps = [one["step"] for one in told if one["id"] == words["id"] and one["project"] == PROJECT]
    return Run(words["id"], max(steps, default=-1) + 1)  # where the server has its rows
'''


@pytest.fixture
def fake_wandb(tmp_path, monkeypatch):
    """How it behaves -> a function that returns what it was told: (what, words)."""
    folder, notes = tmp_path / "fake", tmp_path / "notes"
    folder.mkdir()
    monkeypatch.setattr("loggers.run_logs.CLOSE_S", 120.0)  # a busy machine starts its process late
    (folder / "wandb.py").write_text(FAKE_WANDB)
    monkeypatch.syspath_prepend(str(folder))
    for name, value in {"PYTHONPATH": folder, "FAKE_NOTES": notes, "WANDB_API_KEY": "fake"}.items():
        monkeypatch.setenv(name, str(value))
    for name in ("WANDB_MODE", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)

    def behave(manners: str = "good"):
        monkeypatch.setenv("FAKE_MANNERS", manners)
        return lambda: [tuple(json.loads(line)) for line in notes.read_text().splitlines()] if notes.exists() else []

    return behave


@pytest.fixture
def begun_run(tmp_path, compose):
    """Overrides -> a run directory as a start leaves it, and its settings."""

    def begin(*overrides: str, name: str = "outputs/ppo/cartpole/run") -> tuple[Path, dict]:
        run, settings = tmp_path / name, compose(["env=cartpole", *overrides])
        run.mkdir(parents=True, exist_ok=True)
        write_start(run, settings, ["python", "run.py"], list(overrides), "float32")
        return run, settings

    return begin
