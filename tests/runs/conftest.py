"""A finished run that tests may look at, and copies of it that they may continue or damage."""

import shutil
from pathlib import Path

import pytest

from tests.runs.tiny_runs import TINY, directory_in, go


@pytest.fixture(scope="session")
def finished(shared_ray, tmp_path_factory):
    """A run that came to its end, and what it printed. Shared: look, and do not touch."""
    outputs = tmp_path_factory.mktemp("finished")
    words = ["stop.agent_steps=1024", "evaluate=true", "episodes=2", f"output_dir={outputs}"]
    code, printed = go(*TINY, *words)
    assert code == 0, printed
    return directory_in(printed), printed


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of it, to be continued or damaged."""
    return Path(shutil.copytree(finished[0], tmp_path / "run"))
