import json

from evidence.grid_arms import expand_grid, label_arm


def write_grid(folder, arms: dict) -> None:
    """A grid.json, and a run directory for each arm."""
    folder.mkdir()
    (folder / "grid.json").write_text(json.dumps({"arms": arms, "starts": []}))
    for name in arms:
        (folder / name).mkdir()
        (folder / name / "config.yaml").write_text("{}")


def test_arms_on_one_game_are_named_as_their_directories(tmp_path):
    write_grid(
        tmp_path / "grid", {"a2c_lr_0.1": {"algo": "a2c", "algo.lr": "0.1", "env": "pong"}, "ppo": {"env": "pong"}}
    )
    assert [label for label, _ in expand_grid(None, tmp_path / "grid")] == ["a2c_lr_0.1", "ppo"]


def test_an_arm_on_several_games_has_one_name(tmp_path):
    arms = {f"a2c_lr_0.1_{game}": {"algo": "a2c", "algo.lr": "0.1", "env": game} for game in ("pong", "breakout")}
    write_grid(tmp_path / "grid", arms)
    assert [label for label, _ in expand_grid(None, tmp_path / "grid")] == ["a2c lr=0.1"] * 2
    assert [label for label, _ in expand_grid("mine", tmp_path / "grid")] == ["mine a2c lr=0.1"] * 2


def test_a_grid_of_games_alone_leaves_the_label_to_the_settings(tmp_path):
    write_grid(tmp_path / "grid", {game: {"env": game} for game in ("pong", "breakout")})
    assert [label for label, _ in expand_grid(None, tmp_path / "grid")] == [None, None]


def test_a_group_speaks_for_itself_and_a_setting_needs_its_name():
    assert label_arm({"tuned_configs": "fast", "report_every": "5", "env.game": "pong"}) == "fast report_every=5"
