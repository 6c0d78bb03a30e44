"""Classes of a user's own modules: how they are named, and what a mistake is answered with."""

import importlib
import re
import sys

import pytest

from settings.algorithms import A3CSettings, find_base, get_settings_class
from settings.mistakes import Mistake
from settings.own_parts import Part, describe_error, import_class, list_own_modules, list_own_sources, read_parts
from settings.setting import list_settings


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Write a module `users_own` that can be imported; returns how."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(text: str) -> None:
        (tmp_path / "users_own.py").write_text(text)
        sys.modules.pop("users_own", None)

    yield write
    sys.modules.pop("users_own", None)


def test_a_list_names_classes_with_and_without_arguments():
    value = ["a:B", {"a.b:C": {"every": 10}}, {"a:D": None}]
    assert read_parts("callbacks", value) == [Part("a:B", {}), Part("a.b:C", {"every": 10}), Part("a:D", {})]
    assert read_parts("callbacks", None) == []


@pytest.mark.parametrize("entry", ["B", "a:", ":B", "a b:C", 3, {"a:B": {}, "a:C": {}}, {"a:B": 3}, "os:path:x"])
def test_an_entry_in_another_form_is_refused(entry):
    with pytest.raises(Mistake, match=r"^callbacks: .*module:Class"):
        read_parts("callbacks", [entry])


@pytest.mark.parametrize(
    ("text", "name", "said"),
    [
        ("", "users_own:MyTorso", "users_own.py"),
        ("class MyTorsi: pass", "users_own:MyTorso", "did you mean users_own:MyTorsi"),
        ("MyTorso = 3", "users_own:MyTorso", "no class MyTorso"),
        ("import nothing_of_this_name", "users_own:MyTorso", r"nothing_of_this_name.* \(users_own\.py, line 1\)"),
        ("x = 1\nraise OSError('no licence')", "users_own:MyTorso", r"OSError: no licence \(users_own\.py, line 2\)"),
        ("x = 1\ndef (", "users_own:MyTorso", r"SyntaxError: .*\(users_own\.py, line 2\)"),
        ("raise SystemExit(3)", "users_own:MyTorso", "SystemExit: 3"),
        ("", "users_else:MyTorso", "no module users_else; .*--config-dir"),
        ("", "users_own.inner:MyTorso", "users_own.inner"),
        ("", "users own:MyTorso", "module:Class"),
    ],
)
def test_a_class_that_is_not_there_is_one_sentence(text, name, said, module):
    module(text)
    with pytest.raises(Mistake, match=f"^model.torso={name}: .*{said}") as refused:
        import_class(name, "model.torso")
    assert "\n" not in str(refused.value)


def test_the_line_of_an_error_is_that_of_the_user_and_not_of_a_library(module):
    module("import json\n\ndef f():\n    return json.loads('{')\n")
    import users_own

    try:
        users_own.f()
    except ValueError as error:
        assert describe_error(error).endswith("(users_own.py, line 4)")


SETTINGS = """
from __future__ import annotations
from dataclasses import dataclass
from settings.algorithms import A3CSettings
from settings.setting import at_least

@dataclass(frozen=True)
class Settings(A3CSettings):
    decay: float | None = at_least(0, "what is kept", most=1)
"""
ALGO = {"name": "mine", "implementation": "users_own"}


def test_an_algorithm_of_ones_own_has_its_settings_and_counts_as_the_one_it_derives_from(module):
    module(SETTINGS)
    kind = get_settings_class(ALGO)
    assert list_settings(kind).keys() - list_settings(A3CSettings).keys() == {"decay"}
    assert list_settings(kind)["decay"].optional and list_settings(kind)["decay"].high == 1
    assert find_base(ALGO) == "a3c" and find_base({"name": "a2c"}) == "a2c"
    module(SETTINGS.replace("A3CSettings", "ActorCriticSettings"))
    assert find_base(ALGO) is None


@pytest.mark.parametrize(
    ("text", "algo", "said"),
    [
        ("", ALGO, r"users_own\.py needs a class Settings"),
        ("class Settings: pass", ALGO, "needs a class Settings"),
        (SETTINGS.replace('at_least(0, "what is kept", most=1)', "0.5"), ALGO, r"Settings\.decay .*above\(0"),
        (SETTINGS, ALGO | {"name": "ppo"}, "algo.name=ppo is an algorithm of the suite"),
        (SETTINGS, ALGO | {"implementation": "users_own:Settings"}, "name of a module"),
        (SETTINGS, ALGO | {"implementation": 3}, "name of a module"),
        ("", {"name": "mine"}, "algo.name=mine is not one of pg, "),
    ],
)
def test_an_algorithm_without_settings_is_refused(text, algo, said, module):
    module(text)
    with pytest.raises(Mistake, match=said):
        get_settings_class(algo)


def test_the_modules_of_a_run_are_listed_with_the_setting_that_names_them():
    settings = {
        "algo": {"name": "mine", "implementation": "my_algo"},
        "env": {"id": "my_env:Mine-v0", "wrappers": ["my_wrappers:One", {"gymnasium.wrappers:ClipReward": {"max": 1}}]},
        "model": {"torso": "my_net:Torso"},
        "callbacks": ["my_callback:Mine"],
    }
    found = list_own_modules(settings)
    assert set(found) == {"my_algo", "my_env", "my_wrappers", "gymnasium.wrappers", "my_net"}
    assert found["my_net"] == "model.torso=my_net:Torso" and re.search("my_wrappers:One", found["my_wrappers"])
    assert list_own_modules({"algo": {"name": "ppo"}, "env": {"game": "pong"}, "model": {"torso": "mlp"}}) == {}


def test_the_files_of_a_users_modules_are_those_imported_from_the_folders_of_what_settings_name(tmp_path, monkeypatch):
    (tmp_path / "mine/own_package").mkdir(parents=True)
    (tmp_path / "mine/own_package/__init__.py").write_text("")
    (tmp_path / "mine/own_package/own_net.py").write_text("import own_package.own_layers\nimport own_helper\n")
    (tmp_path / "mine/own_package/own_layers.py").write_text("")
    (tmp_path / "mine/own_helper.py").write_text("")
    (tmp_path / "mine/own_unused.py").write_text("")
    (tmp_path / "mine/own_callback.py").write_text("")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/own_neighbour.py").write_text("")
    for folder in ("mine", "elsewhere"):
        monkeypatch.syspath_prepend(tmp_path / folder)
    for name in ("own_package.own_net", "own_callback", "own_neighbour", "gymnasium.wrappers"):
        importlib.import_module(name)
    wrappers = ["gymnasium.wrappers:ClipReward", "never_imported:One"]
    part = {"algo": {"implementation": None}, "env": {"wrappers": wrappers}, "model": {}}
    named = list_own_sources(part | {"model": {"torso": "own_package.own_net:Net"}})
    package = {f"own_package/{name}.py" for name in ("__init__", "own_net", "own_layers")}
    assert named == {name: tmp_path / "mine" / name for name in {"own_helper.py", "own_callback.py"} | package}
    assert list_own_sources(part | {"callbacks": ["own_callback:Mine"]}) == named
    assert list_own_sources(part) == {}
    assert list_own_sources(part | {"model": {"torso": "settings.own_parts:Part"}}) == {}  # the suite's own
    for name in {name for name in sys.modules if name.startswith("own_")}:
        del sys.modules[name]
