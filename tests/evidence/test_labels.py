from evidence.labels import label_runs


def settings(algo="ppo", **changed) -> dict:
    """Settings of a run; `algo__lr=1.0` sets algo.lr."""
    run = {
        "seed": 1,
        "label": None,
        "output_dir": "outputs",
        "algo": {"name": algo, "lr": 0.00025, "horizon": 128},
        "model": {"dtype": "auto", "hidden": 512},
        "env": {"name": "assault"},
        "stop": {"agent_steps": 1000},
    }
    for key, value in changed.items():
        group, _, name = key.rpartition("__")
        (run[group] if group else run)[name] = value
    return run


def test_runs_are_named_after_their_algorithm_and_environment():
    assert label_runs([settings("ppo"), settings("a2c")]) == ["ppo assault", "a2c assault"]


def test_seeds_and_places_make_no_difference():
    assert label_runs([settings(), settings(seed=2, output_dir="elsewhere")]) == ["ppo assault"] * 2


def test_settings_in_which_runs_of_one_algorithm_differ_are_named():
    runs = [settings(), settings(algo__lr=0.001), settings(algo__lr=0.001, model__hidden=256), settings("a2c")]
    assert label_runs(runs) == [
        "ppo assault lr=0.00025 hidden=512",
        "ppo assault lr=0.001 hidden=512",
        "ppo assault lr=0.001 hidden=256",
        "a2c assault",
    ]


def test_what_a_run_does_not_have_is_not_named():
    newer = settings(env__fire_on_life_loss=True)
    assert label_runs([settings(), newer]) == ["ppo assault", "ppo assault fire_on_life_loss=True"]


def test_somebodys_own_label_stands_for_itself():
    assert label_runs([settings(label="mine"), settings()]) == ["ppo assault mine", "ppo assault"]


def test_how_long_and_where_runs_went_is_named_only_where_nothing_else_differs():
    assert label_runs([settings(), settings(stop__agent_steps=2000)]) == [
        "ppo assault agent_steps=1000",
        "ppo assault agent_steps=2000",
    ]
    runs = [settings(), settings(algo__lr=0.001, stop__agent_steps=2000)]
    assert label_runs(runs) == ["ppo assault lr=0.00025", "ppo assault lr=0.001"]


def test_on_several_games_an_arm_is_named_without_the_game_and_what_sets_games_apart():
    pong = {"env__name": "pong", "algo__horizon": 64}
    runs = [settings(), settings("a2c"), settings(**pong), settings("a2c", **pong)]
    assert label_runs(runs) == ["ppo", "a2c", "ppo", "a2c"]
    runs += [settings(algo__lr=0.001), settings(algo__lr=0.001, **pong)]
    assert label_runs(runs)[::2] == ["ppo lr=0.00025", "ppo lr=0.00025", "ppo lr=0.001"]
    assert label_runs(runs)[5] == "ppo lr=0.001"


def test_a_difference_on_one_game_names_the_arm_on_all():
    runs = [settings(), settings(algo__lr=0.001), settings(env__name="pong", algo__lr=0.001)]
    assert label_runs(runs) == ["ppo lr=0.00025", "ppo lr=0.001", "ppo lr=0.001"]


def test_runs_that_began_with_other_weights_are_arms_of_their_own():
    runs = [settings(), settings(seed=2, pretrained="agents/assault_ppo")]
    assert label_runs(runs) == ["ppo assault", "ppo assault pretrained=agents/assault_ppo"]
