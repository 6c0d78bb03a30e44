"""After the trials of a search: are the best of them any better than the settings the search began with?

    trials -> contenders, on more seeds -> finalists and the default settings, on fresh seeds -> seeds.csv

The best of many noisy scores is too good to be true, the more so the more there are (the winner's curse). So the best
trials are trained again, on seeds that no choice was made by; the default settings get the same seeds.
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
from tune_searches.study import Row, Study


class Attempt(NamedTuple):
    """One training."""

    name: str  # `default`, or `trial 7`
    stage: str
    seed: int
    path: Path  # run directory
    values: dict[str, Any]


class Confirmation:
    """Who is trained again, on which seeds, and what came of it.

    Args:
        study: of the search, all of whose trials have ended.
        folder: of the search.
    """

    def __init__(self, study: Study, folder: Path):
        self.study, self.folder, self.search = study, folder, study.settings["search"]
        self._scores: dict[Path, float] = {}  # of what has ended

    def seeds(self, stage: str) -> list[int]:
        """Those of a stage: no two stages share one, nor one with the trials."""
        first = self.study.settings["seed"] + self.search["seeds_per_trial"]
        more, fresh = self.search["contender_seeds"], self.search["fresh_seeds"]
        start, number = (first, more) if stage == "contender" else (first + more, fresh)
        return list(range(start, start + number))

    def contenders(self) -> list[Row]:
        """The trials with the best scores at the end of their budget; none of a population, whose settings changed."""
        if self.search["scheduler"] == "pbt":
            return []
        complete = [row for row in self.study.rows() if row.state == "COMPLETE"]
        return sorted(complete, key=lambda row: -row.score)[: self.search["contenders"]]

    def finalists(self) -> list[Row]:
        """The best contenders over all seeds so far; one that failed on a seed comes after all that did not."""

        def rank(row: Row) -> tuple[bool, float]:
            scores = self.scores(f"trial {row.number}", "contender")
            whole = [score for score in scores if not math.isnan(score)]
            mean = statistics.mean([row.score] * self.search["seeds_per_trial"] + whole)
            return len(whole) == len(scores), mean

        return sorted(self.contenders(), key=rank, reverse=True)[: self.search["finalists"]]

    def attempts(self, stage: str) -> list[Attempt]:
        """All trainings of a stage, seed by seed."""
        chosen = self.contenders() if stage == "contender" else self.finalists()
        named = {f"trial {row.number}": row.values for row in chosen}
        if stage == "fresh" and named:
            named[DEFAULT] = {}
        return [self.attempt(name, stage, seed, named[name]) for seed in self.seeds(stage) for name in named]

    def attempt(self, name: str, stage: str, seed: int, values: dict[str, Any]) -> Attempt:
        """One training, and where it is."""
        path = self.folder / stage / name.replace(" ", "_") / f"seed_{seed}"
        return Attempt(name, stage, seed, path, values)

    def left(self, stage: str) -> list[Attempt]:
        """Those that have not come to their end."""
        return [attempt for attempt in self.attempts(stage) if self.score(attempt.path) is None]

    def score(self, path: Path) -> float | None:
        """Of a run directory: None while its training has not ended, NaN where it failed."""
        if path not in self._scores:
            last = checkpoint_path(path, "last")
            if (path / FAILURE).exists():
                self._scores[path] = math.nan
            elif last.is_dir() and not find_damage(last):
                progress = read_totals(last)
                if progress["agent_steps"] >= self.study.budget and progress["episodes"] >= MIN_GAMES:
                    self._scores[path] = progress["episode_return_mean"]
        return self._scores.get(path)

    def scores(self, name: str, stage: str) -> list[float]:
        """Of all trainings of a name that have ended; NaN where one failed."""
        scores = [self.score(self.attempt(name, stage, seed, {}).path) for seed in self.seeds(stage)]
        return [score for score in scores if score is not None]

    def standing(self, stage: str) -> str:
        """`fresh seeds: 4 of 9 trainings`."""
        attempts = self.attempts(stage)
        return f"{stage} seeds: {len(attempts) - len(self.left(stage))} of {len(attempts)} trainings"

    def write(self) -> None:
        """Write seeds.csv: a row per training, without a score where it failed, the best finalist first."""
        rows = []
        for stage in STAGES:
            for attempt in self.attempts(stage):
                score = self.score(attempt.path)
                rows.append((attempt.name, stage, attempt.seed, "" if score is None or math.isnan(score) else score))
        write_table(self.folder / SEEDS_CSV, ("name", "stage", "seed", "score"), rows)
