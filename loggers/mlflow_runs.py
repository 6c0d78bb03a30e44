"""Runs at MLflow, written by the process of this logger: at a server, or in a store on this machine.

MLFLOW_TRACKING_URI names the place; MLflow itself chooses where it is not set. MLflow gives a run an id of its own, so
the id of the run directory is a tag, by which a run that continues is found again.
"""

import os
import time
from typing import Any

from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]
from mlflow.tracking import MlflowClient  # pyright: ignore[reportMissingImports]

ID_TAG = "rllib_atari_suite.id"
BATCH = {"metrics": 1000, "params": 100}  # the most that MLflow takes in one request
MAX_VALUE = 500  # characters of a parameter; the smallest limit among MLflow's stores


class MlflowRuns:
    """The open runs of this process; run directory -> MLflow's id."""

    def __init__(self):
        self.client = MlflowClient()
        self.client.search_experiments(max_results=1)  # makes the tables of a new store, which takes seconds
        self.runs: dict[str, str] = {}

    def open(
        self, run: str, id: str, name: str, group: str, tags: dict[str, str], config: dict[str, Any]
    ) -> dict[str, str]:
        """Open a run, or continue the one that has the id in its tags; return where it can be seen."""
        experiment_name = os.environ.get("MLFLOW_EXPERIMENT_NAME", group)
        experiment = self.find_experiment(experiment_name)
        found = self.client.search_runs([experiment], f"tags.`{ID_TAG}` = '{id}'", max_results=1)
        if found:
            opened = self.client.get_run(found[0].info.run_id)
            self.client.update_run(opened.info.run_id, status="RUNNING")
        else:
            opened = self.client.create_run(experiment, run_name=name, tags={ID_TAG: id})
        mlflow_id = opened.info.run_id
        for key, value in tags.items():
            self.client.set_tag(mlflow_id, key, value[:MAX_VALUE])
        self.write_params(mlflow_id, flatten(config), opened.data.params)
        self.runs[run] = mlflow_id
        return {"where": f"experiment {experiment_name}, run {name} at {self.client.tracking_uri}"}

    def find_experiment(self, name: str) -> str:
        """Return the id of an experiment, which is made where there is none of this name."""
        if found := self.client.get_experiment_by_name(name):
            return found.experiment_id
        try:
            return self.client.create_experiment(name)
        except Exception:  # another driver has made it in the meantime
            if found := self.client.get_experiment_by_name(name):
                return found.experiment_id
            raise

    def write_params(self, mlflow_id: str, config: dict[str, str], known: dict[str, str]) -> None:
        """Write the settings of a run; MLflow never changes a parameter, so a changed one becomes a tag."""
        new = [Param(key, value) for key, value in config.items() if key not in known]
        for start in range(0, len(new), BATCH["params"]):
            self.client.log_batch(mlflow_id, params=new[start : start + BATCH["params"]])
        for key, value in config.items():
            if known.get(key, value) != value:
                self.client.set_tag(mlflow_id, key, value)

    def log(self, run: str, rows: list[dict[str, float]]) -> None:
        """Write rows; each column is a metric, with the agent steps as its step."""
        now = int(time.time() * 1000)
        metrics = [
            Metric(name, value, now, int(row["agent_steps"]))
            for row in rows
            for name, value in row.items()
            if name != "agent_steps"
        ]
        for start in range(0, len(metrics), BATCH["metrics"]):
            self.client.log_batch(self.runs[run], metrics=metrics[start : start + BATCH["metrics"]])

    amend = log  # MLflow takes metrics at any step

    def add(self, run: str, values: dict[str, float], files: dict[str, list[str]], agent_steps: int | None) -> None:
        """Add results: values as metrics at the agent steps of the checkpoint, and files as artifacts."""
        now = int(time.time() * 1000)
        metrics = [Metric(name, value, now, agent_steps or 0) for name, value in values.items()]
        self.client.log_batch(self.runs[run], metrics=metrics)
        for kind, paths in files.items():
            for path in paths:
                self.client.log_artifact(self.runs[run], path, kind)

    def finish(self, run: str, failed: bool) -> None:
        """End a run."""
        self.client.set_terminated(self.runs.pop(run), "FAILED" if failed else "FINISHED")


def flatten(config: dict[str, Any], prefix: str = "") -> dict[str, str]:
    """Return nested settings as dotted keys with texts: `algo.lr` -> `0.00025`."""
    result: dict[str, str] = {}
    for key, value in config.items():
        if isinstance(value, dict):
            result |= flatten(value, f"{prefix}{key}.")
        else:
            result[prefix + key] = str(value)[:MAX_VALUE]
    return result
