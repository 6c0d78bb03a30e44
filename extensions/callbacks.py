"""Callbacks: a user's own code that hears of a run's start, rows, checkpoints and end.

    callbacks=[my_module:MyCallback,{my_module:Other: {every: 10}}]

    Ray Tune's events -> Recorder (runs/tuning.py) -> Callbacks -> on_start, on_row, on_checkpoint, on_end

Callbacks are called in the driver, one after the other and between two events, so a slow one delays the display and the
checkpoints of all runs. An exception of a callback stops the training with a checkpoint, and exit code 1.
"""

import difflib
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from settings.mistakes import Mistake
from settings.own_parts import Part, describe_error, import_class, read_parts

METHODS = ("on_start", "on_row", "on_checkpoint", "on_end")


@dataclass(frozen=True)
class Run:
    """The run of one seed, as callbacks see it.

    Attributes:
        directory: its run directory, which has config.yaml, progress.csv and checkpoints/.
        seed: its seed.
        label: its name in what is printed: `seed 3`, of a search `trial 7`, of a grid the arm and the seed.
        settings: the settings of the experiment, nested as in config.yaml.
    """

    directory: Path
    seed: int
    label: str
    settings: dict[str, Any]


class Callback:
    """The methods of a callback. A subclass writes those that it needs; its constructor takes the arguments in the
    setting `callbacks`."""

    def on_start(self, run: Run) -> None:
        """Called when a training process of the run has started, also when a run continues."""

    def on_row(self, run: Run, row: dict[str, Any]) -> None:
        """Called with each row of progress.csv, column -> number, after it was written; changes in it are lost."""

    def on_checkpoint(self, run: Run, checkpoint: Path) -> None:
        """Called with the folder of each new checkpoint; `load_agent(run.directory, str(checkpoint))` plays with it."""

    def on_end(self, run: Run, failure: str | None) -> None:
        """Called when the training of the run has ended in this process.

        Args:
            run: the run.
            failure: why it failed; None where it came to its end, or was stopped and can continue.
        """


class Callbacks:
    """The callbacks of a training, a grid or a search.

    Args:
        settings: those of the experiment; `callbacks` names the classes.
        stop: asks the training to stop with a checkpoint, given a sentence that says why. It is called at the first
            exception of a callback; no callback is called after that.

    Raises:
        Mistake: a callback cannot be imported or made.
    """

    def __init__(self, settings: dict[str, Any], stop: Callable[[str], None]):
        self._stop, self._is_broken = stop, False
        self._callbacks = [make_callback(part) for part in read_parts("callbacks", settings.get("callbacks"))]
        self._started: dict[Path, Run] = {}  # run directory -> a run that has started and not ended

    def start(self, run: Run) -> None:
        """Tell the callbacks that a run has started; nothing, if it only starts again after a process was lost."""
        if run.directory not in self._started:
            self._started[run.directory] = run
            self._call("on_start", run)

    def add_row(self, directory: Path, row: dict[str, Any]) -> None:
        """Tell the callbacks of a new row of a run that has started."""
        if run := self._started.get(directory):
            self._call("on_row", run, dict(row))

    def add_checkpoint(self, directory: Path, checkpoint: Path) -> None:
        """Tell the callbacks of a new checkpoint of a run that has started."""
        if run := self._started.get(directory):
            self._call("on_checkpoint", run, checkpoint)

    def end(self, directory: Path, failure: str | None = None) -> None:
        """Tell the callbacks that a run has ended, if it had started."""
        if run := self._started.pop(directory, None):
            self._call("on_end", run, failure)

    def end_all(self, failure: str | None) -> None:
        """Tell the callbacks that all runs have ended which have not ended yet."""
        for directory in list(self._started):
            self.end(directory, failure)

    def _call(self, method: str, *arguments: Any) -> None:
        """Call a method of every callback that has it, and stop the training at the first exception."""
        for callback in self._callbacks:
            if self._is_broken:
                return
            try:
                if function := getattr(callback, method, None):
                    function(*arguments)
            except (Exception, SystemExit) as error:  # a user's code may raise anything
                kind, self._is_broken = type(callback), True
                self._stop(f"callbacks: {kind.__module__}:{kind.__name__}.{method} raised {describe_error(error)}")


def check_callbacks(value: list) -> None:
    """Refuse callbacks that cannot be imported, have none of METHODS, or do not take their arguments.

    Raises:
        Mistake: one cannot work.
    """
    for part in read_parts("callbacks", value):
        import_callback(part)


def import_callback(part: Part) -> type:
    """Import the class of a callback, and check that it can be called and takes its arguments.

    Raises:
        Mistake: it cannot work.
    """
    kind = import_class(part.name, "callbacks")
    if not any(callable(getattr(kind, method, None)) for method in METHODS):
        raise Mistake(f"callbacks={part.name}: it has none of the methods {', '.join(METHODS)}", "callbacks")
    own = {name: one for base in reversed(kind.__mro__) if base is not Callback for name, one in vars(base).items()}
    for name, one in own.items():
        near = difflib.get_close_matches(name, METHODS, n=1, cutoff=0.85)
        if near and name not in METHODS and name[:1] != "_" and inspect.isfunction(one):
            raise Mistake(f"callbacks={part.name}: {name} is never called; did you mean {near[0]}?", "callbacks")
        if name in METHODS and inspect.iscoroutinefunction(one):
            raise Mistake(f"callbacks={part.name}: {name} is async, and nobody awaits it; write def", "callbacks")
        if name in METHODS and inspect.isfunction(one):
            wanted = list(inspect.signature(getattr(Callback, name)).parameters)
            try:
                inspect.signature(one).bind(*wanted)
            except TypeError as error:
                how = f"{name}({', '.join(wanted)})"
                raise Mistake(f"callbacks={part.name}: it has to be {how} ({error})", "callbacks") from error
    try:
        inspect.signature(kind).bind(**part.arguments)
    except (TypeError, ValueError) as error:
        raise Mistake(f"callbacks={part.name}: it does not take these arguments ({error})", "callbacks") from error
    return kind


def make_callback(part: Part) -> Any:
    """Make the object of a callback.

    Raises:
        Mistake: its constructor raised an exception, it has only the empty methods of Callback, or `import_callback`
            refuses it.
    """
    kind = import_callback(part)
    try:
        made = kind(**part.arguments)
    except (Exception, SystemExit) as error:  # a user's constructor may raise anything
        raise Mistake(f"callbacks={part.name}: it cannot be made ({describe_error(error)})") from error
    methods = [(getattr(made, name, None), getattr(Callback, name)) for name in METHODS]
    if all(getattr(method, "__func__", method) in (None, empty) for method, empty in methods):
        raise Mistake(f"callbacks={part.name}: it has none of the methods {', '.join(METHODS)}", "callbacks")
    return made
