"""From checked settings to an RLlib config, by the table of runs/settings.py."""

from typing import Any

from algorithms.a2c import A2CConfig
from algorithms.a3c import A3CConfig
from algorithms.dqn import DQNConfig
from algorithms.pg import PGConfig
from algorithms.ppo import PPOConfig
from environments.frames import layout_of
from runs.resources import cpus_of, dtype_of, num_env_runners, seeds_of
from runs.settings import TOP_SETTINGS, tables

CONFIGS = {"pg": PGConfig, "a2c": A2CConfig, "a3c": A3CConfig, "ppo": PPOConfig, "dqn": DQNConfig}


def model_config(settings: dict) -> dict:
    """What the RLModule is built from: the `model.` settings, `dtype` decided, the layout of the pixels added."""
    model = settings["model"] | {"dtype": dtype_of(settings)}
    layout = layout_of(settings["env"])
    if layout:
        model["pixels"] = layout._asdict() | {"block": layout.block}
    return model


def build(settings: dict) -> Any:
    """The RLlib config of a checked experiment, for its first seed."""
    algo, runners = settings["algo"], num_env_runners(settings)
    config: Any = CONFIGS[algo["name"]]()
    for group, (table, _) in (tables(settings) | {None: (TOP_SETTINGS, "")}).items():
        for key, setting in table.items():
            if setting.rllib:
                value = settings[key] if group is None else settings[group][key]
                setattr(config, setting.rllib, setting.convert(value))
    config.keep_milestones = settings.get("keep_milestones", False)  # a search of an earlier version has no word on it
    config.num_env_runners = runners
    config.num_envs_per_env_runner = algo["num_envs"] // max(1, algo.get("num_workers", runners))
    config.num_cpus_for_main_process = cpus_of(settings)
    if settings["cluster"]["num_learners"] == 0:  # it learns in that process; RLlib would add a CPU for it
        config.num_cpus_per_learner = cpus_of(settings)
    if cpus_of(settings) == 0:  # something it must take: Ray Tune drops an empty bundle, and RLlib counts on it
        config.custom_resources_for_main_process = {"memory": 1}  # bytes
    config.create_local_env_runner = runners == 0
    if "horizon" in algo:
        config.train_batch_size_per_learner = algo["num_envs"] * algo["horizon"]
    if "episodes_per_update" in algo:
        config.episodes_per_env = algo["episodes_per_update"] // algo["num_envs"]
    if "kl_coeff" in algo:
        config.use_kl_loss = config.record_policy = algo["kl_coeff"] > 0
    if isinstance(config, DQNConfig):
        config.arrange(algo)
    config.environment(env_config=settings["env"])
    config.rl_module(model_config=model_config(settings))
    config.debugging(seed=seeds_of(settings)[0], log_level="ERROR")
    config.fault_tolerance(restart_failed_env_runners=True)
    config.delay_between_env_runner_restarts_s = 0.0
    config.env_runner_health_probe_timeout_s = 0.5  # asks lost ones at every row; waiting longer would stall training
    return config


def bundles_of(settings: dict) -> list[dict[str, float]]:
    """CPUs and GPUs of each process of a run, the training process first; of a search, of one trial."""
    config = build(settings)
    first, *others = config.algo_class.default_resource_request(config).bundles
    seeds = settings["search"]["seeds_per_trial"] if settings["command"] == "search" else 1
    return [first, *others * seeds]
