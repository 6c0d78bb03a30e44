import errno
import json
import os

import numpy as np
import yaml

from evidence.evaluate import evaluate
from evidence.publication import main, publish_agent
from run_directory.checkpoints import find_checkpoint
from run_directory.weights import read_weights

START = {
    "time": "2026-11-26T02:00:00+0000",
    "command": [
        *("/home/ann/.venv/bin/python", "/home/ann/a suite/run.py", "algo=ppo", "algo.lr=1e-4"),
        *("output_dir=/home/ann/runs", "resume=auto", "tuned_configs=/home/ann/fast.yaml"),
        *("--config-dir", "/home/ann/mine/", "a=[~/b/c,/home/ann/d/e]"),
    ],
    "overrides": [],
    "git": {"commit": "abc123", "dirty": False},
    "packages": {"ray": "2.60.0"},
    "hardware": {"cpu": "a fast one", "cpus": 2},
}


def test_a_published_agent_plays_without_a_pickle_and_names_no_place(make_run, tmp_path):
    run, folder = make_run(checkpoints=("best", "last")), tmp_path / "agents" / "cartpole"
    (run / "run.json").write_text(json.dumps({"starts": [START]}))
    settings = yaml.safe_load((run / "config.yaml").read_text()) | {"output_dir": "/home/ann/runs"}
    settings |= {"config_dir": "/home/ann/mine", "pretrained": "/home/ann/runs/first"}
    (run / "config.yaml").write_text(yaml.safe_dump(settings))
    agent = publish_agent(run, folder, episodes=3)
    files = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    of_best = [f"checkpoints/best/{name}" for name in ("manifest.json", "progress.json", "weights.safetensors")]
    assert files == ["agent.json", *of_best, "config.yaml"]
    assert not any(b"/home/ann" in (folder / name).read_bytes() for name in files)
    assert yaml.safe_load((folder / "config.yaml").read_text())["pretrained"] == "first"
    assert json.loads((folder / "agent.json").read_text()) == agent
    typed = "python run.py algo=ppo algo.lr=1e-4 tuned_configs=fast.yaml --config-dir mine/ 'a=[c,e]'"
    assert agent["starts"][0]["command"] == typed and agent["starts"][0]["git"]["commit"] == "abc123"
    assert agent["evaluation"]["episodes"] == 3 and agent["evaluation"]["agent_steps"] == 1000
    again = evaluate(folder, episodes=3)
    assert again["greedy"]["scores"] == agent["evaluation"]["greedy"]["scores"]


def test_weights_are_kept_in_half_precision(make_run, tmp_path):
    run = make_run()
    publish_agent(run, tmp_path / "agent", episodes=1)
    before = read_weights(find_checkpoint(run, None))
    after = read_weights(find_checkpoint(tmp_path / "agent", None))
    assert before.keys() == after.keys() and {array.dtype for array in after.values()} == {np.dtype("float16")}
    for name in before:
        np.testing.assert_allclose(after[name], before[name], rtol=1e-3, atol=1e-4)


def test_a_folder_that_is_there_and_a_run_of_several_seeds_are_refused(make_run, tmp_path, capsys):
    run = make_run(name="parent/seed_1")
    make_run(name="parent/seed_2", seed=2)
    (tmp_path / "there").mkdir()
    for source, folder, said in ((run, "there", "is there already"), (run.parent, "new", "has 2 seeds")):
        assert main([str(source), str(tmp_path / folder)]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_publication_that_fails_leaves_no_folder(make_run, tmp_path, capsys):
    run, folder = make_run(), tmp_path / "agent"
    assert main([str(run), str(folder), "--episodes", "0"]) == 2
    assert "needs at least one game" in capsys.readouterr().err
    assert not folder.exists()


def test_a_full_disk_is_a_sentence_and_leaves_no_folder(make_run, tmp_path, monkeypatch, capsys):
    def write_on_full_disk(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run, folder = make_run(), tmp_path / "agent"
    monkeypatch.setattr("evidence.publication.write_arrays", write_on_full_disk)
    assert main([str(run), str(folder)]) == 2
    said = capsys.readouterr().err
    assert str(folder) in said and os.strerror(errno.ENOSPC) in said and said.count("\n") == 1
    assert not folder.exists()
