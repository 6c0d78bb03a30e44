"""The submission of a command as a job on a Ray cluster, with its code and with metadata for the dashboard.

overrides -> check on this machine -> package, metadata -> JobSubmissionClient -> python run.py <overrides> resume=auto
"""

import json
import logging
import os
import re
import shlex
import time
from typing import Any
from urllib.parse import urlparse

import requests
from ray.job_submission import JobSubmissionClient

from cluster.package import MAX_JOB_BYTES, pack_code, place_own_files
from environments.passwords import mask_passwords
from run_directory.outputs import compute_key
from run_directory.provenance import COMMIT, describe_commit
from settings.mistakes import Mistake, resolve_path

DASHBOARD_VARIABLE = "RAY_API_SERVER_ADDRESS"  # `ray job` reads this environment variable, too
ANSWER_TIMEOUT_S = 5  # of the first request to a dashboard
READY_TIMEOUT_S = 60  # of a head that has just been started, until it accepts jobs
STOP_TIMEOUT_S = 120  # from `ray job stop` to the kill, for the last checkpoint; Ray's default is 3


def submit_job(settings: dict, words: list[str], grid: str | None = None) -> str:
    """Submit a command as a job.

    Args:
        settings: the checked settings, composed from the overrides; of a grid, those of one arm.
        words: the overrides of the command line.
        grid: the name of the grid that the overrides make with -m; None: they make none.

    Returns:
        Lines with the commands that follow, stop and watch the job.

    Raises:
        Mistake: the settings are not those of a cluster, a password is in the overrides, the code is too large, or the
            cluster does not accept the job.
    """
    if settings["cluster"]["address"] == "local":
        raise Mistake("command=submit: cluster=laptop runs on this machine only; add cluster=ray to run on a cluster")
    for word, shown in zip(words, mask_passwords(words), strict=True):
        if word != shown:
            raise Mistake(
                f"{shown}: the dashboard shows a job's command line to everybody, and a password is in it; type "
                f"{word.partition('=')[0]}='${{oc.env:STORAGE}}' and set the environment variable STORAGE here and "
                "where the head was started"
            )
    address = (os.environ.get(DASHBOARD_VARIABLE) or "http://127.0.0.1:8265").rstrip("/")
    if "://" not in address:  # Ray would take it for a cluster's head, and search long
        raise Mistake(f"{DASHBOARD_VARIABLE}={address} is no URL of a dashboard; set it to http://{address}")
    name = f"grid/{grid}" if grid else f"{settings['algo']['name']}/{settings['env']['name']}"
    key = "" if grid else f"-{compute_key(settings).removeprefix('auto_')}"
    job = f"{name.replace('/', '-')}{key}-{time.strftime('%m%d-%H%M%S')}"
    moved, own = place_own_files([make_absolute(word, settings["pretrained"]) for word in words])
    with pack_code(own, MAX_JOB_BYTES) as code:
        job_request = {
            "entrypoint": format_entrypoint(moved, is_grid=grid is not None),
            "submission_id": job,
            "metadata": describe_job(settings, name, is_grid=grid is not None),
            "runtime_env": code | {"env_vars": list_variables() | code.get("env_vars", {})},
        }
        try:
            post_job(address, job_request)
        except Exception as error:  # ConnectionError, RuntimeError and exceptions of the HTTP client
            raise Mistake(explain_failed_submission(address, error)) from error
    typed = shlex.join(["-m", *words] if grid else words)
    return "\n".join(
        [
            f"job {job} is submitted: python run.py {typed}",
            f"  follow it   ray job logs --address {address} --follow {job}",
            f"  stop it     ray job stop --address {address} {job}     (after a checkpoint; the same line continues)",
            f"  watch it    {address}/#/jobs/{job}",
        ]
    )


def post_job(address: str, job_request: dict[str, Any]) -> None:
    """Submit a job to a dashboard; retry for READY_TIMEOUT_S while a new head does not accept jobs yet."""
    requests.head(address, timeout=ANSWER_TIMEOUT_S)  # Ray's client would wait without a timeout
    logging.getLogger("ray").setLevel(logging.ERROR)  # Ray logs each file that it excludes
    client, end = JobSubmissionClient(address), time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            client.submit_job(**job_request)
            return
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(1)


def make_absolute(word: str, pretrained: str | None) -> str:
    """Return an override with the path of a run that holds where the job runs, which is not where it was typed.

    Args:
        word: an override.
        pretrained: the checked setting, whose path holds anywhere: the agents of the suite travel with the job.
    """
    key, _, value = word.partition("=")
    if key == "pretrained" and pretrained:
        return f"{key}={pretrained}"
    return f"{key}={resolve_path(value, key)}" if key == "resume" and value not in ("", "auto", "latest") else word


def add_resume_overrides(words: list[str]) -> list[str]:
    """Return the overrides of a job, with resume=auto: a job that is submitted again resumes, on any node."""
    resume = [] if any(word.startswith("resume=") for word in words) else ["resume=auto"]
    return add_trust_override([*words, *resume])


def add_trust_override(words: list[str]) -> list[str]:
    """Return the overrides with trust=true added: the files in `output_dir` may be of another host than the job's, and
    who submits the job has chosen that directory."""
    return [*words, *([] if any(word.startswith("trust=") for word in words) else ["trust=true"])]


def format_entrypoint(words: list[str], is_grid: bool = False) -> str:
    """Return the command line of a job. A grid continues by itself, a run with resume=auto."""
    typed = ["-m", *add_trust_override(words)] if is_grid else add_resume_overrides(words)
    return f"python run.py {shlex.join(typed)}"


def describe_job(settings: dict, name: str, is_grid: bool = False) -> dict[str, str]:
    """Return the metadata of a job that the dashboard shows; of a grid without what may differ between its arms."""
    of_run = {} if is_grid else {"algo": settings["algo"]["name"], "env": settings["env"]["name"]}
    return {"job_name": name, **of_run, "seed": json.dumps(settings["seed"]), "commit": describe_commit() or "unknown"}


def list_variables() -> dict[str, str]:
    """Return the environment variables of all processes of a job; the number of torch's threads is set elsewhere."""
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_TIMEOUT_S), "OMP_NUM_THREADS": "1", COMMIT: describe_commit()}


def explain_failed_submission(address: str, error: Any) -> str:
    """Return the sentence for an error while a job is submitted to the dashboard at `address`."""
    text, proxy = " ".join(str(error).split()), ""
    if named := requests.utils.select_proxy(address, requests.utils.get_environ_proxies(address)):
        host = urlparse(address).hostname
        proxy = (
            f"; it was asked through the proxy {named}, which may be what refuses it, and no_proxy={host} leaves it out"
        )
    is_set = DASHBOARD_VARIABLE in os.environ
    where = f"{DASHBOARD_VARIABLE}={address}" if is_set else f"{address}, as {DASHBOARD_VARIABLE} is not set"
    if re.search(r"\b401\b|\b403\b|token|unauthor", text, re.I):
        return (
            f"{where}: the cluster does not accept this process's token; set "
            f"RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token that ray get-auth-token prints on its head{proxy}"
        )
    if isinstance(error, requests.Timeout):
        text = f"no answer for {ANSWER_TIMEOUT_S:g} s"
    elif cause := re.search(r"\[Errno -?\d+\] ([^'\")]+)", text):  # the cause, at the end of a long text
        text = cause.group(1)
    return (
        f"{where}: no Ray dashboard accepts the job there ({text[:200]}); on the head it is at "
        f"port 8265; on another machine, reach it with ssh -L 8265:127.0.0.1:8265 HEAD{proxy}"
    )
