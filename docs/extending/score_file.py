"""A callback that keeps the best score of each run in a file: callbacks=[score_file:ScoreFile]."""

import json
import math
from pathlib import Path
from typing import Any

from extensions.callbacks import Callback, Run


class ScoreFile(Callback):
    """Writes best_score.json into the run directory whenever the score of the last 100 games is the best so far."""

    def __init__(self, least: float = -math.inf):
        self.least = least
        self.best: dict[Path, float] = {}

    def on_start(self, run: Run) -> None:
        file = run.directory / "best_score.json"  # of a run that continues
        self.best[run.directory] = json.loads(file.read_text())["score"] if file.exists() else self.least

    def on_row(self, run: Run, row: dict[str, Any]) -> None:
        score = row.get("episode_return_mean", math.nan)
        if score > self.best[run.directory]:  # no number is above NaN, the score before the first game has ended
            self.best[run.directory] = score
            text = json.dumps({"score": score, "agent_steps": row["agent_steps"]})
            (run.directory / "best_score.part").write_text(text)  # a kill meanwhile leaves the old file whole
            (run.directory / "best_score.part").replace(run.directory / "best_score.json")

    def on_end(self, run: Run, failure: str | None) -> None:
        print(f"{run.label}: {failure or 'ended'}, best score {self.best[run.directory]:.1f}")
