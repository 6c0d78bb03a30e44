"""Environments of one's own: what networks see and choose is what the environment shows and takes, in other words."""

import dataclasses

import gymnasium
import numpy as np
import pytest
from gymnasium.envs.classic_control.cartpole import CartPoleVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from environments import names
from environments.frames import FrameLayout, layout_of
from environments.games import make_games, may_never_end
from environments.gymnasium_envs import find_unusable_part, open_env, open_envs
from environments.names import name_environment
from extensions.gymnasium_ids import check_environment, check_observations
from extensions.own_environment import describe_flattened_picture
from settings.environments import GymnasiumSettings
from settings.mistakes import Mistake
from settings.protocols import EARLIER_OF_GYMNASIUM, complete_rules, remove_newer_rules
from settings.setting import list_settings

HERE = "tests.environments.own_worlds"


def settings_of(env_id: str, **changes) -> dict:
    """The `env.` settings of an environment of this suite's tests, or of Gymnasium."""
    name = env_id if env_id in gymnasium.registry else f"{HERE}:{env_id}-v0"
    return complete_rules({"name": "own", "id": name, "frameskip": 1, "clip_rewards": False}) | changes


def test_every_setting_has_a_value_of_earlier_versions():
    assert {*list_settings(GymnasiumSettings)} == {"name", "id", "frameskip", "clip_rewards", *EARLIER_OF_GYMNASIUM}


def test_settings_are_those_of_earlier_versions_where_nothing_new_is_asked_for():
    old = {"name": "own", "id": "CartPole-v1", "frameskip": 1, "clip_rewards": False}
    assert remove_newer_rules(complete_rules(old)) == old
    changed = complete_rules(old) | {"kwargs": {"a": 1}}
    assert remove_newer_rules(changed) == old | {"kwargs": {"a": 1}}


def test_a_discrete_observation_is_one_hot():
    env = open_env(settings_of("FrozenLake-v1", kwargs={"is_slippery": False}))
    first, _ = env.reset(seed=1)
    np.testing.assert_array_equal(first, np.eye(16, dtype=np.float32)[0])
    assert first.dtype == env.observation_space.dtype == np.float32 and env.observation_space.shape == (16,)
    down, *_ = env.step(1)
    np.testing.assert_array_equal(down, np.eye(16)[4])  # certain, because the ice is not slippery


def test_all_parts_of_an_observation_stand_in_a_row():
    env = open_env(settings_of("Parts"))
    row, _ = env.reset(seed=3)
    parts = env.unwrapped.shown
    bits, number = parts["rest"]
    np.testing.assert_allclose(
        row, np.concatenate([np.eye(3)[parts["goal"]], parts["place"].ravel(), bits, np.eye(2)[number - 7]]), rtol=1e-6
    )
    assert row.shape == env.observation_space.shape == (11,) and row.dtype == np.float32


def test_a_dict_of_one_part_is_that_part():
    env = settings_of("Parts", wrappers=[{"gymnasium.wrappers:FilterObservation": {"filter_keys": ["place"]}}])
    assert open_env(env).observation_space.shape == (2, 2)


@pytest.mark.parametrize("world", ["Matching", "Switches", "Board"])
def test_factors_of_an_action_reach_the_environment_in_its_own_words(world):
    games = make_games(settings_of(world), 4, 1)
    sizes = {"Matching": [3, 2, 4], "Switches": [2] * 4, "Board": [2, 3, 4, 2]}[world]
    assert games.action_space.nvec.tolist() == sizes and games.action_space.start.tolist() == [0] * len(sizes)
    obs = games.reset(1)
    ends = np.cumsum(sizes)
    for _ in range(20):
        parts = obs.astype(int) if world == "Switches" else np.split(obs, ends[:-1], axis=1)
        right = parts if world == "Switches" else np.stack([part.argmax(1) for part in parts], 1)
        step = games.step(right.astype(np.int64))
        np.testing.assert_array_equal(step.rewards, 1)
        obs = step.obs
    wrong = (right + 1) % sizes
    assert games.step(wrong).rewards.max() < 1


def test_actions_that_do_not_count_from_0_and_actions_in_rows_are_translated():
    games = make_games(settings_of("Parts"), 3, 1)
    obs = games.reset(1)
    assert games.action_space == gymnasium.spaces.Discrete(3)
    np.testing.assert_array_equal(games.step(obs[:, :3].argmax(1)).rewards, 1)
    games = make_games(settings_of("Matrix"), 2, 1)
    games.reset(1)
    assert games.action_space.shape == (4,)
    np.testing.assert_allclose(games.step(np.array([[0.5] * 4, [9, 9, 0.5, 0.5]], np.float32)).rewards, [0, -0.25])


def test_arguments_and_wrappers_reach_the_environment():
    doubled = f"{HERE}:Doubled"
    plain = make_games(settings_of("Matching"), 2, 1)
    wrapped = make_games(settings_of("Matching", wrappers=[doubled, {doubled: {"factor": 5.0}}]), 2, 1)
    plain.reset(1), wrapped.reset(1)
    action = np.zeros((2, 3), np.int64)
    np.testing.assert_array_equal(wrapped.step(action).rewards, 10 * plain.step(action).rewards)
    assert make_games(settings_of("Catch", kwargs={"size": 12}), 1, 1).layout.picture_shape == (12, 12, 1)


def test_arguments_of_one_environment_are_not_changed_by_another():
    env = settings_of("FrozenLake-v1", kwargs={"desc": ["SF", "HG"]})
    open_env(env).reset(seed=1)
    assert env["kwargs"] == {"desc": ["SF", "HG"]}


# Pictures.


def test_pictures_have_the_shape_of_the_environment_s():
    assert layout_of(settings_of("Screens")) == FrameLayout(64, 3, 1, 64)
    assert layout_of(settings_of("Wide")).frame_shape == (36, 52, 3)
    assert layout_of(settings_of("Wide", frame_stack=4)).stack_shape == (36, 52, 12)
    assert layout_of(settings_of("Catch")).frame_shape == (10, 10, 1)
    assert layout_of(settings_of("Wide", dim=20, grayscale=True)).frame_shape == (20, 20, 1)
    assert layout_of(settings_of("Catch", dim=21)).frame_shape == (21, 21, 1)
    assert layout_of(settings_of("Matching")) is None


@pytest.mark.parametrize("world", ["Screens", "Catch", "Wide"])
def test_a_picture_is_the_environment_s_pixel_by_pixel(world):
    games, alone = make_games(settings_of(world), 1, 1), gymnasium.make(f"{HERE}:{world}-v0")
    np.testing.assert_array_equal(games.layout.to_pixels(games.reset(5)[0]), alone.reset(seed=5)[0])
    for _ in range(2):
        np.testing.assert_array_equal(games.layout.to_pixels(games.step(np.ones(1, np.int64)).obs[0]), alone.step(1)[0])


def test_the_last_picture_of_a_game_that_was_cut_is_handed_over():
    games = make_games(settings_of("Wide"), 2, 1)
    games.reset(1)
    steps = [games.step(np.zeros(2, np.int64)) for _ in range(3)]
    assert steps[1].final_obs is None and steps[2].truncated.all() and not steps[2].terminated.any()
    assert steps[2].final_obs.shape == (2, 36, 52, 3) and (steps[2].final_obs[..., 0] == 5).all()
    assert (steps[2].obs[..., 0] == 8).all()  # of the next game


class Bits(gymnasium.Env):
    """Shows ones, in another dtype than that of its space."""

    action_space = gymnasium.spaces.Discrete(2)

    def __init__(self, dtype: str, shown: str):
        self.observation_space, self.shown = gymnasium.spaces.Box(0, 1, (3,), dtype), np.ones(3, shown)

    def reset(self, *, seed=None, options=None):
        return self.shown, {}

    def step(self, action):
        return self.shown, 0.0, False, False, {}


@pytest.mark.parametrize("num_envs", [1, 2])
@pytest.mark.parametrize(("dtype", "shown"), [("float32", "uint8"), ("uint8", "bool"), ("float32", "float64")])
def test_the_last_observation_of_a_game_has_the_dtype_of_all_others(dtype, shown, num_envs, monkeypatch):
    spec = gymnasium.envs.registration.EnvSpec("Bits-v0", Bits, max_episode_steps=2, disable_env_checker=True)
    monkeypatch.setitem(gymnasium.registry, "Bits-v0", spec)
    games = make_games(settings_of("Bits-v0", kwargs={"dtype": dtype, "shown": shown}), num_envs, 1)
    games.reset(1)
    steps = [games.step(np.zeros(num_envs, np.int64)) for _ in range(2)]
    assert steps[1].truncated.all() and steps[1].final_obs.dtype == steps[1].obs.dtype == np.dtype(dtype)


def test_a_gray_and_small_picture_is_the_mean_of_what_it_stands_for():
    picture = make_games(settings_of("Wide", dim=18, grayscale=True), 1, 1).reset(1)
    assert picture.shape == (1, 18, 18, 1)
    assert abs(int(picture.mean()) - (0.2125 * 8 + 0.7154 * 7 + 0.0721 * 9)) < 1.5


def test_the_last_observation_of_a_game_is_kept_where_the_next_one_is_written_into_the_same_array():
    games = make_games(settings_of("Counter"), 2, 1)
    games.reset(0)
    steps = [games.step(np.zeros(2, int)) for _ in range(5)]  # infos that cannot be put together are left out
    assert steps[-1].truncated.all() and steps[-1].final_obs is not None
    np.testing.assert_array_equal(steps[-1].final_obs, [[5], [5]])
    np.testing.assert_array_equal([step.obs[0, 0] for step in steps], [1, 2, 3, 4, 0])


@pytest.mark.parametrize("action", ["small", "half"])
def test_actions_have_the_dtype_of_the_environment_s_space(action):
    games = make_games(settings_of("Counter", kwargs={"action": action}), 2, 1)
    games.reset(0)
    drawn = np.zeros((2, 2), np.int64 if action == "small" else np.float32)
    games.step(games.played_actions(drawn))  # the environment asserts that they are in its space


@pytest.mark.parametrize("mode", [{}, {"autoreset_mode": AutoresetMode.DISABLED}], ids=["unknown", "disabled"])
def test_a_vector_of_environments_that_does_not_say_how_it_resets_is_not_taken(mode, monkeypatch):
    monkeypatch.setattr(CartPoleVectorEnv, "metadata", {"render_modes": []} | mode)
    assert isinstance(open_envs(settings_of("CartPole-v1"), 2, one_by_one=False), SyncVectorEnv)


def test_the_vector_of_a_user_s_own_module_is_not_taken(monkeypatch):
    def refuse(*words, **named):
        raise AssertionError("the check has opened another one")

    spec = gymnasium.registry["CartPole-v1"]
    monkeypatch.setitem(gymnasium.registry, "Own-v0", dataclasses.replace(spec, id="Own-v0", vector_entry_point=refuse))
    assert isinstance(
        open_envs(settings_of("CartPole-v1") | {"id": f"{HERE}:Own-v0"}, 2, one_by_one=False), SyncVectorEnv
    )


def test_the_same_seed_plays_the_same_game():
    for world in ("Screens", "Board", "Parts"):
        one, two = (make_games(settings_of(world), 3, 1) for _ in range(2))
        np.testing.assert_array_equal(one.reset(4), two.reset(4), world)
        actions = np.stack([one.action_space.sample() for _ in range(3)])
        for _ in range(12):
            a, b = one.step(actions), two.step(actions)
            np.testing.assert_array_equal(a.obs, b.obs, world)
            np.testing.assert_array_equal(a.rewards, b.rewards, world)


# What cannot work.


@pytest.mark.parametrize(
    ("env_id", "changes", "algo", "words"),
    [
        ("Unusable", {"kwargs": {"case": "text"}}, "ppo", "Text"),
        ("Unusable", {"kwargs": {"case": "sequence"}}, "ppo", "Sequence"),
        ("Unusable", {"kwargs": {"case": "graph"}}, "ppo", "Graph"),
        ("Unusable", {"kwargs": {"case": "mission"}}, "ppo", r"inner\.mission .*Text.*filter_keys: \[a,b\]"),
        ("Unusable", {"kwargs": {"case": "many"}}, "ppo", r"1,099,511,627,776"),
        ("Unusable", {"kwargs": {"case": "dict_action"}}, "ppo", "actions of Dict"),
        ("Unusable", {"kwargs": {"case": "colours_first"}, "dim": 84}, "ppo", r"\[3, 64, 64\], colours first"),
        ("Unusable", {"kwargs": {"case": "colours_first_in_a_dict"}}, "ppo", r"\[3, 64, 64\], colours first"),
        ("Unusable", {"kwargs": {"case": "four_channels"}, "grayscale": True}, "ppo", "4 channels"),
        ("Unusable", {"kwargs": {"case": "whole_numbers"}}, "ppo", "whole numbers.*MultiDiscrete"),
        ("Catch", {"kwargs": {"door_key": "blue"}}, "ppo", r"^env\.kwargs: door_key has the name of a password"),
        ("Catch", {"kwargs": {"doors": [{"door_key": "blue"}]}}, "ppo", r"^env\.kwargs: doors "),
        ("Catch", {"kwargs": {"url": "http://me:hidden@host"}}, "ppo", r"^env\.kwargs: url .*holds one(?!.*hidden)"),
        ("Catch", {"wrappers": [{f"{HERE}:Doubled": {"api_key": "x"}}]}, "ppo", r"^env\.wrappers: api_key"),
        ("Unusable", {"kwargs": {"case": "bounds"}, "dim": 4}, "ppo", r"^env\.dim=4: "),
        ("Unusable", {"kwargs": {"cases": "text"}}, "ppo", r"env\.kwargs is what it takes"),
        ("Matching", {}, "dqn", "MultiDiscrete"),
        ("Switches", {}, "dqn", "MultiBinary"),
        ("Pendulum-v1", {}, "dqn", "continuous"),
        ("Matching", {"dim": 8}, "ppo", r"^env\.dim=8: "),
        ("Matching", {"frame_stack": 4}, "ppo", r"^env\.frame_stack=4: .*FrameStackObservation"),
        ("Catch", {"kwargs": {"render_mode": "human"}}, "ppo", r"^env\.kwargs\.render_mode=human: "),
        ("Catch", {"kwargs": {"a b": 1}}, "ppo", r"^env\.kwargs: a b "),
        ("Catch", {"wrappers": ["FlattenObservation"]}, "ppo", r"type gymnasium\.wrappers:FlattenObservation$"),
        ("Catch", {"wrappers": ["nowhere:Thing"]}, "ppo", r"^env\.wrappers=nowhere:Thing: .*no module nowhere"),
        ("Catch", {"wrappers": [f"{HERE}:Nothing"]}, "ppo", r"^env\.wrappers=.*has no class Nothing"),
        ("Catch", {"wrappers": ["os:system"]}, "ppo", r"^env\.wrappers=os:system: .*has no class system"),
        ("Catch", {"wrappers": [f"{HERE}:Catch"]}, "ppo", r"Catch is no wrapper"),
        ("Catch", {"wrappers": ["gymnasium.wrappers:NormalizeReward"]}, "ppo", r"statistics of .*NormalizeReward"),
        ("Catch", {"wrappers": [{f"{HERE}:Doubled": {"times": 3}}]}, "ppo", r"Doubled cannot be put around .*times"),
        ("Catch", {"wrappers": [{f"{HERE}:Doubled": 3}]}, "ppo", r"argument: value"),
        (
            "Catch",
            {"kwargs": {"size": 40}, "wrappers": [{"gymnasium.wrappers:FrameStackObservation": {"stack_size": 2}}]},
            "ppo",
            r"\[2, 40, 40\], frames first.* env\.frame_stack=2$",
        ),
        ("Catch", {"wrappers": [{"a:B": {}, "c:D": {}}]}, "ppo", r"argument: value"),
    ],
)
def test_what_cannot_work_is_said_with_a_way_out(env_id, changes, algo, words):
    with pytest.raises(Mistake, match=words):
        check_environment(settings_of(env_id, **changes), algo)


@pytest.mark.parametrize("world", ["Catch", "Matching", "Switches", "Board", "Parts", "Matrix", "Screens", "Wide"])
def test_what_can_work_is_not_refused(world):
    check_environment(settings_of(world), "ppo")


def test_a_game_of_ale_under_rules_of_ones_own_is_not_refused(monkeypatch):
    kwargs, wrapper = {"frameskip": 1}, {"gymnasium.wrappers:AtariPreprocessing": {"noop_max": 0}}
    check_environment(settings_of("ALE/Assault-v5", kwargs=kwargs, wrappers=[wrapper]), "ppo")
    monkeypatch.setitem(gymnasium.registry, "Mine-v0", gymnasium.envs.registration.EnvSpec("Mine-v0", open_assault))
    check_environment(settings_of("Mine-v0"), "ppo")


def open_assault() -> gymnasium.Env:
    return gymnasium.make("ALE/Assault-v5", frameskip=1)


@pytest.mark.parametrize("env_id", ["FrozenLake-v1", "Taxi-v3", "Blackjack-v1", "CliffWalking-v1"])
@pytest.mark.parametrize("algo", ["ppo", "dqn"])
def test_environments_of_tables_and_cards_can_be_learned(env_id, algo):
    check_environment(settings_of(env_id), algo)


def test_a_time_limit_is_found_wherever_it_was_set():
    assert may_never_end(settings_of("Blackjack-v1"))
    assert not may_never_end(settings_of("Blackjack-v1", kwargs={"max_episode_steps": 9}))
    assert not may_never_end(
        settings_of("Blackjack-v1", wrappers=[{"gymnasium.wrappers:TimeLimit": {"max_episode_steps": 9}}])
    )
    assert may_never_end(settings_of("CartPole-v1", kwargs={"max_episode_steps": -1}))
    assert not may_never_end(settings_of("CartPole-v1", kwargs={"max_episode_steps": None}))  # that of its registration


def test_a_large_picture_that_is_made_smaller_is_not_refused():
    space = gymnasium.spaces.Box(0, 255, (800, 800, 3), np.uint8)
    check_observations(settings_of("Screens", dim=84), space)
    with pytest.raises(Mistake, match=r"1,920,000 numbers; .*env\.dim=84"):
        check_observations(settings_of("Screens"), space)


def test_results_are_filed_under_a_file_with_the_same_arguments_only(tmp_path, monkeypatch):
    monkeypatch.setattr(names, "FOLDER", tmp_path)
    (tmp_path / "lake.yaml").write_text("env: {name: lake, id: FrozenLake-v1, kwargs: {is_slippery: false}}\n")
    of_file, other = {"is_slippery": False}, {"is_slippery": True}
    found = [
        name_environment({"name": name, "id": "FrozenLake-v1", "kwargs": kwargs, "wrappers": None})
        for name, kwargs in (("lake", other), ("gymnasium", of_file), ("gymnasium", other), ("gymnasium", None))
    ]
    assert found == ["lake", "lake", "FrozenLake-v1", "FrozenLake-v1"]


def test_a_part_that_is_no_number_is_named_by_its_path():
    spaces = gymnasium.spaces
    inner = spaces.Tuple((spaces.Discrete(2), spaces.Text(3)))
    assert find_unusable_part(spaces.Dict({"a": inner, "b": spaces.Discrete(1)}))[0] == "a.1"
    assert find_unusable_part(spaces.Text(3))[0] == ""
    assert find_unusable_part(spaces.Tuple((spaces.Box(0, 1), spaces.MultiBinary(2)))) is None


def test_a_picture_that_meets_an_mlp_is_warned_of():
    assert "64 x 64 x 3" in describe_flattened_picture(settings_of("Screens"), "mlp")
    assert describe_flattened_picture(settings_of("Screens"), "impala") is None
    assert describe_flattened_picture(settings_of("Parts"), "mlp") is None
