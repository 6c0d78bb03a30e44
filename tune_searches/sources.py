"""Where Ray Tune gets its trials from, and where their ends are told.

Study.ask -> Proposals -> label and run directory, for Tune -> row at the end -> Study.tell -> trials.csv
"""

import math
import time
from pathlib import Path
from typing import Any

from ray.tune.search import Searcher

from cluster.resources import dtype_of
from run_directory.layout import STARTS, seed_paths
from run_directory.searches import FAILURE, TRIALS_CSV, trial_path
from run_directory.starts import write_start
from run_directory.tensorboard import write_hparams
from run_directory.writing import write_file, write_table
from runs.display import SearchDisplay
from runs.interrupt import Interrupt
from settings.mistakes import Mistake
from tune_searches.confirmation import Attempt
from tune_searches.space import with_values
from tune_searches.study import Study


class RunWriter:
    """Makes run directories of a search, as if their values had been typed.

    Args:
        settings: of the search.
        argv, overrides: what was typed for it.
    """

    def __init__(self, settings: dict, argv: list[str], overrides: list[str]):
        self.settings, self.argv, self.overrides = settings, argv, overrides

    def begin(self, path: Path, values: dict[str, Any], seeds: list[int]) -> None:
        """Settings and circumstances of a trial; nothing where they are there already."""
        if not (path / STARTS).exists():  # it is written last
            self.write(path, values, seeds)

    def write(self, path: Path, values: dict[str, Any], seeds: list[int]) -> None:
        """The same, whatever is there: the trial goes on with other values."""
        settings = {k: v for k, v in with_values(self.settings, values).items() if k != "search"}
        settings |= {"command": "train", "seed": seeds if len(seeds) > 1 else seeds[0], "keep_milestones": False}
        dtype = dtype_of(settings)
        typed = [override for override in self.overrides if not override.startswith("search.")]
        typed += ["command=train", *(f"{key}={value}" for key, value in values.items())]
        for seed, of_seed in seed_paths(path, seeds).items():
            of_seed.mkdir(parents=True, exist_ok=True)
            if of_seed != path:
                write_start(of_seed, settings | {"seed": seed}, self.argv, [*typed, f"seed={seed}"], dtype)
        write_start(path, settings, self.argv, [*typed, f"seed={settings['seed']}"], dtype)


class Source(Searcher):
    """Gives Tune trials: their `label`, and their `dir`, a run directory that holds all the rest.

    Attributes:
        total: trials there are to give.
        budget: agent steps at which they end for now.
    """

    total: int
    budget: int
    later = 0  # trials that come after those, in later generations

    def __init__(self, display: SearchDisplay):
        super().__init__(metric="objective", mode="max")
        self.display = display
        self.configs: dict[str, dict] = {}  # of Tune's trials
        self.began: dict[str, float] = {}  # label -> when Tune got it
        self.beside: list[tuple[float, float]] = []  # s that trials took beside training, and in all

    def __getstate__(self) -> dict:
        return {}  # Tune pickles it for Tuner.restore, which is not used here

    def give(self, trial_id: str, config: dict, values: dict) -> dict:
        """Hand a trial over to Tune."""
        self.configs[trial_id], self.began[config["label"]] = config, time.monotonic()
        self.display.start_trial(config["label"], values)
        return config | {"until": self.budget}

    def on_trial_complete(self, trial_id: str, result: dict | None = None, error: bool = False) -> None:
        if error or result is None:  # `failed` tells, which knows why; or it never began
            return
        config = self.configs[trial_id]
        took = time.monotonic() - self.began[config["label"]]
        self.beside.append((took - result["trained_s"], took))
        self.ended(config, result)

    def ended(self, config: dict, result: dict) -> None:
        """A trial has come to an end of some kind; `result` is what it reported last."""
        raise NotImplementedError

    def cost(self) -> str:
        """What trials took beside training, start-up above all: `0.8 s per trial beside training, 0.3% of its time`."""
        beside, took = map(sum, zip(*self.beside, strict=True))
        return f"{beside / len(self.beside):.1f} s per trial beside training, {beside / took:.1%} of its time"

    def failed(self, config: dict, reason: str) -> None:
        """A trial's process died too often."""
        self.display.end_trial(config["label"], "FAIL", 0, math.nan, reason)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: all there is to know is in the storage and the directories."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, as above."""

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing, as above."""


class Proposals(Source):
    """The trials of a Study: those that wait to go on, and then new ones."""

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
        self.values: dict[int, dict] = {}  # number -> values
        self.mistake: Mistake | None = None

    def suggest(self, trial_id: str) -> dict | str:
        if Interrupt.stop_requested:
            return Searcher.FINISHED
        try:
            number, values = self.waiting.pop(0) if self.waiting else self.study.ask()
        except Mistake as mistake:  # Tune would bury it in a traceback
            self.mistake = mistake
            return Searcher.FINISHED
        path = trial_path(self.folder, number)
        self.writer.begin(path, values, self.study.seeds())
        self.values[number] = values
        return self.give(trial_id, {"label": f"trial {number}", "number": number, "dir": str(path)}, values)

    def ended(self, config: dict, result: dict) -> None:
        steps = result["agent_steps"]
        ended = steps >= self.study.budget or result["failure"] or self.study.stopped(config["number"])
        if not ended:  # it goes on later: after Ctrl-C when the search does, in a population with the next generation
            # Tune shows no scheduler a trial's last row.
            self.study.report(config["number"], steps, result["objective"])
            self.display.pause_trial(config["label"])
            return
        state = self.study.tell(config["number"], steps, result["objective"], result["failure"])
        if math.isfinite(result["objective"]) and self.study.settings["search"]["scheduler"] != "pbt":
            write_hparams(Path(config["dir"]), self.values[config["number"]], result["objective"])
        write_trials(self.study, self.folder)
        self.display.end_trial(config["label"], state.name, steps, result["objective"], result["failure"] or "")

    def failed(self, config: dict, reason: str) -> None:
        self.study.tell(config["number"], 0, math.nan, failure=reason)
        write_trials(self.study, self.folder)
        super().failed(config, reason)


class Planned(Source):
    """Trainings that are known beforehand."""

    def __init__(self, attempts: list[Attempt], budget: int, writer: RunWriter, display: SearchDisplay):
        super().__init__(display)
        self.waiting, self.total, self.budget, self.writer = list(attempts), len(attempts), budget, writer

    def suggest(self, trial_id: str) -> dict | str:
        if Interrupt.stop_requested or not self.waiting:
            return Searcher.FINISHED
        attempt = self.waiting.pop(0)
        self.writer.begin(attempt.path, attempt.values, [attempt.seed])
        label = f"{attempt.stage} {attempt.name} seed {attempt.seed}"
        return self.give(trial_id, {"label": label, "dir": str(attempt.path)}, attempt.values)

    def ended(self, config: dict, result: dict) -> None:
        steps, score = result["agent_steps"], result["objective"]
        if steps < self.budget and not result["failure"]:  # Ctrl-C
            self.display.pause_trial(config["label"])
            return
        if failure := result["failure"] or ("too few games ended for a score" if math.isnan(score) else None):
            self.failed(config, failure)
        else:
            self.display.end_trial(config["label"], "COMPLETE", steps, score)

    def failed(self, config: dict, reason: str) -> None:
        """Kept beside the run, so that it is not tried until it passes."""
        write_file(Path(config["dir"]) / FAILURE, reason + "\n")
        super().failed(config, reason)


def write_trials(study: Study, folder: Path) -> None:
    """Write trials.csv: one row per trial."""
    keys = [parameter.key for parameter in study.space]
    rows = []
    for row in study.rows():
        score = "" if math.isnan(row.score) else row.score
        rows.append((row.number, row.state, row.agent_steps, score, row.failure, *map(row.values.get, keys)))
    write_table(folder / TRIALS_CSV, ("trial", "state", "agent_steps", "score", "failure", *keys), rows)
