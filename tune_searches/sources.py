"""Sources of trials: they give Ray Tune its trials and record how each trial ends.

Study.ask -> ProposalSource -> label and run directory -> Ray Tune -> last result -> Study.tell -> trials.csv
Confirmation -> ConfirmationSource -> label and run directory -> Ray Tune
"""

import math
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from cluster.plan import choose_dtype
from loggers.row_writer import write_hparams
from run_directory.files import check_kind, read_yaml
from run_directory.layout import CONFIG, PROGRESS_CSV, STARTS, seed_paths
from run_directory.progress_table import ProgressTable
from run_directory.searches import FAILURE, TRIALS_CSV, trial_path
from run_directory.starts import write_start
from run_directory.writing import write_file, write_table
from runs.display import SearchDisplay
from runs.interrupt import Interrupt
from runs.tuning import TrialSource
from settings.mistakes import Mistake
from tune_searches.confirmation import ConfirmationRun
from tune_searches.space import replace_values
from tune_searches.study import TOO_FEW_GAMES, Study


class RunWriter:
    """Writes the run directories of a search, with the same files as runs from the command line have."""

    def __init__(self, settings: dict, argv: list[str], overrides: list[str]):
        self.settings, self.argv, self.overrides = settings, argv, overrides

    def create_run(self, path: Path, values: dict[str, Any], seeds: list[int]) -> dict:
        """Write config.yaml and run.json of a trial unless it has them; return its settings, with this machine's dtype.

        All trials compute in one dtype, and another node may be fastest in another one.
        """
        if not (path / STARTS).exists():  # run.json is written last
            self.write_run(path, values, seeds)
        settings = read_yaml(path / CONFIG)
        check_kind(path / CONFIG, settings.get("model"), dict, "model")
        return settings | {"model": settings["model"] | {"dtype": choose_dtype(settings)}}

    def write_run(self, path: Path, values: dict[str, Any], seeds: list[int]) -> None:
        """Write config.yaml and run.json of a trial; existing ones are replaced, because its values have changed."""
        settings = {k: v for k, v in replace_values(self.settings, values).items() if k != "search"}
        settings |= {"command": "train", "seed": seeds if len(seeds) > 1 else seeds[0]}
        settings |= {"keep_milestones": False, "evaluate_every": None}
        dtype = choose_dtype(settings)
        typed = [override for override in self.overrides if not override.startswith("search.")]
        typed += ["command=train", *(f"{key}={'null' if value is None else value}" for key, value in values.items())]
        for seed, of_seed in seed_paths(path, seeds).items():
            of_seed.mkdir(parents=True, exist_ok=True)
            if of_seed != path:
                write_start(of_seed, settings | {"seed": seed}, self.argv, [*typed, f"seed={seed}"], dtype)
        write_start(path, settings, self.argv, [*typed, f"seed={settings['seed']}"], dtype)


class SearchSource(TrialSource):
    """Gives Ray Tune the config of each trial, with its label and its run directory.

    Attributes:
        budget: the agent steps, per seed, at which these trials stop; in a population, the end of the generation.
    """

    budget: int
    num_later = 0  # trials of later generations; they count for the time left

    def __init__(self, display: SearchDisplay):
        super().__init__(metric="score", mode="max")
        self.display = display
        self.configs: dict[str, dict] = {}  # Tune's id of a trial -> its config
        self.began: dict[str, float] = {}  # label -> the time when Tune got the trial, in seconds
        self.overheads: list[tuple[float, float]] = []  # of each trial, in seconds: time beside training, total time

    def hand_over(self, trial_id: str, config: dict, values: dict) -> dict:
        """Return the config of a trial for Tune, and show that it starts."""
        self.configs[trial_id], self.began[config["label"]] = config, time.monotonic()
        self.display.start_trial(config["label"], values)
        return config | {"until": self.budget}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        if error or result is None:  # a failure is recorded by fail_trial; without a result the trial never ran
            return
        config = self.configs[trial_id]
        took = time.monotonic() - self.began[config["label"]]
        self.overheads.append((took - result["trained_s"], took))
        self.end_trial(config, result)

    def end_trial(self, config: dict, result: dict) -> None:
        """Record that a trial has ended or paused; `result` is its last result."""
        raise NotImplementedError

    def describe_overhead(self) -> str:
        """Return the time beside training, most of it to start: `0.8 s per trial beside training, 0.3% of its time`."""
        beside, took = map(sum, zip(*self.overheads, strict=True))
        return f"{beside / len(self.overheads):.1f} s per trial beside training, {beside / took:.1%} of its time"

    def fail_trial(self, config: dict, reason: str) -> None:
        self.display.end_trial(config["label"], "FAIL", 0, math.nan, reason)


class ProposalSource(SearchSource):
    """The trials of a study: first the unfinished ones, then new proposals.

    Args:
        study: the study of the search.
        folder: the directory of the search.
        writer: writes the run directories of the trials.
        display: shows the trials.
        waiting: number and values of the unfinished trials.
        new: the number of new proposals.
        budget: the agent steps, per seed, at which these trials stop.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        writer: RunWriter,
        display: SearchDisplay,
        waiting: list[tuple[int, dict[str, Any]]],
        new: int,
        budget: int,
    ):
        super().__init__(display)
        self.study, self.folder, self.writer = study, folder, writer
        self.waiting, self.total, self.budget = list(waiting), len(waiting) + new, budget
        self.values: dict[int, dict] = {}  # number of a trial -> its values
        self.mistake: Mistake | None = None

    def suggest(self, trial_id: str) -> dict | str:
        if Interrupt.stop_requested:
            return Searcher.FINISHED
        try:
            number, values = self.waiting.pop(0) if self.waiting else self.study.ask()
        except Mistake as mistake:  # raised again by search.py, because Tune would show it as a traceback
            self.mistake = mistake
            return Searcher.FINISHED
        path = trial_path(self.folder, number)
        settings = self.writer.create_run(path, values, self.study.list_seeds())
        self.values[number] = values
        config = {"label": f"trial {number}", "number": number, "dir": str(path), "settings": settings}
        return self.hand_over(trial_id, config, values)

    def end_trial(self, config: dict, result: dict) -> None:
        steps = result["agent_steps"]
        ended = steps >= self.study.budget or result["failure"] or self.study.is_stopped(config["number"])
        if not ended:  # after Ctrl-C, or at the end of a generation: the trial continues later
            # Tune does not give the last result of a trial to its scheduler, so the score is reported here.
            self.study.report(config["number"], steps, result["score"])
            self.display.pause_trial(config["label"])
            return
        if result["failure"]:  # a process that started again and failed at once has played nothing
            steps = max(steps, count_trained_steps(Path(config["dir"]), self.study.list_seeds()))
        state = self.study.tell(config["number"], steps, result["score"], result["failure"])
        shown = "tensorboard" in (self.study.settings["logger"] or ())
        if shown and math.isfinite(result["score"]) and self.study.settings["search"]["scheduler"] != "pbt":
            write_hparams(Path(config["dir"]), self.values[config["number"]], result["score"])
        write_trials_csv(self.study, self.folder)
        why = result["failure"] or (TOO_FEW_GAMES if state.name == "FAIL" else "")
        self.display.end_trial(config["label"], state.name, steps, result["score"], why)

    def fail_trial(self, config: dict, reason: str) -> None:
        steps = count_trained_steps(Path(config["dir"]), self.study.list_seeds())
        self.study.tell(config["number"], steps, math.nan, failure=reason)
        write_trials_csv(self.study, self.folder)
        super().fail_trial(config, reason)


class ConfirmationSource(SearchSource):
    """The trainings of one stage of the confirmation, which are all known at the start."""

    def __init__(self, runs: list[ConfirmationRun], budget: int, writer: RunWriter, display: SearchDisplay):
        super().__init__(display)
        self.waiting, self.total, self.budget, self.writer = list(runs), len(runs), budget, writer

    def suggest(self, trial_id: str) -> dict | str:
        if Interrupt.stop_requested or not self.waiting:
            return Searcher.FINISHED
        run = self.waiting.pop(0)
        settings = self.writer.create_run(run.path, run.values, [run.seed])
        label = f"{run.stage} {run.name} seed {run.seed}"
        return self.hand_over(trial_id, {"label": label, "dir": str(run.path), "settings": settings}, run.values)

    def end_trial(self, config: dict, result: dict) -> None:
        steps, score = result["agent_steps"], result["score"]
        if steps < self.budget and not result["failure"]:  # after Ctrl-C
            self.display.pause_trial(config["label"])
            return
        if failure := result["failure"] or (TOO_FEW_GAMES if math.isnan(score) else None):
            self.fail_trial(config, failure)
        else:
            self.display.end_trial(config["label"], "COMPLETE", steps, score)

    def fail_trial(self, config: dict, reason: str) -> None:
        """Record that a training has failed, in a file in its run directory, so that it is not repeated."""
        write_file(Path(config["dir"]) / FAILURE, reason + "\n")
        super().fail_trial(config, reason)


def count_trained_steps(run: Path, seeds: list[int]) -> int:
    """Return the agent steps, per seed, up to the newest rows of a trial; 0 without rows."""
    with suppress(Mistake):  # a damaged progress.csv
        return max(0, min(ProgressTable(path / PROGRESS_CSV).last_step for path in seed_paths(run, seeds).values()))
    return 0


def write_trials_csv(study: Study, folder: Path) -> None:
    """Write trials.csv, one row per trial."""
    keys = [parameter.key for parameter in study.space]
    rows = []
    for number, state, steps, score, failure, values in study.list_records():
        cells = ["null" if values.get(key, "") is None else values.get(key) for key in keys]  # empty: not drawn
        rows.append((number, state, steps, "" if math.isnan(score) else score, failure, *cells))
    write_table(folder / TRIALS_CSV, ("trial", "state", "agent_steps", "score", "failure", *keys), rows)
