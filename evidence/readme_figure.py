"""The figure of README: PG, A2C, A3C and PPO on Assault, from the curves of the studies in results/.

python -m evidence.readme_figure        writes docs/media/algorithms.png
"""

import argparse
import csv
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from evidence.curves import SCORE, draw_groups, shorten_number
from evidence.human import RANDOM_PLAY

ROOT = Path(__file__).resolve().parent.parent
FIGURE = ROOT / "docs/media/algorithms.png"
LITERATURE = "10 million agent steps, 2 or 3 seeds"
PANELS = {  # title -> label of a curve -> the studies of its seeds, each with the label that the curve has there
    "1 million agent steps, 3 or 5 seeds": {
        "PG": {"2026-11-29_pg_fire": "pg assault"},
        "A2C": {"2026-11-27_a2c_five_seeds": "a2c assault"},
        "A3C": {"2026-11-28_a3c_five_seeds": "a3c assault"},
        "PPO": {"2026-11-30_ppo_constant": "ppo assault"},
    },
    LITERATURE: {
        "A2C": {"2026-12-01_a2c_10m_seed_1": "a2c assault", "2026-11-30_a2c_10m_two_seeds": "a2c assault"},
        "A3C": {
            "2026-11-27_a3c_10m": "a3c",
            "2026-11-30_a3c_10m_seed_2": "a3c assault",
            "2026-11-30_a3c_10m_seed_3": "a3c assault",
        },
        "PPO": {"2026-12-01_ppo_10m_paper": "ppo assault", "2026-12-01_ppo_10m_paper_seed_2": "ppo assault"},
    },
}
NAMES = ("PG", "A2C", "A3C", "PPO")  # a colour each
PUBLISHED = {  # after 10 million agent steps, without sticky actions
    "A2C": (1563, 3366, 4659),  # Schulman et al. 2017, SLM-Lab 2019, PARL
    "PPO": (4972, 4879, 6249),  # Schulman et al. 2017; openai/baselines and CleanRL on EnvPool, by Open RL Benchmark
}


def read_studies(studies: dict[str, str]) -> list[dict[str, np.ndarray]]:
    """Return the curve of each seed of a label of PANELS: a table of float [R] by column, as in `draw_groups`."""
    seeds: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for study, label in studies.items():
        with (ROOT / "results" / study / "curves.csv").open() as file:
            for row in csv.DictReader(file):
                if row["label"] == label and row[SCORE]:
                    seeds[row["seed"]].append((float(row["agent_steps"]), float(row[SCORE])))
    return [dict(zip(("agent_steps", SCORE), np.array(points).T, strict=True)) for points in seeds.values()]


def draw_panel(axes: Axes, title: str, studies: dict[str, dict[str, str]]) -> None:
    """Draw the curves of one budget, the score of random play and, beside LITERATURE, published ones."""
    draw_groups(axes, {name: read_studies(studies.get(name, {})) for name in NAMES}, SCORE)
    axes.axhline(RANDOM_PLAY["assault", "classic"].mean, color="gray", linestyle=":", label="random play")
    for name, scores in PUBLISHED.items() if title == LITERATURE else ():
        axes.plot([10e6] * len(scores), scores, f"C{NAMES.index(name)}D", mfc="none", label=f"{name}, published")
    axes.set_title(title, fontsize="medium")
    axes.set(xlabel="agent steps", ylim=(0, None))
    axes.xaxis.set_major_formatter(lambda x, _: shorten_number(x))
    axes.legend(fontsize="small")


def main() -> None:
    """Write the figure."""
    figure, panels = plt.subplots(1, 2, figsize=(10, 3.8), layout="constrained")
    for axes, (title, studies) in zip(panels, PANELS.items(), strict=True):
        draw_panel(axes, title, studies)
    panels[0].set_ylabel("mean score of the last 100 games")
    figure.savefig(FIGURE, dpi=100, metadata={"Software": None})


if __name__ == "__main__":
    argparse.ArgumentParser(
        prog="python -m evidence.readme_figure",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    ).parse_args()
    main()
