"""The report of a claim: its verdict as text, table and figure, in files that are small enough to commit.

claim, findings, what was measured -> <name>.md, <name>.csv, <name>.png
"""

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from claims.claim import PLANNED_SEEDS, Claim
from claims.measurements import MEANINGS
from claims.measures import MEASURES, Progress, compute_windows
from claims.verdict import Finding, Table, judge_claim
from evidence.curves import escape_math, save_figure, shorten_number
from run_directory.provenance import describe_commit
from run_directory.writing import write_file, write_table
from verdicts.two_arms import format_p

POINTS = 25  # of a curve in the figure


def describe_finding(finding: Finding) -> str:
    """Return a finding in a line."""
    interval = f"{finding.low:+.3g} to {finding.high:+.3g}"
    if np.isnan(finding.effect):
        return f"{finding.verdict}: {finding.prediction.describe()} (a seed has no such number)"
    p = "no spread over seeds, so no p" if np.isnan(finding.p) else f"p {format_p(finding.p)}"
    found = f"difference {finding.effect:+.3g}, 95 % {interval}, {p}"
    return f"{finding.verdict}: {finding.prediction.describe()} ({found})"


def describe_seeds(number: int) -> str:
    """Return what is to be said of a verdict from another number of seeds than was planned; empty if nothing."""
    if number < PLANNED_SEEDS:
        return f"A trial of {number} seeds: the verdict that counts is that of the {PLANNED_SEEDS} that were planned."
    if number > PLANNED_SEEDS:
        return f"{number} seeds, where {PLANNED_SEEDS} were planned: seeds added because of an answer find too much."
    return ""


def format_report(claim: Claim, findings: list[Finding], table: Table, command: str) -> str:
    """Return the text of a claim's Markdown file."""
    lines = [f"# {judge_claim(findings).capitalize()}: “{claim.words}”", ""]
    lines += [f"Slide: {claim.slide}", "", f"    {command}", "", f"Stated before the first run: {claim.stated}", ""]
    lines += ["| prediction | difference | 95 % | p | verdict |", "|---|---:|---:|---:|---|"]
    for one in findings:
        p = "" if np.isnan(one.p) else format_p(one.p)
        effect, interval = f"{one.effect:+.3g}", f"{one.low:+.3g} to {one.high:+.3g}"
        if np.isnan(one.effect):
            effect, interval = "a seed has no such number", ""
        sentence = one.prediction.describe().replace("|", r"\|")
        lines += [f"| {sentence} | {effect} | {interval} | {p} | {one.verdict} |"]
    measures = list_measures(table)
    seeds = min(len(values) for columns in table.values() for values in columns.values())
    if remark := describe_seeds(seeds):
        lines += ["", remark]
    lines += ["", "Mean ± standard deviation over seeds:", ""]
    lines += [f"| arm | seeds | {' | '.join(measures)} |", f"|---|---:|{'---:|' * len(measures)}"]
    for arm, columns in table.items():
        cells = [f"{columns[name].mean():.3g} ± {columns[name].std(ddof=1):.2g}" for name in measures]
        name = arm.replace("|", r"\|")
        lines += [f"| {name} | {len(next(iter(columns.values())))} | {' | '.join(cells)} |"]
    lines += ["", *(f"- `{name}`: {(MEASURES | MEANINGS)[name]}" for name in measures)]
    lines += ["", f"![what was measured]({claim.name}.png)", ""]
    lines += [f"Every seed: [{claim.name}.csv]({claim.name}.csv). Commit {describe_commit()}."]
    return "\n".join(lines) + "\n"


def list_measures(table: Table) -> list[str]:
    """Return the measures that every arm has a number of, for every seed."""
    names = dict.fromkeys(name for columns in table.values() for name in columns)
    return [name for name in names if all(np.isfinite(columns.get(name, np.nan)).all() for columns in table.values())]


def write_report(
    claim: Claim, findings: list[Finding], table: Table, curves: dict[str, list[Progress]], folder: Path, command: str
) -> Path:
    """Write the three files of a claim; returns the Markdown file.

    Args:
        claim: the claim.
        findings: on its predictions.
        table: what was measured.
        curves: arm -> the rows of each seed; empty where live objects were measured.
        folder: where the files go.
        command: what was typed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    measures = list(dict.fromkeys(name for columns in table.values() for name in columns))
    rows = []
    for arm, columns in table.items():
        for seed, numbers in enumerate(zip(*(columns[name] for name in measures), strict=True), 1):
            rows.append([arm, seed, *(f"{number:.6g}" if np.isfinite(number) else "" for number in numbers)])
    write_table(folder / f"{claim.name}.csv", ("arm", "seed", *measures), rows)
    draw_figure(claim, findings, table, curves, folder / f"{claim.name}.png")
    path = folder / f"{claim.name}.md"
    write_file(path, format_report(claim, findings, table, command))
    return path


def draw_figure(
    claim: Claim, findings: list[Finding], table: Table, curves: dict[str, list[Progress]], path: Path
) -> None:
    """Draw the learning curves of all arms, and each measure of the predictions: a dot per seed, a bar for the mean."""
    measures = list(dict.fromkeys(one.prediction.measure for one in findings))
    count = len(measures) + bool(curves)
    widths = [1.6] * bool(curves) + [1.0] * len(measures)
    figure, (axes,) = plt.subplots(
        1, count, figsize=(1.5 + 3 * sum(widths), 3.6), width_ratios=widths, squeeze=False, layout="constrained"
    )
    if curves:
        x = (np.arange(POINTS) + 0.5) * claim.until / POINTS
        for index, (arm, seeds) in enumerate(curves.items()):
            lines = np.array([compute_windows(one, claim.until, POINTS) for one in seeds])
            axes[0].plot(x, lines.T, color=f"C{index}", linewidth=0.6, alpha=0.35)
            axes[0].plot(x, lines.mean(0), color=f"C{index}", linewidth=2, label=escape_math(arm))
        axes[0].set(xlabel="agent steps", ylabel="mean score of a window's games")
        axes[0].xaxis.set_major_formatter(lambda value, _: shorten_number(value))
        axes[0].legend(fontsize="small")
    for one, measure in zip(axes[bool(curves) :], measures, strict=True):
        for index, columns in enumerate(table.values()):
            numbers = columns[measure]
            one.plot(np.full(len(numbers), index), numbers, "o", color=f"C{index}", markersize=4, alpha=0.6)
            one.hlines(numbers.mean(), index - 0.3, index + 0.3, color=f"C{index}", linewidth=2.5)
        for finding in findings:
            if finding.prediction.measure == measure and not isinstance(finding.prediction.than, str):
                one.axhline(finding.prediction.than, color="gray", linestyle=":")
        one.set_title(measure, fontsize="medium")
        one.set_xticks(range(len(table)), list(map(escape_math, table)), rotation=20, fontsize="small")
        one.set_xlim(-0.6, len(table) - 0.4)
    figure.suptitle(escape_math(f"{claim.slide}: {judge_claim(findings)}"), fontsize="medium")
    save_figure(figure, path, dpi=75)
