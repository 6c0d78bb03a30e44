"""The connection to Ray: to a local Ray that is started on this machine, or to a running cluster.

    cluster.address -> connect -> does it fit? do all nodes have the code and output_dir? -> the run

If the run cannot work there, a Mistake says so before the run directory is created.
"""

import logging
import os
import sys
from contextlib import nullcontext
from pathlib import Path

import ray

from cluster.checks import (
    explain_failed_connection,
    find_head,
    refuse_nodes_without_cuda,
    refuse_nodes_without_modules,
    refuse_small_cluster,
    refuse_unreachable_head,
    refuse_unshared_folder,
)
from cluster.local_ray import LOCAL, describe_token, start_ray
from cluster.package import MAX_DRIVER_BYTES, OWN_FOLDER, pack_code
from cluster.placement import KINDS, Node, format_resources
from cluster.plan import Plan
from environments.machine import JOB_VARIABLE
from environments.passwords import mask_passwords
from rollouts.private_ray import change_command_line, disable_tune_signals, forget_handled_results
from settings.mistakes import Mistake, format_count
from settings.own_parts import list_own_modules


def prepare_environment(settings: dict) -> None:
    """Set the environment variables that Ray and Ray Tune read when they start, and their log levels."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray.rllib").setLevel(logging.ERROR)  # RLlib warns about the new API stack
    logging.getLogger("ray.tune").setLevel(logging.CRITICAL)  # the recorder or `conclude` prints a failure
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # else printed for processes that end with a run
    os.environ.setdefault("RAY_worker_niceness", "0")  # Ray's default is 15, which slows training
    os.environ.setdefault("RAY_prestart_worker_first_driver", "0")  # idle workers wake 100 times a second
    # By default, idle threads of OpenMP (libgomp) spin for milliseconds on cores that emulators need. With this count
    # they spin from one operation of torch to the next. benchmarks/actor_critics.py measures the difference.
    os.environ.setdefault("GOMP_SPINCOUNT", "4000")
    if settings["cluster"]["address"] == LOCAL and not settings["dashboard"]:
        # Without a dashboard, nothing shows Ray's metrics, nor its list of all calls, which gcs_server keeps.
        os.environ.setdefault("RAY_enable_metrics_collection", "0")
        os.environ.setdefault("RAY_task_events_report_interval_ms", "0")
    os.environ.setdefault("RAY_task_events_max_num_task_in_gcs", "10000")  # Ray's default is 100,000
    os.environ.setdefault("TUNE_GLOBAL_CHECKPOINT_S", "86400")  # of snapshots for Tuner.restore, which is not used
    os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"  # the run directory has its own logs
    change_command_line(mask_passwords)  # Ray's dashboard shows the command lines of all drivers
    disable_tune_signals()
    forget_handled_results()
    os.environ["RAY_AIR_NEW_OUTPUT"] = "0"  # no tables of Tune, which appear with verbose=0 too


def connect_to_ray(plan: Plan) -> None:
    """Start Ray on this machine, or connect to the cluster at `cluster.address`.

    Args:
        plan: of the run, or of a trial of a search.

    Raises:
        Mistake: Ray cannot start, the cluster cannot be reached, or the run cannot work there.
    """
    settings, address = plan.settings, plan.settings["cluster"]["address"]
    if address == LOCAL:
        start_ray(settings, len(plan.bundles))
        return
    head = find_head(address)
    refuse_unreachable_head(address, head)
    # The driver of a job has its code from the job. Other drivers send it now, without the files that .rayignore names.
    own = {OWN_FOLDER: Path(settings["config_dir"])} if settings["config_dir"] else {}
    with nullcontext({}) if JOB_VARIABLE in os.environ else pack_code(own, MAX_DRIVER_BYTES) as code:
        variables = {"GOMP_SPINCOUNT": os.environ["GOMP_SPINCOUNT"]} | code.get("env_vars", {})
        try:
            context = ray.init(
                address=head,
                runtime_env=code | {"env_vars": variables},
                log_to_driver=False,
                logging_level=logging.ERROR,
            )
        except Exception as error:  # Ray raises ConnectionError, RuntimeError and its own exceptions
            raise Mistake(explain_failed_connection(address, head, error)) from error
    try:
        found = list_nodes()
        if not settings["cluster"]["grows"]:
            refuse_small_cluster(settings["cluster"]["num_env_runners"], plan.all_bundles, found)
        refuse_unshared_folder(Path(settings["output_dir"]), found)
        refuse_nodes_without_modules(list_own_modules(settings), found)
        if plan.gpus:
            refuse_nodes_without_cuda(found)
    except BaseException:
        ray.shutdown()
        raise
    if JOB_VARIABLE in os.environ:  # `ray job stop` deletes a job's directory before the last checkpoint is written
        os.chdir(settings["output_dir"])
    total = format_resources({key: sum(node.has[key] for node in found) for key in KINDS})
    print(f"Ray cluster: {format_count(len(found), 'node')} with {total}; this driver runs {sys.executable}")
    if context.dashboard_url:
        print(f"Ray dashboard: http://{context.dashboard_url}{describe_token()}")
    sys.stdout.flush()


def list_nodes() -> list[Node]:
    """Return all nodes of the cluster that are alive, sorted: the most GPUs first, then the most CPUs."""
    alive = [node for node in ray.nodes() if node["Alive"]]
    found = [Node(n["NodeID"], n["NodeName"], {key: n["Resources"].get(key, 0.0) for key in KINDS}) for n in alive]
    return sorted(found, key=lambda node: (-node.has["GPU"], -node.has["CPU"], node.id))
