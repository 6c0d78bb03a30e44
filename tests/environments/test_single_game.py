"""One game as a gymnasium.Env: what RLlib's runner sees, and what is reported beside it."""

import gymnasium
import numpy as np
import pytest

from environments.games import make_games
from environments.single_game import SingleGame
from settings.protocols import PROTOCOLS


class Fives(gymnasium.Env):
    """Ten steps of 5 points each: every game is worth 50. Observed: the game's number and the step."""

    observation_space = gymnasium.spaces.Box(-1, 100, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)
    cut_short = False

    def __init__(self):
        self.game = 0

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.game, self.t = self.game + 1, 0
        return np.array([self.game, 0], np.float32), {}

    def step(self, action):
        self.t += 1
        over = self.t == 10
        return (
            np.array([self.game, self.t], np.float32),
            5.0,
            over and not self.cut_short,
            over and self.cut_short,
            {},
        )


class FivesCutShort(Fives):
    """The same, but a time limit ends it."""

    cut_short = True


@pytest.fixture(autouse=True)
def worlds():
    for world in (Fives, FivesCutShort):
        gymnasium.register(f"{world.__name__}-v0", entry_point=world)
    yield
    for world in (Fives, FivesCutShort):
        del gymnasium.registry[f"{world.__name__}-v0"]


def numbers(env_id: str, clip_rewards: bool = False) -> dict:
    return {"name": "small", "id": env_id, "frameskip": 1, "clip_rewards": clip_rewards}


def atari(game: str, **changes) -> dict:
    env = {"game": game, "frameskip": 4, "frame_stack": 4, "dim": 84, "grayscale": True, **PROTOCOLS["classic"]}
    return env | changes


def test_training_sees_clipped_rewards_and_the_report_the_game_s_own_score():
    game = SingleGame(numbers("Fives-v0", clip_rewards=True))
    game.reset(seed=0)
    steps = [game.step(0) for _ in range(10)]
    assert [reward for _, reward, *_ in steps] == [1.0] * 10
    assert game.finished == [(50.0, 10)]
    game.reset()
    for _ in range(9):
        game.step(0)
    assert game.finished == [(50.0, 10)], "a game under way has no score yet"


def test_a_step_that_fire_makes_longer_has_the_sign_of_its_sum(monkeypatch):
    for rewards, wanted in (((7, 7), 1.0), ((7, -7), 0.0), ((-7, 2), -1.0)):
        game = SingleGame(numbers("Fives-v0", clip_rewards=True))
        game.reset(seed=0)
        left = list(rewards)
        monkeypatch.setattr(game, "_play_step", lambda action, left=left: (None, float(left.pop(0)), False, False))
        ignores = iter([[True], [False]])
        game.games = type("Games", (), {"ignores_next": property(lambda self, ignores=ignores: next(ignores))})()
        assert game.step(0)[1] == wanted


def test_a_time_limit_truncates_and_shows_the_last_observation_of_the_old_game():
    game = SingleGame(numbers("FivesCutShort-v0"))
    first, _ = game.reset(seed=0)
    for _ in range(10):
        obs, _, terminated, truncated, _ = game.step(0)
    assert (terminated, truncated) == (False, True)
    np.testing.assert_array_equal(obs, [first[0], 10])
    np.testing.assert_array_equal(game.reset()[0], [first[0] + 1, 0])


def test_a_game_of_cartpole_is_counted_without_the_step_that_only_restarts_it():
    game, plain = SingleGame(numbers("CartPole-v1")), gymnasium.make("CartPole-v1")
    game.reset(seed=3)
    for _ in range(3):
        length, over = 0, False
        while not over:
            obs, reward, *ends, _ = game.step(1)
            over = any(ends)
            length += 1
        assert length < 20
        assert game.finished.pop() == (length, length)
        assert np.abs(game.reset()[0]).max() <= 0.05, "a game begins near 0"
    assert plain.observation_space == game.observation_space


def test_a_forced_fire_is_a_step_of_its_own_where_it_is_asked_for():
    """The observations are then those of the games that an agent is trained and evaluated in, one by one."""
    env = atari("breakout", max_episode_frames=1200, life_loss=False)
    game, games, rng, forced = SingleGame(env, shows_ignored=True), make_games(env, 1, 1), np.random.default_rng(5), 0
    game.reset(seed=5)
    games.reset(5)
    while True:
        forced, action = forced + int(games.ignores_next[0]), int(rng.integers(game.action_space.n))
        obs, _, terminated, truncated, _ = game.step(action)
        step = games.step(np.array([action]))
        if terminated or truncated:
            break
        np.testing.assert_array_equal(obs[..., -16:], step.obs[0])
    assert forced >= 3 and step.finished[0]


@pytest.mark.parametrize(
    "changes", [{}, {"fire_on_life_loss": False}, {"life_loss": False}], ids=["classic", "no FIRE", "no life loss"]
)
def test_a_lost_life_ends_the_episode_and_the_game_goes_on_with_its_stack(changes):
    """Against the same games side by side: the protocol, seen through reset and step. Nobody sees a forced FIRE."""
    env = atari("breakout", max_episode_frames=1200, **changes)
    game, games = SingleGame(env), make_games(env, 1, 1)
    obs, _ = game.reset(seed=5)
    frames = [np.zeros_like(games.reset(5))] * 3
    games.reset(5)
    frames.append(games.reset(5))
    rng, lives, forced, score, length, scores = np.random.default_rng(5), 0, 0, 0.0, 0, []
    for _ in range(500):
        np.testing.assert_array_equal(obs, np.concatenate(frames[-4:], -1)[0])
        action = int(rng.integers(game.action_space.n))
        obs, reward, terminated, truncated, _ = game.step(action)
        rewards, ended = 0.0, False
        while True:  # once, and again for every step of FIRE after a lost life
            step = games.step(np.array([action]))
            if not ended:  # what a new episode begins with is no part of the old one
                rewards += np.sign(step.rewards[0])
                assert (terminated, truncated) == (step.terminated[0], step.truncated[0]) or games.ignores_next[0]
                ended = step.terminated[0] or step.truncated[0]
            score, length = score + step.rewards[0], length + step.valid[0]
            lives += int(games.ignores_next[0] or (step.terminated[0] and not step.finished[0]))
            forced += int(not step.valid[0])
            if truncated and step.truncated[0]:
                np.testing.assert_array_equal(obs[..., -16:], step.final_obs[0])
            if step.finished[0]:
                scores.append((score, length))
                score, length = 0.0, 0
            if step.game_reset[0]:
                frames += [np.zeros_like(step.obs)] * 3
            frames.append(step.obs)
            if not games.ignores_next[0]:
                break
        assert reward == rewards and ended == (terminated or truncated)
        if ended:
            obs, _ = game.reset()
    assert lives >= 3 and scores and bool(forced) == changes.get("fire_on_life_loss", True)
    assert game.finished == scores
