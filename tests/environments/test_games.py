"""Games: one contract for ALE's vector env and for Gymnasium's two dialects."""

import subprocess
import sys
from pathlib import Path

import ale_py
import gymnasium
import numpy as np
import pytest
import torch
from ale_py import Action, roms
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from gymnasium.wrappers import AtariPreprocessing

from environments.frames import to_blocks
from environments.games import NOT_OPENED, AtariGames, is_game, make_games, near_games
from rollouts.rollout import stack_frames
from settings.mistakes import EnvironmentFault, NonFiniteValue
from settings.protocols import PROTOCOLS, describe_protocol

ROOT = Path(__file__).resolve().parents[2]
N = 4
FIRE = 1  # its place among the actions of Breakout and Assault


def atari(game: str, **changes) -> dict:
    env = {"game": game, "frameskip": 4, "frame_stack": 4, "dim": 84, "grayscale": True, **PROTOCOLS["classic"]}
    return env | changes


def ale(env: dict, **changes) -> AtariVectorEnv:
    """ALE's own vector env under the same rules, with its own stacks."""
    settings = {
        "num_envs": N,
        "num_threads": 1,
        "autoreset_mode": AutoresetMode.SAME_STEP,
        "img_height": env["dim"],
        "img_width": env["dim"],
        "grayscale": env["grayscale"],
        "stack_num": env["frame_stack"],
        "repeat_action_probability": env["sticky"],
        "full_action_space": env["full_action_space"],
        "noop_max": env["noop_max"],
        "use_fire_reset": env["fire_reset"],
        "max_num_frames_per_episode": env["max_episode_frames"],
        "life_loss_info": env["life_loss"],
        "reward_clipping": False,
    }
    return AtariVectorEnv(env["game"], **settings | changes)


def in_blocks(games: AtariGames, stacks: np.ndarray) -> np.ndarray:
    """ALE's stacks [N, 4, dim, dim, ...] as the suite's [N, h, w, 4 d]."""
    pictures = []
    for age in range(stacks.shape[1]):
        pictures.append(np.empty((len(stacks), *games.layout.frame_shape), np.uint8))
        to_blocks(pictures[-1], np.ascontiguousarray(stacks[:, age : age + 1]), games.layout)
    return np.concatenate(pictures, -1)


@pytest.mark.parametrize(
    ("env", "steps"),
    [
        (atari("breakout", max_episode_frames=500), 350),
        (atari("assault", max_episode_frames=600), 350),
        (atari("breakout", grayscale=False, dim=42, max_episode_frames=300, frame_stack=3), 150),
        (atari("assault") | PROTOCOLS["machado"] | {"max_episode_frames": 300}, 100),
    ],
    ids=["breakout", "assault", "rgb", "machado"],
)
def test_atari_games_are_ales_own_with_stacks_put_together_later(env, steps):
    games, reference = AtariGames(env, N, 1), ale(env)
    first, ale_first = games.reset(3), reference.reset(seed=3)[0]
    stack, rng = games.layout.stack, np.random.default_rng(0)
    frames = np.zeros((steps + stack, *first.shape), np.uint8)
    frames[stack - 1] = first
    resets, expected = np.zeros((steps, N), bool), [ale_first]
    terminated, truncated, lost_a_life = 0, 0, np.zeros(N, bool)
    for t in range(steps):
        actions = rng.integers(0, games.action_space.n, N)
        step = games.step(actions)
        obs, rewards, ale_terminated, ale_truncated, info = reference.step(np.where(step.valid, actions, FIRE))
        frames[t + stack], resets[t] = step.obs, step.game_reset
        expected.append(obs)
        np.testing.assert_array_equal(step.rewards, rewards)
        np.testing.assert_array_equal(step.terminated, ale_terminated)
        np.testing.assert_array_equal(step.truncated, ale_truncated)
        np.testing.assert_array_equal(step.valid, ~(lost_a_life & env["fire_on_life_loss"]))
        lost_a_life = step.terminated & ~step.finished
        if step.truncated.any():
            last = in_blocks(games, info["final_obs"])[..., -games.layout.frame_shape[-1] :]
            np.testing.assert_array_equal(step.final_obs[step.truncated], last[step.truncated])
        terminated, truncated = terminated + step.terminated.sum(), truncated + step.truncated.sum()
    stacks = stack_frames(torch.from_numpy(frames), torch.from_numpy(resets), stack).numpy()
    for t in range(steps):
        np.testing.assert_array_equal(stacks[t], in_blocks(games, expected[t]), str(t))
    assert truncated and (terminated or not env["life_loss"])
    games.close()


@pytest.mark.parametrize(
    ("game", "changes"),
    [
        ("assault", {}),
        ("breakout", {"dim": 42}),
        ("breakout", {"frameskip": 1}),  # no maximum
        ("space_invaders", {"frameskip": 3}),  # as in Mnih et al. 2013, because its shots blink
        ("pong", {"grayscale": False}),
    ],
)
def test_pictures_and_rewards_are_those_of_gymnasium_s_wrapper(game, changes):
    """gymnasium's AtariPreprocessing is Python around one emulator, with OpenCV: other code than ALE's vector env."""
    plain = {"noop_max": 0, "fire_reset": False, "fire_on_life_loss": False, "life_loss": False}
    env = atari(game, **plain | changes)
    games, rng = AtariGames(env, 1, 1), np.random.default_rng(1)
    emulator = ale_py.AtariEnv(game, frameskip=1, repeat_action_probability=0.0)
    sizes = {"frame_skip": env["frameskip"], "screen_size": env["dim"], "grayscale_obs": env["grayscale"]}
    theirs = AtariPreprocessing(emulator, noop_max=0, **sizes)
    ours, picture, seen, total = games.reset(1)[0], theirs.reset(seed=1)[0], [], 0.0
    for _ in range(800 // env["frameskip"]):
        np.testing.assert_array_equal(games.layout.to_pixels(ours).reshape(picture.shape), picture)
        action = int(rng.integers(games.action_space.n))
        step, (picture, reward, terminated, _, _) = games.step(np.array([action])), theirs.step(action)
        if terminated or step.finished[0]:
            break
        assert step.rewards[0] == reward
        ours, total = step.obs[0], total + float(reward)
        seen.append(picture)
    games.close()
    assert len(seen) > 100 and len({one.tobytes() for one in seen}) > 50 and total != 0


@pytest.mark.parametrize("game", ["breakout", "assault"])
def test_a_lost_life_ends_the_training_episode_and_not_the_game(game):
    env = atari(game, max_episode_frames=800)
    games, whole_games = AtariGames(env, N, 1), ale(env, life_loss_info=False, stack_num=1)
    games.reset(1)
    whole_games.reset(seed=1)
    rng, lives_lost = np.random.default_rng(1), 0
    for _ in range(300):
        actions = rng.integers(0, games.action_space.n, N)
        step = games.step(actions)
        _, _, game_over, truncated, _ = whole_games.step(np.where(step.valid, actions, FIRE))
        np.testing.assert_array_equal(step.finished, game_over | truncated)
        np.testing.assert_array_equal(step.game_reset, step.finished)
        lives_lost += (step.terminated & ~step.finished).sum()
    assert lives_lost


def lives_lost_by_doing_nothing(**changes) -> tuple[int, list[bool]]:
    """Lives lost in 800 no-ops of Breakout, and which rows were valid."""
    games, lost, valid = AtariGames(atari("breakout", **changes), 1, 1), 0, []
    games.reset(0)
    lives = games._lives
    for _ in range(800):
        step = games.step(np.zeros(1, np.int64))
        lost += int(games._lives[0] != lives[0])
        lives = games._lives
        valid.append(bool(step.valid[0]))
    games.close()
    return lost, valid


@pytest.mark.parametrize("life_loss", [True, False])
def test_fire_is_pressed_after_a_lost_life_where_the_protocol_says_so(life_loss):
    """Without it nothing happens after the first life: a Breakout agent that never fires plays 27,000 steps a game."""
    lost, valid = lives_lost_by_doing_nothing(life_loss=life_loss)
    assert lost > 15 and 15 < valid.count(False) < lost  # a lost game begins anew, with FIRE of its own
    assert all(valid[i + 1] for i, each in enumerate(valid[:-1]) if not each), "one step of FIRE, no more"
    lost, valid = lives_lost_by_doing_nothing(life_loss=life_loss, fire_on_life_loss=False)
    assert lost == 0 and all(valid)


def test_settings_of_earlier_versions_play_without_fire_after_a_lost_life():
    env = atari("breakout")
    del env["fire_on_life_loss"]
    games = AtariGames(env, 1, 1)
    games.reset(0)
    assert all(games.step(np.zeros(1, np.int64)).valid.all() for _ in range(100))
    assert describe_protocol(env | {"protocol": "classic"}) == "classic, fire_on_life_loss False"
    assert describe_protocol(env | PROTOCOLS["machado"] | {"protocol": "machado"}) == "machado"


@pytest.mark.parametrize("game", ["ms_pacman", "freeway"])
def test_a_game_without_fire_among_its_actions_plays_what_the_agent_chose(game):
    games = AtariGames(atari(game), 2, 1)
    games.reset(0)
    assert all(games.step(np.zeros(2, np.int64)).valid.all() for _ in range(400))


def test_the_forced_fire_of_a_game_is_where_its_actions_have_it():
    games = AtariGames(atari("backgammon"), 1, 1)
    assert games._env.ale.get_action_set()[games._fire] == Action.FIRE


def test_games_that_begin_anew_owe_no_fire():
    games = AtariGames(atari("breakout"), 1, 1)
    games.reset(0)
    while not games.ignores_next[0]:
        games.step(np.zeros(1, np.int64))
    games.reset(None)
    assert games.step(np.zeros(1, np.int64)).valid.all()


@pytest.mark.parametrize("limit", [4, 8, 12, 16])
def test_a_game_cut_short_is_finished_however_short_it_was(limit):
    """ALE's frame counter starts at the no-ops, so a new game may begin where the old one would have gone on."""
    games = AtariGames(atari("breakout", max_episode_frames=limit), N, 1)
    games.reset(0)
    for _ in range(20):
        step = games.step(np.zeros(N, np.int64))
        np.testing.assert_array_equal(step.finished, step.truncated)


@pytest.mark.parametrize(("game", "fewest"), [("ms_pacman", 0), ("breakout", 1)])
def test_a_game_starts_after_fewer_no_ops_than_noop_max(game, fewest):
    """0 to 4 of 5, as 0 to 29 of 30 where the literature has 1 to 30; a press of FIRE counts as one of them."""
    games, frames = AtariGames(atari(game, noop_max=5), 6, 1), set()
    games.reset(1)
    for _ in range(4):
        games.reset(None)
        frames |= set(games._frame_number.tolist())
    assert frames == set(range(fewest, 5))


def test_env_i_is_seeded_with_seed_plus_i():
    env = atari("assault", noop_max=30)
    games, alone = AtariGames(env, 3, 1), AtariGames(env, 1, 1)
    many = games.reset(5)
    for i in range(3):
        np.testing.assert_array_equal(many[i], alone.reset(5 + i)[0])


def test_rewards_are_raw():
    games, rewards = AtariGames(atari("assault"), N, 1), set()
    games.reset(0)
    rng = np.random.default_rng(0)
    for _ in range(150):
        rewards |= set(games.step(rng.integers(0, games.action_space.n, N)).rewards.tolist())
    assert rewards == {0, 21}


def test_a_machado_game_offers_all_eighteen_actions():
    assert AtariGames(atari("assault") | PROTOCOLS["machado"], 1, 1).action_space.n == 18
    assert AtariGames(atari("assault"), 1, 1).action_space.n == 7


def test_the_space_of_a_game_is_that_of_its_stacks():
    games = AtariGames(atari("assault"), 1, 1)
    assert games.observation_space == gymnasium.spaces.Box(0, 255, (21, 21, 64), np.uint8)


def test_cartpole_restarts_in_a_row_that_is_not_valid():
    games = make_games({"id": "CartPole-v1"}, N, 1)
    assert not games.same_step
    obs, restarting, invalid = games.reset(0), np.zeros(N, bool), 0
    for _ in range(60):
        step = games.step(np.ones(N, np.int64))  # always to the right: it falls within ten steps
        np.testing.assert_array_equal(step.valid, ~restarting)
        np.testing.assert_array_equal(step.game_reset, restarting)
        assert (np.abs(step.obs[restarting]) <= 0.05).all()  # a new game
        np.testing.assert_array_equal(step.rewards, step.valid)  # 1 each: the row of a restart scores nothing
        np.testing.assert_array_equal(step.finished, step.terminated)
        assert not step.finished[restarting].any()
        assert step.final_obs is None
        fallen = np.abs(step.obs[:, 2]) > 0.2095
        np.testing.assert_array_equal(step.terminated, fallen)  # obs is still the old game's
        obs, restarting, invalid = step.obs, step.finished, invalid + restarting.sum()
    assert invalid > 10 and obs.shape == (N, 4)


def test_pendulum_is_cut_after_200_steps_and_hands_over_its_last_observation():
    games = make_games({"id": "Pendulum-v1"}, 2, 1)
    assert games.same_step
    alone = [gymnasium.make("Pendulum-v1") for _ in range(2)]
    games.reset(7)
    for i, env in enumerate(alone):
        env.reset(seed=7 + i)
    rng = np.random.default_rng(0)
    for t in range(200):
        actions = rng.uniform(-2, 2, (2, 1)).astype(np.float32)
        step = games.step(actions)
        last = np.stack([env.step(action)[0] for env, action in zip(alone, actions, strict=True)])
        assert step.valid.all() and not step.terminated.any()
        assert step.truncated.all() == step.finished.all() == step.game_reset.all() == (t == 199)
        if t < 199:
            np.testing.assert_array_equal(step.obs, last)
            assert step.final_obs is None
    np.testing.assert_array_equal(step.final_obs, last)
    assert (np.abs(step.obs - last).max(1) > 0.01).all()  # obs is the next game's


class Echo(gymnasium.Env):
    """Shows the action it was given. Game i is cut after i + 1 steps."""

    observation_space = gymnasium.spaces.Box(-9, 9, (2,), np.float32)
    action_space = gymnasium.spaces.Box(np.array([-1, -2], np.float32), np.array([1, 0.5], np.float32))

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.left = self.left if seed is None else seed + 1
        return np.zeros(2, np.float32), {}

    def step(self, action):
        self.left -= 1
        return action, 0.0, False, self.left == 0, {}


@pytest.fixture
def echo():
    gymnasium.register("Echo-v0", entry_point=Echo)
    yield {"id": "Echo-v0"}
    del gymnasium.registry["Echo-v0"]


def test_actions_are_clipped_to_their_box(echo):
    games = make_games(echo, 1, 1)
    games.reset(5)
    np.testing.assert_array_equal(games.step(np.array([[3, -3]], np.float32)).obs, [[1, -2]])
    np.testing.assert_array_equal(games.step(np.array([[-3, 3]], np.float32)).obs, [[-1, 0.5]])
    np.testing.assert_array_equal(games.step(np.array([[0.25, -1]], np.float32)).obs, [[0.25, -1]])


def test_last_observations_come_for_the_games_that_were_cut_while_others_go_on(echo):
    games = make_games(echo, 3, 1)
    games.reset(0)
    games.step(np.zeros((3, 2), np.float32))
    step = games.step(np.full((3, 2), 0.5, np.float32))  # the second game's second step is its last
    np.testing.assert_array_equal(step.truncated, [False, True, False])
    np.testing.assert_array_equal(step.final_obs[1], [0.5, 0.5])
    np.testing.assert_array_equal(step.obs[1], [0, 0])
    np.testing.assert_array_equal(step.obs[2], [0.5, 0.5])


@pytest.mark.slow
def test_every_game_that_is_not_refused_opens_and_plays_to_the_limit():
    """One that cannot be opened ends the process inside of ALE; here that is a child's."""
    names = sorted(set(roms.get_all_rom_ids()) - set(NOT_OPENED))
    code = """
import sys
import numpy as np
from environments.games import make_games
from settings.protocols import PROTOCOLS
rules = PROTOCOLS["classic"] | {"max_episode_frames": 80}
for name in sys.argv[1:]:
    env = {"game": name, "frameskip": 4, "frame_stack": 4, "dim": 84, "grayscale": True, **rules}
    games = make_games(env, 1, 1)
    games.reset(1)
    ended = [games.step(np.array([t % games.action_space.n])).finished[0] for t in range(25)]
    games.close()
    print(name, any(ended), flush=True)
"""
    done = subprocess.run([sys.executable, "-c", code, *names], capture_output=True, text=True, cwd=ROOT)
    assert done.stdout.split() == [word for name in names for word in (name, "True")], done.stderr[-500:]


def test_a_mistyped_game_has_near_ones():
    assert is_game("ms_pacman") and not is_game("asault")
    assert near_games("asault")[0] == "assault"


WORLD = "tests.runs.broken_env:{}-v0"
FAULTS = {
    "Broken": (EnvironmentFault, "step raised ValueError: .*licence"),
    "Exits": (EnvironmentFault, "step raised SystemExit: .*licence"),
    "Interrupts": (EnvironmentFault, "step raised KeyboardInterrupt: .*licence"),
    "NanReward": (NonFiniteValue, "reward .* nan"),
    "InfiniteReward": (NonFiniteValue, r"reward .* 1e\+300"),
    "NanObservation": (NonFiniteValue, "observation .* nan"),
    "NanFirst": (NonFiniteValue, r"observation .*step 0\b.* nan"),
    "Unstartable": (EnvironmentFault, "reset raised ValueError: .*licence"),
}


@pytest.mark.parametrize("world", FAULTS)
def test_what_an_environment_raises_and_numbers_that_are_none_name_it(world):
    kind, words = FAULTS[world]
    games = make_games({"id": WORLD.format(world)}, 2, 1)
    with pytest.raises(EnvironmentFault, match=f"env.id={WORLD.format(world)}: .*{words}") as told:
        games.reset(1)
        for _ in range(300):
            games.step(np.zeros(2, np.int64))
    assert type(told.value) is kind


def test_ctrl_c_while_an_environment_plays_is_no_fault_of_it():
    games = make_games({"id": WORLD.format("Signalled")}, 2, 1)
    games.reset(1)
    with pytest.raises(KeyboardInterrupt):
        for _ in range(300):
            games.step(np.zeros(2, np.int64))
