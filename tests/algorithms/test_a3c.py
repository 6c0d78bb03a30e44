"""A3C: gradients that are A2C's, staleness counted right, and workers that die, hang or send rubbish."""

import os
import signal
import statistics
import time
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import ray
import torch
from ray.rllib.core import DEFAULT_MODULE_ID

from algorithms import a3c
from algorithms.a2c import COLUMNS, a2c_loss, estimate_advantages
from algorithms.a3c import FORGIVE_S, MAX_DEATHS, MAX_DROPPED, A3CLearner, Gradient
from algorithms.learner import PROGRESS
from algorithms.nonfinite import NonFiniteLoss
from rollouts.rollout import RolloutData

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
    sent, about = runner.play_fragment(0, given, version=7, progress=0.25)
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


class Actor:
    """Stands for a process: remembers what it was asked, and never answers."""

    def __init__(self):
        self.play_fragment, self.asked, self.refs = self, [], []

    def remote(self, *arguments):
        self.asked.append([ray.get(a) if isinstance(a, ray.ObjectRef) else a for a in arguments])
        self.refs.append([a for a in arguments if isinstance(a, ray.ObjectRef)])
        return object()


ABOUT = {"agent_steps": 16, "scores": (), "lengths": (), "num_bytes": 0}


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize("most_inline", [0, 10**6], ids=["store", "inline"])
def test_who_is_asked_gets_the_newest_weights_and_their_version(most_inline, make_centre, monkeypatch):
    monkeypatch.setattr(a3c, "MAX_INLINE_BYTES", most_inline)
    algorithm, actors = make_centre(), {1: Actor(), 2: Actor()}
    monkeypatch.setattr(algorithm, "get_actors", lambda: actors)
    learner, taken = algorithm.learner_group._learner, Counter()
    downhill = Gradient(np.ones_like(learner.flatten_weights()), {"policy_loss": 0.0}, None)
    algorithm.request_fragments()
    for process in (1, 1, 2, 1):  # each time it answers its oldest request
        worker, _, version, _ = actors[process].asked[taken[process]]
        taken[process] += 1
        del algorithm.requests[next(ref for ref, p in algorithm.requests.items() if p == process)]
        algorithm.apply_fragment(downhill, ABOUT | {"worker": worker, "version": version})
        algorithm.request_fragments()
        worker, weights, version, progress = actors[process].asked[-1]
        assert version == algorithm.version and np.array_equal(weights, learner.flatten_weights())
        assert worker % 2 == process - 1 and progress == algorithm.compute_share_done() > 0
    assert [asked[0] for asked in actors[1].asked] == [0, 2, 0, 2, 0] and [a[0] for a in actors[2].asked] == [1, 3, 1]
    assert [asked[2] for asked in actors[1].asked] == [0, 0, 1, 2, 4] and [a[2] for a in actors[2].asked] == [0, 0, 3]
    # Applied before each: 0 at version 0 (got 0), 2 at 1 (got 0), 1 at 2 (got 0), 0 at 3 (got 1).
    assert algorithm.staleness == {0: Counter({0: 1, 2: 1}), 2: Counter({1: 1}), 1: Counter({2: 1})}
    assert not np.array_equal(actors[1].asked[0][1], actors[1].asked[-1][1])
    refs = [ref for actor in actors.values() for ref in actor.refs[:2]]  # all of version 0
    assert len(set(map(str, refs))) == 1 if most_inline == 0 else refs == [[]] * 4


@pytest.mark.usefixtures("shared_ray")
@pytest.mark.parametrize(("workers", "under_way"), [(4, [[0, 2], [1, 3]]), (3, [[0, 2], [1]]), (2, [[0], [1]])])
def test_a_process_has_two_fragments_under_way_and_a_worker_has_one(workers, under_way, make_centre, monkeypatch):
    algorithm, actors = make_centre(), {1: Actor(), 2: Actor()}
    algorithm.config.algo = replace(algorithm.config.algo, num_workers=workers)
    monkeypatch.setattr(algorithm, "get_actors", lambda: actors)
    for _ in range(2):  # the second time nothing is missing
        algorithm.request_fragments()
        assert [[asked[0] for asked in actor.asked] for actor in actors.values()] == under_way


@pytest.mark.usefixtures("shared_ray")
def test_a_process_that_starts_again_is_asked_for_one_fragment_in_new_games(make_centre, monkeypatch):
    algorithm, actors, again = make_centre(), {1: Actor(), 2: Actor()}, Actor()
    actors[1].start_games = again
    monkeypatch.setattr(algorithm, "get_actors", lambda: actors)
    algorithm.lost, algorithm.progress.agent_steps = {1: time.monotonic() - 1, 2: time.monotonic() + 100}, 77
    algorithm.request_fragments()
    assert len(actors[1].asked) == 1 and again.asked == [[77]] and not actors[2].asked


@pytest.mark.usefixtures("shared_ray")
def test_all_that_has_arrived_is_applied_before_anyone_is_asked_again(make_centre, monkeypatch):
    algorithm, actors = make_centre(), {1: Actor(), 2: Actor()}
    monkeypatch.setattr(algorithm, "get_actors", lambda: {} if algorithm.version == 0 else actors)
    nothing = Gradient(np.zeros_like(algorithm.learner_group._learner.flatten_weights()), {"policy_loss": 0.0}, None)
    answers = [(nothing, ABOUT | {"worker": worker, "version": 0}) for worker in (0, 1, 2)]
    algorithm.requests = {ray.put(answer): 1 + answer[1]["worker"] % 2 for answer in answers}
    algorithm.training_step()
    assert algorithm.version == 3 and {asked[2] for actor in actors.values() for asked in actor.asked} == {3}


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
    result = algorithm.train()
    assert {row["worker"] for row in result["workers"]} == {0, 1, 2, 3}
    assert sum(row["gradients"] for row in result["workers"]) == algorithm.version
    histograms = [pair.split(":") for row in result["workers"] for pair in row["staleness"].split()]
    counts = [(int(staleness), int(gradients)) for staleness, gradients in histograms]
    assert sum(gradients for _, gradients in counts) == algorithm.version
    assert sum(s * n for s, n in counts) / algorithm.version == pytest.approx(result["row"]["staleness"])
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
    work, foreach_learner = runner.play_fragment, group.foreach_learner
    spent = []

    def slow_centre(function):  # for weights, and to apply
        began = time.perf_counter()
        time.sleep(0.03)
        result = foreach_learner(function)
        spent.append(time.perf_counter() - began)
        return result

    runner.play_fragment = lambda *asked: time.sleep(0.09) or work(*asked)
    group.foreach_learner = slow_centre
    row = algorithm.train()["row"]
    assert row["learner_busy"] == pytest.approx(sum(spent) / row["wall_time_s"], abs=0.1) and row["learner_busy"] < 0.9


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
def test_one_copy_of_the_model_travels_each_way(make_algorithm):
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=2", "report_every=200")
    row = algorithm.train()["row"]
    size = algorithm.call_learner(A3CLearner.flatten_weights).nbytes
    assert row["bytes_per_agent_step"] * 2 * 16 == pytest.approx(2 * size, rel=0.35)  # some rows only restart a game


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
    assert asked.count("play_fragment") > 10
    assert set(asked) <= {"play_fragment", "ping"}, Counter(asked)


# Misfortunes ----------------------------------------------------------------------------------------------------------


def pids(algorithm) -> dict[int, int]:
    actors = algorithm.env_runner_group._worker_manager.actors()
    return {index: ray.get(actor.apply.remote(lambda _: os.getpid())) for index, actor in actors.items()}


def train_until(algorithm, condition, seconds: float = 60.0):
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        result = algorithm.train()
        if condition(result):
            return result
    raise AssertionError(f"not within {seconds} s: {result['row']}")


def speeds_of_others(result) -> list[float]:
    """Of the process that nobody kills."""
    return [w["agent_steps_per_s"] for w in result["workers"] if w["worker"] in (1, 3)]


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
    algorithm = make_algorithm(
        *FOUR, "cluster.num_env_runners=2", "report_every=500", "algo.worker_timeout_s=2", "stop.agent_steps=10_000_000"
    )
    algorithm.train()
    lost = pids(algorithm)[1]  # plays workers 0 and 2
    speed = statistics.median(sum(speeds_of_others(algorithm.train())) for _ in range(5))
    os.kill(lost, how)
    alone = train_until(algorithm, lambda r: {w["worker"] for w in r["workers"]} == {1, 3})
    assert sum(speeds_of_others(alone)) > speed / 3  # the machine has its moods; a wait would cost nearly all
    back = train_until(algorithm, lambda r: {w["worker"] for w in r["workers"]} == {0, 1, 2, 3})
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


@pytest.mark.end_to_end
@pytest.mark.usefixtures("shared_ray")
def test_a_process_that_always_dies_stops_the_run(make_algorithm):
    algorithm = make_algorithm(*FOUR, "cluster.num_env_runners=2")
    with pytest.raises(RuntimeError, match=rf"process 1 .* {MAX_DEATHS + 1} times.*RuntimeError: no licence"):
        for _ in range(20):
            algorithm.replace_process(1, RuntimeError("no licence"))
    (notice,) = algorithm.notices
    assert "process 1" in notice and "RuntimeError: no licence" in notice


ANSWER = (Gradient(np.zeros(1, np.float32), {"policy_loss": 0.0}, None), {"worker": 0})


@ray.remote
def sleeper():
    time.sleep(60)


@ray.remote
def failing():
    raise RuntimeError("no licence")


@pytest.fixture
def centre(make_centre, monkeypatch):
    """A centre that neither asks processes nor applies what they send nor ends them."""
    algorithm = make_centre("algo.worker_timeout_s=50")
    algorithm.accepted = []
    monkeypatch.setattr(algorithm, "get_actors", dict)
    monkeypatch.setattr(algorithm, "apply_fragment", lambda content, about: algorithm.accepted.append(about["worker"]))
    return algorithm


def test_what_a_process_failed_at_is_forgiven_once_it_answers_and_time_has_passed(shared_ray, centre, monkeypatch):
    monkeypatch.setattr(centre, "request_fragments", lambda: None)
    now = time.monotonic()
    centre.deaths[1] = [now - FORGIVE_S - 1, now - 1]
    centre.requests = {ray.put(ANSWER): 1}
    centre.training_step()
    assert centre.accepted == [0] and centre.deaths[1] == [now - 1]


def test_who_has_answered_while_the_centre_was_away_is_not_taken_for_dead(shared_ray, centre, monkeypatch):
    """Ctrl-Z, a slow disk: every request is old, and one of them is answered while the centre looks at the others."""
    replaced, silent, late, long_ago = [], sleeper.remote(), ray.put(ANSWER), time.monotonic() - 1000
    monkeypatch.setattr(centre, "request_fragments", lambda: None)
    monkeypatch.setattr(centre, "replace_process", lambda process, error: replaced.append(process))
    centre.requests, centre.heard = {ray.put(ANSWER): 1, silent: 3}, dict.fromkeys((1, 2, 3), long_ago)
    accept = centre.apply_fragment
    monkeypatch.setattr(centre, "apply_fragment", lambda *answer: (accept(*answer), centre.requests.update({late: 2})))
    centre.training_step()
    assert replaced == [3] and centre.accepted == [0] and centre.requests == {silent: 3, late: 2}
    ray.cancel(silent, force=True)


def test_a_fragment_that_waits_for_the_one_before_is_not_late(shared_ray, centre, monkeypatch):
    replaced, waits = [], sleeper.remote()
    monkeypatch.setattr(centre, "request_fragments", lambda: None)
    monkeypatch.setattr(centre, "replace_process", lambda process, error: replaced.append(process))
    centre.requests, centre.heard = {ray.put(ANSWER): 1, waits: 1}, {1: time.monotonic() - 49}
    centre.training_step()
    centre.heard[1] -= 49  # its limit is 50
    centre.training_step()
    assert centre.accepted == [0] and not replaced
    centre.heard[1] -= 2
    centre.training_step()
    assert replaced == [1]
    ray.cancel(waits, force=True)


def test_one_failure_counts_once_however_many_fragments_are_lost(shared_ray, centre, monkeypatch):
    monkeypatch.setattr(centre, "request_fragments", lambda: None)
    centre.requests = {failing.remote(): 1, failing.remote(): 1, (other := sleeper.remote()): 2}
    centre.heard = dict.fromkeys((1, 2), time.monotonic())
    monkeypatch.setattr(centre, "get_actors", lambda: {1: None})
    killed = []
    monkeypatch.setattr(ray, "kill", lambda actor, no_restart: killed.append(actor))
    ray.wait(list(centre.requests), num_returns=2)
    centre.training_step()
    assert len(centre.deaths[1]) == len(killed) == centre.num_replaced == 1 and centre.requests == {other: 2}
    ray.cancel(other, force=True)


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
    algorithm.env_runner.play_fragment = lambda *args: (spoiled(algorithm), about)
    result = algorithm.train()
    assert result["done"] and "worker 0" in result["failure"] and str(tmp_path) in result["failure"]
    assert result["row"]["dropped_gradients"] == MAX_DROPPED and result["row"]["agent_steps"] == 16 * MAX_DROPPED


def test_a_worker_says_that_its_gradient_is_not_finite(make_learner, make_rollout):
    rewards = np.ones((16, 4))
    rewards[3, 2] = np.inf
    gradient = make_learner(*ONE).compute_gradient(make_rollout(rewards=rewards), 0.0)
    assert gradient.nonfinite is not None and len(gradient.nonfinite["minibatch"]["actions"]) == 64
    assert make_learner(*ONE).compute_gradient(make_rollout(), 0.0).nonfinite is None
