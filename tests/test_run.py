"""The command line: what one types, what is composed from it, and what a mistake is answered with."""

import copy
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest
import ray
import torch
import yaml
from ray import tune

import run
from cluster.plan import make_plan
from command_line.help import EXAMPLES
from command_line.next_steps import describe_next_steps
from environments import names
from environments.machine import count_cpus
from environments.names import name_environment
from environments.own_folder import OwnFolder, share_modules
from evidence.evaluate import DEFAULT_EPISODES
from experiments import composition, overrides
from experiments.check import check_settings
from experiments.resume import keep_known, keep_rules, refuse_another_model
from run_directory.outputs import compute_key, create_run
from run_directory.starts import read_overrides, write_start
from run_directory.writing import lock_folder, write_file
from runs import train
from runs.build import build_config
from settings.commands import READER_SETTINGS
from settings.mistakes import Mistake
from settings.protocols import PROTOCOLS
from settings.runs import RunSettings
from settings.setting import list_settings

ROOT = Path(run.__file__).resolve().parent
OPTIONS = [  # but for tuned configs, which tests/runs/test_tuned_configs.py builds
    (path.parent.name, path.stem)
    for folder in (*(f"experiments/{group}" for group in composition.GROUPS), "tune_searches")
    for path in sorted(ROOT.glob(f"{folder}/*.yaml"))
]


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch, tmp_path):
    """Tests stand in a directory of their own, and nothing trains."""
    monkeypatch.chdir(tmp_path)

    def started(*_, **__):
        raise AssertionError("it should have been refused before this")

    monkeypatch.setattr(ray, "init", started)
    monkeypatch.setattr(tune.Tuner, "fit", started)


def list_files(folder):
    """Everything below a folder but locks, which every run directory has from its first start on."""
    return sorted(path for path in folder.rglob("*") if path.name != ".lock")


@pytest.fixture
def refused(capsys, tmp_path):
    """Type something wrong; returns the sentence it is answered with."""

    def answer(*argv: str) -> str:
        before = list_files(tmp_path)
        code = run.main(list(argv))
        out, err = capsys.readouterr()
        assert code == 2
        assert out == ""
        assert err.startswith("error: ") and err.count("\n") == 1, err
        assert "Traceback" not in err and "Error(" not in err
        assert list_files(tmp_path) == before, "a refused run leaves nothing behind"
        return err.removeprefix("error: ").strip()

    return answer


@pytest.fixture
def printed(capsys):
    """The experiment that `--cfg job` prints."""

    def read(*argv: str) -> dict:
        assert run.main([*argv, "--cfg", "job"]) == 0
        out, err = capsys.readouterr()
        assert err == ""
        return yaml.safe_load(out)

    return read


@pytest.fixture
def world(monkeypatch, tmp_path_factory):
    """A checkout whose YAML files a test may add to; returns how."""
    root = tmp_path_factory.mktemp("checkout")
    (root / "experiments").mkdir()
    for path in (ROOT / "experiments").iterdir():
        if path.is_dir():
            (root / "experiments" / path.name).mkdir()
            for file in path.iterdir():
                (root / "experiments" / path.name / file.name).symlink_to(file)
        else:
            (root / "experiments" / path.name).symlink_to(path)
    for name in ("tuned_configs", "tune_searches"):
        (root / name).mkdir()
    monkeypatch.setattr(composition, "ROOT", root)
    monkeypatch.setattr(names, "FOLDER", root / "experiments" / "env")

    def add(name: str, text: str) -> None:
        (root / name).write_text(text)

    return add


@pytest.fixture
def old_run(tmp_path):
    """A run directory that was left behind, without a checkpoint; returns its path."""

    def make(*overrides: str, name: str = "old") -> Path:
        path = tmp_path / name
        path.mkdir()
        write_start(
            path, run.read_experiment(list(overrides))[0], ["python", "run.py", *overrides], list(overrides), "float32"
        )
        return path

    return make


def test_help_shows_every_group_with_its_options_and_examples(capsys):
    assert run.main(["--help"]) == 0
    text = capsys.readouterr().out
    said = {*text.replace(",", " ").split()}
    for group in ("algo", "env", "model", "cluster", "size", "command", "tuned_configs", "tune_searches"):
        folder = ROOT / group if group.startswith("tune") else ROOT / "experiments" / group
        assert {group, *(path.stem for path in folder.glob("*.yaml"))} <= said
    examples = [line for line in text.splitlines() if line.strip().startswith("python run.py")]
    assert len(examples) >= 5
    assert "--cfg job" in text


def test_help_shows_a_tuned_config_and_a_search_that_were_just_added(world, capsys):
    world("tuned_configs/pong_fast.yaml", "algo: {lr: 1}")
    world("tune_searches/lr_search.yaml", "{}")
    run.main(["--help"])
    text = capsys.readouterr().out
    assert "pong_fast" in text and "lr_search" in text


def test_every_example_of_the_help_is_understood():
    lines = [line for line in EXAMPLES.splitlines() if line.startswith("  python run.py")]
    examples = [line.split("python run.py", 1)[1].split("  ")[0].split() for line in lines]
    for words in examples:
        if not any(word.startswith(("resume=", "run=")) for word in words):
            run.read_experiment(words)
    assert examples[0] == [] and len(examples) == 19


def test_bare_run_py_is_ppo_on_assault_for_ten_million_agent_steps(printed):
    settings = printed()
    assert settings["algo"]["name"] == "ppo"
    assert settings["env"]["game"] == "assault" and settings["env"]["protocol"] == "classic"
    assert settings["model"]["torso"] == "nature_cnn"
    assert settings["stop"]["agent_steps"] == 10_000_000
    assert settings["command"] == "train"


def test_ppo_is_printed_like_the_paper_s_table(printed):
    algo = printed()["algo"]
    paper = ["horizon", "lr", "num_epochs", "minibatch_size", "gamma", "gae_lambda", "num_envs", "clip", "vf_coeff"]
    assert [name for name in algo if name in [*paper, "entropy_coeff"]] == [*paper, "entropy_coeff"]
    assert (algo["horizon"], algo["lr"], algo["minibatch_size"], algo["num_envs"], algo["clip"]) == (
        128,
        2.5e-4,
        256,
        8,
        0.1,
    )


@pytest.mark.parametrize("words", [[], ["env=pendulum", "seed=[3,4]", "algo.lr=1"], ["env=pong", "size=smoke"]])
def test_what_is_printed_is_what_is_used(words, printed, monkeypatch):
    used = []

    def record(settings, *_):
        used.append(settings)
        return Path("nowhere"), 1

    shown = printed(*words)
    monkeypatch.setattr(train, "train", record)
    run.main(words)
    assert shown == used[0]


@pytest.mark.parametrize(("group", "option"), OPTIONS, ids=lambda word: word)
def test_every_yaml_file_composes_and_builds(group, option, monkeypatch):
    words = [f"{group}={option}"]
    if words == ["env=atari"]:
        words += ["env.game=qbert"]
    if words == ["env=gymnasium"]:
        words += ["env.id=FrozenLake-v1"]
    if words == ["command=search"]:
        words += ["tune_searches=cartpole_ppo"]
    if words in (["cluster=ray"], ["cluster=gpu_workers"]):
        words += ["output_dir=/shared"]
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    if option in READER_SETTINGS:
        words += ["runs=[there]" if option == "compare" else "run=there"]
        assert run.read_experiment(words)[0]["command"] == option
        return
    settings, _ = run.read_experiment(words)
    build_config(make_plan(settings)).validate()


def test_any_ale_game_can_be_played(printed):
    env = printed("env=atari", "env.game=qbert")["env"]
    assert env["game"] == env["name"] == "qbert"
    assert env | {"game": "assault", "name": "assault"} == printed()["env"]


def test_a_protocol_changes_its_fields_and_nothing_else(printed):
    classic, machado = printed()["env"], printed("env.protocol=machado")["env"]
    changed = {name for name in classic if classic[name] != machado[name]}
    differing = {name for name, value in PROTOCOLS["classic"].items() if PROTOCOLS["machado"][name] != value}
    assert changed == {"protocol", *differing}
    assert {name: machado[name] for name in PROTOCOLS["machado"]} == PROTOCOLS["machado"]


def test_one_field_of_a_protocol_can_be_set_by_itself(printed):
    machado, mixed = (printed("env.protocol=machado", *more)["env"] for more in ([], ["env.noop_max=30"]))
    assert mixed == machado | {"noop_max": 30}


def test_a_vector_environment_chooses_the_mlp_and_a_typed_model_wins(printed):
    assert printed("env=cartpole")["model"]["hidden"] == [64, 64]
    assert printed("env=cartpole", "model=dense512")["model"]["hidden"] == [512]
    assert printed("model=dense512", "env=cartpole")["model"]["hidden"] == [512]


def test_the_command_line_wins_over_a_tuned_config_and_that_over_the_groups(world, printed):
    world(
        "tuned_configs/fast.yaml",
        "# @package _global_\nmade_for: {algo: ppo, env: assault}\nalgo: {lr: 0.5, gamma: 0.9}\nstop: {agent_steps: 7}",
    )
    settings = printed("tuned_configs=fast", "algo.gamma=0.8")
    assert (settings["algo"]["lr"], settings["algo"]["gamma"], settings["stop"]["agent_steps"]) == (0.5, 0.8, 7)


def test_it_works_from_another_directory_and_a_mistake_there_exits_with_2(tmp_path):
    words = [sys.executable, str(ROOT / "run.py"), "env=asault"]
    done = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 2
    assert done.stdout == ""
    assert re.search(r"^error: env=asault: .* assault\? ", done.stderr) and done.stderr.count("\n") == 1
    assert f" {', '.join(composition.list_options('env'))}, " in done.stderr
    assert list(tmp_path.iterdir()) == []


# Bad input: exit code 2, one sentence naming the setting, the value and the way out, and nothing started.


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("algo=pppo", " ppo?"),
        ("algo=PPO", " ppo?"),
        ("algo=sac", "a2c, a3c, dqn"),
        ("command=report", "command=compare"),
        ("model=lstm", " cnn_lstm or nature_lstm?"),
        ("env=asault", " assault?"),
        ("model=nature_cn", " nature_cnn?"),
        ("cluster=desk", "laptop"),
        ("size=huge", "full, short, smoke"),
        ("command=trian", " train?"),
        ("tuned_configs=nothing_like_it", " assault_ppo,"),
        ("tune_searches=nothing_like_it", " assault_ppo,"),
    ],
)
def test_an_unknown_option_of_a_group_is_refused(word, wanted, refused):
    message = refused(word)
    assert word in message and wanted in message


@pytest.mark.parametrize(
    ("word", "key", "wanted"),
    [
        ("algo.lrr=1", "algo.lrr", " algo.lr"),
        ("algo.num_env=4", "algo.num_env", "algo.num_envs"),
        ("env.protocl=machado", "env.protocl", "env.protocol"),
        ("model.hiden=3", "model.hiden", "model.hidden"),
        ("stop.agent_step=3", "stop.agent_step", "stop.agent_steps"),
        ("sed=1", "sed", "seed"),
        ("algoo=ppo", "algoo", " algo?"),
        ("algo.lr.x=1", "algo.lr.x", "algo.lr"),
        ("env/x=1", "env/x", "env"),
    ],
)
def test_a_misspelt_key_is_refused_with_its_neighbours(word, key, wanted, refused):
    message = refused(word)
    assert message.startswith(f"{key}: ") and wanted in message


def test_an_option_that_is_hardly_similar_is_not_suggested(refused):
    assert "?" not in refused("algo=sac") and "?" not in refused("command=report")
    assert " mlp_lstm?" in refused("env=cartpole", "model=lstm")


def test_a_directory_that_is_nearly_there_is_suggested(refused, tmp_path):
    (tmp_path / "agents" / "assault_ppo").mkdir(parents=True)
    assert " run=agents/assault_ppo?" in refused("command=evaluate", "run=agents/assault_pqo")
    assert " resume=latest?" in refused("resume=ltest") and " run=latest?" in refused("command=page", "run=lastest")
    assert "run=latest" in refused("command=evaluate")
    assert f" run={tmp_path}" in refused("command=evaluate", "run=latest", f"output_dir={tmp_path}")


def test_a_key_of_another_environment_is_refused(refused):
    assert "env.game" in refused("env=cartpole", "env.game=pong")


@pytest.mark.parametrize(
    ("word", "key", "wanted"),
    [
        ("+algo.lrr=1", "algo.lrr", " algo.lr"),
        ("++algo.lrr=1", "algo.lrr", " algo.lr"),
        ("+sed=1", "sed", "seed"),
        ("+stop.time=1", "stop.time", "stop.time_s"),
        ("+algo.lr=1e-3", "algo.lr", "+"),
        ("+algo=ppo", "algo", "+"),
    ],
)
def test_a_key_with_a_plus_is_refused(word, key, wanted, refused):
    message = refused(word)
    assert key in message and wanted in message


def test_a_misspelt_key_in_a_tuned_config_is_refused(world, refused):
    world("tuned_configs/typo.yaml", "# @package _global_\nmade_for: {algo: ppo, env: assault}\nalgo: {lrr: 0.5}")
    message = refused("tuned_configs=typo")
    assert "tuned_configs/typo.yaml, line 3: algo.lrr: " in message and " algo.lr" in message


def test_a_misspelt_key_in_a_group_s_file_is_refused(world, refused):
    world("experiments/cluster/desk.yaml", "defaults: [laptop]\nnum_env_runer: 1")
    message = refused("cluster=desk")
    assert "cluster/desk.yaml, line 2: cluster.num_env_runer: " in message and "cluster.num_env_runners" in message


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("sede: 3", "line 2: sede: "),
        ("stop:\n  time_s: null\nalgo: {clip: abc}", "line 4: algo.clip=abc "),
        ("env: {game: asault}", "line 2: env.game=asault: "),
        ("stop: {agent_steps: 0}", "line 2: stop.agent_steps=0 "),
        ("size: smoke", "line 2: size "),
        ("defaults:\n  - override /size: smoke", "line 3: "),
    ],
)
def test_a_mistake_in_a_tuned_config_is_named_with_its_line_unless_it_was_typed(text, place, world, refused):
    world("tuned_configs/mine.yaml", f"# @package _global_\n{text}\n")
    assert f"tuned_configs/mine.yaml, {place}" in refused("tuned_configs=mine")
    assert refused("tuned_configs=mine", "algo.clip=cde").startswith("algo.clip=cde ") or "clip" not in text


def test_a_wrong_value_of_an_included_file_and_of_a_search_is_named_with_its_line(world, refused):
    world("experiments/env/mine.yaml", "frame_stack: 0\ndefaults: [atari]\ngame: pong\n")
    world("experiments/env/other.yaml", "defaults: [mine]\n")
    assert "env/mine.yaml, line 1: env.frame_stack=0 " in refused("env=other")
    text = (ROOT / "tune_searches/cartpole_ppo.yaml").read_text().replace("trials: 16", "trials: x")
    world("tune_searches/mine.yaml", text)
    line = text[: text.index("trials: x")].count("\n") + 1
    assert f"tune_searches/mine.yaml, line {line}: search.trials=x " in refused("tune_searches=mine")


def test_a_key_that_a_file_forgot_is_refused(world, refused):
    world("experiments/cluster/desk.yaml", "num_env_runners: 0")
    message = refused("cluster=desk")
    assert message.startswith("cluster.address is missing")


def test_a_yaml_file_that_is_no_yaml_is_refused(world, refused):
    world("experiments/cluster/desk.yaml", "num_env_runners: [1")
    assert "desk" in refused("cluster=desk")


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("algo.lr=abc", "a number above 0"),
        ("algo.lr=", "a number above 0"),
        ("algo.lr=null", "a number above 0"),
        ("algo.lr=true", "a number above 0"),
        ("algo.lr=[1,2]", "a number above 0"),
        ("algo.lr={a:1}", "a number above 0"),
        ("algo.num_envs=true", "whole number from 1 "),
        ("algo.num_envs=8.5", "whole number from 1 "),
        ("algo.num_envs=[8]", "whole number from 1 "),
        ("algo.normalize_advantages=1", "true or false"),
        ("dashboard=maybe", "true or false"),
        ("env.id=5", "a word"),
        ("model.hidden=64", "list of"),
        ("model.hidden=[64,a]", "list of"),
        ("model.hidden=[]", "list of"),
        ("seed=abc", "a whole number"),
        ("seed=1.5", "a whole number"),
        ("seed=1-3", "seed=1,2,3 or seed=range(1,4)"),
        ("seed=null", "a whole number"),
        ("seed=[1,a]", "a whole number"),
        ("stop=5", "group"),
        ("stop=null", "group"),
        ("made_for=abc", "group"),
        ("resume=5", "directory"),
        ("resume=[a]", "directory"),
        ("output_dir=", "empty"),
        ("resume=", "leave it out"),  # a script's empty variable must not start a new run
    ],
)
def test_a_value_of_another_kind_is_refused(word, wanted, refused):
    message = refused("env=cartpole", *word.split())
    assert word.split()[-1].partition("=")[0] in message and wanted in message


@pytest.mark.parametrize(
    ("word", "wanted"),
    [
        ("algo.lr=-0.5", "a number above 0"),
        ("algo.lr=0", "a number above 0"),
        ("algo.lr=nan", "a number above 0"),
        ("algo.lr=inf", "a number above 0"),
        ("algo.gamma=2.0", "from 0 to 1"),
        ("algo.gamma=-0.1", "from 0 to 1"),
        ("algo.num_envs=0", "from 1 to"),
        ("algo.clip=0", "above 0"),
        ("env.sticky=1.5", "from 0 to 1"),
        ("env.dim=7", "from 8 to 210"),
        ("env.noop_max=-1", "from 0 to"),
        ("stop.agent_steps=0", "from 1 to"),
        ("stop.time_s=-3.0", "above 0 "),
        ("stop.episode_return=nan", "null"),
        ("episodes=0", "from 1 to"),
        ("model.dtype=float16", "auto, float32, bfloat16"),
        ("algo.optimizer=adamw", " adam?"),
        ("env.protocol=machada", " machado?"),
        ("env.protocol=null", "classic, machado"),
        ("env.protocol=5", "classic, machado"),
        ("seed=-1", "from 0 to 2,147,483,647"),
    ],
)
def test_a_value_out_of_range_is_refused(word, wanted, refused):
    message = refused(word)
    assert word.removesuffix(".0").removesuffix("=0") in message and wanted in message


def test_a_whole_number_may_be_written_like_a_float_and_a_float_like_a_whole_number(printed):
    settings = printed("stop.agent_steps=1e6", "algo.lr=1")
    assert (settings["stop"]["agent_steps"], settings["algo"]["lr"]) == (1_000_000, 1.0)
    assert type(settings["stop"]["agent_steps"]) is int and type(settings["algo"]["lr"]) is float


def test_a_run_to_read_is_not_taken_for_one_to_continue(refused, tmp_path):
    message = refused(f"run={tmp_path}")
    assert re.search(rf"^run={tmp_path}: .*\bcommand=evaluate, record, .*\bresume=<", message)


def test_ctrl_c_before_anything_has_begun_is_one_word(monkeypatch, capsys):
    def interrupted(overrides):
        raise KeyboardInterrupt

    monkeypatch.setattr(run, "read_experiment", interrupted)
    assert run.main([]) == 1
    assert capsys.readouterr() == ("", "stopped\n")


def test_a_python_without_the_packages_is_told_how_to_get_them():
    bare = subprocess.run([sys.executable, "-S", "run.py"], cwd=ROOT, capture_output=True, text=True)
    assert bare.returncode == 1 and bare.stderr.count("\n") == 1
    assert re.search(r"^error: .*\bmake setup, .*\bsource \.venv/bin/activate$", bare.stderr)


@pytest.mark.parametrize(
    ("word", "named"), [("algo=ppo,", "key=value"), ("algo = ppo", "key=value"), ("algo.lr=[1", "bracket")]
)
def test_what_cannot_be_read_is_answered_without_a_grammar(word, named, refused):
    message = refused(word)
    assert re.search(rf"^{re.escape(repr(word))} .*\b{named}\b.*--help$", message) and "expecting" not in message


def test_a_minibatch_larger_than_the_batch_is_refused(refused, printed):
    message = refused("algo.minibatch_size=1025")
    assert "algo.minibatch_size=1025" in message and "8 x 128 = 1024" in message
    printed("algo.minibatch_size=1024")


def test_envs_that_runners_cannot_share_are_refused(refused):
    message = refused("algo.num_envs=7", "cluster.num_env_runners=2")
    assert "algo.num_envs=7" in message and "cluster.num_env_runners=2" in message and "multiple" in message


@pytest.mark.parametrize("setting", ["cluster.cpus", "cluster.num_env_runners", "cluster.cpus_per_runner"])
def test_more_cpus_than_the_machine_has_are_refused(setting, refused):
    many = count_cpus() + 1
    others = ["cluster.num_env_runners=1"] if setting.endswith("per_runner") else []
    message = refused(f"{setting}={many}", *others, f"algo.num_envs={many}")
    assert f"{setting}={many}" in message and f"has {count_cpus()}" in message and "ask for fewer" in message


@pytest.mark.parametrize("word", ["cluster.gpus_per_learner=1", "cluster=one_gpu"])
def test_gpus_that_are_not_there_are_refused(word, refused, monkeypatch):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    message = refused(word)
    assert re.search(r"^cluster\.gpus_per_learner=1: .*\b1 GPU, .*\b0 .*\bCUDA\b", message)


@pytest.mark.parametrize("game", ["asault", "Assault", "assault-v5"])
def test_an_unknown_game_is_refused_with_the_nearest(game, refused):
    message = refused("env=atari", f"env.game={game}")
    assert re.search(rf"^env\.game={game}: .* assault\?$", message)


def test_a_game_like_no_other_is_refused_with_the_spelling(refused):
    assert "spelt like assault" in refused("env.game=zzz")


def test_a_game_that_was_not_named_is_refused(refused):
    assert re.search(r"^env\.game .*\(env\.game=\.\.\.\)$", refused("env=atari"))


@pytest.mark.parametrize(("env_id", "wanted"), [("CartPole-v9", " CartPole-v1"), ("zzz", " id of ")])
def test_an_unknown_gymnasium_id_is_refused(env_id, wanted, refused):
    message = refused("env=cartpole", f"env.id={env_id}")
    assert f"env.id={env_id}" in message and wanted in message


@pytest.mark.parametrize("case", ["text", "sequence", "graph"])
def test_an_environment_whose_observations_no_model_takes_is_refused(case, refused):
    env_id = "tests.environments.own_worlds:Unusable-v0"
    message = refused("env=gymnasium", f"env.id={env_id}", f"env.kwargs={{case: {case}}}")
    assert message.startswith(f"env.id={env_id}: ") and case.capitalize() in message


@pytest.mark.parametrize("key", ["env.kwargs", "env.wrappers"])
def test_arguments_and_wrappers_take_their_kind(key, refused):
    assert refused("env=gymnasium", "env.id=CartPole-v1", f"{key}=5").startswith(f"{key}=5 ")


def test_arguments_and_wrappers_are_typed_as_data(printed):
    order, limit = "gymnasium.wrappers:OrderEnforcing", "gymnasium.wrappers:TimeLimit"
    words = ("env=gymnasium", "env.id=FrozenLake-v1", "env.kwargs={is_slippery: false, map_name: 8x8}")
    wrappers = f"env.wrappers=[{order},{{{limit}: {{max_episode_steps:9}}}}]"
    env = printed(*words, "env.kwargs.is_slippery=true", wrappers)["env"]
    assert env["kwargs"] == {"is_slippery": True, "map_name": "8x8"}
    assert env["wrappers"] == [order, {limit: {"max_episode_steps": 9}}]
    assert env["name"] == "FrozenLake-v1"


def test_an_environment_that_lacks_its_package_is_refused(refused):
    from importlib.util import find_spec

    if find_spec("Box2D"):
        pytest.skip("Box2D is installed here")
    message = refused("env=cartpole", "env.id=LunarLander-v3")
    assert "env.id=LunarLander-v3" in message and "install" in message


@pytest.mark.parametrize("group", ["algo", "env", "model", "cluster", "size", "command"])
@pytest.mark.parametrize("word", ["~{}", "{}=null", "{}=5"])
def test_a_group_that_was_taken_away_is_refused(group, word, refused):
    message = refused(word.format(group))
    assert group in message


@pytest.mark.parametrize("key", ["seed", "stop", "algo.lr"])
def test_a_setting_that_was_taken_away_is_refused(key, refused):
    assert key in refused(f"~{key}")


@pytest.mark.parametrize("word", ["env.name=../../x", "env.name=", "hydra.run.dir=x"])
def test_a_name_that_is_a_path_and_hydra_s_own_settings_are_refused(word, refused):
    assert word in refused(word)


@pytest.mark.parametrize("word", ["seed=[1,1]", "seed=[]", "seed=[2,1,2]"])
def test_seeds_come_once_each_and_there_is_one_at_least(word, refused):
    message = refused(word)
    assert message.startswith(f"{word.replace(',', ', ')}: ")


@pytest.mark.parametrize("word", ["--config-name", "--cgf", "-x"])
def test_an_unknown_flag_is_refused(word, refused):
    message = refused(word)
    assert message.startswith(f"{word}: ") and "--help" in message


@pytest.mark.parametrize("words", [["--cfg"], ["--cfg", "all"], ["-c", "hydra"]])
def test_cfg_takes_the_word_job(words, refused):
    assert "--cfg job" in refused(*words)


@pytest.mark.parametrize(
    "word",
    ["algo", "algo.lr==3", "algo.lr=[", "algo.lr=(", "=3", "algo.lr=${foo}"],
)
def test_an_override_that_cannot_be_read_is_refused_and_named(word, refused):
    message = refused("env=pong", word)
    assert (word in message or "algo.lr" in message) and "--help" in message


@pytest.mark.parametrize(
    ("word", "suggested"),
    [
        ("algo.lr=1e-4,1e-5", "-m algo.lr=1e-4,1e-5"),
        ("algo=choice(a2c,ppo)", "-m algo=choice(a2c,ppo)"),
        ("runs=a,b", "runs=[a,b]"),
    ],
)
def test_several_values_of_a_setting_are_refused_and_their_notation_named(word, suggested, refused):
    command = ["command=compare"] if word.startswith("runs") else []
    assert suggested in refused(*command, word)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="it is of Linux")
def test_an_answer_that_a_full_disk_swallows_is_no_success():
    with open("/dev/full", "w") as full:
        done = subprocess.run([sys.executable, run.__file__, "--version"], stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 1 and b"No space left" in done.stderr


def test_a_directory_of_runs_beside_a_run_is_left_out_and_by_itself_is_the_run(refused):
    assert "run=there" in refused("command=evaluate", "output_dir=there")
    assert "run=there" not in refused("command=evaluate", "run=here", "output_dir=there")


@pytest.mark.parametrize("words", ["runs={a:here,b:there,a:elsewhere}", "env.kwargs={size: 1, size: 2}"])
def test_a_name_that_is_there_twice_is_refused_since_hydra_would_keep_the_last(words, refused):
    command = ["command=compare"] if words.startswith("runs") else ["env=gymnasium", "env.id=FrozenLake-v1"]
    assert composition.parse_overrides(["env.kwargs={a: 'b: 1, a: 2', b: 3}"])["env.kwargs"] == {
        "a": "b: 1, a: 2",
        "b": 3,
    }
    message = refused(*command, words)
    assert words in message and (" a " if command == ["command=compare"] else " size ") in message


@pytest.mark.parametrize(
    ("setting", "named"), [("lstm_sise", "did you mean model.lstm_size"), ("hidden2", "no module nowhere_to_be_found")]
)
def test_a_setting_of_a_users_network_is_refused_where_it_is_nearly_one_of_the_suite(setting, named, world, refused):
    world("experiments/model/mine.yaml", f"defaults:\n  - mlp\ntorso: nowhere_to_be_found:Net\n{setting}: 64\n")
    assert named in refused("env=cartpole", "model=mine")


@pytest.mark.parametrize(
    ("made_for", "words", "wanted"),
    [
        ("{algo: ppo, env: pong}", [], r"^env=assault: .* env=pong;"),
        ("{algo: ppo, env: assault}", ["env=pong"], r"^env=pong: .* env=assault;"),
        ("{algo: a2c, env: assault}", [], r"^algo=ppo: .* algo=a2c;"),
        ("{nonsense: 1}", [], "nonsense"),
    ],
)
def test_a_tuned_config_of_another_algorithm_or_environment_is_refused(made_for, words, wanted, world, refused):
    world("tuned_configs/tuned.yaml", f"# @package _global_\nmade_for: {made_for}\nalgo: {{lr: 0.5}}")
    assert re.search(wanted, refused("tuned_configs=tuned", *words))


def test_an_output_directory_that_cannot_be_written_is_refused(tmp_path, refused):
    (tmp_path / "file").write_text("")
    message = refused(f"output_dir={tmp_path}/file/outputs")
    assert f"output_dir={tmp_path}/file/outputs" in message and "name another" in message


@pytest.mark.parametrize(
    ("name", "words"), [("ppo", []), ("ppo/cartpole", []), ("grids", ["-m", "algo.lr=1e-3,1e-4", "label=mine"])]
)
def test_a_part_of_an_output_directory_that_cannot_be_written_is_refused_before_ray_starts(
    name, words, tmp_path, refused, monkeypatch
):
    """It may be another user's, who made it first."""
    for module in ("runs.train", "grids.grid"):
        monkeypatch.setattr(f"{module}.open_ray", lambda plan: pytest.fail("Ray would start"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text("")
    assert f"{tmp_path / name}" in refused(*words, "env=cartpole", f"output_dir={tmp_path}")


@pytest.mark.parametrize("command", sorted({*READER_SETTINGS} - {"audit"}))  # that audits an experiment then
def test_a_command_that_reads_a_run_is_refused_without_one(command, refused):
    assert re.search(rf"^runs? .*\bcommand={command} .*\bruns?=\[?<", refused(f"command={command}"))


WAYS = [("resume", []), ("run", ["command=evaluate"])]


@pytest.mark.parametrize(("setting", "words"), WAYS, ids=["resume", "run"])
def test_a_run_directory_that_is_not_there_is_refused(setting, words, tmp_path, refused):
    message = refused(*words, f"{setting}={tmp_path}/nowhere")
    assert f"{setting}={tmp_path}/nowhere" in message and "no such directory" in message
    assert "give the" in message


@pytest.mark.parametrize("content", [None, "", "hello", "- a", "model: {}", "algo: 3", "a: [1"])
@pytest.mark.parametrize(("setting", "words"), WAYS, ids=["resume", "run"])
def test_a_directory_of_something_else_is_refused(setting, words, content, tmp_path, refused):
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    if content is not None:
        (tmp_path / "config.yaml").write_text(content)
        (tmp_path / "run.json").write_text('{"starts": [{"overrides": []}]}')
    message = refused(*words, f"{setting}={tmp_path}")
    assert f"{setting}={tmp_path}" in message and "give the" in message


@pytest.mark.parametrize("keep", [0.1, 0.5, 0.9])
@pytest.mark.parametrize("name", ["config.yaml", "run.json"])
def test_a_run_directory_with_a_torn_file_is_refused(name, keep, old_run, refused):
    path = old_run("env=cartpole")
    text = (path / name).read_text()
    (path / name).write_text(text[: int(keep * len(text))])
    assert f"resume={path}" in refused(f"resume={path}")


@pytest.mark.parametrize("record", ["[]", "{}", '{"starts": []}', '{"starts": [{}]}', '{"starts": 3}'])
def test_a_run_directory_with_another_s_record_is_refused(record, old_run, refused):
    path = old_run("env=cartpole")
    (path / "run.json").write_text(record)
    assert f"resume={path}" in refused(f"resume={path}")


def test_a_run_that_stopped_before_its_first_checkpoint_cannot_be_resumed(old_run, refused):
    path = old_run("env=cartpole")
    message = refused(f"resume={path}")
    assert message.startswith(f"resume={path}: no checkpoint")


def test_a_run_that_still_trains_before_its_first_checkpoint_is_not_called_stopped(old_run, refused):
    path = old_run("env=cartpole")
    with lock_folder(path):
        message = refused(f"resume={path}")
    assert str(path) in message and "checkpoint" not in message


def test_a_run_without_a_checkpoint_cannot_be_evaluated(old_run, refused):
    path = old_run("env=cartpole")
    message = refused("command=evaluate", f"run={path}")
    assert f"run={path}" in message and "no checkpoint" in message


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ([], ["model=dense512"], ["model.torso=mlp", "model.torso=nature_cnn"]),
        (["model=dense512"], ["model.activation=relu"], ["model.activation=relu", "model.activation=elu"]),
        (["env=cartpole"], ["model.hidden=[32]"], ["model.hidden=[32]", "model.hidden=[64, 64]"]),
        ([], ["env=pong"], ["env.name=pong", "env.name=assault"]),
        (["env=cartpole"], ["env=pendulum"], ["env.name=pendulum", "env.name=cartpole"]),
        ([], ["env.game=pong"], ["pong", "assault"]),
        ([], ["env.protocol=machado"], ["env.full_action_space=True", "env.full_action_space=False"]),
        ([], ["env.frame_stack=2"], ["env.frame_stack=2", "env.frame_stack=4"]),
        ([], ["algo.optimizer=rmsprop"], ["algo.optimizer=rmsprop", "algo.optimizer=adam"]),
        (["algo=a2c", "algo.rmsprop_start=0"], ["algo.rmsprop_start=1"], ["_start=1", "_start=0"]),
        (["seed=1"], ["seed=2"], ["seed=2", "seed=1"]),
        (["seed=[1,2]"], ["seed=[1,2,3]"], ["seed=[1, 2, 3]", "seed=[1, 2]"]),
    ],
)
def test_a_checkpoint_of_another_model_is_refused(old, new, named, old_run, refused):
    message = refused(f"resume={old_run(*old)}", *new)
    assert all(word in message for word in named), message
    assert "leave it out" in message


def test_a_training_of_a_search_keeps_its_budget(old_run, refused, tmp_path):
    trial = old_run("env=cartpole", "stop.agent_steps=4096")
    search = tmp_path / "searches" / "cartpole_ppo"
    (search / "trials").mkdir(parents=True)
    trial = trial.rename(search / "trials" / "0000")
    (search / "config.yaml").write_text("command: search\n")
    message = refused(f"resume={trial}", "stop.agent_steps=8192")
    assert message.startswith("stop: ") and str(trial) in message
    assert refused(f"resume={trial}", "algo.clip=0.3").startswith("algo: "), "its score would count for other values"
    assert "search" not in refused(f"resume={trial}", "report_every=-1")
    run.read_experiment([f"resume={trial}", "report_every=500"])


@pytest.mark.parametrize(
    ("typed", "named"),
    [
        (["seed=range(1,99999999999999999999999)"], ("seed=range", "seeds")),
        (["algo.lr=1" + "0" * 320], ("algo.lr=", "out of range")),
        (["tune_searches=cartpole_ppo", f"search.name={'n' * 300}"], ("search.name=", "100")),
        (["tune_searches=cartpole_ppo", "seed=2147483646"], ("seed=2147483646", "2147483650")),
        (["tune_searches=cartpole_ppo", "search.storage=${oc.env:NO_SUCH_VARIABLE}"], ("NO_SUCH_VARIABLE", "set")),
    ],
)
def test_large_numbers_long_names_and_missing_variables_are_refused_in_a_sentence(typed, named, refused):
    message = refused(*typed)
    assert all(word in message for word in named), message


@pytest.mark.parametrize("text", ["a: 1\n", "algo: 3\nenv: {}\n", "algo: {}\n"])
def test_a_damaged_experiment_that_the_same_line_would_continue_is_a_mistake(text, tmp_path):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(Mistake, match="config.yaml"):
        keep_rules(run.read_experiment(["env=cartpole"])[0], tmp_path, [])


def test_a_file_of_a_search_that_does_not_choose_the_command_is_no_training(tmp_path, refused):
    path = tmp_path / "mine.yaml"
    path.write_text((ROOT / "tune_searches" / "cartpole_ppo.yaml").read_text().replace("override /command", "/nothing"))
    path.write_text("\n".join(line for line in path.read_text().splitlines() if "/nothing" not in line) + "\n")
    message = refused(f"tune_searches={path}")
    assert "command: search" in message and str(path) in message


def test_a_run_older_than_a_setting_of_the_model_can_be_resumed_while_that_is_off(tmp_path):
    settings = run.read_experiment(["env=cartpole"])[0]
    saved = {**settings, "model": {k: v for k, v in settings["model"].items() if k not in ("zero_mean", "lstm_size")}}
    refuse_another_model(tmp_path, saved, settings)
    for model in ({"zero_mean": True}, {"lstm_size": 64}):
        with pytest.raises(Mistake, match=f"model.{next(iter(model))}="):
            refuse_another_model(tmp_path, saved, {**settings, "model": settings["model"] | model})


def test_a_mistake_beside_resume_is_answered_like_any_other(old_run, refused):
    assert " algo.lr" in refused(f"resume={old_run()}", "algo.lrr=1")
    assert "above 0" in refused(f"resume={old_run(name='other')}", "algo.lr=-1")


def test_a_mistake_of_a_file_beside_resume_and_of_the_run_itself_is_named_with_its_line(world, old_run, refused):
    path = old_run("env=cartpole")
    world("tuned_configs/mine.yaml", "# @package _global_\nstop:\n  time_s: abc\n")
    assert "tuned_configs/mine.yaml, line 3: stop.time_s=abc " in refused(f"resume={path}", "tuned_configs=mine")
    text = (path / "config.yaml").read_text().replace("gamma: 0.99", "gamma: abc")
    (path / "config.yaml").write_text(text)
    line = text[: text.index("gamma: abc")].count("\n") + 1
    assert f"{path}/config.yaml, line {line}: algo.gamma=abc " in refused(f"resume={path}")
    assert refused(f"resume={path}", "algo.gamma=cde").startswith("algo.gamma=cde ")


# Resume, as far as the settings go.


def test_resume_keeps_what_was_typed_and_takes_what_is_typed_now(old_run):
    path = old_run("env=cartpole", "algo.lr=0.1", "algo.gamma=0.9")
    settings, resumed = run.read_experiment([f"resume={path}", "algo.lr=0.2", "stop.agent_steps=77"])
    assert resumed == path
    assert (settings["algo"]["lr"], settings["algo"]["gamma"]) == (0.2, 0.9)
    assert settings["stop"]["agent_steps"] == 77
    assert settings["env"]["id"] == "CartPole-v1"
    assert settings["resume"] is None


@pytest.mark.parametrize("word", ["output_dir=/elsewhere", "label=better", "label=x output_dir=/elsewhere"])
def test_a_run_that_continues_keeps_its_place_and_its_name(word, old_run, refused):
    path = old_run("env=cartpole", "label=mine")
    message = refused(f"resume={path}", *word.split())
    assert word.split()[-1] in message and str(path) in message


def test_a_run_that_continues_may_be_told_the_place_and_the_name_that_it_has(old_run):
    path = old_run("env=cartpole", "label=mine")
    assert run.read_experiment([f"resume={path}", f"output_dir={path.parent}", "label=mine"])[1] == path


def test_a_run_that_was_moved_continues_where_it_is_now(old_run, tmp_path):
    """A cluster checks whether all its nodes see output_dir, and jobs go there."""
    path = old_run("env=cartpole", f"output_dir={tmp_path}")
    assert run.read_experiment([f"resume={path}"])[0]["output_dir"] == str(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    moved = old_run("env=cartpole", f"output_dir={tmp_path / 'gone'}", name="other").rename(tmp_path / "elsewhere/run")
    assert run.read_experiment([f"resume={moved}"])[0]["output_dir"] == str(moved.parent)
    assert run.read_experiment([f"resume={moved}", f"output_dir={tmp_path}"])[0]["output_dir"] == str(tmp_path)


def test_resume_takes_settings_that_only_the_run_s_algorithm_has(old_run, refused):
    path = old_run("algo=dqn")
    settings, _ = run.read_experiment([f"resume={path}", "algo.train_every=8"])
    assert settings["algo"]["name"] == "dqn" and settings["algo"]["train_every"] == 8
    assert " algo.train_every" in refused(f"resume={path}", "algo.train_evry=8")
    assert re.search(
        r"^algo\.dueling=True: .*\balgo\.dueling=False, .*\bresume$", refused(f"resume={path}", "algo.dueling=true")
    )


@pytest.mark.parametrize(("size", "starts"), [("smoke", 3000), ("short", 10_000), ("full", 50_000)])
def test_a_size_shortens_what_an_algorithm_waits_for_too(size, starts, printed):
    assert printed("algo=dqn", f"size={size}")["algo"]["learning_starts"] == starts
    assert printed("algo=dqn", f"size={size}", "algo.learning_starts=77")["algo"]["learning_starts"] == 77


def test_resume_leaves_a_run_alone_where_defaults_have_changed_since(old_run):
    path = old_run("env=cartpole", "algo.gamma=0.9")
    saved = yaml.safe_load((path / "config.yaml").read_text())
    saved["algo"] |= {"clip": 0.4, "gamma": 0.9}  # as if 0.4 had been the default then
    (path / "config.yaml").write_text(yaml.safe_dump(saved))
    settings, _ = run.read_experiment([f"resume={path}", "algo.lr=0.2"])
    assert settings == saved | {"algo": saved["algo"] | {"lr": 0.2}}


def test_resume_gives_a_setting_that_is_new_since_its_default(old_run):
    path = old_run("env=cartpole")
    saved = yaml.safe_load((path / "config.yaml").read_text())
    del saved["algo"]["kl_target"], saved["max_failures"]  # as if they had not been there then
    (path / "config.yaml").write_text(yaml.safe_dump(saved))
    settings, _ = run.read_experiment([f"resume={path}"])
    assert (settings["algo"]["kl_target"], settings["max_failures"]) == (0.01, 3)


def test_resume_takes_a_group_like_a_key(old_run):
    path = old_run("env=cartpole", "size=smoke")
    settings, _ = run.read_experiment([f"resume={path}", "size=short"])
    assert (settings["size"], settings["stop"]["agent_steps"]) == ("short", 200_000)


def test_resume_takes_a_value_back_to_the_default_when_that_is_typed(old_run):
    path = old_run("env=cartpole", "algo.lr=0.1")
    settings, _ = run.read_experiment([f"resume={path}", "algo.lr=2.5e-4"])
    assert settings["algo"]["lr"] == 2.5e-4


def test_resume_takes_back_a_setting_without_a_group_too(old_run):
    path = old_run("env=cartpole", "report_every=500")
    settings, _ = run.read_experiment([f"resume={path}", "report_every=2000"])
    assert settings["report_every"] == 2000
    saved = yaml.safe_load((path / "config.yaml").read_text()) | {"max_failures": 0}  # an older default
    (path / "config.yaml").write_text(yaml.safe_dump(saved))
    assert run.read_experiment([f"resume={path}"])[0]["max_failures"] == 0
    assert run.read_experiment([f"resume={path}", "max_failures=3"])[0]["max_failures"] == 3


def test_a_run_goes_on_without_the_file_that_it_was_begun_with(old_run, tmp_path):
    mine = tmp_path / "mine.yaml"
    mine.write_text(
        "# @package _global_\ndefaults:\n  - override /algo: a3c\n  - override /env: cartpole\nalgo: {lr: 0.25}\n"
    )
    path = old_run(f"tuned_configs={mine}", "algo.gamma=0.9")
    mine.rename(tmp_path / "moved.yaml")
    settings, _ = run.read_experiment([f"resume={path}", "algo.entropy_coeff=0.5"])
    found = [settings["algo"][name] for name in ("name", "lr", "gamma", "entropy_coeff")]
    assert found == ["a3c", 0.25, 0.9, 0.5] and settings["env"]["name"] == "cartpole"
    saved = yaml.safe_load((path / "config.yaml").read_text())
    del saved["pretrained"]  # the setting came later
    (path / "config.yaml").write_text(yaml.safe_dump(saved))
    assert run.read_experiment([f"resume={path}"])[0]["pretrained"] is None


def test_what_a_run_does_not_know_is_left_out_at_every_depth():
    after = {"algo": {"lr": 1, "new": 2}, "kwargs": {"size": 8}, "new": 3}
    assert keep_known(after, {"algo": {"lr": 5}, "kwargs": None}) == {"algo": {"lr": 1}, "kwargs": {"size": 8}}


def test_a_training_does_not_go_on_as_a_search_nor_a_search_as_a_training(old_run):
    training, search = old_run("env=cartpole"), old_run("tune_searches=cartpole_ppo", name="search")
    for words in ([f"resume={training}", "tune_searches=cartpole_ppo"], [f"resume={search}", "command=train"]):
        with pytest.raises(Mistake, match=rf"{re.escape(words[0])} .*command=(train|search)"):
            run.read_experiment(words)


def test_a_grid_is_not_continued_by_its_directory(tmp_path, capsys):
    (tmp_path / "grid.json").write_text("{}")
    assert run.main([f"resume={tmp_path}"]) == 2
    assert "grid.json" in capsys.readouterr().err


def test_a_tuned_config_is_taken_back_by_null(printed):
    settings = printed("tuned_configs=cartpole_ppo", "tuned_configs=null", "algo.lr=0.5")
    assert (settings["env"]["name"], settings["algo"]["lr"], settings["made_for"]) == ("assault", 0.5, {})
    assert printed("tuned_configs=null", "tuned_configs=cartpole_ppo")["env"]["name"] == "cartpole"


def test_a_seed_is_a_whole_number_however_it_is_typed(printed):
    assert [type(printed(f"seed={seed}")["seed"]) for seed in ("1.0", "1e0")] == [int, int]
    assert printed("seed=[1.0,2k]")["seed"] == [1, 2000]


def test_a_directory_that_is_not_to_be_entered_is_named(monkeypatch, capsys, tmp_path):
    def refuse(*_):
        raise PermissionError(13, "Permission denied", str(tmp_path / "config.yaml"))

    monkeypatch.setattr(overrides, "open_run", refuse)
    assert run.main([f"resume={tmp_path}"]) == 2
    said = capsys.readouterr().err
    assert str(tmp_path / "config.yaml") in said and said.count("\n") == 1


def test_a_full_disk_is_said_in_a_sentence(monkeypatch, capsys, tmp_path):
    (tmp_path / "config.yaml.new").symlink_to("/dev/full")
    monkeypatch.setattr(overrides, "open_run", lambda *_: write_file(tmp_path / "config.yaml", "seed: 1"))
    assert run.main([f"resume={tmp_path}"]) == 1
    said = capsys.readouterr().err
    assert f"{tmp_path / 'config.yaml'}: No space left on device" in said and said.count("\n") == 1


def test_a_second_resume_remembers_the_first(old_run):
    path = old_run("env=cartpole")
    settings, _ = run.read_experiment([f"resume={path}", "algo.lr=0.2"])
    write_start(path, settings, [], ["algo.lr=0.2"], "float32")
    assert read_overrides(path) == ["env=cartpole", "algo.lr=0.2"]
    settings, _ = run.read_experiment([f"resume={path}", "algo.gamma=0.5"])
    assert (settings["algo"]["lr"], settings["algo"]["gamma"]) == (0.2, 0.5)


def test_cfg_beside_resume_shows_what_would_continue(old_run, printed):
    settings = printed(f"resume={old_run('env=cartpole', 'algo.lr=0.1')}", "algo.gamma=0.5")
    assert (settings["algo"]["lr"], settings["algo"]["gamma"]) == (0.1, 0.5)


# What run.py prints last, and its exit code.


@pytest.mark.parametrize("code", [0, 1])
def test_the_last_line_is_the_run_directory_and_the_exit_code_is_the_training_s(code, monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(train, "train", lambda *_: (tmp_path, code))
    assert run.main([]) == code
    assert capsys.readouterr().out.splitlines()[-1] == f"run directory: {tmp_path}"


def test_a_mistake_that_shows_while_training_starts_exits_with_2(monkeypatch, refused):
    def late(*_):
        raise Mistake("env.game=x: gone")

    monkeypatch.setattr(train, "train", late)
    assert refused() == "env.game=x: gone"


def test_settings_are_checked_without_hydra_too():
    settings = composition.compose_settings(["env=cartpole"])
    with pytest.raises(Mistake, match="algo.lrr"):
        check_settings(settings | {"algo": settings["algo"] | {"lrr": 1}})
    with pytest.raises(Mistake, match="algo"):
        check_settings({key: value for key, value in settings.items() if key != "algo"})


def test_composing_again_gives_the_same_and_leaves_no_state(printed):
    first = printed("env=cartpole", "algo.lr=0.3")
    assert printed()["algo"]["lr"] == 2.5e-4
    assert printed("env=cartpole", "algo.lr=0.3") == first
    assert json.dumps(first)  # plain data
    assert os.environ["SUITE_ROOT"] == str(ROOT)


# What an algorithm cannot do ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("algo=a3c", "cluster.num_learners=2"), r"^cluster\.num_learners=2: algo=a3c .*\b0$"),
        (
            ("algo=ppo", "env=cartpole", "cluster.threads=shards"),
            r"^cluster\.threads=shards: model\.torso=mlp .*\bauto$",
        ),
        (("env=assault", "cluster.cpus=1", "cluster.threads=shards"), r"^cluster\.threads=shards: .*\bone core;"),
        (("env=assault", "algo=a3c", "cluster.threads=shards"), r"^cluster\.threads=shards: .*\bone core;"),
        (("algo=dqn", "cluster.threads=shards"), r"^cluster\.threads=shards: algo=dqn .*\bauto$"),
        (("algo=ppo", "cluster.num_learners=2"), r"^cluster\.num_learners=2: .*cluster\.num_env_runners=0 "),
        (("algo=a3c", "algo.num_workers=32"), r"^algo\.num_envs=16 .*\balgo\.num_workers=32;"),
        (
            ("algo=a3c", "algo.num_workers=2", "cluster.num_env_runners=4"),
            r"^cluster\.num_env_runners=4 .*\balgo\.num_workers=2;",
        ),
        (("algo=pg", "algo.horizon=20"), r"^algo\.horizon: "),
        (("algo=pg", "algo.episodes_per_update=9"), r"^algo\.episodes_per_update=9 .*\balgo\.num_envs=\d"),
        (("model=cnn_lstm", "algo.minibatch_size=64"), r"^algo\.minibatch_size=64 .*\balgo\.horizon=\d"),
        (("model=cnn_lstm", "algo=a2c", "algo.microbatch_size=4"), r"^algo\.microbatch_size=4 .*\balgo\.horizon=\d"),
        (("model=cnn_lstm", "model.shared_trunk=false"), r"^model\.lstm_size=\d"),
        (("algo=a2c", "algo.horizon=1"), r"^algo\.horizon=1 .*\bfrom 2\b"),
    ],
)
def test_what_an_algorithm_cannot_do_is_refused(words, named, refused):
    assert re.search(named, refused(*words))


def test_episodes_that_may_never_end_are_refused_by_pg_and_by_evaluations_before_training(refused):
    gymnasium.register("Endless-v0", "gymnasium.envs.classic_control:CartPoleEnv")
    endless = ("env=cartpole", "env.id=Endless-v0")
    assert re.search(r"^env\.id=Endless-v0 .*\balgo=pg .*\balgo=a2c$", refused("algo=pg", *endless))
    for words in (("evaluate=true",), ("size=short",), ("size=smoke",)):
        assert refused(*endless, *words).startswith("evaluate=true: env.id=Endless-v0 ")
    assert refused(*endless, "evaluate_every=1000").startswith("evaluate_every=1000: env.id=Endless-v0 ")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (("evaluate_every=0",), r"^evaluate_every=0 "),
        (("evaluate_every=2000", "stop.agent_steps=1000"), r"^evaluate_every=2000 .*\bstop\.agent_steps=1000\b"),
        (("evaluate_every=often",), r"^evaluate_every=often "),
        (("tune_searches=cartpole_ppo", "evaluate_every=1000"), r"^evaluate_every=1000: a search "),
        (("command=evaluate", "run=here", "evaluate_every=1000"), r"^evaluate_every=1000: command=evaluate "),
        (("episodes=3",), r"^episodes=3: .*\bevaluate_every="),
    ],
)
def test_evaluations_that_would_never_be_played_are_refused(words, named, refused):
    assert re.search(named, refused("env=cartpole", *words) if "run=here" not in words else refused(*words))


@pytest.mark.parametrize("game", ["combat", "joust", "maze_craze", "warlords"])
def test_games_that_would_end_the_process_are_refused(game, refused):
    assert f"env.game={game} " in refused("env=atari", f"env.game={game}")


def test_a_smoke_run_does_not_wait_for_a_game_without_an_end(compose):
    assert compose(["size=smoke"])["env"]["max_episode_frames"] == 4000
    assert compose(["size=smoke", "env.max_episode_frames=77"])["env"]["max_episode_frames"] == 77
    assert compose(["size=short"])["env"]["max_episode_frames"] == 108_000
    assert "max_episode_frames" not in compose(["env=cartpole", "size=smoke"])["env"]


def test_an_evaluation_of_the_default_number_of_games_has_the_plain_name(compose):
    assert compose()["episodes"] == DEFAULT_EPISODES


@pytest.mark.parametrize("actions", ["dict_action"])
def test_actions_that_no_policy_here_can_choose_are_refused(actions, refused):
    env_id = "tests.environments.own_worlds:Unusable-v0"
    message = refused("env=gymnasium", f"env.id={env_id}", f"env.kwargs={{case: {actions}}}")
    assert message.startswith(f"env.id={env_id} ") and "ActionWrapper" in message


def test_what_can_be_done_next_is_spelt_so_that_it_works(monkeypatch, tmp_path):
    """A job has gone to its output_dir; its reader is elsewhere."""
    stop = {"agent_steps": 1000, "time_s": 60.0, "episode_return": None}
    settings = {"stop": stop, "env": {"game": "pong"}, "algo": {"name": "pg"}, "config_dir": None, "logger": None}
    monkeypatch.chdir(tmp_path)
    assert f"run={tmp_path}/ppo/x " in describe_next_steps(tmp_path / "ppo" / "x", settings)
    monkeypatch.chdir(ROOT)
    assert "run=outputs/ppo/x " in describe_next_steps(ROOT / "outputs" / "ppo" / "x", settings)
    last = tmp_path / "far/checkpoints/last"
    last.mkdir(parents=True)
    (tmp_path / "far/config.yaml").write_text("")
    (last / "progress.json").write_text('{"agent_steps": 28706}')
    assert "stop.agent_steps=57412 " in describe_next_steps(tmp_path / "far", settings)
    gymnasium.register("NoLimit-v0", "gymnasium.envs.classic_control:CartPoleEnv")
    endless = describe_next_steps(tmp_path, settings | {"env": {"id": "NoLimit-v0"}})
    assert "command=evaluate" not in endless, "it would be refused"
    assert describe_next_steps(tmp_path, settings).endswith(" stop.agent_steps=2000 stop.time_s=null")


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (["algo=ppo"], ["algo.lr and algo.clip fall"]),
        (["algo=ppo", "algo.clip_schedule=constant"], ["algo.lr falls"]),
        (["algo=a2c"], ["algo.lr falls"]),
        (["algo=a2c", "algo.lr_schedule=constant"], []),
        (["algo=dqn"], []),
    ],
)
def test_a_step_size_that_falls_is_said_to_rise_again_with_a_larger_budget(words, names, compose, tmp_path):
    *_, train_on, last = describe_next_steps(tmp_path, compose(words)).splitlines()
    assert [name for name in names if name in last and "resume=" in train_on] == names
    assert ("resume=" in last) == (not names)


# YAML files that people edit.

TUNED = """# @package _global_
defaults:
  - override /algo: a2c
made_for: {algo: a2c, env: assault}
algo:
  lr: 0.5
"""
DAMAGE = {  # what -> the file, and what the answer has to name
    "without the first line": (TUNED.replace("# @package _global_\n", ""), "line 1"),
    "with another first line": (TUNED.replace("_global_", "algo"), "line 1"),
    "empty": ("", "line 1"),
    "with a group that there is not": (TUNED.replace("/algo", "/algoo"), "line 3: algoo"),
    "with an option that there is not": (TUNED.replace(": a2c\n", ": a2cc\n"), "line 3: algo=a2cc"),
    "that forgot a slash": (TUNED.replace("/algo", "algo"), "line 3"),
    "that forgot override": (TUNED.replace("override ", ""), "line 3"),
    "that includes itself": (TUNED.replace("override /algo: a2c", "damaged"), "line 3"),
    "whose defaults are no list": (TUNED.replace("  - ", "  "), "line 3"),
    "with a tab": (TUNED.replace("  lr", "\tlr"), "line 6"),
    "with one key twice": (TUNED + "  lr: 1\n", "line 7: lr"),
    "with a dotted key": (TUNED + "algo.gamma: 1\n", "line 7"),
    "with a list for a group": (TUNED + "stop: [1]\n", "line 7: stop"),
    "with a word for a group": (TUNED + "cluster: ray\n", "line 7: cluster"),
    "that is a list": ("# @package _global_\n- algo\n", "line 2"),
    "that is a word": ("# @package _global_\nalgo\n", "line 2"),
    "with the marks of a merge": (TUNED.replace("algo:\n", "<<<<<<< HEAD\nalgo:\n"), "line"),
    "with a Python object": (TUNED + "x: !!python/object/apply:os.getcwd []\n", "line 7"),
    "with a number as a key": (TUNED + "7: 1\n", "line 7"),
    "with on as a key": (TUNED + "on: 1\n", "line 7"),
    "with two documents": (TUNED + "---\na: 1\n", "line 7"),
    "with settings of Hydra": (TUNED + "hydra: {}\n", "line 7"),
    "with a number of 5,000 digits": (TUNED.replace("0.5", "9" * 5000), "line 6"),
    "that is nested without end": (TUNED.replace("0.5", "[" * 3000 + "]" * 3000), "nested"),
    "with a setting that is not there": (TUNED.replace("0.5", "${algo.there}"), "line 6: algo.lr"),
    "with a variable that is not set": (TUNED.replace("0.5", "${oc.env:NOBODY_SET_THIS}"), "line 6: algo.lr"),
    "with half an interpolation": (TUNED.replace("0.5", "${algo"), "line 6: algo.lr"),
    "with a setting that refers to itself": (TUNED.replace("0.5", "${algo.lr}"), "line 6: algo.lr"),
    "with a NUL byte": (TUNED + "\0", "damaged.yaml"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_tuned_config_with_a_mistake_in_it_is_refused_by_file_and_place(what, world, refused):
    text, place = DAMAGE[what]
    world("tuned_configs/damaged.yaml", text)
    message = refused("tuned_configs=damaged")
    assert place in message and "tuned_configs/damaged.yaml" in message


@pytest.mark.parametrize(
    "text", [TUNED.encode("utf-16"), TUNED.encode() + b"# \xe9\n", b"\xef\xbb\xbf" + TUNED.encode()]
)
def test_a_yaml_file_in_another_encoding_is_refused(text, world, refused):
    world("tuned_configs/damaged.yaml", "")
    (composition.ROOT / "tuned_configs" / "damaged.yaml").write_bytes(text)
    assert "tuned_configs/damaged.yaml, line" in refused("tuned_configs=damaged")


@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_a_yaml_file_is_not_waited_for(world, refused):
    world("tuned_configs/damaged.yaml", "")
    os.mkfifo(composition.ROOT / "tuned_configs" / "pipe.yaml")
    assert "tuned_configs/pipe.yaml" in refused("tuned_configs=pipe")


@pytest.mark.parametrize("text", [TUNED, TUNED.replace("\n", "\r\n"), TUNED.rstrip(), TUNED + "...\n", TUNED + "# é\n"])
def test_a_yaml_file_as_editors_of_several_systems_write_it_is_accepted(text, world, printed):
    world("tuned_configs/mine.yaml", "")
    (composition.ROOT / "tuned_configs" / "mine.yaml").write_bytes(text.encode())
    assert printed("tuned_configs=mine")["algo"]["lr"] == 0.5


def test_a_yaml_file_that_ends_in_yml_is_named(world, refused):
    world("tuned_configs/mine.yml", TUNED)
    assert "mine.yml" in refused("tuned_configs=mine")


def test_an_environment_s_file_without_its_first_line_is_refused_by_file_and_line(world, refused):
    text = (ROOT / "experiments/env/cartpole.yaml").read_text().replace("# @package _global_\n", "")
    for damaged in (text, "env:\n  name: mine\n  id: CartPole-v1\n"):
        world("experiments/env/mine.yaml", damaged)
        assert "experiments/env/mine.yaml, line 1" in refused("env=mine")


@pytest.mark.parametrize(
    "text", ["resume: auto", "resume: /x", "run: /x", "trust: true", "way: greedy", "checkpoint: last"]
)
def test_a_file_cannot_say_what_only_a_command_line_may(text, world, refused):
    world("tuned_configs/mine.yaml", f"# @package _global_\n{text}\n")
    assert re.search(
        f"mine.yaml, line 2: {text.replace(': ', '=').replace('true', 'True')} .*YAML", refused("tuned_configs=mine")
    )


@pytest.mark.parametrize("text", ["command: evaluate", "command: promote", "command: record", "search: {trials: 3}"])
def test_a_file_cannot_choose_what_is_not_a_training(text, world, refused):
    world("tuned_configs/mine.yaml", f"# @package _global_\n{text}\n")
    assert re.search(
        f"mine.yaml, line 2: {text.partition(': {')[0].replace(': ', '=')} .*YAML", refused("tuned_configs=mine")
    )


@pytest.mark.parametrize("command", ["evaluate", "promote", "submit", "[1]"])
def test_a_run_directory_says_that_it_trains(command, old_run, refused):
    path = old_run("env=cartpole")
    text = (path / "config.yaml").read_text()
    (path / "config.yaml").write_text(text.replace("command: train", f"command: {command}"))
    assert f"{path}/config.yaml" in refused(f"resume={path}")


@pytest.mark.parametrize("key", composition.PATH_SETTINGS)
def test_a_path_that_one_cannot_look_at_is_refused(key, tmp_path, refused):
    circle = tmp_path / "circle"
    circle.symlink_to(circle)
    command = {"run": ["command=evaluate"], "checkpoint": ["command=evaluate"], "replay": ["command=record"]}.get(
        key, []
    )
    for path in (f"/tmp/{'x' * 300}", str(circle)):
        message = refused(*command, f"{key}={path}")
        assert key in message and path in message


@pytest.mark.parametrize("group", ["env", "cluster", "model"])
def test_a_damaged_file_of_a_group_is_refused_by_file_and_line(group, world, refused):
    world(f"experiments/{group}/mine.yaml", "a: 1\na: 2\n")
    assert f"experiments/{group}/mine.yaml, line 2: a" in refused(f"{group}={'mine'}")


def test_an_environment_s_file_that_overrides_no_group_is_refused_by_file_and_line(world, refused):
    world("experiments/env/mine.yaml", "# @package _global_\ndefaults:\n  - override /modell: mlp\n")
    message = refused("env=mine")
    assert "experiments/env/mine.yaml, line 3: modell" in message and " model?" in message


# Names: what was played, not what somebody called it.


def test_a_run_is_filed_under_what_it_plays(printed):
    assert printed("env=cartpole")["env"]["name"] == "cartpole"
    assert printed("env=cartpole", "env.id=Acrobot-v1")["env"]["name"] == "Acrobot-v1"
    assert printed("env=cartpole", "env.id=Pendulum-v1")["env"]["name"] == "pendulum"
    assert printed("env=assault", "env.game=pong")["env"]["name"] == "pong"


def test_a_file_cannot_call_a_game_something_else(world, printed):
    world("experiments/env/mine.yaml", "defaults: [atari]\nname: pong\ngame: breakout\n")
    assert printed("env=mine")["env"]["name"] == "breakout"


def test_a_file_of_one_s_own_names_its_environment(world, printed):
    text = (ROOT / "experiments/env/cartpole.yaml").read_text()
    world("experiments/env/swing.yaml", text.replace("cartpole", "swing").replace("CartPole-v1", "Acrobot-v1"))
    assert printed("env=swing")["env"]["name"] == "swing"
    assert printed("env=cartpole", "env.id=Acrobot-v1")["env"]["name"] == "swing"


def test_a_copied_file_does_not_give_its_old_name_to_another_environment(world, printed):
    text = (ROOT / "experiments/env/cartpole.yaml").read_text()
    world("experiments/env/mine.yaml", text.replace("CartPole-v1", "Acrobot-v1"))
    assert printed("env=mine")["env"]["name"] == "Acrobot-v1"
    assert printed("env=cartpole", "env.id=Acrobot-v1")["env"]["name"] == "Acrobot-v1"
    assert printed("env=cartpole")["env"]["name"] == "cartpole"


@pytest.mark.parametrize("env_id", ["my_games:pong", "my_games:cartpole"])
def test_an_environment_of_one_s_own_does_not_take_the_name_of_another(env_id):
    assert name_environment({"id": env_id, "name": "pong"}) == env_id.replace(":", "-")


@pytest.mark.parametrize("word", ["env.name=pong", "algo.name=a2c"])
def test_a_typed_name_is_refused(word, refused):
    assert refused(word).startswith(f"{word}: ")


def test_a_tuned_config_of_an_environment_is_not_taken_for_another_one_s(refused):
    message = refused("tuned_configs=cartpole_ppo", "env.id=Acrobot-v1")
    assert "env=Acrobot-v1" in message and "made for env=cartpole" in message


def test_a_label_is_added_to_the_name_of_the_directory(compose, tmp_path):
    settings = compose([f"output_dir={tmp_path}", "label=wide"])
    assert create_run(settings).name.endswith("_wide")
    assert create_run(settings | {"label": None}).parent == tmp_path / "ppo" / "assault"


@pytest.mark.parametrize("word", ["label=a/b", "label=.."])
def test_a_label_that_names_no_directory_is_refused(word, refused):
    assert word in refused(word)


@pytest.mark.parametrize("env_id", ["ALE/Pong-v5", "PongNoFrameskip-v4"])
def test_a_game_of_ale_is_not_played_behind_the_back_of_its_protocol(env_id, refused):
    message = refused("env=cartpole", f"env.id={env_id}")
    assert f"env.id={env_id}" in message and "env.game=pong" in message


# Paths are taken literally.

AWKWARD = [
    *(
        "/tmp/a=b",
        "/tmp/\u00e9 \u00fc",
        "/tmp/[1] {x: 2} (y)",
        "/tmp/it's",
        '/tmp/"q"',
        "/tmp/#h&x;y|z",
        "/tmp/${HOME}",
    ),
    *("/tmp/a,b", "/tmp/a\\b", "/tmp/end\\", "/tmp/\\${x}", "~/runs", " lead", "5", "true", "[a]", "*", "/tmp/a:b"),
]


@pytest.mark.parametrize("path", AWKWARD)
def test_a_path_is_taken_literally(path):
    paths = dict.fromkeys(composition.PATH_SETTINGS, path)
    words = [f"{key}={path}" for key in paths]
    settings = composition.compose_settings(words)
    assert {key: settings[key] for key in paths} == paths
    assert composition.parse_overrides(words) == paths


@pytest.mark.parametrize("url", ["postgresql://me:p=w#&[x]@host/db", "'sqlite:///a b.db'", "${oc.env:STORAGE}"])
def test_the_url_of_a_storage_may_hold_any_password(url, monkeypatch):
    monkeypatch.setenv("STORAGE", "${oc.env:STORAGE}")  # what stands there is not composed once more
    composed = composition.compose_settings(["tune_searches=cartpole_ppo", f"search.storage={url}"])
    assert composed["search"]["storage"] == url.strip("'")


def test_a_path_may_be_null(printed):
    assert printed("resume=null", "run=null", "checkpoint=null")["resume"] is None


def test_a_home_directory_is_spelt_with_a_tilde(monkeypatch, tmp_path, compose):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert create_run(compose(["output_dir=~/runs"])).parent == tmp_path / "runs" / "ppo" / "assault"


@pytest.mark.parametrize("name", ["a=b c", "\u00e9 [1]", "it's {x}", '"q" #h&x', "$k;*", "${HOME}"])
def test_printed_lines_can_be_pasted_whatever_the_folder_is_called(name, old_run, monkeypatch, tmp_path):
    folder = tmp_path / name
    folder.mkdir()
    path = old_run("env=cartpole", name=f"{name}/run")
    steps = describe_next_steps(path, run.read_experiment(["algo=pg"])[0])
    lines = [line.split("  ")[-1] for line in steps.splitlines()[2:]]
    assert len(lines) == 4
    evaluated, recorded, shown, resumed = (
        subprocess.run(
            ["sh", "-c", f'python() {{ printf "%s\\n" "$@"; }}; {line}'], capture_output=True, text=True, cwd=tmp_path
        )
        for line in lines
    )
    for done in (evaluated, recorded, shown):
        assert run.read_experiment(done.stdout.splitlines()[1:])[0]["run"] == str(path)
    assert run.read_experiment(resumed.stdout.splitlines()[1:])[1] == path


# Words: used or refused.

TYPED = {  # top-level setting -> a value that differs from the default
    **{"seed": 7, "output_dir": "elsewhere", "label": "wide", "run": "there", "checkpoint": "last", "way": "greedy"},
    **{"resume": "auto", "trust": True, "on_usr1": "stop", "episodes": 3, "evaluate": True, "checkpoint_every_s": 9.0},
    **{"report_every": 700, "max_failures": 1, "dashboard": True, "dry_run": True, "size": "short"},
    **{"keep_milestones": False, "page": True, "evaluate_every": 5000},
    **{"games": 5, "format": "gif", "scale": 3, "fps": 30, "replay": "there.npz", "port": 9000},
    **{"runs": ["there"], "out": "elsewhere", "max_runs": 7, "config_dir": "elsewhere", "logger": "null"},
    **{"callbacks": ["extensions.callbacks:Callback"], "pretrained": "elsewhere"},
}
COMMANDS = {
    "train": ["env=cartpole"],
    "search": ["tune_searches=cartpole_ppo"],
    "submit": ["command=submit", "cluster=ray", "output_dir=/shared"],
    "evaluate": ["command=evaluate", "run=here"],
    "record": ["command=record", "run=here"],
    "page": ["command=page", "run=here"],
    "watch": ["command=watch", "run=here"],
    "export": ["command=export", "run=here"],
    "compare": ["command=compare", "runs=[here]"],
    "audit": ["command=audit", "run=here"],
    "promote": ["command=promote", "run=here"],
}
# A search goes on by its name, as with resume=auto; a job has resume=auto and trust=true.
SAID_ANYWAY = (("search", "resume"), ("submit", "resume"), ("submit", "trust"))


def test_the_question_used_or_refused_is_asked_of_every_setting_and_command():
    assert {*TYPED, "command"} == {*list_settings(RunSettings), "seed"}
    assert set(COMMANDS) == set(list_settings(RunSettings)["command"].options)


@pytest.mark.parametrize("key", [key for key in TYPED if key not in ("seed", "pretrained")])
def test_a_setting_that_no_training_depends_on_makes_no_other_experiment(key, compose):
    """Else resume=auto would begin anew what an earlier version has begun."""
    settings = compose(["env=cartpole"]) | {"resume": "auto"}
    assert compute_key(settings | {key: TYPED[key]}) == compute_key(settings)


@pytest.mark.parametrize("command", COMMANDS)
def test_each_typed_setting_is_used_or_refused_by_name(command, monkeypatch, capsys):
    """Used: what the command is told differs from what it is told without the word."""
    Path("elsewhere").mkdir()
    told = []

    def record(*arguments, **named):
        settings = [one for one in arguments if not (isinstance(one, list) and any("=" in str(word) for word in one))]
        told.append((settings, named, OwnFolder.path))  # without the command line itself, which always differs
        raise Mistake("told")

    for place in (
        "runs.train.train",
        "tune_searches.search.search",
        "cluster.submit.submit_job",
        "tuned_configs.promotion.promote_winner",
        "comparisons.commands.compare",
        "exports.commands.export_run",
        "audit.commands.audit",
    ):
        monkeypatch.setattr(place, record)
    for place in ("evidence.evaluate.evaluate", "recordings.recording.record", "recordings.video.film_file"):
        monkeypatch.setattr(place, record)
    monkeypatch.setattr("pages.run_page.write_page", record)
    monkeypatch.setattr("pages.watch.watch", record)
    monkeypatch.setattr("pages.commands.list_seed_runs", lambda run: [run])
    for check in ("refuse_unplayable", "refuse_foreign_checkpoint"):
        monkeypatch.setattr(f"pages.commands.{check}", lambda *_: None)
    monkeypatch.setattr("runs.ray_session.open_ray", record)  # of a dry run
    default = composition.compose_settings([])  # what commands that read a run begin with
    monkeypatch.setattr(
        overrides,
        "compose_settings",
        lambda words: copy.deepcopy(default) if not words else composition.compose_settings(words),
    )
    assert run.main(COMMANDS[command]) == 2 and len(told) == 1
    capsys.readouterr()
    for key in TYPED:
        if (command, key) in SAID_ANYWAY:
            continue
        value = str(TYPED[key]).replace("'", "")
        word = f"{key}={value.lower() if isinstance(TYPED[key], bool) else value}"
        share_modules(None)
        del told[1:]
        assert run.main([*COMMANDS[command], word]) == 2, word
        sentence = capsys.readouterr().err.splitlines()[-1]
        if sentence == "error: told":
            assert told[0] != told[1], word
        else:
            assert sentence.startswith((f"error: {word}: ", f"error: {key}=")), sentence


@pytest.mark.parametrize(
    "words", [["algo=a2c"], ["model=impala"], ["cluster=ray"], ["stop.agent_steps=5"], ["size=smoke"]]
)
@pytest.mark.parametrize("command", ["evaluate", "record", "promote"])
def test_a_command_that_reads_a_run_refuses_what_makes_one(command, words, refused):
    assert refused(f"command={command}", "run=here", *words).startswith(f"{words[0]}: command={command} reads")


def test_evaluation_is_told_the_rules_that_were_typed(monkeypatch, refused):
    settings, _ = run.read_experiment(
        ["command=evaluate", "run=here", "env.protocol=machado", "env.noop_max=5", "seed=7"]
    )
    assert settings["rules"] == {"protocol": "machado", "noop_max": 5} and settings["seed"] == 7
    assert "env.sticky" in refused("command=evaluate", "run=here", "env.sticky=2")
    assert "env.game=pong: command=evaluate" in refused("command=evaluate", "run=here", "env.game=pong")
    assert run.read_experiment(["command=evaluate", "run=here"])[0]["seed"] is None


def test_a_recording_draws_actions_unless_told_otherwise_and_is_told_the_rules():
    words = ["command=record", "run=here"]
    assert run.read_experiment(words)[0]["way"] == "stochastic"
    settings, _ = run.read_experiment([*words, "way=greedy", "env.sticky=0.25", "seed=7", "games=2"])
    assert (settings["way"], settings["rules"], settings["seed"], settings["games"]) == (
        "greedy",
        {"sticky": 0.25},
        7,
        2,
    )


@pytest.mark.parametrize("word", ["games=0", "games=two", "way=both", "format=avi", "fps=25", "scale=9", "scale=0.5"])
def test_a_recording_that_cannot_be_is_refused_by_name(word, refused):
    assert refused("command=record", "run=here", word).startswith(word)


@pytest.mark.parametrize("word", ["games=2", "way=greedy", "seed=3", "checkpoint=last", "env.noop_max=3"])
def test_beside_a_replay_what_only_playing_reads_is_refused(word, refused):
    assert refused("command=record", "replay=there.npz", word).startswith(f"{word}: ")


def test_a_recording_of_an_empty_replay_is_refused(refused):
    assert refused("command=record", "replay=").startswith("replay=: ")
    assert refused("command=export", "run=there", "out=").startswith("out=: ")
    assert refused("command=evaluate", "run=there", "checkpoint=").startswith("checkpoint=: ")


@pytest.mark.parametrize("word", ["search.trials=3", "episodes=7", "trust=true", "games=3", "replay=x"])
def test_a_training_refuses_what_only_others_read(word, refused):
    assert refused("tune_searches=cartpole_ppo", "command=train", word).startswith(f"{word}: ")


LIGHT = [  # command lines that are answered, or printed, without torch and Ray
    ["algo=ppp"],
    ["algo.lrr=1"],
    ["env=atari", "env.game=asault"],
    ["env=cartpole", "algo=pg", "algo.episodes_per_update=7"],
    ["tune_searches=assault_ppo", "search.trials=x"],
    ["resume=/nowhere"],
    ["command=evaluate", "run=/nowhere", "episodes=0"],
    ["command=evaluate", "run=/nowhere"],
    ["command=record", "run=/nowhere"],
    ["command=record", "replay=/nowhere"],
    ["algo=ppo", "--cfg", "job"],
    ["--config-dir", "/nowhere"],
    ["tuned_configs=/nowhere/mine.yaml"],
    ["env=swing", "--config-dir", "tests/cluster/own_folder", "--cfg", "job", "-p", "env"],
]


def test_bare_help_imports_neither_games_nor_numpy():
    """Gymnasium, which the list of games brings along, was a third of its time, and numpy half of the rest."""
    script = "import sys, run; run.main(['--help']); print({'gymnasium', 'ale_py', 'numpy'} & {*sys.modules})"
    done = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "set()"


def test_words_are_checked_before_anything_heavy_is_imported():
    """torch, Ray and RLlib take seconds, and a mistake is answered within one. No line unloads what another loads."""
    script = """import contextlib, io, json, sys, run
for words in json.loads(sys.argv[1]):
    with contextlib.redirect_stdout(io.StringIO()):
        code = run.main(words)
    print(code, *sorted({"torch", "ray"} & {*sys.modules}))"""
    typed = [sys.executable, "-c", script, json.dumps(LIGHT)]
    done = subprocess.run(typed, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:-1] == ["0" if "--cfg" in words else "2" for words in LIGHT], done.stdout


@pytest.mark.parametrize(
    "word", ["model.hidden.mlp=[8]", "model.hidden.x=8", "model.hidden.7=8", "model.hidden={mlp:[8]}"]
)
def test_a_name_below_a_list_is_told_that_it_is_one(word, refused):
    message = refused("env=cartpole", word)
    assert re.search(rf"^{re.escape(word.partition('=')[0])}: model\.hidden .*\bmodel\.hidden=\[64,64\]$", message)


def test_more_envs_than_a_machine_can_play_are_refused(refused):
    assert re.search(r"^algo\.num_envs=1048576 .*\bfrom 1 to \d", refused("env=cartpole", "algo.num_envs=1048576"))


def test_a_search_that_compares_no_trials_on_the_way_may_be_short():
    words = ["tune_searches=cartpole_ppo", "stop.agent_steps=12_000"]
    assert run.read_experiment([*words, "search.scheduler=none"])[0]["stop"]["agent_steps"] == 12_000
    with pytest.raises(Mistake, match=r"^stop\.agent_steps=12000 .*search\.reduction_factor"):
        run.read_experiment([*words, "search.scheduler=asha"])
