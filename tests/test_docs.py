"""The docs: what they quote still stands in the code, and what they point at is there."""

import ast
import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from runs.display import LOSS_COLUMNS, PROGRESS_COLUMNS
from runs.display import STATE_WORDS as TRIAL_STATES

ROOT = Path(__file__).resolve().parent.parent
WALK = ROOT / "docs" / "from_pg_to_ppo.md"
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def quotes(page: str) -> list[tuple[str, str, list[str]]]:
    """Every fenced Python block: the file and the function on the line above, and its lines."""
    lines, found = page.splitlines(), []
    for start, line in enumerate(lines):
        assert not line.startswith("```") or line in ("```", "```python"), f"{WALK.name}: unknown fence {line}"
        if line == "```python":
            length = lines[start + 1 :].index("```")
            above = re.fullmatch(r"`([\w/.]+)`: `(\w+)`", lines[start - 1])
            assert above, f"{WALK.name}: no file and function above the block in line {start + 1}"
            found.append((above[1], above[2], lines[start + 1 : start + 1 + length]))
    return found


def find_fault(quoted: list[str], source: str) -> str | None:
    """The first quoted line that the source does not have right after the one before it, or after a gap where `...`
    stands, or that it has otherwise indented beside them; None where all is as quoted."""
    rest, shifts, may_skip = iter(line for line in source.splitlines() if line.strip()), set(), True
    for line in filter(str.strip, quoted):
        if line.strip() == "...":
            may_skip = True
            continue
        lines = rest if may_skip else itertools.islice(rest, 1)
        there = next((one for one in lines if one.strip() == line.strip()), None)
        if there is None:
            return line
        may_skip = False
        shifts.add(there.index(there.strip()) - line.index(line.strip()))
        if len(shifts) > 1:
            return line
    return None


def read_function(path: Path, name: str) -> str:
    """Return the source of the functions of a name in a file."""
    source = path.read_text()
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.FunctionDef) and node.name == name]
    return "\n".join(ast.get_source_segment(source, node, padded=True) or "" for node in nodes)


@pytest.mark.parametrize(("name", "function", "quoted"), quotes(WALK.read_text()))
def test_the_code_quoted_still_stands_in_its_function_in_that_order(name, function, quoted):
    assert quoted, f"{WALK.name}: an empty block under {name}"
    source = read_function(ROOT / name, function)
    fault = find_fault(quoted, source)
    assert fault is None, f"{WALK.name} quotes {function} in {name}, which has no such line, or not there: {fault}"


def test_the_walk_quotes_every_algorithm_it_walks_through():
    names = {name for name, _, _ in quotes(WALK.read_text())}
    assert {f"algorithms/{algo}.py" for algo in ("pg", "a2c", "a3c", "ppo")} <= names


def test_a_line_that_changed_moved_or_is_indented_otherwise_is_found():
    source = "a = 1\nfor b in c:\n    d = 2\n    e = 3\n"
    assert find_fault(["a = 1", "...", "    d = 2"], source) is None
    assert find_fault(["a = 1", "    d = 2"], source) == "    d = 2"
    assert find_fault(["d = 2", "e = 3"], source) is None
    assert find_fault(["a = 1", "    d = -2"], source) == "    d = -2"
    assert find_fault(["for b in c:", "a = 1"], source) == "a = 1"
    assert find_fault(["for b in c:", "d = 2"], source) == "d = 2"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page):
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())
    assert [link for link in links if not (page.parent / link).exists()] == []


def test_the_map_names_files_that_are_there():
    names = re.findall(r"`((?:[\w-]+/)+[\w-]*\.?\w*)`", (ROOT / "docs" / "README.md").read_text())
    assert len(names) > 20
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_the_glossary_has_the_words_that_the_suite_prints():
    """Of the columns of progress.csv with what a terminal calls them, of evaluations, searches and verdicts."""
    page = (ROOT / "docs" / "glossary.md").read_text()
    words = [word for column, label, _ in (*PROGRESS_COLUMNS, *LOSS_COLUMNS) for word in (f"`{column}`", label)]
    words += ["IQM", "std", "greedy", "stochastic", "human-normalised", "95 % interval", "Student's t", "p value"]
    words += ["ASHA", "TPE", "rung", "contender", "finalist", "fresh seed", *TRIAL_STATES, "Holm", "Welch"]
    assert [word for word in words if word not in page] == []


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


def list_commands(page: str) -> list[str]:
    """Every command of the suite that a page shows, without what is said about it after two or more spaces."""
    typed = re.findall(r"^    (python (?:run\.py|-m) (?:.*\\\n)*.*)", page, re.M)
    return [re.split(r" {2,}| #", re.sub(r"\\\n\s*", "", text))[0] for text in typed]


def test_a_shell_hands_on_the_words_of_every_command_as_they_are_shown(tmp_path):
    """A parenthesis without quotes is a syntax error, braces with a comma become two words."""
    commands = [command for page in PAGES for command in list_commands(page.read_text())]
    commands = [re.sub(r"<[^>]*>", "x", command) for command in commands]
    assert len(commands) > 80
    for command in commands:
        shown = subprocess.run(
            ["bash", "-c", f"printf '%s\\n' {command}"], cwd=tmp_path, capture_output=True, text=True
        )
        assert shown.stdout.splitlines() == shlex.split(command), f"{command}\n{shown.stderr}"
