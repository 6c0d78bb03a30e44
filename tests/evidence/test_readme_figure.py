"""The figure of README is drawn from curves that are there, and says how many seeds it shows."""

import matplotlib.pyplot as plt
import pytest

from evidence import readme_figure
from evidence.readme_figure import LITERATURE, NAMES, PANELS, PUBLISHED, ROOT, draw_panel, read_studies


@pytest.mark.parametrize(("title", "name"), [(title, name) for title, studies in PANELS.items() for name in studies])
def test_each_curve_of_readme_has_the_seeds_and_the_budget_that_its_title_says(title, name):
    seeds = read_studies(PANELS[title][name])

    budget, unit, *words = title.replace(",", "").split()
    assert unit == "million" and name in NAMES
    assert len(seeds) in [int(word) for word in words if word.isdigit()]
    assert all(seed["agent_steps"][-1] == pytest.approx(float(budget) * 1e6, rel=0.01) for seed in seeds)


@pytest.mark.parametrize("title", PANELS)
def test_published_scores_stand_beside_the_literatures_budget_alone(title):
    axes = plt.figure().subplots()
    draw_panel(axes, title, PANELS[title])
    marks = [line for line in axes.lines if line.get_marker() == "D"]
    shown = [tuple(line.get_ydata()) for line in marks]
    assert shown == (list(PUBLISHED.values()) if title == LITERATURE else [])
    assert all(set(line.get_xdata()) == {10e6} for line in marks)
    plt.close(axes.figure)


def test_readme_has_each_published_score_of_the_figure():
    text = (ROOT / "README.md").read_text()
    assert all(f"{score:,}" in text for scores in PUBLISHED.values() for score in scores)


def test_the_figure_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(readme_figure, "FIGURE", tmp_path / "figure.png")
    readme_figure.main()
    assert readme_figure.FIGURE.read_bytes().startswith(b"\x89PNG")
