"""Which checkpoint the agents of a run of several seeds can be played with."""

from pathlib import Path

from run_directory.layout import CHECKPOINT_NAMES, list_seed_runs
from settings.mistakes import Mistake


def refuse_foreign_checkpoint(run: Path, checkpoint: str | None) -> None:
    """Refuse the path of a checkpoint for several seeds, or a search: its weights would play under the names of all.

    Raises:
        Mistake: there is no such run; or it has several agents, and `checkpoint` is none of the names that each has.
    """
    runs, is_search = list_seed_runs(run), (run / "trials").is_dir()
    if checkpoint not in (None, *CHECKPOINT_NAMES) and (len(runs) > 1 or is_search):
        has = "is a search" if is_search else f"has {len(runs)} seeds"
        raise Mistake(f"checkpoint={checkpoint} is of one agent, and run={run} {has}; give run=<one of them>")
