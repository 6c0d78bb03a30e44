"""Claims: their files, the measures of learning curves, the words of a verdict, and the command."""

import contextlib
import io
import math
import subprocess
import sys
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
import yaml

from claims.__main__ import main
from claims.claim import PLANNED_SEEDS, Prediction, list_claims, read_claim, read_training
from claims.measurements import (
    CARTPOLE,
    CONTENTS,
    MEANINGS,
    MEASUREMENTS,
    compute_gradients,
    open_subject,
    record_gradient,
)
from claims.measures import MEASURES, compute_oscillation, compute_pace, compute_steps_to, compute_windows, measure_arm
from claims.report import describe_finding, describe_seeds, format_report, write_report
from claims.training import make_grid, refuse_unfit, refuse_unmeasured
from claims.verdict import CANNOT_TELL, DOES_NOT_HOLD, HOLDS, judge_claim, judge_predictions
from claims.wrappers import Levels, Push
from grids.grid_directory import write_grid

ROOT = Path(__file__).resolve().parent.parent.parent
CLAIMS = {claim.name: claim for claim in list_claims()}


def go(*words: str) -> tuple[int, str]:
    """Type it; returns the exit code and everything printed."""
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        code = main(list(words))
    return code, printed.getvalue()


def rows(steps: list[int], scores: list[float], games: list[int]) -> dict[str, np.ndarray]:
    """Rows of progress.csv: agent steps, the mean of the games since the row before, and how many these were."""
    columns = {"agent_steps": steps, "recent_return_mean": scores, "episodes": np.cumsum(games)}
    return {name: np.array(column, float) for name, column in columns.items()} | {"wall_time_s": np.array(steps) / 10}


# Files ----------------------------------------------------------------------------------------------------------------
def test_help_says_what_can_be_typed_and_tests_nothing():
    for words in (["--help"], ["a2c_faster", "-h"]):
        code, printed = go(*words)
        assert code == 0 and "python -m claims mine.yaml" in printed and "Exit codes" in printed


@pytest.mark.parametrize("name", CLAIMS)
def test_every_arm_of_every_claim_composes_and_every_prediction_can_be_measured(name):
    claim = CLAIMS[name]
    trainings = [read_training(claim, one) for one in claim.trainings]
    grids = [make_grid(training, 10, "outputs") for training in trainings]
    for grid in grids:
        for arm in grid.arms:
            assert arm.settings["stop"]["episode_return"] is None, f"{arm.name} would stop at a score"
            assert arm.settings["seed"] == list(range(1, 11))
            assert arm.settings["stop"]["agent_steps"] >= claim.until
    refuse_unmeasured(claim, trainings)
    refuse_unfit(claim, grids)


def test_claims_are_in_the_order_of_the_lecture():
    numbers = [claim.number for claim in list_claims()]
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_claim_has_its_row_in_the_docs():
    text = (ROOT / "docs" / "claims.md").read_text()
    for claim in list_claims():
        assert f"python -m claims {claim.name}" in text and claim.words in text, claim.name


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (["pg_against_dqm"], "did you mean pg_against_dqn?"),
        (["pg_against_dqn", "seed=3"], "stated in the claim's file"),
        (["pg_against_dqn", "outt=x"], "did you mean out?"),
        (["pg_against_dqn", "dry_run=yes"], "true or false"),
        (["pg_against_dqn", "seeds=2"], "999"),
        (["pg_against_dqn", "seeds=" + 5000 * "9"], "999"),
        (["/nowhere/lr=1.yaml"], "there is no such file"),
        ([__file__], ".yaml"),
        (["/nowhere/mine.yaml"], "there is no such file"),
        (["seeds=3"], "name a claim"),
        (["pg_against_dqn", f"out={__file__}"], "no directory"),
        (["pg_against_dqn", f"out={__file__}/below"], "no directory"),
    ],
)
def test_a_mistake_gets_one_sentence_and_exit_code_2(words, answer):
    code, printed = go(*words)
    assert code == 2 and answer in printed and len(printed.splitlines()) == 1


def test_a_misspelt_claim_is_answered_before_anything_heavy_is_imported():
    script = "import sys, claims.__main__ as m; m.main(['nonsense']); print(*sys.modules)"
    found = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True)
    assert not {"torch", "ray", "scipy", "hydra", "matplotlib"} & set(found.stdout.split())


@pytest.mark.parametrize(
    ("change", "answer"),
    [
        ({"word": "x"}, "did you mean words"),
        ({"words": None}, "words is missing"),
        ({"predictions": [{"measure": "area", "of": "a", "is": "over", "than": "b"}]}, "is: above"),
        ({"predictions": [{"measure": "aria", "of": "tiny", "is": "above", "than": 1}]}, "did you mean area"),
        ({"predictions": [{"measure": "area", "of": "tinny", "is": "above", "than": 1}]}, "did you mean tiny"),
        ({"arms": ["tinny"]}, "did you mean tiny"),
        ({"trainings": ["none"]}, "there is no"),
        ({"predictions": []}, "predictions"),
        ({"predictions": [{"measure": ["area"], "of": "tiny", "is": "above", "than": 1}]}, "measure"),
        ({"predictions": [{"measure": "area", "of": ["tiny"], "is": "above", "than": 1}]}, "of"),
        ({"predictions": [{"measure": "area", "of": "tiny", "is": "above", "than": None}]}, "than"),
        ({"predictions": [{"measure": "area", "of": "tiny", "is": "above", "than": True}]}, "than"),
        (
            {"predictions": [{"measure": "reached", "of": "tiny", "is": "above", "than": 0}], "threshold": None},
            "threshold",
        ),
        ({"until": None}, "until"),
        ({"until": "soon"}, "until"),
        ({"until": True}, "until"),
        ({"threshold": "high"}, "threshold"),
        ({"arms": [["tiny"]]}, "arms"),
        ({"words": ["a"]}, "words"),
        ({"measurement": "zero_return"}, "did you mean zero_returns"),
        ({"measurement": "zero_returns"}, "there are: returns, baseline, critic"),
        ({"measurement": "diversity"}, "a2c"),
        ({"until": 601}, "stop.agent_steps=600"),
    ],
)
def test_a_claim_of_your_own_that_cannot_be_tested_is_refused(tmp_path, change, answer):
    path = write_claim(tmp_path, **change)
    code, printed = go(str(path))
    assert code == 2 and answer in printed and len(printed.splitlines()) == 1, printed


def write_claim(folder: Path, **change) -> Path:
    """Write the file of a claim and of its training, two arms for 600 agent steps."""
    (folder / "trainings").mkdir(exist_ok=True)
    short = ["env=cartpole", "stop.agent_steps=600", "report_every=100", "logger=null", "cluster.cpus=1"]
    arms = {"tiny": ["algo=a2c", "algo.num_envs=4"], "pg": ["algo=pg", "algo.num_envs=4", "algo.episodes_per_update=4"]}
    (folder / "trainings" / "two.yaml").write_text(yaml.safe_dump({"common": short, "arms": arms}))
    content = {"number": 1, "slide": "A slide", "words": "A2C is tiny.", "stated": "Beforehand.", "trainings": "two"}
    content |= {"arms": ["tiny", "pg"], "until": 600, "threshold": 10}
    content |= {"predictions": [{"measure": "area", "of": "tiny", "is": "above", "than": 1000}]} | change
    path = folder / "mine.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in content.items() if value is not None}))
    return path


@pytest.mark.parametrize(
    "content",
    [
        {"common": ["env=cartpole", {"report_every": 1000}], "arms": {"tiny": [], "pg": ["algo=pg"]}},
        {"common": {"report_every": 1000}, "arms": {"tiny": [], "pg": ["algo=pg"]}},
        {"common": ["env=cartpole"], "arms": ["tiny", "pg"]},
        {"common": ["env=cartpole"], "arms": None},
        {"common": ["env=cartpole"], "arms": {"tiny": ["algo"], "pg": ["algo=pg"]}},
        {"common": ["env=cartpole"], "arms": {"tiny": {"algo": "a2c"}, "pg": ["algo=pg"]}},
        {"common": ["env=cartpole"], "arms": {"tiny": [], "pg/base": ["algo=pg"]}},
        {"common": ["env=cartpole"], "arms": {"tiny": [], "..": ["algo=pg"]}},
    ],
)
def test_a_training_that_is_no_lists_of_overrides_is_refused(tmp_path, content):
    path = write_claim(tmp_path)
    (tmp_path / "trainings" / "two.yaml").write_text(yaml.safe_dump(content))
    code, printed = go(str(path))
    assert code == 2 and "two.yaml: " in printed and len(printed.splitlines()) == 1, printed


@pytest.mark.parametrize(
    ("override", "answer"),
    [
        ("seed=7", "seed"),
        ("label=x", "label"),
        ("output_dir=x", "output_dir"),
        ("command=evaluate", "command=evaluate"),
        ("stop.episode_return=9", "stop.episode_return=null"),
        ("stop.time_s=9", "stop.time_s=null"),
    ],
)
@pytest.mark.parametrize("place", ["common", "arm"])
def test_an_override_that_would_change_seeds_place_or_end_of_a_training_is_refused(tmp_path, override, answer, place):
    path, training = write_claim(tmp_path), tmp_path / "trainings" / "two.yaml"
    content = yaml.safe_load(training.read_text())
    (content["common"] if place == "common" else content["arms"]["tiny"]).append(override)
    training.write_text(yaml.safe_dump(content))
    code, printed = go(str(path), f"out={tmp_path}")
    assert code == 2 and answer in printed and len(printed.splitlines()) == 1, printed


@pytest.mark.parametrize("name", ["tune", "seed_1"])
def test_an_arm_is_not_named_as_another_folder_of_a_grid(tmp_path, name):
    path, training = write_claim(tmp_path, arms=["pg", name]), tmp_path / "trainings" / "two.yaml"
    content = yaml.safe_load(training.read_text())
    content["arms"][name] = content["arms"].pop("tiny")
    training.write_text(yaml.safe_dump(content))
    path.write_text(path.read_text().replace("of: tiny", f"of: {name}"))
    code, printed = go(str(path), f"out={tmp_path}")
    assert code == 2 and name in printed and len(printed.splitlines()) == 1, printed


def test_a_claim_that_is_a_link_keeps_its_name(tmp_path):
    (tmp_path / "a=b.yaml").symlink_to(write_claim(tmp_path))
    assert read_claim(str(tmp_path / "a=b.yaml")).name == "a=b"


def test_a_file_that_is_named_like_a_claim_of_the_suite_is_in_nobodys_way(tmp_path, monkeypatch):
    (tmp_path / "ppo_clip").touch()
    monkeypatch.chdir(tmp_path)
    assert go()[0] == 0 and read_claim("ppo_clip").path.parent == ROOT / "claims"
    for name in ("~nobody_of_this_name", 300 * "x"):
        code, printed = go(name)
        assert code == 2 and len(printed.splitlines()) == 1, printed


def test_two_trainings_of_a_claim_with_an_arm_of_one_name_are_refused(tmp_path):
    path = write_claim(tmp_path, trainings=["two", "three"])
    (tmp_path / "trainings" / "three.yaml").write_text((tmp_path / "trainings" / "two.yaml").read_text())
    code, printed = go(str(path), f"out={tmp_path}")
    assert code == 2 and str(path) in printed and len(printed.splitlines()) == 1, printed


def test_two_claims_or_two_trainings_of_one_name_are_refused_unless_they_are_the_same(tmp_path, monkeypatch):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
    first, second = (write_claim(folder) for folder in folders)
    code, printed = go(str(first), str(second), f"out={tmp_path}")
    assert code == 2 and str(first) in printed and str(second) in printed, printed
    second = second.rename(folders[1] / "other.yaml")
    tested: list[str] = []
    monkeypatch.setattr("claims.__main__.test_claim", lambda claim, *_: tested.append(claim.name) or 0)
    monkeypatch.setattr("claims.training.is_complete", lambda _: True)
    assert go(str(first), str(first), str(second), f"out={tmp_path}")[0] == 0 and tested == ["mine", "other"]
    training = folders[1] / "trainings" / "two.yaml"
    training.write_text(training.read_text().replace("600", "700"))
    code, printed = go(str(first), str(second), f"out={tmp_path}")
    assert code == 2 and str(training) in printed, printed


def test_what_is_measured_on_one_network_is_not_measured_on_another(tmp_path):
    path = write_claim(tmp_path, measurement="gradient_noise", arms=["a2c"], threshold=None)
    path.write_text(path.read_text().replace("measure: area", "measure: noise").replace("of: tiny", "of: critic"))
    training = tmp_path / "trainings" / "two.yaml"
    training.write_text("common: [env=cartpole, stop.agent_steps=600]\narms: {a2c: [algo=a2c]}\n")
    code, printed = go(str(path), f"out={tmp_path}")
    assert code == 2 and "model.hidden=[256,256]" in printed and len(printed.splitlines()) == 1, printed
    training.write_text(training.read_text().replace("env=cartpole,", "env=cartpole, keep_milestones=false,"))
    code, printed = go(str(path), f"out={tmp_path}")
    assert code == 2 and "keep_milestones" in printed and len(printed.splitlines()) == 1, printed


def test_a_training_that_was_changed_is_not_told_to_take_a_label(tmp_path):
    path, training = write_claim(tmp_path), tmp_path / "trainings" / "two.yaml"
    grid = make_grid(read_training(read_claim(str(path)), "two"), 3, str(tmp_path))
    folder = tmp_path / "grids" / "claims_two"
    folder.mkdir(parents=True)
    write_grid(folder, [], [], grid.experiment, {arm.name: arm.values for arm in grid.arms})
    training.write_text(training.read_text().replace("algo=a2c", "algo=ppo"))
    words = str(path), "seeds=3", f"out={tmp_path}", f"output_dir={tmp_path}"
    code, printed = go(*words)
    assert code == 2 and "output_dir=" in printed and "label" not in printed, printed
    (folder / "grid.json").write_text("{")
    code, printed = go(*words)
    assert code == 2 and "grid.json" in printed and "output_dir=" not in printed, printed


def test_a_report_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "mine.png").mkdir()
    code, printed = go(str(write_claim(tmp_path)), f"out={tmp_path}")
    assert code == 2 and "mine.png" in printed and len(printed.splitlines()) == 1, printed

    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("claims.__main__.test_claim", fail)
    monkeypatch.setattr("claims.training.is_complete", lambda _: True)
    code, printed = go(str(write_claim(tmp_path)), f"out={tmp_path / 'found'}")
    assert code == 1 and "No space left on device" in printed and len(printed.splitlines()) == 1, printed


def test_one_override_needs_no_brackets_and_an_arm_may_have_none(tmp_path):
    claim = read_claim(str(write_claim(tmp_path)))
    (tmp_path / "trainings" / "two.yaml").write_text("common: env=cartpole\narms: {pg: algo=pg, tiny: }\n")
    training = read_training(claim, "two")
    assert (training.common, training.arms) == (("env=cartpole",), {"pg": ("algo=pg",), "tiny": ()})
    assert [arm.settings["algo"]["name"] for arm in make_grid(training, 3, "outputs").arms][0] == "pg"


def test_numbers_of_yaml_1_2_are_numbers(tmp_path):
    than = {"measure": "area", "of": "tiny", "is": "above", "than": "1e-12"}
    claim = read_claim(str(write_claim(tmp_path, until="5e4", threshold="2e2", predictions=[than])))
    assert (claim.until, claim.threshold, claim.predictions[0].than) == (50_000, 200, 1e-12)


@pytest.mark.parametrize("name", CONTENTS)
def test_what_a_measurement_has_is_in_the_meanings(name):
    assert MEASUREMENTS.keys() == CONTENTS.keys() and set(CONTENTS[name].measures) <= MEANINGS.keys()


def test_a_claim_whose_curves_begin_too_late_is_reported_all_the_same(tmp_path):
    slide = r"no mathematics: $\a slide$"
    claim = read_claim(str(write_claim(tmp_path, until=50, threshold=None, slide=slide)))
    curves = {arm: [rows([100, 200], [10, 20], [1, 1])] * 3 for arm in claim.arms}
    table = {arm: measure_arm(seeds, claim.until, claim.threshold) for arm, seeds in curves.items()}
    findings = judge_predictions(claim.predictions, table, is_paired=False)
    assert "| tiny | 3 |" in write_report(claim, findings, table, curves, tmp_path, "x").read_text()


# Measures -------------------------------------------------------------------------------------------------------------
def test_a_window_has_the_mean_of_the_games_that_ended_in_it():
    progress = rows([50, 100, 150, 200, 300], [10, 40, math.nan, 7, 1000], [1, 2, 0, 1, 9])
    assert compute_windows(progress, until=200, windows=2).tolist() == [30, 7]


@pytest.mark.parametrize("row_steps", [100, 1000, 2500, 5000])
def test_a_curve_is_the_same_whether_its_rows_are_many_or_few(row_steps):
    """A game for each 100 agent steps, whose score is that of a straight line from 0 to 100."""
    ends = np.arange(row_steps, 10_001, row_steps)
    progress = rows(ends, (ends - row_steps / 2) / 100, [row_steps / 100] * len(ends))
    assert compute_windows(progress, until=10_000, windows=2) == pytest.approx([25, 75])


def test_the_games_of_a_row_that_crosses_an_edge_are_shared_out():
    progress = rows([100, 300, 500], [10, 40, 70], [1, 2, 2])
    assert compute_windows(progress, until=400, windows=2) == pytest.approx([25, 55])
    assert compute_windows(progress, until=200, windows=2) == pytest.approx([10, 40])


def test_a_window_without_a_game_has_the_score_of_the_one_before_or_of_the_first_that_there_is():
    progress = rows([100, 200, 300, 400], [math.nan, 5, math.nan, 9], [0, 1, 0, 1])
    assert compute_windows(progress, until=400, windows=4).tolist() == [5, 5, 5, 9]
    assert np.isnan(compute_windows(rows([100], [math.nan], [0]), 100, 2)).all()


def test_oscillation_is_the_share_of_the_best_that_was_lost_again_in_the_second_half():
    assert compute_oscillation(np.array([1, 2, 3, 4.0])) == 0
    assert compute_oscillation(np.array([10, 100, 50, 100.0])) == 0.25
    assert compute_oscillation(np.array([100, 0, 100, 100.0])) == 0  # what happens in the first half does not count
    assert math.isnan(compute_oscillation(np.array([-9, -9, -8, -7.0])))


def test_steps_to_a_threshold_are_the_whole_budget_where_it_is_never_reached():
    assert compute_steps_to(np.array([10, 200, 50, 300.0]), 200, until=4000) == 2000
    assert compute_steps_to(np.array([10, 20.0]), 200, until=4000) == 4000


def test_pace_leaves_out_the_first_row_and_what_comes_after_the_budget():
    progress = rows([100, 200, 300, 900], [1] * 4, [1] * 4) | {"wall_time_s": np.array([50.0, 60, 70, 71])}
    assert compute_pace(progress, until=300) == 10


def test_an_arm_has_every_measure_of_every_seed():
    curves = [rows([100 * i for i in range(1, 11)], [level] * 10, [1] * 10) for level in (100, 200, 600)]
    table = measure_arm(curves, until=1000, threshold=200)
    assert table.keys() == MEASURES.keys()
    assert table["area"].tolist() == table["final"].tolist() == [100, 200, 600]
    assert table["spread"].tolist() == [100, 0, 400]
    assert table["reached"].tolist() == [0, 1, 1] and table["steps_to"].tolist() == [1000, 100, 100]
    assert "reached" not in measure_arm(curves, 1000, None)


def test_noise_is_known_for_gradients_that_are_made_up():
    from claims.measurements import compute_noise

    gradients = torch.tensor([[3.0, 4.0], [5.0, 4.0], [3.0, 8.0], [5.0, 8.0]])  # mean (4, 6), variances 4/3 and 16/3
    noise, ratio = compute_noise(gradients)
    assert noise == pytest.approx((20 / 3) ** 0.5) and ratio == pytest.approx((20 / 3 / 52) ** 0.5)


def test_diversity_is_the_variance_inside_of_batches():
    from claims.measurements import compute_variance_inside

    same = np.repeat(np.arange(4.0), 3).reshape(4, 3, 1)  # every batch has one state only
    assert compute_variance_inside(same) == 0
    assert compute_variance_inside(same.transpose(1, 0, 2)) == pytest.approx(1)  # every batch has all of them


# Verdicts -------------------------------------------------------------------------------------------------------------
def judge(*predictions: Prediction, is_paired: bool = False, **arms: list[float]):
    """The findings on predictions about the measure `x`."""
    table = {arm: {"x": np.array(numbers, float)} for arm, numbers in arms.items()}
    return judge_predictions(predictions, table, is_paired)


def test_a_prediction_holds_does_not_hold_or_cannot_be_told():
    low, high, wide = [1, 2, 3, 2, 1], [11, 12, 13, 12, 11], [-9, 30, 2, -5, 14]
    for side, verdict in (("below", HOLDS), ("above", DOES_NOT_HOLD)):
        (found,) = judge(Prediction("x", "a", side, "b"), a=low, b=high)
        assert found.verdict == verdict and found.effect == pytest.approx(-10) and found.low < -10 < found.high < 0
        (found,) = judge(Prediction("x", "a", side, 5.0), a=low)
        assert found.verdict == verdict and found.effect == pytest.approx(1.8 - 5)
        (found,) = judge(Prediction("x", "a", side, "b"), a=low, b=wide)
        assert found.verdict == CANNOT_TELL


def test_a_number_that_every_seed_shares_needs_no_chance():
    (found,) = judge(Prediction("x", "a", "below", 1e-12), is_paired=True, a=[0, 0, 0])
    assert math.isnan(found.p) and found.verdict == HOLDS
    (found,) = judge(Prediction("x", "a", "below", 0.0), is_paired=True, a=[0, 0, 0])
    assert found.verdict == CANNOT_TELL
    (found,) = judge(Prediction("x", "a", "above", 0.0), a=[math.nan, 1, 2])  # one seed has no number
    assert found.verdict == CANNOT_TELL and "a seed has no such number" in describe_finding(found)
    claim, table = list_claims()[0], {"a": {"x": np.array([math.nan, 1, 2])}}
    assert "nan" not in format_report(claim, [found], table, "").partition("Mean")[0]


def test_seeds_that_were_not_planned_are_said():
    assert describe_seeds(PLANNED_SEEDS) == ""
    assert "3 seeds" in describe_seeds(3) and f"{PLANNED_SEEDS} were planned" in describe_seeds(2 * PLANNED_SEEDS)


def test_learning_curves_without_spread_tell_nothing():
    (found,) = judge(Prediction("x", "a", "above", "b"), a=[1, 1, 1], b=[0, 0, 0])
    assert math.isnan(found.p) and found.verdict == CANNOT_TELL
    (found,) = judge(Prediction("x", "a", "above", 0.5), a=[1, 1, 1])
    assert found.verdict == CANNOT_TELL


def test_pairs_are_compared_as_pairs():
    numbers = {"a": [1, 20, 300, 4000], "b": [2, 21.5, 301, 4001]}
    assert judge(Prediction("x", "a", "below", "b"), **numbers)[0].verdict == CANNOT_TELL
    assert judge(Prediction("x", "a", "below", "b"), is_paired=True, **numbers)[0].verdict == HOLDS


def test_several_predictions_share_the_level():
    arms = {"a": [0, 1, 2, 3], "b": [2.6, 3.6, 4.6, 5.6]}  # p is 0.029 alone
    one = Prediction("x", "a", "below", "b")
    assert judge(one, **arms)[0].verdict == HOLDS
    assert [found.verdict for found in judge(one, one, **arms)] == [CANNOT_TELL, CANNOT_TELL]


def test_a_claim_holds_where_all_predictions_hold():
    certain = {"a": [1, 2, 1, 2], "b": [11, 12, 11, 12], "c": [-50, 90, 10, 0]}
    holds, fails = Prediction("x", "a", "below", "b"), Prediction("x", "a", "above", "b")
    unknown = Prediction("x", "a", "below", "c")
    assert judge_claim(judge(holds, holds, **certain)) == HOLDS
    assert judge_claim(judge(holds, unknown, **certain)) == CANNOT_TELL
    assert judge_claim(judge(holds, unknown, fails, **certain)) == DOES_NOT_HOLD


# The command ----------------------------------------------------------------------------------------------------------
def test_the_list_names_every_claim():
    code, printed = go()
    assert code == 0 and all(claim.name in printed and claim.words in printed for claim in list_claims())


@pytest.mark.end_to_end
def test_a_tiny_claim_is_trained_once_measured_and_reported(tmp_path):
    path = write_claim(tmp_path)
    words = [str(path), "seeds=3", f"output_dir={tmp_path}", f"out={tmp_path / 'found'}"]
    code, printed = go(*words)
    assert code == 0 and "does not hold here" in printed and describe_seeds(3) in printed, printed
    report = (tmp_path / "found" / "mine.md").read_text()
    assert f"python -m claims {path} seeds=3" in report and "A trial of 3 seeds" in report
    assert "A2C is tiny." in report and "Beforehand." in report and "| tiny | 3 |" in report
    assert (tmp_path / "found" / "mine.png").stat().st_size < 100_000
    assert len((tmp_path / "found" / "mine.csv").read_text().splitlines()) == 7  # a header, and three seeds of two arms
    code, again = go(*words)
    assert code == 0 and again.splitlines()[-4:] == printed.splitlines()[-4:]
    assert "starting Ray" not in again and "to train" not in again


@pytest.mark.end_to_end
@pytest.mark.parametrize("baseline", ["none", "average"])
def test_the_gradient_of_whole_games_is_that_of_pg_itself(baseline, shared_ray):
    name = {"none": "returns", "average": "baseline"}[baseline]
    plain = ("algo.standardize_returns=false", "algo.num_envs=2", "algo.episodes_per_update=2")
    with open_subject("algo=pg", *CARTPOLE, *plain, f"algo.baseline={baseline}") as subject:
        rollout = subject.runner.sample()
        found = compute_gradients(subject, rollout)[name]
        whole = record_gradient(subject, subject.net.state_dict(), rollout)
    assert found.norm() > 0
    torch.testing.assert_close(found, whole, rtol=1e-4, atol=1e-6)


@pytest.mark.end_to_end
def test_the_first_step_of_ppo_is_that_of_a2c_and_games_without_reward_teach_pg_nothing(monkeypatch, shared_ray):
    from claims import measurements

    monkeypatch.setattr(measurements, "UPDATES", 4)
    first = measurements.measure_first_step(1, {})
    assert first["ppo"]["difference"].tolist() == pytest.approx([0], abs=1e-5)
    norms = measurements.measure_zero_returns(1, {})
    assert norms["returns"]["gradient"].tolist() == [0] and norms["critic"]["gradient"][0] > 1e-3


@pytest.mark.parametrize(("number", "direction", "newtons"), [(0.5, 1, 5), (-0.25, 0, 2.5), (3.0, 1, 10), (0.0, 0, 0)])
def test_a_push_is_a_share_of_the_greatest(number, direction, newtons):
    env = Push(gymnasium.make("CartPole-v1"))
    assert env.action(np.array([number], np.float32)) == direction
    assert env.unwrapped.force_mag == newtons


def test_levels_are_the_numbers_of_a_continuous_action():
    env = Levels(Push(gymnasium.make("CartPole-v1")), 5)
    env.reset(seed=0)
    assert env.action_space.n == 5
    assert [env.action(level)[0] for level in range(5)] == [-1, -0.5, 0, 0.5, 1]
    env.step(1)
    assert env.unwrapped.force_mag == 5
