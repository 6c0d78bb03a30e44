"""The plan of a run: the process that plays evaluations takes no CPU of the training, and env runners are counted."""

import pytest

from cluster.plan import count_env_runners, make_plan

WORDS = ["env=cartpole", "evaluate_every=1000"]


@pytest.mark.parametrize(
    ("words", "cpus", "expected"),
    [
        (["env=cartpole"], 8, None),
        ([*WORDS, "cluster.cpus=2"], 2, {}),
        ([*WORDS, "cluster.cpus=2"], 3, {"CPU": 1.0}),
        ([*WORDS, "seed=1,2"], 2, {}),
        ([*WORDS, "seed=1,2"], 3, {"CPU": 1.0}),
        ([*WORDS, "seed=1,2,3,4,5", "cluster.cpus=2"], 7, {"CPU": 1.0}),
        ([*WORDS, "seed=1,2,3,4,5", "cluster.cpus=2"], 8, {}),
        (["env=assault", "evaluate_every=1000"], 4, {}),
        (["env=assault", "evaluate_every=1000"], 9, {"CPU": 1.0}),
        (["algo=a3c", "env=cartpole", "evaluate_every=1000", "cluster.num_env_runners=2"], 2, {}),
    ],
)
def test_the_evaluator_takes_a_cpu_that_the_seeds_leave_or_none(words, cpus, expected, compose, machine_with):
    machine_with(cpus)
    plan = make_plan(compose(words))
    assert plan.evaluator == expected
    without = make_plan(plan.settings | {"evaluate_every": None})
    assert plan.bundles == without.bundles, "the training has what it has without evaluations"
    assert plan.all_bundles == [*plan.bundles, *([] if expected is None else [expected])]


def test_a_cluster_is_asked_for_one_cpu_more_and_a_search_has_no_evaluator(compose, machine_with):
    machine_with(2)
    plan = make_plan(compose([*WORDS, "cluster=ray", "output_dir=/shared", "cluster.num_env_runners=2"]))
    assert plan.evaluator == {"CPU": 1.0}
    settings = compose(["tune_searches=cartpole_ppo"]) | {"evaluate_every": 1000}
    assert make_plan(settings).evaluator is None


def test_as_many_env_runners_as_fit_are_counted_without_rounding_one_away(compose, monkeypatch):
    monkeypatch.setattr("cluster.plan.count_cpus", lambda: 7)
    settings = compose(["env=cartpole", "cluster.cpus=1"])  # the check of what fits is another one's
    settings["algo"] |= {"num_workers": 32}
    settings["cluster"] |= {"cpus": 0, "num_env_runners": None, "cpus_per_runner": 0.28}
    assert count_env_runners(settings) == 25  # 7 / 0.28 is 24.999999999999996
