"""The programs of docs/agents.md run as they stand there, from a directory outside of the suite."""

import os
import re
import subprocess
import sys

import pytest
import torch

from environments.checkout import ROOT
from environments.games import atari_layout
from playing.loaded_agent import load_agent
from probes.networks import read_pixels

PROGRAMS = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "agents.md").read_text(), re.S)


def run_program(word: str, folder, argument: str) -> str:
    """Execute the program of the page that contains a word; return what it prints."""
    (program,) = [one for one in PROGRAMS if word in one]
    done = subprocess.run(
        [sys.executable, "-c", program, argument],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout


def test_the_page_has_no_other_programs():
    words = ("make_env()", "ALEInterface()", "nn.Sequential", "RLModule.from", "Algorithm.from")
    assert [[word in program for word in words].count(True) for program in PROGRAMS] == [1] * len(words)


def test_plain_torch_has_the_policy_and_values_of_the_network(capsys, monkeypatch):
    agent, (program,) = load_agent(ROOT / "agents/assault_ppo"), [one for one in PROGRAMS if "nn.Sequential" in one]
    monkeypatch.setattr(sys, "argv", ["program", str(ROOT / "agents/assault_ppo")])
    plain: dict = {}
    exec(program, plain)
    assert capsys.readouterr().out.startswith("tensor(")
    obs = torch.randint(256, (4, *agent.observation_space.shape), dtype=torch.uint8)
    pixels = read_pixels(obs, atari_layout(agent.settings["env"]))
    with torch.no_grad():
        features, net = plain["torso"](pixels / 255), agent.network
        policy, values = net.act(obs, net.pack(), ())[:2]
    assert policy.log_softmax(-1).sub(plain["policy"](features).log_softmax(-1)).abs().max() < 0.3  # bf16, up to 9
    assert values.sub(plain["value"](features)[:, 0]).abs().max() < 0.1


@pytest.mark.end_to_end
def test_rllib_loads_the_module_of_a_checkpoint_from_anywhere(copied, tmp_path):
    assert run_program("RLModule.from", tmp_path, str(copied)) == "torch.Size([3, 2])\n"


@pytest.mark.end_to_end
def test_rllib_continues_from_a_checkpoint_from_anywhere(copied, tmp_path):
    more, _, words = run_program("Algorithm.from", tmp_path, str(copied)).splitlines()[-1].partition(" ")
    assert int(more) > 0 and words == "agent steps more"


@pytest.mark.end_to_end
@pytest.mark.parametrize("word", ["make_env()", "ALEInterface()"])
def test_an_agent_plays_in_a_program_of_the_user(word, tmp_path):
    (tmp_path / "agents").symlink_to(ROOT / "agents")
    printed = run_program(word, tmp_path, "")
    assert word == "make_env()" or float(printed.splitlines()[-1]) > 500  # random play scores 246
