"""Ray for a run: one of its own on this machine, or a cluster that runs already.

    cluster.address -> connect -> does it fit? do all nodes have the code and output_dir? -> the run

Everything that cannot work there is said in one sentence before the run directory is made.
"""

import logging
import os
import re
import shutil
import signal
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import psutil
import ray
from ray._common.utils import get_default_ray_temp_dir
from ray._private import ray_constants, utils, worker
from ray._private.grpc_utils import init_grpc_channel
from ray._private.ray_constants import GLOBAL_GRPC_OPTIONS
from ray._private.services import canonicalize_bootstrap_address
from ray._private.utils import estimate_available_memory, resolve_object_store_memory
from ray.core.generated.gcs_service_pb2 import CheckAliveRequest  # pyright: ignore[reportAttributeAccessIssue]
from ray.core.generated.gcs_service_pb2_grpc import NodeInfoGcsServiceStub
from ray.exceptions import AuthenticationError, RayError
from ray.tune import tune
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from environments.machine import memory_bytes, num_cpus, shared_memory_bytes
from environments.passwords import mask
from run_directory.provenance import ROOT
from runs.build import bundles_of
from runs.interrupt import ENDS, ROOM_MB, Interrupt, heard, kill, signals_blocked_below
from runs.package import DRIVER_BYTES, refuse_too_large
from runs.placement import KINDS, Node, placed, spelt
from runs.resources import gpus_of_run
from settings.mistakes import Mistake, counted, in_a_line

LOCAL, AUTO = "local", "auto"
SHARE_OF_MEMORY, SHARE_OF_SHM = 0.3, 0.95  # for Ray's object store, as Ray itself has it
LEAST_STORE = 2**28  # bytes of it in /dev/shm; where that has less, Ray keeps it in its temporary folder
ATTEMPTS, TOO_SLOW = 3, "timed out during startup"  # Ray gives its own processes half a minute
ANSWER_S = 5  # a head must answer in
JOB = "RAY_JOB_CONFIG_JSON_ENV_VAR"  # Ray sets it for the driver of a submitted job


@contextmanager
def ray_for(settings: dict) -> Iterator[None]:
    """Ray for as long as the run takes; signals ask the run to stop, or for a checkpoint (`runs/interrupt.py`).

    Raises:
        Mistake: `cluster.address` cannot be reached, or the run cannot work there.
    """
    if signal.getsignal(signal.SIGTERM) == Interrupt.ask:  # inside of another one
        yield
        return
    Interrupt.clear()
    prepare(settings)
    started = not ray.is_initialized()
    usr1 = Interrupt.ask if settings["on_usr1"] == "stop" else Interrupt.ask_for_checkpoint
    handlers: dict[signal.Signals, Any] = dict.fromkeys(heard(*ENDS), Interrupt.ask) | {signal.SIGUSR1: usr1}
    before = {number: signal.getsignal(number) for number in handlers}
    Interrupt.own_ray = started and settings["cluster"]["address"] == LOCAL
    if started:
        with signals_blocked_below():
            connect(settings)
    # After ray.init, whose own handler for SIGTERM would take their place.
    for number, handler in handlers.items():
        signal.signal(number, handler)
    try:
        yield
    finally:
        if started:
            shut_down()
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)


def shut_down() -> None:
    """Leave Ray; where it is the run's own, end it.

    Ray asks its processes with SIGTERM, which these do not hear (`signals_blocked_below`), and kills each after a
    second; here they are killed at once, with what they have started.
    """
    node: Any = worker._global_node  # None where it is somebody else's
    if node:
        end = node.kill_all_processes

        def kill_all_processes(**_: Any) -> None:  # once the driver has taken its leave
            pids = [
                one.process.pid for kind in node.all_processes.values() for one in kind if one.process.poll() is None
            ]
            below = [process for pid in pids for process in psutil.Process(pid).children(recursive=True)]
            end(check_alive=False, allow_graceful=False)
            kill(below)

        node.kill_all_processes = kill_all_processes
    ray.shutdown()


def prepare(settings: dict) -> None:
    """What Ray and Tune read from the environment when they start."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)  # it warns that this is the new API stack
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # a failure is told once, by the recorder or `conclude`
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # Ray prints those of processes that end with a run
    os.environ.setdefault("RAY_worker_niceness", "0")  # training is what this machine is for; Ray's default is 15
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # idle workers wake 100 times a second
    # Idle threads of OpenMP (libgomp's) spin for milliseconds on the cores that emulators want; this long, they last
    # from one operation of torch to the next. benchmarks/actor_critics.py measures the difference.
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    if settings["cluster"]["address"] == LOCAL and not settings["dashboard"]:
        os.environ.setdefault("RAY_enable_metrics_collection", "0")  # nobody would see them
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")  # snapshots for Tuner.restore, which is not used here
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the run directory has its own
    mask_command_line()
    # Tune's handlers for SIGINT and SIGUSR1 end a run without a checkpoint; in their place an event that never comes.
    tune._setup_signal_catching = threading.Event
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # Tune's tables, which verbose=0 does not silence


def mask_command_line() -> None:
    """Tell Ray the command line of this driver without passwords: its dashboard lists those of all drivers."""
    line = mask(utils.get_entrypoint_name())
    utils.get_entrypoint_name = lambda: line


def connect(settings: dict) -> None:
    """Start Ray on this machine, or join the cluster at `cluster.address`."""
    address = settings["cluster"]["address"]
    if address == LOCAL:
        start(settings)
        return
    head = head_of(address)
    refuse_unreachable(address, head)
    # A job's driver has its code from the job; anybody else's travels now, without what .rayignore names.
    code = {} if JOB in os.environ else {"working_dir": str(ROOT)}
    if code:
        refuse_too_large(ROOT, DRIVER_BYTES)
    try:
        context = ray.init(
            address=head,
            runtime_env={**code, "env_vars": {"GOMP_SPINCOUNT": os.environ["GOMP_SPINCOUNT"]}},
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
    except Exception as error:  # Ray raises all kinds: ConnectionError, RuntimeError, its own
        raise Mistake(refusal(address, head, error)) from error
    try:
        found = nodes()
        if not settings["cluster"]["grows"]:
            refuse_too_small(settings, found)
        refuse_unshared(Path(settings["output_dir"]), found)
        if gpus_of_run(settings):
            refuse_without_cuda(found)
    except BaseException:
        ray.shutdown()
        raise
    if JOB in os.environ:  # `ray job stop` deletes the job's directory while the last checkpoint is being written
        os.chdir(settings["output_dir"])
    all_of_them = {key: sum(node.has[key] for node in found) for key in KINDS}
    print(f"Ray cluster: {counted(len(found), 'node')} with {spelt(all_of_them)}; this driver runs {sys.executable}")
    if context.dashboard_url:
        print(f"Ray dashboard: http://{context.dashboard_url}{token_hint()}")
    sys.stdout.flush()


def start(settings: dict) -> None:
    """Start Ray on this machine; its processes listen to this machine only.

    Raises:
        Mistake: it cannot start here.
    """
    refuse_unwritable_places()
    # As on systems where Ray knows no clusters: addresses are 127.0.0.1. Ray reads it where it is imported.
    os.environ["RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER"], ray_constants.ENABLE_RAY_CLUSTER = "0", False
    print("starting Ray on this machine", flush=True)
    for left in reversed(range(ATTEMPTS)):
        try:
            context = ray.init(
                address="local",
                num_cpus=num_cpus(),
                object_store_memory=store_bytes(),
                include_dashboard=settings["dashboard"],
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
            break
        except Exception as error:  # Ray raises all kinds: OSError, ValueError, Exception
            ray.shutdown()
            if not (left and TOO_SLOW in str(error)):
                raise Mistake(why_not_here(error)) from error
            print("this machine is busy: Ray did not start within half a minute, trying again", flush=True)
    if settings["dashboard"]:
        print(f"Ray dashboard: http://{context.dashboard_url}{token_hint()}", flush=True)
    if shared_memory_bytes() < LEAST_STORE and len(bundles_of(settings)) > 1:
        print(
            f"/dev/shm has {shared_memory_bytes() >> 20} MB left, so what processes send each other is kept in "
            f"{temporary_folder()[1]}, which is slower; docker run --shm-size=2g, or an emptier /dev/shm, would help",
            flush=True,
        )


def store_bytes() -> int:
    """For Ray's object store on this machine: what Ray would take, or less where this process may use less."""
    own = resolve_object_store_memory(estimate_available_memory())  # Ray knows a container's limit, not those above it
    room = int(SHARE_OF_SHM * shared_memory_bytes())
    return min(own, int(SHARE_OF_MEMORY * memory_bytes()), *([room] if room >= LEAST_STORE else []))


def token_hint() -> str:
    """How to get the token that the dashboard asks for, unless authentication is off."""
    if os.environ.get("RAY_AUTH_MODE") == "disabled":
        return ""
    return f"  (it asks for a token: {Path(sys.executable).parent / 'ray'} get-auth-token prints it)"


def nodes() -> list[Node]:
    """All that are alive, the largest first."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    found = [Node(n["NodeID"], n["NodeName"], {key: n["Resources"].get(key, 0.0) for key in KINDS}) for n in alive]
    return sorted(found, key=lambda node: (-node.has["GPU"], -node.has["CPU"], node.id))


# What cannot work on this machine ------------------------------------------------------------------------------------


def temporary_folder() -> tuple[str, Path]:
    """What names the folder of Ray's sessions, and the folder."""
    variable = next((name for name in ("RAY_TMPDIR", "TMPDIR") if name in os.environ), "RAY_TMPDIR")
    return variable, Path(get_default_ray_temp_dir())


def refuse_unwritable_places() -> None:
    """What Ray would find out after half a minute, or while training.

    Raises:
        Mistake: shared memory cannot be used, or the disk of Ray's temporary folder is full.
    """
    shm = Path("/dev/shm")
    if sys.platform == "linux" and not os.access(shm, os.W_OK):
        why = "no permission to write" if shm.exists() else "it is not there"
        raise Mistake(f"/dev/shm, which Ray's processes share, cannot be used ({why}); mount a tmpfs there, mode 1777")
    variable, folder = temporary_folder()
    there = next(parent for parent in (folder, *folder.parents) if parent.exists())
    if (left := shutil.disk_usage(there).free >> 20) < ROOM_MB:
        raise Mistake(
            f"{folder} has {left} MB left, and Ray writes its session there; make room, or set {variable} to a short "
            "path on another disk"
        )


def why_not_here(error: Exception) -> str:
    """The sentence for what Ray raises when it cannot start on this machine."""
    variable, folder = temporary_folder()
    path = getattr(error, "filename", None) or ""
    if "AF_UNIX" in str(error):
        return (
            f"{variable}={folder.parent} is too long: Ray's sockets lie below it, and their paths have 107 bytes at "
            "most; set RAY_TMPDIR to a short path, such as /tmp"
        )
    if isinstance(error, OSError) and Path(path).is_relative_to(folder):
        return (
            f"Ray cannot write its temporary folder, {path} ({error.strerror}); set RAY_TMPDIR to a short path that is "
            "yours"
        )
    if isinstance(error, OSError) and ".ray" in Path(path).parts:
        return (
            f"Ray keeps its token in {path}, which cannot be written ({error.strerror}); set HOME to a directory that "
            "can, RAY_AUTH_TOKEN to a secret of yours, or RAY_AUTH_MODE=disabled where nobody else is on this machine"
        )
    if TOO_SLOW in str(error):
        return (
            f"Ray did not start within half a minute, {ATTEMPTS} times over: this machine is too busy; end something "
            f"else that runs on it. Ray's logs are in {folder}/session_latest/logs"
        )
    if "ray.init(memory" in str(error):
        return (
            f"this process may use {memory_bytes() / 2**30:.1f} GiB of memory, and Ray with its object store takes "
            "that alone; give the container or the job more, such as 4 GiB"
        )
    return f"Ray cannot start on this machine ({in_a_line(error)[:300]}); its logs are in {folder}/session_latest/logs"


# What cannot work -----------------------------------------------------------------------------------------------------


def head_of(address: str) -> str:
    """host:port of the head that `cluster.address` means.

    Raises:
        Mistake: it is no such address, or no cluster runs on this machine.
    """
    named = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    if "://" in named:
        raise Mistake(
            f"cluster.address={address}: {named} is no address of a cluster's head, host:port; from outside of the "
            "cluster, submit the run as a job with command=submit"
        )
    if named not in ("", AUTO) and not re.fullmatch(r".+:\d+", named):  # RAY_ADDRESS may say auto, too
        raise Mistake(f"cluster.address={address} is neither local, nor auto, nor host:port of a cluster's head")
    try:
        return str(canonicalize_bootstrap_address(named or AUTO))
    except ConnectionError as error:
        raise Mistake(
            f"cluster.address={address}: no Ray cluster runs on this machine and RAY_ADDRESS is not set; start one "
            "with ray start --head, or give cluster.address=host:port"
        ) from error


def refuse_unreachable(address: str, head: str) -> None:
    """A head that does not answer as one; Ray itself would try for minutes, and print what it tries."""
    channel: Any = init_grpc_channel(head, GLOBAL_GRPC_OPTIONS)  # not through an http_proxy
    try:
        there = NodeInfoGcsServiceStub(channel).CheckAlive(CheckAliveRequest(), timeout=ANSWER_S).ray_version
    except AuthenticationError as error:  # this process has none
        raise Mistake(refusal(address, head, error)) from error
    except grpc.RpcError as error:
        call: Any = error  # so grpc's own calls fail: with one that says why
        if call.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise Mistake(refusal(address, head, call.details())) from error
        why = call.details().rpartition("last error: ")[2][:200]
        raise Mistake(
            f"cluster.address={address}: {head} does not answer as the head of a cluster ({why}); is it there, ray "
            "start --head --port=..., and its port open to this machine?"
        ) from error
    finally:
        channel.close()
    if there != ray.__version__:
        raise Mistake(refusal(address, head, f"version mismatch: Ray {there} there, {ray.__version__} here"))


def refusal(address: str, head: str, said: Any) -> str:
    """The sentence for what Ray says when it cannot connect."""
    text = " ".join(str(said).split())
    where = f"cluster.address={address}"
    if address == AUTO:
        where += f", which is {head} here (without RAY_ADDRESS it may be another run's own Ray)"
    if re.search(r"authenticat|auth token|InvalidAuthToken", text, re.I):
        return (
            f"{where}: the cluster does not take this process's token; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN to what ray get-auth-token prints on its head, or RAY_AUTH_MODE=disabled where it has none"
        )
    if "version mismatch" in text.lower():
        return (
            f"{where}: Ray or Python is another one there ({text[:200]}); install on all machines "
            "what requirements.txt pins"
        )
    return f"{where} cannot be joined: {text[:300]}"


def refuse_too_small(settings: dict, found: list[Node]) -> None:
    """A run that the cluster could never place, however idle it is."""
    bundles = bundles_of(settings)
    if placed(bundles, found) is None:
        asked = " + ".join(f"{number} x {each}" for each, number in Counter(map(spelt, bundles)).items())
        there = ", ".join(f"{node.name}: {spelt(node.has)}" for node in found)
        raise Mistake(
            f"cluster.num_env_runners={settings['cluster']['num_env_runners']}: the processes of a run ask for "
            f"{asked}, and the cluster never has room for them all ({there}); ask for fewer, or add a node"
        )


@ray.remote(num_cpus=0, max_retries=0)
def computes_on_gpus() -> bool:
    """Whether the torch of a node was built for it."""
    from torch.backends import cuda  # here: of the node that asks, it would not travel

    return cuda.is_built()


def refuse_without_cuda(found: list[Node]) -> None:
    """A node with GPUs that torch cannot use: what Ray places there would die as often as it may."""
    for node, can in answers(computes_on_gpus, [node for node in found if node.has["GPU"]]):
        if not can:
            raise Mistake(
                f"node {node.name} offers {node.has['GPU']:g} GPU, and torch there is a CPU build; install a CUDA "
                "build on it, or set cluster.gpus_per_learner=0 and cluster.gpus_per_runner=0"
            )


def answers(question: Any, found: list[Node], *words: str) -> Iterator[tuple[Node, Any]]:
    """What a remote function returns on each node, which all are asked at once.

    Raises:
        Mistake: a node cannot run it.
    """
    on = [NodeAffinitySchedulingStrategy(node.id, soft=False) for node in found]
    asked = [question.options(scheduling_strategy=one).remote(*words) for one in on]
    for node, answer in zip(found, asked, strict=True):
        try:
            yield node, ray.get(answer)
        except RayError as error:
            raise Mistake(
                f"node {node.name} cannot run this suite ({in_a_line(error)}); install there what requirements.txt pins"
            ) from error


@ray.remote(num_cpus=0, max_retries=0)
def sees(path: str) -> bool:
    """Whether a node has a file; that it can be asked shows that it has the code."""
    return Path(path).is_file()


def refuse_unshared(output_dir: Path, found: list[Node]) -> None:
    """A node that does not see what another one writes: checkpoints would be where nobody looks."""
    probe = output_dir / f".shared_{os.getpid()}_{socket.gethostname()}"
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
    except OSError as error:
        raise Mistake(f"output_dir={output_dir} cannot be written ({error.strerror}); name another") from error
    try:
        for node, there in answers(sees, found, str(probe)):
            if not there:
                raise Mistake(
                    f"output_dir={output_dir} is not shared: node {node.name} does not see what is written there; name "
                    "a directory that all nodes have, on NFS or the like"
                )
    finally:
        probe.unlink()
