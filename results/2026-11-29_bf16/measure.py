"""Measures what bf16.yaml states, of runs that were trained, whatever their number of seeds.

    python results/2026-11-29_bf16/measure.py bf16=<run directory> fp32=<run directory>
    python results/2026-11-29_bf16/measure.py                 only reads seeds.csv, to which the first line adds

Prints the mean of each arm and fp32 - bf16 by Welch's t, and by a paired t over the seeds that both arms have.
"""

import csv
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent))

from claims.measures import COLUMNS, measure_arm  # noqa: E402
from run_directory.layout import list_seed_runs  # noqa: E402
from run_directory.progress_table import read_progress  # noqa: E402
from verdicts.two_arms import correct_holm, t_paired, t_welch  # noqa: E402

UNTIL = 400_000  # agent steps
MEASURES = ("area", "final")
SEEDS = HERE / "seeds.csv"


def measure_runs(arms: dict[str, Path]) -> list[dict]:
    """Return a row for each seed that came to its end: arm, seed, area, final."""
    rows = []
    for arm, run in arms.items():
        for seed in list_seed_runs(run):
            progress = read_progress(seed, COLUMNS) if (seed / "progress.csv").exists() else None
            if progress is not None and progress["agent_steps"][-1] >= UNTIL:
                table = measure_arm([progress], UNTIL, None)
                number = int(seed.name.rpartition("_")[2])
                rows.append({"arm": arm, "seed": number} | {name: round(float(table[name][0]), 2) for name in MEASURES})
    return sorted(rows, key=lambda row: (row["arm"], row["seed"]))


def read_seeds() -> list[dict]:
    """Return what has been measured so far."""
    if not SEEDS.exists():
        return []
    with SEEDS.open() as file:
        return [
            {"arm": row["arm"], "seed": int(row["seed"])} | {name: float(row[name]) for name in MEASURES}
            for row in csv.DictReader(file)
        ]


def main() -> None:
    """Measure runs, beside what was measured before, and print the tests."""
    runs = {arm: Path(run) for arm, run in (word.split("=", 1) for word in sys.argv[1:])}
    rows = {(row["arm"], row["seed"]): row for row in [*read_seeds(), *measure_runs(runs)]}
    rows = [rows[key] for key in sorted(rows)]
    if runs:
        with SEEDS.open("w", newline="") as file:
            writer = csv.DictWriter(file, ("arm", "seed", *MEASURES), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    tests = {}
    for name in MEASURES:
        of = {arm: {row["seed"]: row[name] for row in rows if row["arm"] == arm} for arm in ("bf16", "fp32")}
        both = sorted(of["bf16"].keys() & of["fp32"].keys())
        values = {arm: np.array([of[arm][seed] for seed in sorted(of[arm])]) for arm in of}
        for arm, numbers in values.items():
            print(f"{name:6} {arm}: {numbers.mean():.1f} +- {numbers.std(ddof=1):.1f} (sd of {len(numbers)} seeds)")
        tests[name] = t_welch(values["fp32"], values["bf16"])
        paired = t_paired(np.array([of["fp32"][seed] for seed in both]), np.array([of["bf16"][seed] for seed in both]))
        for kind, (effect, low, high, p) in (("Welch", tests[name]), (f"{len(both)} pairs", paired)):
            print(f"{name:6} fp32 - bf16, {kind}: {effect:+.1f}, 95 % {low:+.1f} to {high:+.1f}, p {p:.3f}")
    for name, p in zip(MEASURES, correct_holm([tests[name][3] for name in MEASURES]), strict=True):
        print(f"{name:6} Welch's p after Holm's correction over both: {p:.3f}")


if __name__ == "__main__":
    main()
