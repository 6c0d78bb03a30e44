"""Names that other libraries give to our settings and commands, and which experiments have a setting."""

import difflib
import json
from collections.abc import Callable, Iterable

from settings.algorithms import ALGORITHMS
from settings.environments import AtariSettings, GymnasiumSettings
from settings.mistakes import Mistake
from settings.models import MODELS
from settings.runs import SEED, ClusterSettings, RunSettings, StopSettings
from settings.searches import SearchSettings
from settings.setting import SURE, Setting, find_near, list_settings

Spell = Callable[[str, str], str]  # name of a setting or group, value -> override
# Setting or group of this suite -> its names in Stable-Baselines3, its Zoo, CleanRL, RLlib (old and new), Sample
# Factory and Tianshou. A name may stand in several lines; only settings that the experiment has are suggested.
SYNONYMS = {
    "algo": "algorithm agent alg algo_name",
    "algo.lr": "learning_rate lr",
    "algo.lr_schedule": "anneal_lr lr_decay linear_lr_schedule lr_scheduler",
    "algo.num_envs": "num_envs n_envs nenvs training_num",
    "algo.horizon": "horizon n_steps num_steps nsteps rollout_fragment_length rollout_length unroll_length t_max",
    "algo.minibatch_size": "minibatch_size batch_size sgd_minibatch_size mini_batch_size minibatch",
    "algo.microbatch_size": "microbatch_size",
    "algo.num_epochs": "num_epochs n_epochs update_epochs epochs noptepochs num_sgd_iter ppo_epochs repeat_per_collect",
    "algo.gamma": "gamma discount discount_factor",
    "algo.gae_lambda": "gae_lambda lambda lambda_ lam gae_coef",
    "algo.entropy_coeff": "entropy_coeff ent_coef entropy_coef ent_weight entropy_cost exploration_loss_coeff",
    "algo.vf_coeff": "vf_coeff vf_coef vf_loss_coeff value_loss_coef value_loss_coeff critic_coeff",
    "algo.clip": "clip clip_range clip_coef clip_param cliprange eps_clip clip_epsilon ppo_clip_ratio",
    "algo.vf_clip": "vf_clip clip_range_vf clip_vloss",
    "algo.max_grad_norm": "max_grad_norm grad_clip gradient_clip grad_norm clip_grad_norm",
    "algo.normalize_advantages": "normalize_advantages normalize_advantage norm_adv advantage_norm",
    "algo.kl_target": "kl_target",
    "algo.optimizer_eps": "optimizer_eps adam_eps adam_epsilon rms_prop_eps alpha_eps",
    "algo.buffer_size": "buffer_size replay_buffer_size buffer replay_size",
    "algo.target_every": "target_every target_update_interval target_network_update_freq target_network_frequency",
    "algo.train_every": "train_every train_freq train_frequency",
    "algo.num_workers": "num_workers num_env_runners num_rollout_workers num_actors workers",
    "cluster.num_env_runners": "num_env_runners num_workers num_rollout_workers num_actors workers runners",
    "cluster.num_learners": "num_learners num_learner_workers learners",
    "cluster.gpus_per_learner": "num_gpus gpus gpu num_gpus_per_learner gpus_per_learner",
    "cluster.cpus": "cpus num_cpus threads num_threads",
    "env": "env_id env_name environment gym_id id task",
    "env.game": "game rom",
    "env.kwargs": "env_kwargs env_config gym_kwargs env_args",
    "env.wrappers": "env_wrapper env_wrappers wrapper wrappers",
    "env.frame_stack": "frame_stack framestack n_stack num_stack frame_stacks",
    "env.frameskip": "frameskip frame_skip action_repeat",
    "env.sticky": "sticky sticky_actions repeat_action_probability",
    "env.noop_max": "noop_max noops max_noops",
    "env.clip_rewards": "clip_rewards clip_reward reward_clip",
    "env.max_episode_frames": "max_episode_frames max_frames max_num_frames_per_episode max_episode_steps",
    "model": "policy network net arch policy_kwargs torso",
    "model.hidden": "hidden hiddens fcnet_hiddens net_arch hidden_size",
    "model.lstm_size": "lstm_size use_lstm lstm lstm_cell_size recurrent lstm_hidden_size",
    "model.dtype": "dtype precision",
    "stop.agent_steps": "steps agent_steps total_timesteps timesteps total_steps num_timesteps n_timesteps "
    "timesteps_total num_env_steps_sampled_lifetime max_steps train_for_env_steps total_env_steps num_env_steps",
    "stop.time_s": "time_s time_total_s max_time time_limit train_for_seconds time_budget_s",
    "stop.episode_return": "episode_return episode_reward_mean episode_return_mean target_reward reward_threshold",
    "seed": "seeds random_seed",
    "output_dir": "log_dir logdir log_folder output out outdir save_dir storage_path tensorboard_log local_dir",
    "label": "name run_name exp_name experiment_name tag",
    "resume": "load restore resume_from trained_agent restart_behavior continue",
    "episodes": "n_eval_episodes eval_episodes num_episodes evaluation_duration",
    "evaluate": "eval evaluation",
    "checkpoint_every_s": "checkpoint_freq checkpoint_frequency save_freq save_every save_every_sec checkpoint_every",
    "report_every": "report_frequency log_interval log_freq min_sample_timesteps_per_iteration",
    "logger": "loggers report_to",
    "tuned_configs": "tuned_config experiment experiments config conf preset exp yaml",
    "tune_searches": "tune_search search searches tune sweep optuna hpo optimize optimize_hyperparameters",
    "search.trials": "trials n_trials num_samples num_trials",
    "search.sampler": "sampler",
    "search.scheduler": "scheduler pruner",
}
GPU_HINT = "cluster=one_gpu learns on the GPU; for the CPU nothing is needed, leave it out"
BATCH_HINT = "an update learns from algo.num_envs x algo.horizon agent steps; set these two"
NUM_ENVS_HINT = "algo.num_envs counts the envs of all processes together"
LOGGER_HINT = "curves are in TensorBoard, tensorboard --logdir outputs; logger=wandb and logger=mlflow send them there"
HINTS = {  # name in another library -> the message where no setting of SYNONYMS fits
    "framework": "everything here is PyTorch",
    "num_minibatches": "PPO has algo.minibatch_size, which is algo.num_envs x algo.horizon divided by it",
    "target_kl": "no update stops early; in PPO, algo.kl_coeff above 0 penalises a KL beyond algo.kl_target",
    "vf_clip_param": "RLlib limits the loss with it; algo.vf_clip limits the change of a value, as in baselines",
    "max_episode_steps": "env.kwargs.max_episode_steps=<steps> limits an environment of Gymnasium",
    "torch_deterministic": "the same seed on the same machine gives the same numbers already, except with A3C",
    "verbose": "the output has one level only; progress.csv in the run directory has every row",
}
HINTS |= dict.fromkeys(("render_mode", "capture_video"), "command=record run=<directory> makes videos of an agent")
HINTS |= dict.fromkeys(("wandb", "track", "mlflow"), LOGGER_HINT)
BATCHES = ("batch_size", "minibatch_size", "sgd_minibatch_size", "train_batch_size", "train_batch_size_per_learner")
HINTS |= dict.fromkeys(BATCHES, BATCH_HINT)
HINTS |= dict.fromkeys(("device", "cuda", "use_cuda"), GPU_HINT)
HINTS |= dict.fromkeys(("num_envs_per_actor", "num_envs_per_worker", "num_envs_per_env_runner"), NUM_ENVS_HINT)
DIFFERENCES = {  # name in another library -> how the meaning of its number differs here
    "vf_coef": "of 0.5 (V - target)^2, where Stable-Baselines3 has no 0.5",
    "vf_loss_coeff": "of 0.5 (V - target)^2, where RLlib has no 0.5",
    "log_interval": "in agent steps",
    "checkpoint_freq": "in seconds",
    "checkpoint_frequency": "in seconds",
    "save_freq": "in seconds",
    "train_for_env_steps": "in agent steps",
    "max_episode_steps": "in emulator frames, env.frameskip of them per agent step",
}
COMMANDS = {  # word -> the command that does it
    "report": "compare",
    "comparison": "compare",
    "plot": "compare",
    "eval": "evaluate",
    "test": "evaluate",
    "enjoy": "record",
    "video": "record",
    "play": "record",
    "tune": "search",
    "optimize": "search",
    "learn": "train",
    "onnx": "export",
}


def find_meanings(word: str) -> list[str]:
    """Return the settings and groups of this suite that another library calls `word`."""
    return [name for name, words in SYNONYMS.items() if word in words.split()]


def find_similar_setting(key: str, known: list[str]) -> str | None:
    """Return the setting, of `known`, that another library calls `key`, or whose name is similar; None without one."""
    meant = [name for name in find_meanings(key.lower().replace("-", "_")) if name in known]
    return next(iter([*meant, *difflib.get_close_matches(key, known, n=1, cutoff=SURE)]), None)


def explain_missing_setting(word: str, value: str) -> str | None:
    """Return why no setting of this suite has a name of another library, or None if nothing is known of the name."""
    if HINTS.get(word) is GPU_HINT and value.lower() in ("cpu", "false", "0"):
        return "nothing is needed to run on the CPU; leave it out"
    if HINTS.get(word) is GPU_HINT and value.lower().startswith(("cuda", "gpu", "true")):
        return "for a GPU, type cluster=one_gpu"
    return HINTS.get(word)


def list_owners(key: str) -> dict[str, Setting]:
    """Return who has a setting -> the setting; an owner is what to type, such as `algo=a3c`."""
    group, _, name = key.rpartition(".")
    classes: Iterable[tuple[str, type]] = {
        "algo": [(f"algo={algo}", settings) for algo, settings in ALGORITHMS.items()],
        "env": [("every game of ALE (env=assault)", AtariSettings), ("env=cartpole", GymnasiumSettings)],
        "model": [(f"model.torso={torso}", settings) for torso, settings in MODELS.items()],
        "cluster": [("cluster", ClusterSettings)],
        "stop": [("stop", StopSettings)],
        "search": [("tune_searches=<name>", SearchSettings)],
        "": [("an experiment", RunSettings)],
    }.get(group, [])
    if key == "seed":
        return {"an experiment": SEED}
    return {owner: list_settings(settings)[name] for owner, settings in classes if name in list_settings(settings)}


def takes_value(key: str, value: str) -> bool:
    """Return whether one of the settings of this key takes a value as it is typed on the command line."""
    try:
        parsed = json.loads(value)
    except ValueError:
        parsed = value
    for setting in list_owners(key).values():
        try:
            setting.check(key, parsed)
            return True
        except Mistake:
            continue
    return False


def suggest_overrides(words: list[str], known: list[str], spell: Spell) -> str:
    """Return a hint for a command line with flags of another library: `type env=pong` for `--env-id pong`.

    Args:
        words: the words of the command line, from the first unknown flag on.
        known: all groups, and the dotted keys of all settings of the experiment.
        spell: returns the override of a setting or group with a value.
    """
    words, typed, notes = list(words), [], ""
    while words:
        word = words.pop(0)
        key, equals, value = word.lstrip("-").replace("-", "_").partition("=")[0], "=" in word, word.partition("=")[2]
        if not word.startswith("-"):
            typed += [word] if equals else []
            continue
        if not equals and words and not words[0].startswith("-") and "=" not in words[0]:
            value = words.pop(0)
        found = [name for name in (key, *find_meanings(key)) if name in known]
        found += [name for name in known if name.endswith(f".{key}")]
        if found and (value or typed):
            override = found[0] if key in DIFFERENCES else spell(found[0], value)
            typed.append(override if "=" in override else f"{override}=...")
            notes += f"; {found[0]} is {DIFFERENCES[key]}" if key in DIFFERENCES else ""
        elif not typed:
            if (hint := explain_missing_setting(key, value)) or (len(key) < 2 or not value):
                flags = "--help, -m, --cfg job, --package, --config-dir, --completion and --version"
                return hint or f"the flags are {flags} (tune_searches=<name> begins a search)"
            return f"settings are typed without dashes, {key}={value}; --help lists them"
    return f"type {' '.join(typed)}{notes}"


def suggest_setting(key: str, value: str, known: list[str], spell: Spell) -> str | None:
    """Return the end of the message on an unknown key: the override to type instead, or why there is none.

    Args:
        key: the unknown key, with or without a group: `algo.learning_rate`, `learning_rate`.
        value: the value that was typed for it; it may be empty.
        known: all groups, and the dotted keys of all settings of the experiment.
        spell: returns the override of a setting or group with a value.

    Returns:
        None if neither another library nor another experiment of this suite has the key.
    """
    if key.startswith("search.") and list_owners(key):
        return "searches have it; choose one with tune_searches=<name>"
    if key == "env.id":
        return f"for an environment of Gymnasium, type env=gymnasium env.id={value or '<id>'}"
    if key == "env.game" and value:
        return f"type {spell('env', value)}"
    group, _, word = key.lower().replace("-", "_").rpartition(".")
    is_name = word in ("name", "id", "task")
    meant = [] if group and is_name else [name for name in find_meanings(word) if name != key]
    there = [name for name in meant if name in known]
    if not there and not is_name:
        there = [name for name in known if "." in name and name.rpartition(".")[2] == word and name != key]
    spelt = [name if word in DIFFERENCES else spell(name, value) for name in there[:2]]
    if group and (owners := list_owners(key)):
        here = f", and this experiment has {spelt[0]}" if spelt else ""
        return f"{' and '.join(owners)} {'has' if len(owners) == 1 else 'have'} it{here}"
    if spelt:
        note = f", {DIFFERENCES[word]}" if word in DIFFERENCES else ""
        others = [name for name in meant if name not in there and name.rpartition(".")[2] == word and "." in name]
        note += "".join(f"; {' and '.join(list_owners(name))} has {name}" for name in others)
        return f"here it is {' or '.join(spelt)}{note}"
    if hint := explain_missing_setting(word, value):
        return hint
    return f"it is {meant[0]}, a setting of {' and '.join(list_owners(meant[0]))}" if meant else None


def explain_unknown_key(key: str, value: str, known: list[str], spell: Spell) -> str:
    """Return the sentence for a key that the experiment does not have; the arguments are those of `suggest_setting`."""
    if not (hint := suggest_setting(key, value, known, spell)):
        group, _, name = key.rpartition(".")
        siblings = (
            [k for k in known if k.rpartition(".")[0] == group] if group else sorted({k.split(".")[0] for k in known})
        )
        near = find_near(key, siblings or known) or difflib.get_close_matches(name, known, n=2, cutoff=0.6)
        hint = f"did you mean {' or '.join(near)}?" if near else "--cfg job prints all settings"
    return f"{key}: this experiment has no such setting; {hint}"
