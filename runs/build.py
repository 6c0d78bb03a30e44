"""From checked settings to an RLlib config: what RLlib itself must know, each setting under the name that RLlib has."""

from typing import Any

from algorithms.a2c import A2CConfig
from algorithms.a3c import A3CConfig
from algorithms.dqn import DQNConfig
from algorithms.pg import PGConfig
from algorithms.ppo import PPOConfig
from cluster.resources import cpus_of, dtype_of, num_env_runners, seeds_of
from environments.frames import layout_of
from settings.algorithms import (
    A2CSettings,
    A3CSettings,
    ActorCriticSettings,
    DQNSettings,
    PGSettings,
    PolicyGradientSettings,
    PPOSettings,
)
from settings.experiment import make_settings

CONFIGS = {"pg": PGConfig, "a2c": A2CConfig, "a3c": A3CConfig, "ppo": PPOConfig, "dqn": DQNConfig}


def model_config(settings: dict) -> dict:
    """What the RLModule is built from: the `model.` settings, `dtype` decided, the layout of the pixels added."""
    model = settings["model"] | {"dtype": dtype_of(settings)}
    layout = layout_of(settings["env"])
    if layout:
        model["pixels"] = layout._asdict() | {"block": layout.block}
    return model


def build(settings: dict) -> Any:
    """Returns the RLlib config of a checked experiment, for its first seed.

    Beside what RLlib reads, it has the settings themselves for whatever is the suite's own: `algo`, such as a
    PPOSettings, `env_settings` and `stop_settings`.
    """
    config: Any = CONFIGS[settings["algo"]["name"]]()
    config.algo = make_settings("algo", settings)
    config.env_settings = make_settings("env", settings)
    config.stop_settings = make_settings("stop", settings)
    set_processes(config, settings)
    set_learning(config)
    set_losses(config)
    set_rows(config, settings)
    if isinstance(config, DQNConfig):
        config.arrange(settings["algo"])
    config.environment(env_config=settings["env"])
    config.rl_module(model_config=model_config(settings))
    config.debugging(seed=seeds_of(settings)[0], log_level="ERROR")
    config.fault_tolerance(restart_failed_env_runners=True)
    config.delay_between_env_runner_restarts_s = 0.0
    config.env_runner_health_probe_timeout_s = 0.5  # asks lost ones at every row; waiting longer would stall training
    return config


def set_processes(config: Any, settings: dict) -> None:
    """Tells RLlib which processes a run has, what each takes of a machine, and how many envs each env runner plays."""
    cluster, algo, runners, cpus = settings["cluster"], config.algo, num_env_runners(settings), cpus_of(settings)
    players = algo.num_workers if isinstance(algo, A3CSettings) else runners
    config.num_env_runners = runners
    config.num_envs_per_env_runner = algo.num_envs // max(1, players)
    config.num_cpus_per_env_runner = cluster["cpus_per_runner"]
    config.num_gpus_per_env_runner = cluster["gpus_per_runner"]
    config.create_local_env_runner = runners == 0
    config.num_learners = cluster["num_learners"]
    config.num_gpus_per_learner = cluster["gpus_per_learner"]
    config.num_cpus_for_main_process = cpus
    if cluster["num_learners"] == 0:  # it learns in that process; RLlib would add a CPU for it
        config.num_cpus_per_learner = cpus
    if cpus == 0:  # something it must take: Ray Tune drops an empty bundle, and RLlib counts on it
        config.custom_resources_for_main_process = {"memory": 1}  # bytes
    config.placement_strategy = cluster["placement"].upper()


def set_learning(config: Any) -> None:
    """Tells RLlib the discount, the step size and how much an update learns from; of its own DQN, all but a few
    settings, which `DQNConfig.arrange` computes from several.
    """
    algo = config.algo
    config.lr = algo.lr
    config.gamma = algo.gamma
    config.grad_clip = algo.max_grad_norm
    if isinstance(algo, ActorCriticSettings):
        config.rollout_fragment_length = algo.horizon
        config.train_batch_size_per_learner = algo.num_envs * algo.horizon
    if isinstance(algo, PPOSettings):
        config.num_epochs = algo.num_epochs
        config.minibatch_size = algo.minibatch_size
    if isinstance(algo, DQNSettings):
        config.train_batch_size_per_learner = algo.minibatch_size
        config.target_network_update_freq = algo.target_every
        config.num_steps_sampled_before_learning_starts = algo.learning_starts
        config.adam_epsilon = algo.optimizer_eps
        config.double_q = algo.double_q
        config.dueling = algo.dueling
        config.n_step = algo.n_step


def set_losses(config: Any) -> None:
    """Gives the suite's losses, learners and env runners their settings under the names that they read."""
    algo, env = config.algo, config.env_settings
    config.clip_rewards = env.clip_rewards
    if isinstance(algo, PolicyGradientSettings):
        config.anneal_lr = algo.lr_schedule == "linear"
        config.optimizer_name = algo.optimizer
        config.optimizer_eps = algo.optimizer_eps
        config.entropy_coeff = algo.entropy_coeff
    if isinstance(algo, PGSettings):
        config.episodes_per_env = algo.episodes_per_update // algo.num_envs
        config.baseline = algo.baseline
        config.standardize_returns = algo.standardize_returns
    if isinstance(algo, PGSettings | A2CSettings):
        config.microbatch_size = algo.microbatch_size
    if isinstance(algo, ActorCriticSettings):
        config.lambda_ = algo.gae_lambda
        config.vf_loss_coeff = algo.vf_coeff
        config.normalize_advantages = algo.normalize_advantages
    if isinstance(algo, A3CSettings):
        config.a3c_workers = algo.num_workers
        config.ship = algo.ship
        config.worker_timeout_s = algo.worker_timeout_s
    if isinstance(algo, PPOSettings):
        config.clip_param = algo.clip
        config.anneal_clip = algo.clip_schedule == "linear"
        config.vf_clip = algo.vf_clip
        config.kl_coeff = algo.kl_coeff
        config.kl_target = algo.kl_target
        config.use_kl_loss = config.record_policy = algo.kl_coeff > 0
        config.overlap = algo.overlap


def set_rows(config: Any, settings: dict) -> None:
    """Gives the Algorithm what it counts in, when it reports, and when it keeps its weights."""
    config.frameskip = config.env_settings.frameskip
    if "frame_stack" in settings["env"]:
        config.frame_stack = config.env_settings.frame_stack
    config.total_agent_steps = config.stop_settings.agent_steps
    config.report_every = settings["report_every"]
    config.checkpoint_every_s = settings["checkpoint_every_s"]
    config.keep_milestones = settings.get("keep_milestones", False)  # a search of an earlier version has no word on it


def bundles_of(settings: dict) -> list[dict[str, float]]:
    """CPUs and GPUs of each process of a run, the training process first; of a search, of one trial."""
    config = build(settings)
    first, *others = config.algo_class.default_resource_request(config).bundles
    seeds = settings["search"]["seeds_per_trial"] if settings["command"] == "search" else 1
    return [first, *others * seeds]
