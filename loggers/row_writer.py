"""The writer of rows: each row of a seed goes to progress.csv, workers.csv and TensorBoard at once."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from run_directory.layout import PROGRESS_CSV, TENSORBOARD, WORKERS_CSV
from run_directory.progress_table import ProgressTable, read_rows
from run_directory.tensorboard import CurveWriter


class RowWriter:
    """Writes the rows of one run, or of several seeds.

    Args:
        dirs: seed -> run directory.
        parent: with several seeds, the directory above them; its progress.csv has all rows, and a column `seed`.
        tensorboard: whether TensorBoard gets the rows as well.
    """

    def __init__(self, dirs: dict[int, Path], parent: Path, tensorboard: bool = True):
        self.dirs, self.tensorboard = dirs, tensorboard
        self.tables = {seed: ProgressTable(path / PROGRESS_CSV) for seed, path in dirs.items()}
        self.workers: dict[int, ProgressTable] = {}
        self.merged = ProgressTable(parent / PROGRESS_CSV) if parent not in dirs.values() else None
        self.curves: dict[int, CurveWriter] = {}

    def begin(self, seed: int, agent_steps: int) -> None:
        """Drop the rows beyond the checkpoint that a training process starts from, and begin a file of TensorBoard.

        Without this, old rows would stay in the file if the first new row came after them.

        Args:
            seed: the seed that starts.
            agent_steps: the agent steps of the checkpoint; 0 without a checkpoint.
        """
        self.tables[seed].drop_rows_beyond(agent_steps)
        if self.merged:
            self.merged.drop_rows_beyond(agent_steps, value=str(seed))
            if rows := read_rows(self.tables[seed].path):  # others than are merged, if the seed was trained by itself
                self.merged.replace_rows(rows, str(seed))
        if (self.dirs[seed] / WORKERS_CSV).exists():
            self.open_worker_table(seed).drop_rows_beyond(agent_steps)
        if seed in self.curves:
            self.curves.pop(seed).close()
        if self.tensorboard:
            self.curves[seed] = CurveWriter(self.dirs[seed], agent_steps + 1)

    def list_tables(self, seed: int) -> list[tuple[ProgressTable, str | None]]:
        """Return every progress.csv that has the rows of a seed, with the key of its rows in `ProgressTable.latest`."""
        return [(self.tables[seed], None), *([(self.merged, str(seed))] if self.merged else [])]

    def open_worker_table(self, seed: int) -> ProgressTable:
        """Return the table of A3C's workers; the first call reads it."""
        if seed not in self.workers:
            self.workers[seed] = ProgressTable(self.dirs[seed] / WORKERS_CSV, key="worker")
        return self.workers[seed]

    def add(
        self,
        seed: int,
        row: dict[str, Any],
        workers: Sequence[dict[str, Any]] = (),
        find_evaluation: Callable[[dict[str, str]], dict[str, Any]] = lambda latest: {},
    ) -> dict[str, Any]:
        """Write a row of progress.csv, and the rows of A3C's workers that belong to it.

        Args:
            seed: the seed that reports.
            row: what it reports.
            workers: the rows of workers.csv; [] without A3C.
            find_evaluation: given the newest cells of a progress.csv, with the agent steps of this row, returns the
                columns of an evaluation that it lacks. TensorBoard gets evaluations from elsewhere.

        Returns:
            The columns of an evaluation that were added to the row.
        """
        added: dict[str, Any] = {}
        for table, key in self.list_tables(seed):
            table.drop_rows_from(int(row["agent_steps"]), key)  # an evaluation in them is to be added again
            latest = table.latest.get(key, {}) | {"agent_steps": str(row["agent_steps"])}
            added |= (columns := find_evaluation(latest))
            table.append(({} if key is None else {"seed": seed}) | row | columns)
        for worker in workers:
            self.open_worker_table(seed).append({"agent_steps": row["agent_steps"]} | worker)
        if self.tensorboard and seed not in self.curves:
            self.curves[seed] = CurveWriter(self.dirs[seed], row["agent_steps"])
        if self.tensorboard:
            self.curves[seed].add(row)
        return added

    def amend(self, seed: int, find_evaluation: Callable[[dict[str, str]], dict[str, Any]]) -> dict[str, Any]:
        """Add the columns of an evaluation to the last row of a seed, in every progress.csv whose row lacks them.

        Args:
            seed: the seed that was evaluated.
            find_evaluation: as in `add`.

        Returns:
            The columns that were added to the progress.csv of the seed itself, with the agent steps of the row.
        """
        added: dict[str, Any] = {}
        for table, key in self.list_tables(seed):
            latest = table.latest.get(key)
            if latest and (columns := find_evaluation(latest)):
                table.amend(columns, key)
                if key is None:
                    added = {"agent_steps": latest["agent_steps"]} | columns
        return added

    def close(self) -> None:
        """Close the files of TensorBoard. `close` may be called again; `add` opens a new file if it has to."""
        while self.curves:
            self.curves.popitem()[1].close()


def write_hparams(run: Path, values: dict[str, Any], score: float) -> None:
    """Write the values of a trial and its final score, which TensorBoard shows under HParams.

    Args:
        run: the run directory of the trial.
        values: setting -> value.
        score: the score at the end of its budget.
    """
    from tensorboardX import SummaryWriter  # imports torch, which the driver need not wait for

    with SummaryWriter(str(run / TENSORBOARD)) as writer:
        plain = {k: v if isinstance(v, bool | int | float | str) else str(v) for k, v in values.items()}
        writer.add_hparams(plain, {"score": score}, name="hparams")
