"""Runs on a Ray cluster that runs already: what is refused, that they end there, and that jobs stop and go on."""

import errno
import fcntl
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import ray
import torch

import run
from cluster import checks, submit
from cluster.checks import (
    explain_failed_connection,
    find_head,
    refuse_nodes_without_cuda,
    refuse_small_cluster,
    refuse_unreachable_head,
    refuse_unshared_folder,
)
from cluster.connection import list_nodes, prepare_environment
from cluster.placement import Node
from cluster.plan import make_plan
from run_directory.checkpoints import read_totals
from run_directory.outputs import compute_key
from run_directory.writing import lock_folder
from runs.interrupt import Interrupt
from runs.ray_session import open_ray
from settings.mistakes import Mistake
from tests.runs.tiny_runs import TINY, assert_no_gap_and_no_double, directory_in, go, rows_of, starts_in, wait_for

RUN_PY = Path(run.__file__).resolve()
ON_RAY = ("cluster=ray", "cluster.num_env_runners=2", "output_dir=/shared")


# What is said before the cluster is asked.


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("cluster=ray",), r"output_dir=outputs: .*\babsolute\b"),
        ((*ON_RAY, "cluster.cpus=null"), r"cluster\.cpus .*cluster\.address=auto\b"),
        ((*ON_RAY, "cluster.num_env_runners=null"), r"cluster\.num_env_runners .*cluster\.address=auto\b"),
        (("cluster=ray", "cluster.placement=spred"), r"cluster\.placement=spred .*\bpack, spread; .* spread\?"),
        (("command=submit",), r"command=submit: cluster=laptop .*\bcluster=ray\b"),
        (("command=submit", "cluster=ray", "algo.lrr=1"), r"algo\.lrr: "),
    ],
)
def test_a_mistake_is_one_sentence(words, named, capsys):
    assert run.main(list(words)) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert re.search(named, sentence)


@pytest.mark.end_to_end
def test_an_address_where_no_head_answers_is_refused_at_once(monkeypatch):
    for silent, limit_s, why in ((False, 60, "refused"), (True, 0.5, "Deadline Exceeded")):
        monkeypatch.setattr(checks, "ANSWER_TIMEOUT_S", limit_s)
        with socket.socket() as port:
            port.bind(("127.0.0.1", 0))
            address = f"127.0.0.1:{port.getsockname()[1]}"
            if silent:
                port.listen()  # and says nothing
            with pytest.raises(Mistake, match=rf"cluster\.address={address}: .*{why}.*\bray start --head --port="):
                refuse_unreachable_head(address, address)
    monkeypatch.setenv("RAY_ADDRESS", "auto")
    with pytest.raises(Mistake, match=r"cluster\.address=somewhere .*\blocal, auto or host:port\b"):
        find_head("somewhere")
    with pytest.raises(Mistake, match=r"cluster\.address=ray://head:10001: .*\bcommand=submit$"):
        find_head("ray://head:10001")
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert find_head("auto") == "10.0.0.1:6379"


@pytest.mark.parametrize(
    ("said", "named"),
    [
        ("InvalidAuthToken: missing or wrong", r"\bRAY_AUTH_MODE=token\b"),
        ("Version mismatch: The cluster was started with: Ray: 2.60.0 Python: 3.10.1", r"\brequirements\.txt\b"),
        ("the moon is in the way", "the moon is in the way$"),
    ],
)
def test_what_ray_says_becomes_a_sentence_with_a_way_out(said, named):
    found = explain_failed_connection("auto", "10.0.0.1:6379", RuntimeError(said))
    assert re.search(r"^cluster\.address=auto, .*\b10\.0\.0\.1:6379 ", found) and "\n" not in found
    assert re.search(named, found)


def test_a_cluster_with_too_few_gpus_is_refused(compose):
    gpu = compose(["cluster=gpu_workers", "output_dir=/shared"])
    assert [b.get("GPU", 0) for b in make_plan(gpu).bundles].count(1) == 2
    with pytest.raises(Mistake, match=r"cluster\.num_env_runners=8: .* 9 x 1 CPU \+ 2 x 1 GPU, .*\(large: "):
        refuse_small_cluster(8, make_plan(gpu).bundles, [Node("a", "large", {"CPU": 64.0, "GPU": 1.0})])
    refuse_small_cluster(8, make_plan(gpu).bundles, [Node("a", "large", {"CPU": 64.0, "GPU": 2.0})])


def test_a_node_whose_torch_cannot_use_its_gpus_is_refused(shared_ray, monkeypatch):
    (node,) = list_nodes()
    with_gpu, without = (Node(node.id, "large", {"CPU": 64.0, "GPU": gpus}) for gpus in (2.0, 0.0))
    refuse_nodes_without_cuda([without])
    if not torch.backends.cuda.is_built():
        with pytest.raises(Mistake, match=r"node large .*\b2 GPU, .*cluster\.gpus_per_learner=0\b"):
            refuse_nodes_without_cuda([without, with_gpu])
    monkeypatch.setattr(checks, "has_cuda_build", ray.remote(num_cpus=0)(lambda: True))
    refuse_nodes_without_cuda([without, with_gpu])


def test_within_itself_open_ray_keeps_a_signal_that_has_come(shared_ray, compose):
    plan = make_plan(compose(["env=cartpole"]))
    with open_ray(plan):
        os.kill(os.getpid(), signal.SIGTERM)
        with open_ray(plan):
            assert Interrupt.stop_requested
        assert signal.getsignal(signal.SIGINT) == Interrupt.request_stop
    Interrupt.clear()


def test_the_bundles_of_a_run_are_its_processes(compose):
    settings = compose(["env=cartpole", *ON_RAY, "cluster.num_learners=1"])
    assert sorted(bundle.get("CPU", 0) for bundle in make_plan(settings).bundles) == [1, 1, 1, 1]
    search = compose(["tune_searches=cartpole_ppo", *ON_RAY, "search.seeds_per_trial=3"])
    assert len(make_plan(search).bundles) == 1 + 3 * 2


def test_an_output_dir_that_a_node_does_not_see_is_refused(shared_ray, tmp_path, monkeypatch):
    refuse_unshared_folder(tmp_path / "new", list_nodes())
    assert list((tmp_path / "new").iterdir()) == []
    monkeypatch.setattr(checks, "has_file", ray.remote(num_cpus=0)(lambda path: Path(path + "_elsewhere").is_file()))
    with pytest.raises(Mistake, match=rf"output_dir={tmp_path} .*\bnode {list_nodes()[0].name} "):
        refuse_unshared_folder(tmp_path, list_nodes())
    assert not list(tmp_path.glob(".shared*"))

    @ray.remote(num_cpus=0, max_retries=0)
    def lacks(path: str) -> bool:
        raise ModuleNotFoundError("ale_py")

    monkeypatch.setattr(checks, "has_file", lacks)
    with pytest.raises(Mistake, match=rf"node {list_nodes()[0].name} .*\bale_py\b.*requirements\.txt"):
        refuse_unshared_folder(tmp_path, list_nodes())


# resume=auto.


def test_an_experiment_has_one_name_wherever_it_runs(compose, tmp_path):
    settings = compose(["env=cartpole"])
    same = compose(["env=cartpole", "cluster.cpus=1", f"output_dir={tmp_path}", "max_failures=9"])
    assert compute_key(settings) == compute_key(same)
    looked_at = compose(["env=cartpole", "evaluate=true", "episodes=7", "report_every=5000"])
    assert compute_key(settings) == compute_key(looked_at), "the same training, seen otherwise"
    others = [("seed=2",), ("algo.lr=1e-3",), ("stop.agent_steps=7",), ("model.hidden=[8]",)]
    names = {compute_key(compose(["env=cartpole", *words])) for words in others}
    assert len(names | {compute_key(settings)}) == 5


@pytest.mark.end_to_end
def test_resume_auto_begins_continues_and_says_when_it_is_done(tmp_path, shared_ray):
    words = (*TINY, "stop.agent_steps=1024", "resume=auto", f"output_dir={tmp_path}")
    code, printed = go(*words)
    path = directory_in(printed)
    assert code == 0 and path.name.startswith("auto_") and len(rows_of(path)) > 2
    last = path / "checkpoints" / "last"
    before = rows_of(path)
    code, printed = go(*words)
    assert code == 0 and f"resume={path}" in printed and "stop.agent_steps" in printed and rows_of(path) == before
    for name in ("last", "best"):  # as if it had been killed before its end
        os.rename(path / "checkpoints" / name, tmp_path / name)
    steps = read_totals(path / "checkpoints" / "previous")["agent_steps"]
    code, printed = go(*words)
    assert code == 0 and starts_in(printed) == {1: steps} and last.is_dir()
    assert_no_gap_and_no_double(rows_of(path))
    assert len(list(path.parent.iterdir())) == 1


def test_two_drivers_at_one_run_are_refused(tmp_path, shared_ray, capsys):
    words = [*TINY, "stop.agent_steps=1024", "resume=auto", f"output_dir={tmp_path}"]
    folder = tmp_path / "ppo" / "cartpole" / compute_key(run.read_experiment(words)[0])
    folder.mkdir(parents=True)
    with lock_folder(folder):
        assert run.main(words) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith(f"error: {folder}: another process ")


def test_a_directory_that_cannot_be_locked_is_not_said_to_be_in_use(tmp_path, monkeypatch):
    def no_locks(*_) -> None:
        raise OSError(errno.ENOLCK, "no locks")

    monkeypatch.setattr(fcntl, "flock", no_locks)
    with pytest.raises(Mistake, match=rf"^{tmp_path} .*\(no locks\).*\boutput_dir\b"), lock_folder(tmp_path):
        pass


def test_metrics_and_the_list_of_calls_are_off_only_where_nobody_could_see_them(compose, monkeypatch):
    for words, off in ((["env=cartpole"], True), (["env=cartpole", "dashboard=true"], False), ([*ON_RAY], False)):
        monkeypatch.setattr(os, "environ", {})
        prepare_environment(compose(words))
        assert ("RAY_enable_metrics_collection" in os.environ) == off
        assert ("RAY_task_events_report_interval_ms" in os.environ) == off
        assert int(dict(os.environ)["RAY_task_events_max_num_task_in_gcs"]) <= 10_000


THREADS = """
import pathlib, sys
import ray
from cluster.connection import prepare_environment
from cluster.local_ray import start_ray, stop_ray
from run import read_experiment
settings, _ = read_experiment(["env=cartpole", *sys.argv[1:]])
prepare_environment(settings)
start_ray(settings, num_processes=1)
ray.get(ray.remote(num_cpus=0)(lambda: 1).remote())  # its threads have their names by then
print(*{path.read_text().strip() for path in pathlib.Path("/proc/self/task").glob("*/comm")})
stop_ray()
"""


@pytest.mark.end_to_end
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("dashboard", [False, True])
def test_a_driver_notes_its_calls_only_for_a_dashboard(dashboard):
    """The variables are set after Ray was imported, and Ray reads them once more where it starts."""
    command = [sys.executable, "-c", THREADS, f"dashboard={str(dashboard).lower()}"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("RAY_task_events")}
    done = subprocess.run(command, cwd=RUN_PY.parent, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "worker.io" in done.stdout and ("task_event_buff" in done.stdout) == dashboard


# On two nodes.


@pytest.mark.slow
def test_a_run_on_two_nodes_needs_both_and_comes_to_its_end(start_cluster, tmp_path):
    """One CPU here, two there, and three processes: the run spans both, and its code has travelled."""
    address, _, environment = start_cluster()
    words = [*TINY, "cluster=ray", f"cluster.address={address}", "cluster.num_env_runners=2", "resume=auto"]
    words += ["stop.agent_steps=4096", f"output_dir={tmp_path / 'shared'}"]

    def run_there(*more: str) -> subprocess.CompletedProcess:
        command = [sys.executable, str(RUN_PY), *words, *more]
        return subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)

    planned = run_there("dry_run=true")
    assert planned.returncode == 0 and " with 2: " in planned.stdout, planned.stdout + planned.stderr
    done = run_there()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Ray cluster: 2 nodes with 3 CPU; " in done.stdout
    path = directory_in(done.stdout)
    rows = rows_of(path)
    assert_no_gap_and_no_double(rows)
    assert 4096 <= rows[-1]["agent_steps"] <= 4096 + 256
    assert read_totals(path / "checkpoints" / "last")["agent_steps"] == rows[-1]["agent_steps"]
    for more in (["seed=2"], ["tune_searches=cartpole_ppo"]):
        refused = run_there("cluster.num_env_runners=4", *more)
        assert refused.returncode == 2 and re.search(r"\b5 x 1 CPU, .*\(", refused.stderr)
    assert [p.name for p in (tmp_path / "shared").iterdir()] == ["ppo"], "a search that was refused left something"
    again = run_there()
    assert again.returncode == 0 and "stop.agent_steps" in again.stdout and rows_of(path) == rows


# The head is told that it was started by Python 3.9.1, and the run joins it.
OTHER_PYTHON = """
import json, sys
from ray._common.usage.usage_constants import CLUSTER_METADATA_KEY as key
from ray._private.ray_constants import KV_NAMESPACE_CLUSTER as space
from ray._raylet import GcsClient
import run
(address,) = (word.partition("=")[2] for word in sys.argv if word.startswith("cluster.address="))
head = GcsClient(address=address)
knows = json.loads(head.internal_kv_get(key, namespace=space))
head.internal_kv_put(key, json.dumps(knows | {"python_version": "3.9.1"}).encode(), True, namespace=space)
sys.exit(run.main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_real_head_that_does_not_take_a_driver_is_one_sentence(start_cluster, tmp_path):
    """A wrong token, none, and another version of Ray: from a run and, the tokens, from a job on its way."""
    address, dashboard, right = start_cluster("dashboard", RAY_AUTH_MODE="token", RAY_AUTH_TOKEN="r" * 32)
    right |= {"RAY_API_SERVER_ADDRESS": dashboard, "HOME": str(tmp_path)}
    wrong, none = {**right, "RAY_AUTH_TOKEN": "w" * 32}, {**right, "RAY_AUTH_MODE": "disabled"}
    lacks = {**right, "RAY_AUTH_TOKEN": ""}
    words = ["env=cartpole", "cluster=ray", f"cluster.address={address}", f"output_dir={tmp_path}"]
    older = "import ray, sys; ray.__version__ = '2.59.0'; import run; sys.exit(run.main(sys.argv[1:]))"
    taken = {**right, "RAY_ADDRESS": address, "http_proxy": "http://127.0.0.1:9"}  # Ray goes through no proxy
    cases = [(["run.py"], taken, r"cluster\.num_env_runners=8: .* 9 x 1 CPU")]
    for environment in (wrong, none, lacks):
        cases.append((["run.py"], environment, rf"cluster\.address={address}: .*\bRAY_AUTH_MODE=token\b"))
        cases.append((["run.py", "command=submit"], environment, r"RAY_API_SERVER_ADDRESS=.*\bRAY_AUTH_MODE=token\b"))
    cases.append((["-c", older], right, r"\b2\.60\.0 .*\b2\.59\.0 .*requirements\.txt"))
    cases.append((["-c", OTHER_PYTHON], right, r"\(Version mismatch: .*requirements\.txt"))
    for command, environment, named in cases:
        done = subprocess.run(
            [sys.executable, *command, *words, "cluster.num_env_runners=8"],
            cwd=RUN_PY.parent,
            env=environment,
            capture_output=True,
            text=True,
            timeout=120,
        )
        (sentence,) = done.stderr.splitlines()
        assert done.returncode == 2 and re.search(rf"^error: .*{named}", sentence), (command, done.stderr)
    assert not list(tmp_path.glob("ppo")), "a directory was made"


@pytest.mark.slow
def test_a_job_is_stopped_with_a_checkpoint_and_the_same_line_goes_on(start_cluster, tmp_path):
    address, dashboard, environment = start_cluster("dashboard")
    environment |= {"RAY_API_SERVER_ADDRESS": dashboard, "RAY_ADDRESS": address}
    shared = tmp_path / "shared"
    words = [*TINY, "cluster=ray", "cluster.num_env_runners=2", "stop.agent_steps=10_000_000", f"output_dir={shared}"]

    def submitted() -> str:
        command = [sys.executable, str(RUN_PY), "command=submit", *words]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0 and "ray job logs --address" in done.stdout, done.stdout + done.stderr
        return done.stdout.split()[1]

    def ask(job: str) -> dict:
        with urllib.request.urlopen(f"{dashboard}/api/jobs/{job}") as answer:
            return json.load(answer)

    def logs(job: str) -> str:
        with urllib.request.urlopen(f"{dashboard}/api/jobs/{job}/logs") as answer:
            return json.load(answer)["logs"]

    job = submitted()
    assert ask(job)["metadata"] == {
        "job_name": "ppo/cartpole",
        "algo": "ppo",
        "env": "cartpole",
        "seed": "1",
        "commit": submit.describe_commit() or "unknown",
    }
    wait_for(lambda: list(shared.glob("ppo/cartpole/auto_*/checkpoints/previous")), 120)
    stop = urllib.request.Request(f"{dashboard}/api/jobs/{job}/stop", method="POST")
    urllib.request.urlopen(stop).close()
    wait_for(lambda: "python run.py resume=" in logs(job), 60)
    (path,) = shared.glob("ppo/cartpole/auto_*")
    last = read_totals(path / "checkpoints" / "last")["agent_steps"]
    assert "Traceback" not in logs(job) and rows_of(path)[-1]["agent_steps"] == last
    second = submitted()
    wait_for(lambda: starts_in(logs(second)) == {1: last}, 120)
    wait_for(lambda: rows_of(path)[-1]["agent_steps"] > last, 120)
    urllib.request.urlopen(urllib.request.Request(f"{dashboard}/api/jobs/{second}/stop", method="POST")).close()
    wait_for(lambda: ask(second)["status"] == "STOPPED", 60)


CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine: apt-get install chromium")
def test_a_browser_shows_a_job_by_name_its_log_and_its_actors(start_cluster, tmp_path):
    address, dashboard, environment = start_cluster("dashboard")
    environment |= {"RAY_API_SERVER_ADDRESS": dashboard, "RAY_ADDRESS": address}
    words = [*TINY, "cluster=ray", "cluster.num_env_runners=2", "stop.agent_steps=10_000_000", f"output_dir={tmp_path}"]
    words += ["cluster.num_learners=1", "cluster.cpus_per_runner=0.5"]
    command = [sys.executable, str(RUN_PY), "command=submit", *words]
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    job = done.stdout.split()[1]
    wait_for(lambda: list(tmp_path.glob("ppo/cartpole/auto_*/checkpoints/previous")), 120)

    def open_page(page: str, *more: str) -> str:
        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=8000", "--window-size=1400,1000"]
        browser = [CHROMIUM, *flags, f"--user-data-dir={tmp_path / 'chromium'}", *more, f"{dashboard}/#/{page}"]
        return subprocess.run(browser, capture_output=True, text=True, timeout=120).stdout

    def shows(page: str, *what: str) -> bool:
        text = open_page(page, "--dump-dom")
        return all(word in text for word in what)

    wait_for(lambda: shows("jobs", "ppo/cartpole", "RUNNING"), 60)
    wait_for(lambda: shows(f"jobs/{job}", "agent steps", "writing to"), 60)
    wait_for(lambda: shows("actors", "VectorEnvRunner", ">PPO<", "PPOLearner"), 60)
    if pictures := os.environ.get("SCREENSHOTS"):  # a directory, such as docs
        for name, page in {"jobs": "jobs", "job": f"jobs/{job}", "actors": "actors"}.items():
            open_page(page, f"--screenshot={pictures}/ray_dashboard_{name}.png")
