"""Confirmation: the best trials of a search and its default settings are trained again on seeds that are new to both.

    trials -> contenders, on more seeds -> finalists and the default settings, on fresh seeds -> seeds.csv

Scores are noisy, so the highest score of many trials is higher than what its settings reach on average; the more trials
there are, the larger this difference is (the winner's curse). A fair comparison with the default settings, with which
the search began, needs seeds that no trial was chosen by. Both are trained on the same fresh seeds.
"""

import math
import statistics
from pathlib import Path
from typing import Any, NamedTuple

from run_directory.checkpoints import MIN_GAMES, read_totals
from run_directory.layout import checkpoint_path
from run_directory.manifest import find_damage
from run_directory.searches import DEFAULT, FAILURE, SEEDS_CSV, STAGES
from run_directory.writing import write_table
from tune_searches.study import Study, TrialRecord


class ConfirmationRun(NamedTuple):
    """One training on one seed, of a trial's settings or of the default settings."""

    name: str  # `default`, or `trial 7`
    stage: str  # one of STAGES
    seed: int
    path: Path  # its run directory
    values: dict[str, Any]  # setting -> value; empty for the default settings


class Confirmation:
    """The trainings that follow the trials of a search, and their scores.

    Args:
        study: the study of the search; all its trials have ended.
        folder: the directory of the search.
    """

    def __init__(self, study: Study, folder: Path):
        self.study, self.folder, self.search = study, folder, study.settings["search"]
        self._scores: dict[Path, float] = {}  # run directory -> score, of the runs that have ended

    def list_seeds(self, stage: str) -> list[int]:
        """Return the seeds of a stage; no other stage and no trial uses one of them."""
        first = self.study.settings["seed"] + self.search["seeds_per_trial"]
        more, fresh = self.search["contender_seeds"], self.search["fresh_seeds"]
        start, number = (first, more) if stage == "contender" else (first + more, fresh)
        return list(range(start, start + number))

    def choose_contenders(self) -> list[TrialRecord]:
        """Return the complete trials with the best scores, the best first.

        A population has no contenders, because the settings of its trials have changed during training.
        """
        if self.search["scheduler"] == "pbt":
            return []
        complete = [record for record in self.study.list_records() if record.state == "COMPLETE"]
        return sorted(complete, key=lambda record: -record.score)[: self.search["contenders"]]

    def choose_finalists(self) -> list[TrialRecord]:
        """Return the best contenders over all seeds so far; contenders that failed on a seed come after the others."""

        def rank_contender(record: TrialRecord) -> tuple[bool, float]:
            scores = self.read_scores(f"trial {record.number}", "contender")
            finite = [score for score in scores if not math.isnan(score)]
            mean = statistics.mean([record.score] * self.search["seeds_per_trial"] + finite)
            return len(finite) == len(scores), mean

        return sorted(self.choose_contenders(), key=rank_contender, reverse=True)[: self.search["finalists"]]

    def plan_runs(self, stage: str) -> list[ConfirmationRun]:
        """Return all trainings of a stage, ordered by seed."""
        chosen = self.choose_contenders() if stage == "contender" else self.choose_finalists()
        named = {f"trial {record.number}": record.values for record in chosen}
        if stage == "fresh" and named:
            named[DEFAULT] = {}
        return [self.plan_run(name, stage, seed, named[name]) for seed in self.list_seeds(stage) for name in named]

    def plan_run(self, name: str, stage: str, seed: int, values: dict[str, Any]) -> ConfirmationRun:
        """Return one training with its run directory, which need not exist yet."""
        path = self.folder / stage / name.replace(" ", "_") / f"seed_{seed}"
        return ConfirmationRun(name, stage, seed, path, values)

    def list_unfinished_runs(self, stage: str) -> list[ConfirmationRun]:
        """Return the trainings of a stage that have not ended yet."""
        return [run for run in self.plan_runs(stage) if self.read_score(run.path) is None]

    def read_score(self, path: Path) -> float | None:
        """Return the score of a run directory: None while its training has not ended, NaN if the training failed."""
        if path not in self._scores:
            last = checkpoint_path(path, "last")
            if (path / FAILURE).exists():
                self._scores[path] = math.nan
            elif last.is_dir() and not find_damage(last):
                progress = read_totals(last)
                if progress["agent_steps"] >= self.study.budget and progress["episodes"] >= MIN_GAMES:
                    self._scores[path] = progress["episode_return_mean"]
        return self._scores.get(path)

    def read_scores(self, name: str, stage: str) -> list[float]:
        """Return the scores of all trainings of a name in a stage that have ended; NaN for a training that failed."""
        scores = [self.read_score(self.plan_run(name, stage, seed, {}).path) for seed in self.list_seeds(stage)]
        return [score for score in scores if score is not None]

    def describe_progress(self, stage: str) -> str:
        """Return how many trainings of a stage have ended: `fresh seeds: 4 of 9 trainings`."""
        runs = self.plan_runs(stage)
        return f"{stage} seeds: {len(runs) - len(self.list_unfinished_runs(stage))} of {len(runs)} trainings"

    def write_seeds(self) -> None:
        """Write seeds.csv: one row per training, the best finalist first; the score of a failed training is empty."""
        rows = []
        for stage in STAGES:
            for run in self.plan_runs(stage):
                score = self.read_score(run.path)
                rows.append((run.name, stage, run.seed, "" if score is None or math.isnan(score) else score))
        write_table(self.folder / SEEDS_CSV, ("name", "stage", "seed", "score"), rows)
