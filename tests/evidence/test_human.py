import pytest

from environments.games import is_game
from evidence.human import TABLES, find_references
from evidence.random_play import main, play_at_random


def test_assault_has_two_humans_and_both_are_named():
    names = {reference.table: reference for reference in find_references({"game": "assault"})}
    assert names["Wang et al. 2016"].normalise(742.0) == 1
    assert names["Mnih et al. 2015"].normalise(1496.4) == 1
    assert {reference.normalise(222.4) for reference in names.values()} == {0}


def test_a_normalised_score_is_the_share_of_the_way_from_random_to_human():
    wang, mnih = find_references({"game": "assault"})
    assert wang.normalise(665.0) == pytest.approx((665.0 - 222.4) / 519.6)
    assert mnih.normalise(665.0) == pytest.approx((665.0 - 222.4) / 1274.0)


@pytest.mark.parametrize("env", [{"game": "adventure"}, {"id": "CartPole-v1"}])
def test_a_game_that_no_table_has_gets_no_number(env):
    assert find_references(env) == []


def test_every_game_of_the_tables_is_one_that_ale_has():
    assert [game for table in TABLES.values() for game in table if not is_game(game)] == []


@pytest.mark.end_to_end
def test_random_play_draws_all_actions_alike_and_reports_whole_games():
    protocol, scores, cut = play_at_random("breakout", {"max_episode_frames": 640}, 20, seed=1)
    assert protocol == "classic, max_episode_frames 640" and len(scores) == 20 and 0 < cut < 20
    assert scores.tolist() == play_at_random("breakout", {"max_episode_frames": 640}, 20, seed=1)[1].tolist()
    assert len(set(scores)) > 2


@pytest.mark.parametrize(
    "words", [["combat"], ["asault"], ["assault", "protocol=x"], ["assault", "dim=9"], ["pong", "--seed", "-1"]]
)
def test_random_play_of_what_there_is_not_is_a_mistake(words):
    assert main([*words, "--games", "2"]) == 2


@pytest.mark.parametrize("rule", ["protocol=[", "protocol=[a]", "sticky", "sticky=much", "sticky=-1", "noop_max=1.5"])
def test_a_rule_of_random_play_that_cannot_be_is_one_sentence(rule, capsys):
    assert main(["assault", rule, "--games", "2"]) == 2
    (sentence,) = capsys.readouterr().err.splitlines()
    assert sentence.startswith("error: ") and rule.partition("=")[0] in sentence
