"""What a dry run says: where processes would be, and how much would travel."""

import re
from types import SimpleNamespace

import pytest

import run
from cluster.connection import list_nodes
from cluster.dry_run import Pace, count_rollout_bytes, count_weight_bytes, describe_plan, measure_pace
from cluster.placement import Node
from cluster.plan import make_plan
from runs.build import build_config
from settings.mistakes import Mistake

NODES = [Node("a", "large", {"CPU": 4.0, "GPU": 0.0}), Node("b", "small", {"CPU": 1.0, "GPU": 0.0})]
ON_RAY = ("cluster=ray", "output_dir=/shared")


def plan_for(settings: dict, pace: Pace | None = None) -> str:
    """What a dry run prints of an experiment on NODES."""
    return describe_plan(make_plan(settings), build_config(make_plan(settings)), NODES, pace)


def pace_for(settings: dict, nodes: list[Node]) -> Pace | None:
    """How fast one env runner of an experiment plays."""
    return measure_pace(make_plan(settings), build_config(make_plan(settings)), nodes)


@pytest.mark.parametrize(
    "words",
    [
        *(("env=assault",), ("env=cartpole",), ("env=cartpole", "model=mlp_lstm")),
        *(("env=pendulum", "algo.kl_coeff=0.5"), ("env=cartpole", "algo.kl_coeff=0.5")),
    ],
)
def test_a_rollout_is_as_large_as_it_is_said_to_be(words, compose, make_runner):
    words = (*words, "algo.num_envs=2", "algo.horizon=16", "algo.minibatch_size=16")
    rollout = make_runner(*words).sample()
    assert count_rollout_bytes(build_config(make_plan(compose(words)))) * 32 == rollout.num_bytes


def test_the_pace_is_measured_with_the_cpus_that_an_env_runner_has(compose, monkeypatch):
    given = {}

    def options(**words):
        given.update(words)
        raise Mistake("enough")

    monkeypatch.setattr("cluster.dry_run.EnvRunnerProbe", SimpleNamespace(options=options))
    words = ["env=cartpole", *ON_RAY, "cluster.num_env_runners=1", "cluster.cpus_per_runner=4"]
    with pytest.raises(Mistake, match="enough"):
        pace_for(compose(words), [Node("a", "head", {"CPU": 8.0, "GPU": 0.0})])
    assert given == {"num_cpus": 4, "num_gpus": 0}


def test_pixels_travel_once_and_little_beside_them(compose):
    """At most 7056 (T + 4) / T + 64 bytes per agent step."""
    for horizon in (5, 128):
        words = ("algo=a2c", f"algo.horizon={horizon}")
        assert (
            7056 < count_rollout_bytes(build_config(make_plan(compose(words)))) <= 7056 * (horizon + 4) / horizon + 64
        )


def test_weights_are_as_many_bytes_as_the_model_has(compose, make_learner):
    words = ("env=cartpole", "model.dtype=float32")
    learner = make_learner(*words)
    assert count_weight_bytes(build_config(make_plan(compose(words)))) == sum(
        4 * p.numel() for p in learner.net.parameters()
    )


def test_a_plan_has_a_node_for_every_process_or_says_that_there_is_none(compose):
    text = plan_for(compose(["env=cartpole", *ON_RAY]))
    assert " 2 nodes with 5 CPU:" in text and text.count("1 CPU ") == 5 and "small" in text and "large" in text
    assert "training process 1 CPU" in text and "env runner 4     1 CPU" in text and "learner 1" not in text
    text = plan_for(compose(["env=cartpole", *ON_RAY, "cluster.num_env_runners=2", "cluster.num_learners=2"]))
    assert text.index("env runner 2 ") < text.index("learner 1 ") < text.index("learner 2 ")
    text = plan_for(compose(["env=cartpole", *ON_RAY, "cluster.num_env_runners=8"]))
    assert text.count("no node: ") == 9


def test_what_travels_depends_on_who_learns(compose):
    """MB/s: rollouts from every env runner; weights once per update and node, or, of A3C, for every fragment."""
    assert "no traffic" in plan_for(compose(["env=cartpole"]))
    pace = Pace(agent_steps=1000.0, rollouts=2.0)
    words = [*ON_RAY, "cluster.num_env_runners=2", "cluster.cpus=1"]
    weights = count_weight_bytes(build_config(make_plan(compose(words)))) / 1e6  # nature_cnn for Assault
    cases = {
        ("algo=ppo",): ("rollouts: ", 2 * 1000, 2 * weights, "to each node"),
        ("algo=a3c", "algo.ship=gradients"): ("gradients: ", None, 2 * 2 * weights, "back"),
        ("algo=a3c", "algo.ship=experience"): ("rollouts: ", 2 * 1000, 2 * 2 * weights, "back"),
    }
    for more, (first, steps, back, where) in cases.items():
        settings = compose([*words, *more])
        there = back if steps is None else steps * count_rollout_bytes(build_config(make_plan(settings))) / 1e6
        text = plan_for(settings, pace)
        assert first in text and "1,000 agent steps/s" in text
        assert re.search(rf" with 2: {there:,.1f} MB/s .* {back:,.1f} MB/s .*{where}$", text), text
    text = plan_for(compose(words))
    assert text.splitlines()[-1].startswith("expected ") and "MB/s" not in text
    text = plan_for(compose([*words, "cluster.num_learners=2", "cluster.num_env_runners=4"]), pace)
    assert re.search(rf"\b{2 * 4 * 4 * weights:,.1f} MB/s of gradients .*\blearner$", text), text


@pytest.mark.end_to_end
def test_an_env_runner_that_finds_no_room_is_not_waited_for(compose, shared_ray, monkeypatch):
    monkeypatch.setattr("cluster.dry_run.MEASUREMENT_TIMEOUT_S", 0.5)
    words = ["env=cartpole", *ON_RAY, "cluster.num_env_runners=2"]
    nodes = [Node("a", "large", {"CPU": 64.0, "GPU": 8.0})]  # it is said to have GPUs, and has none
    assert pace_for(compose([*words, "cluster.gpus_per_runner=0.5"]), nodes) is None
    with monkeypatch.context() as without:
        without.setattr("cluster.dry_run.EnvRunnerProbe", None)  # a run that never fits is not even tried
        assert pace_for(compose([*words, "cluster.cpus_per_runner=64"]), nodes) is None
    monkeypatch.setattr("cluster.dry_run.MEASUREMENT_TIMEOUT_S", 60.0)
    with pytest.raises(Mistake, match="env runner .*none"):
        settings = compose(["env=assault", *words[1:]])
        pace_for(settings | {"env": settings["env"] | {"game": "none"}}, nodes)


@pytest.mark.parametrize("algo", ["ppo", pytest.param("a3c", marks=pytest.mark.end_to_end)])
def test_the_pace_of_an_env_runner_is_that_of_its_rollouts(algo, compose, shared_ray):
    settings = compose([f"algo={algo}", "env=cartpole", *ON_RAY, "cluster.num_env_runners=2"])
    pace, config = pace_for(settings, list_nodes()), build_config(make_plan(settings))
    per_rollout = config.num_envs_per_env_runner * settings["algo"]["horizon"]
    assert pace and pace.rollouts > 0
    assert 0.8 < pace.agent_steps / (pace.rollouts * per_rollout) < 1  # rows that only restart a game do not count


def test_a_dry_run_starts_nothing(shared_ray, tmp_path, capsys):
    assert run.main(["env=cartpole", "dry_run=true", f"output_dir={tmp_path}"]) == 0
    printed = capsys.readouterr().out
    assert re.search(r"^ppo .*cartpole, 8 envs x 128 steps", printed) and "training process 1 CPU" in printed
    assert list(tmp_path.iterdir()) == []


def test_several_runs_and_trials_are_counted_with_how_many_there_are_at_once(compose):
    words = ["env=cartpole", "cluster.num_env_runners=0"]
    assert "3 runs, one per seed (1, 2, 3), side by side" in plan_for(compose([*words, "seed=1,2,3"]))
    assert "7 runs" in (text := plan_for(compose([*words, "seed=range(1,8)"]))) and ", 5 at once" in text
    assert " runs" not in plan_for(compose(words))
    settings = compose(["tune_searches=cartpole_ppo"])
    assert "16 trials of 1 seed, 5 at once" in plan_for(settings)
    settings["search"] = settings["search"] | {"concurrent": 2, "seeds_per_trial": 3}
    assert "16 trials of 3 seeds, 2 at once" in plan_for(settings)


def test_a_search_says_how_many_trainings_and_agent_steps_it_takes_at_most(compose):
    """16 trials, 3 contenders on a seed more, 2 finalists and the default on 3 fresh seeds, 30,000 agent steps each."""
    text = plan_for(compose(["tune_searches=cartpole_ppo"]))
    assert "at most 28 trainings of 30,000 agent steps: 16 of trials, 3 of " in text and ", 9 of finalists" in text
    assert re.search(r"^840,000 agent steps in all, fewer ", text, re.MULTILINE)
    words = ["search.trials=2", "search.seeds_per_trial=3", "search.contenders=3", "search.scheduler=none"]
    text = plan_for(compose(["tune_searches=cartpole_ppo", *words, "search.concurrent=1"]))  # 2 trials, 2 contenders
    assert "at most 17 trainings" in text and "510,000 agent steps in all;" in text
    words = ["search.scheduler=pbt", "search.sampler=random", "search.trials=4"]
    text = plan_for(compose(["tune_searches=cartpole_ppo", *words]))
    assert "at most 4 trainings of 30,000 agent steps: 4 of trials\n120,000 agent steps in all;" in text


def test_the_process_that_plays_evaluations_has_a_line_and_takes_its_cpu_once(compose):
    words = ["env=cartpole", *ON_RAY, "cluster.num_env_runners=0", "evaluate_every=1000"]
    text = plan_for(compose(words))
    assert re.search(r"^  evaluator +1 CPU +(large|small)$", text, re.MULTILINE), text
    assert "7 runs" in (text := plan_for(compose([*words, "seed=range(1,8)"]))) and ", 4 at once" in text
    assert text.count("evaluator") == 1
    assert "evaluator" not in plan_for(compose(words[:-1]))
