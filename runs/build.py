"""From settings to an RLlib config: checked against the table of runs/settings.py, then translated."""

import difflib
import re

import gymnasium
import torch

from algorithms.dqn import DQNConfig
from algorithms.ppo import PPOConfig
from environments.frames import layout_of
from environments.games import is_game, near_games
from environments.machine import fastest_dtype, num_cpus
from environments.mistakes import Mistake
from runs.settings import TOP_SETTINGS, Setting, of_kind, tables, unknown

CONFIGS = {"ppo": PPOConfig, "dqn": DQNConfig}
GROUPS = ("algo", "env", "model", "cluster", "stop", "made_for")
MAX_CPUS = 8  # of a training process that takes what there is: more threads do not make these networks faster


def check(settings: dict) -> dict:
    """Settings with every value checked and as its kind.

    Args:
        settings: the composed experiment as plain data.

    Raises:
        Mistake: something that was typed, or stands in a YAML file, cannot work.
    """
    settings = {key: dict(value) if isinstance(value, dict) else value for key, value in settings.items()}
    for key in (*GROUPS, "seed", *TOP_SETTINGS):
        if key not in settings:
            raise Mistake(f"{key} is missing from the experiment; leave it as experiments/config.yaml has it")
    for group in GROUPS:
        if not isinstance(settings[group], dict):
            raise Mistake(
                f"{group}={settings[group]} is {of_kind(settings[group])}, and {group} is a group of settings"
            )
    for group, (table, whose) in tables(settings).items():
        for key in settings[group]:
            if key not in table:
                raise unknown(f"{group}.{key}", whose, [f"{group}.{name}" for name in table])
        for key, setting in table.items():
            if key not in settings[group]:
                raise Mistake(f"{group}.{key} is missing; it takes {setting.wanted()}")
            settings[group][key] = setting.check(f"{group}.{key}", settings[group][key])
    for key, value in settings.items():
        if key not in GROUPS and key not in TOP_SETTINGS and key != "seed":
            raise unknown(key, "an experiment", [*TOP_SETTINGS, *GROUPS, "seed"])
        if key in TOP_SETTINGS:
            settings[key] = TOP_SETTINGS[key].check(key, value)
    for group in ("algo", "env"):
        if not re.fullmatch(r"[\w.-]*\w", settings[group]["name"]):
            raise Mistake(f"{group}.name={settings[group]['name']} names a directory; use letters, digits, - and _")
    seeds_of(settings)
    _check_made_for(settings)
    _check_env(settings)
    _check_model(settings)
    _check_sizes(settings)
    _check_resources(settings["cluster"])
    return settings


def seeds_of(settings: dict) -> list[int]:
    """The seeds to run, each once."""
    seed = settings["seed"]
    seeds = [Setting(int, 0, 2**31 - 1).check("seed", s) for s in (seed if isinstance(seed, list) else [seed])]
    if not seeds or len(set(seeds)) < len(seeds):
        raise Mistake(f"seed={seed}: give at least one seed, and each only once")
    return seeds


def _check_made_for(settings: dict) -> None:
    for group, name in settings["made_for"].items():
        if group not in ("algo", "env"):
            raise Mistake(f"made_for.{group}: a tuned config is made for an algo and an env; leave {group} out")
        if settings[group]["name"] != name:
            raise Mistake(
                f"{group}={settings[group]['name']}: the tuned config was made for {group}={name}; "
                f"leave {group} out, or leave tuned_configs out"
            )


def _check_env(settings: dict) -> None:
    env = settings["env"]
    if "game" in env:
        if not is_game(env["game"]):
            near = near_games(env["game"])
            hint = f"did you mean {' or '.join(near)}?" if near else "games are spelt like assault or ms_pacman"
            raise Mistake(f"env.game={env['game']}: ALE has no such game; {hint}")
    elif env["id"] not in gymnasium.registry:
        near = difflib.get_close_matches(env["id"], gymnasium.registry, n=2)
        hint = f"did you mean {' or '.join(near)}?" if near else "it takes the id of a Gymnasium environment"
        raise Mistake(f"env.id={env['id']}: Gymnasium knows no such environment; {hint}")
    else:
        _check_spaces(env["id"], settings["algo"]["name"])


def _check_spaces(env_id: str, algo: str) -> None:
    try:
        env = gymnasium.make(env_id)
    except Exception as error:  # an environment may raise anything while it is made
        why = " ".join(str(error).split())
        raise Mistake(f"env.id={env_id}: it cannot be made here ({why}); install what it needs") from error
    observation, action = env.observation_space, env.action_space
    env.close()
    boxes = isinstance(observation, gymnasium.spaces.Box), isinstance(action, gymnasium.spaces.Box)
    if not boxes[0] or not (boxes[1] or isinstance(action, gymnasium.spaces.Discrete)):
        raise Mistake(
            f"env.id={env_id} has observations {observation} and actions {action}; "
            "the models take a Box to observe and a Box or Discrete to act"
        )
    if algo == "dqn" and boxes[1]:
        raise Mistake(
            f"algo=dqn compares the actions with each other, and env.id={env_id} has infinitely many; "
            "try algo=ppo, or an environment with Discrete actions"
        )


def _check_model(settings: dict) -> None:
    torso, env = settings["model"]["torso"], settings["env"]
    if torso == "nature_cnn":
        if "game" not in env:
            raise Mistake(f"model.torso=nature_cnn needs pixels, and env={env['name']} has none; try model=mlp")
        if env["dim"] < 36:
            raise Mistake(f"env.dim={env['dim']} is too small for model.torso=nature_cnn, which needs 36 pixels")


def _check_sizes(settings: dict) -> None:
    algo, runners = settings["algo"], settings["cluster"]["num_env_runners"]
    if runners and algo["num_envs"] % runners:
        raise Mistake(
            f"algo.num_envs={algo['num_envs']} cannot be shared evenly by cluster.num_env_runners={runners}; "
            "make one a multiple of the other"
        )
    if "buffer_size" in algo:
        _check_replay(algo, runners)
    if "horizon" not in algo:
        return
    batch = algo["num_envs"] * algo["horizon"]
    if algo["minibatch_size"] > batch:
        raise Mistake(
            f"algo.minibatch_size={algo['minibatch_size']} is larger than the batch, algo.num_envs x algo.horizon = "
            f"{algo['num_envs']} x {algo['horizon']} = {batch}; lower the one or raise one of the others"
        )


def _check_replay(algo: dict, runners: int) -> None:
    if runners:
        raise Mistake(
            f"cluster.num_env_runners={runners}: algo=dqn plays in the training process, beside its replay buffer; "
            "leave it at 0"
        )
    starts, buffer = algo["learning_starts"], algo["buffer_size"]
    if algo["minibatch_size"] > starts:
        raise Mistake(
            f"algo.minibatch_size={algo['minibatch_size']} is larger than algo.learning_starts={starts}, which is how "
            "full the buffer is at the first update; lower the one or raise the other"
        )
    if starts > buffer:
        raise Mistake(
            f"algo.learning_starts={starts} is larger than algo.buffer_size={buffer}: the buffer would never hold so "
            "much; lower the one or raise the other"
        )
    if algo["n_step"] > 1 and not algo["prioritized"]:
        raise Mistake(
            f"algo.n_step={algo['n_step']}: RLlib's uniform buffer discounts n-step returns wrongly where an episode "
            "ends; set algo.prioritized=true as well, or leave it at 1"
        )


def _check_resources(cluster: dict) -> None:
    cpus, gpus = num_cpus(), torch.cuda.device_count()
    wanted = (cluster["cpus"] or 1) + cluster["num_env_runners"] * cluster["cpus_per_runner"] + cluster["num_learners"]
    if wanted > cpus:
        asked = ", ".join(f"cluster.{key}={cluster[key]}" for key in ("cpus", "num_env_runners", "cpus_per_runner"))
        raise Mistake(f"{asked} ask for {wanted} CPUs, and this machine has {cpus}; ask for fewer")
    if cluster["gpus_per_learner"] > gpus:
        raise Mistake(
            f"cluster.gpus_per_learner={cluster['gpus_per_learner']:g}, and torch sees {gpus} GPUs in this machine; "
            "set it to 0, or install a CUDA build of torch"
        )


def cpus_of(settings: dict) -> int:
    """CPUs of the training process; a network without convolutions is faster on one."""
    cluster = settings["cluster"]
    if cluster["cpus"] is None and settings["model"]["torso"] == "mlp":
        return 1
    others = cluster["num_env_runners"] * cluster["cpus_per_runner"] + cluster["num_learners"]
    return cluster["cpus"] or max(1, min(num_cpus() - others, MAX_CPUS))


def model_config(settings: dict) -> dict:
    """What the RLModule is built from: the `model.` settings, `dtype` decided, the layout of the pixels added."""
    model = dict(settings["model"])
    if model["dtype"] == "auto":
        model["dtype"] = fastest_dtype()
    layout = layout_of(settings["env"])
    if layout:
        model["pixels"] = layout._asdict() | {"block": layout.block}
    return model


def build(settings: dict) -> PPOConfig | DQNConfig:
    """The RLlib config of a checked experiment, for its first seed."""
    algo, cluster = settings["algo"], settings["cluster"]
    config = CONFIGS[algo["name"]]()
    for group, (table, _) in (tables(settings) | {None: (TOP_SETTINGS, "")}).items():
        for key, setting in table.items():
            if setting.rllib:
                value = settings[key] if group is None else settings[group][key]
                setattr(config, setting.rllib, setting.convert(value))
    runners = max(1, cluster["num_env_runners"])
    config.num_envs_per_env_runner = algo["num_envs"] // runners
    if isinstance(config, DQNConfig):
        config.arrange(algo)
    else:
        config.train_batch_size_per_learner = algo["num_envs"] * algo["horizon"]
        config.use_kl_loss = config.record_policy = algo["kl_coeff"] > 0
    config.num_cpus_for_main_process = cpus_of(settings)
    config.create_local_env_runner = cluster["num_env_runners"] == 0
    config.environment(env_config=settings["env"])
    config.rl_module(model_config=model_config(settings))
    config.debugging(seed=seeds_of(settings)[0], log_level="ERROR")
    config.fault_tolerance(restart_failed_env_runners=True)
    config.delay_between_env_runner_restarts_s = 0.0
    return config
