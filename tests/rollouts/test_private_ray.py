"""Private names of Ray: each exists, takes what it is given here, and does what the suite relies on.

A failure here means that this version of Ray is another one than the suite was written for: mend
rollouts/private_ray.py, or install what requirements.txt pins.
"""

import inspect
import re
import threading
from pathlib import Path
from types import SimpleNamespace

import grpc
import psutil
import pytest
import ray
from ray import tune
from ray._private import ray_constants, utils, worker
from ray.exceptions import RayError
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.learner.learner import Learner
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner

from rollouts import private_ray


def parameters_of(function) -> set[str]:
    return set(inspect.signature(function).parameters)


# A cluster and its driver


def test_an_address_with_a_port_is_a_head_as_it_is(monkeypatch):
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    assert private_ray.find_head_address("10.0.0.1:6379") == "10.0.0.1:6379"


def test_auto_without_a_cluster_is_a_connection_error(monkeypatch):
    from ray._private import services

    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(services, "find_gcs_addresses", lambda: set())
    monkeypatch.setattr(ray._private.utils, "read_ray_address", lambda *_: None)
    with pytest.raises(ConnectionError):
        private_ray.find_head_address("auto")


def test_a_head_says_its_version_and_a_port_where_nobody_is_does_not(shared_ray):
    head = ray.get_runtime_context().gcs_address
    assert private_ray.ask_head_version(head, 10) == ray.__version__
    with pytest.raises(grpc.RpcError) as error:
        private_ray.ask_head_version("127.0.0.1:1", 2)
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE and "last error: " in error.value.details()


def test_ray_asks_for_the_command_line_where_it_is_changed(monkeypatch):
    monkeypatch.setattr(utils, "get_entrypoint_name", utils.get_entrypoint_name)
    private_ray.change_command_line(lambda line: line + " changed")
    assert utils.get_entrypoint_name().endswith(" changed")
    assert "get_entrypoint_name()" in inspect.getsource(worker), "ray.init no longer asks for the command line there"


def test_an_object_s_owner_is_on_the_node_of_the_process_that_put_it(shared_ray):
    assert private_ray.find_owner_node(ray.put(1)) == ray.get_runtime_context().get_node_id()


# Ray of a run's own


def test_ray_starts_at_loopback_addresses_where_it_knows_no_clusters(monkeypatch):
    from ray._private import services

    monkeypatch.setattr(worker, "_global_node", None)  # of other tests
    monkeypatch.setattr(ray_constants, "ENABLE_RAY_CLUSTER", True)
    monkeypatch.setenv("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "1")
    private_ray.use_loopback_addresses()
    assert ray_constants.ENABLE_RAY_CLUSTER is False
    assert services.get_node_ip_address() == "127.0.0.1"


def test_the_temporary_folder_follows_the_variables_that_messages_name(monkeypatch, tmp_path):
    monkeypatch.setenv("TMPDIR", str(tmp_path / "a"))
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    monkeypatch.setattr("tempfile.tempdir", None)
    assert private_ray.find_temporary_folder().parent == tmp_path / "a" or not (tmp_path / "a").exists()
    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path / "b"))
    assert private_ray.find_temporary_folder() == tmp_path / "b" / "ray"


def test_ray_s_object_store_is_a_number_of_bytes_within_the_memory():
    assert 0 < private_ray.compute_store_bytes() < psutil.virtual_memory().total


def test_the_processes_of_this_driver_s_own_ray_end_where_ray_would_end_them(monkeypatch):
    ended, killed = [], []
    process = SimpleNamespace(pid=17, poll=lambda: None)
    gone = SimpleNamespace(pid=18, poll=lambda: 0)
    node = SimpleNamespace(
        kill_all_processes=lambda **words: ended.append(words),
        all_processes={"raylet": [SimpleNamespace(process=process)], "gcs": [SimpleNamespace(process=gone)]},
    )
    monkeypatch.setattr(worker, "_global_node", node)
    private_ray.end_processes_with_driver(lambda end, pids: (end(), killed.append(pids)))
    assert not ended
    node.kill_all_processes(check_alive=False, allow_graceful=True)
    assert ended == [{"check_alive": False, "allow_graceful": False}] and killed == [[17]]
    monkeypatch.setattr(worker, "_global_node", None)
    private_ray.end_processes_with_driver(lambda end, pids: pytest.fail("it joined a cluster"))


def test_ray_shuts_its_own_node_down_by_the_method_that_is_replaced(shared_ray):
    node = worker._global_node
    assert {"check_alive", "allow_graceful"} <= parameters_of(node.kill_all_processes)
    pids = [one.process.pid for kind in node.all_processes.values() for one in kind]
    assert pids and all(map(psutil.pid_exists, pids))
    assert "_global_node.kill_all_processes(" in inspect.getsource(worker.shutdown)


# Packages


def test_ray_packs_what_its_ignore_files_do_not_name(tmp_path, monkeypatch):
    for name in ("run.py", "data/large", "room/.gitignore", "room/left_out"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("left_out\n")
    (tmp_path / ".rayignore").write_text("/data/\n")

    def packed() -> set[str]:
        return {str(path.relative_to(tmp_path)) for path in private_ray.list_packed_files(tmp_path)}

    monkeypatch.delenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", raising=False)
    assert packed() == {".rayignore", "run.py", "room/.gitignore"}
    monkeypatch.setenv("RAY_RUNTIME_ENV_IGNORE_GITIGNORE", "1")
    assert packed() == {".rayignore", "run.py", "room/.gitignore", "room/left_out"}


def test_a_driver_s_package_may_be_as_large_as_ray_checks():
    from ray._private.runtime_env import packaging

    assert private_ray.get_package_limit() >= 100 * 2**20
    assert "GCS_STORAGE_MAX_SIZE" in inspect.getsource(packaging._store_package_in_gcs)


# Ray Tune


def test_tune_sets_its_signal_handlers_where_they_are_replaced(monkeypatch):
    from ray.tune import tune as module

    monkeypatch.setattr(module, "_setup_signal_catching", module._setup_signal_catching)
    assert "_setup_signal_catching()" in inspect.getsource(module.run)
    private_ray.disable_tune_signals()
    assert isinstance(module._setup_signal_catching(), threading.Event)


def test_tune_lets_go_of_the_results_that_it_has_handled(shared_ray, monkeypatch):
    """Without this, the memory of a driver grows with each row."""
    from ray.air.execution import FixedResourceManager, ResourceRequest
    from ray.air.execution._internal import RayActorManager
    from ray.tune.execution import tune_controller

    class Counter:
        def count(self) -> bytes:
            return bytes(1000)

    def run(manager, calls=5) -> int:
        seen: list[bytes] = []
        actor = manager.add_actor(Counter, {}, ResourceRequest([{"CPU": 0.1}]))
        while not manager.is_actor_started(actor):
            manager.next(timeout=60)
        for _ in range(calls):
            manager.schedule_actor_task(actor, "count", on_result=lambda actor, result: seen.append(result))
            while manager.next(timeout=60) and len(seen) < calls and manager.num_actor_tasks:
                pass
        assert len(seen) == calls
        kept = sum(map(len, manager._tracked_actors_to_task_futures.values()))
        manager.remove_actor(actor, kill=True)
        manager.cleanup()
        return kept

    monkeypatch.setattr(tune_controller, "RayActorManager", RayActorManager)
    assert run(RayActorManager(FixedResourceManager())) == 5, "Ray has mended it: ours is not needed any longer"
    private_ray.forget_handled_results()
    private_ray.forget_handled_results()  # as where several runs follow one another
    assert run(tune_controller.RayActorManager(FixedResourceManager())) == 0


def test_a_trainable_keeps_the_storage_it_is_given():
    class Nothing(tune.Trainable):
        def setup(self, config):
            pass

    assert "storage" in parameters_of(tune.Trainable.__init__)
    assert private_ray.get_trial_storage(Nothing({}, storage=None)) is None


# RLlib


@pytest.fixture(scope="module")
def remote(shared_ray):
    """RLlib's PPO with an env runner and a learner in processes of their own."""
    config = PPOConfig().environment("CartPole-v1").env_runners(num_env_runners=1).learners(num_learners=1)
    algorithm = config.debugging(log_level="ERROR").build_algo()
    yield algorithm
    algorithm.stop()


@pytest.mark.end_to_end
def test_env_runners_and_learners_are_actors_that_answer(remote):
    runners = private_ray.list_env_runner_actors(remote.env_runner_group)
    assert list(runners) == [1] and ray.get(runners[1].ping.remote()) == "pong"
    (learner,) = private_ray.list_learner_actors(remote.learner_group)
    assert {"training_data", "timesteps"} <= parameters_of(Learner.update) and learner.update
    assert private_ray.get_local_learner(remote.learner_group) is None


@pytest.mark.end_to_end
def test_learners_that_are_ended_answer_no_more(remote):
    (learner,) = private_ray.list_learner_actors(remote.learner_group)
    private_ray.end_learners(remote.learner_group)
    with pytest.raises(RayError):
        ray.get(learner.get_state.remote(), timeout=120)


def test_a_learner_in_this_process_counts_its_weights_where_rllib_compares_them():
    group = SimpleNamespace(_learner=SimpleNamespace(_weights_seq_no=7))
    assert private_ray.get_weights_number(group) == 7 and private_ray.get_local_learner(group) is group._learner
    assert "self._learner = " in inspect.getsource(LearnerGroup.__init__)
    assert "_weights_seq_no" in inspect.getsource(Learner) and "_weights_seq_no" in inspect.getsource(Learner.get_state)


def test_what_our_env_runner_inherits_is_still_there():
    """rollouts/single_game_runner.py."""
    assert callable(SingleAgentEnvRunner._try_env_step)
    for name in ("_seed", "_needs_initial_reset", "_weights_seq_no"):
        assert f"self.{name}" in inspect.getsource(SingleAgentEnvRunner), name


PRIVATE = re.compile(
    r"\bray\._(?!_)|\bray\.core\.|\bgroup\._|\._(worker_manager|workers|backend_executor|global_node|storage)\b"
    r"|\b(_setup_signal_catching|get_entrypoint_name|_dir_travel)\b"
)


def test_no_other_file_uses_a_private_name_of_ray():
    """Private modules, and the private attributes that rollouts/private_ray.py reads."""
    root = Path(private_ray.__file__).parent.parent
    rooms = {path.parent.name for path in root.glob("*/__init__.py")} - {"benchmarks"}
    files = {root / "run.py", *(path for room in rooms for path in root.glob(f"{room}/*.py"))}
    lines = [line for path in files - {Path(private_ray.__file__)} for line in path.read_text().splitlines()]
    using = [line for line in lines if PRIVATE.search(line) and "logging.getLogger(" not in line]
    assert not using, "put it into rollouts/private_ray.py, with a test of what is expected of it"
