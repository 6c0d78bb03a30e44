"""A3C: gradients that are A2C's, staleness counted right, and workers that die, hang or send rubbish."""

import os
import signal
import time
from collections import Counter
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from algorithms import suite_algorithm
from algorithms.a2c import COLUMNS, a2c_loss, estimate_advantages
from algorithms.a3c import MAX_DROPPED, A3CLearner, Gradient, list_groups, split_envs
from algorithms.learner import PROGRESS
from algorithms.nonfinite import NonFiniteLoss
from rollouts.rollout import RolloutData
from rollouts.shared_memory import SharedVectors
from settings.mistakes import Mistake

SAME = ("env=cartpole", "model.hidden=[8]", "algo.horizon=16", "algo.optimizer_eps=1e-5", "algo.max_grad_norm=0.5")
ONE = ("algo=a3c", *SAME, "algo.num_workers=0", "algo.num_envs=4")
FOUR = ("algo=a3c", *SAME, "algo.num_workers=4", "algo.num_envs=8")
A2C = ("algo=a2c", *SAME, "algo.num_envs=4")
LSTM = ("model=mlp_lstm", "model.lstm_size=6")


def weights(learner) -> torch.Tensor:
    return torch.from_numpy(learner.flatten_weights().copy())


# Gradients ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("model", [(), LSTM], ids=["mlp", "lstm"])
def test_a_workers_gradient_is_the_learners(model, make_runner, make_learner):
    """What a worker sends is what autograd says of A2C's loss at the weights it was given."""
    runner, learner = make_runner(*ONE, *model, "algo.max_grad_norm=null"), make_learner(*ONE, *model)
    given = learner.flatten_weights() + 0.1
    ((sent, about),) = runner.play_fragments(0, given, version=7, progress=0.25)
    assert about["version"] == 7 and about["worker"] == 0 and about["agent_steps"] > 0
    learner.set_flat_weights(given)
    again = make_runner(*ONE, *model)
    again.learner.set_flat_weights(given)
    rollout = again.workers[0].sample()
    algo, batch = learner.algo, learner.load([rollout])
    batch |= estimate_advantages(batch, algo.gamma, algo.gae_lambda, clip_rewards=False)
    policy, values, rows = learner.forward(learner.select_rows(batch, COLUMNS))
    loss, _ = a2c_loss(policy, values, rows, algo.vf_coeff, algo.entropy_coeff)
    expected = torch.cat([g.flatten() for g in torch.autograd.grad(loss, learner.parameters)])
    torch.testing.assert_close(torch.from_numpy(sent.vector), expected, rtol=1e-4, atol=1e-6)
    assert sent.nonfinite is None and sent.terms["entropy"] > 0


def test_gradient_and_step_in_two_places_are_a2cs_update(make_learner, make_rollout):
    a2c, worker, centre = make_learner(*A2C), make_learner(*ONE), make_learner(*ONE)
    for seed, progress in ((1, 0.0), (2, 0.3), (3, 0.6)):
        a2c.update(training_data=RolloutData([make_rollout(seed)]), timesteps={PROGRESS: progress})
        worker.set_flat_weights(centre.flatten_weights())
        centre.apply_gradient(worker.compute_gradient(make_rollout(seed), progress), progress)
        assert all(map(torch.equal, a2c.net.parameters(), centre.net.parameters()))
    assert centre.get_optimizer(DEFAULT_MODULE_ID).param_groups[0]["lr"] == pytest.approx(7e-4 * 0.4)


@pytest.mark.usefixtures("shared_ray")
def test_with_one_worker_it_is_a2c(make_algorithm):
    """Not only the update: the games, the order and the rows."""
    a2c, a3c = make_algorithm(*A2C, "report_every=64"), make_algorithm(*ONE, "report_every=64")
    for _ in range(3):
        rows = [algorithm.train()["row"] for algorithm in (a2c, a3c)]
        for name in ("agent_steps", "episodes", "policy_loss", "value_loss", "entropy", "grad_norm", "lr"):
            assert rows[0][name] == rows[1][name], name
    learners = [algorithm.learner_group._learner for algorithm in (a2c, a3c)]
    assert all(map(torch.equal, *(learner.net.parameters() for learner in learners)))
    assert rows[1]["staleness"] == 0


def test_gradients_are_clipped_where_they_are_computed(make_learner, make_rollout):
    rollout = make_rollout(rewards=100 * np.ones((16, 4)))
    free, held = make_learner(*ONE, "algo.max_grad_norm=null"), make_learner(*ONE)
    (long, _, _), (short, terms, _) = free.compute_gradient(rollout, 0.0), held.compute_gradient(rollout, 0.0)
    assert np.linalg.norm(short) == pytest.approx(0.5, rel=1e-4) and np.linalg.norm(long) > 1
    assert terms["grad_norm"] == pytest.approx(np.linalg.norm(long), rel=1e-4)


# Arrivals -------------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("shared_ray")
def test_staleness_is_what_was_applied_since_the_worker_got_its_weights(make_algorithm):
    """Three workers start together; 0 sends twice before 2 sends once, and 1 comes last."""
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=0")
    learner = algorithm.learner_group._learner
    nothing = Gradient(np.zeros_like(learner.flatten_weights()), {"policy_loss": 0.0}, None)
    got = dict.fromkeys((0, 1, 2), algorithm.version)
    for worker in (0, 0, 2, 1, 2):
        about = {"worker": worker, "version": got[worker], "agent_steps": 16, "scores": (), "lengths": ()}
        algorithm.apply_fragment(nothing, about | {"num_bytes": 0})
        got[worker] = algorithm.version
    # Applied before each: 0 at version 0 (got 0), 0 at 1 (got 1), 2 at 2 (got 0), 1 at 3 (got 0), 2 at 4 (got 3).
    assert algorithm.staleness == {0: Counter({0: 2}), 2: Counter({2: 1, 1: 1}), 1: Counter({3: 1})}
    assert algorithm.version == 5


@pytest.fixture
def make_centre(make_algorithm):
    """Overrides -> the centre of an A3C with two processes that a test invents: none is started."""

    def make(*overrides: str):
        algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=0", *overrides)
        algorithm.config = algorithm.config.copy(copy_frozen=False)
        algorithm.config.num_env_runners = 2
        return algorithm

    return make


ABOUT = {"agent_steps": 16, "scores": (), "lengths": (), "num_bytes": 0}


class Actor:
    """Stands for a process: remembers what it was asked, and what the weights were then."""

    def __init__(self, algorithm):
        self.play_fragments, self.algorithm, self.asked, self.weights, self.answered = self, algorithm, [], [], 0

    def remote(self, first, weights, version, progress, place=None):
        self.asked.append({"first": first, "version": version, "progress": progress, "sent": weights})
        self.weights.append((self.algorithm.shared.rows[first] if weights is None else ray.get(weights)).copy())
        return object()


@pytest.fixture
def make_actors(make_centre, monkeypatch):
    """Overrides -> a centre and its two processes, which are Actors."""

    def make(*overrides: str):
        algorithm = make_centre(*overrides)
        actors = {process: Actor(algorithm) for process in (1, 2)}
        monkeypatch.setattr(algorithm, "get_actors", lambda: actors)
        return algorithm, actors

    return make


def answer(algorithm, process: int, gradients: dict[int, np.ndarray], shares_memory: bool) -> None:
    """Let the centre take the gradients of the group that a process was asked for first, the way the weights came."""
    actor, under_way = algorithm.get_actors()[process], algorithm.requests.under_way
    asked, actor.answered = actor.asked[actor.answered], actor.answered + 1
    oldest = next(request for request, other in under_way.items() if other == process)
    answers = []
    for worker, gradient in gradients.items():
        if asked["sent"] is None:
            algorithm.shared.rows[worker] = gradient
        content = Gradient(None if asked["sent"] is None else gradient, {"policy_loss": 0.0}, None)
        about = ABOUT | {"worker": worker, "version": asked["version"], "shares_memory": shares_memory}
        answers.append((content, about))
    algorithm.requests.take_answers = lambda: [(answers, under_way.pop(oldest))]
    algorithm.training_step()


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("shares_memory", [False, True])
def test_who_is_asked_gets_the_newest_weights_and_their_version(shares_memory, make_actors, make_learner):
    """Through Ray and through shared memory: what is sent, what comes back, and what is counted."""
    algorithm, actors = make_actors("algo.workers_together=1")
    learner, reference = algorithm.learner_group._learner, make_learner(*FOUR)
    reference.set_flat_weights(learner.flatten_weights())
    algorithm.request_fragments()
    for number, (process, worker) in enumerate([(1, 0), (1, 2), (2, 1), (1, 0), (2, 3), (2, 1)]):
        gradient = np.random.default_rng(number).normal(size=len(learner.flatten_weights())).astype(np.float32)
        reference.apply_gradient(Gradient(gradient, {}, None), algorithm.compute_share_done())
        answer(algorithm, process, {worker: gradient}, shares_memory)
        newest, weights = actors[process].asked[-1], actors[process].weights[-1]
        assert np.array_equal(weights, learner.flatten_weights()) and newest["version"] == algorithm.version
        assert newest["progress"] == algorithm.compute_share_done() > 0
        assert (newest["sent"] is None) == shares_memory
    assert np.array_equal(learner.flatten_weights(), reference.flatten_weights())
    assert [asked["first"] for asked in actors[1].asked] == [0, 2, 0, 2, 0]
    assert [asked["first"] for asked in actors[2].asked] == [1, 3, 1, 3, 1]
    assert [asked["version"] for asked in actors[1].asked] == [0, 0, 1, 2, 4]
    assert [asked["version"] for asked in actors[2].asked] == [0, 0, 3, 5, 6]
    # Applied before each: 0 at version 0 (got 0), 2 at 1 (0), 1 at 2 (0), 0 at 3 (1), 3 at 4 (0), 1 at 5 (3).
    expected = {0: Counter({0: 1, 2: 1}), 2: Counter({1: 1}), 1: Counter({2: 2}), 3: Counter({4: 1})}
    assert algorithm.staleness == expected


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("shares_memory", [False, True])
def test_the_gradients_of_a_group_are_applied_one_by_one(shares_memory, make_actors, make_learner):
    """Each takes a step of its own, with its own staleness: the sum of both would be another step."""
    algorithm, actors = make_actors("algo.workers_together=2")
    learner, reference = algorithm.learner_group._learner, make_learner(*FOUR)
    reference.set_flat_weights(learner.flatten_weights())
    algorithm.request_fragments()
    generator, size = np.random.default_rng(0), len(learner.flatten_weights())
    for process, group in ((1, (0, 2)), (2, (1, 3)), (1, (0, 2))):
        gradients = {worker: generator.normal(size=size).astype(np.float32) for worker in group}
        for number, gradient in enumerate(gradients.values()):
            progress = (algorithm.progress.agent_steps + 16 * number) / algorithm.config.stop_settings.agent_steps
            reference.apply_gradient(Gradient(gradient, {}, None), progress)
        answer(algorithm, process, gradients, shares_memory)
    assert np.array_equal(learner.flatten_weights(), reference.flatten_weights())
    assert [asked["version"] for asked in actors[1].asked] == [0, 2, 6]
    # 0 and 2 at versions 0 and 1 (got 0), 1 and 3 at 2 and 3 (got 0), 0 and 2 at 4 and 5 (got 2).
    staleness = {worker: sorted(counts.elements()) for worker, counts in algorithm.staleness.items()}
    assert staleness == {0: [0, 2], 2: [1, 3], 1: [2], 3: [3]}


@pytest.mark.usefixtures("shared_ray")
def test_one_version_of_the_weights_is_stored_once(make_actors):
    algorithm, actors = make_actors("algo.workers_together=1")
    algorithm.request_fragments()
    sent = [asked["sent"] for actor in actors.values() for asked in actor.asked]
    assert len(sent) == 4 and len(set(sent)) == 1


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize(
    ("workers", "together", "under_way"),
    [
        (4, 1, [[0, 2], [1, 3]]),
        (3, 1, [[0, 2], [1]]),
        (2, 1, [[0], [1]]),
        (4, 2, [[0], [1]]),
        (16, 4, [[0, 8], [1, 9]]),
        (16, 3, [[0, 6], [1, 7]]),
    ],
)
def test_a_process_has_two_groups_under_way_and_a_worker_has_one_fragment(workers, together, under_way, make_actors):
    algorithm, actors = make_actors()
    algorithm.config.algo = replace(algorithm.config.algo, num_workers=workers, workers_together=together)
    for _ in range(2):  # the second time nothing is missing
        algorithm.request_fragments()
        assert [[asked["first"] for asked in actor.asked] for actor in actors.values()] == under_way


def test_every_worker_is_in_one_group_and_in_the_training_process_alone(make_config):
    config = make_config(
        "algo=a3c", *SAME, "algo.num_workers=16", "algo.workers_together=3", "cluster.num_env_runners=2"
    )
    groups = [[list(group) for group in list_groups(process, config)] for process in (1, 2)]
    assert groups == [[[0, 2, 4], [6, 8, 10], [12, 14]], [[1, 3, 5], [7, 9, 11], [13, 15]]]
    config.num_env_runners = 0
    assert [list(group) for group in list_groups(0, config)] == [[worker] for worker in range(16)]


def test_what_a_group_has_played_is_shared_out_by_envs(make_rollout):
    whole = make_rollout(envs=6)
    whole.scores, whole.lengths = (3.0, 5.0), (3, 5)
    parts = split_envs(whole, 3)
    for name, column in whole.arrays.items():
        assert np.array_equal(np.concatenate([part[name] for part in parts], axis=1), column)
    assert [part.scores for part in parts] == [(3.0, 5.0), (), ()] and parts[0].lengths == (3, 5)
    assert sum(part.agent_steps for part in parts) == whole.agent_steps == 16 * 6


@pytest.mark.usefixtures("shared_ray")
def test_a_process_that_starts_again_plays_new_games_and_shares_no_memory_until_it_has_answered(make_actors):
    algorithm, actors = make_actors("algo.workers_together=1")
    told, actors[1].start_games = [], SimpleNamespace(remote=lambda agent_steps: told.append(agent_steps))
    algorithm.sharing, algorithm.progress.agent_steps = {1, 2}, 77
    algorithm.requests.lost = {1: time.monotonic() - 1}
    algorithm.request_fragments()
    assert told == [77] and len(actors[1].asked) == 1 and actors[1].asked[0]["sent"] is not None
    assert [asked["sent"] for asked in actors[2].asked] == [None, None] and algorithm.sharing == {2}


@pytest.mark.usefixtures("shared_ray")
def test_a_gradient_of_weights_that_a_checkpoint_has_replaced_is_not_applied(make_actors, tmp_path):
    algorithm, actors = make_actors("algo.workers_together=1")
    algorithm.save_checkpoint(str(tmp_path))
    algorithm.request_fragments()
    assert [len(actor.asked) for actor in actors.values()] == [2, 2]
    algorithm.load_checkpoint(str(tmp_path))
    assert not algorithm.requests.under_way
    algorithm.request_fragments()
    assert [len(actor.asked) for actor in actors.values()] == [4, 4]


@pytest.mark.usefixtures("shared_ray")
def test_a_training_is_not_restored_from_damaged_state_though_its_weights_are_whole(make_actors, tmp_path):
    algorithm, _ = make_actors("algo.workers_together=1")
    algorithm.save_checkpoint(str(tmp_path))
    (tmp_path / "algorithm_state.pkl").write_bytes(b"")
    with pytest.raises(Mistake, match=r"algorithm_state\.pkl"):
        algorithm.load_checkpoint(str(tmp_path))


@pytest.mark.parametrize("ship", ["gradients", "experience"])
def test_a_group_answers_alike_through_shared_memory_and_each_worker_for_its_own_envs(ship, make_runner):
    words = (*FOUR, "algo.workers_together=2", f"algo.ship={ship}", "cluster.num_env_runners=2")
    runners = [make_runner(*words) for _ in range(2)]
    given = runners[0].learner.flatten_weights() + 0.1
    shared = SharedVectors(4, len(given))
    first = next(iter(runners[0].groups))
    others = list(runners[0].groups[first])
    for runner in runners:  # both open it, and have played a fragment then
        for _, about in runner.play_fragments(first, given, 6, 0.0, shared.place):
            assert about["shares_memory"] == (shared.place is not None)
    if shared.place is None:
        return
    shared.rows[first] = given
    through_ray = runners[0].play_fragments(first, given, 7, 0.25)
    through_memory = runners[1].play_fragments(first, None, 7, 0.25)
    for worker, (sent, about), (left, same) in zip(others, through_ray, through_memory, strict=True):
        assert about == same and about["worker"] == worker and about["version"] == 7
        if ship == "gradients":
            assert left.vector is None and np.array_equal(shared.rows[worker], sent.vector) and left.terms == sent.terms
        else:
            assert sent["actions"].shape == (16, 2)
            assert all(np.array_equal(sent[name], left[name]) for name in sent.arrays)
    assert not np.array_equal(*(shared.rows[worker] for worker in others)) or ship == "experience"
    assert not shared.rows[[worker for worker in range(4) if worker not in others]].any()


@pytest.mark.usefixtures("shared_ray")
def test_experience_is_learned_from_at_the_centres_own_weights(make_algorithm, make_learner, make_rollout):
    algorithm, reference = make_algorithm(*ONE, "algo.ship=experience"), make_learner(*ONE)
    centre, rollout = algorithm.learner_group._learner, make_rollout()
    centre.set_flat_weights(centre.flatten_weights() + 0.1)  # newer than those the worker had
    reference.set_flat_weights(centre.flatten_weights())
    about = {"worker": 0, "version": 0, "agent_steps": 64, "scores": (), "lengths": (), "num_bytes": 0}
    algorithm.apply_fragment(rollout, about)
    reference.apply_gradient(reference.compute_gradient(rollout, 0.0), 0.0)
    assert np.array_equal(centre.flatten_weights(), reference.flatten_weights())


@pytest.mark.usefixtures("shared_ray")
def test_one_process_plays_its_workers_in_turn(make_algorithm):
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=0", "report_every=500")
    result = algorithm.train()
    workers = {row["worker"]: row for row in result["workers"]}
    assert set(workers) == {0, 1, 2, 3}
    turns = [row["gradients"] for row in workers.values()]
    assert max(turns) - min(turns) <= 1
    assert [row["staleness"] for row in workers.values()] == [f"0:{turn}" for turn in turns]
    speed = sum(row["agent_steps_per_s"] for row in workers.values())
    assert speed == pytest.approx(result["row"]["agent_steps_per_s"], rel=0.01)
    assert len({id(w.games) for w in algorithm.env_runner.workers.values()}) == 4
    firsts = [worker.sample()["obs"][0] for worker in algorithm.env_runner.workers.values()]
    assert not np.array_equal(firsts[0], firsts[1])


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("ship", ["gradients", pytest.param("experience", marks=pytest.mark.end_to_end)])
def test_workers_in_processes_of_their_own(ship, make_algorithm):
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=2", f"algo.ship={ship}", "report_every=1000")
    before = weights(algorithm.learner_group._learner)
    versions = [0]  # gradients applied before each row

    def is_of_all(result) -> bool:
        versions.append(algorithm.version)
        return list_workers(result) == [0, 1, 2, 3]

    result = train_until(algorithm, is_of_all)  # a process may begin late, or be away for a while
    num_gradients = versions[-1] - versions[-2]
    assert sum(row["gradients"] for row in result["workers"]) == num_gradients
    histograms = [pair.split(":") for row in result["workers"] for pair in row["staleness"].split()]
    counts = [(int(staleness), int(gradients)) for staleness, gradients in histograms]
    assert sum(gradients for _, gradients in counts) == num_gradients
    assert sum(s * n for s, n in counts) / num_gradients == pytest.approx(result["row"]["staleness"])
    assert 0 < result["row"]["staleness_max"] == max(s for s, _ in counts)
    assert result["row"]["dropped_gradients"] == result["row"]["replaced_workers"] == 0
    assert result["row"]["lr"] > 0 and result["row"]["entropy"] > 0
    assert not torch.equal(before, weights(algorithm.learner_group._learner))


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
def test_one_worker_may_have_a_process_of_its_own(make_algorithm):
    result = make_algorithm(*ONE, "cluster.num_env_runners=1", "report_every=200").train()
    (worker,) = result["workers"]
    assert worker["worker"] == 0 and worker["gradients"] > 0 and result["row"]["staleness"] == 0


def test_a_row_says_what_share_of_the_time_the_centre_was_busy(make_algorithm):
    algorithm = make_algorithm(*ONE, "report_every=500")
    runner, group = algorithm.env_runner, algorithm.learner_group
    work, foreach_learner = runner.play_fragments, group.foreach_learner
    spent = []

    def slow_centre(function):  # for weights, and to apply
        began = time.perf_counter()
        time.sleep(0.03)
        result = foreach_learner(function)
        spent.append(time.perf_counter() - began)
        return result

    runner.play_fragments = lambda *asked: time.sleep(0.09) or work(*asked)
    group.foreach_learner = slow_centre
    row = algorithm.train()["row"]
    assert row["learner_busy"] == pytest.approx(sum(spent) / row["wall_time_s"], abs=0.1)


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
def test_one_copy_of_the_model_travels_to_a_group_and_one_back_from_each_worker(make_algorithm):
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=2", "report_every=200")
    row = algorithm.train()["row"]
    size = algorithm.call_learner(A3CLearner.flatten_weights).nbytes
    assert row["bytes_per_agent_step"] * 2 * 16 == pytest.approx(1.5 * size, rel=0.35)  # some rows only restart a game


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
def test_nothing_but_requests_goes_to_the_processes_and_nothing_but_answers_comes(make_algorithm, monkeypatch):
    """RLlib could send weights and states of its own accord: everything that a process is asked is looked at."""
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=2", "report_every=200")
    asked = []
    submit = ray.actor.ActorMethod._remote

    def counted(method, *args, **kwargs):
        asked.append(method._method_name)
        return submit(method, *args, **kwargs)

    monkeypatch.setattr(ray.actor.ActorMethod, "_remote", counted)
    for _ in range(3):
        algorithm.train()
    assert asked.count("play_fragments") > 10
    assert set(asked) <= {"play_fragments", "ping"}, Counter(asked)


# Misfortunes ----------------------------------------------------------------------------------------------------------


def pids(algorithm) -> dict[int, int]:
    actors = algorithm.env_runner_group._worker_manager.actors()
    return {index: ray.get(actor.apply.remote(lambda _: os.getpid())) for index, actor in actors.items()}


def answers(algorithm, index: int) -> bool:
    try:
        return bool(ray.get(algorithm.env_runner_group._worker_manager.actors()[index].ping.remote(), timeout=1))
    except ray.exceptions.RayError:  # a timeout is one
        return False


def list_workers(result) -> list[int]:
    return sorted(w["worker"] for w in result["workers"])


def train_until(algorithm, condition, seconds: float = 300.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = algorithm.train()
        if condition(result):
            return result
    raise AssertionError(f"not within {seconds} s: {result['row']}")


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize(
    "how",
    [
        pytest.param(signal.SIGKILL, id="killed"),
        pytest.param(signal.SIGSTOP, id="hung", marks=pytest.mark.slow),
    ],
)
def test_a_lost_process_is_replaced_and_the_others_go_on(how, make_algorithm):
    silence = 30 if how == signal.SIGSTOP else 1000  # a busy machine may let a process that lives wait for some seconds
    words = ("cluster.num_env_runners=2", "report_every=500", f"algo.worker_timeout_s={silence}")
    algorithm = make_algorithm(*FOUR, *words, "stop.agent_steps=10_000_000")
    algorithm.train()
    lost = pids(algorithm)[1]  # plays workers 0 and 2
    os.kill(lost, how)
    known = int(how == signal.SIGKILL)  # a killed process is known at once, one that hangs after its silence
    train_until(algorithm, lambda r: list_workers(r) == [1, 3] and r["row"]["replaced_workers"] == known)
    assert not answers(algorithm, 1), "they waited for the new process"
    back = train_until(algorithm, lambda r: list_workers(r) == [0, 1, 2, 3])
    assert back["row"]["replaced_workers"] >= 1
    assert pids(algorithm)[1] != lost


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
def test_the_centre_may_be_in_another_process_and_its_death_is_an_error(make_algorithm):
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=1", "cluster.num_learners=1", "report_every=500")
    assert algorithm.train()["row"]["agent_steps"] >= 500
    centre = algorithm.call_learner(lambda learner: os.getpid())
    assert centre != os.getpid() and centre not in pids(algorithm).values()
    os.kill(centre, signal.SIGKILL)
    with pytest.raises(ray.exceptions.RayActorError):
        algorithm.call_learner(A3CLearner.flatten_weights)


def spoiled(algorithm) -> Gradient:
    size = len(algorithm.call_learner(A3CLearner.flatten_weights))
    return Gradient(
        np.full(size, np.nan, np.float32), {"policy_loss": np.nan}, {"minibatch": {"rewards": torch.tensor([np.nan])}}
    )


@pytest.mark.usefixtures("shared_ray")
def test_a_gradient_that_is_not_finite_is_dropped_and_counted_and_many_stop_the_run(make_algorithm, tmp_path):
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=0")
    learner = algorithm.learner_group._learner
    learner.config.run_dirs[1] = str(tmp_path)
    about = {"version": 0, "agent_steps": 16, "scores": (), "lengths": (), "num_bytes": 0}
    fine = Gradient(np.zeros_like(learner.flatten_weights()), {"policy_loss": 0.0}, None)
    before = weights(learner)
    for _ in range(MAX_DROPPED - 1):
        algorithm.apply_fragment(spoiled(algorithm), about | {"worker": 0})
        algorithm.apply_fragment(fine, about | {"worker": 1})  # the others' are no excuse
    algorithm.apply_fragment(fine, about | {"worker": 0})
    for _ in range(MAX_DROPPED - 1):
        algorithm.apply_fragment(spoiled(algorithm), about | {"worker": 0})
        algorithm.apply_fragment(fine, about | {"worker": 1})
    assert torch.equal(before, weights(learner)) and algorithm.num_dropped == 2 * (MAX_DROPPED - 1)
    with pytest.raises(NonFiniteLoss, match=f"worker 0 .*{tmp_path}"):
        algorithm.apply_fragment(spoiled(algorithm), about | {"worker": 0})
    (left,) = tmp_path.glob("nonfinite_minibatch_*.pt")
    assert torch.load(left)["minibatch"]["rewards"].isnan().all()


@pytest.mark.usefixtures("shared_ray")
def test_a_worker_that_sends_nothing_else_ends_the_run_with_a_sentence(make_algorithm, tmp_path):
    algorithm = make_algorithm(*ONE)
    algorithm.learner_group._learner.config.run_dirs[1] = str(tmp_path)
    about = {"worker": 0, "version": 0, "agent_steps": 16, "scores": (), "lengths": (), "num_bytes": 0}
    algorithm.env_runner.play_fragments = lambda *args: [(spoiled(algorithm), about)]
    result = algorithm.train()
    assert result["done"] and "worker 0" in result["failure"] and str(tmp_path) in result["failure"]
    assert result["row"]["dropped_gradients"] == MAX_DROPPED and result["row"]["agent_steps"] == 16 * MAX_DROPPED


def test_a_worker_says_that_its_gradient_is_not_finite(make_learner, make_rollout):
    rewards = np.ones((16, 4))
    rewards[3, 2] = np.inf
    gradient = make_learner(*ONE).compute_gradient(make_rollout(rewards=rewards), 0.0)
    assert gradient.nonfinite is not None and len(gradient.nonfinite["minibatch"]["actions"]) == 64
    assert make_learner(*ONE).compute_gradient(make_rollout(), 0.0).nonfinite is None


@pytest.mark.usefixtures("shared_ray")
def test_what_other_processes_complain_of_is_told_beside_the_requests_notices(make_algorithm, monkeypatch):
    monkeypatch.setattr(suite_algorithm, "COMPLAINTS", complaints := [])
    algorithm = make_algorithm(*ONE)
    algorithm.log_update([ABOUT | {"complaints": ["acting runs slowly"]}], [{"policy_loss": 0.0}])
    algorithm.log_update([ABOUT], [{"policy_loss": 0.0, "complaints": ["acting runs slowly", "learning, too"]}])
    assert complaints == ["acting runs slowly", "learning, too"]
    assert algorithm.terms == [{"policy_loss": 0.0}] * 2, "what is averaged are numbers"
    algorithm.requests.notices.append("process 1 was replaced")
    assert algorithm.train()["notices"] == ["acting runs slowly", "learning, too", "process 1 was replaced"]
