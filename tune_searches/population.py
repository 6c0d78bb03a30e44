"""Population-based training (Jaderberg et al. 2017, arXiv 1711.09846): settings change while trials train.

    all trials -> next share of the budget -> the worst go on from checkpoints of the best, with settings near theirs

In generations: no trial is compared with one that has trained longer, but for less than a rollout, and all there is to
know between two of them is in the storage and the run directories. (Ray Tune's PopulationBasedTraining compares trials
at whatever they last reported, perturbs beyond the ends of a range, and forgets its state with the driver.)
"""

import math
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import optuna

from run_directory import checkpoints
from run_directory.layout import seed_paths
from run_directory.searches import SCHEDULE_CSV, trial_path
from run_directory.writing import write_table
from runs.training_process import compute_score
from settings.mistakes import Mistake
from tune_searches.check import check_experiment
from tune_searches.sources import RunWriter
from tune_searches.space import Parameter, draw, with_values
from tune_searches.study import MAX_DRAWS, Study

QUARTER = 0.25  # of the population is replaced, and replaces
RESAMPLED = 0.25  # probability that a setting is drawn anew
FACTORS = (0.8, 1.2)  # else it is multiplied by one of these
DONE = "generations"  # attribute of the study


class Step(NamedTuple):
    """What one trial goes on with."""

    trial: int
    donor: int  # whose checkpoint
    values: dict[str, Any]


class Population:
    """The trials of a search with `search.scheduler=pbt`, all of them at once.

    Args:
        study: of the search.
        folder: of the search.
        writer: makes their run directories.

    Raises:
        Mistake: hardly anything in the space works.
    """

    def __init__(self, study: Study, folder: Path, writer: RunWriter):
        self.study, self.folder, self.writer = study, folder, writer
        self.generations = study.settings["search"]["generations"]
        self.seeds = study.seeds()
        self.values = dict(study.unfinished())  # number -> values, of all that have not failed
        while study.left():
            number, values = study.ask()
            self.values[number] = values
        if name_of(0) not in study.optuna.user_attrs:
            self.keep(0, [Step(number, number, values) for number, values in self.values.items()])
        self.write_schedule()  # a kill may have come before
        for number in list(self.values):
            try:
                self.rows(number)
            except Mistake as mistake:  # no checkpoint of it is whole
                study.tell(number, 0, math.nan, failure=str(mistake))
                del self.values[number]

    @property
    def done(self) -> int:
        """Generations that are over, copying included."""
        return self.study.optuna.user_attrs.get(DONE, 0)

    @property
    def milestone(self) -> int:
        """Agent steps at which the present generation ends."""
        return self.study.budget * (self.done + 1) // self.generations

    def left(self) -> list[tuple[int, dict[str, Any]]]:
        """Number and values of the trials that have not come to the milestone; the last is told by coming there."""
        last = self.milestone >= self.study.budget
        return [(n, v) for n, v in self.values.items() if last or self.rows(n)[0]["agent_steps"] < self.milestone]

    def rows(self, number: int) -> list[dict[str, float]]:
        """Where the newest checkpoints of a trial stand, the seed that is furthest behind first."""
        runs = seed_paths(self.path(number), self.seeds).values()
        there = [checkpoints.find_newest_whole(run)[0] if checkpoints.list_checkpoints(run) else None for run in runs]
        rows = [checkpoints.read_totals(checkpoint) if checkpoint else {"agent_steps": 0.0} for checkpoint in there]
        return sorted(rows, key=lambda row: row["agent_steps"])

    def path(self, number: int) -> Path:
        """Run directory of a trial."""
        return trial_path(self.folder, number)

    def evolve(self) -> list[Step]:
        """End the generation: the worst go on from the best. A kill in between does no harm; it is done again."""
        generation = self.done + 1
        steps = [step for step in self.plan(generation) if step.trial in self.values]
        for step in steps:
            for seed, run in seed_paths(self.path(step.trial), self.seeds).items():
                donor = seed_paths(self.path(step.donor), self.seeds)[seed]
                checkpoints.keep_checkpoint(checkpoints.find_newest_whole(donor)[0], run)
            self.writer.write(self.path(step.trial), step.values, self.seeds)
            self.study.change(step.trial, step.values)
        self.study.optuna.set_user_attr(DONE, generation)
        self.write_schedule()
        return steps

    def plan(self, generation: int) -> list[Step]:
        """Who goes on with what. Drawn once and kept in the storage before anything is done."""
        if name_of(generation) not in self.study.optuna.user_attrs:
            scores = {n: s for n in self.values if not math.isnan(s := compute_score(self.rows(n)))}
            ranked = sorted(self.values, key=lambda n: scores.get(n, -math.inf))
            number = max(1, int(len(ranked) * QUARTER)) if len(ranked) > 1 else 0
            worst, best = ranked[:number], [n for n in ranked[len(ranked) - number :] if n in scores]
            rng = np.random.default_rng([self.study.settings["seed"], generation])
            donors = [int(rng.choice(best)) for _ in worst] if best else []
            self.keep(
                generation,
                [Step(n, d, self.explored(self.values[d], rng)) for n, d in zip(worst, donors, strict=False)],
            )
        return [Step(**step) for step in self.study.optuna.user_attrs[name_of(generation)]]

    def keep(self, generation: int, steps: list[Step]) -> None:
        """What a generation starts with, in the storage."""
        self.study.optuna.set_user_attr(name_of(generation), [step._asdict() for step in steps])

    def explored(self, values: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Settings near these; these themselves where all that is near cannot work."""
        anew = optuna.create_study(sampler=optuna.samplers.RandomSampler(int(rng.integers(2**31))))
        for _ in range(MAX_DRAWS):
            drawn = draw(self.study.space, anew.ask())
            near = {
                p.key: drawn[p.key] if rng.random() < RESAMPLED else perturbed(p, values[p.key], rng)
                for p in self.study.space
            }
            try:
                check_experiment(with_values(self.study.settings, near))
            except Mistake:  # a minibatch larger than the batch: draw again
                continue
            return near
        return values

    def write_schedule(self) -> None:
        """Write schedule.csv: the first values of each trial, then each trial that continues from another, and how."""
        rows, keys = [], [parameter.key for parameter in self.study.space]
        for generation in range(self.done + 1):
            steps = self.study.budget * generation // self.generations
            for step in self.plan(generation):
                donor = step.donor if generation else ""
                rows.append((generation, steps, step.trial, donor, *map(step.values.get, keys)))
        write_table(self.folder / SCHEDULE_CSV, ("generation", "agent_steps", "trial", "donor", *keys), rows)


def name_of(generation: int) -> str:
    """Its attribute of the study."""
    return f"generation {generation}"


def perturbed(parameter: Parameter, value: Any, rng: np.random.Generator) -> Any:
    """A value near this one, within the range; of a choice, a neighbour in its list."""
    if parameter.kind == "choice":
        at = parameter.values.index(value) + int(rng.choice([-1, 1]))
        return parameter.values[min(max(at, 0), len(parameter.values) - 1)]
    low, high = parameter.values
    drawn = parameter.turned(value) * float(rng.choice(FACTORS))
    if parameter.kind == "int":  # by one at least
        drawn = min(value - 1, math.floor(drawn)) if drawn < value else max(value + 1, math.ceil(drawn))
    return parameter.turned(min(max(drawn, low), high))
