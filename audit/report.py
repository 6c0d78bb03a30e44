"""The audit: all probes that apply to an experiment, their table on a terminal, and the files with the same."""

import importlib
import json
import textwrap
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

from probes.audit_file import AUDIT_JSON, AUDIT_MD
from probes.probe import DIFFERS, FAIL, PASS, PROBES, SKIPPED, Finding, Probe
from probes.subject import Subject
from run_directory.checkpoints import read_totals
from run_directory.provenance import describe_commit
from settings.mistakes import format_error

SUBJECTS = ("frames", "games", "seeds", "returns", "loss", "optimizer", "network", "run", "settings")
WIDTH = 80
MODULES = ["probes.frames", "probes.games", "audit.return_probes", "audit.acting_probes", "audit.update_probes"]
MODULES += ["probes.losses", "probes.optimizers", "probes.networks", "audit.run_probes"]


class Answer(NamedTuple):
    """A probe and what it found."""

    probe: Probe
    finding: Finding


def list_probes(words: set[str]) -> list[Probe]:
    """Return the probes that apply to a subject with these words, in the order of the table."""
    for module in MODULES:  # each adds its probes when it is imported
        importlib.import_module(module)
    chosen = [probe for probe in PROBES if probe.needs <= words]
    return sorted(chosen, key=lambda probe: SUBJECTS.index(probe.subject))


def run_probes(subject: Subject, tell: Callable[[str], None] | None = None) -> list[Answer]:
    """Ask all probes that apply; one that raises an error has failed, and the others go on.

    Args:
        subject: the live objects.
        tell: called with the lines of the table as they come.
    """
    answers, heading = [], None
    for probe in list_probes(subject.words):
        try:
            finding = probe.answer(subject)
        except Exception as error:  # a broken part of the suite must not hide what else is broken
            finding = Finding(FAIL, f"the probe raised {format_error(error)}")
        answers.append(Answer(probe, finding))
        if tell:
            if probe.subject != heading:
                tell(f"\n{(heading := probe.subject)}")
            tell(format_answer(answers[-1]))
    return answers


def format_answer(answer: Answer) -> str:
    """Return the lines of an answer, at most WIDTH columns wide."""
    status, found = answer.finding
    wrap = {"width": WIDTH, "break_long_words": False}
    lines = textwrap.wrap(answer.probe.question, initial_indent=f"  {status:8}", subsequent_indent=" " * 10, **wrap)
    lines += textwrap.wrap(found, initial_indent=" " * 12, subsequent_indent=" " * 12, **wrap)
    if status in (DIFFERS, FAIL):
        others = f"{answer.probe.others} [{answer.probe.code}]"
        lines += textwrap.wrap(others, initial_indent=" " * 12, subsequent_indent=" " * 12, **wrap)
    return "\n".join(lines)


def count_answers(answers: Iterable[Answer]) -> str:
    """Return how many answers there are of each kind: `50 probes: 44 pass, 4 differ, 0 fail, 2 skipped`."""
    counts = Counter(answer.finding.status for answer in answers)
    skipped = f", {counts[SKIPPED]} skipped" if counts[SKIPPED] else ""
    return f"{counts.total()} probes: {counts[PASS]} pass, {counts[DIFFERS]} differ, {counts[FAIL]} fail{skipped}"


def describe_audit(
    subject: Subject, answers: list[Answer], title: str, checkpoint: Path | None, seconds: float
) -> dict[str, Any]:
    """Return the audit as plain data, for `audit.json`; with the checkpoint whose weights were audited, if any."""
    return {
        "title": title,
        "checkpoint": checkpoint and str(checkpoint),
        "agent_steps": int(read_totals(checkpoint)["agent_steps"]) if checkpoint else 0,
        "dtype": subject.plan.dtype,
        "date": time.strftime("%Y-%m-%d"),
        "seconds": round(seconds, 1),
        "commit": describe_commit(),
        "answers": [
            {"subject": a.probe.subject, "question": a.probe.question, "status": a.finding.status}
            | {"found": a.finding.found, "others": a.probe.others, "code": a.probe.code}
            for a in answers
        ],
    }


def format_files(content: dict[str, Any], command: str) -> dict[str, str]:
    """Return the two files of an audit: name -> text.

    Args:
        content: what `describe_audit` returned. AUDIT_JSON holds it as it is, AUDIT_MD as a table.
        command: the command line of the audit, for AUDIT_MD.
    """
    rows = []
    for a in content["answers"]:
        found, others = (a[key].replace("|", "\\|") for key in ("found", "others"))
        rows.append(f"| {a['status']} | {a['subject']}: {a['question']} | {found} | {others} | `{a['code']}` |")
    counts = Counter(a["status"] for a in content["answers"])
    head = [f"# Audit: {content['title']}", "", f"    {command}", ""]
    if content["checkpoint"]:
        head += [f"Of {content['checkpoint']}, {content['agent_steps']:,} agent steps.", ""]
    numbers = ", ".join(f"{counts[status]} {status}" for status in (PASS, DIFFERS, FAIL, SKIPPED))
    head += [f"{content['date']}, {content['commit'] or 'no commit'}, {content['dtype']}: {numbers}.", ""]
    head += ["| | what is asked | what was found | paper and other implementations | code |", "|---|---|---|---|---|"]
    return {AUDIT_JSON: json.dumps(content, indent=1) + "\n", AUDIT_MD: "\n".join([*head, *rows]) + "\n"}
