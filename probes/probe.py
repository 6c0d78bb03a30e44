"""Probes: questions to the live objects of an experiment, each with a finding.

    @probe(...) on a function of a Subject -> PROBES -> audit/report.py asks those that apply

A finding is PASS, DIFFERS or FAIL. DIFFERS: the suite computes what it says, and knowingly not what its reference
computes. FAIL: the suite does not compute what it says.
"""

from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

PASS, DIFFERS, FAIL = "PASS", "DIFFERS", "FAIL"


class Finding(NamedTuple):
    """The answer to a question."""

    status: str  # PASS, DIFFERS or FAIL
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

    Args:
        subject, code, others, needs: see Probe.
    """

    def add(answer: Callable[[Any], Finding]) -> Callable[[Any], Finding]:
        question = str(answer.__doc__).rstrip(".")
        if question[1].islower() or question[1] == " ":
            question = question[0].lower() + question[1:]
        PROBES.append(Probe(subject, question, code, others, frozenset(needs), answer))
        return answer

    return add


def judge(holds: bool, found: str, differs: bool = False) -> Finding:
    """Return the finding of a probe: FAIL where it does not hold, else DIFFERS or PASS."""
    return Finding(FAIL if not holds else DIFFERS if differs else PASS, found)
