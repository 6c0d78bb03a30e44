"""Periodic evaluation: while a run trains, a process beside it plays complete games with the newest weights.

    weights at each multiple of evaluate_every (run_directory/milestones.py) -> queue in the driver -> Evaluator, a Ray
    actor (playing/evaluator.py) -> evaluations.csv, TensorBoard, the next row of progress.csv

The weights lie in the run directory until they have played, and are removed when the next row of progress.csv comes, or
once their evaluation has been added to the last row. So what a killed process has not played or written is played and
written when the run goes on, and nothing is played twice. A run that starts again from a checkpoint drops the
evaluations beyond it, as it drops rows: it trains other weights from there on.

Actions are drawn from the policy, as in training, and the games are those of command=evaluate.
"""

import shutil
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import ray
from ray.exceptions import RayError, RayTaskError
from ray.util import placement_group, remove_placement_group
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from playing.evaluations import (
    Evaluation,
    describe_evaluation,
    draw_evaluations,
    make_columns,
    read_evaluations,
    write_evaluations,
)
from run_directory.milestones import list_weights_to_evaluate
from settings.mistakes import format_count, format_error

MOST_WAITING = 10  # weights of one seed; beyond it the oldest is left out, or a slow evaluator would fill the disk
MOST_DEATHS = 3  # of the evaluator over the same weights, before it leaves them
POLL_S = 0.2  # between two looks at the evaluator, once the training has ended


@contextmanager
def open_evaluation(
    bundle: dict[str, float] | None,
    labels: dict[Path, str],
    show: Callable[[str, str], None],
    say: Callable[[str], None],
    tensorboard: bool = True,
) -> Iterator["PeriodicEvaluation | None"]:
    """Yield the queue of a run's evaluations, and end its process afterwards; None without a `bundle`.

    The other arguments are those of PeriodicEvaluation.
    """
    evaluation = None if bundle is None else PeriodicEvaluation(bundle, labels, show, say, tensorboard)
    try:
        yield evaluation
    finally:
        if evaluation:
            evaluation.close()


def read_inode(folder: Path) -> int | None:
    """Return the number that tells a folder from a later one of the same name; None where it is gone."""
    try:
        return folder.stat().st_ino
    except OSError:
        return None


class Job(NamedTuple):
    """Weights that are to be evaluated."""

    run: Path  # the run directory of one seed
    agent_steps: int
    weights: Path
    inode: int  # of their folder: a run that starts again may write other weights under its name


class PeriodicEvaluation:
    """The queue of evaluations of all seeds of a run, which one process plays in turn.

    Args:
        bundle: what the process takes of the cluster; empty: it plays at the lowest priority.
        labels: run directory of a seed -> its name for people.
        show: told the name of a seed, and an evaluation that has come in as text.
        say: shows a sentence.
        tensorboard: whether TensorBoard gets the evaluations as well.

    Attributes:
        num_skipped: weights that were left out because too many were waiting.

    Raises:
        Mistake: the evaluations.csv of a seed is damaged.
    """

    def __init__(
        self,
        bundle: dict[str, float],
        labels: dict[Path, str],
        show: Callable[[str, str], None],
        say: Callable[[str], None],
        tensorboard: bool = True,
    ):
        self.labels, self.show, self.say, self.tensorboard = labels, show, say, tensorboard
        self.evaluations = {run: read_evaluations(run) for run in labels}
        self.waiting: list[Job] = []
        self.playing: tuple[Job, Any] | None = None  # and the ObjectRef of its Evaluation
        self.deaths: Counter[tuple[Path, int]] = Counter()  # of the evaluator, by folder and inode of what it played
        self.failed: set[tuple[Path, int]] = set()  # weights that are left until the run is continued, in the same way
        self.num_skipped = 0
        self._actor: Any = None
        self._bundle = bundle
        # The CPU is kept from the start on, or seeds that wait for their turn would take it.
        self._group = placement_group([bundle]) if bundle else None

    def drop_beyond(self, run: Path, agent_steps: int) -> None:
        """Forget the evaluations of a seed beyond the checkpoint from which it starts.

        Their weights are no longer those of the run. The training process has removed their folders.
        """
        known = self.evaluations[run]
        kept = [one for one in known if one.agent_steps <= agent_steps]
        if len(kept) < len(known):
            self.evaluations[run] = kept
            write_evaluations(run, kept)
            if self.tensorboard:
                draw_evaluations(run, [], agent_steps + 1)
        self.waiting = [job for job in self.waiting if job.run != run or job.agent_steps <= agent_steps]
        if self.playing and self.playing[0].run == run and self.playing[0].agent_steps > agent_steps:
            self.playing = self.playing[0]._replace(inode=-1), self.playing[1]

    def collect(self, run: Path) -> None:
        """Remove the weights of a seed that have played, and queue those that wait, before a row is written."""
        self.remove_played(run)
        self.queue_weights(run)

    def remove_played(self, run: Path) -> None:
        """Remove the weights of a seed whose evaluation is recorded, by this process or by one before it."""
        played = {one.agent_steps for one in self.evaluations[run]}
        for folder in [folder for steps, folder in list_weights_to_evaluate(run).items() if steps in played]:
            shutil.rmtree(folder, ignore_errors=True)

    def queue_weights(self, run: Path) -> None:
        """Queue the weights of a seed that wait for their evaluation, and begin the next one if none is played now."""
        played = {one.agent_steps for one in self.evaluations[run]}
        known = {(job.weights, job.inode) for job in [*self.waiting, *([self.playing[0]] if self.playing else [])]}
        for steps, folder in list_weights_to_evaluate(run).items():
            inode = read_inode(folder)
            if steps not in played and inode is not None and (folder, inode) not in known | self.failed:
                self.waiting.append(Job(run, steps, folder, inode))
        of_run = [job for job in self.waiting if job.run == run]
        for job in of_run[: max(0, len(of_run) - MOST_WAITING)]:
            self.num_skipped += 1
            self.waiting.remove(job)
            self._remove(job)
        self.poll()

    def poll(self) -> None:
        """Take the evaluation that has come in, and begin the next one."""
        if self.playing and ray.wait([self.playing[1]], timeout=0)[0]:
            (job, ref), self.playing = self.playing, None
            self._take(job, ref)
        if self.waiting and not self.playing:
            job = self.waiting.pop(0)
            self.playing = job, self._start().play.remote(job.run, job.weights)

    def make_new_columns(self, run: Path, latest: dict[str, str]) -> dict[str, Any]:
        """Return the columns of progress.csv for the newest evaluation of a seed.

        Args:
            run: the run directory of the seed.
            latest: the newest filled cells of the seed in a progress.csv, as `ProgressTable.latest` has them, with the
                agent steps of the row that is to have the columns. A killed run may have lost the row that had them.

        Returns:
            {} if a row has them, or if the evaluation is of weights beyond the last row.
        """
        if not self.evaluations[run]:
            return {}
        columns, name = make_columns(self.evaluations[run][-1]), "evaluation_agent_steps"
        is_ahead = columns[name] > int(latest["agent_steps"])
        is_there = columns[name] <= int(latest.get(name, -1))
        return {} if is_ahead or is_there else columns

    def finish(self, is_stopped: Callable[[], bool]) -> None:
        """Wait until all evaluations have come in, or the user wants to stop, and say what was left out.

        Args:
            is_stopped: returns whether the user wants to stop.
        """
        self.poll()
        if (left := self.count_left()) and not is_stopped():
            self.say(
                f"waiting for {format_count(left, 'evaluation')}; Ctrl-C ends the wait, and what is left is played "
                "when the run is continued"
            )
        while self.count_left() and not is_stopped():
            time.sleep(POLL_S)
            self.poll()
        if left := self.count_left():
            self.say(f"{format_count(left, 'evaluation')} left, to be played when the run is continued")
        if self.num_skipped:
            self.say(
                f"{format_count(self.num_skipped, 'evaluation')} left out, because more than {MOST_WAITING} waited; "
                "a larger evaluate_every or fewer episodes would let all be played"
            )

    def close(self) -> None:
        """End the evaluator, and give its CPU back."""
        self.close_actor()
        if self._group is not None:
            remove_placement_group(self._group)

    def close_actor(self) -> None:
        """End the evaluator; the next evaluation starts another one."""
        if self._actor is not None:
            ray.kill(self._actor)
        self._actor = None

    def count_left(self) -> int:
        """Return how many evaluations are played now or wait."""
        return len(self.waiting) + (self.playing is not None)

    def _start(self) -> Any:
        """Return the evaluator, a Ray actor; start it if it does not run."""
        if self._actor is None:
            where = "DEFAULT" if self._group is None else PlacementGroupSchedulingStrategy(self._group)
            options = {"num_cpus": self._bundle.get("CPU", 0), "scheduling_strategy": where}
            from playing.evaluator import Evaluator  # not above: it imports torch, which this process does not need

            self._actor = ray.remote(Evaluator).options(**options).remote(bool(self._bundle))
        return self._actor

    def _take(self, job: Job, ref: Any) -> None:
        """Record an evaluation that has come in; queue it once more if the evaluator has died over it."""
        try:
            evaluation: Any = ray.get(ref)
        except RayTaskError as error:
            if self._is_current(job):
                self._give_up(job, format_error(error))
        except RayError as error:  # the process is gone
            self.close_actor()
            self.deaths[job.weights, job.inode] += 1
            if self._is_current(job) and self.deaths[job.weights, job.inode] < MOST_DEATHS:
                self.waiting.insert(0, job)
            elif self._is_current(job):
                self._give_up(job, format_error(error))
        else:
            if job.inode != -1:
                self._record(job, evaluation)

    def _record(self, job: Job, evaluation: Evaluation) -> None:
        """Write an evaluation into its run directory, and show it.

        Its weights are kept until the evaluation is in a row of progress.csv: their folder is what shows a continued
        run that this row is still to be written.
        """
        others = [one for one in self.evaluations[job.run] if one.agent_steps != evaluation.agent_steps]
        known = sorted([*others, evaluation])
        write_evaluations(job.run, known)  # if that fails, the weights are not taken for played
        self.evaluations[job.run] = known
        if self.tensorboard:
            draw_evaluations(job.run, self.evaluations[job.run], evaluation.agent_steps)
        self.show(self.labels[job.run], describe_evaluation(evaluation))

    def _give_up(self, job: Job, why: str) -> None:
        """Leave weights that cannot be evaluated; they are tried again when the run is continued."""
        self.failed.add((job.weights, job.inode))
        self.say(f"{self.labels[job.run]}: no evaluation at {job.agent_steps:,} agent steps ({why}); training goes on")

    def _is_current(self, job: Job) -> bool:
        """Return whether the folder still holds the weights of a job."""
        return read_inode(job.weights) == job.inode

    def _remove(self, job: Job) -> None:
        """Remove weights, unless the run has written others under their name since."""
        if self._is_current(job):
            shutil.rmtree(job.weights, ignore_errors=True)
