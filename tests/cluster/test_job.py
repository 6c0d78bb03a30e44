"""A job whose code no host of the cluster has: it travels from a laptop, with a token, and from there to each node."""

import re
import sys
from pathlib import Path

import pytest
from lab import ROOT, WORDS, Watch, wait_for

from benchmarks import hosts
from benchmarks.hosts import Network

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(hosts.explain_missing() is not None, reason=str(hosts.explain_missing())),
]


def test_a_job_brings_its_code_to_hosts_that_have_nothing_but_the_dependencies(tmp_path):
    outputs, log, said = tmp_path / "outputs", tmp_path / "log", tmp_path / "said"
    outputs.mkdir()
    with Network(hide=ROOT) as net:
        head, node, laptop = net.switch_on(1, hidden=True), net.switch_on(2, hidden=True), net.switch_on(3)
        with pytest.raises(RuntimeError, match="No such file"):
            head.run("ls", ROOT / "run.py", log=tmp_path / "hidden")
        head.start_ray(None, 1, log, "--dashboard-host=0.0.0.0")
        node.start_ray(f"{head.address}:6379", 2, log)
        words = [*(word for word in WORDS if word != "resume=auto"), f"output_dir={outputs}"]
        submit = [sys.executable, ROOT / "run.py", "command=submit", *words]
        dashboard = {"RAY_API_SERVER_ADDRESS": f"http://{head.address}:8265"}
        laptop.run(*submit, log=said, variables=dashboard)
        watch = Watch(outputs)
        wait_for(lambda: watch.agent_steps() > 1000)
        watch.stop()
        assert "ray job logs" in said.read_text()


def test_hosts_with_disks_of_their_own_are_refused(tmp_path):
    """/dev/shm is each host's own: what the driver writes there, the node does not see."""
    said = tmp_path / "said"
    with Network(hide=ROOT) as net:
        head, node = net.switch_on(1), net.switch_on(2, hidden=True)
        head.start_ray(None, 1, tmp_path / "log", "--include-dashboard=false")
        node.start_ray(f"{head.address}:6379", 4, tmp_path / "log")
        wait_for(lambda: (tmp_path / "log").read_text().count("Ray runtime started") == 2)
        words = [*WORDS, "output_dir=/dev/shm/runs", f"cluster.address={head.address}:6379"]
        command = [sys.executable, ROOT / "run.py", *words]
        assert head.start(*command, log=said, cwd=ROOT, variables={"PYTHONPATH": str(ROOT)}).wait(60) == 2
    sentence = said.read_text().strip().splitlines()[-1]
    assert re.search(r"^error: output_dir=/dev/shm/runs .*\bnode ", sentence), said.read_text()


@pytest.mark.parametrize("way", ["run", "grid"])
def test_a_folder_of_one_s_own_goes_with_a_job_to_every_node(way, tmp_path):
    """The folder lies in the checkout, which the hosts do not see, where .rayignore leaves it out of the package."""
    outputs, log, said = tmp_path / "outputs", tmp_path / "log", tmp_path / "said"
    outputs.mkdir()
    with Network(hide=ROOT) as net:
        head, node, laptop = net.switch_on(1, hidden=True), net.switch_on(2, hidden=True), net.switch_on(3)
        head.start_ray(None, 1, log, "--dashboard-host=0.0.0.0")
        node.start_ray(f"{head.address}:6379", 4, log)
        words = ["env=swing", "--config-dir", str(Path(__file__).parent / "own_folder"), "report_every=1"]
        words += ["cluster=ray", "cluster.num_env_runners=2", "cluster.cpus_per_runner=0.5", f"output_dir={outputs}"]
        if way == "grid":
            words = ["-m", "algo=a2c,ppo", "stop.agent_steps=4000", *words]
        submit = [sys.executable, ROOT / "run.py", "command=submit", *words]
        dashboard = {"RAY_API_SERVER_ADDRESS": f"http://{head.address}:8265"}
        laptop.run(*submit, log=said, variables=dashboard)
        if way == "run":
            watch = Watch(outputs)
            wait_for(lambda: watch.agent_steps() > 1000, timeout_s=480)
            watch.stop()
        else:
            wait_for(lambda: list(outputs.glob("grids/*/compare.html")), timeout_s=480)
            states = [line.split(",")[2] for line in next(outputs.glob("grids/*/arms.csv")).read_text().splitlines()]
            assert states == ["state", "COMPLETE", "COMPLETE"]
        assert "ray job logs" in said.read_text()
