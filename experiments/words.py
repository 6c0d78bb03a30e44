"""Names that other libraries give to our settings, games and seeds.

An override in another notation is expanded if its meaning is certain; otherwise a message names what to type.
"""

import re

from ale_py import roms

from environments.spelling import refuse_gymnasium_id
from settings.mistakes import Mistake

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
    "cluster.gpus_per_learner": "num_gpus gpus gpu device cuda num_gpus_per_learner gpus_per_learner",
    "cluster.cpus": "cpus num_cpus threads num_threads",
    "env": "env_id env_name environment gym_id id task",
    "env.game": "game rom",
    "env.frame_stack": "frame_stack framestack n_stack num_stack frame_stacks",
    "env.frameskip": "frameskip frame_skip action_repeat",
    "env.sticky": "sticky sticky_actions repeat_action_probability",
    "env.noop_max": "noop_max noops max_noops",
    "env.clip_rewards": "clip_rewards clip_reward reward_clip",
    "env.max_episode_frames": "max_episode_frames max_frames max_num_frames_per_episode",
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
    "tuned_configs": "tuned_config experiment experiments config conf preset exp yaml",
    "tune_searches": "tune_search search searches tune sweep optuna hpo optimize optimize_hyperparameters",
    "search.trials": "trials n_trials num_samples num_trials",
    "search.sampler": "sampler",
    "search.scheduler": "scheduler pruner",
}
BATCH_HINT = "an update learns from algo.num_envs x algo.horizon agent steps; set these two"
NUM_ENVS_HINT = "algo.num_envs counts the envs of all processes together"
TENSORBOARD_HINT = "curves are in TensorBoard: tensorboard --logdir outputs"
HINTS = {  # name in another library -> the message where no setting of SYNONYMS fits
    "framework": "everything here is PyTorch",
    "train_batch_size": BATCH_HINT,
    "train_batch_size_per_learner": BATCH_HINT,
    "batch_size": BATCH_HINT,
    "minibatch_size": BATCH_HINT,
    "sgd_minibatch_size": BATCH_HINT,
    "num_minibatches": "PPO has algo.minibatch_size, which is algo.num_envs x algo.horizon divided by it",
    "num_envs_per_actor": NUM_ENVS_HINT,
    "num_envs_per_worker": NUM_ENVS_HINT,
    "num_envs_per_env_runner": NUM_ENVS_HINT,
    "target_kl": "no update stops early; in PPO, algo.kl_coeff above 0 penalises a KL beyond algo.kl_target",
    "vf_clip_param": "RLlib limits the loss with it; algo.vf_clip limits the change of a value, as in baselines",
    "wandb": TENSORBOARD_HINT,
    "track": TENSORBOARD_HINT,
    "torch_deterministic": "the same seed on the same machine gives the same numbers already, except with A3C",
    "verbose": "the output has one level only; progress.csv in the run directory has every row",
    "render_mode": "command=record run=<run directory> makes videos of a trained agent",
    "capture_video": "command=record run=<run directory> makes videos of a trained agent",
}
DIFFERENCES = {  # name in another library -> how the meaning of its number differs here
    "vf_coef": "of 0.5 (V - target)^2, where Stable-Baselines3 has no 0.5",
    "vf_loss_coeff": "of 0.5 (V - target)^2, where RLlib has no 0.5",
    "log_interval": "in agent steps",
    "checkpoint_freq": "in seconds",
    "checkpoint_frequency": "in seconds",
    "save_freq": "in seconds",
    "train_for_env_steps": "in agent steps",
}
SEED_LIST = re.compile(r"-?\d+(,-?\d+)+")
MAX_SEEDS = 1000
SEED_RANGE = re.compile(r"range\((\d+),(\d+)(?:,([1-9]\d*))?\)")


def expand_override(override: str, envs: list[str]) -> list[str]:
    """Expand the short form of an override: `env=qbert` to `env=atari env.game=qbert`, `seed=1,2` to `seed=[1,2]`.

    Args:
        override: an override of the command line.
        envs: the options of the group env.

    Raises:
        Mistake: `refuse_gymnasium_id` refuses the value, or there are more than MAX_SEEDS seeds.
    """
    key, _, value = override.partition("=")
    if key == "env" and value and value not in envs:
        if value in roms.get_all_rom_ids():
            return ["env=atari", f"env.game={value}"]
        refuse_gymnasium_id(value, envs)
    if key == "seed" and SEED_LIST.fullmatch(value):
        return [f"seed=[{value}]"]
    if key == "seed" and (found := SEED_RANGE.fullmatch(value.replace(" ", ""))):
        seeds = range(*(int(number or 1) for number in found.groups()))
        if len(seeds) > MAX_SEEDS:
            raise Mistake(f"{override}: these are {len(seeds):,} seeds; give {MAX_SEEDS} at most")
        return [f"seed={list(seeds)}".replace(" ", "")]
    return [override]


def suggest_override(flag: str, rest: list[str]) -> str:
    """Return a hint for an unknown flag: algo=ppo instead of `--algo ppo`."""
    key, equals, value = flag.lstrip("-").partition("=")
    value = value if equals else rest[0] if rest and not rest[0].startswith("-") and "=" not in rest[0] else ""
    if len(key) > 1 and value:
        return f"settings are typed without dashes: {key}={value}"
    return "the flags are --help, -m, --cfg job and --completion bash (tune_searches=<name> begins a search)"


def suggest_setting(key: str, known: list[str], groups: tuple[str, ...]) -> str | None:
    """Return the end of the message on an unknown key: the setting to use instead, or why there is none.

    Args:
        key: the unknown key, with or without a group: `algo.learning_rate`, `learning_rate`.
        known: the dotted keys of all settings of the experiment.
        groups: all groups.

    Returns:
        None if neither another library nor another experiment of this suite has the key.
    """
    if key in SYNONYMS and "." in key:
        if key.startswith("search."):
            return "searches have it; choose one with tune_searches=<name>"
        return "other experiments have it"
    if key == "env.id":
        return "for an environment of Gymnasium, type env=cartpole env.id=<id>"
    group, _, word = key.lower().replace("-", "_").rpartition(".")
    meant = [name for name, words in SYNONYMS.items() if word in words.split() and name != key]
    if group and word in ("name", "id", "task"):
        meant = []
    there = [name for name in meant if name in (*known, *groups)]
    if not there and word not in ("name", "id", "task"):
        there = [name for name in known if "." in name and name.rpartition(".")[2] == word and name != key]
    if there:
        note = f", {DIFFERENCES[word]}" if word in DIFFERENCES else ""
        return f"here it is {' or '.join(there[:2])}{note}"
    if word in HINTS:
        return HINTS[word]
    return f"{meant[0]} is a setting of other experiments" if meant else None
