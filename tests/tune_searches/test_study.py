"""What is told to Optuna, and that its storage is all one needs to go on."""

import errno
import io
import math
import os
import re
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import optuna
import pytest
import yaml
from optuna.trial import TrialState
from rich.console import Console

from run_directory.files import read_yaml
from run_directory.searches import read_trials
from runs.display import SearchDisplay
from runs.interrupt import Interrupt
from runs.training_process import read_trial
from settings.mistakes import Mistake
from tune_searches.search import run_remaining
from tune_searches.sources import ProposalSource, RunWriter
from tune_searches.space import parse_space
from tune_searches.study import MAX_DRAWS, NUM_SHARES, Study, make_sampler

SEARCH = ("tune_searches=cartpole_ppo", "search.sampler=random", "stop.agent_steps=3600")
SEARCH += ("search.scheduler=none", "report_every=100")
POINT = 3600 // NUM_SHARES


@pytest.fixture
def open_study(compose, tmp_path):
    def make(*overrides: str) -> Study:
        settings = compose([*SEARCH, *overrides])
        return Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)

    return make


def test_a_trial_at_its_budget_is_complete_one_before_is_pruned_at_its_last_share(open_study):
    study = open_study()
    for number, last in enumerate((3600, 1299)):
        assert study.ask()[0] == number
        study.report(number, 1250, 7.0)
        study.tell(number, last, 9.0)
    whole, cut = study.optuna.trials
    assert (whole.state, whole.value) == (TrialState.COMPLETE, 9.0)
    assert (cut.state, cut.value, cut.last_step) == (TrialState.PRUNED, 7.0, 12 * POINT)
    assert [row.agent_steps for row in study.list_records()] == [3600, 1299]
    assert re.search(r"^2 of 16 .*: 1 complete, 1 .*\b9\.00 \(trial 0\)$", study.describe_progress())


def test_an_unfinished_trial_is_not_called_running_and_a_failed_one_keeps_its_agent_steps(open_study):
    study = open_study()
    for _ in range(3):
        study.ask()
    study.report(0, 1250, 7.0)
    study.tell(1, 1299, math.nan, failure="gradient norm nan")
    study.tell(2, 3650, math.nan)
    states = [(row.state, row.agent_steps) for row in open_study().list_records()]
    assert states == [("UNFINISHED", 1200), ("FAIL", 1299), ("FAIL", 3650)]


def test_trials_of_earlier_versions_keep_the_agent_steps_of_their_last_share(open_study):
    study = open_study()
    study.ask()
    study.report(0, 1250, 7.0)
    study.optuna.tell(0, state=TrialState.PRUNED)
    assert [row.agent_steps for row in study.list_records()] == [1200]


@pytest.fixture
def proposals(open_study, tmp_path):
    """The source of the trials of a search, without Tune."""
    study = open_study()
    writer = RunWriter(study.settings, ["python", "run.py"], [])
    display = SearchDisplay(study.describe_progress, Console(file=io.StringIO()))
    return ProposalSource(study, tmp_path, writer, display, [], 16, study.budget)


@pytest.mark.parametrize("how", ["its process died", "it failed as it started again"])
def test_a_trial_that_fails_is_written_with_the_agent_steps_of_its_rows(how, proposals, tmp_path):
    config = proposals.suggest("id")
    (Path(config["dir"]) / "progress.csv").write_text("agent_steps,episode_return_mean\n800,9.5\n1600,10.5\n")
    if how == "its process died":
        proposals.fail_trial(config, "ActorDiedError: dead")
    else:
        proposals.end_trial(config, {"agent_steps": 0, "score": math.nan, "failure": "OSError: no"})
    (trial,) = read_trials(tmp_path)
    assert (trial.state, trial.agent_steps) == ("FAIL", 1600)


def test_all_trials_compute_in_the_dtype_of_the_driver_wherever_they_run(proposals, monkeypatch):
    monkeypatch.setattr("tune_searches.sources.choose_dtype", lambda settings: "bfloat16")
    config = proposals.suggest("id")
    assert config["settings"]["model"]["dtype"] == "bfloat16"
    assert config["settings"] | {"model": None} == read_yaml(Path(config["dir"]) / "config.yaml") | {"model": None}
    assert read_trial(config)[0]["model"]["dtype"] == "bfloat16", "what the process of a trial reads"


@pytest.fixture
def print_start(open_study, tmp_path, capsys, monkeypatch):
    """Return what a search prints that trains nothing."""
    monkeypatch.setattr("tune_searches.search.open_ray", lambda plan: nullcontext())
    monkeypatch.setattr("tune_searches.search.run_source", lambda *arguments: 0)

    def start(*overrides: str) -> str:
        run_remaining(open_study(*overrides).settings, ["python", "run.py"], [], tmp_path)
        return capsys.readouterr().out

    return start


def test_a_search_that_continues_says_how_many_of_its_trials_are_left(open_study, print_start):
    assert re.search(r"cartpole: 16 trials, each of at most 3,600 agent steps, .*no trial stops", print_start())
    study = open_study()
    study.tell(study.ask()[0], 3600, 1.0)
    study.ask()
    assert "cartpole: 15 left of 16 trials, each " in print_start()
    words = ("search.scheduler=asha", "search.name=another", "search.contenders=1", "search.finalists=1")
    text = print_start(*words, "search.fresh_seeds=0", "search.seeds_per_trial=2")
    assert "asha stops trials early" in text and "at most 1 training of the best" in text and "0 trainings on" in text
    assert "fresh seeds, each of 3,600 agent steps" in text
    words += ("search.name=third", "search.contender_seeds=0", "search.fresh_seeds=0")
    assert "then at most" not in print_start(*words)


def test_no_more_trials_are_said_to_run_at_once_than_are_left(print_start, monkeypatch):
    monkeypatch.setattr("tune_searches.search.count_cpus", lambda: 16)
    assert re.search(r" 2 trials, .* 2 at once;", print_start("search.trials=2"))
    monkeypatch.setattr("tune_searches.search.Population", lambda *arguments: SimpleNamespace(values={}))
    assert " 3 at once\n" in print_start("search.name=another", "search.trials=3", "search.scheduler=pbt")


def test_another_dtype_than_that_of_earlier_trials_is_said(print_start, monkeypatch):
    monkeypatch.setattr("cluster.plan.find_fastest_dtype", lambda: "bfloat16")
    assert "model.dtype" not in print_start("model.dtype=auto") + print_start("model.dtype=auto")
    monkeypatch.setattr("cluster.plan.find_fastest_dtype", lambda: "float32")
    text = print_start("model.dtype=auto")
    assert re.search(r"^model\.dtype=auto is float32 here; .* trials in bfloat16$", text, re.MULTILINE)


def test_a_search_that_has_ended_says_which_fresh_seeds_have_been_seen(open_study, print_start, monkeypatch):
    study = open_study("search.trials=1")
    study.tell(study.ask()[0], 3600, 1.0)
    monkeypatch.setattr("tune_searches.search.Confirmation.list_unfinished_runs", lambda *arguments: [])
    text = print_start("search.trials=1", "search.contender_seeds=1")
    assert re.search(r"have ended; raise search\.trials .*search\.fresh_seeds .* 3, 4, 5 ", text)
    text = print_start("search.trials=1", "search.fresh_seeds=0")
    assert "raise search.trials for more\n" in text


def test_scores_are_reported_once_per_share_under_the_share(open_study):
    study = open_study()
    study.ask()
    for steps, score in ((99, 1.0), (101, 2.0), (199, 3.0), (430, 4.0), (3600, 5.0)):
        study.report(0, steps, score)
    assert study.optuna.trials[0].intermediate_values == {100: 2.0, 400: 4.0, 3600: 5.0}


def test_a_failure_that_was_stored_before_a_kill_is_none_where_the_trial_came_to_its_end(open_study):
    study = open_study()
    number, _ = study.ask()
    study._trials[number].set_user_attr("failure", "seed 1: a process died")  # as `tell` does before the state
    again = open_study()
    again.find_unfinished_trials()
    assert again.list_records()[0].failure == ""
    again.tell(number, 3600, 1.0)
    assert (again.list_records()[0].state, again.list_records()[0].failure) == ("COMPLETE", "")


def test_nan_is_no_score_and_breaks_nothing(open_study):
    study = open_study()
    study.ask()
    study.report(0, 1200, math.nan)
    assert study.optuna.trials[0].intermediate_values == {}
    assert study.tell(0, 3600, math.nan) is TrialState.FAIL
    assert "games" in study.list_records()[0].failure
    study.ask()
    assert study.tell(1, 1200, 3.0, failure="gradient norm nan") is TrialState.FAIL
    assert study.list_records()[1].failure == "gradient norm nan"
    assert study.tell(study.ask()[0], 3600, 1.0) is TrialState.COMPLETE


def test_a_trial_under_way_goes_on_with_its_values_when_the_driver_is_gone(open_study):
    number, values = open_study().ask()
    again = open_study()
    assert again.find_unfinished_trials() == [(number, values)]
    assert again.count_remaining_trials() == 15
    again.report(number, 1200, 2.0)
    again.tell(number, 3600, 3.0)
    assert open_study().find_unfinished_trials() == []


def test_a_trial_killed_while_it_was_proposed_is_no_trial(open_study):
    study = open_study()
    study.optuna.ask()
    again = open_study()
    assert again.find_unfinished_trials() == [] and again.count_remaining_trials() == 16
    assert again.optuna.trials[0].state is TrialState.FAIL


@pytest.mark.parametrize("sampler", ["random", "tpe", "cmaes", "gp"])
def test_a_search_that_goes_on_does_not_propose_again_what_it_proposed(sampler, open_study):
    seen = []
    for _ in range(3):
        study = open_study(f"search.sampler={sampler}")
        for _ in range(2):
            number, values = study.ask()
            study.tell(number, 3600, float(number))
            seen.append(tuple(values.items()))
    assert len(set(seen)) == 6


@pytest.mark.parametrize("sampler", ["tpe", "gp"])
def test_a_search_whose_best_is_at_the_edge_of_what_can_work_goes_on(sampler, compose, tmp_path):
    """Batches of 256, a minibatch from 32 to 512, and the larger the better: a model proposes what is larger still."""
    space = "search.space={algo.minibatch_size: {int: [32, 512]}}"
    words = ["algo=ppo", "env=cartpole", "algo.horizon=32", "command=search", "search.name=x", space]
    settings = compose([*words, f"search.sampler={sampler}", "search.scheduler=none", "algo.num_envs=8"])
    study = Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)
    for _ in range(16):
        number, values = study.ask()
        study.tell(number, study.budget, float(values["algo.minibatch_size"]))


def test_a_search_whose_files_cannot_be_written_at_its_end_has_failed(open_study, tmp_path, monkeypatch, capsys):
    study = open_study("search.trials=1")
    study.tell(study.ask()[0], 3600, 1.0)
    for name in ("stop_requested", "stop_without_checkpoint", "reason"):
        monkeypatch.setattr(Interrupt, name, getattr(Interrupt, name))  # and back

    def write_trials_csv(*_):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), "trials.csv")

    monkeypatch.setattr("tune_searches.search.Confirmation.list_unfinished_runs", lambda *_: [])
    monkeypatch.setattr("tune_searches.search.write_trials_csv", write_trials_csv)
    assert run_remaining(study.settings, [], [], tmp_path) == 1
    assert "trials.csv" in capsys.readouterr().out


def test_the_median_rule_compares_with_four_scores_at_the_same_share_or_with_none(compose, tmp_path):
    settings = compose([*SEARCH, "search.name=x", "search.scheduler=median"])
    study, last = Study(settings, parse_space(settings["search"]["space"], settings), tmp_path), 34
    for score in (50.0, 60.0, 70.0, 80.0):
        number, _ = study.ask()
        study.report(number, study.budget * 30 // 36 + 1, score)  # at this share they have a score each
        if score == 80.0:
            study.report(number, study.budget * last // 36 + 1, score)  # and one of them at this one
        study.tell(number, study.budget, score)
    for share, stops in ((30, True), (last, False)):
        assert study.report(study.ask()[0], study.budget * share // 36 + 1, 40.0) == stops


def test_the_same_seed_proposes_the_same(compose, tmp_path):
    drawn = []
    for name in ("one", "two"):
        settings = compose([*SEARCH, f"search.name={name}"])
        drawn.append(Study(settings, parse_space(settings["search"]["space"], settings), tmp_path).ask()[1])
    assert drawn[0] == drawn[1]


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_asha_knows_its_rungs_after_the_driver_was_killed(storage, open_study):
    """The best third goes on at 1/9 and at 1/3 of the budget, whoever played before."""
    words = ("search.scheduler=asha", f"search.storage={storage}")

    def goes_on(score: float, steps: int) -> bool:
        study = open_study(*words)  # a new driver every time
        number, _ = study.ask()
        return not study.report(number, steps, score)

    assert [goes_on(score, 400) for score in (1.0, 2.0, 3.0, 1.5, 2.5, 3.5)] == [True, True, True, False, False, True]
    assert not goes_on(2.9, 410) and goes_on(9.0, 410)
    assert goes_on(0.5, 390), "before the first rung nobody is stopped"


@pytest.mark.parametrize("lost", [1, 20])
def test_a_journal_whose_last_line_was_torn_keeps_the_lines_before_it(lost, open_study, tmp_path):
    """A kill or a full disk tears it, or takes its line break alone."""
    study, path = open_study("search.storage=journal"), tmp_path / "study.journal"
    study.tell(study.ask()[0], 3600, 1.0)
    study.ask()
    os.truncate(path, path.stat().st_size - lost)
    for number in (2, 3):
        assert open_study("search.storage=journal").ask()[0] == number
    assert open_study("search.storage=journal").list_records()[0].score == 1.0


@pytest.mark.end_to_end
def test_median_stops_what_is_below_the_median_of_equal_budgets(open_study):
    study = open_study("search.scheduler=median")
    for score in (1.0, 2.0, 3.0, 4.0):
        number, _ = study.ask()
        assert not study.report(number, 400, score) and not study.report(number, 800, score)
        study.tell(number, 3600, score)
    number, _ = study.ask()
    assert not study.report(number, 300, 0.0), "within the first ninth of its budget"
    assert study.report(number, 800, 2.4)
    number, _ = study.ask()
    assert not study.report(number, 800, 2.6)


def test_a_trial_at_its_budget_is_never_stopped_early(open_study):
    study = open_study("search.scheduler=asha")
    for score in (5.0, 1.0):
        number, _ = study.ask()
        study.report(number, 1200, 9.0)
        assert not study.report(number, 3600, score)


@pytest.mark.parametrize(
    ("key", "old", "new"),
    [
        ("algo.vf_coeff", 0.5, 0.7),
        ("stop.agent_steps", 3600, 7200),
        ("search.seeds_per_trial", 1, 2),
        ("search.contender_seeds", 1, 2),
        ("seed", 1, 2),
        ("search.rungs", 2, 1),
        ("search.scheduler", "none", "asha"),
    ],
)
def test_another_search_under_the_same_name_is_refused(key, old, new, open_study):
    open_study().ask()
    with pytest.raises(Mistake, match=rf"^search\.name=cartpole_ppo: .* {key}={old} .*\b{new}, .*search\.name="):
        open_study(f"{key}={new}")


def test_a_search_does_not_go_on_from_other_weights(open_study, compose, tmp_path):
    open_study().ask()
    settings = compose(SEARCH) | {"pretrained": "mine"}
    with pytest.raises(Mistake, match=r"^search\.name=cartpole_ppo: .* pretrained=None .*\bmine, .*search\.name="):
        Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)


@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_a_search_in_which_nothing_has_trained_gives_its_name_to_another(storage, open_study):
    impossible = "search.space={algo.minibatch_size:{int:[500000,600000]}}"
    with pytest.raises(Mistake, match=r"^search\.space: .* algo\.minibatch_size="):
        open_study(impossible, f"search.storage={storage}").ask()
    words = ("search.space={algo.minibatch_size:{choice:[64,128]}}", "algo.clip=0.1", f"search.storage={storage}")
    study = open_study(*words)
    assert study.optuna.trials == [] and study.ask()[1]["algo.minibatch_size"] in (64, 128)
    with pytest.raises(Mistake, match=r"search\.name="):
        open_study(impossible, f"search.storage={storage}")
    assert len(open_study(*words).list_trials()) == 1


def test_a_search_of_an_earlier_version_goes_on_under_its_own_rules_only(compose, tmp_path):
    """It does not know FIRE after a lost life."""
    settings = compose(["tune_searches=assault_ppo", "search.storage=journal"])
    study = Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)
    study.ask()
    known = study.optuna.user_attrs["search"]
    study.optuna.set_user_attr("search", {k: v for k, v in known.items() if k != "env.fire_on_life_loss"})
    with pytest.raises(Mistake, match=r"env\.fire_on_life_loss=False"):
        Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)
    kept = settings | {"env": settings["env"] | {"fire_on_life_loss": False}}
    Study(kept, parse_space(settings["search"]["space"], kept), tmp_path)


def test_a_search_that_is_older_than_the_start_of_rmsprop_started_at_1(compose, tmp_path):
    settings = compose(["tune_searches=assault_ppo", "search.storage=journal", "algo.rmsprop_start=1"])
    study = Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)
    study.ask()
    known = study.optuna.user_attrs["search"]
    study.optuna.set_user_attr("search", {k: v for k, v in known.items() if k != "algo.rmsprop_start"})
    Study(settings, parse_space(settings["search"]["space"], settings), tmp_path)
    other = settings | {"algo": settings["algo"] | {"rmsprop_start": 0}}
    with pytest.raises(Mistake, match=r"algo\.rmsprop_start=1 and this one 0"):
        Study(other, parse_space(settings["search"]["space"], other), tmp_path)


def test_a_search_of_an_earlier_version_keeps_the_contender_seeds_of_its_config(open_study, tmp_path):
    study = open_study("search.contender_seeds=2")
    study.ask()
    known = study.optuna.user_attrs["search"]
    study.optuna.set_user_attr("search", {k: v for k, v in known.items() if k != "search.contender_seeds"})
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(study.settings))
    open_study("search.contender_seeds=2")
    with pytest.raises(Mistake, match=r"search\.contender_seeds=2 and this one 1,"):
        open_study("search.contender_seeds=1")
    (tmp_path / "config.yaml").write_text("seed: 1\n")
    with pytest.raises(Mistake, match=r"config\.yaml.*\bsearch\b"):
        open_study("search.contender_seeds=2")


def test_a_decision_to_stop_is_kept_when_the_driver_is_killed_before_it_is_told(open_study):
    """The pruner has passed the rung by then, and would say go on."""
    study = open_study("search.scheduler=asha")
    for score in (9.0, 1.0):
        number, _ = study.ask()
        stop = study.report(number, 400, score)
    assert stop
    again = open_study("search.scheduler=asha")
    again.find_unfinished_trials()
    assert again.is_stopped(number) and again.report(number, 500, 99.0) and not again.is_stopped(0)
    assert again.tell(number, 500, 99.0) is TrialState.PRUNED


def test_a_study_that_is_none_of_ours_is_refused(open_study, tmp_path):
    optuna.create_study(storage=f"sqlite:///{tmp_path / 'study.db'}", study_name="cartpole_ppo", direction="minimize")
    with pytest.raises(Mistake, match="^search.name=cartpole_ppo: [^=]*$"):
        open_study()


def test_a_search_may_have_a_folder_of_any_name(compose, tmp_path):
    settings, folder = compose(SEARCH), tmp_path / "a=b é [1] {x} #h&x?y %20"
    folder.mkdir()
    Study(settings, parse_space(settings["search"]["space"], settings), folder)
    assert [path.name for path in folder.iterdir()] == ["study.db"] and [*tmp_path.iterdir()] == [folder]


def test_a_database_holds_one_directory_per_search(compose, tmp_path):
    settings = compose([*SEARCH, f"search.storage=sqlite:///{tmp_path / 'shared.db'}"])
    space = parse_space(settings["search"]["space"], settings)
    Study(settings, space, tmp_path / "one")
    with pytest.raises(Mistake, match=rf" folder={tmp_path}/one .*{tmp_path}/two,"):
        Study(settings, space, tmp_path / "two")
    Study(settings, space, tmp_path / "one")


def test_how_it_is_run_may_change(open_study):
    open_study()
    assert (
        open_study(
            "search.trials=40", "search.concurrent=1", "search.sampler=tpe", "cluster.cpus=2"
        ).count_remaining_trials()
        == 40
    )


@pytest.mark.parametrize(
    "storage",
    ["postgresql://nobody@127.0.0.1:1/none", "oracle_of_delphi://x", "no url", "sqlite:////no/such/place/x.db"],
)
def test_a_storage_that_cannot_be_opened_is_one_sentence(storage, open_study):
    with pytest.raises(Mistake) as refused:
        open_study(f"search.storage='{storage}'")
    assert str(refused.value).startswith(f"search.storage={storage} ")
    assert "\n" not in str(refused.value)


@pytest.mark.end_to_end
def test_combinations_that_cannot_work_cost_nothing(open_study):
    """minibatch_size 128 and 256 are more than 3 envs x 32 steps: only 64 is ever begun."""
    study = open_study("algo.num_envs=3", "algo.minibatch_size=64")
    begun = [study.ask()[1]["algo.minibatch_size"] for _ in range(5)]
    assert begun == [64] * 5 and study.count_remaining_trials() == 11
    impossible = [t for t in study.optuna.trials if "impossible" in t.user_attrs]
    assert impossible and all(t.state is TrialState.FAIL for t in impossible)
    assert "minibatch_size" in impossible[0].user_attrs["impossible"]


@pytest.mark.end_to_end
def test_a_space_where_nothing_works_is_refused(open_study):
    with pytest.raises(Mistake, match=rf"^search\.space: {MAX_DRAWS} .*algo\.minibatch_size="):
        open_study("algo.num_envs=1", "algo.minibatch_size=32").ask()


def test_the_samplers_are_the_ones_they_are_called():
    kinds = {name: type(make_sampler(name, 1)) for name in ("tpe", "random", "cmaes", "gp")}
    samplers = optuna.samplers
    assert kinds == {
        "tpe": samplers.TPESampler,
        "random": samplers.RandomSampler,
        "cmaes": samplers.CmaEsSampler,
        "gp": samplers.GPSampler,
    }
