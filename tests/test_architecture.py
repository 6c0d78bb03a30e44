"""The rooms: who may import whom, what files are called, and how much one has to read."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
FLOORS = {
    "run": 12,
    "claims": 11,
    "grids": 10,
    "comparisons": 9,
    "pages": 8,
    "audit": 8,
    "verdicts": 7,
    "tune_searches": 7,
    "tuned_configs": 7,
    "exports": 7,
    "probes": 7,
    "command_line": 6,
    "runs": 6,
    "evidence": 6,
    "recordings": 6,
    "experiments": 5,
    "algorithms": 4,
    "extensions": 4,
    "cluster": 4,
    "loggers": 5,
    "playing": 4,
    "rollouts": 3,
    "run_directory": 3,
    "custom_models": 2,
    "environments": 2,
    "settings": 1,
}
MOST_LINES = 1500  # of Python in a room
FORBIDDEN_NAMES = {"utils", "util", "helpers", "helper", "common", "base", "misc"}
# Files, and lines of them, in which an algorithm is read: its own file, and those that define the names it imports.
READ_IN = {"pg": (7, 1015), "a2c": (6, 965), "a3c": (7, 1060), "ppo": (6, 1020), "dqn": (7, 670)}


def sources(*rooms: str) -> list[Path]:
    """The Python files of some rooms; run.py is a room of its own."""
    return sorted(
        path for room in rooms for path in [*(ROOT / room).glob("*.py"), ROOT / f"{room}.py"] if path.exists()
    )


def modules_imported(path: Path) -> set[str]:
    """Every module that a file imports, at its top or inside of a function: `rollouts.returns`, `torch`."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports are absolute"
            # `from runs import build` imports the module runs.build; `from runs.build import x` runs.build alone.
            inner = {f"{node.module}.{name.name}" for name in node.names}
            found |= {name for name in inner if (ROOT / name.replace(".", "/")).with_suffix(".py").exists()} or {
                node.module
            }
    return found


def may_import(room: str, module: str) -> bool:
    """Whether a file of a room may import a module."""
    other = module.partition(".")[0]
    if other == room or other not in {*FLOORS, "benchmarks", "tests"}:
        return True
    return FLOORS.get(other, 99) < FLOORS[room]


@pytest.mark.parametrize("room", sorted(FLOORS.keys() - {"run"}))
def test_a_room_is_no_larger_than_one_can_read(room):
    lines = {path.name: len(path.read_text().splitlines()) for path in sources(room)}
    assert sum(lines.values()) <= MOST_LINES, lines


def test_run_py_parses_and_dispatches_and_no_more():
    assert len((ROOT / "run.py").read_text().splitlines()) < 200


def test_every_room_is_where_the_design_says():
    there = {path.parent.name for path in ROOT.glob("*/__init__.py") if path.parent.name != "tests"}
    assert there == {*FLOORS, "benchmarks"} - {"run"}


def read_map() -> dict[str, tuple[int, str]]:
    """The floors of docs/README.md: room -> its floor and what is written of it."""
    page = (ROOT / "docs" / "README.md").read_text()
    found, floor, room = {}, 0, ""
    for line in page.partition("## Floors")[2].partition("## Decisions")[0].splitlines():
        if begin := re.match(r" {4}(\d+|  | -) +(\w+)/ ", line):
            floor = int(begin[1]) if begin[1].strip().isdigit() else floor
            room = begin[2] if begin[2] in FLOORS else ""
        if room:
            found[room] = floor, found.get(room, (0, ""))[1] + line
    return found


def test_the_map_has_every_room_on_its_floor_and_every_module():
    rooms = read_map()
    assert {room: floor for room, (floor, _) in rooms.items()} == {r: n for r, n in FLOORS.items() if r != "run"}
    for room, (_, text) in rooms.items():
        modules = {path.stem for path in sources(room)} - {"__init__", "__main__"}
        before, after = r"([,;:(/] +| and )", r"(\.py)?( \(| and |[,;:)]| {2,}|$)"
        listed = {name for name in modules if re.search(before + name + after, text)}
        assert listed == modules, room
        assert set(re.findall(r"(\w+)\.py\b", text)) <= modules | {"play"}, room


def test_every_room_is_installed_and_checked_for_types():
    tomllib = pytest.importorskip("tomllib")  # from Python 3.11 on
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    rooms = {*FLOORS, "benchmarks"} - {"run"}
    assert set(project["tool"]["setuptools"]["packages"]) == rooms
    assert set(project["tool"]["pyright"]["include"]) == {*rooms, "run.py"}


@pytest.mark.parametrize("room", FLOORS)
def test_imports_go_down_only(room):
    upwards = {
        str(path.relative_to(ROOT)): sorted(module for module in modules_imported(path) if not may_import(room, module))
        for path in sources(room)
    }
    assert not any(upwards.values()), f"floor {FLOORS[room]}: {upwards}"


@pytest.mark.parametrize(
    ("room", "module", "allowed"),
    [
        ("runs", "algorithms.ppo", True),
        ("rollouts", "environments.games", True),
        ("runs", "run_directory.layout", True),
        ("evidence", "run_directory.layout", True),
        ("run_directory", "rollouts.rollout", False),
        ("custom_models", "settings.mistakes", True),
        ("custom_models", "environments.games", False),
        ("settings", "environments.games", False),
        ("runs", "evidence.evaluate", False),
        ("runs", "cluster.connection", True),
        ("experiments", "tune_searches.check", False),
        ("cluster", "runs.build", False),
        ("cluster", "algorithms.ppo", False),
        ("evidence", "runs", False),
        ("evidence", "playing.agent", True),
        ("evidence", "recordings.replay", False),
        ("pages", "evidence.curves", True),
        ("runs", "pages.search_page", False),
        ("tuned_configs", "evidence.search_result", True),
        ("rollouts", "algorithms.learner", False),
        ("runs", "run", False),
        ("runs", "benchmarks.throughput", False),
    ],
)
def test_down_is_allowed_and_sideways_and_up_are_not(room, module, allowed):
    assert may_import(room, module) == allowed


def test_an_import_inside_of_a_function_counts(tmp_path):
    file = tmp_path / "sly.py"
    file.write_text("def f():\n    from runs import build\n    import evidence.curves as r\n    from torch import nn\n")
    assert modules_imported(file) == {"runs.build", "evidence.curves", "torch"}


def test_only_the_composition_knows_hydra():
    knowing = [
        path.relative_to(ROOT)
        for path in sources(*FLOORS, "benchmarks")
        if any(module.partition(".")[0] in ("hydra", "omegaconf") for module in modules_imported(path))
    ]
    assert knowing == [Path("experiments/composition.py")]


def test_settings_are_checked_without_a_heavy_import():
    for path in sources("settings"):
        outside = {module.partition(".")[0] for module in modules_imported(path)} - {"settings"}
        assert outside <= sys.stdlib_module_names | {"numpy"}, path


def test_a_run_directory_is_written_and_read_without_ray_and_torch():
    heavy = {"ray", "torch", "rollouts", "custom_models"}
    found = {path.stem: modules_imported(path) for path in sources("run_directory")}
    assert not [name for name, modules in found.items() if heavy & {module.partition(".")[0] for module in modules}]


def test_files_are_nouns():
    bad = [path for path in sources(*FLOORS, "benchmarks") if path.stem.lower().strip("_") in FORBIDDEN_NAMES]
    assert not bad


@pytest.mark.parametrize("room", FLOORS)
def test_files_and_what_they_offer_say_what_they_are(room):
    kinds, silent = ast.FunctionDef | ast.ClassDef | ast.AsyncFunctionDef, []
    for path in sources(room):
        tree = ast.parse(path.read_text())
        public = [node for node in tree.body if isinstance(node, kinds) and not node.name.startswith("_")]
        names = [path.stem, *(f"{path.stem}.{node.name}" for node in public)]
        silent += [name for name, node in zip(names, (tree, *public), strict=True) if not ast.get_docstring(node)]
    assert not silent, "no docstring"


def path_of(module: str) -> Path:
    """The file of one of our modules: `rollouts.returns`."""
    return (ROOT / module.replace(".", "/")).with_suffix(".py")


def names_imported(path: Path) -> list[tuple[str, str]]:
    """Module and name of every `from module import name` that is ours."""
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)]
    return [(node.module, a.name) for node in nodes for a in node.names if node.module.partition(".")[0] in FLOORS]


def where_defined(module: str, name: str) -> Path:
    """The file with the class, function or assignment of a name, however many files import it from each other."""
    if (inner := path_of(f"{module}.{name}")).exists():
        return inner
    path, defined = path_of(module), set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            defined.add(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            defined |= {part.id for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    if name in defined:
        return path
    (source,) = {other for other, imported in names_imported(path) if imported == name}
    return where_defined(source, name)


@pytest.mark.parametrize("algorithm", READ_IN)
def test_an_algorithm_is_read_in_few_files_and_lines(algorithm):
    file = path_of(f"algorithms.{algorithm}")
    files = {file} | {where_defined(module, name) for module, name in names_imported(file)}
    lines = sum(len(path.read_text().splitlines()) for path in files)
    names = sorted(str(path.relative_to(ROOT)) for path in files)
    assert len(files) <= READ_IN[algorithm][0], names
    assert lines <= READ_IN[algorithm][1], f"{lines} lines in {names}"


def test_no_algorithm_is_left_out_of_the_reading():
    settings = {path.stem for path in (ROOT / "experiments" / "algo").glob("*.yaml")}
    assert READ_IN.keys() == settings


def test_a_name_is_counted_where_it_is_defined_and_not_where_it_is_imported_from():
    assert where_defined("rollouts.runner", "Rollout") == ROOT / "rollouts" / "rollout.py"
    assert where_defined("algorithms", "data_parallel") == ROOT / "algorithms" / "data_parallel.py"


def test_the_learner_hands_on_no_names_of_other_files():
    file = path_of("algorithms.learner")
    used = {node.id for node in ast.walk(ast.parse(file.read_text())) if isinstance(node, ast.Name)}
    assert not {name for _, name in names_imported(file)} - used
