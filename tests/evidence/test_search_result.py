"""The result of a search, read from its tables."""

import functools
import math
import re

import pytest
from rich.console import Console

from evidence.search_result import NoFinalists, explain_result, format_difference, print_result, read_finalists
from pages.commands import show_search
from pages.search_page import PAGE, write_fresh_scores
from settings.mistakes import Mistake
from tuned_configs.promotion import promote_winner


def test_finalists_are_compared_with_the_default_seed_by_seed_on_fresh_seeds_only(searched):
    first, second = read_finalists(searched)
    assert (first.name, first.search_score, first.seeds) == ("trial 2", 90.0, [3, 4, 5])
    assert first.scores == [76.0, 78.0, 80.0] and first.default_scores == [53.0, 54.0, 55.0]
    assert first.difference[0] == pytest.approx(24.0) and first.difference[1] < 24 < first.difference[2]
    assert second.difference == pytest.approx((10.0, 10.0, 10.0))
    assert first.values == {"algo.lr": "0.002", "algo.horizon": "64"}


def test_a_seed_that_one_of_the_two_did_not_finish_counts_for_neither(searched):
    text = (searched / "seeds.csv").read_text().replace("default,fresh,4,54\n", "")
    (searched / "seeds.csv").write_text(text)
    assert [one.seeds for one in read_finalists(searched)] == [[3, 5], [3, 5]]


def test_the_first_is_who_was_first_before_the_fresh_seeds(searched):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("trial 0,fresh,3,63", "trial 0,fresh,3,6300"))
    assert [one.name for one in read_finalists(searched)] == ["trial 2", "trial 0"]


def test_a_row_of_the_table_is_not_folded_where_there_is_no_terminal(searched, capsys):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("trial 2,fresh,3,76", "trial 2,fresh,3,12345678.5"))
    print_result(searched)
    assert "12,345,678.5, 78.0, 80.0" in capsys.readouterr().out


def test_at_80_columns_headings_and_differences_are_whole(searched, capsys, monkeypatch):
    terminal = functools.partial(Console, force_terminal=True, color_system=None, width=80)
    monkeypatch.setattr("evidence.search_result.Console", terminal)
    print_result(searched)
    lines = capsys.readouterr().out.splitlines()
    for whole in ("settings  search score  fresh mean ", "minus default (95 %)", "+24.0 (+21.5 to +26.5)"):
        assert any(whole in line for line in lines), whole
    assert max(map(len, lines)) <= 80


def test_a_winner_that_failed_on_every_fresh_seed_stays_the_winner_and_is_not_promoted(searched, capsys):
    text = re.sub(r"trial 2,fresh,(\d),.*", r"trial 2,fresh,\1,", (searched / "seeds.csv").read_text())
    (searched / "seeds.csv").write_text(text)
    first, second = read_finalists(searched)
    assert (first.name, first.scores, first.failed, second.name) == ("trial 2", [], [3, 4, 5], "trial 0")
    assert print_result(searched) is False
    printed = capsys.readouterr().out
    assert re.search(r"^trial 2\b.*\b3, 4, 5\b", printed, re.MULTILINE)
    assert re.search(r"default +54\.0 +53\.0, 54\.0, 55\.0", printed) and "nan" not in printed
    with pytest.raises(Mistake, match=r"trial 2\b.*\b3, 4, 5\b"):
        promote_winner(searched)
    assert "failed" in write_fresh_scores(searched) and "nan" not in write_fresh_scores(searched)


def test_where_no_trial_has_a_score_the_reason_is_looked_for_there(searched):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text("".join(line for line in text.splitlines(True) if ",fresh," not in line))
    with pytest.raises(NoFinalists, match=r"raise search\.fresh_seeds$"):
        read_finalists(searched)
    trials = [line.split(",") for line in (searched / "trials.csv").read_text().splitlines()]
    for row in trials[1:]:
        row[1] = "PRUNED"
    (searched / "trials.csv").write_text("\n".join(map(",".join, trials)) + "\n")
    with pytest.raises(NoFinalists, match=r"see state in trials\.csv$"):
        read_finalists(searched)


def test_the_default_is_shown_with_all_seeds_on_which_a_finalist_met_it(searched, capsys):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("trial 2,fresh,3,76", "trial 2,fresh,3,"))
    print_result(searched)
    printed = capsys.readouterr().out
    assert "fresh seeds 3, 4, 5" in printed and "53.0, 54.0, 55.0" in printed


def test_what_a_finalist_did_as_a_contender_is_no_fresh_seed(searched):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("trial 2,contender,2,70.0", "trial 2,contender,2,"))
    assert read_finalists(searched)[0].failed == []


def test_the_winners_curse_is_printed(searched, capsys):
    assert print_result(searched) is True
    printed = capsys.readouterr().out
    assert re.search(r"^trial 2 .*\b12\.0 less .*\bbeats\b", printed, re.MULTILINE)
    assert "+24.0 (+21.5 to +26.5)" in printed and "53.0, 54.0, 55.0" in printed


def test_what_may_be_chance_is_called_so(searched):
    best = read_finalists(searched)[0]
    for difference, words in {
        (5.0, 1.0, 9.0): "beats",
        (5.0, -1.0, 11.0): "may be chance",
        (5.0, math.nan, math.nan): "may be chance",
        (-5.0, -9.0, -1.0): "not beat",
    }.items():
        said = explain_result(best._replace(difference=difference))
        assert [words for words in ("beats", "may be chance", "not beat") if words in said] == [words]
    assert format_difference((5.0, math.nan, math.nan)) == "+5.00"


def test_a_page_that_cannot_be_saved_is_said_and_the_exit_code_says_so(searched, capsys):
    (searched / PAGE).mkdir()
    assert show_search(searched, finished=False) == 1
    assert "not saved" in capsys.readouterr().err
