"""progress.csv and workers.csv: tables to which training adds row after row, while others read them."""

import csv
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from run_directory.files import explain_damage, read_count, read_number, read_table
from run_directory.layout import PROGRESS_CSV
from run_directory.writing import replace_file
from settings.mistakes import Mistake


class NoRows(Mistake):
    """The progress.csv of a run has no rows yet."""


class ProgressTable:
    """A table whose rows are sorted by agent_steps, with no row twice, even if the writing process was killed.

    A run that starts again from a checkpoint drops the rows beyond the checkpoint. `append` drops the rows of the same
    run or worker that are at or beyond the new row. Rows are not kept in memory: a long run has tens of thousands.

    Args:
        path: the path of the file; existing rows are kept.
        key: the column that names the run or worker of a row, if several share the file: `seed` or `worker`.

    Attributes:
        header: the columns.
        latest: run or worker, None where the table has no such column -> the newest cell of each column that is filled.
    """

    def __init__(self, path: Path, key: str = "seed"):
        self.path, self.key = path, key
        self.header: list[str] = []
        self.latest: dict[str | None, dict[str, str]] = {}
        self._note(read_rows(path))
        self._complete = not path.exists() or path.read_bytes().endswith(b"\n")  # the last line

    @property
    def last_step(self) -> int:
        """The agent steps of the newest row; -1 if there is no row."""
        return max((int(cells["agent_steps"]) for cells in self.latest.values()), default=-1)

    def drop_rows_beyond(self, agent_steps: int, value: str | None = None) -> None:
        """Drop the rows beyond a number of agent steps: all, or only those that have `value` in the key column."""
        if not any(int(r["agent_steps"]) > agent_steps for key, r in self.latest.items() if value in (None, key)):
            return  # a long table takes a second to read
        rows = read_rows(self.path)
        kept = [r for r in rows if int(r["agent_steps"]) <= agent_steps or value not in (None, r.get(self.key))]
        if len(kept) < len(rows):
            self._rewrite(kept)

    def drop_rows_from(self, agent_steps: int, value: str | None = None) -> None:
        """Drop the rows of a run or worker at or beyond `agent_steps`; where there are none, nothing is read."""
        if not self._complete:  # of the last row that was written, all, a part or nothing may be there
            self._rewrite(read_rows(self.path))
        if value in self.latest and agent_steps <= int(self.latest[value]["agent_steps"]):
            self.drop_rows_beyond(agent_steps - 1, value)

    def append(self, row: dict[str, Any]) -> None:
        """Add a row, and drop the rows of the same run or worker that are at or beyond it."""
        row = {name: str(value) for name, value in row.items()}
        steps, value = int(row["agent_steps"]), row.get(self.key)
        self.drop_rows_from(steps, value)
        is_empty = not self.path.exists() or self.path.stat().st_size == 0  # also where somebody deleted or emptied it
        if is_empty or row.keys() - set(self.header):
            self._rewrite([*read_rows(self.path), row])
        else:
            self._complete = False  # if this fails, a part of the line may be there
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.header, restval="", lineterminator="\n").writerow(row)
            self._complete = True
            self._note([row])

    def amend(self, cells: dict[str, Any], value: str | None = None) -> None:
        """Add cells, if there are any, to the newest row of a run or worker, by writing the whole file again."""
        rows = read_rows(self.path) if cells else []
        for newest in [row for row in rows if row.get(self.key) == value][-1:]:  # none if somebody deleted the file
            newest.update((name, str(cell)) for name, cell in cells.items())
            self._rewrite(rows)

    def replace_rows(self, rows: list[dict[str, Any]], value: str) -> None:
        """Put other rows in the place of those of a run or worker, unless they are the same."""
        known = read_rows(self.path)
        own = [row for row in known if row.get(self.key) == value]
        if len(own) != len(rows) or any(o.get(k, "") != r[k] for o, r in zip(own, rows, strict=True) for k in r):
            merged = [*(row for row in known if row.get(self.key) != value), *({self.key: value} | row for row in rows)]
            self._rewrite(sorted(merged, key=lambda row: int(row["agent_steps"])))

    def _rewrite(self, rows: list[dict[str, str]]) -> None:
        """Write the whole file again; if that fails, the file and what is known of it stay as they were."""
        header = list(dict.fromkeys([*self.header, *(name for row in rows for name in row)]))
        with replace_file(self.path) as temporary, open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, header, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        self.latest = {}
        self._note(rows)
        self._complete = True

    def _note(self, rows: list[dict[str, str]]) -> None:
        """Note the columns of rows, and their filled cells as the newest."""
        self.header = list(dict.fromkeys([*self.header, *(name for row in rows for name in row)]))
        for row in rows:
            newest = self.latest.setdefault(row.get(self.key), {})
            newest.update((name, cell) for name, cell in row.items() if cell)


def read_rows(path: Path) -> list[dict[str, str]]:
    """Read all rows of a table, without an incomplete last line, which a killed process may leave.

    Raises:
        Mistake: the file is damaged.
    """
    kinds = {
        "agent_steps": lambda cell: str(read_count(cell)),
        "evaluation_agent_steps": lambda cell: cell and str(read_count(cell)),
    }
    return read_table(path, kinds, required=("agent_steps",), grows=True)


def lacks_rows(run: Path, agent_steps: float) -> bool:
    """Return whether progress.csv ends long before a checkpoint: by more than twice the distance of its rows."""
    steps = [0, *(int(row["agent_steps"]) for row in read_rows(run / PROGRESS_CSV))]
    known = [step for step in steps if step <= agent_steps]
    apart = max((b - a for a, b in zip(known, known[1:], strict=False)), default=0)
    return agent_steps - known[-1] > 2 * apart


def read_progress(run: Path, columns: Iterable[str], if_reported: Iterable[str] = ()) -> dict[str, Any]:
    """Read columns of progress.csv: float [R], NaN for an empty cell. An incomplete last line is skipped.

    Args:
        run: the run directory.
        columns: names of columns that every run has.
        if_reported: names of columns that not every run has; the result lacks those that the run does not have.

    Raises:
        NoRows: the file has no rows yet.
        Mistake: the file is damaged.
    """
    path = run / PROGRESS_CSV
    kinds = dict.fromkeys((*columns, *if_reported), read_number) | {"agent_steps": read_count}
    rows = read_table(path, kinds, required=list(columns), grows=True)
    if not rows:
        raise NoRows(f"run={run}: its {PROGRESS_CSV} has no rows yet; wait for the first, or leave this run out")
    steps = [row["agent_steps"] for row in rows]
    if (falls := next((i for i in range(1, len(steps)) if steps[i] <= steps[i - 1]), None)) is not None:
        raise explain_damage(path, f"agent_steps do not rise in line {falls + 2}")
    names = [*columns, *(name for name in if_reported if name in rows[0])]
    import numpy as np  # here, because --help and a mistake are answered without it

    return {name: np.array([row[name] for row in rows], float) for name in names}
