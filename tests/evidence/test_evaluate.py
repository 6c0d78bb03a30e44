import io
import json
import os
import pickle
import re

import gymnasium
import numpy as np
import pytest
import ray
import torch
import yaml
from ale_py.vector_env import AtariVectorEnv
from rich.console import Console
from small_worlds import ASSAULT, MLP, MODULE, NATURE, make_agent

from custom_models.q_network import QNetwork
from environments.frame_stack import FrameStack
from environments.frames import layout_of, to_blocks
from environments.games import make_games
from evidence.evaluate import evaluate, summarize_games
from evidence.evaluation_table import describe_agent, print_evaluation
from playing.whole_games import derive_seeds
from rollouts.streams import seed_streams
from run_directory.layout import PROGRESS_JSON, WEIGHTS
from run_directory.manifest import write_manifest
from run_directory.milestones import write_milestone
from run_directory.weights import write_weights
from settings.mistakes import Mistake


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
    assert result["iqm_interval"] is None, "of 7 games a bootstrap interval is too narrow"
    low, high = summarize_games([1.0, 50.0] * 10, [1] * 20, 0, {"id": "Scripted-v0"})["iqm_interval"]
    assert 1 <= low < 25.5 < high <= 50
    assert sum(result["mean_interval"]) / 2 == pytest.approx(22) and result["mean_interval"][0] < -2  # of 7 games
    assert summarize_games([3.0], [3], 0, {"id": "Scripted-v0"})["mean_interval"] is None
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
        first = derive_seeds(seed)[0]
        for worker in range(4):
            training = seed_streams(seed, worker, 0)[0]
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
    result = evaluate(run, 30, "last")
    assert result["saved"] == str(path := run / "checkpoints" / "evaluation_last.json")
    assert result == json.loads(path.read_text()) | {"saved": str(path), "not_saved": None}
    assert {path.name for path in (run / "checkpoints").iterdir()} == {"best", "last", "evaluation_last.json"}


def test_every_seed_of_a_parent_is_evaluated(make_run, tmp_path):
    for seed in (10, 2):
        make_run("CartPole-v1", name=f"parent/seed_{seed}", seed=seed)
    results = evaluate(tmp_path / "parent", 30)["seeds"]
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
        obs, rewards, terminated, truncated, info = self.env.step(actions)
        self.lives = info["lives"]
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
    stack, rng, ended = FrameStack(games.layout, games.reset(5)), np.random.default_rng(0), 0
    for _ in range(150):
        assert torch.equal(torch.from_numpy(stack.get_observations()), ale.stacks)
        actions = rng.integers(7, size=3)
        step = games.step(actions)
        ended += ale.step(np.where(step.valid, actions, 1))[1].sum()
        stack.push(step.obs, step.game_reset)
    assert ended > 3


def test_whole_games_of_atari_have_the_scores_that_ale_gives_them(make_run, monkeypatch):
    """The same network, greedy, in a loop of its own; two envs, two games each, lost lives among them."""
    monkeypatch.setattr("playing.whole_games.MAX_ENVS", 2)
    env = ASSAULT | {"max_episode_frames": 1200}
    result = evaluate(make_run(env=env, model=NATURE, seed=2), episodes=4)
    agent = make_agent(env, MLP | NATURE, seed=2, bias=None)
    ale, scores, lengths, chosen = ALE(env, 2, result["env_seed"]), [[0.0], [0.0]], [[0], [0]], set()
    lives, forced = np.full(2, 4), np.zeros(2, bool)
    while min(len(of_env) for of_env in scores) < 3:
        with torch.inference_mode():
            actions = agent.Policy(agent.compute_policy_and_value(ale.stacks, agent.pack())[0]).mode().numpy()
        chosen |= set(actions.tolist())
        valid = ~forced
        rewards, ends = ale.step(np.where(forced, 1, actions))  # FIRE after a lost life
        forced, lives = (ale.lives < lives) & ~ends, ale.lives
        for n, (reward, ended) in enumerate(zip(rewards, ends, strict=True)):
            scores[n][-1] += reward
            lengths[n][-1] += int(valid[n])
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
    monkeypatch.setattr("playing.agent.find_fastest_dtype", lambda: "bfloat16")
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
    assert mistake(tmp_path / "gone", 1).startswith(f"run={tmp_path / 'gone'}: ")


def test_a_directory_that_is_not_a_run_is_a_mistake(tmp_path):
    assert "has no config.yaml" in mistake(tmp_path, 1)


@pytest.mark.parametrize("text", ["just words", "seed: 1\nalgo: {name: ppo}\nmodel: {}", "a: [", "\x00"])
def test_the_run_of_another_program_is_a_mistake(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    (tmp_path / "checkpoints" / "last").mkdir(parents=True)
    assert str(tmp_path / "config.yaml") in mistake(tmp_path, 1)


def test_a_run_without_a_checkpoint_is_a_mistake(make_run):
    run = make_run(checkpoints=())
    assert re.match(f"run={run}: .*no checkpoint", mistake(run, 1))


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
    for path in (run / "checkpoints" / "last" / PROGRESS_JSON, run / "checkpoints" / "last" / WEIGHTS):
        whole = path.read_bytes()
        for bad in (whole[: len(whole) // 2], b"", b"junk", pickle.dumps([1, 2])):
            path.write_bytes(bad)
            assert path.name in mistake(run, 1)
        path.unlink()
        assert path.name in mistake(run, 1)
        path.write_bytes(whole)
    assert evaluate(run, 1)
    (run / "checkpoints" / "last" / MODULE / "module_state.pkl").write_bytes(b"junk")
    assert evaluate(run, 1), "nothing that playing needs is damaged"
    (run / "checkpoints" / "last" / WEIGHTS).write_bytes(b"junk")
    write_milestone(run, "milestone_30", {"weight": np.ones(1)}, {"agent_steps": 30})
    assert "checkpoint=milestone_30" in mistake(run, 1), "it could play"


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
    (last / PROGRESS_JSON).write_text("{}")
    write_weights(last)
    write_manifest(last)
    result = evaluate(tmp_path, 100)
    assert result["algo"] == "dqn"
    assert result["greedy"]["mean"] == 10
    assert 9.5 < result["stochastic"]["mean"] < 10  # 9.75 expected: half of the random actions score too


# What is typed, where it goes, and what is said on the way ------------------------------------------------------------


def names(run) -> set[str]:
    """The results beside a run's checkpoints."""
    return {path.stem for path in (run / "checkpoints").glob("*.json")}


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ({}, "evaluation_last"),
        ({"episodes": 3}, "evaluation_last_3_games"),
        ({"seed": 1}, "evaluation_last"),
        ({"seed": 7}, "evaluation_last_seed_7"),
        ({"ways": ("greedy",)}, "evaluation_last_greedy"),
        ({"rules": {"protocol": "machado"}}, "evaluation_last_machado"),
        ({"rules": {"max_episode_frames": 240, "noop_max": 30}}, "evaluation_last"),
        ({"rules": {"sticky": 0.25, "noop_max": 30}}, "evaluation_last_sticky_0.25"),
        (
            {"seed": 7, "rules": {"protocol": "machado", "noop_max": 9}, "ways": ("greedy",), "episodes": 2},
            "evaluation_last_seed_7_machado_noop_max_9_greedy_2_games",
        ),
    ],
)
def test_what_departs_from_the_run_names_the_result(words, name, make_run, monkeypatch):
    monkeypatch.setattr("evidence.evaluate.play_games", lambda *_: ([1.0], [1], 0))  # the name only
    monkeypatch.setattr("playing.whole_games.MAX_ENVS", 1)
    run = make_run(env=ASSAULT, model=NATURE)
    result = evaluate(run, **({"episodes": 30} | words))
    assert names(run) == {name} and result["saved"].endswith(f"{name}.json")
    assert result["games_seed"] == words.get("seed", 1) and result["episodes"] == words.get("episodes", 30)
    assert result["ways"] == [way for way in ("stochastic", "greedy") if way in result]


def test_another_protocol_is_played_but_for_the_agents_actions(make_run):
    result = evaluate(make_run(env=ASSAULT, model=NATURE), 2, rules={"protocol": "machado", "max_episode_frames": 240})
    assert result["protocol"] == "machado, full_action_space False, max_episode_frames 240"
    assert result["rules"]["sticky"] == 0.25 and result["rules"]["noop_max"] == 0
    assert len(result["notes"]) == 1 and "full_action_space" in result["notes"][0]


@pytest.mark.parametrize(
    "rules", [{"full_action_space": True}, {"life_loss": True}, {"clip_rewards": False}, {"dim": 42}]
)
def test_rules_that_an_agent_cannot_play_by_are_refused_by_name(rules, make_run):
    run = make_run(env=ASSAULT, model=NATURE)
    (key,) = rules
    assert f"env.{key}=" in mistake(run, 1, None, ("greedy",), None, rules)
    assert not names(run)


def test_an_environment_without_a_protocol_takes_no_rules(make_run):
    assert "env.noop_max=3" in mistake(make_run(), 1, None, ("greedy",), None, {"noop_max": 3})


def test_another_seed_plays_other_games(make_run):
    run = make_run("CartPole-v1")
    one, other = (evaluate(run, 5, seed=seed, ways=["greedy"]) for seed in (None, 7))
    assert one["greedy"]["scores"] != other["greedy"]["scores"] and "stochastic" not in one
    assert other["seed"] == 1 and other["games_seed"] == 7
    assert "games of seed 7" in describe_agent(other) and "games of seed" not in describe_agent(one)


def test_a_checkpoint_may_be_given_by_its_path_and_another_s_does_not_take_the_run_s_place(make_run, tmp_path):
    run, other = make_run("CartPole-v1"), make_run("CartPole-v1", name="other", bias=[0.0, 9.0])
    last, others = (str(one / "checkpoints" / "last") for one in (run, other))
    assert evaluate(run, 30, last)["saved"].endswith("/run/checkpoints/evaluation_last.json")
    result = evaluate(run, 30, others)
    assert result["checkpoint_path"] == others
    assert result["greedy"]["mean"] < 12, "the other always pushes to the right"
    assert len(names(run)) == 2 and not names(other)
    for seed in (1, 2):
        make_run(name=f"parent/seed_{seed}", seed=seed)
    assert "checkpoint=" in mistake(tmp_path / "parent", 1, others)


def test_games_that_the_limit_cut_are_counted_and_said(make_run, capsys):
    result = evaluate(make_run(env=ASSAULT, model=NATURE), 3, ways=["greedy"])  # 240 frames
    assert result["greedy"]["cut"] == 3
    assert print_evaluation(result) == 0
    assert re.search(r"\b3 of 3 games\b.*\b240 frames", capsys.readouterr().out)
    assert evaluate(make_run("CartPole-v1", name="other"), 3)["greedy"]["cut"] == 0


def test_an_environment_that_may_never_end_is_refused(make_run):
    gymnasium.register("Endless-v0", "gymnasium.envs.classic_control:CartPoleEnv")
    own = "gymnasium.envs.classic_control.cartpole:CartPoleVectorEnv"
    gymnasium.register("EndlessOwn-v0", vector_entry_point=own)
    try:
        for name in ("Endless-v0", "EndlessOwn-v0"):
            run = make_run(name=name)
            config = run / "config.yaml"
            config.write_text(config.read_text().replace("CartPole-v1", name))
            assert f"env.id={name}" in mistake(run, 1) and not names(run)
    finally:
        del gymnasium.registry["Endless-v0"], gymnasium.registry["EndlessOwn-v0"]


@pytest.mark.parametrize("terminal", [False, True])
def test_progress_tells_games_steps_and_time_left(terminal, make_run, monkeypatch):
    monkeypatch.setattr("playing.games_display.LINE_EVERY_S", 0)
    console = Console(file=(written := io.StringIO()), force_terminal=terminal, width=160)
    evaluate(make_run("CartPole-v1"), 4, console=console)
    lines = [line for line in written.getvalue().splitlines() if line]
    assert any("8 of 8 games" in line and "greedy" in line and "agent steps" in line for line in lines)
    if not terminal:
        assert "0 of 8 games" in lines[0] and "unknown" in lines[0]
        assert all(len(line) < 160 and "time left" in line for line in lines)


def test_a_short_evaluation_says_nothing_on_the_way(make_run):
    console = Console(file=(written := io.StringIO()))
    evaluate(make_run("Scripted-v0"), 2, console=console)
    assert written.getvalue() == ""


@pytest.mark.parametrize("obstacle", ["directory", "permission", "full disk"])
def test_a_result_that_cannot_be_saved_is_printed_and_the_exit_code_says_so(obstacle, make_run, monkeypatch, capsys):
    def fail(*_):
        raise OSError(28, "full")

    run = make_run("Scripted-v0")
    if obstacle == "directory":
        (run / "checkpoints" / "evaluation_last.json").mkdir()
    elif obstacle == "permission":  # root may write anywhere
        monkeypatch.setattr("os.access", lambda path, mode: False)
    else:
        monkeypatch.setattr("os.replace", fail)
    result = evaluate(run, 30)
    told_before = "not saved" in capsys.readouterr().out
    assert result["saved"] is None and result["not_saved"] and told_before == (obstacle != "full disk")
    assert print_evaluation(result) == 1
    printed = capsys.readouterr().out
    assert "mean" in printed and "not saved" in printed
    assert not (run / "checkpoints" / "evaluation_last.json").is_file()
