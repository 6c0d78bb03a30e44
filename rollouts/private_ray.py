"""Every private name of Ray that the suite uses; no other file may use one, and tests/rollouts/test_private_ray.py
checks that each still is what is expected of it here.

A private name can change with any release of Ray. This file lies in rollouts/ because that is the lowest room that
needs one: all rooms above may import it. Names are imported where they are used, so that an env runner, which needs
one of them, does not import Ray Tune. Our subclasses of RLlib's learners and env runners inherit some private names
more, which the same tests hold.
"""

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

# A cluster and its driver ---------------------------------------------------------------------------------------------


def find_head_address(address: str) -> str:
    """Return host:port of the head that an address means: `auto` is the cluster that runs on this machine.

    Raises:
        ConnectionError: no cluster runs on this machine.
    """
    from ray._private.services import canonicalize_bootstrap_address

    return str(canonicalize_bootstrap_address(address))


def ask_head_version(head: str, timeout_s: float) -> str:
    """Ask a head for its version of Ray, without a driver and without an http_proxy.

    Args:
        head: host:port.
        timeout_s: seconds in which it must answer.

    Raises:
        AuthenticationError: this process has no token.
        grpc.RpcError: it does not answer, or does not take the token.
    """
    from ray._private.grpc_utils import init_grpc_channel
    from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
    from ray.core.generated.gcs_service_pb2 import CheckAliveRequest  # pyright: ignore[reportAttributeAccessIssue]
    from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub

    channel: Any = init_grpc_channel(head, GLOBAL_GRPC_OPTIONS)
    try:
        return NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=timeout_s).ray_version
    finally:
        channel.close()


def change_command_line(change: Callable[[str], str]) -> None:
    """Change the command line that Ray shows of this driver in its dashboard."""
    from ray._private import utils

    line = change(utils.get_entrypoint_name())
    utils.get_entrypoint_name = lambda: line


def find_owner_node(ref: Any) -> str:
    """Return the id of the node whose process owns an object, which is lost with it; asks no other process."""
    from ray.core.generated.common_pb2 import Address  # pyright: ignore[reportAttributeAccessIssue]

    return Address.FromString(ref.owner_address()).node_id.hex()


# Ray of a run's own ---------------------------------------------------------------------------------------------------


def use_loopback_addresses() -> None:
    """Let the Ray that starts next listen to this machine only, as on systems where Ray knows no clusters."""
    from ray._private import ray_constants

    # Ray has read the variable when it was imported; the processes that it starts read it again.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"], ray_constants.ENABLE_RAY_CLUSTER = "0", False


def find_temporary_folder() -> Path:
    """Return the folder in which Ray makes a folder for each session."""
    from ray._common.utils import get_default_ray_temp_dir

    return Path(get_default_ray_temp_dir())


def compute_store_bytes() -> int:
    """Return the bytes that Ray would give its object store on this machine."""
    from ray._private.utils import estimate_available_memory, resolve_object_store_memory

    return resolve_object_store_memory(estimate_available_memory())


def end_processes_with_driver(kill: Callable[[Callable[[], None], list[int]], None]) -> None:
    """Let the next `ray.shutdown` kill the processes of this driver's own Ray at once, and what these have started.

    Ray asks its processes with SIGTERM and kills each after a second. A driver that joined a cluster has no such
    processes, and nothing happens.

    Args:
        kill: called with a function that ends Ray's own processes, and their process ids.
    """
    from ray._private import worker

    node: Any = worker._global_node  # None in a driver that joined a cluster
    if node is None:
        return
    end = node.kill_all_processes

    def kill_all_processes(**_: Any) -> None:  # Ray calls it once the driver has left
        running = [one.process for kind in node.all_processes.values() for one in kind if one.process.poll() is None]
        kill(lambda: end(check_alive=False, allow_graceful=False), [process.pid for process in running])

    node.kill_all_processes = kill_all_processes


# Packages -------------------------------------------------------------------------------------------------------------


def list_packed_files(root: Path) -> list[Path]:
    """Return all files below a directory that Ray would pack: without those that .rayignore and .gitignore name."""
    from ray._private.ray_constants import RAY_RUNTIME_ENV_IGNORE_GITIGNORE
    from ray._private.runtime_env.packaging import _dir_travel

    files: list[Path] = []

    def add(path: Path) -> None:
        if path.is_file():
            files.append(path)

    gitignore = os.environ.get(RAY_RUNTIME_ENV_IGNORE_GITIGNORE, "0") != "1"
    _dir_travel(root, [], add, include_gitignore=gitignore, logger=logging.getLogger(__name__))
    return files


def get_package_limit() -> int:
    """Return the bytes that a driver's package may have."""
    from ray._private.runtime_env.packaging import GCS_STORAGE_MAX_SIZE

    return GCS_STORAGE_MAX_SIZE


# Ray Tune -------------------------------------------------------------------------------------------------------------


def disable_tune_signals() -> None:
    """Keep Tune from handling SIGINT and SIGUSR1, which it answers by ending a run without a checkpoint."""
    from ray.tune import tune

    tune._setup_signal_catching = threading.Event  # Tune waits for an event that never comes


def forget_handled_results() -> None:
    """Let go of each result of a trial once it is handled. Tune keeps them all until the trial ends."""
    from ray.air.execution._internal import RayActorManager
    from ray.tune.execution import tune_controller

    class ForgetfulManager(RayActorManager):
        def next(self, timeout: int | float | None = None) -> bool:
            handled = super().next(timeout)
            waiting = self._actor_task_events.get_futures()
            for futures in self._tracked_actors_to_task_futures.values():
                futures.intersection_update(waiting)
            return handled

    tune_controller.RayActorManager = ForgetfulManager


def get_trial_storage(trainable: Any) -> Any:
    """Return where Tune keeps the checkpoints of a Trainable, for Algorithms that it is made of."""
    return trainable._storage


# RLlib ----------------------------------------------------------------------------------------------------------------


def list_env_runner_actors(group: Any) -> dict[int, Any]:
    """Return the remote env runners of an EnvRunnerGroup by number from 1, lost ones included."""
    return group._worker_manager.actors()


def list_learner_actors(group: Any) -> Any:
    """Return the remote learners of a LearnerGroup."""
    return group._workers


def end_learners(group: Any) -> None:
    """End the remote learners of a LearnerGroup at once, whatever they wait for."""
    group._backend_executor.shutdown(graceful_termination=False)


def get_local_learner(group: Any) -> Any:
    """Return the learner of a LearnerGroup in this process; None where all are remote."""
    return group._learner


def get_weights_number(group: Any) -> int:
    """Return how often the weights of a LearnerGroup's learner in this process have changed.

    RLlib compares this number before it sends weights.
    """
    return group._learner._weights_seq_no
