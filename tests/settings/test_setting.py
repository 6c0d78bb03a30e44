"""One setting: what its class says is what --help, the check and the objects have."""

import re
from dataclasses import dataclass, fields
from typing import Literal, Optional

import pytest

from settings.algorithms import ALGORITHMS, EARLIER_OF_ALGORITHMS
from settings.environments import AtariSettings, GymnasiumSettings
from settings.experiment import complete_settings, make_settings, select_classes
from settings.mistakes import Mistake
from settings.models import MODELS
from settings.protocols import EARLIER, PROTOCOLS
from settings.runs import SEED, ClusterSettings, RunSettings, StopSettings
from settings.searches import SearchSettings
from settings.setting import Setting, above, any_value, at_least, list_settings, one_of

CLASSES = [*ALGORITHMS.values(), *MODELS.values(), AtariSettings, GymnasiumSettings, ClusterSettings, StopSettings]
CLASSES += [RunSettings, SearchSettings]


@dataclass(frozen=True)
class Example:
    """One setting of each kind."""

    steps: int = at_least(1, "agent steps", most=1000)
    share: float | None = above(0, "of the run", most=1)
    layers: list[int] = at_least(1, "units each")
    word: str = one_of(("one", "two"), "which")
    swift: bool = any_value("or not")


def test_a_field_says_what_a_setting_may_be():
    assert list_settings(Example) == {
        "steps": Setting("agent steps", int, 1, 1000),
        "share": Setting("of the run", float, above=0, high=1, optional=True),
        "layers": Setting("units each", list, 1),
        "word": Setting("which", str, options=("one", "two")),
        "swift": Setting("or not", bool),
    }
    named = [
        re.findall(r"\d+|null|list|two|true|false", one.describe_values()) for one in list_settings(Example).values()
    ]
    assert named == [["1", "1000"], ["0", "1", "null"], ["list", "1"], ["two"], ["true", "false"]]


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("steps", [1, 1000, 5.0, "1k"], [0, 1001, 1.5, "2k", True, None, float("nan")]),
        ("share", [0.5, 1, None], [0, 1.5, "a", float("inf")]),
        ("layers", [[1], [64, 64]], [[], [0], [1.5], 64, ["a"]]),
        ("word", ["one"], ["three", None, 1]),
        ("swift", [True, False], [1, "true", None]),
    ],
)
def test_values_are_checked_against_kind_and_range(name, good, bad):
    setting = list_settings(Example)[name]
    for value in good:
        checked = setting.check(name, value)
        assert checked is None or type(checked) is setting.kind
    for value in bad:
        with pytest.raises(Mistake, match=name):
            setting.check(name, value)


@pytest.mark.parametrize("group", CLASSES, ids=lambda group: group.__name__)
def test_every_setting_says_what_it_is_and_has_no_default_beside_the_yaml(group):
    assert all(setting.meaning for setting in list_settings(group).values())
    with pytest.raises(TypeError, match="missing"):
        group()


@pytest.mark.parametrize("group", CLASSES, ids=lambda group: group.__name__)
def test_every_whole_number_has_an_upper_end(group):
    numbers = {name: one for name, one in list_settings(group).items() if one.kind is int and not one.options}
    assert not [name for name, one in numbers.items() if one.high is None] and SEED.high


@pytest.mark.parametrize(
    "words", [("algo=ppo",), ("algo=dqn",), ("env=cartpole", "algo=pg"), ("model=impala",)], ids=str
)
def test_checked_settings_become_objects(words, compose):
    settings = compose(words)
    for group, chosen in select_classes(settings).items():
        made = make_settings(group, settings)
        assert type(made) is chosen
        assert {field.name: getattr(made, field.name) for field in fields(made)} == settings[group]
        with pytest.raises(AttributeError):  # frozen
            made.name = "another"


def test_a_game_that_was_saved_by_an_earlier_version_becomes_an_object_too(compose):
    settings = compose(())
    del settings["env"]["fire_on_life_loss"]
    assert make_settings("env", settings).fire_on_life_loss == EARLIER["fire_on_life_loss"]


def test_an_optimizer_that_was_saved_by_an_earlier_version_becomes_an_object_too(compose):
    settings = compose(("algo=a2c", "algo.rmsprop_start=0"))
    assert make_settings("algo", settings).rmsprop_start == 0
    del settings["algo"]["rmsprop_start"]
    assert make_settings("algo", settings).rmsprop_start == EARLIER_OF_ALGORITHMS["optimizer"]["rmsprop_start"] == 1
    dqn = compose(("algo=dqn",))
    assert complete_settings(dqn) == dqn, "its optimizer is Adam"


def test_the_rules_of_a_protocol_are_settings_of_a_game():
    for rules in PROTOCOLS.values():
        for name, value in rules.items():
            assert list_settings(AtariSettings)[name].check(name, value) == value


def test_settings_of_data_take_mappings_and_lists_of_both_kinds():
    kwargs, wrappers = (list_settings(GymnasiumSettings)[name] for name in ("kwargs", "wrappers"))
    assert kwargs.check("env.kwargs", {"size": [1, {"a": None}]}) == {"size": [1, {"a": None}]}
    assert kwargs.check("env.kwargs", None) is wrappers.check("env.wrappers", None) is None
    assert wrappers.check("env.wrappers", ["a:B", {"c:D": {}}]) == ["a:B", {"c:D": {}}]
    for setting, value in ((kwargs, "a"), (kwargs, ["a"]), (wrappers, "a:B"), (wrappers, [3]), (wrappers, [])):
        with pytest.raises(Mistake, match=r"^env\.x=.* or null$"):
            setting.check("env.x", value)


def test_annotations_that_are_no_kind_of_setting_are_refused_and_optional_is_null():
    @dataclass(frozen=True)
    class Users:
        slack: Optional[float] = at_least(0, "a number or null")  # noqa: UP045

    assert list_settings(Users) == {"slack": Setting("a number or null", float, 0, optional=True)}
    for kind in (Literal["a", "b"], dict[str, int]):
        wrong = dataclass(type("Wrong", (), {"__annotations__": {"way": kind}, "way": any_value("which")}))
        with pytest.raises(TypeError, match="way: .* is no kind of setting"):
            list_settings(wrong)
