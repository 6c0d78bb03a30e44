"""Callbacks: when they are called, with what, and what becomes of their exceptions."""

import re
import sys
import types
from pathlib import Path

import pytest

from extensions.callbacks import Callback, Callbacks, Run, check_callbacks
from runs.interrupt import Interrupt
from settings.mistakes import Mistake

RUN = Run(Path("/runs/one"), 3, "seed 3", {"algo": {"name": "ppo"}})
HEARD: list[tuple] = []


class Listener(Callback):
    """Writes down what it hears."""

    def __init__(self, name: str = "listener"):
        self.name = name

    def on_start(self, run):
        HEARD.append((self.name, "start", run.seed))

    def on_row(self, run, row):
        HEARD.append((self.name, "row", row["agent_steps"]))

    def on_checkpoint(self, run, checkpoint):
        HEARD.append((self.name, "checkpoint", checkpoint))

    def on_end(self, run, failure):
        HEARD.append((self.name, "end", failure))


class OnlyRows:
    """Derives from nothing, and has one method."""

    def on_row(self, run, row):
        raise KeyError(row["agent_steps"])


class Unusual(Callback):
    """Works: a method of its own, one that needs no object, and one that is switched off."""

    on_end = None

    def on_new_best(self, score):
        raise AssertionError

    @staticmethod
    def on_row(run, row):
        HEARD.append(("unusual", "row", row["agent_steps"]))


class Misspelt(Callback):
    def on_rows(self, run, row):
        raise AssertionError


class Private(Callback):
    def on_row(self, run, row):
        self._on_row(row)

    def _on_row(self, row):
        raise AssertionError


class Short(Callback):
    def on_row(self, row):
        raise AssertionError


class Empty(Callback):
    def on_step(self, step):
        raise AssertionError


class MadeLater(Callback):
    def __init__(self):
        self.on_row = lambda run, row: "heard"


class Async(Callback):
    async def on_row(self, run, row):
        raise AssertionError


@pytest.fixture(autouse=True)
def users_code(monkeypatch):
    module = types.ModuleType("users_code")
    module.__file__ = "users_code.py"
    for kind in (Listener, OnlyRows, Path, Unusual, Misspelt, Private, Short, Empty, MadeLater, Async):
        setattr(module, kind.__name__, kind)
    monkeypatch.setitem(sys.modules, "users_code", module)
    HEARD.clear()


def make_callbacks(*value) -> tuple[Callbacks, list[str]]:
    said: list[str] = []
    return Callbacks({"callbacks": list(value)}, said.append), said


def test_all_callbacks_hear_everything_in_their_order():
    callbacks, said = make_callbacks("users_code:Listener", {"users_code:Listener": {"name": "other"}})
    callbacks.start(RUN)
    callbacks.start(RUN)  # after its process was lost
    callbacks.add_row(RUN.directory, {"agent_steps": 7})
    callbacks.add_checkpoint(RUN.directory, RUN.directory / "checkpoints" / "last")
    callbacks.end(RUN.directory)
    callbacks.end(RUN.directory)
    last = RUN.directory / "checkpoints" / "last"
    wanted = [("start", 3), ("row", 7), ("checkpoint", last), ("end", None)]
    assert [(name, *what) for what in wanted for name in ("listener", "other")] == HEARD
    assert said == []


def test_runs_that_are_left_are_ended_with_a_reason():
    callbacks, _ = make_callbacks("users_code:Listener")
    callbacks.start(RUN)
    callbacks.end_all("no node is left")
    assert HEARD[-1] == ("listener", "end", "no node is left")


def test_the_first_exception_stops_the_training_and_silences_all_callbacks():
    callbacks, said = make_callbacks("users_code:OnlyRows", "users_code:Listener")
    callbacks.start(RUN)
    callbacks.add_row(RUN.directory, {"agent_steps": 7})
    callbacks.add_row(RUN.directory, {"agent_steps": 8})
    callbacks.end(RUN.directory)
    assert HEARD == [("listener", "start", 3)]
    (sentence,) = said
    assert re.search(r"^callbacks: .*OnlyRows\.on_row raised KeyError: 7 \(test_callbacks\.py, line \d+\)$", sentence)


def test_the_reason_of_a_callback_stays_that_of_the_stop():
    Interrupt.clear()
    Interrupt.stop_for("a callback")
    Interrupt.stop_for("another")
    assert Interrupt.stop_requested and Interrupt.reason == "a callback" and not Interrupt.stop_without_checkpoint
    Interrupt.clear()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("users_code:Listner", "did you mean users_code:Listener"),
        ("users_code:Path", "none of the methods on_start, on_row"),
        ({"users_code:Listener": {"nam": "x"}}, "does not take these arguments .*nam"),
        ("users_code:Misspelt", "on_rows is never called; did you mean on_row"),
        ("users_code:Async", "on_row is async"),
        ("users_code:Short", r"has to be on_row\(self, run, row\)"),
        ("nowhere_to_be_found:Listener", "no module nowhere_to_be_found"),
    ],
)
def test_a_callback_that_cannot_work_is_refused(entry, said):
    with pytest.raises(Mistake, match=f"^callbacks=.*{said}"):
        check_callbacks([entry])


def test_a_callback_has_a_method_that_is_called():
    with pytest.raises(Mistake, match="^callbacks=users_code:Empty: it has none of the methods on_start, on_row"):
        make_callbacks("users_code:Empty")
    (made,) = make_callbacks("users_code:MadeLater")[0]._callbacks
    assert made.on_row(RUN, {}) == "heard"


def test_a_private_method_may_have_a_name_like_those_that_are_called():
    check_callbacks(["users_code:Private"])


def test_a_callback_that_is_written_in_another_way_works():
    check_callbacks(["users_code:Unusual"])
    callbacks, said = make_callbacks("users_code:Unusual")
    callbacks.start(RUN)
    callbacks.add_row(RUN.directory, {"agent_steps": 7})
    callbacks.end(RUN.directory)
    assert HEARD == [("unusual", "row", 7)] and said == []
