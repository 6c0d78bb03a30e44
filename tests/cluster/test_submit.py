"""Jobs: what is handed in for a command, what travels with it, and what is refused before."""

import re
import shlex
import socket
from pathlib import Path

import pytest

import run
from cluster import connection, submit
from cluster.plan import make_plan
from grids.arms import read_grid
from rollouts.private_ray import list_packed_files
from run_directory import provenance
from settings.mistakes import Mistake

ON_RAY = ("cluster=ray", "cluster.num_env_runners=2", "output_dir=/shared")


def test_a_job_runs_the_same_words_and_goes_on_by_itself():
    typed = {
        "algo=a2c seed=[1,2]": ["algo=a2c", "seed=[1,2]", "resume=auto", "trust=true"],
        "resume=/runs/one": ["resume=/runs/one", "trust=true"],
        "resume=/runs/one trust=false": ["resume=/runs/one", "trust=false"],
    }
    for words, run_as in typed.items():
        assert shlex.split(submit.format_entrypoint(words.split())) == ["python", "run.py", *run_as]
    assert "'seed=[1,2]'" in submit.format_entrypoint(["seed=[1,2]"]), "a shell would read the brackets"


def test_a_job_may_be_told_what_it_is_told_anyway(monkeypatch):
    told = []
    monkeypatch.setattr("cluster.submit.submit_job", lambda settings, words: told.append(words) or "")
    words = ["cluster=ray", "output_dir=/shared", "cluster.num_env_runners=1", "cluster.cpus=1"]
    assert run.main(["command=submit", *words, "trust=true"]) == run.main(["command=submit", *words]) == 0
    assert told == [[*words, "trust=true"], words]


def test_a_grid_is_one_job_which_types_the_same_grid_there(monkeypatch, capsys):
    posted = []
    monkeypatch.setattr("cluster.submit.post_job", lambda address, job: posted.append(job))
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS", raising=False)
    words = ["algo=a2c,ppo", "env=cartpole", "seed=range(1,3)", *ON_RAY]
    assert run.main(["-m", "command=submit", *words]) == 0
    assert "ray job logs" in capsys.readouterr().out
    (job,) = posted
    typed = shlex.split(job["entrypoint"])
    assert typed == ["python", "run.py", "-m", *words, "trust=true"]
    metadata = job["metadata"]
    name = read_grid(typed[3:]).name
    assert metadata["job_name"] == f"grid/{name}" and "algo" not in metadata and metadata["seed"] == "[1, 2]"
    assert job["submission_id"].startswith(f"grid-{name}-")
    assert run.main(["-m", "command=submit", "algo=a2c,ppp", "env=cartpole", *ON_RAY]) == 2 and len(posted) == 1
    assert run.main(["-m", "command=submit", "algo=a2c,ppo", "env=cartpole"]) == 2 and len(posted) == 1  # no cluster


def test_a_grid_of_files_named_from_where_one_stands_takes_them_along(tmp_path, monkeypatch):
    sent = {}

    def post(address: str, job: dict) -> None:
        own = Path(job["runtime_env"]["working_dir"], "own_files")
        sent.update({path.name: path.read_text() for path in own.glob("*/*")})

    monkeypatch.setattr("cluster.submit.post_job", post)
    monkeypatch.chdir(tmp_path)
    texts = {f"{name}.yaml": f"# @package _global_\nalgo:\n  lr: {lr}\n" for name, lr in (("x", 0.1), ("y", 0.2))}
    for name, text in texts.items():
        Path(name).write_text(text)
    assert run.main(["-m", "command=submit", "tuned_configs=x.yaml, y.yaml", "env=cartpole", *ON_RAY]) == 0
    assert sent == texts


def test_a_run_that_a_job_continues_is_named_by_its_whole_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = ["resume=runs/one", "resume=/runs/one", "resume=auto", "algo.lr=1e-3"]
    named = [f"resume={tmp_path}/runs/one", *words[1:]]
    assert [submit.make_absolute(word, None) for word in words] == named


def test_own_files_go_with_a_job(tmp_path, monkeypatch):
    (tmp_path / "own" / "algo").mkdir(parents=True)
    (tmp_path / "own" / "algo" / "hasty.yaml").write_text("defaults: [ppo]\nlr: 0.5\n")
    (tmp_path / "mine.yaml").write_text("# @package _global_\nalgo: {gamma: 0.5}\n")
    posted = []

    def post(address, job):
        package = Path(job["runtime_env"]["working_dir"])
        posted.append((job, (package / "own_folder/algo/hasty.yaml").read_text()))
        inside = shlex.split(job["entrypoint"])[2:]
        monkeypatch.chdir(package)
        settings, _ = run.read_experiment(inside)
        posted.append((settings["algo"]["lr"], settings["algo"]["gamma"]))

    monkeypatch.setattr("cluster.submit.post_job", post)
    monkeypatch.chdir(tmp_path)
    words = ["algo=hasty", "env=cartpole", "tuned_configs=mine.yaml", *ON_RAY]
    assert run.main(["command=submit", *words, "--config-dir", "own"]) == 0
    (job, text), values = posted
    assert "lr: 0.5" in text and values == (0.5, 0.5)
    assert job["runtime_env"]["env_vars"]["PYTHONPATH"] == "own_folder"
    assert job["runtime_env"]["env_vars"]["OMP_NUM_THREADS"] == "1" and str(tmp_path) not in job["entrypoint"]


def test_a_job_says_what_it_is_and_what_its_processes_need(compose, monkeypatch):
    monkeypatch.setattr(submit, "describe_commit", lambda: "3f2a9c0-dirty")
    assert submit.describe_job(compose(["env=cartpole", "seed=[1,2]", *ON_RAY]), "ppo/cartpole") == {
        "job_name": "ppo/cartpole",
        "algo": "ppo",
        "env": "cartpole",
        "seed": "[1, 2]",
        "commit": "3f2a9c0-dirty",
    }
    expected = {"RAY_JOB_STOP_WAIT_TIME_S": "120", "OMP_NUM_THREADS": "1", provenance.COMMIT: "3f2a9c0-dirty"}
    assert submit.list_variables() == expected


def test_what_is_too_large_to_travel_is_refused(compose, tmp_path, monkeypatch):
    (tmp_path / ".rayignore").write_text("# not these\n/data/\n__pycache__/\n*.bin\n")
    names = {"run.py": 3, "data/large": 500, "rooms/__pycache__/x": 500, "rooms/data/y": 20, "rooms/z.bin": 500}
    for name, size in names.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"0" * size)

    def packed() -> int:
        return sum(path.stat().st_size for path in list_packed_files(tmp_path))

    assert packed() == 3 + 20 + (tmp_path / ".rayignore").stat().st_size
    (tmp_path / "rooms" / "link").symlink_to(tmp_path / "data" / "large")
    assert packed() == 3 + 20 + 500 + (tmp_path / ".rayignore").stat().st_size
    monkeypatch.setattr(submit, "MAX_JOB_BYTES", 10)
    monkeypatch.setattr(connection, "MAX_DRIVER_BYTES", 10)
    on_ray = compose(["env=cartpole", *ON_RAY])
    with pytest.raises(Mistake, match="\\bMiB\\b.*\\.rayignore"):
        submit.submit_job(on_ray, [])
    monkeypatch.setattr(connection, "refuse_unreachable_head", lambda *_: None)
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    with pytest.raises(Mistake, match="\\bMiB\\b.*\\.rayignore"):
        connection.connect_to_ray(make_plan(on_ray))


@pytest.mark.parametrize(
    ("variable", "address"), [("http://head:8265/", "http://head:8265"), ("", "http://127.0.0.1:8265")]
)
def test_the_page_of_a_job_is_one_that_there_is(variable, address, compose, monkeypatch):
    posted = []
    monkeypatch.setattr(submit, "post_job", lambda *words: posted.append(words[0]))
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", variable)
    said = submit.submit_job(compose(["env=cartpole", *ON_RAY]), [])
    assert f" {address}/#/jobs/ppo-cartpole-" in said and posted == [address]


def test_an_address_that_is_no_dashboards_is_refused_at_once(compose, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "head:8265")
    with pytest.raises(Mistake, match="RAY_API_SERVER_ADDRESS=head:8265 .* http://head:8265$"):
        submit.submit_job(compose(["env=cartpole", *ON_RAY]), [])


def test_a_dashboard_that_is_not_there_is_one_sentence(compose, monkeypatch):
    monkeypatch.setenv("RAY_API_SERVER_ADDRESS", "http://127.0.0.1:1")
    monkeypatch.setattr(submit, "ANSWER_TIMEOUT_S", 0.5)
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for port, why in ((1, "Connection refused"), (silent.getsockname()[1], " 0.5 s")):
            address = f"http://127.0.0.1:{port}"
            monkeypatch.setenv("RAY_API_SERVER_ADDRESS", address)
            said = rf"RAY_API_SERVER_ADDRESS={address}: .*{re.escape(why)}.*\bssh -L 8265:127\.0\.0\.1:8265 "
            with pytest.raises(Mistake, match=said) as no:
                submit.submit_job(compose(["env=cartpole", *ON_RAY]), [])
            assert "\n" not in str(no.value)
    monkeypatch.delenv("RAY_API_SERVER_ADDRESS")
    assert "RAY_API_SERVER_ADDRESS=" not in submit.explain_failed_submission("http://127.0.0.1:8265", "refused")


@pytest.mark.parametrize("error", ["Request failed with status code 403", "[Errno 111] Connection refused"])
def test_a_proxy_that_may_have_refused_a_job_is_named(error, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://proxy:3128")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    said = submit.explain_failed_submission("http://127.0.0.1:8265", error)
    assert "http://proxy:3128" in said and "no_proxy=127.0.0.1" in said
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert "proxy" not in submit.explain_failed_submission("http://127.0.0.1:8265", error)


def test_a_job_whose_command_line_has_a_password_in_it_is_refused(compose):
    settings = compose(["env=cartpole", "cluster=ray", "output_dir=/shared"])
    with pytest.raises(Mistake, match=r"search\.storage=\S+:\*\*\*@host/name: .*oc\.env:STORAGE") as told:
        submit.submit_job(settings, ["search.storage=postgresql://bob:s3cret@host/name"])
    assert "s3cret" not in str(told.value)
