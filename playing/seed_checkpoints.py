"""Which checkpoint the agents of a run of several seeds can be played with."""

from pathlib import Path

from run_directory.layout import CHECKPOINT_NAMES, list_seed_runs
from settings.mistakes import Mistake


def refuse_foreign_checkpoint(run: Path, checkpoint: str | None) -> None:
    """Refuse the path of a checkpoint for a run of several seeds: its weights would play under the names of all seeds.

    Raises:
        Mistake: the run has several seeds, and `checkpoint` is none of the names that each seed has.
    """
    if checkpoint not in (None, *CHECKPOINT_NAMES) and len(runs := list_seed_runs(run)) > 1:
        raise Mistake(
            f"checkpoint={checkpoint} is of one agent, and run={run} has {len(runs)} seeds; give run=<one of them>"
        )
