"""From checked settings to an RLlib config, by the table of runs/settings.py; what its processes take of a machine."""

from typing import Any

from algorithms.a2c import A2CConfig
from algorithms.a3c import A3CConfig
from algorithms.dqn import DQNConfig
from algorithms.pg import PGConfig
from algorithms.ppo import PPOConfig
from environments.frames import layout_of
from environments.machine import fastest_dtype, num_cpus
from environments.mistakes import Mistake
from runs.settings import TOP_SETTINGS, Setting, tables

CONFIGS = {"pg": PGConfig, "a2c": A2CConfig, "a3c": A3CConfig, "ppo": PPOConfig, "dqn": DQNConfig}
MAX_CPUS = 8  # of a training process that takes what there is: more threads do not make these networks faster


def seeds_of(settings: dict) -> list[int]:
    """The seeds to run, each once."""
    seed = settings["seed"]
    seeds = [Setting(int, 0, 2**31 - 1).check("seed", s) for s in (seed if isinstance(seed, list) else [seed])]
    if not seeds or len(set(seeds)) < len(seeds):
        raise Mistake(f"seed={seed}: give at least one seed, and each only once")
    return seeds


def num_env_runners(settings: dict) -> int:
    """Processes that play. Where the cluster leaves it open, A3C has one per worker as far as cores go, others none."""
    cluster = settings["cluster"]
    if cluster["num_env_runners"] is not None:
        return cluster["num_env_runners"]
    left = num_cpus() - (cluster["cpus"] or 0) - cpus_of_learners(settings)
    return min(settings["algo"].get("num_workers", 0), max(0, int(left / cluster["cpus_per_runner"])))


def cpus_of_run(settings: dict, seeds: int = 1) -> float:
    """CPUs of all processes of a run together; of a trial that plays several seeds in one training process."""
    cluster = settings["cluster"]
    others = num_env_runners(settings) * cluster["cpus_per_runner"] + cpus_of_learners(settings)
    return cpus_of(settings) + seeds * others


def cpus_of_learners(settings: dict) -> int:
    """CPUs of learners in processes of their own; on a GPU RLlib gives them none."""
    cluster = settings["cluster"]
    return 0 if cluster["gpus_per_learner"] else cluster["num_learners"]


def gpus_of_run(settings: dict, seeds: int = 1) -> float:
    """GPUs of all processes of a run together, or of a trial, see `cpus_of_run`."""
    cluster = settings["cluster"]
    each, learners = cluster["gpus_per_learner"], cluster["num_learners"]
    others = num_env_runners(settings) * cluster["gpus_per_runner"] + learners * each
    return (0 if learners else each) + seeds * others


def cpus_of(settings: dict) -> int:
    """CPUs of the training process; a network without convolutions is faster on one."""
    cluster, runners = settings["cluster"], num_env_runners(settings)
    if cluster["cpus"] is not None:
        return cluster["cpus"]
    if settings["algo"]["name"] == "a3c" and runners:
        return 0
    if settings["model"]["torso"] == "mlp":
        return 1
    others = int(runners * cluster["cpus_per_runner"]) + cpus_of_learners(settings)
    return max(1, min(num_cpus() - others, MAX_CPUS))


def dtype_of(settings: dict) -> str:
    """What the torso computes in: one dtype per run, so that the policy that acts is the one that learns.

    `auto` is bfloat16 where env runners act on GPUs; where CPUs act, what is fastest on this machine's,
    wherever the learner is: a CPU without bfloat16 takes many times as long in it.
    """
    chosen, on_gpus = settings["model"]["dtype"], num_env_runners(settings) and settings["cluster"]["gpus_per_runner"]
    return chosen if chosen != "auto" else "bfloat16" if on_gpus else fastest_dtype()


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


def in_words(settings: dict) -> str:
    """What one update is made of: `8 envs x 128 steps = 1024 per update`."""
    algo = settings["algo"]
    if "episodes_per_update" in algo:
        return f"{algo['num_envs']} envs, {algo['episodes_per_update']} complete episodes per update"
    if "train_every" in algo:
        return f"{algo['num_envs']} envs, one update every {algo['train_every']} agent steps"
    if algo.get("num_workers"):
        share = algo["num_envs"] // algo["num_workers"]
        return (
            f"{algo['num_workers']} workers in {max(1, num_env_runners(settings))} processes, each {share} envs x "
            f"{algo['horizon']} steps = {share * algo['horizon']} per gradient"
        )
    return f"{algo['num_envs']} envs x {algo['horizon']} steps = {algo['num_envs'] * algo['horizon']} per update"
