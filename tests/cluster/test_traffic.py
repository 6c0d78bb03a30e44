"""What travels between hosts, counted in bytes on the cable of the one that plays."""

from pathlib import Path

import pytest

from benchmarks import hosts, traffic
from benchmarks.light_cluster import start_cluster
from cluster.dry_run import count_weight_bytes
from cluster.plan import make_plan
from runs.build import build_config

needs_hosts = pytest.mark.skipif(hosts.explain_missing() is not None, reason=str(hosts.explain_missing()))
UPDATES = 6


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """Env runners on the host that plays, 1 or 4 -> what its cable carried."""
    folder, found = tmp_path_factory.mktemp("traffic"), {}
    with start_cluster(2, folder, learner_alone=True) as machines:
        idle = traffic.measure_idle_traffic(machines[1])
        for n in traffic.COUNTS:
            (folder / f"{n}").mkdir()
            found[n] = traffic.measure_traffic(machines, folder / f"{n}", n, idle, UPDATES)
    return found


@needs_hosts
def test_nothing_is_left_of_a_host_that_was_interrupted_while_it_started(monkeypatch):
    call = hosts.run_command

    def interrupted(*words):
        if "route" in words:
            raise KeyboardInterrupt
        return call(*words)

    with hosts.Network() as network:
        monkeypatch.setattr(hosts, "run_command", interrupted)
        with pytest.raises(KeyboardInterrupt):
            network.switch_on(1)
        name = network.host_name(1)
        left = [Path("/run/netns", name), Path("/etc/netns", name), Path("/sys/class/net", f"{network.name}c1")]
        assert not any(path.exists() for path in left) and not network.hosts
    assert not Path("/sys/class/net", network.name).exists()


@needs_hosts
@pytest.mark.slow
@pytest.mark.parametrize("runners", traffic.COUNTS)
def test_a_rollout_holds_each_picture_once_and_little_travels_beside_it(counted, runners):
    most, found = traffic.compute_bound(traffic.HORIZON), counted[runners]
    restarts = 1.01  # rows that only restart a game carry a picture, and are no agent steps
    assert found["payload_per_agent_step"] <= restarts * most
    assert found["payload_per_agent_step"] < restarts * found["sent_per_agent_step"]
    assert found["sent_per_agent_step"] < 1.03 * restarts * most  # calls, headers, receipts


@needs_hosts
@pytest.mark.slow
def test_weights_reach_a_host_once_per_update_whatever_its_number_of_env_runners(counted, compose):
    one, four = (counted[n]["received_per_update"] for n in traffic.COUNTS)
    assert count_weight_bytes(build_config(make_plan(compose(["env=assault"])))) < one
    assert abs(four / one - 1) < 0.1
