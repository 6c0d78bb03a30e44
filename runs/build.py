"""From checked settings to an RLlib config: what RLlib itself must know, each setting under the name that RLlib has."""

import math
from typing import Any

from algorithms.a2c import A2CConfig
from algorithms.a3c import A3CConfig
from algorithms.dqn import DQNConfig
from algorithms.pg import PGConfig
from algorithms.ppo import PPOConfig
from cluster.plan import Plan
from environments.frames import layout_of
from settings.algorithms import A3CSettings, DQNSettings, PPOSettings, import_implementation
from settings.experiment import make_settings

CONFIGS = {"pg": PGConfig, "a2c": A2CConfig, "a3c": A3CConfig, "ppo": PPOConfig, "dqn": DQNConfig}
UNIFORM = {"type": "EpisodeReplayBuffer"}
PRIORITIZED = {"type": "PrioritizedEpisodeReplayBuffer", "alpha": 0.6, "beta": 0.4}  # RLlib's


def make_model_config(plan: Plan) -> dict:
    """Return what the RLModule is built from: the settings of the model with the dtype of the plan in place of `auto`,
    and the layout of the pixels."""
    model = plan.settings["model"] | {"dtype": plan.dtype}
    layout = layout_of(plan.settings["env"])
    if layout:
        model["pixels"] = layout._asdict() | {"block": layout.block}
    return model


def build_config(plan: Plan) -> Any:
    """Return the RLlib config of a run, for its first seed.

    It has each setting that RLlib reads under RLlib's name, and all settings as objects for the suite's own code; see
    SuiteConfig.
    """
    settings = plan.settings
    config = make_config(settings["algo"])
    config.algo = make_settings("algo", settings)
    config.env_settings = make_settings("env", settings)
    config.stop_settings = make_settings("stop", settings)
    config.report_every = settings["report_every"]
    config.checkpoint_every_s = settings["checkpoint_every_s"]
    config.keep_milestones = settings.get("keep_milestones", False)  # searches of earlier versions were without it
    config.evaluate_every = settings.get("evaluate_every")  # and so were trainings
    set_processes(config, plan)
    set_learning(config)
    config.environment(env_config=settings["env"])
    config.rl_module(model_config=make_model_config(plan))
    config.debugging(seed=plan.seeds[0], log_level="ERROR")
    config.fault_tolerance(restart_failed_env_runners=True)
    config.delay_between_env_runner_restarts_s = 0.0
    config.env_runner_health_probe_timeout_s = 0.5  # asks lost ones at every row; waiting longer would stall training
    return config


def make_config(algo: dict) -> Any:
    """Return the empty config of an algorithm; one from outside of the suite has that of the class it derives from."""
    own = import_implementation(algo)
    if own is None:
        return CONFIGS[algo["name"]]()
    config = own.Algorithm.get_default_config()
    config.algo_class = own.Algorithm
    return config.learners(learner_class=own.Learner)


def set_processes(config: Any, plan: Plan) -> None:
    """Tell RLlib which processes a run has, what each takes of a machine, and how many envs each env runner plays."""
    cluster, algo, runners, cpus = plan.settings["cluster"], config.algo, plan.num_env_runners, plan.training_cpus
    players = algo.num_workers if isinstance(algo, A3CSettings) else runners
    config.num_env_runners = runners
    config.num_envs_per_env_runner = algo.num_envs // max(1, players)
    config.num_cpus_per_env_runner = cluster["cpus_per_runner"]
    config.num_gpus_per_env_runner = cluster["gpus_per_runner"]
    config.create_local_env_runner = runners == 0
    config.num_learners = cluster["num_learners"]
    config.threads = cluster.get("threads", "openmp")  # what runs of earlier versions had
    config.num_gpus_per_learner = cluster["gpus_per_learner"]
    config.num_cpus_for_main_process = cpus
    if cluster["num_learners"] == 0:  # it learns in that process; RLlib would add a CPU for it
        config.num_cpus_per_learner = cpus
    if cpus == 0:  # something it must take: Ray Tune drops an empty bundle, and RLlib counts on it
        config.custom_resources_for_main_process = {"memory": 1}  # bytes
    config.placement_strategy = cluster["placement"].upper()


def set_learning(config: Any) -> None:
    """Tell RLlib the discount, the step size and how much an update learns from."""
    algo = config.algo
    config.lr = algo.lr
    config.gamma = algo.gamma
    config.grad_clip = algo.max_grad_norm
    if hasattr(algo, "horizon"):  # users' own settings may have one, whatever they derive from
        config.rollout_fragment_length = algo.horizon
        config.train_batch_size_per_learner = algo.num_envs * algo.horizon
    if isinstance(algo, PPOSettings):
        config.num_epochs = algo.num_epochs
        config.minibatch_size = algo.minibatch_size
    if isinstance(algo, DQNSettings):
        set_replay(config, algo)


def set_replay(config: Any, algo: DQNSettings) -> None:
    """Tell RLlib's DQN how it fills its replay buffer and draws from it, how it explores, and how often it learns."""
    config.train_batch_size_per_learner = algo.minibatch_size
    config.replay_buffer_config = (PRIORITIZED if algo.prioritized else UNIFORM) | {"capacity": algo.buffer_size}
    config.num_steps_sampled_before_learning_starts = algo.learning_starts
    config.epsilon = [(0, algo.epsilon_start), (algo.epsilon_agent_steps, algo.epsilon_end)]
    # The smallest fragment that holds whole updates and, as RLlib demands, one n-step return.
    unit = algo.train_every // math.gcd(algo.train_every, algo.num_envs)
    config.rollout_fragment_length = unit * math.ceil(algo.n_step / unit)
    config.training_intensity = algo.minibatch_size / algo.train_every  # samples learned from per agent step
    config.target_network_update_freq = algo.target_every
    config.adam_epsilon = algo.optimizer_eps
    config.double_q = algo.double_q
    config.dueling = algo.dueling
    config.n_step = algo.n_step
