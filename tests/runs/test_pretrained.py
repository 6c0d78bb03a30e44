"""A training that begins with the weights of another agent."""

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from cluster.submit import make_absolute
from environments.checkout import ROOT
from experiments.composition import compose_settings
from experiments.overrides import check_overrides
from playing.pretrained import copy_pretrained
from run_directory.manifest import find_damage
from run_directory.outputs import compute_key
from run_directory.weights import read_weights
from settings.mistakes import Mistake
from tests.runs.tiny_runs import TINY, directory_in, go

AGENT = "agents/assault_ppo"
ONE_ROW = [*TINY, "stop.agent_steps=256"]


def are_equal(one: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> bool:
    return one.keys() == other.keys() and all(np.array_equal(one[name], other[name]) for name in one)


def weights_in(run: Path, name: str) -> dict[str, np.ndarray]:
    return read_weights(run / "checkpoints" / name)


@pytest.mark.parametrize("words", [["algo=ppo"], ["algo=a2c"], ["algo=pg"]], ids=lambda words: words[0])
def test_each_algorithm_begins_with_the_weights_of_the_best_checkpoint(words, shared_ray, finished, tmp_path):
    source, _ = finished
    of_ppo = ONE_ROW if words == ["algo=ppo"] else ["env=cartpole", "cluster.cpus=1", "stop.agent_steps=256"]
    code, printed = go(*words, *of_ppo, f"pretrained={source}", f"output_dir={tmp_path}")
    assert code == 0, printed
    run = directory_in(printed)
    assert are_equal(weights_in(run, "milestone_0"), weights_in(source, "best"))
    assert not are_equal(weights_in(run, "last"), weights_in(source, "best"))


@pytest.mark.end_to_end
@pytest.mark.parametrize(
    "words",
    [
        [*ONE_ROW, "cluster.num_env_runners=1"],
        [*ONE_ROW, "cluster.num_learners=1"],
        ["algo=a3c", "env=cartpole", "algo.num_workers=2", "algo.num_envs=4", "stop.agent_steps=256"],
    ],
    ids=["an env runner", "a learner", "a3c"],
)
def test_other_processes_play_and_learn_with_them_too(words, shared_ray, finished, tmp_path):
    source, _ = finished
    still = ["algo.lr=1e-12", f"pretrained={source}", f"output_dir={tmp_path}", "algo.lr_schedule=constant"]
    code, printed = go(*words, *still, "cluster.cpus=1")
    assert code == 0, printed
    run, best = directory_in(printed), weights_in(source, "best")
    assert are_equal(weights_in(run, "milestone_0"), best)
    last = weights_in(run, "last")
    assert all(np.allclose(last[name], best[name], atol=1e-6) for name in best)


def test_a_run_goes_on_when_their_source_is_gone_and_with_no_other_weights(shared_ray, copied, tmp_path):
    words = [*TINY, "stop.agent_steps=256", f"pretrained={copied}", f"output_dir={tmp_path}"]
    code, printed = go(*words)
    assert code == 0, printed
    run, first = directory_in(printed), weights_in(copied, "best")
    shutil.rmtree(copied)
    assert are_equal(weights_in(run, "pretrained"), first)
    code, printed = go(f"resume={run}", "stop.agent_steps=512")
    assert code == 0, printed
    code, printed = go(f"resume={run}", "stop.agent_steps=768", f"pretrained={ROOT / AGENT}")
    assert code == 2 and "pretrained=" in printed, printed
    assert go(*words)[0] == 2, "a new run cannot begin with them"


def test_the_line_of_a_begun_run_continues_it_when_their_source_is_gone(shared_ray, copied, tmp_path):
    words = [*ONE_ROW, "resume=auto", f"pretrained={copied}", f"output_dir={tmp_path}"]
    code, printed = go(*words)
    assert code == 0, printed
    shutil.rmtree(copied)
    assert check_overrides(words)[1] == directory_in(printed)


def test_a_path_has_one_name_whatever_its_spelling(copied, monkeypatch):
    monkeypatch.chdir(copied.parent)
    spellings = (copied.name, f"./{copied.name}/", str(copied))
    assert {check("env=cartpole", f"pretrained={one}")["pretrained"] for one in spellings} == {str(copied)}


def test_another_environment_may_be_played_where_the_weights_fit(finished):
    source, _ = finished
    check("env=cartpole", "env.kwargs={max_episode_steps:100}", f"pretrained={source}")
    with pytest.raises(Mistake, match=rf"pretrained={source}: .*Acrobot.*\(3,\)"):
        check("env=cartpole", "env.id=Acrobot-v1", f"pretrained={source}")


def test_they_are_copied_once_and_whole(finished, tmp_path):
    source, _ = finished
    copy_pretrained(tmp_path, {"pretrained": str(source)})
    there = tmp_path / "checkpoints" / "pretrained"
    assert find_damage(there) is None
    before = (there / "manifest.json").stat()
    copy_pretrained(tmp_path, {"pretrained": "/nowhere"})
    assert (there / "manifest.json").stat() == before
    for settings in ({"pretrained": None}, {}):
        copy_pretrained(tmp_path.parent / "other", settings)
    assert not (tmp_path.parent / "other").exists()
    copy_pretrained(tmp_path / "seed_1", {"pretrained": "/nowhere"})  # the copy above is that of all seeds
    assert not (tmp_path / "seed_1").exists()


def test_a_run_below_another_run_has_its_own(finished, tmp_path):
    source, _ = finished
    below, checkpoints = tmp_path / "ppo" / "cartpole" / "run", source / "checkpoints"
    copy_pretrained(tmp_path, {"pretrained": str(source)})
    shutil.copytree(checkpoints / "best", tmp_path / "checkpoints" / "last")
    copy_pretrained(below, {"pretrained": str(checkpoints / "milestone_0")})
    assert are_equal(weights_in(below, "pretrained"), weights_in(source, "milestone_0"))


def test_a_damaged_copy_is_made_again(finished, tmp_path):
    source, _ = finished
    for damage in (b"", None):
        copy_pretrained(tmp_path, {"pretrained": str(source)})
        assert are_equal(weights_in(tmp_path, "pretrained"), weights_in(source, "best"))
        if damage is not None:
            (tmp_path / "checkpoints" / "pretrained" / "weights.safetensors").write_bytes(damage)


def test_a_full_disk_is_named_with_the_file(finished, tmp_path, monkeypatch):
    def fill(*arguments) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("playing.pretrained.write_milestone", fill)
    with pytest.raises(OSError, match="No space") as caught:
        copy_pretrained(tmp_path, {"pretrained": str(finished[0])})
    assert caught.value.filename == str(tmp_path / "checkpoints" / "pretrained")


def test_the_folder_of_a_checkpoint_can_be_named(finished, tmp_path):
    source, _ = finished
    copy_pretrained(tmp_path, {"pretrained": str(source / "checkpoints" / "milestone_0")})
    assert are_equal(weights_in(tmp_path, "pretrained"), weights_in(source, "milestone_0"))


def check(*overrides: str) -> dict:
    return check_overrides(list(overrides))[0]


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["env=pong"], "env=pong"),
        (["env=cartpole"], "env=cartpole"),
        (["algo=dqn"], "algo=dqn"),
        (["model=cnn_lstm"], "model.torso=nature_cnn model.hidden=512 model.lstm_size=null"),
        (["env.frame_stack=2"], "env.frame_stack=4"),
        (["env.full_action_space=true"], "env.full_action_space=false"),
    ],
    ids=lambda words: words[0],
)
def test_weights_that_do_not_fit_are_refused(words, named, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(Mistake, match=f"pretrained={AGENT}") as caught:
        check("env=assault", *words, f"pretrained={AGENT}")
    assert named in str(caught.value)


@pytest.mark.parametrize(
    "words",
    [
        ["algo=a2c"],
        ["env.protocol=machado", "env.full_action_space=false"],
        ["model.init=torch"],
        ["model.dtype=float32"],
    ],
)
def test_what_the_network_does_not_depend_on_may_differ(words):
    assert check("env=assault", *words, f"pretrained={ROOT / AGENT}")["pretrained"] == AGENT


def test_all_actions_are_those_of_every_game(tmp_path):
    agent = Path(shutil.copytree(ROOT / AGENT, tmp_path / "agent"))
    saved = yaml.safe_load((agent / "config.yaml").read_text())
    saved["env"]["full_action_space"] = True
    (agent / "config.yaml").write_text(yaml.safe_dump(saved))
    check("env=pong", "env.full_action_space=true", f"pretrained={agent}")


@pytest.mark.parametrize(
    "path", ["agents/assault_pp", "agents", "README.md", f"{AGENT}/checkpoints/bst", "", "/no/run"]
)
def test_a_path_that_is_no_agent_is_refused(path, monkeypatch):
    monkeypatch.chdir(ROOT)
    with pytest.raises(Mistake, match=f"pretrained=.*{path}"):
        check("env=assault", f"pretrained={path}")


def test_one_of_several_seeds_has_to_be_named(finished, tmp_path):
    source, _ = finished
    shutil.copy(source / "config.yaml", tmp_path)
    for seed in (1, 2):
        shutil.copytree(source, tmp_path / f"seed_{seed}")
    with pytest.raises(Mistake, match=f"pretrained={tmp_path}.*seed_1"):
        check("env=cartpole", f"pretrained={tmp_path}")


def test_a_training_without_them_keeps_the_name_that_earlier_versions_gave_it():
    settings = compose_settings(["env=assault"])
    without = {key: value for key, value in settings.items() if key != "pretrained"}
    assert compute_key(settings) == compute_key(without) != compute_key(settings | {"pretrained": AGENT})


def test_the_suite_s_agents_travel_with_a_job_and_other_runs_are_named_by_their_places(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(ROOT / AGENT, tmp_path / "mine")
    for typed, there in ((ROOT / AGENT, AGENT), (AGENT, AGENT), ("mine", tmp_path / "mine")):
        word = f"pretrained={typed}"
        assert make_absolute(word, check("env=assault", word)["pretrained"]) == f"pretrained={there}"
    assert make_absolute("pretrained=null", None) == "pretrained=null"
