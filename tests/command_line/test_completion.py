"""Shell completion: what is offered at a Tab, and the scripts with which a shell asks for it."""

import shutil
import subprocess
import sys

import pytest

import run
from command_line.completion import FLAGS, SHELLS, complete_word, get_completion_script, list_folders, list_yaml_files
from experiments.composition import GROUPS, ROOT, list_options


def test_groups_and_settings_are_offered_and_those_of_a_group_behind_its_dot():
    words = complete_word("", [])
    assert {f"{group}=" for group in GROUPS} <= set(words) and {"seed=", "output_dir=", "algo.", "stop."} <= set(words)
    assert "search." not in words and not any(word.startswith("algo.l") for word in words)
    assert complete_word("stop.", []) == ["stop.agent_steps=", "stop.episode_return=", "stop.time_s="]
    assert (
        "search.trials=" in complete_word("search.", ["tune_searches=assault_ppo"])
        and complete_word("search.", []) == []
    )


def test_settings_are_those_of_the_algorithm_that_was_typed():
    assert complete_word("algo.num_w", ["algo=a3c"]) == ["algo.num_workers="]
    assert complete_word("algo.num_w", ["algo=ppo"]) == []


@pytest.mark.parametrize("before", [["algo=nonsense"], ["algo.lr="], ["+x=1"], ["env=atari"], ["[", "--help"]])
def test_words_that_are_mistaken_leave_the_defaults(before):
    assert complete_word("algo.clip_s", before) == ["algo.clip_schedule="]


def test_values_are_offered_where_they_can_be_named_and_end_a_word():
    assert complete_word("algo=", []) == [f"{name} " for name in (f"algo={option}" for option in list_options("algo"))]
    assert complete_word("env=qb", []) == ["env=qbert "]
    assert complete_word("evaluate=", []) == ["evaluate=false ", "evaluate=true "]
    assert complete_word("env.protocol=", []) == ["env.protocol=classic ", "env.protocol=machado "]
    assert "checkpoint=milestone_30 " in complete_word("checkpoint=", ["command=evaluate"])
    assert complete_word("algo.lr=", []) == [] and complete_word("nonsense=", []) == []


def test_the_last_value_of_a_grid_or_a_list_is_completed_with_those_that_are_not_in_it():
    assert complete_word("algo=a2c,p", ["-m"]) == ["algo=a2c,pg ", "algo=a2c,ppo "]
    assert complete_word("logger=[wandb,", []) == ["logger=\\[wandb,mlflow ", "logger=\\[wandb,tensorboard "]


def test_a_command_that_reads_a_run_is_offered_what_it_reads():
    words = complete_word("", ["command=evaluate"])
    assert words == ["checkpoint=", "config_dir=", "env.", "episodes=", "run=", "seed=", "way="]
    assert "env.sticky=" in complete_word("env.", ["command=evaluate"]) and complete_word("", ["command=promote"]) == [
        "run="
    ]


def test_paths_are_completed_folder_by_folder(tmp_path, monkeypatch):
    (tmp_path / "outputs" / "ppo").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert complete_word("run=", []) == ["run=latest ", "run=outputs/"]
    assert complete_word("run=outputs/p", []) == ["run=outputs/ppo/"]
    assert complete_word("output_dir=.h", []) == ["output_dir=.hidden/"] and complete_word("run=nowhere/", []) == []
    assert complete_word("out=o", []) == ["out=outputs/"]


def test_paths_with_spaces_are_completed_as_a_shell_takes_them(tmp_path, monkeypatch):
    (tmp_path / "my runs" / "it's, $1").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert complete_word("run=m", []) == ["run=my\\ runs/"]
    assert complete_word("run=my runs/", []) == ["run=my\\ runs/it\\'s,\\ \\$1/"]
    (tmp_path / "my runs" / "mine.yaml").touch()
    assert "tuned_configs=my\\ runs/mine.yaml " in complete_word("tuned_configs=my ru", []) + complete_word(
        "tuned_configs=my runs/", []
    )


def test_flags_and_their_words_are_offered():
    assert complete_word("--c", []) == ["--cfg ", "--completion ", "--config-dir "]
    assert complete_word("--", []) == [f"{flag} " for flag in sorted(FLAGS)]
    assert complete_word("al", ["--cfg", "job", "--package"]) == ["algo "]
    assert complete_word("", ["--cfg"]) == ["job "] and complete_word("z", ["--completion"]) == ["zsh "]


def test_the_command_line_prints_a_script_or_names_the_shells_there_are(capsys):
    assert run.main(["--completion", "bash"]) == 0 and "_rllib_suite" in capsys.readouterr().out
    for words in (["--completion"], ["--completion", "fish"]):
        assert run.main(words) == 2
        assert "bash, zsh" in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_free_of_syntax_errors(shell):
    if not shutil.which(shell):
        pytest.skip(f"this machine has no {shell}")
    subprocess.run([shell, "-n"], input=get_completion_script(shell), text=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("python run.py algo=pp", ["ppo "]),  # what follows the last =
        ("python run.py algo=a3c algo.num_wor", ["algo.num_workers="]),
        ("python run.py -m algo=a2c,pp", ["a2c,ppo "]),
        ("python run.py algo=a3c --c", ["--cfg ", "--completion ", "--config-dir "]),
        ("python other.py al", []),
        ("python run.p", []),
    ],
)
def test_bash_asks_for_the_word_under_the_cursor(line, replies):
    assert ask_bash(line) == replies


def test_bash_takes_a_path_with_spaces_for_one_word(tmp_path):
    (tmp_path / "my runs" / "ppo").mkdir(parents=True)
    shown = f"{tmp_path}/my\\ runs"
    assert ask_bash(f"python run.py run={shown[:-2]}") == [f"{shown}/"]
    assert ask_bash(f"python run.py output_dir={shown} run={shown}/p") == [f"{shown}/ppo/"]


def ask_bash(line):
    """The replies of bash at a Tab behind a line."""
    ask = 'eval "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _rllib_suite 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
    result = subprocess.run(
        ["bash", "-c", ask, "bash", get_completion_script("bash"), line.replace("python", sys.executable, 1)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    return [word for word in result.stdout.split("\n") if word]


@pytest.mark.parametrize("complete", [list_folders, list_yaml_files])
def test_the_home_of_a_user_who_is_not_known_completes_to_nothing(complete):
    assert complete("~no_such_user_here/") == []
