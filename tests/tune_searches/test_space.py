"""The space of a search: what YAML may say, and what is drawn from it."""

import random

import pytest

from experiments.composition import list_options
from runs.display import format_values
from settings.mistakes import Mistake
from tune_searches.space import KINDS, draw_values, parse_space, replace_values


class Ends:
    """Proposes the lowest or the highest, or by chance; remembers what it was asked."""

    def __init__(self, pick):
        self.pick, self.asked = pick, []

    def suggest_float(self, name, low, high, *, log=False):
        self.asked.append((name, low, high, log))
        return self.pick([low, high])

    def suggest_int(self, name, low, high):
        self.asked.append((name, low, high, False))
        return self.pick([low, high])

    def suggest_categorical(self, name, choices):
        self.asked.append((name, tuple(choices)))
        return self.pick(choices)


@pytest.fixture
def settings(compose):
    return compose(["algo=ppo", "env=cartpole"])


def test_every_kind_of_range_gives_its_ends(settings):
    space = parse_space(
        {
            "algo.lr": {"loguniform": [1e-4, 1e-2]},
            "algo.entropy_coeff": {"uniform": [0, 0.02]},
            "algo.num_epochs": {"int": [2, 20.0]},
            "algo.horizon": {"choice": [16, 32]},
            "algo.gamma": {"one_minus_loguniform": [0.01, 0.1]},
        },
        settings,
    )
    low, high = Ends(min), Ends(max)
    lowest = {"algo.lr": 1e-4, "algo.entropy_coeff": 0.0, "algo.num_epochs": 2, "algo.horizon": 16, "algo.gamma": 0.99}
    highest = {
        "algo.lr": 1e-2,
        "algo.entropy_coeff": 0.02,
        "algo.num_epochs": 20,
        "algo.horizon": 32,
        "algo.gamma": 0.9,
    }
    assert draw_values(space, low) == pytest.approx(lowest) and draw_values(space, high) == pytest.approx(highest)
    assert low.asked == [
        ("algo.lr", 1e-4, 1e-2, True),
        ("algo.entropy_coeff", 0.0, 0.02, False),
        ("algo.num_epochs", 2, 20, False),
        ("algo.horizon", (16, 32)),
        ("1 - algo.gamma", 0.01, 0.1, True),
    ]


def test_nested_keys_are_the_same_as_dotted_ones(settings):
    nested = {"algo": {"lr": {"loguniform": [1e-4, 1e-2]}}, "model": {"activation": {"choice": ["relu", "tanh"]}}}
    dotted = {"algo.lr": {"loguniform": [1e-4, 1e-2]}, "model.activation": {"choice": ["relu", "tanh"]}}
    assert parse_space(nested, settings) == parse_space(dotted, settings)


def test_a_condition_holds_beside_its_choice_only(settings):
    eps = {"loguniform": [1e-6, 1e-2], "when": {"algo.optimizer": "rmsprop"}}
    space = parse_space({"algo.optimizer": {"choice": ["adam", "rmsprop"]}, "algo.optimizer_eps": eps}, settings)
    pick = random.Random(0).choice
    drawn = [draw_values(space, Ends(pick)) for _ in range(50)]
    assert {d["algo.optimizer"] for d in drawn} == {"adam", "rmsprop"}
    assert all(("algo.optimizer_eps" in d) == (d["algo.optimizer"] == "rmsprop") for d in drawn)


def test_a_condition_of_null_does_not_hold_where_its_choice_was_not_drawn(settings):
    space = {
        "algo.optimizer": {"choice": ["adam", "rmsprop"]},
        "algo.vf_clip": {"choice": [None, 0.2], "when": {"algo.optimizer": "rmsprop"}},
        "algo.kl_coeff": {"uniform": [0.1, 0.2], "when": {"algo.vf_clip": None}},
    }
    drawn = [draw_values(parse_space(space, settings), Ends(random.Random(i).choice)) for i in range(50)]
    assert {"algo.kl_coeff" in d for d in drawn} == {True, False}
    assert all(("algo.kl_coeff" in d) == ("algo.vf_clip" in d and d["algo.vf_clip"] is None) for d in drawn)


def test_rules_of_training_alone_can_be_searched(settings):
    (parameter,) = parse_space({"env.clip_rewards": {"choice": [True, False]}}, settings)
    assert parameter.key == "env.clip_rewards"


def test_values_replace_settings_and_leave_the_given_ones_alone(settings):
    changed = replace_values(settings, {"algo.lr": 0.5})
    assert changed["algo"]["lr"] == 0.5 and settings["algo"]["lr"] != 0.5
    assert changed["env"] == settings["env"]


KINDS_THERE_ARE = rf"^search\.space\.algo\.lr: .*\b{', '.join(KINDS)}\b"


@pytest.mark.parametrize(
    ("space", "named"),
    [
        ({}, r"^search\.space .*tune_searches="),
        ({"algo.lrr": {"uniform": [0.1, 0.2]}}, r" search\.space\.algo\.lr\b"),
        ({"algo.name": {"choice": ["ppo", "a2c"]}}, r"^search\.space\.algo\.name: PPO "),
        ({"env.id": {"choice": ["CartPole-v0", "CartPole-v1"]}}, r"^search\.space\.env\.id: .*\brules\b"),
        ({"env.sticky": {"uniform": [0, 0.25]}}, r"^search\.space\.env\.sticky: .*\brules\b"),
        ({"cluster.cpus": {"int": [1, 2]}}, r"^search\.space\.cluster\.cpus: .*\balgo, env, model;"),
        ({"seed": {"int": [1, 2]}}, r"^search\.space\.seed: .*\balgo, env, model;"),
        ({"algo.lr": {"loguniform": [1e-2, 1e-4]}}, r": loguniform: \[0\.01, 0\.0001\] "),
        ({"algo.lr": {"uniform": [0.5, 0.5]}}, r": uniform: \[0\.5, 0\.5\] "),
        ({"algo.lr": {"uniform": [0.1, 1]}, "algo": {"lr": {"uniform": [0.2, 1]}}}, r"\.algo\.lr is set twice"),
        ({"algo.lr": {"loguniform": [0, 1e-4]}}, r": loguniform .*\babove 0\b.*\buniform$"),
        ({"algo.lr": {"uniform": [1e-4]}}, r": uniform .*\[0\.0001\]"),
        ({"algo.lr": {"uniform": [True, 2]}}, r": uniform .*\[True, 2\]"),
        ({"algo.lr": {"loguniformly": [1e-4, 1e-2]}}, KINDS_THERE_ARE),
        ({"algo.lr": [1e-4, 1e-2]}, KINDS_THERE_ARE),
        ({"algo.lr": {"uniform": [0.1, 1], "int": [1, 2]}}, KINDS_THERE_ARE),
        ({"algo.lr": {"uniform": 3}}, r": uniform .*\blist\b.*\b3\b"),
        ({"algo.gamma": {"uniform": [0.9, 1.1]}}, r"\.gamma=1\.1 .*\b0 to 1$"),
        ({"algo.gamma": {"one_minus_loguniform": [0.5, 1.5]}}, r"\.gamma=-0\.5 .*\b0 to 1$"),
        ({"algo.num_epochs": {"uniform": [1, 3]}}, r": uniform .* int or choice$"),
        ({"algo.lr": {"int": [1, 3]}}, r": int .* uniform, loguniform or choice$"),
        ({"algo.optimizer": {"uniform": [1, 3]}}, r": uniform .* choice$"),
        ({"algo.optimizer": {"choice": ["adam", "sgd"]}}, r"\.optimizer=sgd .*\badam, rmsprop\b"),
        ({"algo.optimizer": {"choice": ["adam"]}}, r": choice=\['adam'\] "),
        ({"algo.optimizer": {"choice": ["adam", "adam"]}}, r": choice=\['adam', 'adam'\] "),
        ({"env.kwargs": {"choice": [{"a": 1}, {"a": 2}]}}, r"^search\.space\.env\.kwargs: .*\bmapping\b"),
        ({"model.hidden": {"choice": [[64], [32]]}}, r"^search\.space\.model\.hidden: .*\blist\b"),
        (
            {"algo.lr": {"uniform": [0.1, 1], "when": {"algo.optimizer": "adam"}}},
            r"\.algo\.lr: when algo\.optimizer: ",
        ),
        (
            {
                "algo.optimizer": {"choice": ["adam", "rmsprop"]},
                "algo.lr": {"uniform": [0.1, 1], "when": {"algo.optimizer": "sgd"}},
            },
            r": when algo\.optimizer=sgd: .*\badam, rmsprop$",
        ),
        (
            {
                "algo.optimizer": {"choice": ["adam", "rmsprop"]},
                "algo.lr": {"uniform": [0.1, 1], "when": {"algo.optimizer": []}},
            },
            r": when algo\.optimizer=\[\] ",
        ),
        ({"algo.lr": {"uniform": [0.1, 1], "when": "adam"}}, r"^search\.space\.algo\.lr: when [^:]*$"),
    ],
)
def test_what_cannot_be_searched_is_refused(space, named, settings):
    with pytest.raises(Mistake, match=named):
        parse_space(space, settings)


@pytest.mark.parametrize("name", list_options("tune_searches"))
def test_every_search_composes_and_its_space_can_be_drawn(name, compose):
    settings = compose([f"tune_searches={name}"])
    space = parse_space(settings["search"]["space"], settings)
    assert settings["search"]["name"] == name and settings["made_for"]["algo"] == settings["algo"]["name"]
    pick = random.Random(0).choice
    for _ in range(20):
        assert draw_values(space, Ends(pick)).keys() <= {parameter.key for parameter in space}


def test_the_homework_has_a_search_for_each_algorithm():
    assert {f"assault_{algo}" for algo in ("pg", "a2c", "a3c", "ppo")} | {"cartpole_ppo"} <= set(
        list_options("tune_searches")
    )


def test_a_value_of_null_is_shown_as_it_is_typed():
    assert format_values({"algo.vf_clip": None, "algo.lr": 0.00031}) == "algo.vf_clip=null  algo.lr=0.00031"
