"""Rows of progress.csv for Weights & Biases and MLflow: every seed's run directory is a run there.

    row -> RunLogs -> a Sender for each logger (sender.py: queue, thread, process) -> W&B, MLflow

A row is sent once. Where a training starts again from a checkpoint, rows are sent from the one on that is beyond all
that were sent before, because neither W&B nor MLflow takes rows back. A logger that was added when a run was resumed,
or that keeps its runs at another place now, is sent the earlier rows of progress.csv first. So is W&B offline at every
start, since only its newest file counts. One that has lost rows is sent all from the first lost one on; after a kill,
all from the first that is not known to have arrived, so MLflow may show some twice. The newest evaluation that comes in
after the last row is added to that row.

Nothing here raises an error or waits, but for `close`, which waits CLOSE_S seconds, and EACH_S more for each open run,
at most.
"""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from loggers.check import TENSORBOARD, find_place, get_wandb_mode
from loggers.identity import describe_run, make_identity, read_identity, record_loss, write_identity
from loggers.sender import Sender
from run_directory.layout import PROGRESS_CSV
from run_directory.progress_table import read_rows
from settings.mistakes import Mistake, format_error

CLOSE_S = 15.0  # that the end of a training waits for loggers
EACH_S = 3.0  # and for each run that is still open
NOTE_S = 60.0  # between two notes, in loggers.json, of the rows that have arrived


@contextmanager
def open_logs(settings: dict, folder: Path, say: Callable[[str], None]) -> Iterator["RunLogs"]:
    """Yield the loggers of a training, a search or a grid, and close them afterwards.

    Args:
        settings, folder: those of RunLogs.
        say: shows a sentence.
    """
    logs = RunLogs(settings, folder)
    try:
        yield logs
    except BaseException:
        logs.fail_trainings()
        raise
    finally:
        for sentence in logs.close():
            say(sentence)


class RunLogs:
    """The loggers of a training, a search or a grid.

    Args:
        settings: of the run, the search or an arm of the grid; `logger` names the loggers.
        folder: of the run, the search or the grid.

    Attributes:
        tensorboard: whether the files of TensorBoard are written, which run_directory/ does.
    """

    def __init__(self, settings: dict, folder: Path):
        names = dict.fromkeys(settings["logger"] or ())
        self.tensorboard = TENSORBOARD in names
        self.settings, self.folder = settings, folder
        self.senders: dict[str, Sender] = {name: Sender(name) for name in names if name != TENSORBOARD}
        self.newest: dict[Path, dict[str, int]] = {}  # open run directory -> logger -> agent steps of its newest row
        self.opened: set[str] = set()  # run directories whose loggers.json says since when rows may be missing
        self.next_note = time.monotonic() + NOTE_S
        self.failed: set[Path] = set()  # run directories whose training has failed
        self.ended: set[Path] = set()  # those whose training has ended, in whatever way
        self.notices: list[str] = []

    def begin(self, run: Path, agent_steps: int) -> None:
        """Open the run of a seed; it has to be called before the rows beyond its checkpoint are dropped.

        Args:
            run: the run directory of the seed.
            agent_steps: those from which it trains on.
        """
        if not self.senders or run in self.newest:
            return
        newest = self.newest[run] = dict[str, int]()
        self.ended.discard(run)
        try:
            identity = read_identity(run) or make_identity(run, self.folder, self.settings)
            rows, facts = read_rows(run / PROGRESS_CSV), describe_run(run, identity)
            for name, sender in self.senders.items():
                sender.open(str(run), facts)
                first = math.inf if str(run) in self.opened else find_first_missing(name, identity)
                again = [row for row in rows if first <= int(row["agent_steps"]) <= agent_steps]
                if again:
                    sender.send_rows(str(run), [clean_row(row) for row in again])
                known = rows if first == math.inf else again
                least = identity["sent"][name] if first == math.inf else first - 1
                newest[name] = max([int(least), *(int(row["agent_steps"]) for row in known)])
                identity["sent"][name], identity["places"][name] = newest[name], find_place(name)
                since = identity["missing"].get(name, math.inf)  # of a run that this driver has opened before
                identity["missing"][name] = int(min(first, since, newest[name] + 1))  # until they are known to arrive
            write_identity(run, identity)
            self.opened.add(str(run))
        except Exception as error:  # a damaged file, a full disk: training goes on
            self.notices.append(f"{run}: no rows are sent to {' and '.join(self.senders)}: {format_error(error)}")
            newest.clear()

    def report(self, run: Path, row: Mapping[str, Any]) -> None:
        """Send a new row, unless a row with as many agent steps was sent before."""
        if self.senders and time.monotonic() >= self.next_note:
            self.next_note = time.monotonic() + NOTE_S
            self.note_arrived()
        newest = self.newest.get(run, {})
        for name, steps in newest.items():
            if row["agent_steps"] > steps:
                self.senders[name].send_rows(str(run), [clean_row(row)])
                newest[name] = int(row["agent_steps"])

    def note_arrived(self) -> None:
        """Write into loggers.json of all open runs which rows have arrived, so that few are sent again after a kill."""
        for run in self.newest:
            with suppress(OSError, Mistake):  # then more are sent again
                if identity := read_identity(run):
                    for name, sender in self.senders.items():
                        if (first := sender.find_first_unsent(str(run))) is not None:
                            identity["missing"][name] = first
                    write_identity(run, identity)

    def amend(self, run: Path, cells: Mapping[str, Any]) -> None:
        """Send cells that were added to the last row of a run, its `agent_steps` among them; a run that has ended is
        opened again."""
        self.begin(run, int(cells["agent_steps"]))
        for name in self.newest.get(run, ()):
            self.senders[name].send_amendment(str(run), clean_row(cells))

    def end_training(self, runs: Iterable[Path], failed: bool, may_come: bool) -> None:
        """Note that seeds no longer train. Their runs are ended now, or by `close` where an evaluation `may_come`."""
        runs = list(runs)
        self.ended |= {*runs}
        self.failed |= {*runs} if failed else set()
        if not may_come:
            self.finish(runs, failed)

    def fail_trainings(self) -> None:
        """Note that all trainings under way have failed, as where Ray's processes have died."""
        self.failed |= self.newest.keys() - self.ended

    def finish(self, runs: Iterable[Path], failed: bool) -> None:
        """End the runs of seeds, if they are open; loggers.json keeps whether they have failed."""
        for run in runs:
            if run in self.newest:
                if self.newest.pop(run):  # not where its files could not be read
                    self.record_end(run, failed)
                for sender in self.senders.values():
                    sender.finish(str(run), failed)

    def record_end(self, run: Path, failed: bool) -> None:
        """Write into loggers.json whether a run has failed: what is sent to it later leaves it in this state."""
        try:
            identity = read_identity(run)
            if identity and identity.get("failed", False) != failed:
                write_identity(run, identity | {"failed": failed})
        except (OSError, Mistake) as error:
            self.notices.append(f"{run}: its end is not recorded in loggers.json: {format_error(error)}")

    def take_notices(self) -> list[str]:
        """Return what the user should know and has not been told yet."""
        notices, self.notices = self.notices, []
        return notices + [sentence for sender in self.senders.values() for sentence in sender.take_notices()]

    def close(self, limit_s: float | None = None) -> list[str]:
        """End all runs, and wait until everything is sent, `limit_s` seconds at most; by default CLOSE_S, and EACH_S
        for each open run.

        Returns:
            Sentences for the user; one for each logger that has lost rows. run.json has the same.
        """
        limit_s = CLOSE_S + EACH_S * len(self.newest) if limit_s is None else limit_s
        for run in list(self.newest):
            self.finish([run], failed=run in self.failed)
        deadline = time.monotonic() + limit_s
        for sender in self.senders.values():
            sender.close(deadline)
        sentences = self.take_notices()
        for sender in self.senders.values():
            sentences += (losses := sender.describe_losses())
            if sender.unfinished and not losses:
                sentences.append(explain_unfinished(sender, limit_s))
        return sentences + self.record_losses()

    def record_losses(self) -> list[str]:
        """Write into run.json which rows were lost, and into loggers.json where they begin.

        Returns:
            A sentence for each run directory that cannot be written.
        """
        complaints = []
        lossy = {run for sender in self.senders.values() for run, rows in sender.lost.items() if rows}
        for run in lossy | self.opened:
            try:
                lost = {
                    name: {"rows": sender.lost[run], "why": sender.reason}
                    for name, sender in self.senders.items()
                    if sender.lost[run]
                }
                if lost:
                    record_loss(Path(run), lost)
                if identity := read_identity(Path(run)):
                    for name, sender in self.senders.items():
                        identity["missing"].pop(name, None)
                        if run in sender.lost_from:
                            identity["missing"][name] = sender.lost_from[run]
                    write_identity(Path(run), identity)
            except (OSError, Mistake) as error:
                complaints.append(f"{run}: it is not recorded there which rows were not sent: {format_error(error)}")
        return complaints


def find_first_missing(name: str, identity: dict[str, Any]) -> float:
    """Return the agent steps from which on a logger lacks rows of a run: 0 if it has none, infinity if it has all."""
    is_elsewhere = identity["places"].get(name, find_place(name)) != find_place(name)
    if name not in identity["sent"] or is_elsewhere or (name == "wandb" and get_wandb_mode() == "offline"):
        return 0
    return identity["missing"].get(name, math.inf)


def clean_row(row: Mapping[str, Any]) -> dict[str, float]:
    """Return the numbers of a row that are finite; `row` has numbers or the texts of a CSV file."""
    numbers = {name: float(value) for name, value in row.items() if value != ""}
    return {name: value for name, value in numbers.items() if math.isfinite(value)}


def explain_unfinished(sender: Sender, limit_s: float) -> str:
    """Return a sentence on a logger that has all rows, and had not finished when it was ended."""
    how = "; wandb sync <run directory>/wandb/<its newest folder> sends the rest" if sender.name == "wandb" else ""
    return f"logger={sender.name}: it was still sending after {limit_s:g} s, and was ended{how}"
