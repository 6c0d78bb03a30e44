"""What a reader has to know before scores are compared: few games, runs not at their end, other rules or training.

comparisons -> a sentence for each thing that makes scores less comparable than they look
"""

import re
from itertools import groupby

import numpy as np

from comparisons.comparison import Comparison, find_differences
from comparisons.run_groups import Run
from run_directory.checkpoints import MIN_GAMES
from run_directory.searches import parse_value
from settings.mistakes import Mistake, format_count
from settings.protocols import describe_protocol
from settings.runs import StopSettings
from settings.setting import list_settings

BUDGET = "stop.agent_steps="
LEARNED_FROM = re.compile(r"(algo|model|env)[.=]")  # settings that decide what is learned
NAMED_RUNS = 6  # runs that a sentence names, at most


def list_notes(comparisons: list[Comparison]) -> list[str]:
    """Return the sentences on all comparisons; those on one game begin with its name where there are several."""
    notes = []
    for name, same in groupby(sorted(comparisons, key=lambda one: one.name), lambda one: one.name):
        protocols = [describe_protocol(one.env) for one in same]
        if len(protocols) > 1:
            notes.append(
                f"{name} was played under {len(protocols)} protocols ({'; '.join(protocols)}). Scores of different "
                "protocols are never compared, so each has tables and verdicts of its own."
            )
    for one in comparisons:
        start = f"{one.game}: " if len(comparisons) > 1 else ""
        notes += [
            start + note
            for describe in (
                describe_pretrained,
                describe_unfinished,
                describe_stopped,
                describe_changes,
                describe_other_budgets,
                describe_few_games,
                describe_unequal,
            )
            for note in describe(one)
        ]
    return notes


def describe_pretrained(comparison: Comparison) -> list[str]:
    """Return a sentence for each agent with whose weights runs began."""
    names: dict[str, list[str]] = {}
    for run in comparison.runs:
        if path := run.settings.get("pretrained"):
            names.setdefault(path, []).append(run.name)
    return [
        f"Begun with the weights of {path}: {'all runs' if len(begun) == len(comparison.runs) else join_names(begun)}. "
        "Earlier agent steps are not counted here."
        for path, begun in names.items()
    ]


def describe_unfinished(comparison: Comparison) -> list[str]:
    """Return sentences on the runs without rows, and on those that have not reached the end of their settings."""
    empty = join_names([run.name for run in comparison.without_rows])
    notes = [f"Left out, as they have no rows: {empty}."] if empty else []
    left = [run for run in comparison.runs if not run.is_at_end]
    if not left:
        return notes
    names = [
        f"{run.name} ({count_steps(run):,} of {run.settings['stop']['agent_steps']:,} agent steps)" for run in left
    ]
    scores = "The score is that of the last row" if len(left) == 1 else "Scores are those of the last rows"
    return [*notes, f"Not at the end yet: {join_names(names)}. {scores} so far."]


def describe_stopped(comparison: Comparison) -> list[str]:
    """Return a sentence on the runs that `stop.episode_return` has ended before their budget."""
    names = [run.name for run in comparison.runs if run.list_reached() == ["episode_return"]]
    if not names:
        return []
    return [
        f"Ended by stop.episode_return: {join_names(names)}. Their scores are about that at which they were stopped; "
        "compare the agent steps that they took, or train with stop.episode_return=null."
    ]


def describe_changes(comparison: Comparison) -> list[str]:
    """Return a sentence on the runs that went on with settings of algorithm, network or environment typed only then."""
    names = []
    for run in comparison.runs:
        typed = [set(start.get("overrides") or []) for start in run.starts]
        later = sorted({word for words in typed[1:] for word in words - typed[0] if LEARNED_FROM.match(word)})
        if later:
            names.append(f"{run.name} ({' '.join(later)})")
    if not names:
        return []
    return [
        f"Settings that were typed when a run went on: {join_names(names)}. What was learned before may have had "
        "others, while labels and tables show the last ones."
    ]


def describe_other_budgets(comparison: Comparison) -> list[str]:
    """Return a sentence on the runs that went on with another budget while their step size falls to 0 at its end."""
    names = []
    for run in comparison.runs:
        words = [[w for w in start.get("overrides") or [] if w.startswith(BUDGET)] for start in run.starts]
        typed = [read_budget(of_start[-1].removeprefix(BUDGET)) if of_start else None for of_start in words]
        if run.settings["algo"].get("lr_schedule") == "linear" and has_other_budget(run, typed):
            names.append(run.name)
    if not names:
        return []
    return [
        f"Begun with another stop.agent_steps: {join_names(names)}. Their step size falls to 0 there, so such a score "
        "is not that of a run that had the budget from the start."
    ]


def has_other_budget(run: Run, typed: list[int | str | None]) -> bool:
    """Return whether a run has, or had at some start, another budget than the first one; `typed`: of each start."""
    last = run.settings.get("stop", {}).get("agent_steps")
    return any(one and one != typed[0] for one in typed) or bool(typed and typed[0] and last and typed[0] != last)


def read_budget(word: str) -> int | str:
    """Return a typed budget in agent steps, `1M` as 1000000; where run.json is damaged and it is none, as it stands."""
    try:
        return list_settings(StopSettings)["agent_steps"].check(BUDGET, parse_value(word))
    except Mistake:
        return word


def describe_few_games(comparison: Comparison) -> list[str]:
    """Return sentences on seeds without a score, of arms that have one, and on those whose score is of few games."""
    arms = [(of_arm, comparison.scores[label]) for label, of_arm in comparison.arms.items()]
    without = [run.name for of_arm, scores in arms for run in of_arm if scores and not np.isfinite(run.score)]
    games = [(run, int(run.progress["episodes"][-1])) for run in comparison.runs if np.isfinite(run.score)]
    few = [f"{run.name} ({format_count(number, 'game')})" for run, number in games if number < MIN_GAMES]
    notes = [f"Left out, as they have no score: {join_names(without)}."] if without else []
    return notes + ([f"The score is of fewer than {MIN_GAMES} games: {join_names(few)}."] if few else [])


def join_names(names: list[str]) -> str:
    """Return names in a row, of which at most NAMED_RUNS are written out."""
    more = f" and {len(names) - NAMED_RUNS} more" if len(names) > NAMED_RUNS else ""
    return ", ".join(names[:NAMED_RUNS]) + more


def describe_unequal(comparison: Comparison) -> list[str]:
    """Return sentences on arms without a score, that were trained for longer than others, that play something else than
    others, and on arms whose own seeds have different settings."""
    notes = [f"{label}: no game has ended, so it has no score." for label, of in comparison.scores.items() if not of]
    steps = {label: list_steps(of_arm) for label, of_arm in comparison.arms.items()}
    all_steps = [number for numbers in steps.values() for number in numbers]
    if all_steps and max(all_steps) > 1.05 * min(all_steps):
        listed = ", ".join(f"{label} {format_range(numbers)}" for label, numbers in steps.items() if numbers)
        notes.append(f"The runs were trained for different numbers of agent steps: {listed}.")
    if rules := [key for key in comparison.differences if key.startswith("env.")]:
        notes.append(f"The arms differ in what they play or see ({', '.join(rules)}), so their scores may not compare.")
    for label, of_arm in comparison.arms.items():
        if differ := [key for key in find_differences(of_arm) if not key.startswith("cluster.")]:
            notes.append(
                f"The seeds of {label} differ in {', '.join(differ)}, and are compared as one arm all the same."
            )
    return notes


def list_steps(runs: list[Run]) -> list[int]:
    """Return the agent steps of the runs that are at their end; `describe_unfinished` names those of the others."""
    return [count_steps(run) for run in runs if run.is_at_end]


def format_range(numbers: list[int]) -> str:
    """Return the smallest and the largest of some numbers, `10,000 to 100,000`; one, where they are nearly equal."""
    low, high = min(numbers), max(numbers)
    return f"{high:,}" if high <= 1.05 * low else f"{low:,} to {high:,}"


def count_steps(run: Run) -> int:
    """Return the agent steps of the last row of a run."""
    return int(run.progress["agent_steps"][-1])
