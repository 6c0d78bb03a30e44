"""The table of evaluations: what is written is read, in order, and TensorBoard has it where its weights were taken."""

import math

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from playing.evaluations import (
    Evaluation,
    describe_evaluation,
    draw_evaluations,
    make_columns,
    read_evaluations,
    write_evaluations,
)
from settings.mistakes import Mistake

NAN = float("nan")


def evaluation_at(agent_steps: int, mean: float = 20.0, games: int = 30) -> Evaluation:
    low, high = (mean - 1, mean + 1) if games > 1 else (NAN, NAN)
    return Evaluation(agent_steps, "stochastic", games, mean, low, high, 0, 1.5)


def test_what_is_written_is_read_in_the_order_of_agent_steps(tmp_path):
    assert read_evaluations(tmp_path) == []
    rows = [evaluation_at(2000, 31.25), evaluation_at(1000, 20.5)]
    write_evaluations(tmp_path, rows)
    assert (tmp_path / "evaluations.csv").read_text().splitlines() == [
        "agent_steps,way,games,mean,low,high,cut,seconds",
        "2000,stochastic,30,31.25,30.25,32.25,0,1.5",
        "1000,stochastic,30,20.5,19.5,21.5,0,1.5",
    ]
    assert read_evaluations(tmp_path) == rows[::-1]


def test_a_single_game_has_no_interval(tmp_path):
    write_evaluations(tmp_path, [evaluation_at(1000, games=1)])
    (one,) = read_evaluations(tmp_path)
    assert math.isnan(one.low) and math.isnan(one.high)
    assert "interval" not in describe_evaluation(one) and describe_evaluation(one).endswith(" 1 game")
    assert "95 % interval 19.0 to 21.0, 30 games" in describe_evaluation(evaluation_at(1000))


@pytest.mark.parametrize("damage", [("20.0", "high"), ("1000", "-1"), ("way", "why")])
def test_a_damaged_table_is_refused_by_name(damage, tmp_path):
    write_evaluations(tmp_path, [evaluation_at(1000)])
    file = tmp_path / "evaluations.csv"
    file.write_text(file.read_text().replace(*damage))
    with pytest.raises(Mistake, match=r"evaluations\.csv is damaged"):
        read_evaluations(tmp_path)


def test_a_row_of_the_run_says_when_the_weights_were_taken():
    assert make_columns(evaluation_at(1000)) == {
        "evaluation_agent_steps": 1000,
        "evaluation_mean": 20.0,
        "evaluation_low": 19.0,
        "evaluation_high": 21.0,
    }


def test_tensorboard_has_an_evaluation_at_the_agent_steps_of_its_weights_also_one_that_is_made_up_later(tmp_path):
    late, early = evaluation_at(2000, 30.0), evaluation_at(1000, 10.0)
    draw_evaluations(tmp_path, [late], 2000)
    draw_evaluations(tmp_path, [early, late], 1000)  # of weights that waited until the run was continued
    events = EventAccumulator(str(tmp_path / "tensorboard" / "evaluation"))
    events.Reload()
    assert [(one.step, one.value) for one in events.Scalars("episode_return_mean")] == [(1000, 10.0), (2000, 30.0)]
    assert [one.value for one in events.Scalars("evaluation_high")] == [11.0, 31.0]
