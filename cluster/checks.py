"""What cannot work on a cluster that runs already: each mistake is one sentence, before the run directory is made.

cluster.address -> does a head answer? -> does the run fit? do all nodes have the code, CUDA and output_dir?
"""

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

from cluster.placement import Node, placed, spelt
from rollouts.private_ray import ask_head_version, find_head_address
from settings.mistakes import Mistake, in_a_line

AUTO = "auto"  # cluster.address of the cluster on this machine, or of RAY_ADDRESS
ANSWER_TIMEOUT_S = 5  # a head must answer in


def find_head(address: str) -> str:
    """Return host:port of the head that `cluster.address` means.

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
        return find_head_address(named or AUTO)
    except ConnectionError as error:
        raise Mistake(
            f"cluster.address={address}: no Ray cluster runs on this machine and RAY_ADDRESS is not set; start one "
            "with ray start --head, or give cluster.address=host:port"
        ) from error


def refuse_unreachable_head(address: str, head: str) -> None:
    """Refuse an address where no head answers; Ray itself would try for minutes, and print what it tries."""
    try:
        there = ask_head_version(head, ANSWER_TIMEOUT_S)
    except AuthenticationError as error:  # this process has none
        raise Mistake(explain_failed_connection(address, head, error)) from error
    except grpc.RpcError as error:
        call: Any = error  # so grpc's own calls fail: with one that says why
        if call.code() == grpc.StatusCode.UNAUTHENTICATED:
            raise Mistake(explain_failed_connection(address, head, call.details())) from error
        why = call.details().rpartition("last error: ")[2][:200]
        raise Mistake(
            f"cluster.address={address}: {head} does not answer as the head of a cluster ({why}); is it there, ray "
            "start --head --port=..., and its port open to this machine?"
        ) from error
    if there != ray.__version__:
        raise Mistake(
            explain_failed_connection(address, head, f"version mismatch: Ray {there} there, {ray.__version__} here")
        )


def explain_failed_connection(address: str, head: str, said: Any) -> str:
    """Return the sentence for what Ray says when it cannot connect."""
    text = " ".join(str(said).split())
    where = f"cluster.address={address}"
    if address == AUTO:
        where += f", which is {head} here (without RAY_ADDRESS it may be another run's own Ray)"
    if re.search(r"authenticat|auth token|InvalidAuthToken", text, re.I):
        return (
            f"{where}: the cluster does not accept this process's token; set RAY_AUTH_MODE=token, and "
            "RAY_AUTH_TOKEN to what ray get-auth-token prints on its head, or RAY_AUTH_MODE=disabled where it has none"
        )
    if "version mismatch" in text.lower():
        return (
            f"{where}: Ray or Python is another one there ({text[:200]}); install on all machines "
            "what requirements.txt pins"
        )
    return f"{where} cannot be joined: {text[:300]}"


def refuse_small_cluster(num_env_runners: int, bundles: list[dict[str, float]], found: list[Node]) -> None:
    """Refuse a run that the cluster could never place, however idle it is.

    Args:
        num_env_runners: as `cluster.num_env_runners` has it.
        bundles: CPUs and GPUs of each process of the run.
        found: the nodes of the cluster.
    """
    if placed(bundles, found) is None:
        asked = " + ".join(f"{number} x {each}" for each, number in Counter(map(spelt, bundles)).items())
        there = ", ".join(f"{node.name}: {spelt(node.has)}" for node in found)
        raise Mistake(
            f"cluster.num_env_runners={num_env_runners}: the processes of a run ask for "
            f"{asked}, and the cluster never has room for them all ({there}); ask for fewer, or add a node"
        )


@ray.remote(num_cpus=0, max_retries=0)
def has_cuda_build() -> bool:
    """Return whether the torch of a node was built for CUDA."""
    from torch.backends import cuda  # here: of the node that asks, it would not travel

    return cuda.is_built()


def refuse_nodes_without_cuda(found: list[Node]) -> None:
    """Refuse a node with GPUs that torch cannot use: a process that Ray places there would die again and again."""
    for node, can in ask_nodes(has_cuda_build, [node for node in found if node.has["GPU"]]):
        if not can:
            raise Mistake(
                f"node {node.name} offers {node.has['GPU']:g} GPU, and torch there is a CPU build; install a CUDA "
                "build on it, or set cluster.gpus_per_learner=0 and cluster.gpus_per_runner=0"
            )


def ask_nodes(question: Any, found: list[Node], *words: str) -> Iterator[tuple[Node, Any]]:
    """Run a remote function on all nodes at once, and yield each node with what the function returns there.

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
def has_file(path: str) -> bool:
    """Return whether a node has a file; a node that can run this function has the code."""
    return Path(path).is_file()


def refuse_unshared_folder(output_dir: Path, found: list[Node]) -> None:
    """Refuse a node that does not see what other nodes write: its checkpoints would be lost."""
    probe = output_dir / f".shared_{os.getpid()}_{socket.gethostname()}"
    try:
        output_dir.mkdir(parents=True, exist_ok=True)
        probe.write_text("")
    except OSError as error:
        raise Mistake(f"output_dir={output_dir} cannot be written ({error.strerror}); name another") from error
    try:
        for node, there in ask_nodes(has_file, found, str(probe)):
            if not there:
                raise Mistake(
                    f"output_dir={output_dir} is not shared: node {node.name} does not see what is written there; name "
                    "a directory that all nodes have, on NFS or the like"
                )
    finally:
        probe.unlink()
