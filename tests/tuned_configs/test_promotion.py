"""The tuned config that a search may give."""

import re
import subprocess
import sys

import pytest
import yaml

import run
from environments.checkout import ROOT
from evidence.search_result import print_result, read_finalists
from experiments.composition import list_tuned_configs
from settings.mistakes import Mistake
from tuned_configs.promotion import promote_winner


def test_who_failed_on_a_fresh_seed_is_told_and_not_promoted(searched, tmp_path, capsys):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("trial 2,fresh,4,78", "trial 2,fresh,4,"))
    best = read_finalists(searched)[0]
    assert best.failed == [4] and best.seeds == [3, 5]
    assert print_result(searched) is False
    printed = capsys.readouterr().out
    assert "76.0, 80.0, failed" in printed and re.search(r"trial 2 .*failed .*\b4\b", printed)
    with pytest.raises(Mistake, match=rf"run={searched}: trial 2, .*failed .*\b4;"):
        promote_winner(searched, tmp_path)
    assert not list(tmp_path.glob("*.yaml"))


def test_a_game_without_a_file_of_its_own_is_promoted_as_atari(searched, tmp_path):
    trial = searched / "trials" / "0002" / "config.yaml"
    settings = yaml.safe_load(trial.read_text())
    trial.write_text(yaml.safe_dump(settings | {"env": settings["env"] | {"name": "qbert", "game": "qbert"}}))
    made = yaml.safe_load(promote_winner(searched, tmp_path).read_text())
    assert {"override /env": "atari"} in made["defaults"] and made["made_for"]["env"] == "qbert"
    assert made["env"]["fire_on_life_loss"] is False, "a search of an earlier version is promoted with its own rules"


def test_a_winner_becomes_a_tuned_config_with_its_provenance(searched, tmp_path):
    path = promote_winner(searched, tmp_path)
    text = path.read_text()
    assert path.name == "cartpole_ppo_searched.yaml"
    for values in (
        r"Score: +78\.0 .*73\.0 to 83\.0.* 30,000 .* 3, 4, 5: 76\.0, 78\.0, 80\.0",
        r" 54\.0 .*\+24\.0 \(\+21\.5 to \+26\.5\)",
        r"Search: +trial 2, one of 3, tpe .*asha; python run\.py tune_searches=cartpole_ppo$",
        r"Code: .*0123456, 2026-01-02; 2 CPUs, a processor, bfloat16\.$",
        r"How: +python run\.py tuned_configs=cartpole_ppo_searched seed=\[3,4,5\]$",
    ):
        assert re.search(values, text, re.MULTILINE), values


def test_what_was_written_and_what_trains_with_it_is_said(searched, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("tuned_configs.promotion.promote_winner", lambda run: promote_winner(run, tmp_path))
    assert run.main(["command=promote", f"run={searched}"]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(f"{tmp_path}/cartpole_ppo_searched.yaml")
    assert second.endswith(" tuned_configs=cartpole_ppo_searched")


def test_the_command_in_a_tuned_config_names_the_folder_of_the_users_own_modules(searched, tmp_path):
    settings = yaml.safe_load((searched / "config.yaml").read_text())
    (searched / "config.yaml").write_text(yaml.safe_dump(settings | {"config_dir": "/my own"}))
    text = promote_winner(searched, tmp_path).read_text()
    assert re.search(r"^# How: .* seed=\[3,4,5\] --config-dir '/my own'$", text, re.MULTILINE)


def test_the_command_in_a_tuned_config_names_the_weights_that_the_search_began_with(searched, tmp_path):
    settings = yaml.safe_load((searched / "config.yaml").read_text())
    (searched / "config.yaml").write_text(yaml.safe_dump(settings | {"pretrained": "/runs/my own"}))
    text = promote_winner(searched, tmp_path).read_text()
    assert re.search(r"^# How: .* seed=\[3,4,5\] pretrained='/runs/my own'$", text, re.MULTILINE)


def test_a_winner_that_drew_null_is_promoted(searched, tmp_path):
    path, table = searched / "trials/0002/config.yaml", searched / "trials.csv"
    trial = yaml.safe_load(path.read_text())
    trial["algo"]["max_grad_norm"] = None
    path.write_text(yaml.safe_dump(trial))
    head, *rows = table.read_text().splitlines()
    table.write_text("\n".join([f"{head},algo.max_grad_norm", *(f"{row},null" for row in rows), ""]))
    assert yaml.safe_load(promote_winner(searched, tmp_path).read_text())["algo"]["max_grad_norm"] is None


@pytest.mark.parametrize("changed", [{}, {"id": "Acrobot-v1", "name": "Acrobot-v1"}])  # without a file of its own
def test_the_promoted_file_composes_to_the_settings_of_the_trial(changed, searched):
    path = searched / "trials" / "0002" / "config.yaml"
    trial = yaml.safe_load(path.read_text())
    trial["env"] |= changed
    path.write_text(yaml.safe_dump(trial))
    made = promote_winner(searched, ROOT / "tuned_configs")
    try:
        settings = run.read_experiment([f"tuned_configs={made.stem}"])[0]
        assert made.stem in list_tuned_configs("ppo", trial["env"]["name"])
    finally:
        made.unlink()
    for group in ("algo", "env", "model", "stop"):
        assert settings[group] == trial[group], group
    assert settings["made_for"] == {"algo": "ppo", "env": trial["env"]["name"]}


def test_a_promoted_file_keeps_the_name_that_a_file_of_the_users_own_gave_its_environment(searched, tmp_path):
    (tmp_path / "env").mkdir()
    text = "# @package _global_\ndefaults: [gymnasium, _self_]\nenv: {name: swing, id: Acrobot-v1}\n"
    (tmp_path / "env" / "swing.yaml").write_text(text)
    path = searched / "trials/0002/config.yaml"
    trial = yaml.safe_load(path.read_text())
    trial["env"] |= {"id": "Acrobot-v1", "name": "swing", "kwargs": {"max_episode_steps": 100}}
    path.write_text(yaml.safe_dump(trial))
    made = promote_winner(searched, tmp_path)
    words = [f"tuned_configs={made}", "--config-dir", str(tmp_path), "--cfg", "job"]
    found = subprocess.run([sys.executable, "run.py", *words], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0 and yaml.safe_load(found.stdout)["env"]["name"] == "swing", found.stderr


def test_a_winner_that_plays_while_it_learns_is_promoted_with_its_env_runners(searched, tmp_path):
    path = searched / "trials/0002/config.yaml"
    trial = yaml.safe_load(path.read_text())
    trial["algo"]["overlap"], trial["cluster"]["num_env_runners"] = True, 1
    path.write_text(yaml.safe_dump(trial))
    assert yaml.safe_load(promote_winner(searched, tmp_path).read_text())["cluster"] == {"num_env_runners": 1}


def test_what_does_not_beat_the_default_is_not_promoted(searched, tmp_path):
    text = (searched / "seeds.csv").read_text()
    (searched / "seeds.csv").write_text(text.replace("default,fresh,3,53", "default,fresh,3,300"))
    with pytest.raises(Mistake, match=rf"run={searched}: trial 2, .*not beat .* -58\.3 "):
        promote_winner(searched, tmp_path)
    assert not list(tmp_path.glob("*.yaml"))
    assert print_result(searched) is False


@pytest.mark.parametrize("what", ["a trial waits", "a trial trains"])
def test_a_search_that_goes_on_after_its_result_is_not_promoted_from(what, searched, tmp_path):
    if what == "a trial waits":
        settings = yaml.safe_load((searched / "config.yaml").read_text())
        settings["search"]["trials"] = 4
        (searched / "config.yaml").write_text(yaml.safe_dump(settings))
    else:
        with (searched / "trials.csv").open("a") as file:
            file.write("3,UNFINISHED,500,,,0.003,64\n")
    with pytest.raises(Mistake, match=rf"run={searched}: .*\b3 of 4 trials\b.* resume={searched}$"):
        promote_winner(searched, tmp_path)


def test_where_the_default_failed_its_seeds_are_named_and_count_for_neither(searched, tmp_path, capsys):
    text = re.sub(r"default,fresh,(4|5),.*", r"default,fresh,\1,", (searched / "seeds.csv").read_text())
    (searched / "seeds.csv").write_text(text)
    best = read_finalists(searched)[0]
    assert (best.seeds, best.failed, best.default_failed) == ([3], [], [4, 5])
    assert print_result(searched) is True
    said = r"default settings failed on seeds 4, 5\b"
    printed = capsys.readouterr().out
    assert re.search(said, printed) and re.search(r"\bdefault .*53\.0, failed, failed\b", printed)
    assert "fresh seeds 3, 4, 5\n" in printed
    path = promote_winner(searched, tmp_path)
    assert path and re.search(said, path.read_text())
    (searched / "seeds.csv").write_text(text.replace("default,fresh,3,53", "default,fresh,3,"))
    assert read_finalists(searched)[0].default_failed == [3, 4, 5] and print_result(searched) is False
    with pytest.raises(Mistake, match=r"default settings failed on seeds 3, 4, 5\b"):
        promote_winner(searched, tmp_path)


def test_a_promoted_file_is_not_overwritten(searched, tmp_path):
    promote_winner(searched, tmp_path)
    with pytest.raises(Mistake, match="is there already"):
        promote_winner(searched, tmp_path)


def test_what_is_no_search_that_came_to_its_end_is_refused(tmp_path, searched):
    with pytest.raises(Mistake, match=f"run={tmp_path / 'nowhere'}: "):
        read_finalists(tmp_path / "nowhere")
    with pytest.raises(Mistake, match=r"trials\.csv is missing"):
        read_finalists(tmp_path)
    (searched / "seeds.csv").unlink()
    with pytest.raises(Mistake, match=r"seeds\.csv is missing"):
        promote_winner(searched, tmp_path)


def test_a_tuned_config_that_cannot_be_saved_is_printed(searched, tmp_path, capsys):
    (tmp_path / "in_the_way").write_text("")
    assert promote_winner(searched, tmp_path / "in_the_way") is None
    captured = capsys.readouterr()
    assert "@package _global_" in captured.out and "not saved" in captured.err


def test_a_training_is_told_that_it_is_no_search(tmp_path):
    (tmp_path / "progress.csv").write_text("agent_steps\n")
    with pytest.raises(Mistake, match=f"run={tmp_path} .*training"):
        promote_winner(tmp_path)
