"""The command of this room: `command=compare`.

    run directories -> comparisons of each game, and over games -> verdicts on the screen, tables, figures and a page

The files that draw and play are imported where they are used, because they take seconds; a mistake is answered before.
"""

import sys
import time
from pathlib import Path
from typing import Any

from evidence.grid_arms import is_grid
from run_directory.layout import HINT, list_seed_runs
from run_directory.outputs import find_newest_run
from settings.mistakes import Mistake, format_error, resolve_path
from settings.suggestions import refuse_missing_directory


def compare(runs: list[tuple[str | None, str]], out: str | None) -> int:
    """Compare runs, write the files of the comparison, and print its verdicts; return the exit code.

    Args:
        runs: label, or None, and directory of each run or grid.
        out: the directory for the files; None: of a single grid its own, else a new one below outputs/.

    Raises:
        Mistake: a directory is not a run, or nothing has been trained in it.
    """
    groups = [(label, find_run(path)) for label, path in runs]  # before the imports: a mistake is answered at once
    from comparisons.comparison import compare_runs
    from comparisons.files import format_markdown, write_comparison
    from comparisons.overall import summarize_games
    from comparisons.page import PAGE, write_page

    comparisons = compare_runs(groups)
    overall = summarize_games(comparisons)
    of_grid = len(groups) == 1 and is_grid(groups[0][1])
    default = groups[0][1] if of_grid else Path("outputs/comparisons") / time.strftime("%Y-%m-%d_%H-%M-%S")
    folder = resolve_path(out, "out") if out else default
    print_verdicts(comparisons, overall)
    try:
        write_comparison(comparisons, overall, folder)
        write_page(comparisons, overall, folder)
    except OSError as error:
        print(format_markdown(comparisons, overall))
        print(f"the comparison was not saved in {folder}: {format_error(error)}", file=sys.stderr)
        return 1
    print(f"comparison: {folder / PAGE}, with tables and figures beside it")
    return 0


def find_run(path: str) -> Path:
    """Return the directory of a run or grid that `runs` names: `latest`, or a directory above runs, is the newest one.

    Raises:
        Mistake: there is no such directory, or no run in it.
    """
    refuse_missing_directory(path, "runs", ("latest",))
    folder = resolve_path(path, "runs")
    if path != "latest" and not folder.is_dir():
        raise Mistake(f"runs={path}: there is no such directory; {HINT}")
    if not is_grid(folder):
        folder = resolve_path(find_newest_run(path, "runs", "outputs", ("train",)), "runs")
        list_seed_runs(folder)
    return folder


def print_verdicts(comparisons: list[Any], overall: Any) -> None:
    """Print the verdicts on each game and over several games, and what has to be known before scores are compared."""
    from comparisons.notes import list_notes
    from comparisons.overall_tables import list_overall_verdicts, name_aggregate

    for one in comparisons:
        print(one.game)
        verdicts = [verdict.describe() for verdict in one.verdicts]
        print(
            "\n".join(f"  {line}" for line in verdicts or ["fewer than two arms have a score, so there is no verdict"])
        )
    for aggregate in overall.aggregates if overall else []:
        print(f"human-normalised, over {name_aggregate(aggregate)}")
        print("\n".join(f"  {line}" for line in list_overall_verdicts(aggregate)))
    for note in (*list_notes(comparisons), *(overall.notes if overall else [])):
        print(f"note: {note}")
