"""Whole algorithms as RLlib drives them, without Tune; PPO where nothing else is said."""

import contextlib
import os
import sys
import time

import numpy as np
import pytest
import ray
from ray import cloudpickle
from ray.exceptions import RayActorError

from rollouts.runner import VectorEnvRunner
from settings.mistakes import EnvironmentFault, format_error

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # env runners cannot import tests

TIMES = ("wall_time_s", "agent_steps_per_s", "learner_busy")
CARTPOLE = ("env=cartpole", "algo.horizon=32", "report_every=1")
ASSAULT = (
    "env=assault",
    "model.hidden=32",
    "algo.num_envs=2",
    "algo.horizon=16",
    "algo.minibatch_size=16",
    "report_every=32",
)

pytestmark = pytest.mark.usefixtures("shared_ray")


def rows_of(algorithm, updates: int) -> list[dict]:
    """Rows of progress.csv without what only the clock knows."""
    rows = [algorithm.train()["row"] for _ in range(updates)]
    return [{key: value for key, value in row.items() if key not in TIMES} for row in rows]


@pytest.mark.end_to_end
@pytest.mark.parametrize("algo", ["pg", "a2c", "a3c", "ppo", pytest.param("dqn", marks=pytest.mark.slow)])
def test_a_learner_in_a_process_of_its_own_learns_the_same(algo, make_algorithm):
    words = [f"algo={algo}", "env=cartpole", "model.hidden=[8]", "report_every=500"]
    words += {"a3c": ["algo.num_workers=0"], "dqn": ["algo.learning_starts=100"]}.get(algo, [])
    here, there = (rows_of(make_algorithm(*words, f"cluster.num_learners={n}"), 2) for n in (0, 1))
    assert here[1]["grad_norm"] > 0
    np.testing.assert_equal(here, there)


@pytest.mark.parametrize(
    "overrides",
    [pytest.param(CARTPOLE, id="cartpole"), pytest.param(ASSAULT, id="assault", marks=pytest.mark.end_to_end)],
)
def test_a_seed_repeats_its_rows_and_another_does_not(overrides, make_algorithm):
    one, again, other = (rows_of(make_algorithm(*overrides, f"seed={seed}"), 2) for seed in (1, 1, 2))
    np.testing.assert_equal(one, again)
    assert one[1]["policy_loss"] != other[1]["policy_loss"]


@pytest.mark.end_to_end
def test_a_row_says_what_share_of_the_time_the_learner_learned(make_algorithm):
    algorithm = make_algorithm(*ASSAULT)
    update, runner = algorithm.learner_group.update, algorithm.env_runner
    spent = []

    def slow_update(**kwargs):
        began = time.perf_counter()
        time.sleep(0.6)
        result = update(**kwargs)
        spent.append(time.perf_counter() - began)
        return result

    algorithm.learner_group.update = slow_update
    runner.sample = lambda sample=runner.sample: time.sleep(0.3) or sample()
    before, of_row = algorithm.train()["row"], 1.0
    for _ in range(20):
        row = algorithm.train()["row"]
        of_row, before = spent[-1] / (row["wall_time_s"] - before["wall_time_s"]), row
        if of_row < 0.9:  # two thirds, unless the machine stalls in the update
            break
    assert row["learner_busy"] == pytest.approx(of_row, abs=0.05) and of_row < 0.9


def test_a_row_has_what_the_design_promises(make_algorithm):
    first, second = rows_of(make_algorithm(*ASSAULT), 2)
    assert (first["agent_steps"], second["agent_steps"]) == (32, 64)
    assert second["env_frames"] == 4 * 64
    promised = {"episodes", "episode_return_mean", "policy_loss", "value_loss", "entropy", "approx_kl"}
    promised |= {"clip_fraction", "grad_norm", "lr", "explained_variance"}
    assert promised <= first.keys()


def test_schedules_follow_the_share_of_the_run_that_is_done(make_algorithm):
    overrides = (*ASSAULT, "stop.agent_steps=128", "algo.lr=1e-3")
    rates = [row["lr"] for row in rows_of(make_algorithm(*overrides), 4)]
    assert rates == pytest.approx([1e-3, 0.75e-3, 0.5e-3, 0.25e-3])  # the share before each update


def test_runners_act_with_the_weights_that_were_just_learned(make_algorithm):
    algorithm = make_algorithm(*CARTPOLE)
    algorithm.train()
    runner, learner = algorithm.env_runner, algorithm.learner_group._learner
    for acting, learned in zip(runner.module.parameters(), learner.net.parameters(), strict=True):
        np.testing.assert_array_equal(acting.detach().numpy(), learned.detach().numpy())
    assert runner.sample().weights_seq_no == 1


@pytest.mark.end_to_end
def test_a_remote_runner_sends_each_picture_once(make_algorithm):
    """At most 7056 (T + 4) / T + 64 bytes per agent step."""
    overrides = ("env=assault", "env.fire_on_life_loss=false", "model.hidden=32", "algo.num_envs=2", "algo.horizon=64")
    more = ("algo.minibatch_size=64", "cluster.num_env_runners=1", "report_every=128")
    algorithm = make_algorithm(*overrides, *more)
    rows = rows_of(algorithm, 2)
    assert rows[1]["agent_steps"] == 256
    assert 7056 < rows[1]["bytes_per_agent_step"] <= 7056 * (64 + 4) / 64 + 64
    seq_no = algorithm.env_runner_group.foreach_env_runner(lambda r: r.sample().weights_seq_no, local_env_runner=False)
    assert seq_no == [2]


@pytest.mark.end_to_end
@pytest.mark.parametrize("algo", ["a2c", "ppo"])
def test_how_many_processes_play_does_not_change_the_run(algo, make_algorithm):
    """The same games, actions and minibatches, up to the rounding of smaller batches: in fp32 nothing of it is seen."""
    words = [f"algo={algo}", "env=assault", "model.hidden=32", "model.dtype=float32", "algo.num_envs=4"]
    words += ["algo.horizon=16", "report_every=64", "cluster.cpus_per_runner=0.5"]
    words += ["algo.minibatch_size=32"] * (algo == "ppo")
    one, two = (rows_of(make_algorithm(*words, f"cluster.num_env_runners={n}"), 3) for n in (0, 2))
    for here, there in zip(one, two, strict=True):
        assert here["grad_norm"] > 0
        same = {name: value for name, value in here.items() if name != "bytes_per_agent_step"}
        assert {name: there[name] for name in same} == pytest.approx(same, rel=1e-3, abs=1e-4, nan_ok=True)


class Unable(VectorEnvRunner):
    """An env runner that cannot start, if it is one of those."""

    unable = (1, 2)

    def make_module(self) -> None:
        if self.worker_index in self.unable:
            raise RuntimeError(f"env runner {self.worker_index} finds no GPU")
        super().make_module()


class FirstUnable(Unable):
    """Only the first one."""

    unable = (1,)


@pytest.mark.end_to_end
@pytest.mark.parametrize("runner", [Unable, FirstUnable])
def test_an_env_runner_that_cannot_start_stops_the_run_and_says_why(runner, make_config):
    """RLlib would go on with the others, or say IndexError."""
    config = make_config(*CARTPOLE, "cluster.num_env_runners=2", "cluster.cpus_per_runner=0.5", env_runner_cls=runner)
    with pytest.raises(RayActorError) as failed:
        config.build_algo()
    assert format_error(failed.value) == "RuntimeError: env runner 1 finds no GPU"


@pytest.mark.end_to_end
def test_an_env_runner_that_takes_the_place_of_a_lost_one_plays_other_games(make_algorithm):
    algorithm = make_algorithm(*CARTPOLE, "cluster.num_env_runners=1")
    actor = algorithm.env_runner_group._worker_manager.actors()[1]
    look = actor.apply.remote
    lost, first = ray.get(look(lambda runner: (os.getpid(), runner._stack.frames)))
    ray.kill(actor, no_restart=False)
    process = lost
    while process == lost:  # a kill takes a moment; what is asked meanwhile may still be answered
        with contextlib.suppress(RayActorError):
            process, again = ray.get(look(lambda runner: (os.getpid(), runner._stack.frames)))
    assert again.shape == first.shape and not np.allclose(again, first)


def test_a_training_process_that_does_not_see_the_run_directory_says_so(make_config, tmp_path):
    """It would write its checkpoints where nobody looks."""
    config = make_config("algo=ppo", "env=cartpole")
    config.run_dirs = {config.seed: str(tmp_path / "run")}
    with pytest.raises(FileNotFoundError, match=f"node .* does not see {tmp_path}/run: output_dir is not shared"):
        config.build_algo()
    (tmp_path / "run").mkdir()
    config.build_algo().stop()


FAULTY = "env.id=tests.runs.broken_env:{}-v0"
FEW = {"pg": ["algo.episodes_per_update=4"], "a3c": ["algo.num_workers=1"], "dqn": ["algo.learning_starts=9999"]}


@pytest.mark.end_to_end
@pytest.mark.parametrize("algo", ["pg", "a2c", "a3c", "ppo", "dqn"])
def test_a_number_that_is_none_ends_a_run_and_names_the_environment(algo, make_algorithm):
    world = FAULTY.format("NanObservation" if algo in ("a2c", "dqn") else "NanReward")
    words = [f"algo={algo}", "env=cartpole", world, "algo.num_envs=4", *FEW.get(algo, [])]
    algorithm = make_algorithm(*words, *["cluster.num_env_runners=1"] * (algo != "dqn"), "report_every=500")
    for _ in range(5):
        if "failure" in (result := algorithm.train()):
            break
    assert result["done"] and world in result["failure"]


@pytest.mark.end_to_end
@pytest.mark.parametrize("algo", ["ppo", "a3c", "dqn"])
def test_what_an_environment_raises_in_another_process_is_raised_here_and_names_it(algo, make_algorithm):
    """RLlib would start the env runner again without end, or raise an error that says nothing."""
    words = [f"algo={algo}", "env=cartpole", FAULTY.format("Broken"), "algo.num_envs=4", *FEW.get(algo, [])]
    algorithm = make_algorithm(*words, *["cluster.num_env_runners=1"] * (algo != "dqn"), "report_every=5000")
    with pytest.raises(EnvironmentFault, match=f"{FAULTY.format('Broken')}: .*ValueError: .*licence"):
        algorithm.train()
