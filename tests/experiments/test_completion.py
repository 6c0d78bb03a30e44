"""Shell completion: what is offered at a Tab, and the scripts with which a shell asks for it."""

import shutil
import subprocess
import sys

import pytest

import run
from experiments.completion import SHELLS, complete, script_for
from experiments.composition import GROUPS, ROOT, options


def test_groups_and_settings_are_offered_and_those_of_a_group_behind_its_dot():
    words = complete("", [])
    assert {f"{group}=" for group in GROUPS} <= set(words) and {"seed=", "output_dir=", "algo.", "stop."} <= set(words)
    assert "search." not in words and not any(word.startswith("algo.l") for word in words)
    assert complete("stop.", []) == ["stop.agent_steps=", "stop.episode_return=", "stop.time_s="]
    assert "search.trials=" in complete("search.", ["tune_searches=assault_ppo"]) and complete("search.", []) == []


def test_settings_are_those_of_the_algorithm_that_was_typed():
    assert complete("algo.num_w", ["algo=a3c"]) == ["algo.num_workers="]
    assert complete("algo.num_w", ["algo=ppo"]) == []


@pytest.mark.parametrize("before", [["algo=nonsense"], ["algo.lr="], ["+x=1"], ["env=atari"], ["[", "--help"]])
def test_words_that_are_mistaken_leave_the_defaults(before):
    assert complete("algo.clip_s", before) == ["algo.clip_schedule="]


def test_values_are_offered_where_they_can_be_named_and_end_a_word():
    assert complete("algo=", []) == [f"{name} " for name in (f"algo={option}" for option in options("algo"))]
    assert complete("env=qb", []) == ["env=qbert "]
    assert complete("evaluate=", []) == ["evaluate=false ", "evaluate=true "]
    assert complete("env.protocol=", []) == ["env.protocol=classic ", "env.protocol=machado "]
    assert "checkpoint=milestone_30 " in complete("checkpoint=", ["command=evaluate"])
    assert complete("algo.lr=", []) == [] and complete("nonsense=", []) == []


def test_a_command_that_reads_a_run_is_offered_what_it_reads():
    words = complete("", ["command=evaluate"])
    assert words == ["checkpoint=", "env.", "episodes=", "run=", "seed=", "way="]
    assert "env.sticky=" in complete("env.", ["command=evaluate"]) and complete("", ["command=promote"]) == ["run="]


def test_paths_are_completed_folder_by_folder(tmp_path, monkeypatch):
    (tmp_path / "outputs" / "ppo").mkdir(parents=True)
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    assert complete("run=", []) == ["run=latest ", "run=outputs/"]
    assert complete("run=outputs/p", []) == ["run=outputs/ppo/"]
    assert complete("output_dir=.h", []) == ["output_dir=.hidden/"] and complete("run=nowhere/", []) == []


def test_flags_and_their_words_are_offered():
    assert complete("--", []) == ["--cfg ", "--completion ", "--help "]
    assert complete("", ["--cfg"]) == ["job "] and complete("z", ["--completion"]) == ["zsh "]


def test_the_command_line_prints_a_script_or_names_the_shells_there_are(capsys):
    assert run.main(["--completion", "bash"]) == 0 and "_rllib_suite" in capsys.readouterr().out
    for words in (["--completion"], ["--completion", "fish"]):
        assert run.main(words) == 2
        assert "bash, zsh" in capsys.readouterr().err


@pytest.mark.parametrize("shell", SHELLS)
def test_a_script_is_free_of_syntax_errors(shell):
    if not shutil.which(shell):
        pytest.skip(f"this machine has no {shell}")
    subprocess.run([shell, "-n"], input=script_for(shell), text=True, check=True, timeout=60)


@pytest.mark.parametrize(
    ("line", "replies"),
    [
        ("python run.py algo=pp", ["ppo "]),  # what follows the last =
        ("python run.py algo=a3c algo.num_wor", ["algo.num_workers="]),
        ("python run.py algo=a3c -", ["--cfg ", "--completion ", "--help "]),
        ("python other.py al", []),
        ("python run.p", []),
    ],
)
def test_bash_asks_for_the_word_under_the_cursor(line, replies):
    ask = 'eval "$1"; COMP_LINE=$2 COMP_POINT=${#2}; _rllib_suite 2>/dev/null; printf "%s\\n" "${COMPREPLY[@]}"'
    result = subprocess.run(
        ["bash", "-c", ask, "bash", script_for("bash"), line.replace("python", sys.executable, 1)],
        capture_output=True,
        text=True,
        timeout=120,
        cwd=ROOT,
    )
    assert [word for word in result.stdout.split("\n") if word] == replies
