"""The text of --version: the suite with its commit, Python, and the packages that decide what a run computes.

A run records the same in its run.json (`run_directory/provenance.py`).
"""

import importlib.metadata
import platform
import re

from environments.checkout import ROOT
from run_directory.provenance import PACKAGES, describe_commit


def format_versions() -> str:
    """Return the versions of the suite, of Python and of the packages, one per line; nothing slow is imported."""
    commit = describe_commit()
    code = f" (commit {commit[:7]}{', with changes' * commit.endswith('-dirty')})" if commit else ""
    packages = [f"{name} {read_version(name)}" for name in PACKAGES]
    system = f"Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return "\n".join([f"RLlib Atari suite {read_suite_version()}{code}", system, *packages])


def read_suite_version() -> str:
    """Return the version of the suite: that of pyproject.toml, or of the installed package if there is no checkout."""
    try:
        found = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(), re.M)
    except OSError:
        found = None
    return found.group(1) if found else read_version("rllib-atari-suite")


def read_version(package: str) -> str:
    """Return the version of an installed package, as pip shows it."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return "is not installed"
