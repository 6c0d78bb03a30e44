"""The docs: what they quote still stands in the code, and what they point at is there."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
WALK = ROOT / "docs" / "from_pg_to_ppo.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def quotes(page: str) -> list[tuple[str, list[str]]]:
    """Every fenced Python block: the file named in backticks on the line above, and its lines, stripped."""
    lines, found = page.splitlines(), []
    for start, line in enumerate(lines):
        if line.strip() == "```python":
            length = lines[start + 1 :].index("```")
            code = [line.strip() for line in lines[start + 1 : start + 1 + length]]
            found.append((lines[start - 1].strip().strip("`"), [line for line in code if line]))
    return found


def first_missing(quoted: list[str], source: str) -> str | None:
    """The first quoted line that the source does not have after the ones before it; None where it has all."""
    rest = iter(line.strip() for line in source.splitlines())
    return next((line for line in quoted if line not in rest), None)


@pytest.mark.parametrize(("name", "quoted"), quotes(WALK.read_text()))
def test_the_code_quoted_still_stands_in_its_file_in_that_order(name, quoted):
    assert quoted, f"{WALK.name}: an empty block under {name}"
    missing = first_missing(quoted, (ROOT / name).read_text())
    assert missing is None, f"{WALK.name} quotes {name}, which has no such line, or not there: {missing}"


def test_the_walk_quotes_every_algorithm_it_walks_through():
    names = {name for name, _ in quotes(WALK.read_text())}
    assert {f"algorithms/{algo}.py" for algo in ("pg", "a2c", "a3c", "ppo")} <= names


def test_a_line_that_changed_or_moved_is_missed():
    source = "a = 1\n    b = 2\nc = 3\n"
    assert first_missing(["a = 1", "b = 2"], source) is None
    assert first_missing(["a = 1", "b = -2"], source) == "b = -2"
    assert first_missing(["b = 2", "a = 1"], source) == "a = 1"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_map_names_files_that_are_there():
    names = re.findall(r"`((?:[\w-]+/)+[\w-]*\.?\w*)`", (ROOT / "docs" / "README.md").read_text())
    assert len(names) > 20
    assert [name for name in names if not (ROOT / name).exists()] == []


@pytest.mark.slow
def test_the_docs_build_as_a_site_without_a_warning(tmp_path):
    """Every page is in the navigation, every link leads somewhere: `make docs`."""
    pytest.importorskip("mkdocs", reason="make docs installs it")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet", "--site-dir", str(tmp_path)]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr
    pages = {page.stem for page in (ROOT / "docs").glob("*.md")} - {"README"}
    assert pages <= {folder.name for folder in tmp_path.iterdir()}
