"""Probes: questions to the live objects of an experiment, each with a finding.

    @probe(...) on a function of a Subject -> PROBES -> audit/report.py asks those that apply

A finding is PASS, DIFFERS, FAIL or SKIPPED. DIFFERS: the suite computes what it says, and knowingly not what its
reference computes; or a learner of the user's own does. FAIL: the suite does not compute what it says. SKIPPED: there
was nothing to compare.
"""

import functools
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

PASS, DIFFERS, FAIL, SKIPPED = "PASS", "DIFFERS", "FAIL", "SKIPPED"


class Untested(Exception):
    """Raised by a probe that has nothing to compare; the message says why."""


class Finding(NamedTuple):
    """The answer to a question."""

    status: str  # PASS, DIFFERS, FAIL or SKIPPED
    found: str  # what was measured, with numbers


class Probe(NamedTuple):
    """A question, where its code is, what others do, and the function that answers it."""

    subject: str  # the heading in the table: frames, games, returns, ...
    question: str
    code: str  # the file and function that it is about
    others: str  # what the paper, baselines, Stable-Baselines3 and CleanRL do
    needs: frozenset[str]  # words that `Subject.words` must hold, such as "atari", "ppo"; all of them
    answer: Callable[[Any], Finding]


PROBES: list[Probe] = []


def probe(subject: str, code: str, others: str, needs: Iterable[str] = ()) -> Callable[[Any], Any]:
    """Return a decorator that adds a function of a Subject to PROBES; its docstring is what is asked.

    A function that raises Untested has the finding SKIPPED.

    Args:
        subject, code, others, needs: see Probe.
    """

    def add(answer: Callable[[Any], Finding]) -> Callable[[Any], Finding]:
        question = str(answer.__doc__).rstrip(".")
        if question[1].islower() or question[1] == " ":
            question = question[0].lower() + question[1:]

        @functools.wraps(answer)
        def ask(live: Any) -> Finding:
            try:
                return answer(live)
            except Untested as reason:
                return Finding(SKIPPED, str(reason))

        PROBES.append(Probe(subject, question, code, others, frozenset(needs), ask))
        return ask

    return add


def judge(holds: bool, found: str, differs: bool = False) -> Finding:
    """Return the finding of a probe: FAIL where it does not hold, else DIFFERS or PASS."""
    return Finding(FAIL if not holds else DIFFERS if differs else PASS, found)


def judge_rule(subject: Any, holds: bool, found: str) -> Finding:
    """Return the finding of a probe of what a learner computes: where it does not hold FAIL, or DIFFERS if the learner
    is the user's own."""
    if holds or not subject.own:
        return judge(holds, found)
    return Finding(DIFFERS, f"{found}; the learner is your own, of {subject.own}: a rule of its own may be meant")
