"""The command of this room: a grid of experiments (`-m`).

    overrides -> arms -> training -> evaluations and pages of the arms -> comparison

The files that train and play are imported where they are used, because they take seconds; a mistake is answered before.
"""

import sys
from pathlib import Path

import yaml

from command_line.flags import select_group
from comparisons.commands import compare
from environments.passwords import mask_passwords
from grids.arms import Arm, explain_different_rules, read_grid
from loggers.check import refuse_unusable_loggers
from run_directory.checkpoints import find_checkpoint, list_checkpoints
from run_directory.layout import PROGRESS_CSV, PROGRESS_JSON, list_seed_runs
from runs.interrupt import MESSAGE_BEFORE_TRAINING, Interrupt
from settings.mistakes import Mistake


def run_multirun(argv: list[str], overrides: list[str], print_only: bool, package: str | None = None) -> int:
    """Check a grid and run it, or only print the settings of its arms; return the exit code.

    Args:
        argv: the command line.
        overrides: of the command line.
        print_only: whether --cfg job is typed.
        package: the only group to print.

    Raises:
        Mistake: there is no grid in the overrides, or some arms cannot work.
    """
    Interrupt.message = MESSAGE_BEFORE_TRAINING
    grid = read_grid(overrides)
    if print_only:
        arms = {arm.name: mask_passwords(select_group(arm.settings, package)) for arm in grid.arms}
        print(yaml.safe_dump(arms, sort_keys=False), end="")
        return 0
    if warning := explain_different_rules(grid.arms):
        print(f"warning: {warning}", file=sys.stderr)
    refuse_unusable_loggers(grid.arms[0].settings)
    if grid.arms[0].settings["dry_run"]:
        from grids.grid_dry_run import describe_grid

        print(describe_grid(grid))
        return 0
    from grids.grid import run_grid

    folder, code = run_grid(grid, ["python", "run.py", *argv], overrides)
    Interrupt.message = f"stopped; grid directory: {folder}"
    if not Interrupt.stop_requested:
        code = show_grid(folder, grid.arms) or code
    print(f"grid directory: {folder}")
    return code


def submit_grid(overrides: list[str]) -> int:
    """Check a grid, then submit it as one job on a cluster, which types the same grid there; return the exit code.

    Raises:
        Mistake: there is no grid in the overrides, some arms cannot work, or the cluster does not accept the job.
    """
    from cluster.submit import add_trust_override, submit_job

    grid = read_grid(add_trust_override(overrides))
    print(submit_job(grid.arms[0].settings, overrides, grid.name))
    return 0


def show_grid(folder: Path, arms: list[Arm]) -> int:
    """Evaluate the arms of a grid as far as their settings ask for it, and compare them; return the exit code."""
    from pages.commands import show_training

    codes = []
    for arm in arms:
        try:
            if is_to_be_shown(folder / arm.name, arm.settings):
                codes.append(show_training(folder / arm.name, arm.settings))
        except Mistake as mistake:  # such as a damaged checkpoint; the other arms are shown all the same
            print(f"{arm.name}: {mistake}")
            codes.append(1)
    try:
        codes.append(compare([(None, str(folder))], None))
    except Mistake as mistake:  # the training is done all the same
        print(f"nothing to compare: {mistake}")
        codes.append(1)
    return max(codes, default=0)


def is_to_be_shown(run: Path, settings: dict) -> bool:
    """Return whether every seed of a run can be played, and not every one has the evaluation and the page of its
    present checkpoint that its settings ask for.

    Raises:
        Mistake: a seed has no whole checkpoint.
    """
    runs = list_seed_runs(run)
    if not all(list_checkpoints(one) and (one / PROGRESS_CSV).exists() for one in runs):
        return False
    if settings["evaluate"]:
        from evidence.evaluate import is_evaluated

        if not all(is_evaluated(one, settings["episodes"]) for one in runs):
            return True
    return settings["page"] and not all(has_page(one) for one in runs)


def has_page(run: Path) -> bool:
    """Return whether the page of a run of one seed is newer than the checkpoint that plays on it."""
    from pages.run_page import PAGE

    page = run / PAGE
    return page.exists() and page.stat().st_mtime >= (find_checkpoint(run, None) / PROGRESS_JSON).stat().st_mtime
