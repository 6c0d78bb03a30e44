"""PPO on Assault on three hosts, and what goes wrong there: how long training stands still, and what is lost.

`pytest tests/cluster/test_faults.py -s` prints a line for each, which docs/faults.md is made of.
"""

import csv
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest
from lab import FIRST, HEAD, SECOND, SPARE, Lab, Watch, wait_for

from benchmarks import hosts
from run_directory.checkpoints import read_totals
from run_directory.manifest import find_damage
from tests.runs.tiny_runs import RESTARTED, starts_in

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(900),
    pytest.mark.skipif(hosts.explain_missing() is not None, reason=str(hosts.explain_missing())),
]
UPDATE = 4 * 32  # agent steps: num_envs x horizon of lab.WORDS
LEARNERS = "cluster.num_learners=2"
BOUND_S = 30.0  # that training may stand still, or as long as three starts of the run take where they take longer


@pytest.fixture
def lab(tmp_path):
    with Lab(tmp_path) as made:
        yield made


def bound_s(lab: Lab, least: float = BOUND_S) -> float:
    """How long training may stand still on this machine: it starts again within the time of three first starts."""
    return max(least, 3 * lab.start_s)


def tell(capsys, lab: Lab, watch: Watch, what: str, since: float) -> tuple[float, int]:
    """Wait until the run goes on as before; print and return how long it stood still, and the steps played again."""
    watch.goes_on(20)
    stall, lost = watch.stall_s(since), watch.lost(since)
    with capsys.disabled():
        print(f"\n{what}: {stall:.1f} s, {lost} agent steps again")
    watch.stop()
    assert not lab.ended()
    assert_whole_updates(lab.run_directory())
    return stall, lost


def assert_whole_updates(path: Path) -> None:
    """Every row is the next update, of as many samples as any other: none is missing, none twice."""
    with (path / "progress.csv").open(newline="") as file:
        steps = [int(float(row["agent_steps"])) for row in csv.DictReader(file) if None not in row.values()]
    assert steps == [UPDATE * (i + 1) for i in range(len(steps))]


def test_an_env_runner_is_killed_and_the_others_play_its_share(lab, capsys):
    watch = lab.run()
    at = time.monotonic()
    lab.process("VectorEnvRunner").kill()
    stall, lost = tell(capsys, lab, watch, "env runner killed", at)
    assert stall < bound_s(lab, 10) and lost == 0
    assert "1 of 4 env runners" in lab.printed.read_text()
    lab.process("VectorEnvRunner")


@pytest.mark.parametrize("words", [(), ("algo.overlap=true",)], ids=["waiting", "overlap"])
def test_a_node_with_env_runners_loses_its_power(words, lab, capsys):
    watch, trainer = lab.run(*words), lab.host_of("TrainingProcess").n
    at = time.monotonic()
    lab.net.hosts[FIRST + SECOND - trainer].switch_off()
    stall, lost = tell(capsys, lab, watch, " ".join(["node of env runners off", *words]), at)
    assert stall < bound_s(lab) and lost == 0


def test_a_node_with_an_env_runner_loses_its_power_while_learners_have_processes_of_their_own(tmp_path, capsys):
    """They fetch rollouts from the node that plays them, and it has no learner: nobody but Ray can tell them."""
    with Lab(tmp_path, cpus=(7, 4)) as lab:  # the second has room for an env runner, and the first for all the others
        words = ("cluster.num_env_runners=2", "cluster.cpus_per_runner=4")
        watch = lab.run(LEARNERS, *words)
        assert lab.host_of("TrainingProcess").n == FIRST
        assert (
            len([p for p in lab.net.hosts[FIRST].list_processes() if "_WrappedExecutable" in " ".join(p.cmdline())])
            == 2
        )
        lab.process("VectorEnvRunner", SECOND)
        lab.start_node(SPARE, 4)
        wait_for(lambda: lab.nodes_alive() == 4)
        at = time.monotonic()
        lab.net.hosts[SECOND].switch_off()
        stall, lost = tell(capsys, lab, watch, "node of an env runner off, with two learners elsewhere", at)
        assert stall < bound_s(lab) and lost < 10_000


def test_the_node_of_the_training_process_loses_its_power(lab, capsys):
    watch = lab.run()
    at = time.monotonic()
    lab.host_of("TrainingProcess").switch_off()
    stall, lost = tell(capsys, lab, watch, "node of the training process off", at)
    assert stall < bound_s(lab) and 0 <= lost < 10_000  # 0: it died just after a checkpoint
    assert RESTARTED in lab.printed.read_text()


def test_the_training_process_is_killed(lab, capsys):
    watch = lab.run()
    at = time.monotonic()
    lab.process("TrainingProcess").kill()
    stall, lost = tell(capsys, lab, watch, "training process killed", at)
    assert stall < bound_s(lab) and 0 <= lost < 10_000  # 0: it died just after a checkpoint


def test_one_of_two_learners_is_killed(lab, capsys):
    watch = lab.run(LEARNERS)
    at = time.monotonic()
    lab.process("_WrappedExecutable").kill()  # the name of Ray's for what the dashboard shows as PPOLearner
    stall, lost = tell(capsys, lab, watch, "learner killed", at)
    assert stall < bound_s(lab) and 0 <= lost < 10_000  # 0: it died just after a checkpoint


def test_the_node_of_one_of_two_learners_loses_its_power(lab, capsys):
    """The other one waits for it in a collective, and would for half an hour."""
    watch, trainer = lab.run(LEARNERS), lab.host_of("TrainingProcess").n
    at = time.monotonic()
    lab.net.hosts[FIRST + SECOND - trainer].switch_off()
    stall, lost = tell(capsys, lab, watch, "node of a learner off", at)
    assert stall < bound_s(lab) and 0 <= lost < 10_000  # 0: it died just after a checkpoint


@pytest.mark.parametrize("whose", ["env runners", "the training process"])
def test_a_network_is_cut_and_mended(whose, lab, capsys):
    watch, trainer = lab.run(), lab.host_of("TrainingProcess").n
    at, host = time.monotonic(), lab.net.hosts[trainer if whose == "the training process" else FIRST + SECOND - trainer]
    host.cut_cable()
    time.sleep(30)
    host.mend_cable()
    stall, lost = tell(capsys, lab, watch, f"network of {whose} cut for 30 s", at)
    assert stall < bound_s(lab) and (lost > 0) == (whose == "the training process")
    wait_for(lambda: lab.nodes_alive() == 3)  # what was given up has started anew


def test_the_driver_is_killed_and_the_same_line_goes_on(lab, capsys):
    watch = lab.run()
    at = time.monotonic()
    lab.kill_driver()
    lab.start_driver()
    stall, lost = tell(capsys, lab, watch, "driver killed, and the same line again at once", at)
    assert stall < bound_s(lab) and 0 <= lost < 10_000  # 0: it died just after a checkpoint


def test_a_checkpoint_is_torn_half_way_and_the_one_before_takes_its_place(lab, capsys):
    watch = lab.run()
    at = time.monotonic()
    lab.kill_driver()
    last = lab.run_directory() / "checkpoints" / "last"
    (state,) = last.glob("learner_group/learner/state.pkl")
    half = state.read_bytes()[: state.stat().st_size // 2]
    state.unlink()  # not the file that other names link to
    state.write_bytes(half)
    assert find_damage(last) is not None
    lab.start_driver()
    stall, lost = tell(capsys, lab, watch, "driver killed and its checkpoint torn", at)
    assert stall < bound_s(lab) and lost > 0
    assert "(learner_group/learner/state.pkl has" in lab.printed.read_text()


@pytest.mark.skipif(shutil.which("redis-server") is None, reason="no Redis: apt-get install redis-server")
def test_the_head_loses_its_power_and_comes_back(tmp_path, capsys):
    with Lab(tmp_path, redis=True) as lab:
        watch = lab.run(on=FIRST)
        at = time.monotonic()
        lab.net.hosts[HEAD].switch_off()
        time.sleep(10)
        lab.start_head()
        stall, lost = tell(capsys, lab, watch, "head off for 10 s, with Redis", at)
        assert stall < bound_s(lab) and lost == 0


def test_the_head_is_lost_with_all_that_it_knew_and_the_same_line_goes_on(lab, capsys):
    """Without Redis its cluster ends, and the driver that it had: whoever sees to the head types the line again."""
    watch = lab.run()
    at = time.monotonic()
    lab.net.hosts[HEAD].switch_off()
    wait_for(lab.ended, 30)
    lab.start_head()
    wait_for(lambda: lab.nodes_alive() == 3)
    back = time.monotonic() - at
    lab.start_driver()
    stall, lost = tell(capsys, lab, watch, f"head lost without Redis, its nodes back after {back:.1f} s", at)
    assert stall < bound_s(lab, 120) and 0 < lost < 10_000
    assert starts_in(lab.printed.read_text()).keys() == {1}


def test_the_disk_is_full(tmp_path, capsys):
    outputs = tmp_path / "outputs"
    outputs.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300m", "tmpfs", str(outputs)], check=True)
    try:
        with Lab(tmp_path) as lab:
            watch = lab.run()
            at = time.monotonic()
            with (outputs / "fill").open("wb") as file:
                file.write(bytes(100 * 2**20))
            wait_for(lab.ended)
            watch.stop()
            path = lab.run_directory()
            last = path / "checkpoints" / "last"
            with capsys.disabled():
                print(f"\ndisk nearly full: stopped after {time.monotonic() - at:.1f} s with a checkpoint")
            printed = lab.printed.read_text()
            assert re.search(rf"^{path} .*\b\d+ MB\b", printed, re.MULTILINE)
            assert "Traceback" not in printed and f"resume={path}" in printed
            assert find_damage(last) is None
            assert read_totals(last)["agent_steps"] == watch.agent_steps()
            (outputs / "fill").unlink()
            lab.start_driver()
            wait_for(lambda: watch.agent_steps() > read_totals(last)["agent_steps"])
            assert_whole_updates(path)
    finally:
        subprocess.run(["umount", str(outputs)], check=True)
