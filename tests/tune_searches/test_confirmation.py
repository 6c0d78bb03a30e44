"""Who is trained again on which seeds, and what a failure means."""

import csv
import json
import math
import re

import pytest

from run_directory.layout import PROGRESS_JSON
from run_directory.manifest import write_manifest
from run_directory.searches import FAILURE
from tune_searches.confirmation import Confirmation
from tune_searches.study import TrialRecord

SCORES = {0: 10.0, 1: 40.0, 2: 30.0, 3: 20.0}


class EndedStudy:
    """Four trials that came to their budget, and one that was stopped early with the best score of all."""

    budget = 1000

    def __init__(self, settings: dict):
        self.settings = settings

    def list_records(self) -> list[TrialRecord]:
        ended = [TrialRecord(n, "COMPLETE", 1000, score, "", {"algo.lr": n}) for n, score in SCORES.items()]
        return [*ended, TrialRecord(4, "PRUNED", 111, 99.0, "", {})]


@pytest.fixture
def confirmation(compose, tmp_path):
    words = ("search.contenders=3", "search.finalists=2", "search.contender_seeds=2", "search.fresh_seeds=2")
    settings = compose(["tune_searches=cartpole_ppo", "seed=7", "search.seeds_per_trial=2", *words])
    return Confirmation(EndedStudy(settings), tmp_path)


def ended(confirmation: Confirmation, name: str, stage: str, seed: int, score: float, steps: int = 1000) -> None:
    """Leave what a training leaves; NaN: it failed on its way, with a checkpoint from before."""
    path = confirmation.plan_run(name, stage, seed, {}).path
    last = path / "checkpoints" / "last"
    last.mkdir(parents=True)
    if math.isnan(score):
        (path / FAILURE).write_text("gradient norm nan\n")
        score, steps = 5.0, 400
    progress = {"agent_steps": steps, "episodes": 100, "episode_return_mean": score}
    (last / PROGRESS_JSON).write_text(json.dumps(progress))
    write_manifest(last)


def test_no_seed_serves_twice(confirmation):
    trials, contenders, fresh = {7, 8}, set(confirmation.list_seeds("contender")), set(confirmation.list_seeds("fresh"))
    assert (contenders, fresh) == ({9, 10}, {11, 12}) and len(trials | contenders | fresh) == 6


def test_contenders_are_the_best_that_came_to_their_budget(confirmation):
    assert [row.number for row in confirmation.choose_contenders()] == [1, 2, 3]


def test_finalists_are_the_best_over_all_seeds_and_who_failed_comes_last(confirmation):
    for seed in (9, 10):
        ended(confirmation, "trial 1", "contender", seed, 20.0)  # (40 + 40 + 20 + 20) / 4 = 30
        ended(confirmation, "trial 3", "contender", seed, 50.0)  # 35
    ended(confirmation, "trial 2", "contender", 9, 1000.0)
    ended(confirmation, "trial 2", "contender", 10, math.nan)
    assert [row.number for row in confirmation.choose_finalists()] == [3, 1]
    names = [(attempt.name, attempt.seed, attempt.values) for attempt in confirmation.plan_runs("fresh")]
    each = [("trial 3", {"algo.lr": 3}), ("trial 1", {"algo.lr": 1}), ("default", {})]
    assert names == [(name, seed, values) for seed in (11, 12) for name, values in each]


def test_what_ended_or_failed_is_not_played_again_what_was_cut_short_is(confirmation):
    assert len(confirmation.list_unfinished_runs("contender")) == 6
    ended(confirmation, "trial 1", "contender", 9, 20.0)
    ended(confirmation, "trial 1", "contender", 10, math.nan)
    ended(confirmation, "trial 2", "contender", 9, 20.0, steps=900)
    left = [(attempt.name, attempt.seed) for attempt in confirmation.list_unfinished_runs("contender")]
    assert left == [("trial 2", 9), ("trial 3", 9), ("trial 2", 10), ("trial 3", 10)]
    assert re.search(r"^contender .*\b2 of 6\b", confirmation.describe_progress("contender"))


def test_a_failure_is_a_row_without_a_score(confirmation):
    ended(confirmation, "trial 1", "contender", 9, 20.0)
    ended(confirmation, "trial 1", "contender", 10, math.nan)
    confirmation.write_seeds()
    with open(confirmation.folder / "seeds.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["name"] == "trial 1" and row["stage"] == "contender"]
    assert [(row["seed"], row["score"]) for row in rows] == [("9", "20.0"), ("10", "")]
