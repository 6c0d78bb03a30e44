"""Flags: those that there are, Hydra's that there are not, and those of other libraries."""

import platform

import pytest
import ray
import torch
import yaml

import run
from command_line.flags import split_arguments
from settings.mistakes import Mistake


@pytest.mark.parametrize("flag", ["-p", "--package"])
def test_a_group_of_the_experiment_can_be_printed_alone(flag, capsys):
    words = ["algo=a2c", "env=cartpole", "algo.lr=0.5"]
    assert run.main([*words, "--cfg", "job"]) == 0
    whole = yaml.safe_load(capsys.readouterr().out)
    assert run.main([*words, "--cfg", "job", flag, "algo"]) == 0
    printed = capsys.readouterr().out
    assert yaml.safe_load(printed) == whole["algo"] and printed.startswith("# @package algo\n")
    assert run.main(["env=cartpole", "-m", "algo=a2c,ppo", f"{flag}=stop", "--cfg=job"]) == 0
    assert yaml.safe_load(capsys.readouterr().out) == {"a2c": whole["stop"], "ppo": whole["stop"]}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--cfg", "job", "-p"], "--package algo"),
        (["--cfg", "job", "-p", "algoo"], "did you mean algo?"),
        (["--cfg", "job", "-p", "algo.lr"], "algo.lr"),
        (["-p", "algo"], "--cfg job"),
        (["--info"], "--cfg job"),
        (["--info", "searchpath"], "--help"),
        (["-cn", "mine"], "tuned_configs=<file>"),
        (["--config-path=mine"], "--config-dir"),
        (["--algo", "a3c", "--num-workers", "4"], "type algo=a3c algo.num_workers=4\n"),
        (["--num-workers=4", "--algo=a3c"], "type algo.num_workers=4 algo=a3c\n"),
        (["--algo", "ppo", "--num-workers", "4"], "type algo=ppo cluster.num_env_runners=4\n"),
        (["--help=algo"], "type --help algo\n"),
        (["--multirun=1"], "type --multirun\n"),
    ],
)
def test_a_flag_that_cannot_be_meant_is_answered_with_what_to_type(words, named, capsys):
    assert run.main(words) == 2
    printed, said = capsys.readouterr()
    assert printed == "" and said.startswith("error: ") and said.count("\n") == 1 and named in said


def test_flags_stand_anywhere_between_overrides():
    found = split_arguments(["-m", "algo=a2c,ppo", "--cfg", "job", "seed=1", "-p", "algo"])
    assert found.overrides == ["algo=a2c,ppo", "seed=1"] and found.flags == {"--multirun", "--cfg"}
    assert found.package == "algo"
    with pytest.raises(Mistake):
        split_arguments(["--cfg", "algo=ppo"])


@pytest.mark.parametrize("words", [["--version"], ["-V"], ["algo=ppo", "--version"]])
def test_the_versions_are_printed_as_a_report_of_a_fault_needs_them(words, capsys):
    assert run.main(words) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("RLlib Atari suite 0.") and lines[1].startswith(f"Python {platform.python_version()} ")
    # A wheel with CUDA has its build in torch.__version__ only, and no word of it in its name.
    assert f"ray {ray.__version__}" in lines and f"torch {torch.__version__}".partition("+")[0] in [
        line.partition("+")[0] for line in lines
    ]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("help", "--help"),
        ("version", "--version"),
        ("Qbert", "env=qbert"),
        ("assault_ppo", "tuned_configs=assault_ppo or tune_searches=assault_ppo"),
    ],
)
def test_a_word_without_a_key_is_answered_with_what_it_can_mean(word, meant, capsys):
    assert run.main([word]) == 2
    assert capsys.readouterr().err == f"error: {word}: did you mean {meant}?\n"
