"""Runs at Weights & Biases, written by the process of this logger.

Rows are logged with their agent steps as W&B's step, which is the x axis of every chart; a step that W&B has already is
not taken again. A run that continues has the same id. Offline, W&B cannot know what it was sent before, and
`wandb sync` replaces a run by the newest file of its id: each file is therefore complete (`run_logs.py` sees to that).
"""

import os
from pathlib import Path
from typing import Any

import wandb  # pyright: ignore[reportMissingImports]

from loggers.check import get_wandb_mode

PROJECT = "rllib-atari-suite"  # WANDB_PROJECT names another
INIT_TIMEOUT_S = 30  # for the server's answer; W&B would wait 90


class WandbRuns:
    """The open runs of this process; run directory -> W&B's object."""

    def __init__(self):
        self.runs: dict[str, Any] = {}

    def open(
        self, run: str, id: str, name: str, group: str, tags: dict[str, str], config: dict[str, Any]
    ) -> dict[str, str]:
        """Open a run, which may have been there before; return where it can be seen."""
        opened = wandb.init(
            project=os.environ.get("WANDB_PROJECT", PROJECT),
            id=id,
            name=name,
            group=group,
            tags=[tags[key] for key in ("algo", "env", "label") if key in tags],
            config=tags | config,  # the settings themselves where both have a name
            dir=os.environ.get("WANDB_DIR", run),
            mode=get_wandb_mode(),
            resume=None if get_wandb_mode() == "offline" else "allow",
            allow_val_change=True,
            reinit="create_new",
            settings=wandb.Settings(
                console="off", silent=True, disable_git=True, x_disable_stats=True, init_timeout=INIT_TIMEOUT_S
            ),
        )
        opened.define_metric("*", step_metric="agent_steps")
        self.runs[run] = opened
        if get_wandb_mode() == "online":
            return {"where": opened.url}
        return {"where": "disabled" if get_wandb_mode() == "disabled" else f"files in {Path(opened.dir).parent}"}

    def log(self, run: str, rows: list[dict[str, float]]) -> None:
        """Hand rows to W&B, which sends them in a process of its own."""
        for row in rows:
            self.runs[run].log(row, step=int(row["agent_steps"]))

    def amend(self, run: str, rows: list[dict[str, float]]) -> None:
        """Hand W&B numbers of a row that it has; where the run was opened again, its step has been passed."""
        for row in rows:
            self.runs[run].log(row, step=max(int(row["agent_steps"]), self.runs[run].step))

    def add(self, run: str, values: dict[str, float], files: dict[str, list[str]], agent_steps: int | None) -> None:
        """Add results: values to the summary of a run, and files as artifacts, one for each kind."""
        self.runs[run].summary.update(values)
        for kind, paths in files.items():
            artifact = wandb.Artifact(f"{kind}-{self.runs[run].id}", kind)
            for path in paths:
                artifact.add_file(path)
            self.runs[run].log_artifact(artifact)

    def finish(self, run: str, failed: bool) -> None:
        """End a run, and wait until all of it has been sent."""
        self.runs.pop(run).finish(exit_code=int(failed))
