"""What a search found, told from its tables, and the tuned config that may come of it."""

import json
import math

import pytest
import yaml

import run
from evidence.search_result import explain_result, format_difference, print_result, read_finalists
from pages.commands import show_search
from pages.search_page import PAGE
from run_directory.provenance import ROOT
from settings.mistakes import Mistake
from tuned_configs.promotion import promote

TRIALS = "trial,state,agent_steps,score,failure,algo.lr,algo.horizon\n"
TRIALS += "0,COMPLETE,1000,50.0,,0.001,32\n1,PRUNED,111,9.0,,0.1,64\n2,COMPLETE,1000,90.0,,0.002,64\n"
SEEDS = "name,stage,seed,score\ntrial 2,contender,2,70.0\n"
for seed in (3, 4, 5):
    SEEDS += (
        f"trial 2,fresh,{seed},{70 + 2 * seed}\ntrial 0,fresh,{seed},{60 + seed}\ndefault,fresh,{seed},{50 + seed}\n"
    )


@pytest.fixture
def searched(tmp_path, compose):
    """A search directory, as tune_searches/search.py leaves it."""
    folder = tmp_path / "searches" / "cartpole_ppo"
    (folder / "trials" / "0002").mkdir(parents=True)
    (folder / "trials.csv").write_text(TRIALS)
    (folder / "seeds.csv").write_text(SEEDS)
    settings = compose(["tune_searches=cartpole_ppo", "stop.agent_steps=30000"])
    (folder / "config.yaml").write_text(yaml.safe_dump(settings))
    trial = {k: v for k, v in settings.items() if k != "search"} | {
        "algo": settings["algo"] | {"lr": 0.002, "horizon": 64}
    }
    (folder / "trials" / "0002" / "config.yaml").write_text(yaml.safe_dump(trial | {"command": "train"}))
    start = {
        "command": ["python", "run.py", "tune_searches=cartpole_ppo"],
        "git": {"commit": "0123456789", "dirty": False},
        "time": "2026-01-02T03:04:05+0000",
        "hardware": {"cpus": 2, "cpu": "a processor", "dtype": "bfloat16"},
    }
    (folder / "trials" / "0002" / "run.json").write_text(json.dumps({"starts": [start]}))
    later = start | {"command": ["python", "run.py", "resume=x"], "git": {"commit": "9876543210", "dirty": True}}
    (folder / "run.json").write_text(json.dumps({"starts": [start, later]}))
    return folder


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


def test_who_failed_on_a_fresh_seed_is_told_and_not_promoted(searched, tmp_path, capsys):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("trial 2,fresh,4,78", "trial 2,fresh,4,"))
    best = read_finalists(searched)[0]
    assert best.failed == [4] and best.seeds == [3, 5]
    assert print_result(searched) is False
    printed = capsys.readouterr().out
    assert "76.0, 80.0, failed" in printed and "but failed on seed 4." in printed
    with pytest.raises(Mistake, match="failed on fresh seed 4; nothing is promoted"):
        promote(searched, tmp_path)


def test_what_a_finalist_did_as_a_contender_is_no_fresh_seed(searched):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("trial 2,contender,2,70.0", "trial 2,contender,2,"))
    assert read_finalists(searched)[0].failed == []


def test_a_game_without_a_file_of_its_own_is_promoted_as_atari(searched, tmp_path):
    trial = searched / "trials" / "0002" / "config.yaml"
    settings = yaml.safe_load(trial.read_text())
    trial.write_text(yaml.safe_dump(settings | {"env": settings["env"] | {"name": "qbert", "game": "qbert"}}))
    made = yaml.safe_load(promote(searched, tmp_path).read_text())
    assert {"override /env": "atari"} in made["defaults"] and made["made_for"]["env"] == "qbert"
    assert made["env"]["fire_on_life_loss"] is False, "a search of an earlier version is promoted with its own rules"


def test_the_winners_curse_is_printed(searched, capsys):
    assert print_result(searched) is True
    printed = capsys.readouterr().out
    assert "trial 2 scores 12.0 less on fresh seeds than in the search, and beats the default settings." in printed
    assert "+24.0 (+21.5 to +26.5)" in printed and "53.0, 54.0, 55.0" in printed


def test_what_may_be_chance_is_called_so(searched):
    best = read_finalists(searched)[0]
    assert "is ahead of the default settings, which may be chance" in explain_result(
        best._replace(difference=(5.0, -1.0, 11.0))
    )
    assert "does not beat the default settings" in explain_result(best._replace(difference=(-5.0, -9.0, -1.0)))
    assert "may be chance" in explain_result(best._replace(difference=(5.0, math.nan, math.nan)))
    assert format_difference((5.0, math.nan, math.nan)) == "+5.0"


def test_a_winner_becomes_a_tuned_config_with_its_provenance(searched, tmp_path):
    path = promote(searched, tmp_path)
    text = path.read_text()
    assert path.name == "cartpole_ppo_searched.yaml"
    for words in (
        "Score:  78.0 (95 % interval 73.0 to 83.0) after 30,000 agent steps, on fresh seeds 3, 4, 5: 76.0, 78.0, 80.0",
        "settings score 54.0 there: +24.0 (+21.5 to +26.5)",
        "Search: trial 2 of 16, tpe and asha; python run.py tune_searches=cartpole_ppo",
        "Code:   commit 0123456, 2026-01-02; 2 CPUs, a processor, bfloat16.",
        "How:    python run.py tuned_configs=cartpole_ppo_searched seed=[3,4,5]",
    ):
        assert words in text


@pytest.mark.parametrize("changed", [{}, {"id": "Acrobot-v1", "name": "Acrobot-v1"}])  # without a file of its own
def test_the_promoted_file_composes_to_the_settings_of_the_trial(changed, searched):
    path = searched / "trials" / "0002" / "config.yaml"
    trial = yaml.safe_load(path.read_text())
    trial["env"] |= changed
    path.write_text(yaml.safe_dump(trial))
    made = promote(searched, ROOT / "tuned_configs")
    try:
        settings = run.read_experiment([f"tuned_configs={made.stem}"])[0]
    finally:
        made.unlink()
    for group in ("algo", "env", "model", "stop"):
        assert settings[group] == trial[group], group
    assert settings["made_for"] == {"algo": "ppo", "env": trial["env"]["name"]}


def test_what_does_not_beat_the_default_is_not_promoted(searched, tmp_path):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("default,fresh,3,53", "default,fresh,3,300"))
    with pytest.raises(
        Mistake, match=r"does not beat the settings the search began with, -58\.3 .*nothing is promoted"
    ):
        promote(searched, tmp_path)
    assert not list(tmp_path.glob("*.yaml"))
    assert print_result(searched) is False


def test_a_promoted_file_is_not_overwritten(searched, tmp_path):
    promote(searched, tmp_path)
    with pytest.raises(Mistake, match="is there already"):
        promote(searched, tmp_path)


def test_what_is_no_search_that_came_to_its_end_is_refused(tmp_path, searched):
    with pytest.raises(Mistake, match="there is no such directory"):
        read_finalists(tmp_path / "nowhere")
    with pytest.raises(Mistake, match=r"trials\.csv is missing"):
        read_finalists(tmp_path)
    (searched / "seeds.csv").unlink()
    with pytest.raises(Mistake, match=r"seeds\.csv is missing"):
        promote(searched, tmp_path)


def test_a_tuned_config_that_cannot_be_saved_is_printed(searched, tmp_path, capsys):
    (tmp_path / "in_the_way").write_text("")
    assert promote(searched, tmp_path / "in_the_way") is None
    captured = capsys.readouterr()
    assert "@package _global_" in captured.out and "not saved" in captured.err


def test_a_page_that_cannot_be_saved_is_said_and_the_exit_code_says_so(searched, capsys):
    (searched / PAGE).mkdir()
    assert show_search(searched, finished=False) == 1
    assert "not saved" in capsys.readouterr().err


def test_a_training_is_told_that_it_is_no_search(tmp_path):
    (tmp_path / "progress.csv").write_text("agent_steps\n")
    with pytest.raises(Mistake, match="is a training; give the directory of a search"):
        promote(tmp_path)
