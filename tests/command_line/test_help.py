"""--help: every setting has a meaning and a default, and the pages fit a terminal."""

import pytest

import run
from command_line.help import SECTIONS, compose_once, format_help
from experiments.composition import GROUPS, compose_settings, list_options
from settings.algorithms import ALGORITHMS
from settings.commands import PLAYER_COMMANDS, READER_SETTINGS
from settings.mistakes import Mistake
from settings.runs import RunSettings
from settings.searches import SearchSettings
from settings.setting import list_settings


@pytest.fixture(autouse=True)
def terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")


PAGES = [
    *dict.fromkeys((*GROUPS, *SECTIONS)),
    *(f"{group}={option}" for group in GROUPS for option in list_options(group)),
]


@pytest.mark.parametrize("words", [[], *([word] for word in PAGES)], ids=str)
def test_a_page_fits_eighty_columns(words):
    lines = format_help(words).splitlines()
    assert len(lines) > 1 and max(map(len, lines)) <= 80


@pytest.mark.parametrize("algo", ALGORITHMS)
def test_every_setting_of_an_algorithm_is_there(algo):
    page = format_help([f"algo={algo}"])
    for name, setting in list_settings(ALGORITHMS[algo]).items():
        assert (f"  algo.{name}=" in page) == (name != "name") and setting.meaning and setting.describe_values()


def test_settings_of_a_search_and_of_no_group_are_there():
    search, searches, run_page = (format_help([word]) for word in ("search", "tune_searches", "run"))
    for name in list_settings(SearchSettings):
        assert f"  search.{name}=" in search and f"  search.{name}=" in searches
    for name in ("seed", *list_settings(RunSettings)):
        assert f"  {name}=" in run_page


@pytest.mark.parametrize("group", GROUPS)
def test_every_option_is_listed_and_has_a_page(group):
    page = format_help([group])
    for option in list_options(group):
        assert option in page
    assert format_help([f"{group}={list_options(group)[0]}"]).startswith(f"{group}={list_options(group)[0]}\n  ")


def test_one_setting_can_be_asked_for_whichever_algorithm_has_it():
    assert format_help(["algo.lr"]).startswith("  algo.lr=0.00025\n")
    assert format_help(["algo.num_workers"]).startswith("algo=a3c\n  algo.num_workers=16\n")
    assert format_help(["algo.lr=3"]) == format_help(["algo.lr"]) and "env.game=" in format_help(["env=qbert"])
    assert format_help(["env.id"]).startswith("env=cartpole\n  env.id=CartPole-v1\n")
    assert format_help(["stop.agent_steps"]).startswith("  stop.agent_steps=10_000_000\n")


@pytest.mark.parametrize("command", READER_SETTINGS)
def test_the_page_of_a_command_has_the_settings_that_it_reads(command):
    page = format_help([f"command={command}"])
    assert all(f"\n  {name}=" in page for name in READER_SETTINGS[command])
    assert ("\n  env.sticky=" in page) == (command in PLAYER_COMMANDS)
    assert command != "record" or "\n  way=stochastic\n" in page


@pytest.mark.parametrize(("command", "there", "missing"), [("train", "evaluate", "games"), ("search", "trust", "page")])
def test_the_page_of_a_training_and_of_a_search_has_the_settings_that_they_read(command, there, missing):
    page = format_help([f"command={command}"])
    assert f"\n  {there}=" in page and "\n  seed=1\n" in page and "--help algo" in page
    assert f"\n  {missing}=" not in page and "\n  run=" not in page
    assert ("--help search" in page) == (command == "search")


def test_a_page_says_whose_settings_it_shows():
    assert "algo=ppo, the default" in format_help(["algo"]) and "env=assault, the default" in format_help(["env"])
    assert "\n  env.game=qbert\n" in format_help(["env=qbert"]) and " zaxxon" in format_help(["env.game"])
    described = [line.split() for line in format_help(["env"]).splitlines() if line.startswith("  ")]
    assert all(len(next(words for words in described if words[0] == env)) > 3 for env in list_options("env"))
    assert "\n  -m " in format_help([]) and "docs/comparing.md" in format_help([])


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("algo.learning_rate", "algo.lr"),
        ("algoo", "algo"),
        ("algo=ppp", "ppo"),
        ("env.foo", "no such setting"),
        ("tune_searches=null", "no such option"),
    ],
)
def test_help_on_what_there_is_not_is_a_mistake(word, said, capsys):
    with pytest.raises(Mistake, match=said):
        format_help([word])
    assert run.main(["--help", word]) == 2


def test_a_setting_that_no_option_has_is_refused_without_composing_every_option(monkeypatch):
    composed = []
    monkeypatch.setattr(
        "command_line.help.compose_settings", lambda words: composed.append(words) or compose_settings(words)
    )
    compose_once.cache_clear()
    with pytest.raises(Mistake):
        format_help(["env.foo"])
    assert len(composed) == 2, "the default experiment, and one with the settings of a search"


def test_a_setting_has_the_value_of_the_options_that_are_typed_with_it():
    for typed, value in {"algo=a2c": "0.0007", "tuned_configs=assault_a2c": "0.0005", "env=pong": "0.00025"}.items():
        assert f"\n  algo.lr={value}\n" in format_help(["algo.lr", typed])
    assert "algo.lr=0.00025" in format_help(["algo.lr"])


def test_a_word_without_its_group_has_the_page_of_the_option():
    for word, page in {"ppo": "algo=ppo", "qbert": "env=qbert", "one_gpu": "cluster=one_gpu"}.items():
        assert format_help([word]) == format_help([page])
    for both in ("evaluate", "page"):
        assert format_help([both]) == format_help([f"{both}=true"]) + "\n\n" + format_help([f"command={both}"])
    assert "\n  algo.lr=0.0007\n" in format_help(["a2c", "algo.lr"])


def test_the_page_of_a_tuned_config_has_what_it_chooses_and_changes():
    page = format_help(["tuned_configs=assault_a2c"])
    assert "it chooses algo=a2c env=assault model=nature_cnn" in page and "Source:" in page
    changed = page[page.index("and changes") :].splitlines()[1:]
    assert "  algo.lr=0.0005, instead of 0.0007" in changed and changed[-1].startswith("  stop.agent_steps=1_000_000,")
    assert not any(line.startswith(("  algo.gamma", "  made_for", "  algo.name")) for line in changed)


def test_a_file_of_the_user_has_a_page_like_any_tuned_config(tmp_path, capsys):
    file = tmp_path / "my own,file.yaml"
    file.write_text("# @package _global_\n# Mine.\ndefaults:\n  - override /algo: a2c\n")
    assert run.main(["--help", f"tuned_configs={file}"]) == 0
    page = capsys.readouterr().out
    assert "\n  Mine.\n" in page and "it chooses algo=a2c" in page and page.endswith("\n  none\n")
    (other := tmp_path / "other.yaml").write_text(file.read_text() + "algo: {lr: 0.5}\n")
    assert "\n  algo.lr=0.5\n" in format_help([f"tuned_configs={other}", "algo.lr"])
    for words in ([f"tune_searches={file}"], ["search.space", f"tune_searches={file}"]):
        with pytest.raises(Mistake, match="no search"):
            format_help(words)
    with pytest.raises(Mistake, match="no such file"):
        format_help([f"tuned_configs={tmp_path}/nowhere.yaml"])


def test_the_space_of_a_search_is_shown_for_the_search_that_is_typed():
    assert "  algo.horizon: {choice: [64, 128, 256]}\n" in format_help(["search.space"])
    space = format_help(["search.space", "tune_searches=cartpole_ppo"])
    assert "  algo.num_epochs: {int: [2, 20]}\n" in space and "algo.horizon: " not in space
    assert space.splitlines()[0] in format_help(["tune_searches=cartpole_ppo"])
    assert "  search.trials=45\n" in format_help(["search.trials", "algo=a2c"])
