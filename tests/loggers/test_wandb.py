"""W&B itself, offline: what its files hold is read back with its own reader."""

import json
import struct
from pathlib import Path

import pytest

from loggers.check import is_installed
from loggers.results import send_results
from loggers.row_writer import RowWriter
from loggers.run_logs import RunLogs

BLOCK = 32_768  # bytes
pytestmark = pytest.mark.skipif(not is_installed("wandb"), reason="wandb is not installed: pip install -e '.[wandb]'")


def read_records(folder: Path) -> list:
    """The records of the one .wandb file in a folder of an offline run. W&B has no reader in Python any more, but for
    a record: the file is a log of LevelDB, 7 bytes of header and blocks of 32 KiB with parts of records in them."""
    from wandb.proto.wandb_internal_pb2 import Record

    (path,) = folder.glob("*.wandb")
    content, place, part, records = path.read_bytes(), 7, b"", []
    assert content[:4] == b":W&B"
    while place < len(content):
        if (left := BLOCK - place % BLOCK) < 7:  # no room for the header of a part
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        part += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (1, 4):  # a whole record, or the last part of one
            records.append(Record.FromString(part))
            part = b""
    return records


def read_items(items) -> dict:
    """Key -> value of a history row, a summary or a config; nested keys with slashes."""
    return {item.key or "/".join(item.nested_key): json.loads(item.value_json) for item in items}


def rows_in(folder: Path) -> list[dict]:
    return [read_items(r.history.item) for r in read_records(folder) if r.WhichOneof("record_type") == "history"]


@pytest.fixture
def offline(monkeypatch, tmp_path):
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("WANDB_API_KEY", "WANDB_PROJECT", "WANDB_DIR"):
        monkeypatch.delenv(name, raising=False)


def train(run: Path, settings: dict, began_at: int, steps: list[int]) -> list[str]:
    logs, writer = RunLogs(settings, run), RowWriter({1: run}, run, tensorboard=False)
    logs.begin(run, began_at)
    writer.begin(1, began_at)
    for count in steps:
        writer.add(1, row := {"agent_steps": count, "entropy": count / 1000, "loss": float("nan")})
        logs.report(run, row)
    return logs.close(120)


def test_offline_files_hold_every_row_over_agent_steps_and_go_on_under_the_same_id(offline, begun_run):
    run, settings = begun_run("logger=wandb", "label=wide", "seed=3")
    (sentence,) = train(run, settings, 0, [1000, 2000, 3000])
    (first,) = run.glob("wandb/offline-run-*")
    assert str(first) in sentence
    assert [(row["_step"], row["agent_steps"], row["entropy"]) for row in rows_in(first)] == [
        (1000, 1000, 1.0),
        (2000, 2000, 2.0),
        (3000, 3000, 3.0),
    ]
    opened = next(r.run for r in read_records(first) if r.WhichOneof("record_type") == "run")
    assert (opened.project, opened.run_group, opened.display_name) == ("rllib-atari-suite", "ppo/cartpole/wide", "run")
    assert list(opened.tags) == ["ppo", "cartpole", "wide"]
    config = read_items(opened.config.update)
    assert config["seed"] == 3 and config["algo"]["horizon"] == settings["algo"]["horizon"]
    train(run, settings, 2000, [2900])
    second = max(run.glob("wandb/offline-run-*"))
    assert second != first and [row["_step"] for row in rows_in(second)] == [1000, 2000, 2900]
    again = next(r.run for r in read_records(second) if r.WhichOneof("record_type") == "run")
    assert again.run_id == opened.run_id and not run.joinpath("wandb", "settings").exists()


def test_offline_files_hold_evaluations_videos_and_pages(offline, begun_run):
    run, settings = begun_run("logger=wandb")
    train(run, settings, 0, [1000])
    (run / "checkpoints").mkdir()
    result = {"agent_steps": 1000, "ways": ["greedy"], "greedy": {"mean": 9.5, "median": 9.0, "iqm": 9.25, "std": 1.0}}
    (run / "checkpoints" / "evaluation_best.json").write_text(json.dumps(result))
    (run / "recordings").mkdir()
    (run / "recordings" / "game.mp4").write_bytes(b"a film")
    (run / "page.html").write_text("<p>")
    send_results(run, since=0)
    newest = max(run.glob("wandb/offline-run-*"))
    assert [row["_step"] for row in rows_in(newest)] == [1000]
    records = read_records(newest)
    summary = {}
    for record in records:
        summary |= read_items(record.summary.update)
    assert summary["evaluation_best/greedy/mean"] == 9.5
    artifacts = [r.request.log_artifact.artifact if r.HasField("request") else r.artifact for r in records]
    kinds = {a.type: [Path(entry.path).name for entry in a.manifest.contents] for a in artifacts if a.type}
    assert kinds == {"evaluation": ["evaluation_best.json"], "video": ["game.mp4"], "page": ["page.html"]}
