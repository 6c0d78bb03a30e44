"""What makes scores less comparable than they look is said."""

import json

import pytest
import yaml

from comparisons.comparison import compare_runs
from comparisons.notes import list_notes
from comparisons.tables import group_starts, list_arms, name_starts
from settings.mistakes import Mistake
from tests.comparisons.made_up_runs import write_run

START = {"command": [], "packages": {}, "hardware": {}}


def notes_of(*paths, labels=None) -> str:
    """All notes on a comparison of directories."""
    return "\n".join(list_notes(compare_runs(list(zip(labels or [None] * len(paths), paths, strict=True)))))


def change(run, group: str, **values) -> None:
    """Change settings in the config.yaml of a run."""
    settings = yaml.safe_load((run / "config.yaml").read_text())
    settings[group] = settings[group] | values
    (run / "config.yaml").write_text(yaml.safe_dump(settings))


def test_whole_runs_of_one_game_need_no_note(tmp_path):
    assert notes_of(write_run(tmp_path / "a", [1, 2]), write_run(tmp_path / "b", [1, 2], algo="a2c")) == ""


def test_a_run_that_is_not_at_its_end_is_named(tmp_path):
    whole, half = write_run(tmp_path / "a", [1, 2]), write_run(tmp_path / "b", [1, 2], algo="a2c", budget=4000)
    assert "a2c assault seed 1 (2,000 of 4,000 agent steps)" in notes_of(whole, half)
    change(half, "stop", time_s=4.0)  # which it has trained for
    assert notes_of(whole, half) == ""
    change(half, "stop", time_s=5.0, episode_return=2.0)  # a mean of 20 games
    assert "Not at the end" not in notes_of(whole, half)
    change(half, "stop", episode_return=2.1)
    assert "a2c assault seed 1 (2,000 of 4,000 agent steps)" in notes_of(whole, half)


def test_a_run_that_was_stopped_at_a_score_is_named(tmp_path):
    whole, stopped = write_run(tmp_path / "a", [1, 2]), write_run(tmp_path / "b", [1, 2], algo="a2c", budget=4000)
    change(whole, "stop", episode_return=2.0)  # which it reached with the end of its budget
    change(stopped, "stop", episode_return=2.0)
    assert "Ended by stop.episode_return: a2c assault seed 1. " in notes_of(whole, stopped)


def test_arms_that_were_trained_for_longer_are_named(tmp_path):
    short, long = write_run(tmp_path / "a", [1, 2]), write_run(tmp_path / "b", [1, 2, 3], algo="a2c")
    assert "ppo assault 2,000, a2c assault 3,000" in notes_of(short, long)


def test_seeds_of_one_arm_that_were_trained_for_less_are_named(tmp_path):
    for seed, rows in enumerate((3, 1, 1), 1):
        one = write_run(tmp_path / "arm" / f"seed_{seed}", [5] * rows, seed=seed, budget=3_000)
        change(one, "stop", time_s=1.0)
    assert "arm 1,000 to 3,000" in notes_of(tmp_path / "arm", labels=["arm"])


def test_a_seed_without_rows_is_named_in_what_is_kept(tmp_path):
    for seed in (1, 2, 3):
        run = write_run(tmp_path / "arm" / f"seed_{seed}", [5], seed=seed)
    (run / "progress.csv").unlink()
    assert "arm seed 3" in notes_of(tmp_path / "arm", labels=["arm"])


def test_settings_that_were_typed_when_a_run_went_on_are_named(tmp_path):
    run = write_run(tmp_path / "a", [1, 2])

    def record(*overrides: list[str]) -> None:
        (run / "run.json").write_text(json.dumps({"starts": [START | {"overrides": typed} for typed in overrides]}))

    record(["algo.lr=1e-3", "stop.agent_steps=2k"], ["algo.lr=1e-3", "resume=auto"], ["resume=a", "label=b"])
    assert notes_of(run) == ""
    record(["algo.lr=1e-3"], ["resume=a", "algo.lr=1e-2", "model.lstm_size=8"])
    assert "ppo assault seed 1 (algo.lr=1e-2 model.lstm_size=8)" in notes_of(run)


def test_two_protocols_of_one_game_are_named_and_so_are_other_rules(tmp_path):
    classic, machado = write_run(tmp_path / "a", [1]), write_run(tmp_path / "b", [1], protocol="machado")
    assert "assault was played under 2 protocols" in notes_of(classic, machado, labels=["a", "b"])
    other = write_run(tmp_path / "c", [1])
    change(other, "env", frameskip=2)
    assert "env.frameskip" in notes_of(classic, other, labels=["a", "c"])


def test_seeds_of_one_arm_with_other_settings_are_named(tmp_path):
    runs = [write_run(tmp_path / "arm" / f"seed_{seed}", [1], seed=seed) for seed in (1, 2)]
    change(runs[1], "algo", lr=0.5)
    assert "algo.lr" in notes_of(tmp_path / "arm", labels=["arm"])


def test_a_start_without_a_commit_is_listed_all_the_same(tmp_path):
    run = write_run(tmp_path / "a", [1])
    (run / "run.json").write_text(json.dumps({"starts": [START | {"command": ["python", "run.py", "seed=7"]}]}))
    [comparison] = compare_runs([(None, run)])
    assert "seed=7" in name_starts(group_starts(comparison.runs))


def test_a_budget_that_is_no_number_is_refused(tmp_path):
    run = write_run(tmp_path / "a", [1])
    change(run, "stop", agent_steps="many")
    with pytest.raises(Mistake, match="stop.agent_steps"):
        compare_runs([(None, run)])


def test_arms_are_paired_only_where_all_seeds_have_the_same_settings(tmp_path):
    for arm in ("a", "b"):
        runs = [write_run(tmp_path / arm / f"seed_{seed}", [1, seed], seed=seed) for seed in (1, 2)]
    groups = [(arm, tmp_path / arm) for arm in ("a", "b")]
    assert compare_runs(groups)[0].share_streams("a", "b")
    change(runs[1], "algo", lr=0.5)
    assert not compare_runs(groups)[0].share_streams("a", "b")


def test_an_arm_in_which_no_game_has_ended_is_named(tmp_path):
    runs = write_run(tmp_path / "a", ["nan"] * 2), write_run(tmp_path / "b", [1, 1], algo="a2c")
    assert notes_of(*runs) == "ppo assault: no game has ended, so it has no score."


def test_a_seed_without_a_score_and_one_with_few_games_are_named(tmp_path):
    for seed, score in enumerate((5, "nan", 7), 1):
        write_run(tmp_path / "a" / f"seed_{seed}", ["nan", score], seed=seed)
    few = write_run(tmp_path / "b", [1])
    [comparison] = compare_runs([("a", tmp_path / "a"), ("b", few)])
    without, of_few, _ = list_notes([comparison])
    assert "a seed 2." in without and "seed 1" not in without and "seed 3" not in without
    assert "b seed 1 (10 games)" in of_few and "a seed" not in of_few
    assert [line.split(" | ")[1] for line in list_arms(comparison.arms)[2:]] == ["2 of 3", "1"]


def test_a_run_that_went_on_with_a_larger_budget_is_named_where_its_step_size_falls(tmp_path):
    grown, plain = write_run(tmp_path / "a", [1, 2]), write_run(tmp_path / "b", [1, 2], algo="a2c")
    change(grown, "algo", lr_schedule="linear")

    def record(*overrides: list[str]) -> None:
        (grown / "run.json").write_text(json.dumps({"starts": [START | {"overrides": typed} for typed in overrides]}))

    record(["stop.agent_steps=2_000"], ["resume=a"], ["stop.agent_steps=2e3"], ["stop.agent_steps=2k"])
    assert notes_of(grown, plain) == ""
    record(["stop.agent_steps=1_000"], ["label=a"])  # whose budget is that of a default or a file
    assert "stop.agent_steps" in notes_of(grown, plain)
    for first in (["stop.agent_steps=1_000"], []):
        record(first, ["resume=a", "stop.agent_steps=2_000"])
        assert "stop.agent_steps" in notes_of(grown, plain) and "ppo assault seed 1" in notes_of(grown, plain)
    change(grown, "algo", lr_schedule="constant")
    assert notes_of(grown, plain) == ""


def test_runs_that_began_with_other_weights_are_named(tmp_path):
    fresh, trained_on = write_run(tmp_path / "a", [1, 2]), write_run(tmp_path / "b", [1, 2], algo="a2c")
    settings = yaml.safe_load((trained_on / "config.yaml").read_text())
    (trained_on / "config.yaml").write_text(yaml.safe_dump(settings | {"pretrained": "agents/assault_ppo"}))
    assert "the weights of agents/assault_ppo: a2c assault seed 1. " in notes_of(fresh, trained_on)
    assert "the weights of agents/assault_ppo: all runs. " in notes_of(trained_on)
