"""Names that other libraries give to settings, games and seeds: an override is expanded, or a message names ours."""

import os
import re

import pytest
from ale_py import roms

import run
from environments.games import NOT_OPENED
from experiments.composition import GROUPS, compose_settings, list_dotted_keys, list_options, parse_overrides
from experiments.words import expand_override
from run_directory.layout import STARTS
from run_directory.outputs import find_newest_run
from settings.mistakes import Mistake
from settings.setting import Setting
from settings.synonyms import HINTS, SYNONYMS


@pytest.mark.parametrize(
    ("words", "ours"),
    [
        (["lr=1e-4"], "algo.lr"),
        (["learning_rate=1e-4"], "algo.lr"),
        (["algo.learning_rate=1e-4"], "algo.lr"),
        (["num_envs=8"], "algo.num_envs"),
        (["n_envs=8"], "algo.num_envs"),
        (["steps=1000"], "stop.agent_steps"),
        (["total_timesteps=1e6"], "stop.agent_steps"),
        (["n_steps=128"], "algo.horizon"),
        (["algo.num_steps=128"], "algo.horizon"),
        (["rollout_fragment_length=128"], "algo.horizon"),
        (["batch_size=64"], "algo.minibatch_size"),
        (["ent_coef=0.01"], "algo.entropy_coeff"),
        (["clip_range=0.1"], "algo.clip"),
        (["vf_coef=0.5"], "algo.vf_coeff"),
        (["gamma=0.9"], "algo.gamma"),
        (["num_workers=4"], "cluster.num_env_runners"),
        (["algo=a3c", "num_workers=4"], "algo.num_workers"),
        (["num_gpus=1"], "cluster.gpus_per_learner"),
        (["game=pong"], "env.game"),
        (["use_lstm=true"], "model.lstm_size"),
        (["seeds=3"], "seed"),
        (["tuned_config=assault_ppo"], "tuned_configs"),
        (["search=assault_ppo"], "tune_searches"),
        (["n_trials=3", "tune_searches=assault_ppo"], "search.trials"),
    ],
    ids=str,
)
def test_a_word_of_another_library_is_answered_with_ours(words, ours, capsys):
    assert run.main(words) == 2
    said = capsys.readouterr().err
    assert re.search(rf"^error: \S+: .* {re.escape(ours)}\b", said) and said.count("\n") == 1


def test_every_answer_is_a_setting_or_a_group_that_there_is():
    known = {*GROUPS}
    for algo in list_options("algo"):
        known |= {*list_dotted_keys(compose_settings([f"algo={algo}"]))}
    known |= {
        *list_dotted_keys(compose_settings(["tune_searches=assault_ppo"])),
        *list_dotted_keys(compose_settings(["env=cartpole"])),
    }
    assert set(SYNONYMS) <= known
    assert not [word for words in SYNONYMS.values() for word in words.split() if words.split().count(word) > 1]


@pytest.mark.parametrize("word", HINTS)
def test_what_there_is_no_setting_for_is_said_too(word):
    with pytest.raises(Mistake, match=rf"^{word}: .*{re.escape(HINTS[word])}$"):
        compose_settings(["algo=a2c", "env=cartpole", f"{word}=1"])  # Atari has a setting for some


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["vf_coef=1"], r"\balgo\.vf_coeff\b.*\b0\.5\b"),
        (["algo=a2c", "algo.clip=0.2"], r"^algo\.clip: .*\balgo=ppo\b"),
        (["env=cartpole", "env.sticky=0.2"], r"^env\.sticky: .*\bALE\b"),
        (["algo=a2c", "clip_range=0.1"], r"^clip_range: .*\balgo\.clip\b.*\balgo=ppo\b"),
        (["search.trials=3"], "tune_searches=<name>"),
        (["env.id=my.module:Mine-v0"], r"env=gymnasium env\.id="),
        (["env="], r"^env=: .*\bassault\b"),
        (["env=qbert", "env.game=pong"], r"env=qbert .*env\.game=pong\b"),
        (["seed=range(0,1000000000)"], r"1,000,000,000\b.*\b1000\b"),
    ],
    ids=str,
)
def test_what_nobody_can_mean_as_it_stands_is_answered_with_what_can_be_meant(words, named):
    with pytest.raises(Mistake, match=named):
        compose_settings(words)


@pytest.mark.parametrize(
    "words",
    [
        ["env=pong", "env.game=pong"],
        ["env=atari", "env.game=pong"],
        ["env=assault", "env=pong"],
        ["env=qbert", "env=pong"],
        ["env=assault", "env.game=pong"],
    ],
)
def test_the_game_that_is_named_last_is_played(words):
    assert compose_settings(words)["env"]["game"] == "pong"


@pytest.mark.parametrize(
    ("typed", "paths"),
    [
        ("[a,b/c]", ["a", "b/c"]),
        ("[~/a=b, rün,2026]", ["~/a=b", "rün", "2026"]),
        ("['a,b',c]", ["a,b", "c"]),
        ("[${oc.env:HOME},a b]", ["${oc.env:HOME}", "a b"]),
    ],
)
def test_the_runs_that_are_compared_are_taken_literally(typed, paths):
    assert parse_overrides([f"runs={typed}"]) == {"runs": paths}


# Environments ---------------------------------------------------------------------------------------------------------


def test_every_game_of_ale_is_an_env():
    envs = list_options("env")
    for game in set(roms.get_all_rom_ids()) - set(envs):
        assert expand_override(f"env={game}", envs) == ["env=atari", f"env.game={game}"]
    assert run.read_experiment(["env=qbert", "seed=3"])[0]["env"]["name"] == "qbert"
    with pytest.raises(Mistake, match="several players"):
        run.read_experiment([f"env={NOT_OPENED[0]}"])


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("ALE/Assault-v5", "env=assault; "),
        ("ALE/Pong", "env=pong\n"),
        ("atari/pong", "env=pong\n"),
        ("ALE/Foo-v5", "game of ALE "),
        ("Assault-v5", "env=assault;"),
        ("AssaultNoFrameskip-v4", "env=assault\n"),
        ("AssaultDeterministic-v0", "env=assault\n"),
        ("Assault-ram-v4", "env=assault\n"),
        ("MsPacmanNoFrameskip-v4", "env=ms_pacman\n"),
        ("ALE/UpNDown-v5", "env=up_n_down;"),
        ("MsPacman", "env=ms_pacman\n"),
        ("Qbert", "env=qbert\n"),
        ("CartPole-v1", "env=cartpole\n"),
        ("Acrobot-v1", "env=gymnasium env.id=Acrobot-v1\n"),
        ("asault", " assault?"),
        ("qbrt", " qbert?"),
        ("nonsense", "game of ALE "),
    ],
)
def test_an_environment_in_other_words_is_answered_with_ours(typed, said, capsys):
    assert run.main([f"env={typed}"]) == 2
    assert f"error: env={typed}: " in (error := capsys.readouterr().err) and said in error and error.count("\n") == 1


def test_a_game_by_its_gymnasium_id_is_told_the_game(capsys):
    assert run.main(["env=atari", "env.game=Assault-v5"]) == 2
    assert " assault?" in capsys.readouterr().err


# Values ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("typed", "seeds"),
    [
        ("1,2,3", [1, 2, 3]),
        ("range(1,4)", [1, 2, 3]),
        ("range(1, 8, 3)", [1, 4, 7]),
        ("range(3)", [0, 1, 2]),
        ("[4,5]", [4, 5]),
        ("7", 7),
    ],
)
def test_seeds_are_taken_as_people_write_them(typed, seeds):
    assert run.read_experiment([f"seed={typed}"])[0]["seed"] == seeds
    assert parse_overrides([f"seed={typed}"]) == {"seed": seeds}


def test_an_empty_range_of_seeds_is_refused():
    with pytest.raises(Mistake, match="seed"):
        run.read_experiment(["seed=range(4,1)"])


@pytest.mark.parametrize(
    ("typed", "number"), [("10k", 10_000), ("1M", 1_000_000), ("1.5M", 1_500_000), ("16.1k", 16_100), ("2e5", 200_000)]
)
def test_thousands_and_millions_can_be_typed(typed, number):
    found = run.read_experiment([f"stop.agent_steps={typed}"])[0]["stop"]["agent_steps"]
    assert found == number and type(found) is int


@pytest.mark.parametrize("typed", ["1G", "M", "k", "1.0001k", "-1k", "1 M"])
def test_what_is_no_number_of_agent_steps_is_refused(typed):
    how = "; a million is 1_000_000, 1e6 or 1M" if typed in ("1G", "1 M") else ""
    with pytest.raises(Mistake, match=rf"stop\.agent_steps=.* 1 to 1,000,000,000,000{how}$"):
        Setting("", int, 1, 10**12).check("stop.agent_steps", typed)


def test_a_number_that_is_never_large_is_not_answered_with_millions():
    with pytest.raises(Mistake, match=r"^x=4x is no number; it takes a whole number from 1 to 16$"):
        Setting("", int, 1, 16).check("x", "4x")


@pytest.mark.parametrize("typed", ["2024", "1e3", "007", "true", "2024-11-28", "null"])
def test_a_label_is_taken_as_it_is_typed(typed):
    label = None if typed == "null" else typed
    assert run.read_experiment([f"label={typed}"])[0]["label"] == label
    assert parse_overrides([f"label={typed}"]) == {"label": label}
    assert run.read_experiment(["tune_searches=cartpole_ppo", f"search.name={2024}"])[0]["search"]["name"] == "2024"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["episode=3"], "did you mean episodes?\n"),  # and nothing else, as model is only a little similar
        (["command=evaluate", "run=x", "epsiodes=3"], "did you mean episodes?\n"),
        (["command=evaluate", "run=x", "n_eval_episodes=3"], "did you mean episodes?\n"),
        (["command=evaluate", "run=x", "env.stiky=0.1"], "did you mean env.sticky?\n"),
        (["command=record", "run=x", "game=3"], "did you mean games?\n"),
        (["command=compare", "run=x"], "did you mean runs?\n"),
        (["command=evaluate", "run=x", "algo.lr=3"], "leave it out\n"),
        (["command=compare", "runs="], "runs is not set; "),
        (["command=compare", "runs=[]"], "runs is not set; "),
        (["command=record", "run=x", "format=avi"], "format=mp4 or webp or gif; "),
        (["command=submit", "command=compare"], "leave command=compare out, or command=submit\n"),
        (["algo.lr="], "algo.lr= is empty; "),
        (["seed=[1,2"], "a bracket has no partner"),
        (["callbacks=a:B,c:D"], "put brackets around them, callbacks=[a:B,c:D]\n"),
        (["env=cartpole", "model.hidden=128,64"], "put brackets around them, model.hidden=[128,64]\n"),
        (["seeds=1,2"], "seeds are typed seed=1,2,3 "),
        (["env.max_episode_steps=9"], "here it is env.max_episode_frames, in emulator frames"),
        (["env=cartpole", "env.max_episode_steps=9"], "; env.kwargs.max_episode_steps=<steps>"),
        (["env=pong", "env.kwargs.mode=3"], "; env=cartpole has it\n"),
    ],
    ids=str,
)
def test_a_slip_of_the_hand_is_answered_with_what_was_meant(words, said, capsys):
    assert run.main(words) == 2
    err = capsys.readouterr().err
    assert said in err and err.count("\n") == 1, err


def test_a_file_in_the_place_of_a_folder_and_a_folder_in_that_of_a_file_are_named_as_such(tmp_path, capsys):
    (file := tmp_path / "a_file").touch()
    for words in (
        [f"resume={file}"],
        ["command=evaluate", f"run={file}"],
        ["command=compare", f"runs=[{file}]"],
        ["--config-dir", str(file)],
    ):
        assert run.main(words) == 2
        assert re.search(r"is a file\b", capsys.readouterr().err), words
    assert run.main([f"tuned_configs={tmp_path}"]) == 2
    assert "a folder, not a file" in capsys.readouterr().err


def test_a_dry_run_names_an_output_dir_that_cannot_be_written_before_ray_starts(tmp_path, capsys):
    (tmp_path / "a_file").touch()
    assert run.main(["env=cartpole", "dry_run=true", f"output_dir={tmp_path}/a_file"]) == 2
    assert "output_dir=" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["ppo"], "algo=ppo"),
        (["assault"], "env=assault"),
        (["assault_ppo"], "tuned_configs=assault_ppo"),
        (["--algo", "ppo"], "algo=ppo"),
        (["--algo=ppo"], "algo=ppo"),
        (["--foo"], "--help"),
        (["report"], "command=compare"),
        (["PPO"], "algo=ppo"),
        (["Pong"], "env=pong"),
        (["lr=1e-4"], "algo.lr=1e-4"),
        (["use_lstm=true"], "model.lstm_size\n"),
        (["num_workers=2"], "cluster.num_env_runners=2"),
        (["num_workers=2"], "algo=a3c has algo.num_workers"),
        (["algo.num_workers=2"], "algo=a3c"),
        (["algo.num_workers=2"], "cluster.num_env_runners=2"),
        (["device=cpu"], "nothing is needed"),
        (["device=cuda"], "cluster=one_gpu"),
        (["env_id=PongNoFrameskip-v4"], "env=pong\n"),
        (["env=cartpole", "env.game=pong"], "env=pong\n"),
        (["--env-id", "pong"], "type env=pong\n"),
        (["--total-timesteps", "1e6"], "type stop.agent_steps=1e6\n"),
        (["--env-id=ALE/Pong-v5", "--num-envs", "8", "--seed", "3"], "type env=pong algo.num_envs=8 seed=3\n"),
        (["env.game=nosuch"], "--help env.game"),
    ],
    ids=str,
)
def test_a_bare_word_and_a_flag_are_answered_with_what_to_type(words, said, capsys):
    assert run.main(words) == 2
    assert said in capsys.readouterr().err


# Run directories ------------------------------------------------------------------------------------------------------


@pytest.fixture
def outputs(tmp_path):
    """Two runs, the second newer, and a search, the newest."""
    runs = (30, "ppo/assault/old"), (20, "ppo/assault/new"), (19, "ppo/assault/new/seed_3")
    for age, name in (*runs, (10, "searches/mine"), (5, "searches/mine/fresh/0007")):
        record = tmp_path / name / STARTS
        record.parent.mkdir(parents=True)
        record.write_text("{}")
        seconds = 10**9 - age
        os.utime(record, (seconds, seconds))
    return tmp_path


@pytest.mark.parametrize(
    ("kinds", "found"),
    [(("train",), "ppo/assault/new"), (("search",), "searches/mine"), (("train", "search"), "searches/mine")],
)
def test_latest_is_the_newest_of_its_kind_and_named(kinds, found, outputs, capsys):
    assert find_newest_run("latest", "run", str(outputs), kinds) == str(outputs / found)
    assert capsys.readouterr().err.startswith(f"run=latest is {outputs / found}")


def test_a_directory_of_runs_is_its_newest_and_a_run_is_itself(outputs, capsys):
    for folder in "ppo", "ppo/assault":
        assert find_newest_run(str(outputs / folder), "run", "nowhere") == str(outputs / "ppo/assault/new")
    assert "the newest of 2" in capsys.readouterr().err
    assert find_newest_run(str(outputs / "searches"), "resume", "nowhere") == str(outputs / "searches/mine")
    capsys.readouterr()
    for folder in "ppo/assault/old", "searches", "nothing":
        typed = str(outputs / folder)
        assert find_newest_run(typed, "run", "nowhere", ("train",)) == typed
    assert capsys.readouterr().err == ""


def test_without_a_run_latest_is_a_mistake(tmp_path, capsys):
    assert run.main(["resume=latest", f"output_dir={tmp_path}"]) == 2
    assert re.search(rf"^error: resume=latest: .* {tmp_path}\b", capsys.readouterr().err)
