"""What the benchmarks of searches make of what they measured."""

import pytest

from benchmarks import early_stopping, searches


def rows(*seconds: float) -> list[dict]:
    return [{"wall_time_s": str(s), "agent_steps": str(1000 * s)} for s in seconds]


def test_trials_are_side_by_side_until_the_first_ends():
    first, second = searches.cut_to_shortest([rows(1, 2, 3), rows(1.5, 3, 4.5)])
    assert [row["wall_time_s"] for row in first] == ["1", "2", "3"]
    assert [row["wall_time_s"] for row in second] == ["1.5", "3"]


def test_a_trial_beside_another_is_compared_with_itself_alone():
    measured = {
        "one at a time": {"agent_steps_per_s": 150.0, "each": [100.0, 300.0]},
        "two at once": {"agent_steps_per_s": 320.0, "each": [80.0, 240.0]},
        "short": {"agent_steps_per_s": 1.0, "beside_s": 6.0},
    }
    lines = searches.summarize([measured])
    assert lines["a trial beside another / the same alone"] == pytest.approx([0.8])
    assert lines["that, in % of a trial of ten minutes"] == pytest.approx([100 * 6 / 606])


def test_what_asha_saves_is_a_ratio_within_a_repetition():
    def found(steps: float, fresh: float) -> dict:
        return {"agent_steps": steps, "fresh_mean": fresh, "search_score": 90.0, "default_mean": 20.0}

    rounds = [{"asha": found(30.0, 50.0), "none": found(60.0, 55.0)}, {"asha": found(20.0, 1), "none": found(80.0, 2)}]
    lines = early_stopping.summarize(rounds)
    assert lines["asha / none, agent steps"] == [0.5, 0.25]
    assert lines["asha, winner on fresh seeds"] == [50.0, 1] and lines["none, winner on fresh seeds"] == [55.0, 2]
