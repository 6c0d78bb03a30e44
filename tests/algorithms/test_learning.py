"""It learns: CartPole to the score that counts as solved, a cue that must be remembered, Pendulum."""

import pytest
import torch

from cluster.plan import make_plan
from runs.build import build_config

SOLVED = 475  # over 100 games; Gymnasium's threshold

pytestmark = pytest.mark.usefixtures("shared_ray")


def best_return(compose, *overrides: str, enough: float) -> float:
    """The best mean of 100 games until the run's end, or until it is enough."""
    settings = compose([*overrides])
    algorithm = build_config(make_plan(settings)).build_algo()
    torch.set_num_threads(1)  # 64 neurons
    row, means = {"agent_steps": 0}, []
    while row["agent_steps"] < settings["stop"]["agent_steps"] and max(means, default=-1e9) < enough:
        row = algorithm.train()["row"]
        if row["episodes"] >= 100:
            means.append(row["episode_return_mean"])
    algorithm.stop()
    return max(means)


@pytest.mark.parametrize(
    "config",
    [
        "cartpole_pg",
        pytest.param("cartpole_ppo", marks=pytest.mark.end_to_end),
        pytest.param("cartpole_solved_a2c", marks=pytest.mark.end_to_end),
        pytest.param("cartpole_solved_a3c", marks=pytest.mark.slow),
    ],
)
def test_cartpole_is_solved(config, compose):
    assert best_return(compose, f"tuned_configs={config}", enough=SOLVED) >= SOLVED


@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 3])
@pytest.mark.parametrize("config", ["cartpole_ppo", "cartpole_pg", "cartpole_solved_a2c", "cartpole_solved_a3c"])
def test_cartpole_is_solved_by_other_seeds_too(config, seed, compose):
    assert best_return(compose, f"tuned_configs={config}", f"seed={seed}", enough=SOLVED) >= SOLVED


FAST = ("algo.lr=3e-3", "algo.optimizer=adam", "algo.num_envs=16")
CUE = {
    "pg": (*FAST, "algo.episodes_per_update=64"),
    "a2c": (*FAST, "algo.horizon=20"),
    "a3c": (*FAST, "algo.horizon=20", "algo.num_workers=2", "algo.optimizer_eps=1e-5", "algo.max_grad_norm=0.5"),
    "ppo": (*FAST, "algo.horizon=32"),
}


@pytest.mark.parametrize("algo", ["pg", "a2c", pytest.param("a3c", marks=pytest.mark.end_to_end), "ppo"])
def test_an_lstm_remembers_a_cue(algo, compose):
    overrides = (f"algo={algo}", "env=cue", *CUE[algo], "stop.agent_steps=60_000")
    assert best_return(compose, *overrides, enough=0.95) >= 0.95


@pytest.mark.parametrize(
    "algo",
    [
        pytest.param("pg", marks=pytest.mark.end_to_end),
        pytest.param("a2c", marks=pytest.mark.end_to_end),
        pytest.param("a3c", marks=pytest.mark.slow),
        "ppo",
    ],
)
def test_without_a_memory_nobody_can(algo, compose):
    """Half of the answers are right by chance; 0.75 in 100 games would be five standard deviations above."""
    overrides = (f"algo={algo}", "env=cue", "model=mlp", *CUE[algo], "stop.agent_steps=60_000")
    assert best_return(compose, *overrides, enough=0.95) < 0.75


PENDULUM = {
    "a2c": (
        "algo.num_envs=8",
        "algo.horizon=8",
        "algo.optimizer=adam",
        "algo.lr=2e-3",
        "algo.gae_lambda=0.9",
        "algo.vf_coeff=0.4",
        "algo.normalize_advantages=true",
        "algo.max_grad_norm=null",
        "stop.agent_steps=800_000",
    ),
    "ppo": (
        "algo.num_envs=4",
        "algo.horizon=1024",
        "algo.minibatch_size=64",
        "algo.num_epochs=10",
        "algo.lr=1e-3",
        "algo.clip=0.2",
        "algo.vf_clip=null",
        "stop.agent_steps=200_000",
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1, 2, 3])
@pytest.mark.parametrize("algo", PENDULUM)
def test_pendulum_swings_up(algo, seed, compose):
    """At the end at least 500 above the first 100 games, with one continuous action."""
    overrides = (f"algo={algo}", "env=pendulum", "algo.gamma=0.9", "algo.entropy_coeff=0", *PENDULUM[algo])
    algorithm = build_config(make_plan(compose([*overrides, f"seed={seed}"]))).build_algo()
    torch.set_num_threads(1)
    row, first = {"agent_steps": 0}, None
    while row["agent_steps"] < algorithm.config.stop_settings.agent_steps:
        row = algorithm.train()["row"]
        if first is None and row["episodes"] >= 100:
            first = row["episode_return_mean"]
    algorithm.stop()
    assert first is not None and row["episode_return_mean"] >= first + 500


WORLDS = "env.id=tests.environments.own_worlds"
CATCH = (f"{WORLDS}:Catch-v0", "env.kwargs={size: 21}", "model=rllib42", "model.hidden=64", "model.dtype=float32")
FROM_PIXELS = {
    "pg": ("algo.lr=2e-3", "algo.num_envs=16", "algo.episodes_per_update=32", "stop.agent_steps=250_000"),
    "a2c": ("algo.lr=2e-3", "algo.optimizer=adam", "algo.horizon=20", "stop.agent_steps=200_000"),
    "a3c": ("algo.lr=1e-3", "algo.num_workers=4", "cluster.num_env_runners=0", "stop.agent_steps=200_000"),
    "ppo": ("algo.lr=1e-3", "algo.num_envs=16", "algo.horizon=40", "stop.agent_steps=200_000"),
}
FROM_PIXELS["a3c"] += ("algo.optimizer=adam", "algo.horizon=20", "algo.optimizer_eps=1e-5", "algo.max_grad_norm=0.5")


@pytest.mark.end_to_end
@pytest.mark.parametrize("algo", FROM_PIXELS)
def test_a_falling_ball_is_caught_from_pixels(algo, compose):
    """Random play scores -0.71 of 1 (mean of 1,000 games); 0.6 are four balls of five.

    Seeds 2 and 3 of all four come there within 24,000 to 86,000 agent steps, in half a minute of one core or less.
    """
    overrides = (f"algo={algo}", "env=gymnasium", *CATCH, *FROM_PIXELS[algo])
    assert best_return(compose, *overrides, enough=0.6) >= 0.6


OWN = {  # one environment for each kind of observation and action; what it takes, and a score that nobody has by chance
    "one-hot": (("env.id=FrozenLake-v1", "env.kwargs={is_slippery: false}"), 0.9),
    "factors": ((f"{WORLDS}:Matching-v0",), 7.0),
    "switches": ((f"{WORLDS}:Switches-v0",), 7.0),
    "dict, actions from 5": ((f"{WORLDS}:Parts-v0",), 7.0),
    "gray picture": ((f"{WORLDS}:Catch-v0", "model=minigrid_cnn"), 0.7),
    "colours, resized": ((f"{WORLDS}:Screens-v0", "env.dim=12", "model=minigrid_cnn"), 7.0),
}


FAST_KINDS = ("one-hot", "factors")
KINDS = [kind if kind in FAST_KINDS else pytest.param(kind, marks=pytest.mark.end_to_end) for kind in OWN]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_environment_is_learned(kind, compose):
    words, enough = OWN[kind]
    overrides = ("env=gymnasium", *words, *FAST, "algo.lr=1e-3", "algo.horizon=32", "stop.agent_steps=60_000")
    assert best_return(compose, *overrides, enough=enough) >= enough


@pytest.mark.end_to_end
@pytest.mark.parametrize("algo", ["pg", "a2c", "a3c"])
def test_factors_are_learned_by_every_algorithm(algo, compose):
    words = ("env=gymnasium", f"{WORLDS}:Matching-v0", *CUE[algo], "stop.agent_steps=60_000")
    assert best_return(compose, f"algo={algo}", *words, enough=6.5) >= 6.5


@pytest.mark.end_to_end
def test_dqn_learns_states_and_pictures(compose):
    small = ("algo.learning_starts=500", "algo.buffer_size=5000", "algo.train_every=4", "algo.lr=1e-3")
    small += ("algo.epsilon_agent_steps=4000", "algo.target_every=500", "stop.agent_steps=15_000")
    assert best_return(compose, "algo=dqn", "env=gymnasium", f"{WORLDS}:Parts-v0", *small, enough=6.0) >= 6.0


PICTURES = (f"{WORLDS}:Wide-v0", "env.frame_stack=3", "model=impala")


@pytest.mark.parametrize("words", [pytest.param((f"{WORLDS}:Switches-v0",), marks=pytest.mark.end_to_end), PICTURES])
def test_env_runners_in_processes_of_their_own_play_the_same_games(words, compose, machine_with):
    machine_with(cpus=4)
    overrides = ("env=gymnasium", *words, "algo.num_envs=4", "algo.horizon=16", "algo.minibatch_size=32")
    overrides += ("model.dtype=float32", "env.wrappers=[tests.environments.own_worlds:Doubled]", "report_every=64")
    rows = []
    for runners in (0, 2):
        algorithm = build_config(make_plan(compose([*overrides, f"cluster.num_env_runners={runners}"]))).build_algo()
        row = algorithm.train()["row"]
        rows.append([row[name] for name in ("agent_steps", "episodes", "episode_return_mean")])
        algorithm.stop()
    assert rows[0] == rows[1] and rows[0][1] > 0
