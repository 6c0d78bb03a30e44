"""The evaluations of a run that were played while it trained: evaluations.csv, and their curve in TensorBoard.

Each row says at how many agent steps of training its weights were taken, whenever it was played. A row is never there
twice, and rows are sorted by their agent steps.
"""

from pathlib import Path
from typing import Any, NamedTuple

from environments.screen import format_score
from run_directory.files import read_count, read_number, read_table
from run_directory.layout import EVALUATIONS_CSV
from run_directory.tensorboard import CurveWriter
from run_directory.writing import write_table
from settings.mistakes import format_count

CURVE = "evaluation"  # the folder of the curve in TensorBoard's


class Evaluation(NamedTuple):
    """The scores of the complete games of one evaluation."""

    agent_steps: int  # of training, at which the weights were taken
    way: str  # how actions were chosen, `stochastic`
    games: int
    mean: float  # of the unclipped scores
    low: float  # of the 95 % interval of the mean, Student's t over the games; NaN of a single game
    high: float
    cut: int  # games that a time limit has cut
    seconds: float  # that playing took


READERS = {"agent_steps": read_count, "way": str, "games": read_count, "mean": read_number}
READERS |= {"low": read_number, "high": read_number, "cut": read_count, "seconds": read_number}


def read_evaluations(run: Path) -> list[Evaluation]:
    """Read all rows of evaluations.csv, sorted by agent steps; a run without such a file has none.

    Args:
        run: the run directory of one seed.

    Raises:
        Mistake: the file is damaged.
    """
    rows = read_table(run / EVALUATIONS_CSV, READERS, required=Evaluation._fields)
    return sorted(Evaluation(**{name: row[name] for name in Evaluation._fields}) for row in rows)


def write_evaluations(run: Path, evaluations: list[Evaluation]) -> None:
    """Write evaluations.csv in one piece.

    Raises:
        OSError: it cannot be written; the old content stays.
    """
    write_table(run / EVALUATIONS_CSV, Evaluation._fields, evaluations)


def draw_evaluations(run: Path, evaluations: list[Evaluation], agent_steps: int) -> None:
    """Write the points of the curve in TensorBoard from a number of agent steps on; later points of before are hidden.

    The curve has the name of the training's score, so that TensorBoard shows both in one figure.
    """
    writer = CurveWriter(run, agent_steps, CURVE)
    for one in evaluations:
        if one.agent_steps >= agent_steps:
            interval = {"evaluation_low": one.low, "evaluation_high": one.high}
            writer.add({"agent_steps": one.agent_steps, "episode_return_mean": one.mean} | interval)
    writer.close()


def make_columns(evaluation: Evaluation) -> dict[str, Any]:
    """Return the columns of progress.csv for an evaluation."""
    names = ("agent_steps", "mean", "low", "high")
    return {f"evaluation_{name}": getattr(evaluation, name) for name in names}


def describe_evaluation(evaluation: Evaluation) -> str:
    """Return an evaluation as text: `evaluated at 1,000 agent steps: 51.3, 95 % interval 48.1 to 54.5, 30 games`."""
    one = evaluation
    interval = "" if one.games < 2 else f", 95 % interval {format_score(one.low)} to {format_score(one.high)}"
    score = f"{format_score(one.mean)}{interval}, {format_count(one.games, 'game')}"
    return f"evaluated at {one.agent_steps:,} agent steps: {score}"
