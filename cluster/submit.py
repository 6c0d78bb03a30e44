"""A command becomes a job on a Ray cluster: its code travels, and the dashboard shows what it is.

words -> checked here -> package, metadata -> JobSubmissionClient -> python run.py WORDS resume=auto, on the head
"""

import json
import logging
import os
import re
import shlex
import time
from typing import Any

import requests
from ray.job_submission import JobSubmissionClient

from cluster.package import MAX_JOB_BYTES, refuse_large_package
from environments.passwords import mask
from run_directory.outputs import compute_key
from run_directory.provenance import COMMIT, ROOT, commit_to_send
from settings.mistakes import Mistake

DASHBOARD_VARIABLE = "RAY_API_SERVER_ADDRESS"  # what `ray job` reads as well
ANSWER_TIMEOUT_S = 5  # a dashboard must answer in
READY_TIMEOUT_S = 60  # a head that has just been started takes jobs within
STOP_TIMEOUT_S = 120  # `ray job stop` gives a run so long for its last checkpoint; Ray's own default is 3


def submit_job(settings: dict, words: list[str]) -> str:
    """Submit a command as a job.

    Args:
        settings: what the words compose to, checked.
        words: the command line.

    Returns:
        Lines on what one can do with the job.

    Raises:
        Mistake: it would not run on a cluster, is too large, or the cluster does not take it.
    """
    if settings["cluster"]["address"] == "local":
        raise Mistake("command=submit: cluster=laptop is Ray of the run's own; add cluster=ray to run on a cluster")
    for word, shown in zip(words, mask(words), strict=True):
        if word != shown:
            raise Mistake(
                f"{shown}: the dashboard shows a job's command line to everybody, and a password is in it; type "
                f"{word.partition('=')[0]}='${{oc.env:STORAGE}}' and set the environment variable STORAGE here and "
                "where the head was started"
            )
    refuse_large_package(ROOT, MAX_JOB_BYTES)
    address = os.environ.get(DASHBOARD_VARIABLE, "http://127.0.0.1:8265")
    if "://" not in address:  # Ray would look for a cluster's head there, and for long
        raise Mistake(f"{DASHBOARD_VARIABLE}={address} is no address of a dashboard; give http://{address}")
    name = f"{settings['algo']['name']}/{settings['env']['name']}"
    job = f"{name.replace('/', '-')}-{compute_key(settings).removeprefix('auto_')}-{time.strftime('%m%d-%H%M%S')}"
    what = {
        "entrypoint": format_entrypoint(words),
        "submission_id": job,
        "metadata": describe_job(settings, name),
        "runtime_env": {"working_dir": str(ROOT), "env_vars": list_variables()},
    }
    try:
        post_job(address, what)
    except Exception as error:  # ConnectionError, RuntimeError, whatever the HTTP client raises
        raise Mistake(explain_failed_submission(address, error)) from error
    return "\n".join(
        [
            f"job {job} is on its way: python run.py {shlex.join(words)}",
            f"  follow it   ray job logs --address {address} --follow {job}",
            f"  stop it     ray job stop --address {address} {job}     (it writes a checkpoint; the same line goes on)",
            f"  watch it    {address}/#/jobs/{job}",
        ]
    )


def post_job(address: str, what: dict[str, Any]) -> None:
    """Submit a job to a dashboard, and wait for a head that has only just been started."""
    requests.head(address, timeout=ANSWER_TIMEOUT_S)  # Ray's own client would wait for ever
    logging.getLogger("ray").setLevel(logging.ERROR)  # every file it leaves behind
    client, end = JobSubmissionClient(address), time.monotonic() + READY_TIMEOUT_S
    while True:
        try:
            client.submit_job(**what)
            return
        except RuntimeError as error:
            if "No available agent" not in str(error) or time.monotonic() > end:
                raise
            time.sleep(1)


def add_resume_overrides(words: list[str]) -> list[str]:
    """Return the overrides of a job, which continues when it is submitted again, on whatever node it lands.

    Whoever submits the job has named its `output_dir`, and so trusts what is there.
    """
    resume = [] if any(word.startswith("resume=") for word in words) else ["resume=auto"]
    trust = [] if any(word.startswith("trust=") for word in words) else ["trust=true"]
    return [*words, *resume, *trust]


def format_entrypoint(words: list[str]) -> str:
    """Return the command line of a job."""
    return f"python run.py {shlex.join(add_resume_overrides(words))}"


def describe_job(settings: dict, name: str) -> dict[str, str]:
    """Return what the dashboard shows of a job."""
    return {
        "job_name": name,
        "algo": settings["algo"]["name"],
        "env": settings["env"]["name"],
        "seed": json.dumps(settings["seed"]),
        "commit": commit_to_send() or "unknown",
    }


def list_variables() -> dict[str, str]:
    """Return the environment variables of all processes of a job; each process sets torch's threads itself."""
    return {"RAY_JOB_STOP_WAIT_TIME_S": str(STOP_TIMEOUT_S), "OMP_NUM_THREADS": "1", COMMIT: commit_to_send()}


def explain_failed_submission(address: str, error: Any) -> str:
    """Return the sentence for what Ray says when it takes no job."""
    text = " ".join(str(error).split())
    if re.search(r"\b401\b|\b403\b|token|unauthor", text, re.I):
        return (
            f"{DASHBOARD_VARIABLE}={address}: the cluster does not accept this process's token; set "
            "RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN to the token that ray get-auth-token prints on its head"
        )
    if isinstance(error, requests.Timeout):
        text = f"no answer for {ANSWER_TIMEOUT_S:g} s"
    elif cause := re.search(r"\[Errno -?\d+\] ([^'\")]+)", text):  # at the end of a chain of HTTP's own
        text = cause.group(1)
    return (
        f"{DASHBOARD_VARIABLE}={address}: no Ray dashboard accepts the job there ({text[:200]}); on the head it is at "
        "port 8265; on another machine, reach it with ssh -L 8265:127.0.0.1:8265 HEAD"
    )
