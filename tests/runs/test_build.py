"""From settings to an RLlib config: every setting arrives where RLlib reads it, and nothing else is accepted."""

import ast
import copy
import dataclasses
import pickle
from pathlib import Path

import gymnasium
import numpy as np
import pytest
import torch
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig

import run
from cluster.plan import MAX_CPUS, choose_dtype, count_training_cpus, list_seeds, make_plan
from custom_models.actor_critic import ActorCritic
from environments.games import make_games
from environments.machine import find_fastest_dtype
from experiments import composition
from experiments.check import check_settings
from runs.build import CONFIGS, build_config, make_model_config
from settings.algorithms import ALGORITHMS
from settings.mistakes import Mistake

ROOT = Path(run.__file__).parent
MODELS = ROOT / "experiments" / "model"
RLLIBS = [  # setting, value, RLlib's attribute, its value there
    ("algo.horizon", 64, "rollout_fragment_length", 64),
    ("algo.lr", 0.125, "lr", 0.125),
    ("algo.num_epochs", 7, "num_epochs", 7),
    ("algo.minibatch_size", 96, "minibatch_size", 96),
    ("algo.gamma", 0.5, "gamma", 0.5),
    ("algo.max_grad_norm", 3.5, "grad_clip", 3.5),
    ("algo.max_grad_norm", None, "grad_clip", None),
    ("cluster.cpus_per_runner", 2, "num_cpus_per_env_runner", 2),
    ("cluster.num_learners", 1, "num_learners", 1),
    ("cluster.gpus_per_learner", 0.5, "num_gpus_per_learner", 0.5),
    ("cluster.cpus", 3, "num_cpus_for_main_process", 3),
    ("seed", 77, "seed", 77),
]
ATTRIBUTES = {"algo", "env_settings", "stop_settings", "report_every", "checkpoint_every_s", "keep_milestones"}
ATTRIBUTES |= {"evaluate_every", "threads"}
OURS = [  # of the run, beside the settings of the algorithm, the environment and the end
    ("checkpoint_every_s", 7.5),
    ("keep_milestones", False),
    ("evaluate_every", 5000),
    ("report_every", 333),
]


@pytest.fixture(scope="module")
def composed():
    return {
        words: composition.compose_settings(words.split()) for words in ("env=assault", "env=cartpole", "env=pendulum")
    }


@pytest.fixture
def settings(composed):
    return copy.deepcopy(composed["env=assault"])


@pytest.fixture
def large_machine(machine_with):
    machine_with(16, gpus=2)


def put(settings: dict, key: str, value) -> dict:
    group, _, name = key.rpartition(".")
    (settings[group] if group else settings)[name] = value
    return settings


@pytest.mark.parametrize(("key", "value", "attribute", "there"), RLLIBS)
def test_a_setting_arrives_under_rllib_s_name(key, value, attribute, there, settings, large_machine):
    assert getattr(build_config(make_plan(check_settings(put(settings, key, value)))), attribute) == there
    assert hasattr(AlgorithmConfig(), attribute), "a name that RLlib's config does not have is not read by RLlib"


@pytest.mark.parametrize(("key", "value"), OURS)
def test_a_setting_of_the_run_arrives_under_its_own_name(key, value, settings):
    assert getattr(build_config(make_plan(check_settings(put(settings, key, value)))), key) == value


def test_env_runners_get_the_gpus_they_ask_for_and_a_trials_learner_a_part_of_one(settings, large_machine):
    settings["cluster"] |= {"num_env_runners": 2, "gpus_per_runner": 0.25, "gpus_per_learner": 0.5}
    checked = check_settings(settings)
    assert build_config(make_plan(checked)).num_gpus_per_env_runner == 0.25
    assert [bundle["GPU"] for bundle in make_plan(checked).bundles] == [0.5, 0.25, 0.25]
    assert make_plan(checked).gpus == 1 and make_plan(checked, 3).gpus == 0.5 + 3 * 0.5
    assert make_plan(checked).cpus == make_plan(checked | {"cluster": checked["cluster"] | {"num_learners": 1}}).cpus
    settings["cluster"] |= {"num_learners": 2, "gpus_per_learner": 1, "gpus_per_runner": 0}
    assert make_plan(check_settings(settings)).gpus == 2 and make_plan(check_settings(settings), 2).gpus == 4


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"num_env_runners": 0}, r"gpus_per_runner=0\.75 .*num_env_runners=0; set "),
        (
            {"num_env_runners": 4},
            r"^cluster\.gpus_per_runner=0\.75, .*num_env_runners=4: .*\b3 GPUs,",
        ),
        (
            {"num_env_runners": 2, "gpus_per_learner": 1},
            r"gpus_per_learner=1, .*: .* 2\.5 GPUs, .*\b2\b",
        ),
        ({"num_env_runners": 2, "gpus_per_learner": 0.5}, r"gpus_per_learner=0\.5, .*: .*\b2 GPUs, .*\b2\b"),
        ({"num_env_runners": 1, "gpus_per_learner": 1.5}, r"cluster\.gpus_per_learner=1\.5 .* 0 to 1$"),
        ({"num_env_runners": 2, "gpus_per_runner": 2}, r"cluster\.gpus_per_runner=2\.0 .* 0 to 1$"),
    ],
)
def test_gpus_that_env_runners_cannot_have_are_refused(changes, named, settings, large_machine):
    settings["cluster"] |= {"gpus_per_runner": 0.75} | changes
    with pytest.raises(Mistake, match=named):
        check_settings(settings)


@pytest.mark.parametrize("words", [("algo=a3c", "cluster.num_env_runners=2"), ("algo=dqn",)])
def test_what_acts_on_the_cpu_only_is_given_no_gpu(words, compose, machine_with):
    machine_with(16, gpus=2)
    with pytest.raises(Mistake, match=rf"cluster\.gpus_per_runner=0\.5: {words[0]} .*\b0, .*algo=ppo"):
        compose((*words, "cluster.gpus_per_runner=0.5"))


def test_the_batch_is_envs_times_horizon_whatever_the_runners(settings, large_machine):
    settings["algo"] |= {"num_envs": 12, "horizon": 32}
    for runners, envs_each in [(0, 12), (1, 12), (3, 4)]:
        settings["cluster"]["num_env_runners"] = runners
        config = build_config(make_plan(check_settings(settings)))
        assert config.train_batch_size_per_learner == 12 * 32
        assert config.num_envs_per_env_runner == envs_each
        assert config.num_env_runners == runners
        assert config.create_local_env_runner == (runners == 0)


@pytest.mark.parametrize(("name", "envs_each"), [("pong_a3c", 1), ("assault_a3c_paper", 4)])
def test_on_a_laptop_a3c_differs_in_its_processes_only(name, envs_each, compose, machine_with):
    """As many workers, envs and steps per gradient as where each of the 16 workers has a process of its own."""

    def built(cpus: int, *overrides: str):
        machine_with(cpus)
        return build_config(make_plan(check_settings(compose((f"tuned_configs={name}", *overrides)))))

    laptop, cluster = built(2, "cluster=laptop"), built(64, "cluster.num_env_runners=16")
    for config, processes in ((laptop, 2), (cluster, 16)):
        assert config.num_env_runners == processes
        assert config.algo.num_workers == 16 and config.rollout_fragment_length == 20
        assert config.num_envs_per_env_runner == envs_each
    one, other = (config.to_dict() for config in (laptop, cluster))
    assert {key for key in one if one[key] != other[key]} == {"num_env_runners"}


def test_the_policy_is_recorded_only_where_the_penalty_wants_it(settings):
    assert not build_config(make_plan(check_settings(settings))).records_policy()
    assert build_config(make_plan(check_settings(put(settings, "algo.kl_coeff", 0.2)))).records_policy()


def test_the_environment_s_settings_travel_as_they_are(settings):
    assert build_config(make_plan(check_settings(settings))).env_config == settings["env"]


def test_the_model_knows_its_pixels_and_its_dtype(composed):
    model = make_model_config(make_plan(composed["env=assault"]))
    assert model["pixels"] == {"dim": 84, "width": None, "channels": 1, "stack": 4, "block": 4}
    assert model["dtype"] == find_fastest_dtype()
    assert "pixels" not in make_model_config(make_plan(composed["env=cartpole"]))
    assert make_model_config(make_plan(composed["env=cartpole"]))["dtype"] == "float32"


@pytest.mark.parametrize(
    ("cluster", "on_gpu"),
    [
        ({}, False),
        ({"gpus_per_learner": 1}, True),  # the training process acts on its GPU
        ({"gpus_per_learner": 1, "num_learners": 1}, False),  # it acts on its CPUs, and another process learns
        ({"gpus_per_runner": 0.25}, False),  # there is no env runner that could have it
        ({"gpus_per_learner": 1, "num_env_runners": 2}, False),
        ({"gpus_per_learner": 1, "num_env_runners": 2, "gpus_per_runner": 0.25}, True),
    ],
)
def test_the_dtype_is_that_of_where_the_policy_acts(cluster, on_gpu, composed, monkeypatch):
    monkeypatch.setattr("cluster.plan.find_fastest_dtype", lambda: "float32")
    settings = composed["env=assault"] | {"cluster": composed["env=assault"]["cluster"] | cluster}
    assert choose_dtype(settings) == ("bfloat16" if on_gpu else "float32")
    assert make_model_config(make_plan(settings))["dtype"] == choose_dtype(settings)
    assert choose_dtype(settings | {"model": settings["model"] | {"dtype": "float32"}}) == "float32"


def test_dqn_acts_on_the_cpu_wherever_it_learns(composed, monkeypatch):
    monkeypatch.setattr("cluster.plan.find_fastest_dtype", lambda: "float32")
    settings = composed["env=assault"]
    settings = settings | {"cluster": settings["cluster"] | {"gpus_per_learner": 1}}
    assert choose_dtype(settings | {"algo": settings["algo"] | {"name": "dqn"}}) == "float32"


def test_a_lost_runner_is_replaced(settings):
    assert build_config(make_plan(check_settings(settings))).restart_failed_env_runners


def test_checking_changes_nothing_but_the_kind_of_numbers(composed):
    for settings in composed.values():
        before = copy.deepcopy(settings)
        assert check_settings(settings) == settings == before
        assert check_settings(check_settings(settings)) == check_settings(settings)


@pytest.mark.parametrize(("torso", "smallest"), [("nature_cnn", 36), ("a3c_cnn", 20), ("cnn42", 17)])
def test_a_picture_too_small_for_the_convolutions_is_refused(torso, smallest, settings):
    settings["model"]["torso"] = torso
    check_settings(put(settings, "env.dim", smallest))
    with pytest.raises(Mistake, match=rf"env\.dim={smallest - 1} .*model\.torso={torso}, .*\b{smallest}\b"):
        check_settings(put(settings, "env.dim", smallest - 1))
    settings["model"] |= {"torso": "mlp", "hidden": [8]}
    check_settings(settings)  # takes any picture


@pytest.mark.parametrize("torso", ["nature_cnn", "a3c_cnn", "cnn42", "impala"])
def test_a_torso_for_pixels_is_refused_where_there_are_none(torso, composed):
    settings = copy.deepcopy(composed["env=cartpole"])
    settings["model"] |= {"torso": torso, "hidden": 16}
    with pytest.raises(Mistake, match=rf"model\.torso={torso} .*env=cartpole .*model=mlp$"):
        check_settings(settings)


def test_a_memory_for_two_trunks_is_refused(settings):
    settings["model"] |= {"lstm_size": 32, "shared_trunk": False}
    with pytest.raises(Mistake, match=r"model\.lstm_size=32 .*model\.shared_trunk=true, "):
        check_settings(settings)
    check_settings(put(settings, "model.shared_trunk", True))


def test_only_convolutions_can_do_without_a_fully_connected_layer(settings):
    settings["model"]["hidden"] = None
    check_settings(put(settings, "model.torso", "cnn42"))
    for torso in ("impala", "mlp"):
        with pytest.raises(Mistake, match=r"^model\.hidden "):
            check_settings(put(settings, "model.torso", torso))


@pytest.mark.parametrize("name", sorted(path.stem for path in MODELS.glob("*.yaml")))
def test_every_model_there_is_can_be_built(name, compose):
    settings = compose(["env=cartpole" if name.startswith("mlp") else "env=assault", f"model={name}"])
    config = make_model_config(make_plan(settings))
    numbers = gymnasium.spaces.Box(-1, 1, (4,), np.float32)
    pixels = gymnasium.spaces.Box(0, 255, (21, 21, 64), np.uint8)
    agent = ActorCritic(
        observation_space=pixels if "pixels" in config else numbers,
        action_space=gymnasium.spaces.Discrete(6),
        model_config=config,
    )
    obs = torch.from_numpy(np.zeros((2, *agent.observation_space.shape), agent.observation_space.dtype))
    policy, values, _ = agent.act(obs, agent.pack(), agent.make_initial_state(2))
    assert policy.shape == (2, 6) and values.shape == (2,)
    assert agent.recurrent == bool(settings["model"]["lstm_size"]) == name.endswith("_lstm")


OUTSIDE = """
import gymnasium
from gymnasium.envs.classic_control import CartPoleEnv
gymnasium.register("Outside-v0", CartPoleEnv, max_episode_steps=7)
"""


def test_an_environment_may_come_from_a_module_that_registers_it(composed, tmp_path, monkeypatch):
    (tmp_path / "outside_the_suite.py").write_text(OUTSIDE)
    monkeypatch.syspath_prepend(tmp_path)
    settings = put(copy.deepcopy(composed["env=cartpole"]), "env.id", "outside_the_suite:Outside-v0")
    games = make_games(check_settings(settings)["env"], 2, 1)
    games.reset(seed=1)
    ends = [games.step(np.zeros(2, np.int64)).finished.all() for _ in range(7)]
    assert ends == [False] * 6 + [True]
    with pytest.raises(Mistake, match=r"env\.id=outside_the_suite:Outsider-v0: .* Outside-v0\b"):
        check_settings(put(settings, "env.id", "outside_the_suite:Outsider-v0"))
    del gymnasium.registry["Outside-v0"]


@pytest.mark.parametrize("source", ["", "raise OSError('no licence')"])
def test_a_module_that_cannot_be_imported_is_refused(source, composed, tmp_path, monkeypatch):
    if source:
        (tmp_path / "nowhere.py").write_text(source)
    monkeypatch.syspath_prepend(tmp_path)
    settings = put(copy.deepcopy(composed["env=cartpole"]), "env.id", "nowhere:Outside-v0")
    with pytest.raises(Mistake, match=r"env\.id=nowhere:Outside-v0: .*\bnowhere .*module:Id\b"):
        check_settings(settings)


def test_a_key_nobody_knows_is_refused_in_every_group(settings):
    for group in ("algo", "env", "model", "cluster", "stop"):
        with pytest.raises(Mistake, match=rf"^{group}\.nonsense: "):
            check_settings(put(copy.deepcopy(settings), f"{group}.nonsense", 1))
    with pytest.raises(Mistake, match="^nonsense: "):
        check_settings(put(settings, "nonsense", 1))


def test_a_key_that_is_missing_is_refused_in_every_group(settings):
    for group in ("algo", "env", "model", "cluster", "stop"):
        for key in settings[group]:
            if key in ("name", "game", "torso"):  # these say what the other keys of the group are
                continue
            less = copy.deepcopy(settings)
            del less[group][key]
            with pytest.raises(Mistake, match=f"{group}.{key} is missing"):
                check_settings(less)


@pytest.mark.parametrize(
    ("cluster", "cpus", "given"),
    [
        ({}, 2, 2),
        ({}, 64, MAX_CPUS),
        ({"cpus": 3}, 64, 3),
        ({"num_env_runners": 2}, 6, 4),
        ({"num_env_runners": 2, "cpus_per_runner": 2}, 6, 2),
        ({"num_env_runners": 1}, 1, 1),
        ({"num_learners": 1}, 4, 3),
    ],
)
def test_the_training_process_takes_what_the_others_leave(cluster, cpus, given, settings, machine_with):
    machine_with(cpus)
    settings["cluster"] |= cluster
    assert count_training_cpus(settings) == given == build_config(make_plan(settings)).num_cpus_for_main_process


@pytest.mark.parametrize(
    ("cluster", "processes"),
    [
        ({}, 2),
        ({"cpus": 1}, 1),
        ({"cpus": 2}, 0),
        ({"num_learners": 1}, 1),
        ({"cpus_per_runner": 0.5}, 4),
        ({"cpus_per_runner": 0.1}, 16),
        ({"num_env_runners": 0}, 0),
    ],
)
def test_a3c_has_as_many_processes_as_the_others_leave_room_for(cluster, processes, compose, machine_with):
    machine_with(2)
    settings = compose(["tuned_configs=assault_a3c_paper"])
    settings["cluster"] |= cluster
    check_settings(settings)
    assert build_config(make_plan(settings)).num_env_runners == processes


@pytest.mark.parametrize(("cpus", "given"), [(None, 1), (3, 3)])
def test_a_network_without_convolutions_takes_one_cpu_unless_it_is_given_more(cpus, given, composed, machine_with):
    machine_with(16)
    settings = copy.deepcopy(composed["env=cartpole"])
    settings["cluster"]["cpus"] = cpus
    assert count_training_cpus(settings) == given


@pytest.mark.parametrize(
    ("cluster", "fits"),
    [
        ({"cpus": 4}, True),
        ({"cpus": 5}, False),
        ({"num_env_runners": 2, "cpus": 2}, True),
        ({"num_env_runners": 2, "cpus": 3}, False),
        ({"num_env_runners": 4}, False),
        ({"num_env_runners": 2, "cpus_per_runner": 2}, False),
        ({"num_learners": 1, "cpus": 3}, True),
        ({"num_learners": 1, "cpus": 4}, False),
    ],
)
def test_all_processes_together_have_to_fit_into_the_machine(cluster, fits, settings, machine_with):
    machine_with(4)
    settings["cluster"] |= cluster
    if fits:
        check_settings(settings)
    else:
        with pytest.raises(Mistake, match=r"^cluster\..*=\d.*\b4;"):
            check_settings(settings)


def test_seeds_are_a_number_or_a_list():
    assert list_seeds({"seed": 3}) == [3]
    assert list_seeds({"seed": [3, 1]}) == [3, 1]


@pytest.mark.parametrize("algo", CONFIGS)
def test_every_setting_of_an_algorithm_is_read(algo):
    """Somewhere the code below the composition has `algo.clip`, or `self.config.algo.clip`."""
    read = set()
    for path in [*ROOT.glob("algorithms/*.py"), *ROOT.glob("rollouts/*.py"), ROOT / "runs" / "build.py"]:
        nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)]
        read |= {node.attr for node in nodes if ast.unparse(node.value).rpartition(".")[2] == "algo"}
    assert {field.name for field in dataclasses.fields(ALGORITHMS[algo])} - read == {"name"}


@pytest.mark.parametrize("algo", CONFIGS)
def test_an_rllib_config_has_the_settings_and_no_other_name_that_nobody_reads(algo, compose):
    settings = compose((f"algo={algo}",))
    config = build_config(make_plan(settings))
    assert set(vars(config)) - set(vars(CONFIGS[algo]())) == ATTRIBUTES
    assert dataclasses.asdict(config.algo) == settings["algo"]
    assert dataclasses.asdict(config.env_settings) == settings["env"]
    assert dataclasses.asdict(config.stop_settings) == settings["stop"]


@pytest.mark.parametrize("algo", CONFIGS)
def test_settings_live_through_copies_pickles_and_dicts_of_an_rllib_config(algo, compose):
    """RLlib copies its config, Ray sends it to processes, and Ray Tune makes a dict of it and a config again."""
    config = build_config(make_plan(compose((f"algo={algo}",))))
    again = CONFIGS[algo]().update_from_dict(config.to_dict())
    for one in (config.copy(copy_frozen=False), pickle.loads(pickle.dumps(config)), again):
        assert one.algo == config.algo and type(one.algo) is ALGORITHMS[algo]


def test_a3c_asks_for_a_cpu_per_process_that_plays_and_none_for_the_centre(compose, machine_with):
    """Through RLlib's own translation of a config, as Tune sees it: on two cores nothing else would ever start."""
    machine_with(2)
    config = build_config(make_plan(check_settings(compose(("algo=a3c", "env=cartpole", "algo.num_workers=4")))))
    request = config.algo_class.default_resource_request(config.to_dict())
    assert request.required_resources == {"CPU": 2, "memory": 1} and request.head_cpus == 0
    assert len(request.bundles) == 3, "RLlib puts runner n into bundle n"


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("cluster.num_env_runners=2", "cluster.cpus_per_runner=0.5"),
        ("cluster.num_env_runners=2", "cluster.num_learners=2"),
        ("cluster.num_env_runners=2", "cluster.num_learners=1", "cluster.gpus_per_learner=1"),
        ("cluster.num_env_runners=4", "cluster.gpus_per_learner=0.5", "cluster.gpus_per_runner=0.25"),
        ("cluster.placement=spread", "cluster.num_env_runners=2", "cluster.cpus=3"),
        ("algo=a3c", "env=cartpole", "algo.num_workers=4"),
        ("algo=a3c", "env=cartpole", "algo.num_workers=4", "cluster.cpus=1"),
        ("algo=dqn", "env=cartpole", "cluster.gpus_per_learner=1"),
    ],
)
def test_a_plan_asks_for_the_processes_that_rllib_would_ask_for(words, compose, large_machine):
    plan = make_plan(compose(words))
    config = build_config(plan)
    request = config.algo_class.default_resource_request(config.to_dict())
    assert plan.bundles == request.bundles
    assert request.strategy == plan.settings["cluster"]["placement"].upper()


def test_env_runners_that_take_a_part_of_a_cpu_leave_the_training_process_whole_ones(settings, machine_with):
    """Rounded the other way a run would ask for more than there is, and wait for it for ever."""
    machine_with(4)
    settings["cluster"] |= {"num_env_runners": 3, "cpus_per_runner": 0.5}
    settings["algo"]["num_envs"] = 6
    plan = make_plan(check_settings(settings))
    assert plan.training_cpus == 2 and plan.cpus == 3.5


def test_parts_of_cpus_that_add_up_to_a_whole_one_are_no_more_than_it(settings, machine_with):
    machine_with(4)
    settings["cluster"] |= {"num_env_runners": 5, "cpus_per_runner": 0.2}
    settings["algo"]["num_envs"] = 5
    assert make_plan(check_settings(settings)).cpus == 4


def test_seeds_of_a_trial_share_the_training_process_and_nothing_else(compose, machine_with):
    machine_with(64)
    runners = compose(["cluster.cpus=3", "cluster.num_env_runners=2", "cluster.num_learners=1"])
    assert make_plan(runners).cpus == 3 + 2 + 1 and make_plan(runners, 4).cpus == 3 + 4 * (2 + 1)
    words = ("tune_searches=cartpole_ppo", "cluster.num_env_runners=2", "search.seeds_per_trial=40")
    with pytest.raises(Mistake, match=r"\b81 CPUs, .*search\.seeds_per_trial=40, .*\b64\b"):
        compose(words)
