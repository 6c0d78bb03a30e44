"""The process of a logger: it reads messages from its driver, and hands them to wandb or mlflow.

    python -m loggers.process wandb        lines of JSON on standard input, an answer for each on standard output

    {"do": "load", "run": ""}                       -> {}, once the package is imported
    {"do": "open", "run": "<run directory>", ...}   -> {"where": "<what a user can open>"}
    {"do": "log", "run": ..., "rows": [...]}        -> {}, or {"error": "<one line>"}
    {"do": "amend", "run": ..., "rows": [...]}      the same, with numbers that the last row was sent without
    {"do": "add", "run": ..., "values": ..., "files": ...}, {"do": "finish", "run": ..., "failed": ...}

A logger has a process of its own, because it may hang, crash, or block the end of a process for minutes while the
network is gone. When the driver ends, the process ends its runs and exits, within GRACE_S seconds.
"""

import json
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from typing import Any

from settings.mistakes import format_error

GRACE_S = 60.0  # after the driver's end
# Terminals and schedulers send these to all processes of a run; the driver decides, and the logger goes on till then.
DRIVERS_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2, signal.SIGXCPU)


def load_logger(name: str) -> Any:
    """Import a logger's package, and return the object that keeps its runs."""
    if name == "wandb":
        from loggers.wandb_runs import WandbRuns

        return WandbRuns()
    # A row that a server does not take within these is lost, so that the rows behind it do not wait for minutes.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
    from loggers.mlflow_runs import MlflowRuns

    return MlflowRuns()


def serve(name: str) -> None:
    """Answer the messages of the driver until it closes the pipe, then end the runs that are still open."""
    signal.pthread_sigmask(signal.SIG_BLOCK, DRIVERS_SIGNALS)  # what wandb starts inherits this
    os.nice(5)  # training first
    threading.Thread(target=exit_after_driver, args=(os.getppid(),), daemon=True).start()
    answers = os.fdopen(os.dup(1), "w")
    null = os.open(os.devnull, os.O_WRONLY)
    for number in (1, 2):  # what a logger prints would be taken for answers, or tear the display of the run
        os.dup2(null, number)
    logger: Any = None
    still_open: set[str] = set()
    for line in sys.stdin:
        message = json.loads(line)
        what, run = message.pop("do"), message["run"]
        try:
            logger = logger or load_logger(name)
            answer = {} if what == "load" else getattr(logger, what)(**message) or {}
        except (Exception, SystemExit) as error:
            answer = {"error": format_error(error)[:500]}
        if what == "open" and "error" not in answer:
            still_open.add(run)
        elif what == "finish":
            still_open.discard(run)
        print(json.dumps(answer), file=answers, flush=True)
    for run in still_open:  # the driver was killed
        with suppress(Exception):
            logger.finish(run, failed=True)
    os._exit(0)  # the handlers that wandb leaves for the end would wait for its server


def exit_after_driver(driver: int) -> None:
    """Exit GRACE_S seconds after the driver has ended, whatever the logger does meanwhile."""
    while os.getppid() == driver:
        time.sleep(1)
    time.sleep(GRACE_S)
    os._exit(1)


if __name__ == "__main__":
    serve(sys.argv[1])
