"""The commands of this room: a grid of experiments (`-m`), and `command=compare`.

    overrides -> arms -> training -> evaluations and pages of the arms -> comparison

The files that train and play are imported where they are used, because they take seconds; a mistake is answered before.
"""

import sys
import time
from pathlib import Path
from typing import Any

import yaml

from comparisons.arms import read_grid
from comparisons.grid_directory import GRID_JSON
from environments.passwords import mask_passwords
from loggers.check import refuse_unusable_loggers
from run_directory.checkpoints import list_checkpoints
from run_directory.layout import PROGRESS_CSV, list_seed_runs
from runs.interrupt import MESSAGE_BEFORE_TRAINING, Interrupt
from settings.mistakes import Mistake, format_error, resolve_path


def run_multirun(argv: list[str], overrides: list[str], print_only: bool) -> int:
    """Check a grid and run it, or only print the settings of its arms; return the exit code.

    Raises:
        Mistake: there is no grid in the overrides, or some arms cannot work.
    """
    Interrupt.message = MESSAGE_BEFORE_TRAINING
    grid = read_grid(overrides)
    if print_only:
        print(yaml.safe_dump({arm.name: mask_passwords(arm.settings) for arm in grid.arms}, sort_keys=False), end="")
        return 0
    refuse_unusable_loggers(grid.arms[0].settings)
    if grid.arms[0].settings["dry_run"]:
        from comparisons.grid_dry_run import describe_grid

        print(describe_grid(grid))
        return 0
    from comparisons.grid import run_grid

    folder, code = run_grid(grid, ["python", "run.py", *argv], overrides)
    if not Interrupt.stop_requested:
        code = show_grid(folder, grid.arms) or code
    print(f"grid directory: {folder}")
    return code


def show_grid(folder: Path, arms: list[Any]) -> int:
    """Evaluate the arms of a grid as far as their settings ask for it, and compare them; return the exit code."""
    from pages.commands import show_training

    codes = [show_training(folder / arm.name, arm.settings) for arm in arms if is_to_be_shown(folder / arm.name)]
    try:
        codes.append(compare([(None, str(folder))], None))
    except Mistake as mistake:  # the training is done all the same
        print(f"nothing to compare: {mistake}")
    return max(codes, default=0)


def is_to_be_shown(run: Path) -> bool:
    """Return whether every seed of a run has a checkpoint and rows, and not every seed has been evaluated already."""
    runs = list_seed_runs(run)
    has_played = all(list_checkpoints(one) and (one / PROGRESS_CSV).exists() for one in runs)
    return has_played and not all(any((one / "checkpoints").glob("evaluation_*.json")) for one in runs)


def compare(runs: list[tuple[str | None, str]], out: str | None) -> int:
    """Compare runs, write the files of the comparison, and print its verdicts; return the exit code.

    Args:
        runs: label, or None, and directory of each run or grid.
        out: the directory for the files; None: of a single grid its own, else a new one below outputs/.

    Raises:
        Mistake: a directory is not a run, or nothing has been trained in it.
    """
    from comparisons.comparison import compare_runs, format_markdown, write_comparison
    from comparisons.page import PAGE, write_page

    groups = [(label, resolve_path(path, "runs")) for label, path in runs]
    comparisons = compare_runs(groups)
    is_grid = len(groups) == 1 and (groups[0][1] / GRID_JSON).exists()
    default = groups[0][1] if is_grid else Path("outputs/comparisons") / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = resolve_path(out, "out") if out else default
    for one in comparisons:
        print(one.game)
        verdicts = [verdict.describe() for verdict in one.verdicts]
        print("\n".join(f"  {line}" for line in verdicts or ["one arm: there is nothing to compare it with"]))
    try:
        write_comparison(comparisons, folder)
        write_page(comparisons, folder)
    except OSError as error:
        print(format_markdown(comparisons))
        print(f"the comparison was not saved in {folder}: {format_error(error)}", file=sys.stderr)
        return 1
    print(f"comparison: {folder / PAGE}, with tables and figures beside it")
    return 0
