"""What -m means: which arms a command line makes, and what is refused."""

import re

import pytest

from grids.arms import explain_different_rules, name_arms, read_grid
from settings.mistakes import Mistake


def list_arms(*words: str) -> dict[str, dict]:
    """Return name -> settings of the arms of a command line on CartPole."""
    return {arm.name: arm.settings for arm in read_grid(["env=cartpole", *words]).arms}


def test_every_combination_of_values_is_an_arm_and_every_arm_has_all_seeds():
    arms = list_arms("algo=a2c,ppo", "algo.lr=choice(0.001,0.0003)", "seed=range(1,4)")
    found = {(name, arm["algo"]["name"], arm["algo"]["lr"]) for name, arm in arms.items()}
    assert found == {
        ("a2c_lr_0.001", "a2c", 0.001),
        ("a2c_lr_0.0003", "a2c", 0.0003),
        ("ppo_lr_0.001", "ppo", 0.001),
        ("ppo_lr_0.0003", "ppo", 0.0003),
    }
    assert all(arm["seed"] == [1, 2, 3] for arm in arms.values())


def test_ranges_and_patterns_are_values_too():
    assert [arm["algo"]["horizon"] for arm in list_arms("algo.horizon=range(64,193,64)").values()] == [64, 128, 192]
    assert list(list_arms("tuned_configs=glob(cartpole_p*)")) == ["cartpole_pg", "cartpole_ppo"]
    assert [arm["env"]["game"] for arm in list_arms_of_games("qbert,pong")] == ["qbert", "pong"]
    limits = ",".join(f"[{{gymnasium.wrappers:TimeLimit: {{max_episode_steps: {limit}}}}}]" for limit in (9, 99))
    wrapped = [arm["env"]["wrappers"] for arm in list_arms(f"env.wrappers={limits}").values()]
    assert wrapped == [[{"gymnasium.wrappers:TimeLimit": {"max_episode_steps": limit}}] for limit in (9, 99)]


def list_arms_of_games(games: str) -> list[dict]:
    """Return the settings of the arms of `env=<games>`."""
    return [arm.settings for arm in read_grid([f"env={games}"]).arms]


def test_the_same_line_has_the_same_name_and_another_line_another():
    names = [read_grid(["env=cartpole", f"algo={algos}"]).name for algos in ("a2c,ppo", "a2c,ppo", "pg,ppo")]
    assert names[0] == names[1] != names[2]
    assert read_grid(["env=cartpole", "algo=a2c,ppo", "label=mine"]).name == "mine"


def test_files_of_settings_may_have_spaces_and_commas_in_their_paths(tmp_path):
    folder = tmp_path / "my, own"
    folder.mkdir()
    for name, lr in {"one.yaml": 0.5, "two.yaml": 0.25}.items():
        for path in (folder / name, tmp_path / f"my {name}"):
            path.write_text(f"# @package _global_\nalgo: {{lr: {lr}}}\n")
    arms = list_arms(f"tuned_configs={tmp_path}/my one.yaml,{tmp_path}/my two.yaml")
    assert [arm["algo"]["lr"] for arm in arms.values()] == [0.5, 0.25]
    arms = list_arms(f"tuned_configs={folder}/one.yaml", "algo.gamma=0.9,0.99")
    assert {(arm["algo"]["lr"], arm["algo"]["gamma"]) for arm in arms.values()} == {(0.5, 0.9), (0.5, 0.99)}


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["seed=1,2"], ["-m"]),  # a grid of one
        (["algo=ppo"], ["-m"]),
        (["algo=a2c,a2c"], ["algo=a2c,a2c"]),
        (["algo.lr=shuffle(1e-4,2e-4)"], ["algo.lr=shuffle(1e-4,2e-4)"]),
        (["algo.lr= shuffle (1e-4,2e-4)"], ["shuffle"]),
        (["algo.lr=shuffle(1e-3,2e-3),3e-3"], ["shuffle"]),
        (["algo.lr=choice(1e-3,2e-3),3e-3"], ["algo.lr=choice(1e-3,2e-3),3e-3"]),
        (["algo.lr=range(1,3),3e-3"], ["algo.lr=range(1,3),3e-3"]),
        (["algo=a2c,ppo", "model.hidden=shuffle([32,64,16])"], ["shuffle"]),
        (["algo.lr=tag(a,shuffle(1e-4,2e-4))"], ["shuffle"]),
        (["algo.lr=interval(0,1)"], ["algo.lr=interval(0,1)", "tune_searches"]),
        (["algo=glob(x*)"], ["algo=glob(x*)", "a2c"]),
        (["algo.lr=glob(x*)"], ["algo.lr=glob(x*)"]),
        (["algo=a2c,ppo", "resume=x"], ["resume=x"]),
        (["algo=a2c,ppo", "trust=maybe"], ["trust=maybe"]),
        (["algo=a2c,ppo", "tune_searches=cartpole_ppo"], ["tune_searches=cartpole_ppo", "-m"]),
        (["algo=a2c,ppo", "command=evaluate"], ["command=evaluate"]),
        (["algo=a2c,ppo", "max_failures=1,2"], ["max_failures=1,2"]),
        (["algo=a2c,ppo", "cluster.address=local,auto"], ["cluster.address=local,auto"]),
        (["algo=a2c,ppo", "seed=range(0,120)"], ["240", "max_runs=200", "max_runs=240"]),
        (["algo.lr=range(1,2001)"], ["2,000", "max_runs=200"]),
        (["algo.gamma=0.99,0.990"], ["algo.gamma"]),
        (["algo.gamma=0.99,0.9", "algo.gamma=0.95"], ["algo.gamma=0.95"]),
        (["algo=a2c", "algo=a2c,ppo"], ["algo=a2c"]),
    ],
)
def test_a_grid_that_cannot_be_meant_is_refused(words, named):
    with pytest.raises(Mistake) as caught:
        read_grid(["env=cartpole", *words])
    assert [word for word in named if word not in str(caught.value)] == []


@pytest.mark.parametrize(
    ("key", "values"), [("label", ("one", "two")), ("max_failures", (1, 2)), ("dry_run", (False, True))]
)
def test_files_that_differ_in_what_all_runs_have_in_common_are_refused(tmp_path, key, values):
    files = [tmp_path / f"{name}.yaml" for name in ("one", "two")]
    for number, (file, value) in enumerate(zip(files, values, strict=True)):
        lines = ["# @package _global_", "defaults: [override /env: cartpole]", f"algo: {{gamma: 0.{9 - number}}}"]
        file.write_text("\n".join([*lines, f"{key}: {str(value).lower()}", ""]))
    words = [f"tuned_configs={files[0]},{files[1]}"]
    with pytest.raises(Mistake, match=f"{key}="):
        read_grid(words)
    assert len(read_grid([*words, f"{key}={str(values[0]).lower()}"]).arms) == 2


def test_all_arms_that_cannot_work_are_listed_each_reason_once():
    with pytest.raises(Mistake) as caught:
        read_grid(["env=cartpole", "algo=a2c,ppo,pg", "algo.clip=0.1,0.2"])
    first, *reasons = str(caught.value).splitlines()
    assert "4 of 6" in first
    assert len(reasons) == 1
    arms = reasons[0].partition(": ")[0]
    assert "algo=a2c" in arms and "algo=pg" in arms and "algo=ppo" not in arms


def test_a_larger_grid_is_run_if_it_is_asked_for():
    words = ["algo=a2c,ppo", "seed=range(0,120)", "max_runs=240"]
    assert [len(arm["seed"]) for arm in list_arms(*words).values()] == [120, 120]


def test_a_grid_of_another_host_is_trusted_if_the_line_says_so():
    assert list(list_arms("algo=a2c,ppo", "trust=true")) == ["a2c", "ppo"]


def test_seeds_can_be_added_to_a_grid():
    names = {read_grid(["env=cartpole", "algo=a2c,ppo", f"seed={seeds}"]).name for seeds in ("1,2", "1,2,3")}
    assert len(names) == 1 and read_grid(["env=cartpole", "algo=a2c,ppo", "seed=1"]).name not in names


def test_under_a_label_seeds_and_the_end_may_change_and_nothing_else():
    def read(*words: str) -> str:
        return read_grid(["env=cartpole", "algo=a2c,ppo", "label=mine", *words]).experiment

    known = read("seed=1,2")
    assert read("seed=1,2,3", "stop.agent_steps=7000") == known
    assert known not in (read("seed=1,2", "algo.gamma=0.5"), read("seed=1"))


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["[8]", "[16]", "[8,8]"], ["h_8", "h_16", "h_8~8"]),
        (["0.9", "0.95", "0", "-1"], ["h_0.9", "h_0.95", "h_0", "h_-1"]),
        (["1", "1;", "1~2"], ["h_1", "h_1~2", "h_1~2~2"]),
    ],
)
def test_every_arm_has_a_directory_of_its_own(values, names):
    assert name_arms([{"model.h": value} for value in values]) == names


def test_an_arm_is_not_named_as_another_folder_of_a_grid():
    arms = [{"tuned_configs": f"/mine/{name}.yaml"} for name in ("tune", "seed_1", "tune", "seeds")]
    assert name_arms(arms) == ["tune~2", "seed_1~2", "tune~3", "seeds"]


def test_arms_that_play_a_game_under_different_rules_are_named_with_what_makes_them_equal():
    words = ["tuned_configs=assault_a2c,assault_pg_lstm", "seed=1"]
    said = explain_different_rules(read_grid(words).arms)
    assert said and "tuned_configs=assault_pg_lstm: classic, fire_on_life_loss False" in said
    fire = re.search(r"env\.fire_on_life_loss=true$", said)
    assert fire and explain_different_rules(read_grid([*words, fire.group()]).arms) is None
    assert explain_different_rules(read_grid(["env=pong,assault", "algo=ppo"]).arms) is None
    assert explain_different_rules(read_grid(["env=pong", "env.sticky=0,0.25"]).arms), "even where that is swept"
    said = explain_different_rules(read_grid(["env=pong", "env.protocol=classic,machado"]).arms)
    assert said and said.endswith("env.protocol=classic")
