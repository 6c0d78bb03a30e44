"""Parts of a user's own on a cluster: they travel with a job, and a node that lacks them is refused."""

import json
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

import run
from tests.runs.tiny_runs import rows_of, wait_for

RUN_PY = Path(run.__file__).resolve()
WORDS = ["algo=normalized_a2c", "env=cartpole", "model.torso=layer_norm_torso:LayerNormTorso", "algo.num_envs=4"]
WORDS += ["callbacks=[score_file:ScoreFile]", "report_every=200", "cluster=ray", "cluster.num_env_runners=1"]


@pytest.mark.slow
def test_own_parts_travel_with_a_job_and_a_node_without_them_is_refused(start_cluster, tmp_path):
    address, dashboard, environment = start_cluster("dashboard")
    environment |= {"RAY_API_SERVER_ADDRESS": dashboard}
    shutil.copytree(RUN_PY.parent / "docs" / "extending", tmp_path / "mine")
    shared = tmp_path / "shared"
    words = [*WORDS, "stop.agent_steps=1000", f"output_dir={shared}"]

    def type_there(*more: str, **variables: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(RUN_PY), *more]
        pipes = {"capture_output": True, "text": True, "timeout": 300}
        return subprocess.run(command, cwd=tmp_path, env=environment | variables, **pipes)

    there = [f"cluster.address={address}", "--config-dir", "mine"]
    submitted = type_there("command=submit", *words, *there)
    assert submitted.returncode == 0, submitted.stdout + submitted.stderr
    job = submitted.stdout.split()[1]

    def ask() -> dict:
        with urllib.request.urlopen(f"{dashboard}/api/jobs/{job}") as answer:
            return json.load(answer)

    status = wait_for(lambda: (state := ask()["status"]) in ("SUCCEEDED", "FAILED", "STOPPED") and state, timeout_s=300)
    with urllib.request.urlopen(f"{dashboard}/api/jobs/{job}/logs") as answer:
        assert status == "SUCCEEDED", json.load(answer)["logs"]
    (trained,) = shared.glob("normalized_a2c/cartpole/*")
    assert rows_of(trained)[-1]["agent_steps"] >= 1000
    assert rows_of(trained)[-1]["return_scale"] > 0
    assert json.loads((trained / "best_score.json").read_text())["agent_steps"] > 0

    # Here the module can be imported, but nothing takes it along.
    alone = ["env=cartpole", *WORDS[2:4], *WORDS[5:], f"output_dir={shared}", f"cluster.address={address}"]
    refused = type_there(*alone, PYTHONPATH=str(tmp_path / "mine"))
    assert refused.returncode == 2, refused.stdout + refused.stderr
    sentence = refused.stderr.splitlines()[-1]
    assert sentence.startswith("error: model.torso=layer_norm_torso:LayerNormTorso: node ")
    assert "cannot import layer_norm_torso (ModuleNotFoundError: " in sentence and "--config-dir" in sentence
