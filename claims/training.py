"""The training of a claim's arms: each training is a grid, which several claims share and which continues.

Training -> Grid -> grids/grid.py -> run directories -> rows of every seed
"""

from pathlib import Path

from claims.claim import Claim, Training
from claims.measures import COLUMNS, MEASURES, Progress
from experiments.overrides import check_overrides
from grids.arms import Arm, Grid, compute_grid_key
from run_directory.layout import list_seed_runs
from run_directory.progress_table import read_progress
from settings.mistakes import Mistake
from settings.suggestions import suggest_option


def list_common_overrides(training: Training, output_dir: str) -> list[str]:
    """Return the overrides of all arms of a training; an arm's own go before them."""
    seeds = ",".join(str(seed) for seed in range(1, training.seeds + 1))
    return [*training.common, f"seed=[{seeds}]", f"label=claims_{training.name}", f"output_dir={output_dir}"]


def make_grid(training: Training, output_dir: str) -> Grid:
    """Return the grid of a training, with the settings of every arm checked.

    Raises:
        Mistake: the overrides of an arm cannot work.
    """
    common, arms = list_common_overrides(training, output_dir), []
    for name, own in training.arms.items():
        values = dict(override.split("=", 1) for override in own)
        others = [override for override in common if override.split("=", 1)[0] not in values]
        try:
            settings, _ = check_overrides([*others, *own])
        except Mistake as mistake:
            raise Mistake(f"claims/trainings/{training.name}.yaml, arm {name}: {mistake}") from mistake
        arms.append(Arm(name, values, settings))
    return Grid(f"claims_{training.name}", arms, compute_grid_key([arm.settings | {"stop": None} for arm in arms]))


def refuse_unmeasured(claim: Claim, trainings: list[Training]) -> None:
    """Refuse a claim whose arms or predictions name something that is not trained or not measured.

    Raises:
        Mistake: an arm or a measure does not exist, named with those that do.
    """
    trained = [arm for training in trainings for arm in training.arms]
    for arm in claim.arms:
        if arm not in trained:
            raise Mistake(f"{claim.path}: arms: {arm}: {suggest_option(arm, trained)}")
    if claim.measurement:  # which has arms and measures of its own
        return
    for one in claim.predictions:
        for arm in (one.of, one.than):
            if isinstance(arm, str) and arm not in claim.arms:
                raise Mistake(f"{claim.path}: predictions: {arm}: {suggest_option(arm, claim.arms)}")
        if one.measure not in MEASURES:
            raise Mistake(f"{claim.path}: predictions: {one.measure}: {suggest_option(one.measure, list(MEASURES))}")


def train(training: Training, output_dir: str, command: list[str]) -> dict[str, Path] | None:
    """Train what is left of the arms of a training.

    Args:
        training: the arms.
        output_dir: where the directory of the grid lies, `<output_dir>/grids/claims_<name>`.
        command: the command line, for the record.

    Returns:
        The run directory of each arm; None where seeds are left, as after Ctrl-C.

    Raises:
        Mistake: an arm cannot work, or another process trains the arms.
    """
    from grids.grid import run_grid

    folder, code = run_grid(make_grid(training, output_dir), command, list_common_overrides(training, output_dir))
    return None if code else {arm: folder / arm for arm in training.arms}


def read_seeds(run: Path) -> list[Progress]:
    """Return the rows of each seed of an arm."""
    return [read_progress(seed, COLUMNS) for seed in list_seed_runs(run)]
