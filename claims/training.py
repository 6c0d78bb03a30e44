"""The training of a claim's arms: each training is a grid, which several claims share and which continues.

Training -> Grid -> grids/grid.py -> run directories -> rows of every seed
"""

from collections.abc import Sequence
from pathlib import Path

from claims.claim import Claim, Training
from claims.measures import COLUMNS, MEASURES, OF_A_THRESHOLD, Progress
from experiments.overrides import check_overrides
from grids.arms import REFUSED_SETTINGS, TAKEN_NAMES, Arm, Grid, compute_grid_key
from grids.grid_directory import AnotherGrid, refuse_another_grid
from run_directory.layout import GRID_JSON, list_seed_runs
from run_directory.progress_table import read_progress
from settings.mistakes import Mistake
from settings.suggestions import suggest_option

SET_BY_CLAIMS = ("seed", "label", "output_dir")  # for all arms, from the command line


def list_common_overrides(training: Training, seeds: int, output_dir: str) -> list[str]:
    """Return the overrides of all arms of a training; an arm's own go before them."""
    numbers = ",".join(str(seed) for seed in range(1, seeds + 1))
    return [*training.common, f"seed=[{numbers}]", f"label=claims_{training.name}", f"output_dir={output_dir}"]


def make_grid(training: Training, seeds: int, output_dir: str) -> Grid:
    """Return the grid of a training, with the settings of every arm checked.

    Raises:
        Mistake: the name of an arm or its overrides cannot work.
    """
    for override in (*training.common, *(word for own in training.arms.values() for word in own)):
        key = override.split("=", 1)[0]
        if key in SET_BY_CLAIMS:
            raise Mistake(f"{training.path}: {override}: python -m claims sets {key} for all arms; leave it out")
        if why := REFUSED_SETTINGS.get(key):
            raise Mistake(f"{training.path}: {override}: {why}")
    common, arms = list_common_overrides(training, seeds, output_dir), []
    for name, own in training.arms.items():
        if TAKEN_NAMES.fullmatch(name):
            raise Mistake(f"{training.path}: arms: {name} is a folder that a grid has already; name the arm otherwise")
        values = dict(override.split("=", 1) for override in own)
        others = [override for override in common if override.split("=", 1)[0] not in values]
        try:
            settings, _ = check_overrides([*others, *own])
        except Mistake as mistake:
            raise Mistake(f"{training.path}, arm {name}: {mistake}") from mistake
        arms.append(Arm(name, values, settings))
    return Grid(f"claims_{training.name}", arms, compute_grid_key([arm.settings | {"stop": None} for arm in arms]))


def refuse_unmeasured(claim: Claim, trainings: list[Training]) -> None:
    """Refuse a claim whose arms or predictions name something that is not trained or not measured.

    Raises:
        Mistake: an arm or a measure does not exist, named with those that do; or two trainings have an arm of one name.
    """
    trained = [arm for training in trainings for arm in training.arms]
    if twice := [arm for arm in trained if trained.count(arm) > 1]:
        raise Mistake(f"{claim.path}: trainings: two of them have an arm {twice[0]}; name one otherwise")
    for arm in claim.arms:
        if arm not in trained:
            raise Mistake(f"{claim.path}: arms: {arm}: {suggest_option(arm, trained)}")
    arms, measures = claim.arms, tuple(MEASURES)
    if claim.measurement:
        from claims.measurements import CONTENTS

        if claim.measurement not in CONTENTS:
            known = suggest_option(claim.measurement, list(CONTENTS))
            raise Mistake(f"{claim.path}: measurement: {claim.measurement}: {known}")
        arms, measures, trained_arms = CONTENTS[claim.measurement]
        if missing := [arm for arm in trained_arms if arm not in claim.arms]:
            raise Mistake(f"{claim.path}: arms: {claim.measurement} measures {missing[0]}, which is not among them")
    for one in claim.predictions:
        for arm in (one.of, one.than):
            if isinstance(arm, str) and arm not in arms:
                raise Mistake(f"{claim.path}: predictions: {arm}: {suggest_option(arm, arms)}")
        if one.measure not in measures:
            raise Mistake(f"{claim.path}: predictions: {one.measure}: {suggest_option(one.measure, measures)}")
        if one.measure in OF_A_THRESHOLD and claim.threshold is None:
            raise Mistake(f"{claim.path}: threshold is missing: {one.measure} is measured where there is one")


def refuse_unfit(claim: Claim, grids: list[Grid]) -> None:
    """Refuse a claim whose arms are trained for less than is measured, or for something that cannot be measured.

    Raises:
        Mistake: an arm ends, or may end, before `until`; or a measurement needs another environment or network.
    """
    for arm in (arm for grid in grids for arm in grid.arms if arm.name in claim.arms):
        stop, where = arm.settings["stop"], f"{claim.path}: arms: {arm.name}"
        if claim.measurement:
            from claims.measurements import CARTPOLE, CONTENTS

            if arm.name not in CONTENTS[claim.measurement].trained:
                continue
            if not arm.settings["keep_milestones"]:
                raise Mistake(f"{where}: {claim.measurement} reads a milestone of it; leave out keep_milestones=false")
            if not has_settings(arm, CARTPOLE):
                needed = " ".join(CARTPOLE)
                raise Mistake(f"{where}: {claim.measurement} is measured in another environment or network ({needed})")
            continue
        if stop["agent_steps"] < claim.until:
            budget = f"stop.agent_steps={stop['agent_steps']:,}"
            raise Mistake(f"{where} trains with {budget}, and until: {claim.until:,} agent steps are measured")
        for key in ("episode_return", "time_s"):
            if stop[key] is not None:
                raise Mistake(f"{where} may end before its budget (stop.{key}={stop[key]:g}); give it stop.{key}=null")


def has_settings(arm: Arm, overrides: Sequence[str]) -> bool:
    """Return whether an arm has the environment and the network that overrides name."""
    other, _ = check_overrides(list(overrides))
    return all(arm.settings[group] == other[group] for group in ("env", "model"))


def train(training: Training, seeds: int, output_dir: str, command: list[str]) -> dict[str, Path] | None:
    """Train what is left of the arms of a training; without Ray where nothing is.

    Args:
        training: the arms.
        seeds: how many each arm has, numbered from 1.
        output_dir: where the directory of the grid lies, `<output_dir>/grids/claims_<name>`.
        command: the command line, for the record.

    Returns:
        The run directory of each arm; None where seeds are left, as after Ctrl-C.

    Raises:
        Mistake: an arm cannot work, or another process trains the arms.
    """
    from grids.grid import run_grid

    grid = make_grid(training, seeds, output_dir)
    folder, code = find_folder(grid), 0
    if not is_complete(grid):
        folder, code = run_grid(grid, command, list_common_overrides(training, seeds, output_dir))
    return None if code else {arm: folder / arm for arm in training.arms}


def find_folder(grid: Grid) -> Path:
    """Return the directory of a grid, which need not exist."""
    return Path(grid.arms[0].settings["output_dir"]).expanduser().resolve() / "grids" / grid.name


def is_complete(grid: Grid) -> bool:
    """Return whether every seed of every arm of a grid is at its end.

    Raises:
        Mistake: another grid is in its directory.
    """
    from cluster.plan import make_plan
    from grids.grid import list_runs

    folder = find_folder(grid)
    try:
        refuse_another_grid(folder, grid.experiment, {arm.name: arm.values for arm in grid.arms})
    except AnotherGrid as mistake:  # it would take another label, which python -m claims sets itself
        raise Mistake(
            f"{folder} holds another training of this name, or one from before its file was changed; give the "
            "training's file another name, or type another output_dir="
        ) from mistake
    if not (folder / GRID_JSON).exists():
        return False
    return not list_runs(grid, {arm.name: make_plan(arm.settings) for arm in grid.arms}, folder)[1]


def read_seeds(run: Path, seeds: int) -> list[Progress]:
    """Return the rows of the first seeds of an arm."""
    return [read_progress(seed, COLUMNS) for seed in list_seed_runs(run)[:seeds]]
