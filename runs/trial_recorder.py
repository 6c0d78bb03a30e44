"""What ends a trial of a search, and what is written while it runs, as Ray Tune tells it.

SearchTrial -> rows of each seed, checkpoints -> SearchRecorder -> run directories, display, metrics
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import ray
from ray import tune

from cluster.resources import seeds_of
from run_directory import checkpoints
from run_directory.files import read_yaml
from run_directory.layout import CONFIG, seed_paths
from run_directory.row_writer import RowWriter
from runs.display import SearchDisplay
from runs.interrupt import Interrupt, stop_on_full_disk
from runs.metrics import Metrics
from runs.train import NodeLost, Patience, error_of, why


class TrialEnd(tune.Stopper):
    """A trial ends with its budget, with a failure, or because the user asked or the disk."""

    def __init__(self, budget: int, folder: Path):
        self.budget, self.folder = budget, folder
        self.drop_waiting = False  # set once nothing runs

    def __call__(self, trial_id: str, result: dict) -> bool:
        Interrupt.handle_report(trial_id, result)
        Interrupt.check_disk_space(self.folder)
        return Interrupt.stop_requested or result["agent_steps"] >= self.budget or bool(result["failure"])

    def stop_all(self) -> bool:
        return self.drop_waiting or Interrupt.stop_without_checkpoint


class SearchRecorder(tune.Callback):
    """Writes what trials report into their run directories, and shows it.

    Args:
        folder: of the search.
        failed: told the config of a trial whose process died too often, and why.
        end: told when the user's wish to stop leaves only trials that wait their turn.
        display: shows the rows.
        metrics: shows them to Prometheus.
    """

    def __init__(
        self, folder: Path, failed: Callable[[dict, str], None], end: TrialEnd, display: SearchDisplay, metrics: Metrics
    ):
        self.folder, self.failed, self.end, self.display, self.metrics = folder, failed, end, display, metrics
        self.writers: dict[str, RowWriter] = {}  # run directory -> what is written there
        self.said: set[tuple[str, str]] = set()  # trial, and what its processes had to say
        self.patience = Patience()

    def __getstate__(self) -> dict:
        return {}  # Tune pickles its callbacks for Tuner.restore, which is not used here

    def open_writer(self, trial: Any) -> RowWriter:
        """Return what writes the run directories of a trial; it is made when it is first asked for."""
        path = Path(trial.config["dir"])
        if str(path) not in self.writers:
            seeds = seeds_of(read_yaml(path / CONFIG))
            self.writers[str(path)] = RowWriter(seed_paths(path, seeds), path)
        return self.writers[str(path)]

    def on_trial_result(self, iteration, trials, trial, result, **info) -> None:
        for notice in result["notices"]:
            if (trial.config["label"], notice) not in self.said:
                self.said.add((trial.config["label"], notice))
                self.display.say(f"{trial.config['label']}: {notice}")
        for seed, row, workers, began_at in result["reports"]:
            with stop_on_full_disk(self.folder):
                if began_at is not None:
                    self.open_writer(trial).begin(seed, began_at)
                if result["failure"]:
                    continue
                self.open_writer(trial).add(seed, row, workers)
            run = Path(trial.config["dir"]).relative_to(self.folder.parent)  # assault_ppo/trials/0007
            self.metrics.report(str(run), seed, row)
        self.display.update_trial(trial.config["label"], result["agent_steps"], result["score"])

    def on_checkpoint(self, iteration, trials, trial, checkpoint, **info) -> None:
        if not trial.last_result.get("failure"):
            with stop_on_full_disk(self.folder):
                for seed, path in self.open_writer(trial).dirs.items():
                    checkpoints.keep_checkpoint(Path(checkpoint.path, f"seed_{seed}"), path)

    def on_trial_recover(self, iteration, trials, trial, **info) -> None:
        if not Interrupt.stop_if_disk_full(self.folder, error_of(trial)):
            self.display.say(f"{trial.config['label']}: a process died; starting again from the last checkpoint")

    def on_trial_error(self, iteration, trials, trial, **info) -> None:
        if not Interrupt.stop_if_disk_full(self.folder, error_of(trial)):
            self.failed(trial.config, why(trial))

    def on_step_end(self, iteration, trials, **info) -> None:
        for trial in trials:  # a last checkpoint may come after a trial's end, so its record outlives it for a while
            if trial.status in ("TERMINATED", "ERROR") and (writer := self.writers.get(trial.config["dir"])):
                with stop_on_full_disk(self.folder):
                    writer.close()
        waiting = all(trial.status != "RUNNING" for trial in trials)
        self.end.drop_waiting = Interrupt.stop_requested and waiting
        if self.patience.ends(trials):
            self.display.say("waiting until there is room for all processes of a trial; Ctrl-C ends the wait")
        if waiting and not any(node["Alive"] for node in ray.nodes()):
            raise NodeLost("Ray's own process on this machine died")
