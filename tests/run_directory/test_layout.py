"""Commands that are printed, so that they can be pasted: they start the suite as it was started."""

import os
import subprocess
import sys

import pytest

from environments.checkout import ROOT


@pytest.mark.parametrize(
    ("launch", "start"),
    [(["-m", "run"], "python -m run "), (["run.py"], "python run.py "), (["./run.py"], "python ./run.py ")],
)
def test_a_printed_command_starts_as_this_process_was_started(launch, start, tmp_path):
    words = "from run_directory.layout import format_command\nprint(format_command('run=a b', 'games=3'))\n"
    (tmp_path / "run.py").write_text(words)
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, *launch], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.stdout == f"{start}'run=a b' games=3\n"
