import io
import json
import os
import pickle

import gymnasium
import numpy as np
import pytest
import ray
import torch
import yaml
from ale_py.vector_env import AtariVectorEnv
from rich.console import Console
from small_worlds import MLP, MODULE, make_agent

from algorithms.progress import PROGRESS_FILE, WEIGHTS, write_manifest, write_weights
from custom_models.q_network import QNetwork
from environments.frames import layout_of, to_blocks
from environments.games import make_games
from environments.mistakes import Mistake
from evidence.evaluate import View, evaluate, print_evaluation, seeds
from rollouts.streams import streams

ASSAULT = {
    "name": "assault",
    "game": "assault",
    "protocol": "classic",
    "frameskip": 4,
    "frame_stack": 4,
    "dim": 84,
    "grayscale": True,
    "sticky": 0.0,
    "full_action_space": False,
    "noop_max": 30,
    "fire_reset": True,
    "life_loss": True,
    "clip_rewards": True,
    "max_episode_frames": 240,
}
NATURE = {"torso": "nature_cnn", "hidden": 32, "activation": "relu"}


def test_games_that_end_early_weigh_no_more_than_others(make_run):
    """The first 32 to finish would all be short ones, with a mean of 1."""
    result = evaluate(make_run("Scripted-v0"), episodes=32)
    for way in ("stochastic", "greedy"):
        assert result[way]["mean"] == (50 + 1) / 2
        assert sorted(set(result[way]["lengths"])) == [2, 20]


def test_every_env_plays_its_share_and_the_shares_make_up_the_whole(make_run):
    result = evaluate(make_run("Scripted-v0"), episodes=30)  # 14 envs play 2 games, the last two play 1
    shares = [2] * 14 + [1] * 2
    score = {0: 50.0, 1: 1.0}
    assert result["greedy"]["scores"] == [
        score[(result["env_seed"] + n) % 2] for n in range(16) for _ in range(shares[n])
    ]
    assert result["episodes"] == 30
    assert result["num_envs"] == 16


def test_the_numbers_are_those_of_the_scores(make_run):
    result = evaluate(make_run("Scripted-v0"), episodes=7)["stochastic"]
    assert sorted(result["scores"]) == [1, 1, 1, 1, 50, 50, 50]
    assert (result["mean"], result["median"], result["iqm"]) == (22, 1, (3 * 1 + 2 * 50) / 5)
    assert (result["min"], result["max"]) == (1, 50)
    assert result["std"] == pytest.approx(49 * (4 * 3) ** 0.5 / 7)
    assert result["mean_length"] == (4 * 2 + 3 * 20) / 7
    assert result["iqm_interval"][0] < 20.6 < result["iqm_interval"][1]
    assert result["human_normalised"] == {}


def test_a_row_that_only_restarts_a_game_counts_for_nothing(make_run):
    """CartPole's own vector restarts in the step after the end; each real step is worth 1."""
    result = evaluate(make_run("CartPole-v1"), episodes=20)
    for way in ("stochastic", "greedy"):
        assert result[way]["lengths"] == result[way]["scores"]
        assert len(set(result[way]["scores"])) > 1


def test_greedy_takes_the_likeliest_action_and_stochastic_draws(make_run):
    result = evaluate(make_run("CountsActions-v0", bias=[0.0, 0.2]), episodes=40)
    assert result["greedy"]["scores"] == [10.0] * 40
    likely = 10 / (1 + np.exp(-0.2))  # 5.5, standard error 0.25
    assert abs(result["stochastic"]["mean"] - likely) < 1


def test_a_gaussian_policy_plays_its_mean_or_draws_around_it_within_the_box(make_run):
    result = evaluate(make_run("SumsABox-v0", bias=[0.25]), episodes=8)
    assert result["greedy"]["scores"] == pytest.approx([2.5] * 8)
    assert len(set(result["stochastic"]["scores"])) == 8


def test_the_same_arguments_give_the_same_result(make_run):
    run = make_run("CartPole-v1")
    assert evaluate(run, episodes=5) == evaluate(run, episodes=5)


def test_evaluation_plays_other_games_than_training():
    for seed in range(20):
        first = seeds(seed)[0]
        for worker in range(4):
            training = streams(seed, worker, 0)[0]
            assert abs(first - training) > 256  # neither the first env's seed nor that of any beside it


def test_both_ways_of_playing_start_from_the_same_games(make_run):
    result = evaluate(make_run("Scripted-v0"), episodes=7)
    assert result["stochastic"]["scores"] == result["greedy"]["scores"]


def test_an_evaluation_needs_no_ray(make_run):
    before = ray.is_initialized()
    evaluate(make_run("Scripted-v0"), episodes=2)
    assert ray.is_initialized() == before


def test_the_best_checkpoint_is_taken_unless_another_is_named(make_run):
    run = make_run("Scripted-v0", checkpoints=("last", "best"))
    assert [evaluate(run, 1)[key] for key in ("checkpoint", "agent_steps")] == ["best", 2000]
    assert [evaluate(run, 1, "last")[key] for key in ("checkpoint", "agent_steps")] == ["last", 1000]
    assert evaluate(make_run("Scripted-v0", name="young"), 1)["checkpoint"] == "last"


def test_the_result_lies_beside_its_checkpoint(make_run):
    run = make_run("Scripted-v0", checkpoints=("last", "best"))
    result = evaluate(run, 2, "last")
    assert json.loads((run / "checkpoints" / "evaluation_last.json").read_text()) == result
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best", "last", "evaluation_last.json"}


def test_every_seed_of_a_parent_is_evaluated(make_run, tmp_path):
    for seed in (10, 2):
        make_run("CartPole-v1", name=f"parent/seed_{seed}", seed=seed)
    results = evaluate(tmp_path / "parent", 3)["seeds"]
    assert [result["seed"] for result in results] == [2, 10]
    assert results[0]["greedy"]["scores"] != results[1]["greedy"]["scores"]
    assert all((tmp_path / f"parent/seed_{seed}/checkpoints/evaluation_last.json").exists() for seed in (2, 10))


class ALE:
    """ALE's own vector env with ALE's own stacks, put into blocks: what the suite must agree with."""

    def __init__(self, env: dict, num_envs: int, seed: int):
        self.layout = layout_of(env)
        self.env = AtariVectorEnv(
            env["game"],
            num_envs=num_envs,
            stack_num=4,
            frameskip=4,
            repeat_action_probability=0.0,
            noop_max=30,
            use_fire_reset=True,
            max_num_frames_per_episode=env["max_episode_frames"],
            reward_clipping=False,
            autoreset_mode=gymnasium.vector.AutoresetMode.SAME_STEP,
        )
        self.stacks = self.in_blocks(self.env.reset(seed=seed)[0])

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        obs, rewards, terminated, truncated, _ = self.env.step(actions)
        self.stacks = self.in_blocks(obs)
        return rewards, terminated | truncated

    def in_blocks(self, obs: np.ndarray) -> torch.Tensor:
        stacks = np.empty((len(obs), 21, 21, 4, 16), np.uint8)
        for age in range(4):
            frames = np.empty((len(obs), 21, 21, 16), np.uint8)
            to_blocks(frames, np.ascontiguousarray(obs[:, age : age + 1]), self.layout)
            stacks[..., age, :] = frames
        return torch.from_numpy(stacks.reshape(len(obs), 21, 21, 64))


def test_the_agent_sees_the_stacks_that_ale_makes_across_games_too():
    ale, games = ALE(ASSAULT, 3, seed=5), make_games(ASSAULT, 3, 1)
    view, rng, ended = View(games, 5), np.random.default_rng(0), 0
    for _ in range(150):
        assert torch.equal(view.seen(), ale.stacks)
        actions = rng.integers(7, size=3)
        ended += ale.step(actions)[1].sum()
        view.move(games.step(actions))
    assert ended > 3


def test_whole_games_of_atari_have_the_scores_that_ale_gives_them(make_run, monkeypatch):
    """The same network, greedy, in a loop of its own; two envs, two games each, lost lives among them."""
    monkeypatch.setattr("evidence.evaluate.MAX_ENVS", 2)
    env = ASSAULT | {"max_episode_frames": 1200}
    result = evaluate(make_run(env=env, model=NATURE, seed=2), episodes=4)
    agent = make_agent(env, MLP | NATURE, seed=2, bias=None)
    ale, scores, lengths, chosen = ALE(env, 2, result["env_seed"]), [[0.0], [0.0]], [[0], [0]], set()
    while min(len(of_env) for of_env in scores) < 3:
        with torch.inference_mode():
            actions = agent.Policy(agent.policy_and_value(ale.stacks, agent.pack())[0]).mode().numpy()
        chosen |= set(actions.tolist())
        for n, (reward, ended) in enumerate(zip(*ale.step(actions), strict=True)):
            scores[n][-1] += reward
            lengths[n][-1] += 1
            if ended:
                scores[n].append(0.0)
                lengths[n].append(0)
    assert len(chosen) > 1, "this agent does not look at what it sees"
    assert result["greedy"]["scores"] == scores[0][:2] + scores[1][:2]
    assert result["greedy"]["lengths"] == lengths[0][:2] + lengths[1][:2]


def test_an_atari_result_names_its_protocol_and_its_tables(make_run):
    result = evaluate(make_run(env=ASSAULT, model=NATURE), episodes=4)
    assert len(set(result["stochastic"]["scores"])) > 1
    assert result["protocol"] == "classic, max_episode_frames 240"  # as trained, not life_loss False
    mean = result["stochastic"]["mean"]
    assert result["stochastic"]["human_normalised"] == {
        "Wang et al. 2016": (mean - 222.4) / (742.0 - 222.4),
        "Mnih et al. 2015": (mean - 222.4) / (1496.4 - 222.4),
    }


def test_dtype_auto_is_decided_and_recorded(make_run, monkeypatch):
    monkeypatch.setattr("evidence.evaluate.fastest_dtype", lambda: "bfloat16")
    assert evaluate(make_run("Scripted-v0", model={"dtype": "auto"}), 1)["dtype"] == "bfloat16"


def test_what_is_printed_has_the_numbers_and_fits_a_terminal(make_run):
    result = evaluate(make_run(env=ASSAULT, model=NATURE), episodes=2)
    console = Console(width=80, record=True, file=io.StringIO())
    print_evaluation({"seeds": [result, result | {"seed": 2}]}, console)
    text = console.export_text()
    for wanted in ("seed 1", "seed 2", "last checkpoint", "1,000 agent", "IQM", "Wang et al. 2016", "Mnih et al. 2015"):
        assert wanted in text
    assert f"{result['greedy']['mean']:,.1f}" in text
    assert "…" not in text


def mistake(*arguments) -> str:
    """The sentence that an evaluation is refused with."""
    with pytest.raises(Mistake) as caught:
        evaluate(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_run_that_is_not_there_is_a_mistake(tmp_path):
    assert f"run={tmp_path / 'gone'}: there is no such directory" in mistake(tmp_path / "gone", 1)


def test_a_directory_that_is_not_a_run_is_a_mistake(tmp_path):
    assert "has no config.yaml" in mistake(tmp_path, 1)


@pytest.mark.parametrize("text", ["just words", "seed: 1\nalgo: {name: ppo}\nmodel: {}", "a: [", "\x00"])
def test_the_run_of_another_program_is_a_mistake(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    assert str(tmp_path / "config.yaml") in mistake(tmp_path, 1)


def test_a_run_without_a_checkpoint_is_a_mistake(make_run):
    assert "it has no checkpoint yet" in mistake(make_run(checkpoints=()), 1)


def test_a_checkpoint_that_is_not_there_is_a_mistake(make_run):
    assert "checkpoint=first" in (message := mistake(make_run(), 1, "first"))
    assert "only last" in message


def test_no_games_at_all_is_a_mistake(make_run):
    assert "episodes=0" in mistake(make_run(), 0)


def test_a_checkpoint_of_another_model_is_a_mistake(make_run):
    """MLPs of other widths, with other layers, and for other actions."""
    run = make_run("CartPole-v1")
    settings = (run / "config.yaml").read_text()
    for model, name in ({"hidden": [9]}, "policy.weight"), ({"shared_trunk": False}, "value_torso.layers.0.bias"):
        other = make_run("CartPole-v1", name=name, model=model)
        (run / "config.yaml").write_text((other / "config.yaml").read_text())
        (other / "config.yaml").write_text(settings)
        for message in (mistake(run, 1), mistake(other, 1)):
            assert f"another model, {name} is" in message


def test_a_damaged_checkpoint_is_a_mistake(make_run):
    run = make_run()
    for path in (run / "checkpoints" / "last" / MODULE / "module_state.pkl", run / "checkpoints" / "last" / WEIGHTS):
        whole = path.read_bytes()
        for bad in (whole[: len(whole) // 2], b"", b"junk", pickle.dumps([1, 2])):
            path.write_bytes(bad)
            assert path.name in mistake(run, 1)
        path.unlink()
        assert path.name in mistake(run, 1)
        path.write_bytes(whole)
    assert evaluate(run, 1)


def test_one_flipped_bit_in_a_weight_is_refused_and_a_whole_checkpoint_is_named(make_run):
    """It would be read without complaint and score something else."""
    run = make_run("Scripted-v0", checkpoints=("last", "best"))
    path = run / "checkpoints" / "best" / WEIGHTS
    flipped = bytearray(path.read_bytes())
    flipped[-3] ^= 64
    path.write_bytes(flipped)
    message = mistake(run, 1)
    assert WEIGHTS in message and "checkpoint=last" in message
    assert not list((run / "checkpoints").glob("evaluation_*"))
    assert evaluate(run, 1, "last")["checkpoint"] == "last"


def as_of_an_earlier_version(run, state: bytes | None = None):
    """The last checkpoint without weights.safetensors, with another module_state.pkl, and whole by its manifest."""
    last = run / "checkpoints" / "last"
    (last / WEIGHTS).unlink()
    if state is not None:
        (last / MODULE / "module_state.pkl").write_bytes(state)
    write_manifest(last)


def test_nothing_is_unpickled_where_there_are_plain_weights(make_run):
    run = make_run("CartPole-v1")
    expected = evaluate(run, 3)
    (run / "checkpoints" / "last" / MODULE / "module_state.pkl").write_bytes(b"no pickle")
    write_manifest(run / "checkpoints" / "last")
    assert evaluate(run, 3) == expected


def test_a_checkpoint_of_an_earlier_version_plays_the_same(make_run):
    run = make_run("CartPole-v1")
    expected = evaluate(run, 3)
    as_of_an_earlier_version(run)
    assert evaluate(run, 3) == expected


class Malicious:
    """Pickled, it is a call of a function of somebody's choice."""

    def __init__(self, function, *arguments):
        self.call = function, arguments

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("function", [os.mkdir, eval, np.load], ids=lambda function: function.__name__)
def test_a_malicious_pickle_runs_nothing_and_is_refused(function, make_run, tmp_path):
    run, trace = make_run("Scripted-v0"), tmp_path / "it_ran"
    argument = f"__import__('os').mkdir({str(trace)!r})" if function is eval else str(trace)
    weights = {"policy.weight": np.zeros((2, 8), np.float32), "policy.bias": Malicious(function, argument)}
    as_of_an_earlier_version(run, pickle.dumps(weights))
    message = mistake(run, 1)
    assert not trace.exists()
    assert "module_state.pkl" in message and function.__name__ in message


def test_a_parent_with_an_untrained_seed_is_refused_before_any_game(make_run, tmp_path):
    make_run(name="parent/seed_1")
    make_run(name="parent/seed_2", checkpoints=())
    assert "seed_2" in mistake(tmp_path / "parent", 1)
    assert not (tmp_path / "parent/seed_1/checkpoints/evaluation_last.json").exists()


def test_an_environment_that_is_not_installed_is_a_mistake(make_run):
    run = make_run("Scripted-v0")
    del gymnasium.registry["Scripted-v0"]
    assert "Scripted" in mistake(run, 1)
    gymnasium.register("Scripted-v0", entry_point=object)


def test_a_q_network_is_played_by_its_best_actions_and_one_in_twenty_at_random(tmp_path):
    env = {"name": "small", "id": "CountsActions-v0", "frameskip": 1, "clip_rewards": False}
    settings = {"seed": 1, "algo": {"name": "dqn", "dueling": True}, "env": env, "model": MLP}
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(settings))
    games = make_games(env, 1, 1)
    spaces = {"observation_space": games.observation_space, "action_space": games.action_space}
    games.close()
    agent = QNetwork(**spaces, model_config=MLP | {"dueling": True})
    torch.nn.init.zeros_(agent.online.actions.weight)
    agent.online.actions.bias.data = torch.tensor([0.0, 1.0])  # the second action is worth more, and scores 1
    last = tmp_path / "checkpoints" / "last"
    agent.save_to_path(last / MODULE)
    (last / PROGRESS_FILE).write_text("{}")
    write_weights(last)
    write_manifest(last)
    result = evaluate(tmp_path, 100)
    assert result["algo"] == "dqn"
    assert result["greedy"]["mean"] == 10
    assert 9.5 < result["stochastic"]["mean"] < 10  # 9.75 expected: half of the random actions score too
