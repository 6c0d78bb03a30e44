"""The env runner: what it saw, what it did and what came of it, in Rollouts that agree with the games themselves."""

import pickle

import gymnasium
import numpy as np
import pytest
import torch
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from ray.rllib.core import COMPONENT_RL_MODULE
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from cluster.plan import make_plan
from environments import threads
from environments.frames import to_blocks
from rollouts.rollout import Rollout, stack_frames
from rollouts.runner import VectorEnvRunner
from rollouts.streams import seed_streams
from runs.build import build_config

SMALL_NET = ("model.hidden=16", "model.dtype=float32")
N, T, ROLLOUTS = 4, 54, 4
LIMIT = 640  # emulator frames, 160 agent steps: some games are lost before; others are cut 2 steps before a border


# Pixels: consecutive rollouts, and the same actions played by ALE alone -----------------------------------------------


class Record:
    """Rollouts of a runner, what it saw while it played them, and what ALE says of the same actions."""

    def __init__(self, runner: VectorEnvRunner, env: dict):
        self.runner, self.seen, self.scores, self.lengths, self.last_stacks = runner, [], [], [], {}
        act = runner._act

        def remember(packed):
            self.seen.append(torch.from_numpy(runner._stack.get_observations()).clone())
            return act(packed)

        runner._act = remember
        self.rollouts = [runner.sample() for _ in range(ROLLOUTS)]
        self._play(env)

    def _play(self, env: dict) -> None:
        rules = {
            "num_envs": N,
            "num_threads": 1,
            "autoreset_mode": AutoresetMode.SAME_STEP,
            "noop_max": env["noop_max"],
            "use_fire_reset": env["fire_reset"],
            "max_num_frames_per_episode": env["max_episode_frames"],
            "reward_clipping": False,
        }
        with_stacks = AtariVectorEnv(env["game"], stack_num=4, life_loss_info=True, **rules)
        whole_games = AtariVectorEnv(env["game"], stack_num=1, life_loss_info=False, **rules)
        seed, _ = seed_streams(1, 0, 0)
        self.stacks = [self._in_blocks(with_stacks.reset(seed=seed)[0])]
        whole_games.reset(seed=seed)
        score, length = np.zeros(N), np.zeros(N, int)
        for t, actions in enumerate(np.where(self.column("valid"), self.column("actions"), 1)):  # 1 is FIRE
            obs, _, _, truncated, info = with_stacks.step(actions)
            self.stacks.append(self._in_blocks(obs))
            for n in np.flatnonzero(truncated):
                self.last_stacks[t, n] = self._in_blocks(info["final_obs"][n : n + 1])[0]
            _, rewards, game_over, truncated, _ = whole_games.step(actions)
            score, length = score + rewards, length + self.column("valid")[t]
            for n in np.flatnonzero(game_over | truncated):
                self.scores.append(score[n])
                self.lengths.append(length[n])
                score[n] = length[n] = 0

    def _in_blocks(self, stacks: np.ndarray) -> np.ndarray:
        layout, pictures = self.runner.layout, []
        for age in range(4):
            pictures.append(np.empty((len(stacks), *layout.frame_shape), np.uint8))
            to_blocks(pictures[-1], np.ascontiguousarray(stacks[:, age : age + 1]), layout)
        return np.concatenate(pictures, -1)

    def column(self, name: str) -> np.ndarray:
        """[4 T, N, ...] over all rollouts."""
        return np.concatenate([r[name][:T] for r in self.rollouts])

    def values_of(self, stacks: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return self.runner.module.compute_policy_and_value(torch.from_numpy(stacks), self.runner.module.pack())[
                1
            ].numpy()


@pytest.fixture(scope="module")
def record(compose):
    sizes = (f"algo.num_envs={N}", f"algo.horizon={T}", "algo.minibatch_size=54")
    settings = compose(["env=breakout", f"env.max_episode_frames={LIMIT}", *sizes, *SMALL_NET])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "count_threads", lambda: 1)
        runner = VectorEnvRunner(config=build_config(make_plan(settings)))
    return Record(runner, settings["env"])


def test_the_small_world_has_lost_lives_new_games_and_cut_games(record):
    lost_lives = record.column("terminated") & ~record.column("game_reset")
    lost_games = record.column("terminated") & record.column("game_reset")
    assert lost_lives.sum() > 5 and lost_games.any() and record.column("truncated").any()
    assert record.rollouts[2]["game_reset"][-3:].any()  # the next rollout begins with stacks that are partly blank


def test_the_runner_acts_on_ales_own_stacks(record):
    """Across lost lives, new games, and the borders of rollouts."""
    for i in range(ROLLOUTS):
        looks = record.seen[i * (T + 1) : (i + 1) * (T + 1)]  # the last one is for the bootstrap
        np.testing.assert_array_equal(np.stack(looks), np.stack(record.stacks[i * T : (i + 1) * T + 1]))


def test_the_learner_rebuilds_what_the_runner_acted_on(record):
    for i, rollout in enumerate(record.rollouts):
        rebuilt = stack_frames(torch.tensor(rollout["frames"]), torch.tensor(rollout["game_reset"]), 4)
        np.testing.assert_array_equal(rebuilt.numpy(), np.stack(record.stacks[i * T : (i + 1) * T]))


def test_the_next_rollout_goes_on_where_the_last_one_stopped(record):
    for first, second in zip(record.rollouts, record.rollouts[1:], strict=False):
        np.testing.assert_array_equal(first["values"][T], second["values"][0])
        going_on = ~first["game_reset"][-3:].any(0)  # elsewhere older pictures are blanked
        np.testing.assert_array_equal(first["frames"][T:, going_on], second["frames"][:4, going_on])


def test_recorded_values_are_those_of_the_network(record):
    stacks = np.stack(record.stacks[:-1])
    values = record.values_of(stacks.reshape(-1, *stacks.shape[2:])).reshape(-1, N)
    np.testing.assert_allclose(record.column("values"), values, atol=1e-5)
    np.testing.assert_allclose(record.rollouts[-1]["values"][T], record.values_of(record.stacks[-1]), atol=1e-5)
    assert values.std() > 0.01  # or the comparison says nothing


def test_recorded_logps_are_those_of_the_network(record):
    stacks = np.stack(record.stacks[:-1])
    with torch.inference_mode():
        module = record.runner.module
        policy, _ = module.compute_policy_and_value(
            torch.from_numpy(stacks.reshape(-1, *stacks.shape[2:])), module.pack()
        )
        logp = module.Policy(policy).logp(torch.from_numpy(record.column("actions").reshape(-1)))
    np.testing.assert_allclose(record.column("logp").reshape(-1), logp.numpy(), atol=1e-5)


def test_the_final_value_of_a_cut_game_is_that_of_its_last_observation(record):
    finals, cut = record.column("final_values"), record.column("truncated") & ~record.column("terminated")
    assert cut.sum() == len(record.last_stacks) > 1
    for (t, n), stack in record.last_stacks.items():
        assert finals[t, n] == pytest.approx(record.values_of(stack[None])[0], abs=1e-5)
        assert finals[t, n] != record.values_of(record.stacks[t + 1])[n]  # the next row belongs to the next game
    assert (finals[~cut] == 0).all()


def test_after_a_lost_life_a_row_of_fire_is_not_the_agents(record):
    lost = record.column("terminated") & ~record.column("game_reset")
    np.testing.assert_array_equal(~record.column("valid")[1:], lost[:-1])


@pytest.mark.parametrize("overrides", [(), ("algo=pg", "algo.episodes_per_update=4")], ids=["ppo", "pg"])
def test_what_a_forced_fire_scores_belongs_to_the_game_and_its_step_to_nobody(overrides, make_runner):
    sizes = ("algo.num_envs=4", *(() if overrides else ("algo.horizon=200", "algo.minibatch_size=54")))
    runner = make_runner("env=breakout", f"env.max_episode_frames={LIMIT}", *overrides, *sizes, *SMALL_NET)
    play, rows, games = runner.games.step, np.zeros(4), []

    def one_point_a_row(actions):
        step = play(actions)._replace(rewards=np.ones(4))
        rows[:] += 1
        for n in np.flatnonzero(step.finished):
            games.append(rows[n])
            rows[n] = 0
        return step

    runner.games.step = one_point_a_row
    rollout = runner.sample()
    assert rollout.scores and set(rollout.scores) <= set(games)
    assert not rollout["valid"].all() and sum(rollout.lengths) < sum(rollout.scores)
    assert rollout.agent_steps == rollout["valid"].sum()


def test_the_reported_score_is_the_whole_game_whatever_lives_were_lost(record):
    scores = [score for rollout in record.rollouts for score in rollout.scores]
    lengths = [length for rollout in record.rollouts for length in rollout.lengths]
    assert scores == record.scores and lengths == record.lengths
    assert len(scores) > 3 and max(scores) > 0


# Numbers: games that are known in advance, in both dialects of autoreset ----------------------------------------------


class Fifty(gymnasium.Env):
    """Every game returns 50, in 1 to 7 steps; it is lost and cut in turn. An observation is (game, step)."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (2,), np.float32)
    action_space = gymnasium.spaces.Discrete(3)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.game = 0 if seed is not None else self.game + 1
        self.step_number, self.length = 0, int(self.np_random.integers(1, 8))
        return self._obs(), {}

    def _obs(self) -> np.ndarray:
        return np.array([self.game, self.step_number], np.float32)

    def step(self, action):
        self.step_number += 1
        over, lost = self.step_number == self.length, self.game % 2 == 0
        reward = 50 - 8 * (self.length - 1) if over else 8
        return self._obs(), reward, over and lost, over and not lost, {}


def next_step_vector(num_envs: int, **kwargs) -> SyncVectorEnv:
    return SyncVectorEnv([Fifty] * num_envs, autoreset_mode=AutoresetMode.NEXT_STEP)


DIALECTS = {"SameStep-v0": None, "NextStep-v0": next_step_vector}


@pytest.fixture(params=DIALECTS)
def fifty(request):
    """Overrides for a world of Fifty, in one dialect."""
    gymnasium.register(request.param, entry_point=Fifty, vector_entry_point=DIALECTS[request.param])
    yield ("env=cartpole", f"env.id={request.param}", "model.hidden=[8]", "algo.num_envs=4", "algo.horizon=64")
    del gymnasium.registry[request.param]


def test_an_env_with_return_fifty_reports_fifty(fifty, make_runner):
    runner = make_runner(*fifty)
    rollouts = [runner.sample() for _ in range(2)]
    scores = [score for r in rollouts for score in r.scores]
    lengths = [length for r in rollouts for length in r.lengths]
    assert set(scores) == {50.0} and len(scores) > 50
    assert set(lengths) == set(range(1, 8))
    # Whole games and the four unfinished ones are all the steps there were.
    assert 0 <= sum(r.agent_steps for r in rollouts) - sum(lengths) <= 4 * 6


def test_autoreset_neither_loses_nor_invents_a_step(fifty, make_runner):
    runner = make_runner(*fifty)
    rollouts = [runner.sample() for _ in range(2)]
    obs = np.concatenate([r["obs"][:-1] for r in rollouts])
    columns = {c: np.concatenate([r[c] for r in rollouts]) for c in ("rewards", "terminated", "truncated", "valid")}
    if runner.games.same_step:
        assert columns["valid"].all()
    for n in range(4):
        rows = [
            (*obs[t, n].astype(int), *(columns[c][t, n] for c in ("rewards", "terminated", "truncated")))
            for t in range(128)
            if columns["valid"][t, n]
        ]
        game = step = 0
        for seen_game, seen_step, reward, terminated, truncated in rows:
            assert (seen_game, seen_step) == (game, step)
            step += 1
            over = terminated or truncated
            assert reward == (50 - 8 * (step - 1) if over else 8)
            assert not over or terminated == (game % 2 == 0)
            if over:
                game, step = game + 1, 0
        assert game > 10


def test_a_cut_game_is_worth_what_its_last_observation_is_worth(fifty, make_runner):
    rollout = (runner := make_runner(*fifty)).sample()
    t, n = np.nonzero(rollout["truncated"])
    last = rollout["obs"][:-1][t, n] + np.array([0, 1], np.float32)  # (game, step + 1)
    with torch.inference_mode():
        values = runner.module.compute_policy_and_value(torch.from_numpy(last), runner.module.pack())[1].numpy()
    assert len(t) > 10
    np.testing.assert_allclose(rollout["final_values"][t, n], values, atol=1e-5)
    assert (rollout["final_values"][~rollout["truncated"]] == 0).all()


def test_a_new_game_is_marked_where_its_first_observation_comes(fifty, make_runner):
    rollout = make_runner(*fifty).sample()
    np.testing.assert_array_equal(rollout["game_reset"], np.diff(rollout["obs"][..., 0], axis=0) == 1)


def test_the_policy_is_recorded_where_the_loss_asks_for_it(fifty, make_runner):
    runner = make_runner(*fifty, "algo.kl_coeff=0.2")
    rollout = runner.sample()
    policy = runner.module.Policy(torch.tensor(rollout["policy"]))
    np.testing.assert_allclose(policy.logp(torch.tensor(rollout["actions"])).numpy(), rollout["logp"], atol=1e-6)
    assert "policy" not in make_runner(*fifty).sample()


# Randomness -----------------------------------------------------------------------------------------------------------


def same(a: Rollout, b: Rollout) -> bool:
    equal = all(np.array_equal(a[name], b[name]) for name in a.arrays)
    return equal and (a.scores, a.lengths) == (b.scores, b.lengths)


@pytest.mark.parametrize(
    "overrides",
    [
        ("env=cartpole", "algo.horizon=64"),
        ("env=pendulum", "algo.horizon=32"),
        ("env=assault", "algo.horizon=16", *SMALL_NET),
    ],
    ids=["cartpole", "pendulum", "assault"],
)
def test_a_seed_repeats_its_rollouts_and_another_does_not(overrides, make_runner):
    overrides = (*overrides, "algo.num_envs=2", "algo.minibatch_size=16")
    one, again, other = (make_runner(*overrides, f"seed={seed}") for seed in (1, 1, 2))
    for _ in range(2):
        rollout = one.sample()
        assert same(rollout, again.sample())
        assert not same(rollout, other.sample())


@pytest.mark.parametrize(
    "overrides",
    [
        ("env=assault", "algo.horizon=32", *SMALL_NET),
        ("env=assault", "env.protocol=machado", "algo.horizon=32", *SMALL_NET),
        ("env=pendulum", "algo.horizon=32"),
    ],
    ids=["assault", "sticky", "pendulum"],
)
def test_envs_that_runners_share_play_what_one_runner_would(overrides, make_runner):
    one = make_runner(*overrides, "algo.num_envs=4", "algo.minibatch_size=64")
    config = one.config.copy(copy_frozen=False)
    config.num_env_runners, config.num_envs_per_env_runner = 2, 2
    shares = [VectorEnvRunner(config=config, worker_index=index) for index in (1, 2)]
    for runner in (one, *shares):
        runner.set_state(one.get_state())
        runner.start_games(agent_steps=1000)
    for _ in range(2):
        whole, halves = one.sample(), [share.sample() for share in shares]
        for name in whole.arrays:
            together = np.concatenate([half[name] for half in halves], 1)
            # Floats are computed for two rows at a time instead of four; what follows from them is the same.
            tolerance = 1e-4 if together.dtype == np.float32 else 0
            np.testing.assert_allclose(together, whole[name], tolerance, tolerance, err_msg=name)
    for share in shares:
        share.stop()


def test_workers_and_moments_have_streams_of_their_own():
    drawn = [seed_streams(seed, worker, steps) for seed in (1, 2) for worker in (0, 1, 2) for steps in (0, 1000)]
    assert len({env for env, _ in drawn}) == len({action for _, action in drawn}) == 12
    assert seed_streams(1, 2, 1000) == seed_streams(1, 2, 1000)


def test_a_run_that_continues_begins_other_games(make_runner):
    overrides = ("env=cartpole", "algo.num_envs=2", "algo.horizon=32", "algo.minibatch_size=16")
    runner = make_runner(*overrides)
    first = runner.sample()
    runner.start_games(agent_steps=64)
    continued = runner.sample()
    assert not same(first, continued)
    runner.start_games(agent_steps=64)
    assert same(continued, runner.sample())  # two that continue from one checkpoint agree
    runner.start_games(agent_steps=0)
    assert same(first, runner.sample())


def test_a_game_under_way_is_forgotten_when_games_begin_anew(fifty, make_runner):
    runner = make_runner(*fifty, "algo.horizon=3", "algo.minibatch_size=4")
    runner.sample()
    runner.start_games(agent_steps=12)
    scores = [score for _ in range(10) for score in runner.sample().scores]
    assert set(scores) == {50.0}


# Weights and runners --------------------------------------------------------------------------------------------------


def test_an_older_checkpoint_replaces_newer_weights(make_runner):
    runner = make_runner("env=cartpole", "model.hidden=[4]")
    old, new = runner.get_state(), runner.get_state()
    new[COMPONENT_RL_MODULE] = {name: w + 1 for name, w in old[COMPONENT_RL_MODULE].items()}
    runner.set_state(new | {WEIGHTS_SEQ_NO: 9})
    assert runner.sample().weights_seq_no == 9
    name = next(iter(old[COMPONENT_RL_MODULE]))
    np.testing.assert_array_equal(runner.get_state()[COMPONENT_RL_MODULE][name], new[COMPONENT_RL_MODULE][name])
    runner.set_state(old | {WEIGHTS_SEQ_NO: 3})
    np.testing.assert_array_equal(runner.get_state()[COMPONENT_RL_MODULE][name], old[COMPONENT_RL_MODULE][name])
    assert runner.sample().weights_seq_no == 3


def test_a_rollout_of_a_real_game_stays_within_its_bytes(make_runner):
    """At most 7056 (T + 4) / T + 64 bytes travel per agent step."""
    rollout = make_runner("env=assault", *SMALL_NET, "algo.horizon=32", "algo.minibatch_size=64").sample()
    limit = 7056 * (32 + 4) / 32 + 64
    assert rollout["frames"].shape == (36, 8, 21, 21, 16)
    assert rollout.num_bytes / rollout.agent_steps <= limit
    assert len(pickle.dumps(rollout)) / rollout.agent_steps <= limit
