"""The weights that a training begins with (`pretrained`), copied into its run directory when it starts.

run, agent or folder of a checkpoint -> its weights -> <run>/checkpoints/pretrained

With a copy, a run can begin again when their source is gone, and on a node that sees nothing but the run directory.
"""

from pathlib import Path

from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.layout import CONFIG, PRETRAINED, checkpoint_path, list_seed_runs
from run_directory.milestones import write_milestone
from run_directory.weights import read_weights
from settings.mistakes import Mistake, resolve_path


def find_pretrained(path: str) -> tuple[Path, Path]:
    """Return the run directory and the checkpoint that `pretrained` names; of a run or an agent, its best checkpoint.

    Raises:
        Mistake: there is no such run or checkpoint, it is damaged, or the run has several seeds.
    """
    found = resolve_path(path, "pretrained")
    names_checkpoint = found.parent.name == "checkpoints"
    run = found.parents[1] if names_checkpoint else found
    if not (run / CONFIG).is_file():
        raise Mistake(f"pretrained={path}: there is no {CONFIG}; give a run directory, an agent or one's checkpoint")
    if len(seeds := list_seed_runs(run)) > 1:
        raise Mistake(f"pretrained={path} has {len(seeds)} seeds; name one of them, such as {seeds[0]}")
    return run, find_checkpoint(run, str(found) if names_checkpoint else None)


def copy_pretrained(run: Path, settings: dict) -> None:
    """Copy the weights that a run begins with into its directory, unless they are there.

    Raises:
        Mistake: see `find_pretrained`.
        OSError: they cannot be written.
    """
    if settings.get("pretrained") and not checkpoint_path(run, PRETRAINED).is_dir():
        _, source = find_pretrained(settings["pretrained"])
        write_milestone(run, PRETRAINED, read_weights(source), read_totals(source))
