"""The files of deploy/: as their own tools check them, without a cloud; and that none of them opens a door.

ray.io_rayjobs.yaml.gz is the RayJob schema of the KubeRay operator's Helm chart (Apache-2.0).
"""

import configparser
import gzip
import importlib.metadata
import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path

import jsonschema
import pytest
import yaml
from ray.autoscaler._private.util import prepare_config, validate_config
from ray.scripts.scripts import start as ray_start

import run
from settings.runs import ClusterSettings
from settings.setting import list_settings

ROOT = Path(run.__file__).resolve().parent
DEPLOY = ROOT / "deploy"
LAUNCHED = ("aws", "gcp", "machines")
SERVICES = ("ray-head", "ray-worker")
# On the head: a silent node is given up after 12 s (tests/cluster measures it), with Ray's own settings after 65 s.
PATIENCE = {
    "RAY_health_check_period_ms": "2000",
    "RAY_health_check_timeout_ms": "2000",
    "RAY_health_check_failure_threshold": "3",
}


def read(name: str) -> dict:
    return yaml.safe_load((DEPLOY / name).read_text())


def ray_lines() -> dict[str, str]:
    """Every command here that starts Ray, by where it stands."""
    found = {}
    for name in LAUNCHED:
        for key in ("head_start_ray_commands", "worker_start_ray_commands"):
            (line,) = (line for line in read(f"{name}.yaml")[key] if "ray start" in line)
            found[f"{name}.yaml {key}"] = line
    for name in SERVICES:
        service = unit(name)["Service"]
        environment = " ".join(value for key, value in service if key == "Environment")
        found[f"{name}.service"] = environment + " " + dict(service)["ExecStart"]
    return found


def unit(name: str) -> dict[str, list[tuple[str, str]]]:
    """Sections of a systemd unit; keys may stand more than once."""
    sections, section = {}, None
    for line in (DEPLOY / f"{name}.service").read_text().splitlines():
        if line.startswith("["):
            section = sections.setdefault(line.strip("[]"), [])
        elif line and not line.startswith("#"):
            section.append(tuple(line.split("=", 1)))
    return sections


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_accepts_what_its_launcher_will_read(name):
    validate_config(prepare_config(read(f"{name}.yaml")))


@pytest.mark.parametrize("name", LAUNCHED)
def test_the_head_is_told_what_workers_to_start(name):
    (line,) = (line for line in read(f"{name}.yaml")["head_start_ray_commands"] if "ray start" in line)
    assert "--autoscaling-config=~/ray_bootstrap_config.yaml" in line


@pytest.mark.parametrize("name", LAUNCHED)
def test_ray_would_refuse_a_typo(name):
    with pytest.raises(Exception, match="head_nod_type|Additional properties"):
        validate_config(prepare_config(read(f"{name}.yaml") | {"head_nod_type": "head"}))


@pytest.mark.parametrize("name", ["aws", "gcp"])
def test_gpu_workers_come_and_go_and_the_head_computes_nothing(name):
    config = read(f"{name}.yaml")
    types = config["available_node_types"]
    assert types[config["head_node_type"]]["resources"] == {"CPU": 0}
    assert types["gpu_workers"]["resources"]["GPU"] == 1 and types["gpu_workers"]["min_workers"] == 0
    assert 0 < types["gpu_workers"]["max_workers"] <= config["max_workers"] and config["idle_timeout_minutes"] > 0


@pytest.mark.parametrize("where", ray_lines())
def test_ray_asks_for_a_token_and_its_dashboard_stays_on_the_head(where):
    line = ray_lines()[where]
    assert "RAY_AUTH_MODE=token" in line
    head = "--head" in line
    assert all(f"{name}={value}" in line for name, value in PATIENCE.items()) == head
    assert ("--dashboard-host=127.0.0.1" in line) == head and ("--address=" in line) != head
    options = {option for parameter in ray_start.params for option in parameter.opts}
    assert set(re.findall(r" (--[\w-]+)", line)) <= options


def strict(schema: dict) -> dict:
    """The schema, refusing keys it does not name, where it names all there may be."""
    if isinstance(schema, dict):
        schema = {key: strict(value) for key, value in schema.items()}
        if "properties" in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            schema.setdefault("additionalProperties", False)
    elif isinstance(schema, list):
        schema = [strict(part) for part in schema]
    return schema


@pytest.fixture(scope="module")
def rayjob_validator():
    text = gzip.decompress((Path(__file__).parent / "ray.io_rayjobs.yaml.gz").read_bytes())
    crd = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # C's is ten times faster
    (version,) = (v for v in crd["spec"]["versions"] if v["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"]["metadata"] = {"type": "object"}  # every Kubernetes object has it
    return jsonschema.validators.validator_for(schema)(schema)


def test_the_rayjob_is_one_of_kuberays(rayjob_validator):
    job = read("rayjob.yaml")
    rayjob_validator.validate(job)
    del job["spec"]["rayClusterSpec"]["workerGroupSpecs"][0]["groupName"]
    with pytest.raises(jsonschema.ValidationError, match="groupName"):
        rayjob_validator.validate(job)


def test_a_typo_in_a_pod_of_the_rayjob_would_be_found(rayjob_validator):
    job = read("rayjob.yaml")
    job["spec"]["rayClusterSpec"]["headGroupSpec"]["template"]["spec"]["containers"][0]["imagee"] = "x"
    with pytest.raises(jsonschema.ValidationError, match="imagee"):
        rayjob_validator.validate(job)


def test_the_rayjob_runs_a_command_that_there_is(compose):
    spec = read("rayjob.yaml")["spec"]
    python, script, *words = shlex.split(spec["entrypoint"])
    assert (python, script) == ("python", "run.py")
    settings = compose(words)
    assert settings["resume"] == "auto" and settings["cluster"].keys() == list_settings(ClusterSettings).keys()
    algo, env = settings["algo"]["name"], settings["env"]["name"]
    assert spec["metadata"] == {"job_name": f"{algo}/{env}", "algo": algo, "env": env, "commit": "FILL_COMMIT"}
    cluster = spec["rayClusterSpec"]
    assert cluster["authOptions"] == {"mode": "token"}
    (head,) = cluster["headGroupSpec"]["template"]["spec"]["containers"]
    assert {one["name"]: one["value"] for one in head["env"]} == PATIENCE
    assert "dashboard-host" not in cluster["headGroupSpec"]["rayStartParams"], "the operator could not reach it"
    assert cluster["rayVersion"] == importlib.metadata.version("ray")
    workers = cluster["workerGroupSpecs"][0]
    cpus = workers["minReplicas"] * int(workers["template"]["spec"]["containers"][0]["resources"]["limits"]["cpu"])
    assert settings["cluster"]["num_env_runners"] + settings["cluster"]["cpus"] <= cpus


@pytest.mark.parametrize("name", SERVICES)
def test_the_units_are_units(name, tmp_path):
    sections = unit(name)
    assert set(sections) == {"Unit", "Service", "Install"} and dict(sections["Service"])["Restart"] == "always"
    assert "--block" in dict(sections["Service"])["ExecStart"]
    configparser.ConfigParser(strict=False, interpolation=None).read(DEPLOY / f"{name}.service")
    if not shutil.which("systemd-analyze"):
        pytest.skip("no systemd-analyze on this machine: apt-get install systemd")
    text = (DEPLOY / f"{name}.service").read_text()
    text = (
        re.sub(r"ExecStart=\S+", "ExecStart=/bin/true", text)
        .replace("FILL_USER", "root")
        .replace("/FILL_CHECKOUT", "/")
    )
    (tmp_path / f"{name}.service").write_text(text)
    checked = subprocess.run(
        ["systemd-analyze", "verify", str(tmp_path / f"{name}.service")], capture_output=True, text=True
    )
    assert name not in checked.stderr, checked.stderr


def test_the_image_installs_what_requirements_pin_and_leaves_out_what_running_does_not_read():
    lines = (DEPLOY / "Dockerfile").read_text()
    assert (
        re.search(r"^FROM python:3\.1[0-3]-", lines, re.M) and "pip install --no-cache-dir -r requirements.txt" in lines
    )
    assert "GPL-2.0-only" in lines
    pinned = re.search(r"s/\^\\\((.*)\\\)\.\*/", lines)[1]
    assert (
        len(re.findall(f"^{pinned}".replace("[^ ;#]*", "[^ ;#]+"), (ROOT / "requirements.txt").read_text(), re.M)) == 1
    )
    ignored = {line.strip("/") for line in (ROOT / ".rayignore").read_text().splitlines() if line and line[0] != "#"}
    docker = {line.removeprefix("**/") for line in (ROOT / ".dockerignore").read_text().splitlines() if line[0] != "#"}
    assert docker == ignored
    left_behind = {line.strip("/") for line in (ROOT / ".gitignore").read_text().split() if line[0] == "/"}
    assert {name for name in left_behind if "*" not in name} <= ignored, "a run of W&B or MLflow is nothing to pass on"


def test_what_is_to_be_filled_in_says_so():
    for path in sorted(DEPLOY.iterdir()):
        if path.suffix in (".yaml", ".service"):
            assert "FILL_..." in path.read_text()[:1000], path


@pytest.fixture
def slurm_job(tmp_path):
    """deploy/slurm.sh with a python that waits for a signal and ends with a code, and a scontrol that takes note."""
    python, scontrol = tmp_path / ".venv/bin/python", tmp_path / "bin/scontrol"
    for path, code in (
        (python, 'trap "exit ${CODE:-1}" USR1 TERM\necho "$@" > words\nwhile :; do sleep 0.1; done'),
        (scontrol, 'echo "$@" > requeued'),
    ):
        path.parent.mkdir(parents=True)
        path.write_text(f"#!/bin/bash\n{code}\n")
        path.chmod(0o755)
    environment = {"PATH": f"{scontrol.parent}:{os.environ['PATH']}", "SLURM_SUBMIT_DIR": str(tmp_path)}
    environment |= {"SLURM_JOB_ID": "7", "USER": "me", "RAY_TMPDIR": str(tmp_path)}

    def run_until(number: int, code: int, *typed: str, **variables: str | None) -> tuple[int, list[str], bool]:
        typed = typed or ("env=pong", "seed=[1,2]", "output_dir=typed")
        words = ["bash", str(DEPLOY / "slurm.sh"), *typed]
        there = {name: value for name, value in (environment | variables).items() if value is not None}
        job = subprocess.Popen(words, env=there | {"CODE": str(code)}, cwd=tmp_path)
        while not (tmp_path / "words").exists() or not (tmp_path / "words").read_text():
            assert job.poll() is None
            time.sleep(0.05)
        job.send_signal(number)
        return job.wait(timeout=60), (tmp_path / "words").read_text().split(), (tmp_path / "requeued").exists()

    return run_until


@pytest.mark.parametrize(
    ("number", "code", "again"),
    [
        *((signal.SIGUSR1, 1, True), (signal.SIGUSR1, 0, False), (signal.SIGUSR1, 2, False)),
        (signal.SIGTERM, 1, False),
        (signal.SIGUSR1, 143, True),  # SLURM's own SIGTERM has ended it while it was writing its checkpoint
    ],
)
def test_slurm_requeues_a_run_that_it_warned_and_nothing_else(number, code, again, slurm_job):
    ended, words, requeued = slurm_job(number, code)
    assert (ended, requeued) == (code, again)
    assert words[0] == "run.py" and words[-3:] == ["env=pong", "seed=[1,2]", "output_dir=typed"]
    assert {"resume=auto", "trust=true"} <= set(words)
    settings, _ = run.read_experiment(words[1:])
    assert settings["output_dir"] == "typed", "what is typed wins over $OUTPUT"


def test_slurm_adds_to_a_command_only_what_it_takes(slurm_job, tmp_path):
    _, words, _ = slurm_job(signal.SIGTERM, 1, "-m", "algo=a2c,ppo", "env=pong")
    assert "resume=auto" not in words and "trust=true" in words, "a grid goes on by itself"
    assert run.main([*words[1:], "--cfg", "job"]) == 0
    (tmp_path / "words").unlink()
    _, words, _ = slurm_job(signal.SIGTERM, 1, "command=evaluate", "run=agents/assault_ppo")
    assert words == ["run.py", "command=evaluate", "run=agents/assault_ppo"]
    (tmp_path / "words").unlink()
    _, words, _ = slurm_job(signal.SIGTERM, 1, "resume=/shared/run", "trust=false")
    for key, value in (("resume", "/shared/run"), ("trust", "false")):
        assert [word for word in words if word.startswith(f"{key}=")][-1] == f"{key}={value}"
    assert not any(word.startswith("output_dir=") for word in words), "a resumed run stays where it is"
    (tmp_path / "words").unlink()
    _, words, _ = slurm_job(signal.SIGTERM, 1, "resume=latest", OUTPUT="/shared/o")
    assert "output_dir=/shared/o" in words and words[-1] == "resume=latest"


def test_slurm_requeues_a_run_that_ends_as_soon_as_it_is_warned_and_needs_no_name_of_a_user(slurm_job, tmp_path):
    python = tmp_path / ".venv/bin/python"
    for number in range(5):  # most of them end before the script looks again
        python.write_text('#!/bin/bash\ntrap "exit 1" TERM\necho "$RAY_TMPDIR" > words\nsleep 60 & wait\n')
        for name in ("words", "requeued"):
            (tmp_path / name).unlink(missing_ok=True)
        ended, words, requeued = slurm_job(signal.SIGUSR1, 1, USER=None, RAY_TMPDIR=None)
        assert (ended, requeued, words) == (1, True, [f"/tmp/{os.getuid()}"]), number


@pytest.mark.parametrize(
    ("of_python", "code"),
    [
        ("", 143),  # it has no handler yet
        ('trap "" USR1; trap "exit 1" TERM', 1),  # it does not train yet, and SIGUSR1 alone would be ignored
    ],
)
def test_slurm_requeues_a_run_that_it_warns_before_it_trains(of_python, code, slurm_job, tmp_path):
    (tmp_path / ".venv/bin/python").write_text(
        f'#!/bin/bash\n{of_python}\necho "$@" > words\nfor i in {{1..1000}}; do sleep 0.1; done\n'
    )
    assert slurm_job(signal.SIGUSR1, 1)[::2] == (code, True)


def test_slurm_requeues_a_job_that_it_warns_before_there_is_a_run(slurm_job, tmp_path):
    mkdir = tmp_path / "bin/mkdir"
    mkdir.write_text(f'#!/bin/bash\nkill -USR1 $PPID\nexec {shutil.which("mkdir")} "$@"\n')
    mkdir.chmod(0o755)
    (tmp_path / ".venv/bin/python").write_text('#!/bin/bash\ntrap "exit 1" TERM\necho > words\nsleep 60 & wait\n')
    (tmp_path / "words").write_text("there already: nothing waits for the run")
    ended, _, requeued = slurm_job(0, 1)
    assert ended in (1, 143) and requeued


@pytest.mark.parametrize(("left", "again"), [(100, False), (-1, True)], ids=["scancel", "the end of its time"])
def test_slurm_requeues_no_job_that_is_cancelled_after_its_warning(left, again, slurm_job, tmp_path):
    # The warning, and then scancel for the script.
    code = """trap 'trap "" TERM; sleep 0.5; kill -TERM $PPID; sleep 0.5; exit 1' TERM"""
    python = tmp_path / ".venv/bin/python"
    python.write_text(f"#!/bin/bash\n{code}\necho > words\nwhile :; do sleep 0.1; done\n")
    ends = int(time.time()) + left
    times = {"SLURM_JOB_START_TIME": str(ends - 600), "SLURM_JOB_END_TIME": str(ends)}
    assert slurm_job(signal.SIGUSR1, 1, **times)[::2] == (1, again)


@pytest.mark.parametrize(("limit", "code"), [(60, 2), (600, 1)])
def test_slurm_refuses_a_time_that_is_over_before_a_run_begins(limit, code, slurm_job, tmp_path, monkeypatch):
    (tmp_path / ".venv/bin/python").write_text("#!/bin/bash\nexit 1\n")
    (tmp_path / "words").write_text("there already: nothing waits for the run")
    assert slurm_job(0, 1, SLURM_JOB_START_TIME="1000", SLURM_JOB_END_TIME=str(1000 + limit))[::2] == (code, False)


def test_slurm_says_what_to_do_where_there_is_no_suite(slurm_job, tmp_path):
    (tmp_path / ".venv/bin/python").unlink()
    (tmp_path / "words").write_text("there already: nothing waits for the run")
    ended, _, requeued = slurm_job(0, 1)
    assert (ended, requeued) == (2, False)


def test_slurm_warns_the_script_and_not_the_processes_of_ray():
    lines = [line.split()[1] for line in (DEPLOY / "slurm.sh").read_text().splitlines() if line.startswith("#SBATCH")]
    assert {"--nodes=1", "--ntasks=1", "--requeue", "--signal=B:USR1@60", "--open-mode=append"} <= set(lines)
