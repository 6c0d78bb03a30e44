"""An exported folder: its program plays the suite's games, its description says what it is, mistakes are answered."""

import ast
import errno
import importlib.util
import json
import os
import subprocess
import sys
import venv
from pathlib import Path
from types import SimpleNamespace

import gymnasium
import numpy as np
import pytest
import torch
from small_worlds import ASSAULT, NATURE

import exports.export
import run as suite
from environments.checkout import ROOT
from environments.frame_stack import FrameStack
from environments.games import AtariGames, make_games
from exports.commands import PACKAGES
from exports.exported_network import arrange_in_blocks
from playing.agent import load_network
from playing.games_display import GamesDisplay
from playing.whole_games import play_games
from settings.protocols import PROTOCOLS

PLAYERS = [ROOT / "exports" / name for name in ("atari_player.py", "gymnasium_player.py")]
CARTPOLE = {"name": "CartPole-v1", "id": "CartPole-v1", "frameskip": 1, "clip_rewards": False}
PENDULUM = {"name": "Pendulum-v1", "id": "Pendulum-v1", "frameskip": 1, "clip_rewards": False}


@pytest.fixture(params=["onnx", "torchscript"])
def format(request):
    """A format of policy files, if its packages are there."""
    for package in PACKAGES[request.param]:
        pytest.importorskip(package, reason="pip install onnx onnxruntime")
    return request.param


def export(run: Path, folder: Path, *words: str) -> dict:
    """Type the command; return the content of agent.json."""
    assert suite.main(["command=export", f"run={run}", f"out={folder}", *words]) == 0
    return json.loads((folder / "agent.json").read_text())


def load_player(file: Path):
    """Return a play.py as a module."""
    spec = importlib.util.spec_from_file_location("player", file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def play_exported(folder: Path, seed: int, way: str = "greedy") -> tuple[float, int, list]:
    """Play a game with an exported folder; return its score, its length, and the actions that the policy chose."""
    player, agent, actions = load_player(folder / "play.py"), json.loads((folder / "agent.json").read_text()), []
    choose = player.choose_action

    def choose_action(*words):
        actions.append(choose(*words))
        return actions[-1]

    player.choose_action = choose_action
    return *player.play_game(agent, player.load_policy(agent), player.Game(agent), seed, way), actions


def play_in_suite(run: Path, checkpoint: str, env: dict, seed: int) -> tuple[float, int, list]:
    """Play a greedy game as an evaluation does, but in fp32; return the same as `play_exported`."""
    from playing.saved_settings import read_run_settings

    settings, actions = read_run_settings(run), []
    games = make_games(env | {"life_loss": False}, 1, 1, one_by_one=True)
    model = settings["model"] | {"dtype": "float32"}
    network = load_network(run / "checkpoints" / checkpoint, model, env, games, settings["algo"])
    step = games.step

    def step_and_note(chosen):
        actions.append(chosen[0])
        return step(chosen)

    games.step = step_and_note
    with GamesDisplay(1) as display:
        scores, lengths, _ = play_games(network, games, np.array([1]), seed, 0, greedy=True, display=display)
    return scores[0], len(actions), actions


def shorten(folder: Path, frames: int) -> dict:
    """Let the games of an exported folder end after some frames; return its `env.` settings."""
    agent = json.loads((folder / "agent.json").read_text())
    agent["env"]["max_episode_frames"] = frames
    (folder / "agent.json").write_text(json.dumps(agent))
    return agent["env"]


def test_a_published_agent_takes_the_same_actions_without_the_suite(format, tmp_path):
    run, folder = ROOT / "agents" / "assault_ppo", tmp_path / "assault"
    agent = export(run, folder, f"format={format}")
    assert sorted(path.name for path in folder.iterdir()) == sorted(["agent.json", "play.py", agent["policy"]["file"]])
    env = shorten(folder, 1600)
    score, steps, actions = play_exported(folder, seed=5)
    expected = play_in_suite(run, "best", env, seed=5)
    assert (score, steps) == expected[:2] and actions == expected[2]
    assert steps == 400 and score > 0 and len(set(actions)) > 3


@pytest.mark.parametrize(
    ("env", "model"),
    [(CARTPOLE, {}), (CARTPOLE, {"lstm_size": 8}), (PENDULUM, {})],
    ids=["cartpole", "lstm", "pendulum"],
)
def test_an_agent_of_a_gymnasium_environment_takes_the_same_actions(env, model, format, make_run, tmp_path):
    run, folder = make_run(env=env, model=model), tmp_path / "agent"
    export(run, folder, f"format={format}")
    score, steps, actions = play_exported(folder, seed=5)
    expected = play_in_suite(run, "last", env, seed=5)
    assert (score, steps) == (pytest.approx(expected[0]), expected[1])
    np.testing.assert_allclose(actions, expected[2], atol=1e-5)


@pytest.mark.parametrize(
    ("world", "model"),
    [("Screens", NATURE), ("Wide", NATURE | {"torso": "minigrid_cnn"}), ("Wide", {"lstm_size": 8})],
    ids=["square", "wide", "wide_lstm"],
)
def test_pictures_of_an_environment_go_in_as_it_shows_them(world, model, format, make_run, tmp_path, capsys):
    module = "tests.environments.own_worlds"
    env = CARTPOLE | {"id": f"{module}:{world}-v0"}
    run, folder = make_run(env=env, model=model), tmp_path / "agent"
    agent = export(run, folder, f"format={format}")
    shape = [64, 64, 3] if world == "Screens" else [36, 52, 3]
    assert agent["policy"]["inputs"][0] == {"name": "observation", "dtype": "uint8", "shape": ["N", *shape]}
    assert agent["needs"][-1] == module and f"{module}, by: python" in capsys.readouterr().out
    score, steps, actions = play_exported(folder, seed=5)
    assert (score, steps, actions) == play_in_suite(run, "last", env, seed=5)


def test_a_box_without_ends_is_json_and_clips_nothing(format, make_run, tmp_path):
    run, folder = make_run("WithoutEnds-v0", bias=[-7.0, 7.0]), tmp_path / "agent"
    assert export(run, folder, f"format={format}")["actions"] == {"low": [None, -0.5], "high": [None, 0.5]}
    json.loads((folder / "agent.json").read_text(), parse_constant=pytest.fail)  # Infinity and NaN are no JSON
    assert play_exported(folder, 1)[0] == pytest.approx(10 * (0.5 - 7.0), abs=1e-3)


def test_stochastic_games_draw_from_the_policy(format, make_run, tmp_path):
    run, folder = make_run("CountsActions-v0", bias=[0.0, 1.0]), tmp_path / "agent"
    export(run, folder, f"format={format}")
    drawn = np.concatenate([play_exported(folder, seed, "stochastic")[2] for seed in range(100)])
    assert len(drawn) == 1000 and drawn.mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.05)
    assert play_exported(folder, 7, "stochastic") == play_exported(folder, 7, "stochastic")
    wide = tmp_path / "wide"
    export(make_run("SumsABox-v0", bias=[0.5], name="wide_run"), wide, f"format={format}")
    drawn = np.concatenate([play_exported(wide, seed, "stochastic")[2] for seed in range(100)])
    assert drawn.mean() == pytest.approx(0.5, abs=0.12) and drawn.std() == pytest.approx(1, abs=0.1)


@pytest.mark.parametrize(
    "changes",
    [
        {"game": "breakout"},
        {"game": "breakout", "fire_on_life_loss": False, "fire_reset": False},
        {"game": "pong", **PROTOCOLS["machado"]},
        {"game": "ms_pacman", "grayscale": False, "dim": 42, "frame_stack": 2, "frameskip": 3, "noop_max": 5},
    ],
    ids=["fire-after-lives", "without-fire", "machado", "colours"],
)
def test_the_games_of_play_py_are_the_suite_s(changes):
    """Same actions, same pictures, rewards and ends; the suite's network sees them in blocks."""
    env = ASSAULT | {"max_episode_frames": 2000} | changes
    games = make_games(env | {"life_loss": False}, 1, 1)
    assert isinstance(games, AtariGames)
    game = load_player(PLAYERS[0]).Game({"env": env, "actions": games.action_names})
    pixels = games.layout._asdict() | {"block": games.layout.block}
    stack, ours = FrameStack(games.layout, games.reset(3)), game.reset(3)
    generator, is_over, lost, steps = np.random.default_rng(0), False, 0, 0
    while not is_over:
        assert np.array_equal(arrange_in_blocks(torch.from_numpy(ours), pixels).numpy(), stack.get_observations())
        lost += bool(games.ignores_next[0])
        action = int(generator.integers(len(games.action_names)))
        step = games.step(np.array([action]))
        ours, reward, is_over = game.step(action)
        assert reward == step.rewards[0] and is_over == step.finished[0]
        stack.push(step.obs, step.game_reset)
        steps += 1
    assert steps > 30 and bool(lost) == (changes["game"] == "breakout" and "fire_reset" not in changes)


def test_the_description_says_what_plays_by_which_rules_and_what_it_scored(format, tmp_path):
    agent = export(ROOT / "agents" / "assault_ppo", tmp_path / "assault", f"format={format}")
    published = json.loads((ROOT / "agents" / "assault_ppo" / "agent.json").read_text())
    assert agent["actions"] == ["NOOP", "FIRE", "UP", "RIGHT", "LEFT", "RIGHTFIRE", "LEFTFIRE"]
    assert agent["protocol"] == "classic" and agent["env"]["sticky"] == 0 and agent["preprocessing"]["stack"] == 4
    (observation,) = agent["policy"]["inputs"]
    assert observation == {"name": "observation", "dtype": "uint8", "shape": ["N", 4, 84, 84]}
    assert agent["policy"]["outputs"] == ["probabilities", "value"]
    for way in ("stochastic", "greedy"):
        assert agent["score"][way]["iqm_interval"] == published["evaluation"][way]["iqm_interval"]
    assert agent["checkpoint"] == {"name": "best", "agent_steps": 10001644, "env_frames": 40006576}
    assert agent["trained_by"] == published["starts"][-1]
    assert len(agent["exported_by"]["commit"]) == 40 and agent["needs"][0].startswith("ale-py==")
    assert sum(path.stat().st_size for path in (tmp_path / "assault").iterdir()) < 8e6


def test_the_score_is_that_of_the_weights_that_are_exported(make_run, tmp_path):
    run = make_run(checkpoints=("milestone_0", "best"))
    other = make_run(checkpoints=("milestone_0", "best"), name="other") / "checkpoints" / "best"
    game = {"mean": 1.0, "std": 1.0, "iqm": 1.0, "iqm_interval": [0.0, 2.0]}
    result = {"checkpoint": "best", "agent_steps": 2000, "episodes": 100, "games_seed": 1, "stochastic": game}
    file = run / "checkpoints" / "evaluation_best_100_games.json"
    file.write_text(json.dumps(result))
    (other.parent / file.name).write_text(json.dumps(result))  # under the rules of the other run
    assert export(run, tmp_path / "one", "format=torchscript")["score"]["games"] == 100
    assert export(run, tmp_path / "two", "format=torchscript", f"checkpoint={other}")["score"] is None
    file.write_text(json.dumps(result | {"agent_steps": 1000}))
    assert export(run, tmp_path / "three", "format=torchscript")["score"] is None


def test_an_agent_without_an_evaluation_has_no_score(make_run, tmp_path):
    agent = export(make_run(model={"lstm_size": 8}), tmp_path / "agent", "format=torchscript")
    assert agent["score"] is None and agent["trained_by"] is None
    assert [one["name"] for one in agent["policy"]["inputs"]] == ["observation", "h", "c"]
    assert agent["policy"]["outputs"][-2:] == ["next_h", "next_c"]


def test_both_programs_share_all_but_their_games():
    parts = []
    for file in PLAYERS:
        body = [one for one in ast.parse(file.read_text()).body if isinstance(one, ast.FunctionDef | ast.ClassDef)]
        parts.append({one.name: ast.unparse(one) for one in body})
    assert parts[0].keys() == parts[1].keys()
    assert {name for name in parts[0] if parts[0][name] != parts[1][name]} == {"Game", "choose_action"}


def test_a_folder_that_is_there_is_not_overwritten(make_run, tmp_path, monkeypatch, capsys):
    run, folder = make_run(), tmp_path / "agent"
    export(run, folder, "format=torchscript")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert suite.main(["command=export", f"run={run}", f"out={folder}", "format=torchscript"]) == 2
    assert capsys.readouterr().err.startswith(f"error: out={folder} ")
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before
    monkeypatch.chdir(tmp_path)
    for _ in range(2):  # without out, a new name
        assert suite.main(["command=export", f"run={run}", "format=torchscript"]) == 0
    assert sorted(path.name for path in Path("outputs/exports").iterdir()) == ["ppo_cartpole", "ppo_cartpole_2"]


def test_only_the_new_folder_is_touched_and_others_may_read_it(make_run, tmp_path, monkeypatch, capsys):
    run, folder = make_run(), tmp_path / "agent"
    own, found = tmp_path / "agent.new" / "notes.txt", {path.name for path in tmp_path.iterdir()}
    own.parent.mkdir()
    own.write_text("mine")
    export(run, folder, "format=torchscript")
    assert own.read_text() == "mine" and folder.stat().st_mode == own.parent.stat().st_mode
    write = exports.export.write_policy

    def write_when_another_export_is_through(*words):
        monkeypatch.setattr("exports.export.write_policy", write)
        export(run, tmp_path / "again", "format=torchscript")
        return write(*words)

    monkeypatch.setattr("exports.export.write_policy", write_when_another_export_is_through)
    assert suite.main(["command=export", f"run={run}", f"out={tmp_path / 'again'}", "format=torchscript"]) == 2
    assert capsys.readouterr().err.startswith(f"error: out={tmp_path / 'again'} cannot be written")
    assert len(list((tmp_path / "again").iterdir())) == 3
    assert {path.name for path in tmp_path.iterdir()} == {*found, "agent.new", "agent", "again"}


def test_an_action_stays_within_bounds_that_float32_cannot_hold():
    player, played = load_player(PLAYERS[1]), []
    game, box = player.Game.__new__(player.Game), gymnasium.spaces.Box(-0.1, 0.1, (1,), np.float64)
    game.env = SimpleNamespace(
        action_space=box, step=lambda action: played.append(action) or ([0.0], 0.0, True, False, {})
    )
    game.actions, game.dtype = {"low": [-0.1], "high": [0.1]}, "float32"
    game.step(np.array([5], np.float32))
    assert played[0] in box


@pytest.mark.parametrize("words", [("--games", "0"), ("--seed", "-3"), ("--seed", str(2**31 - 1), "--games", "2")])
@pytest.mark.parametrize("file", PLAYERS, ids=["atari", "gymnasium"])
def test_play_py_refuses_what_it_cannot_play(file, words, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["play.py", *words])
    with pytest.raises(SystemExit, match="^2$"):
        load_player(file).main()
    assert "error: --games takes 1 or more, and --seed 0 to" in capsys.readouterr().err


@pytest.mark.parametrize("file", PLAYERS, ids=["atari", "gymnasium"])
def test_play_py_names_the_package_that_it_lacks(file):
    without_packages = [sys.executable, "-I", "-S", str(file)]
    done = subprocess.run(without_packages, capture_output=True, text=True)
    assert done.returncode == 1 and "pip install" in done.stderr and "Traceback" not in done.stderr


def test_a_module_that_is_not_there_is_refused_in_a_sentence(make_run, tmp_path, monkeypatch, capsys):
    (tmp_path / "my_world.py").write_text(
        "import gymnasium\ngymnasium.register('Mine-v0', 'small_worlds:Scripted', max_episode_steps=9)"
    )
    with monkeypatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        run = make_run(env=CARTPOLE | {"id": "my_world:Mine-v0"})
    del sys.modules["my_world"], gymnasium.registry["Mine-v0"]
    assert suite.main(["command=export", f"run={run}", f"out={tmp_path / 'agent'}", "format=torchscript"]) == 2
    assert "my_world cannot be imported" in (said := capsys.readouterr().err) and "--config-dir" in said


def test_an_export_that_fails_leaves_nothing(make_run, tmp_path, monkeypatch):
    run = make_run()
    monkeypatch.setattr("exports.export.PLAYERS", {False: "none.py"})
    assert suite.main(["command=export", f"run={run}", f"out={tmp_path / 'agent'}", "format=torchscript"]) == 2
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_full_disk_is_a_sentence_and_leaves_nothing(make_run, tmp_path, monkeypatch, capsys):
    def write_on_full_disk(path: Path, content: bytes):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    run = make_run()
    monkeypatch.setattr(Path, "write_bytes", write_on_full_disk)
    assert suite.main(["command=export", f"run={run}", f"out={tmp_path / 'agent'}", "format=torchscript"]) == 2
    assert os.strerror(errno.ENOSPC) in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["run"]


def test_missing_packages_several_seeds_and_a_wrong_format_are_refused(make_run, tmp_path, monkeypatch, capsys):
    run = make_run()
    for seed in (1, 2):
        make_run(seed=seed, name=f"several/seed_{seed}")
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxruntime" else found(name))
    for words, said in (
        ([f"run={run}"], "pip install "),
        ([f"run={tmp_path / 'several'}", "format=torchscript"], "seed_1"),
        ([f"run={run}", "format=mp4"], "format=mp4"),
        ([f"run={run}", "checkpoint=best"], "checkpoint=best"),
    ):
        assert suite.main(["command=export", *words, f"out={tmp_path / 'agent'}"]) == 2
        assert said in capsys.readouterr().err
    assert not (tmp_path / "agent").exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_heavy_is_imported(make_run):
    run = make_run()
    words = ["command=export", f"run={run}", f"out={run / 'config.yaml' / 'agent'}"]
    script = f"import sys, run; print(run.main({words}), {{'torch', 'ray'}} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "2 set()" and "out=" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("agent", ["assault", "cartpole"])
def test_it_plays_in_an_environment_without_ray_and_torch(agent, make_run, tmp_path):
    for package in PACKAGES["onnx"]:
        pytest.importorskip(package, reason="pip install onnx onnxruntime")
    run, folder = ROOT / "agents" / "assault_ppo" if agent == "assault" else make_run(), tmp_path / "agent"
    needs = export(run, folder)["needs"]
    if agent == "assault":
        shorten(folder, 2000)
    venv.create(tmp_path / "venv", with_pip=True)
    python = tmp_path / "venv" / "bin" / "python"
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}

    def type_words(*words) -> str:
        done = subprocess.run([python, *words], cwd="/", env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    type_words("-m", "pip", "install", "--quiet", *needs)
    listed = type_words("-m", "pip", "list").split()
    assert "onnxruntime" in listed and not {"ray", "torch"} & {*listed}
    assert (agent == "assault") == ("gymnasium" not in listed)
    lines = type_words(folder / "play.py", "--games", "2", "--seed", "5", "--way", "greedy").splitlines()
    assert len(lines) == 3 and lines[0].startswith("seed 5: score ") and lines[2].startswith("mean score of 2 games")
    score, steps, _ = play_exported(folder, seed=5)
    assert lines[0] == f"seed 5: score {score:g} in {steps:,} steps"
