"""Population-based training (Jaderberg et al. 2017, arXiv 1711.09846): settings change while trials train.

    all trials train to the end of a generation -> the worst continue from checkpoints of the best, with settings near
    those of the best -> the next generation

All trials of a generation train for the same number of agent steps (to within one rollout), so their scores can be
compared. Between two generations the whole state of the population is in Optuna's storage and in the run directories,
so it survives the driver. Ray Tune's PopulationBasedTraining is not used: it compares trials at different numbers of
agent steps, moves settings beyond the ends of their ranges, and loses its state with the driver.
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
from tune_searches.sources import RunWriter, count_trained_steps
from tune_searches.space import Parameter, draw_values, replace_values
from tune_searches.study import MAX_DRAWS, Study

REPLACED_SHARE = 0.25  # of the population: so many of the worst trials continue from so many of the best
RESAMPLE_PROBABILITY = 0.25  # of drawing a setting anew from its range
PERTURBATION_FACTORS = (0.8, 1.2)  # a setting that is not drawn anew is multiplied by one, or moved by 0.2 of its range
# Attributes of the study: the number of generations that have ended, and the assignments of one generation.
ENDED_KEY, PLAN_KEY = "generations", "generation {}"


class Assignment(NamedTuple):
    """The checkpoint and the values with which a trial begins a generation."""

    trial: int  # number of the trial
    donor: int  # number of the trial that the checkpoint comes from
    values: dict[str, Any]  # setting -> value


class Population:
    """All trials of a search with `search.scheduler=pbt`; to make it proposes missing trials and writes schedule.csv.

    Args:
        study: the study of the search.
        folder: the directory of the search.
        writer: writes the run directories of the trials.

    Raises:
        Mistake: almost no combination of values in the space can work.
    """

    def __init__(self, study: Study, folder: Path, writer: RunWriter):
        self.study, self.folder, self.writer = study, folder, writer
        self.generations = study.settings["search"]["generations"]
        self.seeds = study.list_seeds()
        self.values = dict(study.find_unfinished_trials())  # number -> values, of the trials that have not failed
        while study.count_remaining_trials():
            number, values = study.ask()
            self.values[number] = values
        if PLAN_KEY.format(0) not in study.optuna.user_attrs:
            self.store_plan(0, [Assignment(number, number, values) for number, values in self.values.items()])
        self.write_schedule()  # again, because the driver may have been killed before it was written
        for number in list(self.values):
            try:
                self.read_totals(number)
            except Mistake as mistake:  # all its checkpoints are damaged
                trained = count_trained_steps(self.find_run(number), self.seeds)
                study.tell(number, trained, math.nan, failure=str(mistake))
                del self.values[number]

    @property
    def num_ended_generations(self) -> int:
        """The number of generations that have ended; their checkpoints have been copied."""
        return self.study.optuna.user_attrs.get(ENDED_KEY, 0)

    @property
    def generation_end(self) -> int:
        """The agent steps, per seed, at which the present generation ends."""
        return self.study.budget * (self.num_ended_generations + 1) // self.generations

    def list_remaining_trials(self) -> list[tuple[int, dict[str, Any]]]:
        """Return number and values of the trials that have to train in the present generation.

        In the last generation these are all trials: also a trial that is at the end already has to run once more, so
        that Tune reports its end and Optuna is told its score.
        """
        last = self.generation_end >= self.study.budget
        return [
            (n, v)
            for n, v in self.values.items()
            if last or self.read_totals(n)[0]["agent_steps"] < self.generation_end
        ]

    def read_totals(self, number: int) -> list[dict[str, float]]:
        """Return the counters in the newest checkpoint of each seed of a trial, the fewest agent steps first."""
        runs = seed_paths(self.find_run(number), self.seeds).values()
        there = [
            checkpoints.find_newest_checkpoint(run)[0] if checkpoints.list_checkpoints(run) else None for run in runs
        ]
        rows = [checkpoints.read_totals(checkpoint) if checkpoint else {"agent_steps": 0.0} for checkpoint in there]
        return sorted(rows, key=lambda row: row["agent_steps"])

    def find_run(self, number: int) -> Path:
        """Return the run directory of a trial."""
        return trial_path(self.folder, number)

    def end_generation(self) -> list[Assignment]:
        """End the present generation: give the worst trials checkpoints of the best trials, and new values.

        If the driver is killed in the middle, the next start repeats all of it with the same result, because the plan
        is in the storage.

        Returns:
            One assignment for each trial that continues from another trial.
        """
        generation = self.num_ended_generations + 1
        assignments = [assignment for assignment in self.plan_generation(generation) if assignment.trial in self.values]
        for assignment in assignments:
            for seed, run in seed_paths(self.find_run(assignment.trial), self.seeds).items():
                donor = seed_paths(self.find_run(assignment.donor), self.seeds)[seed]
                checkpoints.keep_checkpoint(checkpoints.find_newest_checkpoint(donor)[0], run)
            self.writer.write_run(self.find_run(assignment.trial), assignment.values, self.seeds)
            self.study.change_values(assignment.trial, assignment.values)
        self.study.optuna.set_user_attr(ENDED_KEY, generation)
        self.write_schedule()
        return assignments

    def plan_generation(self, generation: int) -> list[Assignment]:
        """Return the assignments with which a generation begins.

        They are drawn once and stored before any file changes, so that a repeated call returns the same ones.
        """
        if PLAN_KEY.format(generation) not in self.study.optuna.user_attrs:
            scores = {n: s for n in self.values if not math.isnan(s := compute_score(self.read_totals(n)))}
            ranked = sorted(self.values, key=lambda n: scores.get(n, -math.inf))
            number = max(1, int(len(ranked) * REPLACED_SHARE)) if len(ranked) > 1 else 0
            worst, best = ranked[:number], [n for n in ranked[len(ranked) - number :] if n in scores]
            rng = np.random.default_rng([self.study.settings["seed"], generation])
            donors = [int(rng.choice(best)) for _ in worst] if best else []
            self.store_plan(
                generation,
                [
                    Assignment(n, d, self.explore_values(self.values[d], rng))
                    for n, d in zip(worst, donors, strict=False)
                ],
            )
        return [Assignment(**assignment) for assignment in self.study.optuna.user_attrs[PLAN_KEY.format(generation)]]

    def store_plan(self, generation: int, assignments: list[Assignment]) -> None:
        """Store the assignments with which a generation begins as an attribute of the study."""
        self.study.optuna.set_user_attr(
            PLAN_KEY.format(generation), [assignment._asdict() for assignment in assignments]
        )

    def explore_values(self, values: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
        """Return values near the given ones, or the given ones if MAX_DRAWS proposals in a row cannot work."""
        anew = optuna.create_study(sampler=optuna.samplers.RandomSampler(int(rng.integers(2**31))))
        for _ in range(MAX_DRAWS):
            drawn = draw_values(self.study.space, anew.ask())
            near = {
                p.key: drawn[p.key] if rng.random() < RESAMPLE_PROBABILITY else perturb_value(p, values[p.key], rng)
                for p in self.study.space
            }
            try:
                check_experiment(replace_values(self.study.settings, near))
            except Mistake:  # for example, a minibatch is larger than the batch
                continue
            return near
        return values

    def write_schedule(self) -> None:
        """Write schedule.csv: the first values of each trial, then a row for each trial that continues from another."""
        rows, keys = [], [parameter.key for parameter in self.study.space]
        for generation in range(self.num_ended_generations + 1):
            steps = self.study.budget * generation // self.generations
            for assignment in self.plan_generation(generation):
                donor = assignment.donor if generation else ""
                rows.append((generation, steps, assignment.trial, donor, *map(assignment.values.get, keys)))
        write_table(self.folder / SCHEDULE_CSV, ("generation", "agent_steps", "trial", "donor", *keys), rows)


def perturb_value(parameter: Parameter, value: Any, rng: np.random.Generator) -> Any:
    """Return a value near the given one, within the range of its parameter; for a choice, a neighbour in its list."""
    if parameter.kind == "choice":
        at = parameter.values.index(value) + int(rng.choice([-1, 1]))
        return parameter.values[min(max(at, 0), len(parameter.values) - 1)]
    low, high = parameter.values
    factor = float(rng.choice(PERTURBATION_FACTORS))
    is_even = parameter.kind == "uniform"  # 0.95 of a range from 0.9 to 1, times 0.8, would be its end
    drawn = value + (factor - 1) * (high - low) if is_even else parameter.convert(value) * factor
    if parameter.kind == "int":  # rounded away from the old value, so that it changes by at least 1
        drawn = min(value - 1, math.floor(drawn)) if drawn < value else max(value + 1, math.ceil(drawn))
    return parameter.convert(min(max(drawn, low), high))
