"""DQN under RLlib's Algorithm: what is counted, learned, saved and refused."""

import re

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.dqn import DQNConfig as StockConfig
from ray.rllib.algorithms.dqn.dqn import calculate_rr_weights

import run
from cluster.plan import make_plan
from experiments.check import check_settings
from run_directory.layout import WEIGHTS
from run_directory.weights import read_weights
from runs.build import build_config
from settings.mistakes import Mistake

TINY = (
    "algo=dqn",
    "env=cartpole",
    "model.hidden=[8]",
    "algo.learning_starts=64",
    "algo.buffer_size=1000",
    "algo.epsilon_agent_steps=200",
    "algo.num_envs=2",
    "report_every=100",
)
TIMES = ("wall_time_s", "agent_steps_per_s")


class Fives(gymnasium.Env):
    """Ten steps of 5 points each: every game is worth 50."""

    observation_space = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    action_space = gymnasium.spaces.Discrete(2)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.t = 0
        return np.zeros(4, np.float32), {}

    def step(self, action):
        self.t += 1
        return np.full(4, self.t / 10, np.float32), 5.0, self.t == 10, False, {}


@pytest.fixture(autouse=True)
def fives():
    gymnasium.register("Fives-v0", entry_point=Fives)
    yield
    del gymnasium.registry["Fives-v0"]


@pytest.fixture
def make_dqn(make_algorithm, shared_ray):
    """Overrides of a tiny one -> a built DQN."""
    return lambda *overrides: make_algorithm(*TINY, *overrides)


def rows_of(algorithm, number: int) -> list[dict]:
    """Rows of progress.csv without what only the clock knows."""
    rows = [algorithm.train()["row"] for _ in range(number)]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


# Settings.


@pytest.mark.parametrize(
    ("setting", "value", "attribute", "there"),
    [
        ("minibatch_size", 48, "total_train_batch_size", 48),
        ("target_every", 77, "target_network_update_freq", 77),
        ("gamma", 0.5, "gamma", 0.5),
        ("lr", 0.125, "lr", 0.125),
        ("learning_starts", 500, "num_steps_sampled_before_learning_starts", 500),
        ("optimizer_eps", 0.25, "adam_epsilon", 0.25),
        ("max_grad_norm", 3.5, "grad_clip", 3.5),
        ("max_grad_norm", None, "grad_clip", None),
        ("double_q", True, "double_q", True),
        ("dueling", True, "dueling", True),
        ("num_envs", 6, "num_envs_per_env_runner", 6),
        ("buffer_size", 70_000, "replay_buffer_config", {"type": "EpisodeReplayBuffer", "capacity": 70_000}),
        ("epsilon_start", 0.75, "epsilon", [(0, 0.75), (200, 0.1)]),
        ("epsilon_end", 0.25, "epsilon", [(0, 1.0), (200, 0.25)]),
        ("epsilon_agent_steps", 50, "epsilon", [(0, 1.0), (50, 0.1)]),
        ("train_every", 16, "training_intensity", 2.0),
    ],
)
def test_a_setting_arrives_under_rllib_s_name(setting, value, attribute, there, compose):
    settings = compose(TINY)
    settings["algo"][setting] = value
    assert getattr(build_config(make_plan(check_settings(settings))), attribute) == there
    assert hasattr(StockConfig(), attribute)


def test_prioritized_and_n_step_arrive_too(compose):
    settings = compose(TINY)
    settings["algo"] |= {"prioritized": True, "n_step": 3}
    config = build_config(make_plan(check_settings(settings)))
    assert config.n_step == 3 and config.replay_buffer_config["type"] == "PrioritizedEpisodeReplayBuffer"
    assert (config.replay_buffer_config["alpha"], config.replay_buffer_config["beta"]) == (0.6, 0.4)


@pytest.mark.parametrize(
    ("num_envs", "train_every", "n_step"), [(1, 4, 1), (4, 4, 1), (8, 4, 1), (4, 10, 1), (3, 2, 3), (1, 4, 5)]
)
def test_a_piece_holds_whole_updates_and_one_n_step_return(num_envs, train_every, n_step, compose):
    settings = compose(TINY)
    settings["algo"] |= {"num_envs": num_envs, "train_every": train_every, "n_step": n_step, "prioritized": True}
    config = build_config(make_plan(check_settings(settings)))
    steps = config.rollout_fragment_length * num_envs
    assert steps % train_every == 0 and config.rollout_fragment_length >= n_step
    assert calculate_rr_weights(config) == [1, steps // train_every]


@pytest.mark.parametrize(
    ("overrides", "named"),
    [
        (("env=pendulum",), r"algo=dqn .*env\.id=Pendulum-v1 .*algo=ppo"),
        (("cluster.num_env_runners=1",), r"cluster\.num_env_runners=1: "),
        (("algo.minibatch_size=65",), r"algo\.minibatch_size=65 .*algo\.learning_starts=64,"),
        (("algo.learning_starts=1001",), r"algo\.learning_starts=1001 .*algo\.buffer_size=1000:"),
        (("stop.agent_steps=64",), r"algo\.learning_starts=64 .*stop\.agent_steps=64\b"),
        (("model=mlp_lstm",), r"model\.lstm_size=\d+: algo=dqn .*null"),
        (("algo.n_step=3",), r"algo\.n_step=3: .*algo\.prioritized=true"),
        (("algo.epsilon_end=1.5",), r"algo\.epsilon_end=1\.5 .* 1$"),
        (("algo.horizon=8",), "horizon"),
    ],
)
def test_what_cannot_work_is_refused_in_one_sentence(overrides, named):
    replaced = [o for o in TINY if o.partition("=")[0] not in {w.partition("=")[0] for w in overrides}]
    with pytest.raises(Mistake) as mistake:
        run.read_experiment([*replaced, *overrides])
    assert re.search(named, str(mistake.value)) and "\n" not in str(mistake.value)


# Runs.


def test_the_score_in_a_row_is_the_whole_game_s_and_unclipped(make_dqn):
    row = rows_of(make_dqn("env.id=Fives-v0", "env.clip_rewards=true"), 1)[0]
    assert row["agent_steps"] == 100
    assert row["episode_return_mean"] == 50 and row["episode_length_mean"] == 10
    assert row["episodes"] in (8, 9, 10)  # two envs of 50 steps each, less what a restart may take


@pytest.mark.end_to_end
def test_a_seed_repeats_its_rows_and_another_does_not(make_dqn):
    one, again, other = (rows_of(make_dqn(f"seed={seed}"), 2) for seed in (1, 1, 2))
    np.testing.assert_equal(one, again)
    assert one[1]["q_loss"] != other[1]["q_loss"]


def test_nothing_is_learned_before_the_buffer_holds_enough_and_then_every_so_often(make_dqn):
    algorithm = make_dqn("report_every=32", "algo.minibatch_size=8", "algo.num_envs=1")
    updates = []
    learner = algorithm.learner_group._learner
    original = learner.update
    learner.update = lambda *args, **kwargs: (
        updates.append(algorithm._count_sampled_steps()) or original(*args, **kwargs)
    )
    rows_of(algorithm, 4)
    assert updates[0] == 64 and set(np.diff(updates)) == {4}


def test_epsilon_falls_with_every_step_of_the_runner(make_dqn):
    algorithm = make_dqn()
    seen = []
    module = algorithm.env_runner.module
    original = module._forward_exploration
    module._forward_exploration = lambda batch, t: seen.append(t) or original(batch, t=t)
    rows = rows_of(algorithm, 3)
    # A step that only restarts a game is not counted, so a few share the count of the one before.
    assert seen[0] == 0 and all(0 <= b - a <= 2 for a, b in zip(seen, seen[1:], strict=False))
    assert rows[0]["epsilon"] == pytest.approx(1 - 0.9 * 98 / 200, abs=0.01)
    assert rows[2]["epsilon"] == pytest.approx(0.1)


def test_the_target_network_is_copied_every_so_many_agent_steps(make_dqn):
    algorithm = make_dqn("algo.target_every=80", "algo.lr=0.01")
    module = algorithm.learner_group._learner.module["default_policy"].unwrapped()

    def same():
        pairs = zip(module.online.parameters(), module.target.parameters(), strict=True)
        return all(torch.equal(a, b) for a, b in pairs)

    algorithm.train()
    assert not same()
    learner = algorithm.learner_group._learner
    assert 80 <= learner.last_update_ts_by_mid["default_policy"] < 90


def test_a_resumed_run_goes_on_where_it_was_and_fills_its_buffer_first(make_dqn, tmp_path):
    algorithm = make_dqn("algo.lr=0.01", "algo.num_envs=1")
    rows_of(algorithm, 2)
    algorithm.save_checkpoint(str(tmp_path))
    other = make_dqn("algo.lr=0.01", "algo.num_envs=1")
    other.load_checkpoint(str(tmp_path))
    weights = algorithm.learner_group._learner.module["default_policy"].unwrapped().state_dict()
    plain = read_weights(tmp_path)  # what evaluation plays with
    assert (tmp_path / WEIGHTS).exists() and plain.keys() == weights.keys()
    assert all(np.array_equal(plain[name], weights[name]) for name in weights)
    for name in ("learner", "runner"):
        pick = {"learner": lambda a: a.learner_group._learner.module["default_policy"].unwrapped().online}
        pick["runner"] = lambda a: a.env_runner.module.online
        for old, new in zip(pick[name](algorithm).parameters(), pick[name](other).parameters(), strict=True):
            np.testing.assert_array_equal(old.detach(), new.detach())
    assert len(other.local_replay_buffer) == 0
    updates = []
    learner = other.learner_group._learner
    original = learner.update
    learner.update = lambda *args, **kwargs: updates.append(len(other.local_replay_buffer)) or original(*args, **kwargs)
    (row,) = rows_of(other, 1)
    assert row["agent_steps"] == 300 and updates[0] == 64
    assert row["epsilon"] == pytest.approx(0.1)
    assert learner.last_update_ts_by_mid == algorithm.learner_group._learner.last_update_ts_by_mid


@pytest.mark.parametrize("where", ["weights", "rewards"])
def test_a_nan_stops_the_run_and_keeps_its_minibatch(where, make_dqn, tmp_path):
    algorithm = make_dqn()
    rows_of(algorithm, 1)
    learner = algorithm.learner_group._learner
    learner.config = learner.config.copy(copy_frozen=False)
    learner.config.run_dirs = {1: str(tmp_path)}
    if where == "weights":
        next(iter(learner.module["default_policy"].unwrapped().online.parameters())).data[0, 0] = torch.nan
    else:
        for episode in algorithm.local_replay_buffer.episodes:
            episode.rewards.data = [float("nan")] * len(episode.rewards.data)
    result = algorithm.train()
    assert result["done"] and re.search(rf"nan.* {tmp_path}", result["failure"])
    (evidence,) = tmp_path.glob("nonfinite_minibatch_*.pt")
    assert {"obs", "new_obs", "actions", "rewards"} <= torch.load(evidence, weights_only=True)["minibatch"].keys()


def test_pixels_prioritized_dueling_and_double(make_dqn):
    overrides = ("env=assault", "model=nature_cnn", "model.hidden=16", "algo.n_step=3", "algo.prioritized=true")
    algorithm = make_dqn(*overrides, "algo.dueling=true", "algo.double_q=true", "report_every=72")
    (row,) = rows_of(algorithm, 1)
    assert np.isfinite(row["q_loss"]) and row["env_frames"] == 4 * row["agent_steps"]
    obs = algorithm.local_replay_buffer.episodes[0].observations[0]
    assert obs.shape == (21, 21, 64) and obs.dtype == np.uint8
