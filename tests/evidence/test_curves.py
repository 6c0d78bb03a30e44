from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest

from evidence import curves
from evidence.curves import ReferenceLine, average_curves, draw_curves, draw_groups, extract_curve, save_figure


def progress(*scores: float) -> dict[str, np.ndarray]:
    return {"agent_steps": np.arange(1.0, len(scores) + 1), "episode_return_mean": np.array(scores)}


def test_a_curve_starts_with_the_first_finished_game():
    assert [list(values) for values in extract_curve(progress(np.nan, np.nan, 100, 200))] == [[3, 4], [100, 200]]


def test_the_mean_is_taken_where_all_seeds_have_a_score():
    x, y = average_curves(
        [(np.array([0.0, 10.0]), np.array([0.0, 10.0])), (np.array([4.0, 20.0]), np.array([4.0, 4.0]))]
    )
    assert (x[0], x[-1]) == (4, 10)
    np.testing.assert_allclose(y, (x + 4) / 2)


def test_the_mean_of_seeds_that_never_ran_at_the_same_time_is_empty():
    x, y = average_curves([(np.array([0.0, 1.0]), np.array([0.0, 1.0])), (np.array([4.0, 5.0]), np.array([4.0, 4.0]))])
    assert len(x) == len(y) == 0


def test_the_legend_claims_no_mean_where_there_is_none():
    axes = curves.plt.figure().subplots()
    early, late = progress(1.0, 2.0), progress(3.0, 4.0)
    late["agent_steps"] = late["agent_steps"] + 10
    draw_groups(axes, {"apart": [early, late], "together": [early, early]}, curves.SCORE)
    apart, together = axes.get_legend_handles_labels()[1]
    assert "mean" not in apart and "mean of 2 seeds" in together


@pytest.mark.parametrize("scores", [(0.0, 100.0), (-120.0, -20.0)])
def test_a_line_is_drawn_only_where_the_curves_keep_their_room(scores, tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves.plt, "close", figures.append)
    low, high = scores
    lines = [
        ReferenceLine("far", high + 400, "--"),
        ReferenceLine("near", high + 100, ":"),
        ReferenceLine("inside", low + 50, ":"),
    ]
    draw_curves("game", {"a": [progress(*scores)]}, lines, tmp_path / "curves.png")
    axes = figures[0].axes[0]
    assert sorted(float(line.get_ydata()[0]) for line in axes.lines if line.get_color() == "gray") == [
        low + 50,
        high + 100,
    ]
    assert [text.get_text().partition(":")[0] for text in axes.get_legend().get_texts()].count("far") == 1


def test_runs_in_which_no_game_has_ended_still_show_what_they_are_compared_with(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves.plt, "close", figures.append)
    draw_curves(
        "game", {"a": [progress(np.nan, np.nan)]}, [ReferenceLine("random play", 5.0, ":")], tmp_path / "curves.png"
    )
    assert [list(line.get_ydata()) for line in figures[0].axes[0].lines] == [[5.0, 5.0]]


def test_evaluations_are_dots_at_the_agent_steps_of_their_weights(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves.plt, "close", figures.append)
    evaluated = {"evaluation_agent_steps": np.array([np.nan, 1.0, np.nan, 3.0])}
    evaluated |= {"evaluation_mean": np.array([np.nan, 30.0, np.nan, 60.0])}
    groups = {"a": [progress(10, 20, 30, 40) | evaluated, progress(1, 2, 3, 4) | evaluated], "b": [progress(1, 2)]}
    draw_curves("game", groups, [], tmp_path / "curves.png")
    axes = figures[0].axes[0]
    dots = [line for line in axes.lines if line.get_marker() == "o"]
    assert [(list(dot.get_xdata()), list(dot.get_ydata())) for dot in dots] == [([1, 3], [30, 60])] * 2
    assert [text.get_text() for text in axes.get_legend().get_texts()].count("a, evaluations") == 1


def test_every_label_is_in_the_legend_as_it_was_typed(tmp_path, monkeypatch):
    figures = []
    monkeypatch.setattr(curves.plt, "close", figures.append)
    draw_curves(r"$\a game$", {name: [progress(1, 2)] for name in ("_old", r"$\new$")}, [], tmp_path / "curves.png")
    assert [text.get_text() for text in figures[0].axes[0].get_legend().get_texts()] == [" _old", r"\$\new\$"]


def test_a_figure_that_cannot_be_written_leaves_the_old_one(tmp_path, monkeypatch):
    path = tmp_path / "curves.png"
    path.write_bytes(b"old")

    def write_half(self, content):
        with open(self, "wb") as file:
            file.write(content[:10])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError):
        save_figure(plt.figure(), path)
    assert path.read_bytes() == b"old" and list(tmp_path.iterdir()) == [path]
