"""An agent in somebody's own program plays what an evaluation plays."""

import sys

import numpy as np
import pytest
from ale_py import ALEInterface, LoggerMode, roms
from gymnasium.spaces import Box
from small_worlds import ASSAULT, NATURE

from playing import load_agent
from playing.whole_games import derive_seeds
from settings.mistakes import Mistake


def play_game(agent, seed: int, greedy: bool) -> float:
    """Return the score of one game."""
    env = agent.make_env()
    observation, _ = env.reset(seed=seed)
    state, ended, score = None, False, 0.0
    while not ended:
        action, state = agent.act(observation, state, greedy)
        observation, reward, terminated, truncated, _ = env.step(action)
        score += reward
        ended = terminated or truncated
    env.close()
    return score


@pytest.mark.parametrize("model", [{}, {"lstm_size": 8}], ids=["no-memory", "lstm"])
def test_its_greedy_game_is_the_one_that_an_evaluation_plays(model, make_run):
    from evidence.evaluate import evaluate

    run = make_run(env=ASSAULT | {"max_episode_frames": 600}, model=NATURE | model)
    seed, _ = derive_seeds(1)
    expected = evaluate(run, episodes=1, ways=("greedy",))["greedy"]["mean"]
    assert play_game(load_agent(run), seed, greedy=True) == expected


def test_many_observations_have_the_actions_that_each_has_alone(make_run):
    agent = load_agent(make_run())
    observations = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    together, _ = agent.act(observations, greedy=True)
    assert list(together) == [agent.act(one, greedy=True)[0] for one in observations]


def test_actions_are_drawn_from_the_policy(make_run):
    agent = load_agent(make_run("CountsActions-v0", bias=[0.0, 1.0]))
    drawn, _ = agent.act(np.zeros((4000, 1), np.float32))
    assert drawn.mean() == pytest.approx(1 / (1 + np.exp(-1)), abs=0.03)
    assert set(agent.act(np.zeros((10, 1), np.float32), greedy=True)[0]) == {1}


def test_continuous_actions_stay_in_their_box(make_run):
    agent = load_agent(make_run("SumsABox-v0", bias=[5.0]))
    assert play_game(agent, 1, greedy=True) == pytest.approx(20.0)  # the box ends at 2
    action, _ = agent.act(np.zeros(1, np.float32), greedy=True)
    assert action in agent.action_space and action == 2


@pytest.mark.parametrize("dtype", [np.uint8, np.float64, np.int64])
def test_observations_of_another_dtype_are_those_of_the_space(dtype, make_run):
    agent = load_agent(make_run())
    given = np.random.default_rng(0).integers(0, 3, (50, 4))
    same = [agent.act(given.astype(one), greedy=True)[0].tolist() for one in (np.float32, dtype)]
    assert same[0] == same[1] and len(set(same[0])) == 2


@pytest.mark.parametrize(("number", "dtype"), [(0.5, np.float32), (-1, np.int64), (300, np.int64)])
def test_numbers_that_pixels_cannot_be_are_refused(number, dtype, make_run):
    agent = load_agent(make_run(env=ASSAULT, model=NATURE))
    pixels = np.full(agent.observation_space.shape, 7, dtype)
    assert agent.act(pixels)[0] in agent.action_space
    pixels.flat[0] = number
    with pytest.raises(ValueError, match="uint8"):
        agent.act(pixels)


@pytest.mark.parametrize("given", [[1e300, 0, 0, 0], [np.nan, 0, 0, 0], np.array(["1", None, 0, 0], object)])
def test_an_observation_that_is_no_finite_numbers_is_refused(given, make_run):
    with pytest.raises(ValueError, match="float32"):
        load_agent(make_run()).act(np.asarray(given))


def test_an_observation_that_is_too_large_for_the_network_is_refused_in_a_space_of_float64_too(make_run):
    agent = load_agent(make_run())
    agent.observation_space = Box(-np.inf, np.inf, (4,), np.float64)
    assert agent.act(np.ones(4))[0] in agent.action_space
    with pytest.raises(ValueError, match="float64"):
        agent.act(np.array([1e300, 0, 0, 0]))


@pytest.mark.parametrize("shape", [(3,), (2, 3), ()])
def test_an_observation_of_another_shape_is_refused(shape, make_run):
    with pytest.raises(ValueError, match=r"\(4,\)"):
        load_agent(make_run()).act(np.zeros(shape, np.float32))


def test_a_run_of_several_seeds_and_a_folder_without_a_run_are_refused(make_run, tmp_path):
    for seed in (1, 2):
        make_run(seed=seed, name=f"several/seed_{seed}")
    with pytest.raises(Mistake, match="seed_1"):
        load_agent(tmp_path / "several")
    with pytest.raises(Mistake):
        load_agent(tmp_path / "none")


@pytest.mark.parametrize("world", ["Matching", "Switches", "Board", "Parts", "Matrix"])
def test_an_agent_plays_environments_of_one_s_own(world, make_run):
    from evidence.evaluate import evaluate

    env = {"name": "own", "id": f"tests.environments.own_worlds:{world}-v0", "frameskip": 1, "clip_rewards": False}
    run = make_run(env=env | {"wrappers": [{"tests.environments.own_worlds:Doubled": {"factor": 3.0}}]})
    seed, _ = derive_seeds(1)
    expected = evaluate(run, episodes=1, ways=("greedy",))["greedy"]["mean"]
    assert play_game(load_agent(run), seed, greedy=True) == pytest.approx(expected)


def test_an_agent_of_an_environment_of_ones_own_needs_its_module(make_run):
    run = make_run()
    config = (run / "config.yaml").read_text()
    (run / "config.yaml").write_text(config.replace("id: CartPole-v1", "id: nowhere_at_all:Own-v0"))
    with pytest.raises(Mistake, match="nowhere_at_all"):
        load_agent(run)


def test_an_agent_with_a_torso_of_ones_own_needs_its_module(make_run, tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    text = "from torch import nn\n\n\nclass Net(nn.Sequential):\n    size = 8\n\n"
    text += "    def __init__(self, model, shape):\n        super().__init__(nn.Linear(*shape, 8), nn.Tanh())\n"
    (tmp_path / "net_of_a_user.py").write_text(text)
    run = make_run(model={"torso": "net_of_a_user:Net"})
    observations = np.random.default_rng(0).normal(size=(5, 4)).astype(np.float32)
    actions, _ = load_agent(run).act(observations, greedy=True)
    assert actions.shape == (5,)
    (tmp_path / "net_of_a_user.py").unlink()
    monkeypatch.delitem(sys.modules, "net_of_a_user")
    with pytest.raises(Mistake, match="^model.torso=net_of_a_user:Net: there is no module net_of_a_user; "):
        load_agent(run)


@pytest.mark.parametrize("model", [{}, {"lstm_size": 8}], ids=["no-memory", "lstm"])
def test_an_emulator_s_frames_have_the_actions_that_the_suite_s_stacks_have(model, make_run):
    """Two games side by side, one a step behind the other: each has its stack and its memory."""
    rules = {"noop_max": 1, "fire_reset": False, "max_episode_frames": 400}
    agent = load_agent(make_run(env=ASSAULT | rules, model=NATURE | model))
    for parameter in agent.network.parameters():  # else the policy hardly depends on what it sees
        parameter.data *= 3
    env = agent.make_env()
    observation, _ = env.reset(seed=7)
    ALEInterface.setLoggerMode(LoggerMode.Error)
    ale = ALEInterface()
    ale.setInt("random_seed", 7)
    ale.setFloat("repeat_action_probability", 0.0)
    ale.loadROM(roms.get_rom_path("assault"))
    ale.reset_game()
    buttons, frames, state, of_suite = ale.getMinimalActionSet(), [ale.getScreenRGB()] * 2, None, None
    behind, chosen = np.zeros_like(np.stack(frames)), []
    for step in range(60):
        now = np.stack(frames[-2:])
        expected, of_suite = agent.act(observation, of_suite, greedy=True)
        pair, state = agent.act(np.stack([now, behind]), state, greedy=True)
        if step == 0:
            for part in state:
                part[1] = 0  # the second game begins with the next call
        elif step > 0:
            assert pair[1] == chosen[-1]
        assert pair[0] == expected
        chosen.append(int(expected))
        behind, frames = now, []
        for _ in range(4):
            ale.act(buttons[expected])
            frames.append(ale.getScreenRGB())
        observation = env.step(expected)[0]
    assert len(set(chosen)) > 1


def test_one_frame_is_one_game_and_other_sizes_are_refused(make_run):
    agent = load_agent(make_run(env=ASSAULT, model=NATURE))
    frames = np.random.default_rng(0).integers(0, 256, (3, 210, 160, 3), np.uint8)
    many, state = agent.act(frames, greedy=True)
    assert list(many) == [agent.act(frame, greedy=True)[0] for frame in frames]
    assert many.shape == (3,) and state[-1].shape == (3, 21, 21, 4, 16)
    for shape in ((210, 161, 3), (1, 1, 1, 210, 160, 3)):
        with pytest.raises(ValueError, match="210, 160, 3"):
            agent.act(np.zeros(shape, np.uint8))
