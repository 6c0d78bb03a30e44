"""PPO with `algo.overlap`: who acts is one update old, nothing is counted that is not learned from, and it learns."""

import time

import numpy as np
import pytest
import ray
import torch
from test_learning import best_return

from settings.mistakes import Mistake

OVERLAP = ("algo.overlap=true", "cluster.num_env_runners=2", "cluster.cpus_per_runner=0.5")
# Every row of pendulum counts: no game is lost, and a cut one goes on in the same step.
SMALL = ("env=pendulum", "model.hidden=[8]", "algo.num_envs=4", "algo.horizon=16", "algo.minibatch_size=32")
SMALL = (*SMALL, "algo.lr=1e-2", "report_every=1")
TIMES = ("wall_time_s", "agent_steps_per_s", "learner_busy")

pytestmark = pytest.mark.usefixtures("shared_ray")


def remembered(algorithm) -> list[tuple[dict, list]]:
    """Of each update from now on: the weights before it, and the rollouts that it learns from."""
    learner, updates = algorithm.learner_group._learner, []
    load = learner.load

    def remember(rollouts):
        updates.append(({name: w.clone() for name, w in learner.net.state_dict().items()}, rollouts))
        return load(rollouts)

    learner.load = remember
    return updates


def rows_of(algorithm, updates: int) -> list[dict]:
    """Rows of progress.csv, one per update, without what only the clock knows."""
    rows = [algorithm.train()["row"] for _ in range(updates)]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.mark.end_to_end
def test_who_acts_has_the_weights_of_one_update_before(make_algorithm, make_learner):
    algorithm = make_algorithm(*SMALL, *OVERLAP)
    updates, rows = remembered(algorithm), rows_of(algorithm, 5)
    net = make_learner(*SMALL).net

    def distance(rollout, weights: dict) -> float:
        """Between logp as it was recorded and that of the policy with these weights."""
        net.load_state_dict(weights)
        with torch.no_grad():
            obs, actions = torch.tensor(rollout["obs"][:-1]), torch.tensor(rollout["actions"])
            policy, _ = net.compute_policy_and_value(obs.flatten(0, 1), net.pack())
            logp = net.Policy(policy).logp(actions.flatten(0, 1))
        return np.abs(logp.numpy() - rollout["logp"].reshape(-1)).max()

    for k, (weights, rollouts) in enumerate(updates):
        before = updates[max(0, k - 1)][0]
        assert len(rollouts) == 2 and all(distance(rollout, before) < 1e-5 for rollout in rollouts)
        assert k == 0 or all(distance(rollout, weights) > 1e-3 for rollout in rollouts), "nothing was learned between"
    assert [row["staleness"] for row in rows] == [0, 1, 1, 1, 1]


@pytest.mark.end_to_end
def test_without_overlap_who_acts_has_the_learners_weights_and_there_is_no_such_column(make_algorithm):
    algorithm = make_algorithm(*SMALL, *OVERLAP, "algo.overlap=false")
    updates = remembered(algorithm)
    assert all("staleness" not in row for row in rows_of(algorithm, 3))
    assert [[r.weights_seq_no for r in rollouts] for _, rollouts in updates] == [[0, 0], [1, 1], [2, 2]]


@pytest.mark.end_to_end
def test_nothing_is_counted_that_was_not_learned_from(make_algorithm):
    algorithm = make_algorithm(*SMALL, *OVERLAP, "stop.agent_steps=192")
    updates, rows = remembered(algorithm), rows_of(algorithm, 3)
    assert rows[-1]["agent_steps"] == sum(r.agent_steps for _, rollouts in updates for r in rollouts) == 192


@pytest.mark.end_to_end
def test_a_seed_repeats_its_rows(make_algorithm):
    one, again = (rows_of(make_algorithm(*SMALL, *OVERLAP), 3) for _ in range(2))
    np.testing.assert_equal(one, again)


@pytest.mark.end_to_end
@pytest.mark.parametrize("done", [False, True], ids=["playing", "played"])
def test_a_lost_runner_leaves_an_update_its_number_of_samples(done, make_algorithm):
    algorithm = make_algorithm(*SMALL, *OVERLAP, *(() if done else ("algo.horizon=2048", "algo.num_epochs=1")))
    each = 64 if done else 4 * 2048
    updates = remembered(algorithm)
    rows = rows_of(algorithm, 2)
    time.sleep(2 * done)
    ray.kill(algorithm.env_runner_group._worker_manager.actors()[1], no_restart=False)
    time.sleep(2 * done)  # what it played is gone with it
    rows += rows_of(algorithm, 3)
    assert [row["agent_steps"] for row in rows] == [each * k for k in range(1, 6)]
    assert [len(rollouts) for _, rollouts in updates] == [2] * 5
    assert [row["staleness"] for row in rows[:3]] == [0, 1, 0.5], "the other one played for it, with newer weights"


@pytest.mark.end_to_end
def test_a_checkpoint_is_gone_on_from_without_rollouts_of_before(make_algorithm, tmp_path):
    """In an algorithm that is playing ahead as in a fresh one: the checkpoint's weights, the games that follow it."""
    first, second = (make_algorithm(*SMALL, *OVERLAP) for _ in range(2))
    rows_of(first, 2)
    first.save_checkpoint(str(tmp_path))
    rows_of(first, 2)
    first.load_checkpoint(str(tmp_path))
    second.load_checkpoint(str(tmp_path))
    updates = [remembered(algorithm) for algorithm in (first, second)]
    one, other = (rows_of(algorithm, 3) for algorithm in (first, second))
    np.testing.assert_equal(one, other)
    assert [row["staleness"] for row in one] == [0, 1, 1]
    assert [row["agent_steps"] for row in one] == [192, 256, 320]
    for a, b in zip(updates[0][0][1], updates[1][0][1], strict=True):
        np.testing.assert_array_equal(a["obs"], b["obs"])


@pytest.mark.end_to_end
def test_cartpole_is_learned(compose):
    words = ("tuned_configs=cartpole_ppo", *OVERLAP, "stop.agent_steps=100_000")
    assert best_return(compose, *words, enough=300) >= 300


@pytest.mark.slow
def test_an_update_takes_as_long_as_the_slower_of_playing_and_learning(make_algorithm):
    """Both sleep, so that cores do not matter: 0.8 s to play, 0.8 s to learn."""
    game = ("env=cartpole", "env.id=benchmarks.slow_games:SlowGame-v0", "report_every=1")
    words = (*game, "model.hidden=[8]", "algo.num_envs=4", "algo.horizon=80", "algo.minibatch_size=320")

    def seconds_per_update(*more: str) -> float:
        algorithm = make_algorithm(*words, *OVERLAP, *more)
        learner = algorithm.learner_group._learner
        load = learner.load
        learner.load = lambda rollouts: time.sleep(0.8) or load(rollouts)
        rows_of(algorithm, 2)
        start = time.perf_counter()
        rows_of(algorithm, 3)
        return (time.perf_counter() - start) / 3

    both, slower = seconds_per_update("algo.overlap=false"), seconds_per_update()
    print(f"one after the other {both:.3f} s, overlapped {slower:.3f} s per update")
    assert both > 1.6
    assert slower < 0.8 * both


@pytest.mark.parametrize("words", [(), ("cluster.num_env_runners=0",)])
def test_without_env_runners_there_is_nobody_to_play(words, compose):
    with pytest.raises(Mistake, match=r"algo\.overlap=true.*cluster\.num_env_runners=0; set"):
        compose(["algo.overlap=true", *words])
