"""Clips side by side: equal agent steps, which milestone of which budget, and a page that stays small."""

import re
from pathlib import Path

import numpy as np
import pytest

from comparisons import clips
from comparisons.comparison import Comparison, compare_runs
from recordings.replayed_game import ReplayMismatch
from run_directory.layout import checkpoint_path
from run_directory.milestones import write_milestone
from settings.mistakes import Mistake
from tests.comparisons.made_up_runs import write_run

PERCENTAGES = (0, 1, 3, 10, 30, 100)


def write_trained(run: Path, budget: int, reached: int | None = None, **words) -> Path:
    """A run with milestones up to the agent steps that it has reached."""
    write_run(run, [1.0], budget=budget, **words)
    for percentage in PERCENTAGES:
        steps = budget * percentage // 100
        if steps <= (budget if reached is None else reached):
            totals = {"agent_steps": steps, "episodes": 10, "episode_return_mean": 1.0}
            write_milestone(run, f"milestone_{percentage}", {"w": np.zeros(1, np.float32)}, totals)
    return run


@pytest.fixture(autouse=True)
def filmed(monkeypatch) -> list[Path]:
    """Games are not played; the folders of what would have been filmed."""
    found: list[Path] = []

    def film(run, milestone, display, folder):
        found.append(milestone)
        return {"name": "", "text": "mean score then 1.0", "video": "data:video/mp4;base64,AAAA"}

    monkeypatch.setattr("pages.run_games.film_clip", film)
    return found


def compare(*paths: Path) -> list[Comparison]:
    """Comparisons of directories, labelled by their names."""
    return compare_runs([(path.name, path) for path in paths])


def film(*paths: Path) -> str:
    """The clips of one game, in HTML."""
    [parts] = clips.film_comparisons(compare(*paths), None)
    return "\n".join(parts)


def test_arms_of_one_budget_stand_side_by_side_at_every_milestone(tmp_path, filmed):
    shown = film(write_trained(tmp_path / "a", 10_000), write_trained(tmp_path / "b", 10_000, algo="a2c"))
    rows = re.split("<details", shown)[1:]
    titles = [re.search("<summary>(.*?)</summary>", row).group(1) for row in rows]
    assert titles[0] == "Before training" and [re.sub(r"\D", "", title) for title in titles[1:]] == [
        str(100 * percentage) for percentage in PERCENTAGES[1:]
    ]
    assert all(row.count("<video") == 2 and ">a</b>" in row and ">b</b>" in row for row in rows)
    assert [" open" in row for row in rows] == [False] * 5 + [True]
    assert len(filmed) == 12


def test_arms_of_other_budgets_are_filmed_at_equal_agent_steps_and_each_names_its_milestone(tmp_path):
    [one] = compare(write_trained(tmp_path / "a", 10_000), write_trained(tmp_path / "b", 100_000, algo="a2c"))
    rows = clips.choose_rows(one, [])
    found = {row.agent_steps: {clip.label: clip.checkpoint.name for clip in row.clips} for row in rows}
    assert found[10_000] == {"a": "milestone_100", "b": "milestone_10"}
    assert found[1_000] == {"a": "milestone_10", "b": "milestone_1"}
    assert found[100] == {"a": "milestone_1"}  # 1,000 is the first of the other, and no equal number of agent steps
    text = clips.describe_milestone(rows[-1].clips[1])
    assert "10 %" in text and "100,000" in text and "10,000" in text


def test_the_last_rows_come_first_where_the_page_has_no_room_for_all(tmp_path, filmed, monkeypatch):
    monkeypatch.setattr(clips, "MAX_CLIPS", 4)
    shown = film(write_trained(tmp_path / "a", 10_000), write_trained(tmp_path / "b", 10_000, algo="a2c"))
    assert [path.name for path in filmed] == ["milestone_100"] * 2 + ["milestone_0"] * 2
    assert "4 milestones left out" in shown
    monkeypatch.setattr(clips, "MAX_BYTES", 10)
    filmed.clear()
    shown = film(tmp_path / "a", tmp_path / "b")
    assert len(filmed) == 2 and "5 milestones left out" in shown


def test_a_row_that_would_make_the_page_too_large_is_left_out(tmp_path, filmed, monkeypatch):
    paths = write_trained(tmp_path / "a", 10_000), write_trained(tmp_path / "b", 10_000, algo="a2c")
    one_row = len(film(*paths)) // 6
    monkeypatch.setattr(clips, "MAX_BYTES", int(1.5 * one_row))
    shown = film(*paths)
    assert shown.count("<video") == 2 and "5 milestones left out" in shown


def test_a_row_that_is_left_out_takes_no_room_from_those_that_follow(tmp_path, monkeypatch):
    sizes = iter([100, 9_000, 200, 300, 400, 500])

    def film(clip, display, folder):
        return "<video>" + next(sizes) * " "

    monkeypatch.setattr(clips, "film_arm", film)
    monkeypatch.setattr(clips, "MAX_BYTES", 2_000)
    [parts] = clips.film_comparisons(compare(write_trained(tmp_path / "a", 10_000)), None)
    assert "\n".join(parts).count("<video") == 5


def test_clips_that_are_left_out_take_time_too(tmp_path, monkeypatch):
    sizes = iter([100, 9_000, 9_000])  # a fourth clip would find none
    monkeypatch.setattr(clips, "film_arm", lambda *_: "<video>" + next(sizes) * " ")
    monkeypatch.setattr(clips, "MAX_BYTES", 2_000)
    monkeypatch.setattr(clips, "MAX_CLIPS", 3)
    assert film(write_trained(tmp_path / "a", 10_000)).count("<video") == 1


def test_a_milestone_of_a_smaller_budget_is_no_percentage_of_a_larger_one(tmp_path):
    run = write_trained(tmp_path / "a", 10_000)
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("agent_steps: 10000", "agent_steps: 100000"))
    texts = [clips.describe_milestone(clip) for clip in clips.list_clips("a", compare(run)[0].runs[0], [])]
    assert "%" in texts[0] and not any("%" in text for text in texts[1:]) and "1,000 agent steps" in texts[3]


def test_a_run_that_ended_early_is_filmed_at_its_last_milestone(tmp_path):
    shown = film(
        write_trained(tmp_path / "a", 10_000, reached=3_000), write_trained(tmp_path / "b", 10_000, algo="a2c")
    )
    assert re.findall(r"After ([\d,]+) agent", shown)[-1] == "3,000"


def test_an_arm_without_milestones_or_with_a_damaged_one_is_named_and_the_others_are_filmed(tmp_path):
    write_trained(tmp_path / "a", 10_000)
    write_run(tmp_path / "none", [1.0], algo="a2c")
    write_trained(tmp_path / "damaged", 10_000, algo="pg")
    (checkpoint_path(tmp_path / "damaged", "milestone_3") / "weights.safetensors").write_bytes(b"")
    shown = film(tmp_path / "a", tmp_path / "none", tmp_path / "damaged")
    assert "none: no milestones" in shown and "milestone_3" in shown and shown.count("<video") == 6


@pytest.mark.parametrize("error", [Mistake("no"), ReplayMismatch("no"), OSError("no")])
def test_a_clip_that_cannot_be_made_leaves_the_rest_of_the_page(tmp_path, monkeypatch, error):
    def fail(*_):
        raise error

    monkeypatch.setattr("pages.run_games.film_clip", fail)
    shown = film(write_trained(tmp_path / "a", 10_000))
    assert "<video" not in shown and shown.count("no clip: no") == 6
