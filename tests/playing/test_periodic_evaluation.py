"""The queue of evaluations: each is played once, whoever is killed, and training does not wait for it."""

import errno
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml
from ray.exceptions import ActorDiedError, RayTaskError

from evidence.evaluate import evaluate
from evidence.statistics import t_interval
from playing import periodic_evaluation
from playing.evaluations import Evaluation, read_evaluations, write_evaluations
from playing.evaluator import WAY, Evaluator, compute_interval
from playing.periodic_evaluation import (
    MOST_DEATHS,
    MOST_WAITING,
    PeriodicEvaluation,
)
from run_directory.milestones import list_weights_to_evaluate, write_milestone

EPISODES = 4


class SlowEvaluators:
    """Ray and its evaluators, which play when a test says so."""

    def __init__(self):
        self.asked: list[Path] = []  # weights, in the order in which they were to be played
        self.answers: dict[int, Evaluation | Exception] = {}  # number of the request -> answer
        self.started = 0

    def remote(self, *arguments):
        return self if arguments == (Evaluator,) else Handle(self)

    def options(self, **options):
        assert options["num_cpus"] == 0
        self.started += 1
        return self

    def ask(self, run: Path, weights: Path) -> int:
        self.asked.append(weights)
        return len(self.asked) - 1

    def answer(self, answer: Exception | float) -> None:
        """Answer the last request: with a mean score, or by failing."""
        steps = int(self.asked[-1].name.removeprefix("evaluate_"))
        found = answer if isinstance(answer, Exception) else Evaluation(steps, WAY, 4, answer, 0.0, 1.0, 0, 0.1)
        self.answers[len(self.asked) - 1] = found

    def wait(self, refs, timeout):
        return [ref for ref in refs if ref in self.answers], []

    def get(self, ref):
        if isinstance(found := self.answers[ref], Exception):
            raise found
        return found

    def kill(self, actor):
        pass


class Handle:
    """An actor: `handle.play.remote(run, weights)`."""

    def __init__(self, evaluators: SlowEvaluators):
        self.play = self
        self.remote = evaluators.ask


@pytest.fixture
def evaluators(monkeypatch):
    """Evaluators in the place of Ray's actors."""
    made = SlowEvaluators()
    monkeypatch.setattr(periodic_evaluation, "ray", made)
    return made


@pytest.fixture
def said():
    """What the queue has shown and said."""
    return []


@pytest.fixture
def queue_of(evaluators, said):
    """A run directory -> the queue of its evaluations."""
    return lambda run: PeriodicEvaluation({}, {run: "seed 1"}, lambda *words: said.append(words), said.append)


LATEST = {"agent_steps": "5000"}  # cells of progress.csv, without an evaluation


def save_weights(run: Path, agent_steps: int) -> Path:
    """Weights that wait for their evaluation."""
    name = f"evaluate_{agent_steps}"
    write_milestone(run, name, {"w": np.zeros(3, np.float32)}, {"agent_steps": agent_steps})
    return run / "checkpoints" / name


def steps_of(run: Path) -> list[int]:
    return [one.agent_steps for one in read_evaluations(run)]


def died() -> ActorDiedError:
    return ActorDiedError()


@pytest.mark.parametrize("shown", [True, False])
def test_tensorboard_gets_evaluations_only_where_it_is_a_logger_of_the_run(shown, evaluators, tmp_path):
    save_weights(tmp_path, 1000)
    queue = PeriodicEvaluation({}, {tmp_path: "seed 1"}, lambda *_: None, lambda *_: None, tensorboard=shown)
    queue.collect(tmp_path)
    evaluators.answer(20.0)
    queue.poll()
    queue.drop_beyond(tmp_path, 500)
    assert (tmp_path / "tensorboard").exists() == shown and (tmp_path / "evaluations.csv").exists()


def test_weights_play_one_after_the_other_and_are_removed_once_their_row_is_written(
    queue_of, evaluators, said, tmp_path
):
    first, second = save_weights(tmp_path, 1000), save_weights(tmp_path, 2000)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    queue.collect(tmp_path)
    assert evaluators.asked == [first] and queue.make_new_columns(tmp_path, LATEST) == {} and said == []
    evaluators.answer(20.0)
    queue.poll()
    assert evaluators.asked == [first, second] and evaluators.started == 1
    assert steps_of(tmp_path) == [1000] and first.exists(), "no row of progress.csv has it yet"
    queue.collect(tmp_path)
    assert not first.exists() and second.exists()
    assert queue.make_new_columns(tmp_path, LATEST)["evaluation_agent_steps"] == 1000
    ((name, text),) = said
    assert name == "seed 1" and "1,000 agent steps: 20.0" in text
    evaluators.answer(30.0)
    queue.collect(tmp_path)
    assert steps_of(tmp_path) == [1000, 2000] and len(evaluators.asked) == 2 and queue.count_left() == 0


def test_the_newest_evaluation_is_for_the_next_row_until_a_row_has_it_whoever_was_killed_between(
    queue_of, evaluators, tmp_path
):
    """A run may be killed before the row comes, or go on from a checkpoint before the row that came."""
    for steps in (1000, 2000):
        save_weights(tmp_path, steps)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    for mean in (10.0, 20.0):
        evaluators.answer(mean)
        queue.poll()
    first = {"evaluation_agent_steps": "1000"}
    with_none = {"agent_steps": "2000"}
    with_first, with_both = with_none | first, {"agent_steps": "2200", "evaluation_agent_steps": "2000"}
    continued = queue_of(tmp_path)
    for one in (queue, continued):
        assert one.make_new_columns(tmp_path, with_none)["evaluation_agent_steps"] == 2000
        assert one.make_new_columns(tmp_path, with_first)["evaluation_mean"] == 20.0
        assert one.make_new_columns(tmp_path, with_both) == {}
        assert one.make_new_columns(tmp_path, {"agent_steps": "1500"} | first) == {}, "it comes before the weights"
        one.drop_beyond(tmp_path, 1900)
        assert one.make_new_columns(tmp_path, with_first) == one.make_new_columns(tmp_path, with_both) == {}
        assert one.make_new_columns(tmp_path, with_none)["evaluation_agent_steps"] == 1000


def test_an_evaluation_that_cannot_be_written_is_played_again(queue_of, evaluators, tmp_path, monkeypatch):
    """Otherwise its weights are taken for played, and removed."""
    weights = save_weights(tmp_path, 1000)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    evaluators.answer(20.0)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as disk:
        disk.setattr(periodic_evaluation, "write_evaluations", full)
        with pytest.raises(OSError, match="No space"):
            queue.poll()
    queue.collect(tmp_path)
    assert weights.exists() and evaluators.asked == [weights, weights]
    evaluators.answer(25.0)
    queue.poll()
    queue.remove_played(tmp_path)
    assert [one.mean for one in read_evaluations(tmp_path)] == [25.0] and not weights.exists()


def test_an_evaluator_that_was_killed_is_replaced_and_plays_the_same_weights(queue_of, evaluators, said, tmp_path):
    first = save_weights(tmp_path, 1000)
    save_weights(tmp_path, 2000)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    evaluators.answer(died())
    queue.poll()
    assert evaluators.asked == [first, first] and evaluators.started == 2 and steps_of(tmp_path) == []
    evaluators.answer(20.0)
    queue.poll()
    assert steps_of(tmp_path) == [1000] and len(said) == 1


def test_weights_that_kill_every_evaluator_are_left_for_the_next_start_and_the_others_play(
    queue_of, evaluators, said, tmp_path
):
    first, second = save_weights(tmp_path, 1000), save_weights(tmp_path, 2000)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    for _ in range(MOST_DEATHS):
        assert said == []
        evaluators.answer(died())
        queue.poll()
    (sentence,) = said
    assert "seed 1" in sentence and "1,000 agent steps" in sentence
    queue.collect(tmp_path)
    assert evaluators.asked == [*[first] * MOST_DEATHS, second] and first.exists()

    evaluators.answer(30.0)
    queue.poll()
    again = queue_of(tmp_path)  # the run is continued
    again.collect(tmp_path)
    assert evaluators.asked[-1] == first
    evaluators.answer(20.0)
    again.poll()
    assert steps_of(tmp_path) == [1000, 2000], "the row of later weights is kept"


def test_new_weights_of_the_same_name_have_all_their_tries(queue_of, evaluators, said, tmp_path):
    shutil.move(save_weights(tmp_path, 1000), tmp_path / "elsewhere")  # kept, so that its inode is not given again
    first = tmp_path / "checkpoints" / "evaluate_1000"
    shutil.move(tmp_path / "elsewhere", first)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    for _ in range(MOST_DEATHS):
        evaluators.answer(died())
        queue.poll()
    assert len(said) == 1 and queue.count_left() == 0
    first.rename(tmp_path / "old")
    save_weights(tmp_path, 1000)  # the run has started again from an earlier checkpoint
    queue.collect(tmp_path)
    for _ in range(MOST_DEATHS - 1):
        evaluators.answer(died())
        queue.poll()
    assert len(said) == 1
    evaluators.answer(7.0)
    queue.poll()
    assert steps_of(tmp_path) == [1000]


def test_weights_that_cannot_be_played_are_said_and_tried_once(queue_of, evaluators, said, tmp_path):
    save_weights(tmp_path, 1000)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    evaluators.answer(RayTaskError("play", "traceback", ValueError("no such game")))
    queue.collect(tmp_path)
    queue.collect(tmp_path)  # with the next row
    (sentence,) = said
    assert "no such game" in sentence and len(evaluators.asked) == 1 and queue.count_left() == 0


def test_a_seed_that_starts_again_forgets_the_evaluations_beyond_its_checkpoint_and_plays_the_new_weights(
    queue_of, evaluators, said, tmp_path
):
    for steps in (1000, 2000, 3000, 4000):
        save_weights(tmp_path, steps)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    for mean in (10.0, 20.0):
        evaluators.answer(mean)
        queue.poll()
    assert steps_of(tmp_path) == [1000, 2000]  # 3000 is under way, 4000 waits
    for steps in (2000, 3000, 4000):
        shutil.rmtree(tmp_path / "checkpoints" / f"evaluate_{steps}")  # as the training process does
    fresh = save_weights(tmp_path, 3000)  # other weights, which it has reached again
    queue.drop_beyond(tmp_path, 1500)
    assert steps_of(tmp_path) == [1000]
    queue.collect(tmp_path)
    evaluators.answers[2] = Evaluation(3000, WAY, 4, 999.0, 0.0, 1.0, 0, 0.1)  # the evaluation under way
    queue.poll()
    assert steps_of(tmp_path) == [1000] and fresh.exists() and evaluators.asked[3:] == [fresh]
    evaluators.answer(30.0)
    queue.poll()
    queue.remove_played(tmp_path)
    assert [(one.agent_steps, one.mean) for one in read_evaluations(tmp_path)] == [(1000, 10.0), (3000, 30.0)]
    assert not fresh.exists() and queue.count_left() == 0


def test_an_answer_about_weights_that_were_replaced_meanwhile_does_not_remove_the_new_ones(
    queue_of, evaluators, tmp_path
):
    old = save_weights(tmp_path, 1000)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    kept = old.rename(tmp_path / "elsewhere")  # so that its inode is not given to the next folder
    fresh = save_weights(tmp_path, 1000)
    evaluators.answer(10.0)
    queue.poll()
    assert fresh.exists() and kept.exists()
    queue.drop_beyond(tmp_path, 500)
    queue.collect(tmp_path)
    evaluators.answer(30.0)
    queue.poll()
    queue.remove_played(tmp_path)
    assert [one.mean for one in read_evaluations(tmp_path)] == [30.0] and not fresh.exists()


def test_weights_whose_row_is_written_are_removed_and_not_played_again(queue_of, evaluators, tmp_path):
    weights = save_weights(tmp_path, 1000)
    write_evaluations(tmp_path, [Evaluation(1000, WAY, 4, 10.0, 0.0, 1.0, 0, 0.1)])
    queue_of(tmp_path).collect(tmp_path)
    assert evaluators.asked == [] and not weights.exists()


def test_the_oldest_weights_are_left_out_where_the_evaluator_cannot_follow_and_they_are_counted(
    queue_of, evaluators, said, tmp_path
):
    queue = queue_of(tmp_path)
    for steps in range(1000, 1000 * (MOST_WAITING + 4), 1000):
        save_weights(tmp_path, steps)
        queue.collect(tmp_path)
    assert list(list_weights_to_evaluate(tmp_path)) == [
        1000,
        *range(4000, 1000 * (MOST_WAITING + 4), 1000),
    ], "the first is under way"
    assert queue.num_skipped == 2
    queue.finish(lambda: True)
    assert any("2 evaluations left out" in sentence for sentence in said)


def test_the_end_waits_for_all_evaluations_unless_the_user_stops_it(queue_of, evaluators, said, tmp_path):
    save_weights(tmp_path, 1000)
    save_weights(tmp_path, 2000)
    queue = queue_of(tmp_path)
    queue.collect(tmp_path)
    looks = iter([False, False, False, True])
    queue.finish(lambda: next(looks, True))
    assert ["waiting for 2 evaluations" in said[0], "2 evaluations left" in said[-1]] == [True, True]
    assert len(list_weights_to_evaluate(tmp_path)) == 2

    def answer() -> bool:
        evaluators.answer(10.0)
        return False

    queue.finish(answer)
    queue.remove_played(tmp_path)
    assert steps_of(tmp_path) == [1000, 2000] and not list_weights_to_evaluate(tmp_path)


def test_the_evaluator_plays_the_games_of_command_evaluate(make_run):
    run = make_run(checkpoints=("evaluate_1000",))
    settings = yaml.safe_load((run / "config.yaml").read_text())
    (run / "config.yaml").write_text(yaml.safe_dump(settings | {"episodes": EPISODES}))
    weights = run / "checkpoints" / "evaluate_1000"
    found = Evaluator(has_cpu=True).play(run, weights)
    expected = evaluate(run, EPISODES, str(weights), ways=["stochastic"])["stochastic"]
    assert found.mean == expected["mean"] and found.agent_steps == 1000 and found.games == EPISODES
    assert found.way == "stochastic" and found.seconds >= 0
    assert np.allclose((found.low, found.high), t_interval(expected["scores"]))


def test_a_single_score_has_no_interval():
    assert np.isnan(compute_interval([3.0])).all()
    assert compute_interval([5.0, 5.0, 5.0]) == (5.0, 5.0)
