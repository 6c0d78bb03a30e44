"""A folder of one's own: its groups are searched, its modules can be imported, and what it would hide is refused."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import run
from cluster.package import OWN_FILES, OWN_FOLDER, pack_code, place_own_files
from command_line.completion import complete_word
from environments.own_folder import OwnFolder, share_modules
from experiments.composition import GROUPS, list_options
from rollouts.private_ray import list_packed_files
from settings.mistakes import Mistake
from settings.runs import RunSettings
from settings.setting import list_settings

SWING = """# @package _global_
# A pendulum of two links, which has to swing up.
defaults:
  - override /model: mlp
env: {name: swing, id: "own_swing:Swing-v0", frameskip: 1, clip_rewards: false}
"""
OWN_SWING = """import gymnasium

gymnasium.register("Swing-v0", "gymnasium.envs.classic_control:CartPoleEnv", max_episode_steps=30)
"""


@pytest.fixture(autouse=True)
def no_folder():
    """No folder is left open, in this process and in those that it starts."""
    yield
    share_modules(None)


@pytest.fixture
def mine(tmp_path):
    """A folder with an algorithm's settings, an environment and its module, and a tuned config."""
    folder = tmp_path / "mine"
    files = {
        "algo/hasty.yaml": "defaults: [ppo]\nlr: 0.5\n",
        "env/swing.yaml": SWING,
        "own_swing.py": OWN_SWING,
        "tuned_configs/quick.yaml": "# @package _global_\nalgo: {lr: 0.25}\n",
        "model/wide.yaml": "defaults: [mlp]\ntorso: own_torso:Wide\nwidth: 256\n",
    }
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture
def answer(capsys):
    """Type a command line; returns its exit code, what it printed and what it said was wrong."""

    def read(*argv: object) -> tuple[int, str, str]:
        code = run.main([str(word) for word in argv])
        return code, *capsys.readouterr()

    return read


@pytest.mark.parametrize("flag", ["--config-dir {}", "--config-dir={}", "-cd {}", "config_dir={}"])
def test_options_of_the_folder_stand_beside_those_of_the_suite(flag, mine, answer, monkeypatch):
    monkeypatch.chdir(mine.parent)
    words = flag.format("mine").split()
    code, printed, _ = answer("algo=hasty", "env=swing", *words, "--cfg", "job")
    settings = yaml.safe_load(printed)
    assert code == 0 and settings["config_dir"] == str(mine)
    assert (settings["algo"]["name"], settings["algo"]["lr"]) == ("ppo", 0.5)
    assert settings["env"]["name"] == "swing" and settings["model"]["torso"] == "mlp"
    code, printed, _ = answer("tuned_configs=quick", "algo=hasty", *words, "--cfg", "job")
    assert code == 0 and yaml.safe_load(printed)["algo"]["lr"] == 0.25
    code, _, said = answer("algo=hasty")
    assert code == 2 and said.startswith("error: algo=hasty: "), "the next command line has no folder"


def test_help_and_completion_know_the_folder(mine, answer):
    code, printed, _ = answer("--help", "algo=hasty", "--config-dir", mine)
    assert code == 0 and "algo.lr=0.5" in printed
    code, printed, _ = answer("--config-dir", mine, "--help")
    assert code == 0 and "hasty" in printed and "swing" in printed
    assert complete_word("algo=h", ["--config-dir", str(mine)]) == ["algo=hasty "]
    assert complete_word(f"{mine.parent}/", ["--config-dir"]) == [f"{mine}/"]
    assert complete_word(f"tuned_configs={mine}/tuned_configs/q", []) == [
        f"tuned_configs={mine}/tuned_configs/quick.yaml "
    ]


def test_help_and_completion_know_settings_that_only_a_class_of_the_folder_reads(mine, answer):
    code, printed, _ = answer("--help", "model=wide", "--config-dir", mine)
    assert code == 0 and "  model.width=256\n" in printed and "  model.hidden=[64, 64]\n" in printed
    code, printed, _ = answer("--help", "model.width", "--config-dir", mine)
    assert code == 0 and printed.startswith("model=wide\n  model.width=256\n")
    assert complete_word("model.wi", ["--config-dir", str(mine), "model=wide"]) == ["model.width="]
    code, _, said = answer("--help", "model.width")
    assert code == 2 and "model.width" in said


def test_a_grid_takes_options_of_the_folder(mine, answer):
    code, printed, _ = answer("-m", "algo=hasty,ppo", "env=cartpole", "--config-dir", mine, "--cfg", "job")
    assert code == 0 and {name: arm["algo"]["lr"] for name, arm in yaml.safe_load(printed).items()}["hasty"] == 0.5


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--config-dir", "nowhere"], "nowhere"),
        (["--config-dir", "mine/env/swing.yaml"], "swing.yaml"),
        (["--config-dir"], "--config-dir mine"),
        (["--config-dir", "mine", "config_dir=other"], "config_dir="),
        (["config_dir="], "config_dir=:"),
        (["algo=hastie", "--config-dir", "mine"], "did you mean hasty?"),
    ],
)
def test_a_folder_that_cannot_be_meant_is_refused(words, named, mine, answer, monkeypatch):
    monkeypatch.chdir(mine.parent)
    code, printed, said = answer(*words)
    assert (code, printed, said.count("\n")) == (2, "", 1) and named in said


@pytest.mark.parametrize(
    "name",
    [
        *("algo/ppo.yaml", "page/x.yaml"),
        *("settings.py", "queue.py", "rollouts/__init__.py", "run.py", "torch.py", "gymnasium/__init__.py"),
    ],
)
def test_a_file_that_hides_or_is_hidden_is_refused(name, mine, answer):
    (mine / name).parent.mkdir(exist_ok=True)
    (mine / name).write_text("lr: 1\n" if name.endswith("yaml") else "")
    code, _, said = answer("--config-dir", mine, "--cfg", "job")
    assert (
        code == 2 and str(mine / name).removesuffix("/__init__.py").removesuffix("/x.yaml") in said and "rename" in said
    )


@pytest.mark.parametrize(
    ("text", "place"),
    [("lr: abc\ndefaults: [ppo]\n", "line 1: algo.lr=abc "), ("defaults: [hasty]\nclip: x\n", "line 2: algo.clip=x ")],
)
def test_a_mistake_in_the_folder_is_named_with_its_line(text, place, mine, answer):
    (mine / "algo/other.yaml").write_text(text)
    code, _, said = answer("algo=other", "--config-dir", mine)
    assert code == 2 and f"{mine}/algo/other.yaml, {place}" in said


def test_modules_of_the_folder_can_be_imported_here_and_by_processes_that_are_started(mine):
    paths = list(sys.path), os.environ.get("PYTHONPATH")
    ask = [sys.executable, "-c", "import own_swing"]
    share_modules(mine)
    assert OwnFolder.path == mine and str(mine) in sys.path
    assert subprocess.run(ask, cwd=mine.parent).returncode == 0
    share_modules(None)
    assert sys.path == paths[0] and os.environ.get("PYTHONPATH", "") == (paths[1] or "")
    assert subprocess.run(ask, cwd=mine.parent, stderr=subprocess.DEVNULL).returncode == 1


# Resume


@pytest.fixture
def begun(mine, tmp_path):
    """A run directory that was made with the folder."""
    words = ["algo=hasty", "env=cartpole", f"config_dir={mine}"]
    from run_directory.starts import write_start

    path = tmp_path / "begun"
    path.mkdir()
    write_start(path, run.read_experiment(words)[0], ["python", "run.py"], words, "float32")
    share_modules(None)
    return path


def test_a_run_continues_with_the_folder_that_it_began_with(begun, mine):
    settings, _ = run.read_experiment([f"resume={begun}", "stop.agent_steps=77"])
    assert settings["algo"]["lr"] == 0.5 and settings["config_dir"] == str(mine) and OwnFolder.path == mine


def test_a_folder_that_has_moved_is_asked_for(begun, mine, answer):
    moved = mine.rename(mine.with_name("moved"))
    code, _, said = answer(f"resume={begun}")
    assert code == 2 and f"--config-dir {mine}" in said
    settings, _ = run.read_experiment([f"resume={begun}", f"config_dir={moved}"])
    assert settings["algo"]["lr"] == 0.5 and settings["config_dir"] == str(moved)


def test_the_folder_of_somebody_else_s_run_is_not_opened(begun, mine, answer):
    text = (begun / "run.json").read_text().replace('"host": "', '"host": "not-')
    (begun / "run.json").write_text(text)
    code, _, said = answer(f"resume={begun}")
    assert code == 2 and "trust=true" in said and OwnFolder.path is None


# Files by their paths


@pytest.mark.parametrize("name", ["mine.yaml", "./mine.yaml", "{}/mine.yaml", "a b.yaml"])
@pytest.mark.parametrize("key", ["tuned_configs", "experiment"])
def test_a_tuned_config_may_be_a_file_anywhere(name, key, tmp_path, answer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = name.format(tmp_path)
    Path(path).write_text("# @package _global_\ndefaults:\n  - override /algo: a2c\nalgo: {lr: 0.125}\n")
    code, printed, said = answer(f"{key}={path}", "env=cartpole", "algo.gamma=0.5", "--cfg", "job")
    algo = yaml.safe_load(printed)["algo"]
    assert (code, said, algo["name"], algo["lr"], algo["gamma"]) == (0, "", "a2c", 0.125, 0.5)


def test_experiment_is_another_word_for_a_tuned_config(answer):
    prints = [answer(f"{key}=cartpole_a2c", "--cfg", "job") for key in ("experiment", "tuned_configs")]
    assert prints[0] == prints[1] and prints[0][0] == 0


def test_files_are_arms_of_a_grid_and_named_without_their_folder(tmp_path, answer, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name, lr in (("slow", 1e-5), ("fast", 1e-3)):
        (tmp_path / f"{name}.yaml").write_text(f"# @package _global_\nalgo: {{lr: {lr:.6f}}}\n")
    words = ["-m", f"tuned_configs=slow.yaml,{tmp_path}/fast.yaml", "env=cartpole", "--cfg", "job"]
    code, printed, _ = answer(*words)
    assert code == 0
    assert {name: arm["algo"]["lr"] for name, arm in yaml.safe_load(printed).items()} == {"slow": 1e-5, "fast": 1e-3}
    code, _, said = answer(*words[1:])
    assert code == 2 and " -m " in said


def test_a_file_is_checked_like_any_other_tuned_config(tmp_path, answer):
    (tmp_path / "mine.yaml").write_text("# @package _global_\nalgo: {clip: abc}\n")
    code, _, said = answer(f"tuned_configs={tmp_path}/mine.yaml")
    assert code == 2 and said.startswith(f"error: {tmp_path}/mine.yaml, line 2: algo.clip=abc ")
    (tmp_path / "mine.yaml").write_text("algo: {clip: 0.3}\n")
    code, _, said = answer(f"tuned_configs={tmp_path}/mine.yaml")
    assert code == 2 and said.startswith(f"error: {tmp_path}/mine.yaml, line 1: ")
    for path, named in ((f"{tmp_path}/other.yaml", "no such file"), ("cartpole_ppo.yaml", "=cartpole_ppo is ")):
        code, _, said = answer(f"tuned_configs={path}")
        assert code == 2 and named in said


# What travels to a cluster


def test_own_files_have_places_in_the_package(mine, tmp_path):
    quick, a_file = mine / "tuned_configs/quick.yaml", tmp_path / "mine.yaml"
    a_file.write_text("")
    words = [f"config_dir={mine}", f"tuned_configs=choice({a_file},{quick},cartpole_ppo)", "algo.lr=1"]
    moved, own = place_own_files(words)
    assert moved[0] == f"config_dir={OWN_FOLDER}" and moved[2] == "algo.lr=1"
    names = moved[1].removeprefix("tuned_configs=choice(").removesuffix(")").split(",")
    assert [own.get(name) for name in names] == [a_file, quick, None] and own[OWN_FOLDER] == mine
    assert place_own_files(["algo=ppo"]) == (["algo=ppo"], {})
    odd = a_file.rename(tmp_path / "mine, (too).yaml")
    assert place_own_files([f"tuned_configs={odd}"]) == (
        [f"tuned_configs={OWN_FILES}/0/mine, (too).yaml"],
        {f"{OWN_FILES}/0/mine, (too).yaml": odd},
    )
    assert not {OWN_FOLDER, OWN_FILES} & {*GROUPS, *list_settings(RunSettings)}, "Hydra takes a folder for a group"


def test_the_folder_is_packed_beside_the_code_and_counts_as_large(mine, tmp_path):
    (tmp_path / "mine.yaml").write_text("")
    own = {OWN_FOLDER: mine, "own_files/0/mine.yaml": tmp_path / "mine.yaml"}
    with pack_code(own, 10**9) as code:
        folder = Path(code["working_dir"])
        packed = {str(path.relative_to(folder)) for path in list_packed_files(folder)}
    assert {"run.py", "settings/runs.py", f"{OWN_FOLDER}/own_swing.py", "own_files/0/mine.yaml"} <= packed
    assert not [name for name in packed if name.startswith((".git/", ".venv/", "tests/"))]
    assert code["env_vars"] == {"PYTHONPATH": OWN_FOLDER} and not folder.exists()
    with pack_code({}, 10**9) as code:
        assert "env_vars" not in code
    (mine / "large.bin").write_bytes(b"0" * 2**21)
    with pytest.raises(Mistake, match=str(mine)), pack_code(own, 2**21):
        pass


def test_the_folder_s_options_are_forgotten_with_it(mine):
    share_modules(mine)
    assert "hasty" in list_options("algo")
    share_modules(None)
    assert "hasty" not in list_options("algo")


def test_a_mapping_takes_the_place_of_the_arguments_of_a_file(mine):
    (mine / "env" / "lake.yaml").write_text(
        "# @package _global_\ndefaults: [gymnasium, _self_]\n"
        "env: {name: lake, id: FrozenLake-v1, kwargs: {is_slippery: false, map_name: 8x8}}\n"
    )
    kwargs = {
        words: run.read_experiment([f"config_dir={mine}", "env=lake", *words.split()])[0]["env"]["kwargs"]
        for words in ("", "env.kwargs={map_name:4x4}", "env.kwargs={}", "env.kwargs.map_name=4x4")
    }
    assert list(kwargs.values()) == [
        {"is_slippery": False, "map_name": "8x8"},
        {"map_name": "4x4"},
        {},
        {"is_slippery": False, "map_name": "4x4"},
    ]


def test_an_environment_with_the_name_of_a_game_is_refused(mine):
    (mine / "env" / "swing.yaml").rename(mine / "env" / "qbert.yaml")
    with pytest.raises(Mistake, match="qbert"):
        run.read_experiment([f"config_dir={mine}", "env=cartpole"])
