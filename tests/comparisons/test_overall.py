"""Comparisons of several games: nothing is mixed that cannot be, and what is left out is named."""

import csv
import math
from pathlib import Path

import numpy as np
import pytest

from comparisons.comparison import compare_runs
from comparisons.files import write_comparison
from comparisons.overall import Aggregate, Overall, summarize_games
from comparisons.page import write_page
from evidence.human import WANG_2016
from grids.grid_directory import write_grid
from tests.comparisons.made_up_runs import write_run, write_seeds
from tests.pages.browser import CHROMIUM, NONE, run_in_browser

GAMES = ("breakout", "pong", "assault")
SHARES = {"a2c": 0.5, "ppo": 1.5}  # human-normalised score of each arm in every game


def score_of(game: str, share: float) -> float:
    """The score of a human-normalised score."""
    random, human = WANG_2016[game]
    return random + share * (human - random)


@pytest.fixture
def grid(tmp_path) -> Path:
    """A grid of two algorithms on three games, three seeds each."""
    folder, values = tmp_path / "grid", {}
    for game in GAMES:
        for arm, share in SHARES.items():
            scores = [score_of(game, share + off) for off in (-0.1, 0.0, 0.1)]
            write_seeds(folder / f"{arm}_{game}", scores, game=game, algo=arm)
            values[f"{arm}_{game}"] = {"algo": arm, "env": game}
    write_grid(folder, [], [], "x", values)
    return folder


def summarize(*paths: Path) -> Overall:
    """What a comparison of unlabelled directories says over games."""
    overall = summarize_games(compare_runs([(None, path) for path in paths]))
    assert overall is not None
    return overall


def test_a_grid_over_games_has_a_comparison_for_each_and_one_over_all(grid):
    comparisons = compare_runs([(None, grid)])
    assert {one.name: list(one.arms) for one in comparisons} == dict.fromkeys(GAMES, ["a2c", "ppo"])
    [aggregate] = summarize(grid).aggregates
    assert aggregate.protocol == "classic" and set(aggregate.games) == set(GAMES)
    for arm, share in SHARES.items():
        for games in aggregate.scores[arm]:
            np.testing.assert_allclose(games, [share - 0.1, share, share + 0.1])
        assert aggregate.estimates[arm]["mean"].value == pytest.approx(share)
    [verdict] = aggregate.verdicts
    assert verdict.better == "ppo" and verdict.effect == pytest.approx(1.0) and verdict.is_certain
    [improvement] = summarize(grid).improvements
    assert (improvement.better, improvement.chance.value, improvement.games) == ("ppo", 1.0, 3)


def test_runs_of_several_games_without_labels_are_arms_by_their_algorithm(tmp_path):
    paths = [
        write_seeds(tmp_path / f"{algo}_{game}", [score_of(game, 1.0)] * 2, game=game, algo=algo)
        for algo in SHARES
        for game in GAMES[:2]
    ]
    [aggregate] = summarize(*paths).aggregates
    assert list(aggregate.scores) == ["a2c", "ppo"] and aggregate.games == list(GAMES[:2])


def test_one_game_has_nothing_over_games(tmp_path):
    paths = [write_seeds(tmp_path / algo, [1.0, 2.0], algo=algo) for algo in SHARES]
    assert summarize_games(compare_runs([(None, path) for path in paths])) is None


def test_a_game_without_a_human_score_is_left_out_and_named(grid, tmp_path):
    for algo in SHARES:
        write_seeds(tmp_path / f"cart_{algo}", [100.0, 200.0], game="CartPole-v1", algo=algo)
    overall = summarize(grid, *(tmp_path / f"cart_{algo}" for algo in SHARES))
    [aggregate] = overall.aggregates
    assert "cartpole" not in aggregate.games and any("cartpole" in note.lower() for note in overall.notes)
    assert [one.games for one in overall.improvements] == [4]  # seeds are compared within their game


def test_games_without_any_human_score_have_no_aggregate_but_a_chance_of_improvement(tmp_path):
    paths = [
        write_seeds(tmp_path / f"{algo}_{game}", [score, score + 1, score + 2], game=game, algo=algo)
        for game in ("CartPole-v1", "Acrobot-v1")
        for algo, score in (("a2c", -90.0), ("ppo", -100.0))
    ]
    overall = summarize(*paths)
    assert overall.aggregates == [] and [one.better for one in overall.improvements] == ["a2c"]
    assert all(word in " ".join(overall.notes).lower() for word in ("cartpole", "acrobot"))


def test_protocols_are_not_averaged(tmp_path):
    for game, protocol in (("pong", "classic"), ("breakout", "classic"), ("assault", "machado")):
        write_seeds(tmp_path / game, [score_of(game, 1.0)] * 2, game=game, protocol=protocol)
    overall = summarize(*(tmp_path / game for game in ("pong", "breakout", "assault")))
    assert [(one.protocol, one.games) for one in overall.aggregates] == [("classic", ["pong", "breakout"])]


def test_a_game_under_two_protocols_is_one_game_of_the_chance_of_improvement(tmp_path):
    """PPO is ahead under both protocols of Pong, with other seeds, and A2C in Breakout: two games, half of the chance
    each."""
    groups = []
    played = (("pong", "classic", 1, "ppo"), ("pong", "machado", 2, "ppo"), ("breakout", "classic", 1, "a2c"))
    for game, protocol, seed, ahead in played:
        for algo in SHARES:
            path, scores = tmp_path / f"{algo}_{game}_{protocol}", [score_of(game, 1.0 + (algo == ahead))] * 3
            groups.append((algo, write_run(path, scores, game=game, protocol=protocol, seed=seed, algo=algo)))
    overall = summarize_games(compare_runs(groups))
    assert overall is not None
    assert [(one.chance.value, one.games) for one in overall.improvements] == [(0.5, 2)]


def test_an_arm_that_does_not_play_every_game_leaves_the_game_out_and_one_game_is_no_arm(tmp_path, grid):
    write_seeds(tmp_path / "pg_pong", [score_of("pong", 1.0)] * 2, game="pong", algo="pg")
    overall = summarize(grid, tmp_path / "pg_pong")
    assert list(overall.aggregates[0].scores) == ["a2c", "ppo"] and any("pg" in note for note in overall.notes)
    write_seeds(tmp_path / "pg_assault", [score_of("assault", 1.0)] * 2, game="assault", algo="pg")
    overall = summarize(grid, tmp_path / "pg_pong", tmp_path / "pg_assault")
    assert set(overall.aggregates[0].games) == {"pong", "assault"}
    assert list(overall.aggregates[0].scores) == ["a2c", "ppo", "pg"]
    assert any("breakout" in note for note in overall.notes)


def test_an_arm_that_shares_too_few_games_leaves_the_others_their_verdict(tmp_path, grid):
    for games in (("qbert", "seaquest"), ("qbert", "pong")):
        folders = [tmp_path / f"pg_{'_'.join(games)}_{game}" for game in games]
        for folder, game in zip(folders, games, strict=True):
            write_seeds(folder, [score_of(game, 1.0)] * 2, game=game, algo="pg")
        overall = summarize(grid, *folders)
        [aggregate] = overall.aggregates
        assert list(aggregate.scores) == ["a2c", "ppo"] and set(aggregate.games) == set(GAMES)
        assert any(note.startswith("pg:") for note in overall.notes)


def test_one_seed_of_each_game_has_no_interval_and_it_is_said(tmp_path):
    paths = [
        write_run(tmp_path / f"{algo}_{game}", [score_of(game, 1.0)] * 3, game=game, algo=algo)
        for algo in SHARES
        for game in GAMES
    ]
    overall = summarize(*paths)
    estimates = overall.aggregates[0].estimates["ppo"]
    assert all(math.isnan(one.low) and one.value == pytest.approx(1.0) for one in estimates.values())
    assert [one.is_certain for one in overall.aggregates[0].verdicts] == [False]
    assert any("One seed" in note for note in overall.notes)


def test_all_of_it_is_in_the_files_and_on_the_page(grid, tmp_path, monkeypatch):
    monkeypatch.setattr("comparisons.files.draw_curves", lambda *_: None)
    comparisons = compare_runs([(None, grid)])
    overall = summarize_games(comparisons)
    out = tmp_path / "out"
    write_comparison(comparisons, overall, out)
    with open(out / "overall.csv") as file:
        rows = list(csv.DictReader(file))
    found = {(row["arm"], row["game"], row["measure"]): float(row["value"]) for row in rows}
    assert found["ppo", "pong", "human_normalised"] == pytest.approx(1.5)
    assert found["a2c", "", "iqm"] == pytest.approx(0.5)
    assert found["ppo over a2c", "", "chance_of_improvement"] == 1.0
    intervals = [(float(row["low"]), float(row["high"])) for row in rows if row["measure"] in ("iqm", "mean", "median")]
    assert len(intervals) == 6 and all(low < high for low, high in intervals)
    assert (out / "profile.png").stat().st_size > 1000
    text = (out / "compare.md").read_text()
    page = write_page(comparisons, overall, out).read_text()
    for wanted in ("ppo better than a2c: +1", "IQM", "breakout, pong, assault", "Wang et al. 2016"):
        assert wanted in text and wanted in page
    assert page.count("<svg") == 1 + 2 * len(GAMES) and "profile.png" in text


def test_the_same_runs_give_the_same_files(grid, tmp_path, monkeypatch):
    monkeypatch.setattr("comparisons.files.draw_curves", lambda *_: None)
    for out in ("one", "two"):
        comparisons = compare_runs([(None, grid)])
        write_comparison(comparisons, summarize_games(comparisons), tmp_path / out)
    for path in (tmp_path / "one").iterdir():
        assert path.read_bytes() == (tmp_path / "two" / path.name).read_bytes(), path.name


@pytest.mark.skipif(CHROMIUM is None, reason=NONE)
@pytest.mark.parametrize("width", [1200, 500])  # headless Chromium has no narrower window
def test_a_browser_shows_the_page_without_network_and_nothing_wider_than_the_window(grid, tmp_path, width):
    comparisons = compare_runs([(None, grid)])
    page = write_page(comparisons, summarize_games(comparisons), tmp_path)
    script = """
    const boxes = [...document.querySelectorAll('svg, table')].map(one => one.getBoundingClientRect());
    const links = [...document.querySelectorAll('a')].map(one => !!document.querySelector(one.getAttribute('href')));
    return {shown: boxes.filter(box => box.width > 60 && box.height > 30).length, boxes: boxes.length, links,
            fits: document.documentElement.scrollWidth <= window.innerWidth,
            fetched: performance.getEntriesByType('resource').length};
    """
    seen = run_in_browser(page.as_uri(), script, tmp_path, width=width)
    text = page.read_text()
    assert seen["shown"] == seen["boxes"] == text.count("<svg") + text.count("<table")
    assert seen["fits"] and seen["fetched"] == 0 and seen["links"] == [True] * len(GAMES)


def test_arms_of_one_seed_do_not_make_the_others_too_few():
    """Two arms of three seeds of two games have 400 arrangements: ten pairs would be too many for them, one is not."""
    three, one = [np.arange(3.0)] * 2, [np.ones(1)] * 2
    scores = {"a": three, "b": three, "c": one, "d": one, "e": one}
    assert not Aggregate("classic", ["pong", "qbert"], scores).list_hopeless_pairs()
    assert len(Aggregate("classic", ["pong", "qbert"], dict.fromkeys("abcde", three)).list_hopeless_pairs()) == 10


def test_only_the_pairs_that_have_too_few_seeds_are_named():
    many, two = [np.arange(10.0)] * 2, [np.arange(2.0)] * 2
    scores = {"a": many, "b": many, "c": two, "d": two}
    assert Aggregate("classic", ["pong", "qbert"], scores).list_hopeless_pairs() == [("c", "d")]
