"""The checks of a running cluster, before the run directory is created.

    cluster.address -> does a head answer? -> does the run fit? do all nodes have the code, CUDA and output_dir?

Each function named refuse_ raises a Mistake, one sentence, if the run cannot work on the cluster.
"""

import importlib
import os
import re
import socket
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import ray
from ray.exceptions import AuthenticationError, RayError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from cluster.placement import Node, format_resources, place_bundles
from rollouts.private_ray import ask_head_version, find_head_address
from settings.mistakes import Mistake, format_error
from settings.own_parts import describe_error

AUTO = "auto"  # cluster.address of the cluster on this machine, or of RAY_ADDRESS
ANSWER_TIMEOUT_S = 5  # of the first request to a head


def find_head(address: str) -> str:
    """Return host:port of the head at `cluster.address`.

    Raises:
        Mistake: `address` has another form, or is auto and no cluster runs on this machine.
    """
    named = os.environ.get("RAY_ADDRESS", "") if address == AUTO else address
    if "://" in named:
        raise Mistake(
            f"cluster.address={address}: {named} is not host:port of a cluster's head; from outside of the "
            "cluster, submit the run as a job with command=submit"
        )
    if named not in ("", AUTO) and not re.fullmatch(r".+:\d+", named):  # RAY_ADDRESS can be auto, too
        raise Mistake(f"cluster.address={address} is not local, auto or host:port of a cluster's head")
    try:
        return find_head_address(named or AUTO)
    except ConnectionError as error:
        raise Mistake(
            f"cluster.address={address}: no Ray cluster runs on this machine and RAY_ADDRESS is not set; start one "
            "with ray start --head, or give cluster.address=host:port"
        ) from error


def refuse_unreachable_head(address: str, head: str) -> None:
    """Refuse an address where no head of the same Ray version answers; Ray itself would retry for minutes."""
    try:
        there = ask_head_version(head, ANSWER_TIMEOUT_S)
    except AuthenticationError as error:  # this process has no token
        raise Mistake(explain_failed_connection(address, head, error)) from error
    except grpc.RpcError as error:
        call: Any = error  # the error of a gRPC call is a grpc.Call as well, with code() and details()
        if call.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise Mistake(explain_failed_connection(address, head, call.details())) from error
        why = call.details().rpartition("last error: ")[2][:200]
        raise Mistake(
            f"{name_address(address, head)}: no head of a cluster answers at {head} ({why}); start it there with ray "
            "start --head --port=<port>, and open this port to this machine; or name another with "
            "cluster.address=<host>:<port>"
        ) from error
    if there != ray.__version__:
        raise Mistake(
            explain_failed_connection(address, head, f"version mismatch: Ray {there} there, {ray.__version__} here")
        )


def name_address(address: str, head: str) -> str:
    """Return `cluster.address` for a message, with the head that was found where it names none."""
    if address != AUTO:
        return f"cluster.address={address}"
    return f"cluster.address=auto, which is {head} here (without RAY_ADDRESS, auto can find the Ray of another run)"


def explain_failed_connection(address: str, head: str, error: Any) -> str:
    """Return the sentence for an error of Ray, or its text, while it connects to `head`."""
    text, where = " ".join(str(error).split()), name_address(address, head)
    if re.search(r"authenticat|auth token|InvalidAuthToken", text, re.I):
        return (
            f"{where}: the cluster does not accept this process's token; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN to the token that ray get-auth-token prints on its head; or set RAY_AUTH_MODE=disabled if "
            "the cluster has no token"
        )
    if "version mismatch" in text.lower():
        return (
            f"{where}: the cluster has another version of Ray or Python ({text[:200]}); install the versions of "
            "requirements.txt on all machines"
        )
    return f"{where} cannot be joined: {text[:300]}"


def refuse_small_cluster(num_env_runners: int, bundles: list[dict[str, float]], found: list[Node]) -> None:
    """Refuse a run whose processes do not fit on the cluster, even if nothing else runs there.

    Args:
        num_env_runners: the setting `cluster.num_env_runners`, for the message.
        bundles: CPUs and GPUs of each process of the run.
        found: the nodes of the cluster.
    """
    if place_bundles(bundles, found) is None:
        asked = " + ".join(f"{number} x {each}" for each, number in Counter(map(format_resources, bundles)).items())
        there = ", ".join(f"{node.name}: {format_resources(node.has)}" for node in found)
        raise Mistake(
            f"cluster.num_env_runners={num_env_runners}: the processes of a run need "
            f"{asked}, and the cluster is too small for them ({there}); ask for fewer, or add a node"
        )


@ray.remote(num_cpus=0, max_retries=0)
def has_cuda_build() -> bool:
    """Return whether torch on the node that runs this function is a CUDA build."""
    from torch.backends import cuda  # here, because Ray cannot pickle it with the function

    return cuda.is_built()


def refuse_nodes_without_cuda(found: list[Node]) -> None:
    """Refuse a node with GPUs that torch cannot use: every process that Ray places there would fail."""
    for node, has_cuda in ask_nodes(has_cuda_build, [node for node in found if node.has["GPU"]]):
        if not has_cuda:
            raise Mistake(
                f"node {node.name} offers {node.has['GPU']:g} GPU, and torch there is a CPU build; install a CUDA "
                "build on it, or set cluster.gpus_per_learner=0 and cluster.gpus_per_runner=0"
            )


def ask_nodes(function: Any, found: list[Node], *arguments: str) -> Iterator[tuple[Node, Any]]:
    """Run a remote function on all nodes at once, and yield each node with its result.

    Raises:
        Mistake: a node cannot run the function.
    """
    strategies = [NodeAffinitySchedulingStrategy(node.id, soft=False) for node in found]
    results = [function.options(scheduling_strategy=strategy).remote(*arguments) for strategy in strategies]
    for node, result in zip(found, results, strict=True):
        try:
            yield node, ray.get(result)
        except RayError as error:
            raise Mistake(
                f"node {node.name} cannot run this suite ({format_error(error)}); install requirements.txt there"
            ) from error


@ray.remote(num_cpus=0, max_retries=0)
def explain_import(module: str) -> str:
    """Return why the node that runs this function cannot import a module; an empty text if it can."""
    try:
        importlib.import_module(module)
    except (Exception, SystemExit) as error:  # what a user's module runs may raise anything
        return describe_error(error)
    return ""


def refuse_nodes_without_modules(modules: dict[str, str], found: list[Node]) -> None:
    """Refuse a node that cannot import a user's own module: every process that Ray places there would fail.

    Args:
        modules: module -> the setting that names it.
        found: the nodes of the cluster.
    """
    for module, setting in modules.items():
        for node, why in ask_nodes(explain_import, found, module):
            if why:
                raise Mistake(
                    f"{setting}: node {node.name} cannot import {module} ({why}); --config-dir <its folder> sends it "
                    "there with what it needs in that folder, and packages have to be installed on all nodes"
                )


@ray.remote(num_cpus=0, max_retries=0)
def has_file(path: str) -> bool:
    """Return whether the node that runs this function has a file; so it also shows that the node has the code."""
    return Path(path).is_file()


def refuse_unshared_folder(output_dir: Path, found: list[Node]) -> None:
    """Refuse an `output_dir` that a node does not share with this machine: checkpoints from it would be lost."""
    probe = output_dir / f".shared_{os.getpid()}_{socket.gethostname()}"
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
    except OSError as error:
        raise Mistake(f"output_dir={output_dir} cannot be written ({error.strerror}); name another") from error
    try:
        for node, has_probe in ask_nodes(has_file, found, str(probe)):
            if not has_probe:
                raise Mistake(
                    f"output_dir={output_dir} is not shared: node {node.name} does not see files that are written "
                    "there from here; name a directory that all nodes share, such as one on NFS"
                )
    finally:
        probe.unlink()
