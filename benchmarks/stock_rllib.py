"""The contestant to beat: Ray RLlib's own PPO on Assault, as a careful user would write it today.

    python -m benchmarks.stock_rllib --iterations 4

New API stack, RLlib's Atari wrappers (they need OpenCV), env runner, connectors, default model, learner and loss,
nothing of ours. Batch, epochs, minibatch, coefficients, net and protocol are those of this suite's `algo=ppo
env=assault`. Torch has as many threads as a run of the suite, all cores and at most 8. The first iteration is warm-up.

Two choices make no difference on two cores: frames are stacked by the env wrapper, not by connectors (equal CPU time),
and envs step in this process, RLlib's default; `--vectorize async`, a process each, is for machines with more cores.
"""

import argparse
import json
import logging
import time

import ale_py
import gymnasium as gym
import ray
import torch
from ray.rllib.algorithms.ppo import PPOConfig
from ray.rllib.core.rl_module.default_model_config import DefaultModelConfig
from ray.rllib.env.wrappers.atari_wrappers import wrap_atari_for_new_api_stack
from ray.tune.registry import register_env

from benchmarks.rounds import count_threads, parse_count, run_main

NUM_ENVS, HORIZON = 8, 128
# Padding -> layers of channels, kernel, stride, padding. The last is the dense layer of 512; given as
# `head_fcnet_hiddens`, policy and value would not share it.
NETWORKS: dict[str, list] = {
    "valid": [[32, 8, 4, "valid"], [64, 4, 2, "valid"], [64, 3, 1, "valid"], [512, 7, 1, "valid"]],  # Mnih et al. 2015
    "same": [[32, 8, 4, "same"], [64, 4, 2, "same"], [64, 3, 1, "same"], [512, 11, 1, "valid"]],  # 2.4 x the weights
}
STEPS = "num_env_steps_sampled_lifetime"


def make_assault(_):
    """Return Assault under the classic protocol: no sticky actions, minimal action set, no-ops, a lost life ends an
    episode, clipped rewards."""
    gym.register_envs(ale_py)
    env = gym.make("ALE/Assault-v5", frameskip=1, repeat_action_probability=0.0, full_action_space=False)
    env = wrap_atari_for_new_api_stack(env, dim=84, frameskip=4, framestack=4)
    return gym.wrappers.TransformReward(env, lambda reward: max(-1.0, min(1.0, float(reward))))


def make_config(padding: str, vectorize: str, seed: int) -> PPOConfig:
    """Return RLlib's PPO with the settings of `algo=ppo env=assault`."""
    return (
        PPOConfig()
        .environment("assault")
        .framework("torch")
        .env_runners(
            num_env_runners=0,
            num_envs_per_env_runner=NUM_ENVS,
            rollout_fragment_length=HORIZON,
            gym_env_vectorize_mode=vectorize,
        )
        .learners(num_learners=0)
        .training(
            train_batch_size_per_learner=NUM_ENVS * HORIZON,
            num_epochs=4,
            minibatch_size=256,
            lr=2.5e-4,
            gamma=0.99,
            lambda_=0.95,
            clip_param=0.1,
            vf_loss_coeff=0.25,  # 0.5 in the papers' words: RLlib's squared error lacks their 1/2
            vf_clip_param=float("inf"),
            entropy_coeff=0.01,
            use_kl_loss=False,
            grad_clip=0.5,
            grad_clip_by="global_norm",
        )
        .rl_module(
            model_config=DefaultModelConfig(
                conv_filters=NETWORKS[padding], conv_activation="relu", vf_share_layers=True
            )
        )
        .debugging(seed=seed)
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--iterations", type=parse_count, default=4, help="timed ones, after one of warm-up")
    parser.add_argument("--vectorize", choices=["sync", "async"], default="sync", help="envs here, or a process each")
    parser.add_argument("--padding", choices=NETWORKS, default="valid", help="RLlib pads `same` unless told otherwise")
    help_threads = "of torch; Ray gives its actors 1 unless asked"
    parser.add_argument("--threads", type=parse_count, default=count_threads(), help=help_threads)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print one JSON line as well, last")
    settings = parser.parse_args()

    ray.init(address="local", include_dashboard=False, logging_level=logging.WARNING)
    register_env("assault", make_assault)
    torch.set_num_threads(settings.threads)
    algorithm = make_config(settings.padding, settings.vectorize, settings.seed).build_algo()
    first = algorithm.train()
    start = time.perf_counter()
    for _ in range(settings.iterations):
        last = algorithm.train()
    elapsed = time.perf_counter() - start
    agent_steps = last["env_runners"][STEPS] - first["env_runners"][STEPS]
    result = {"agent_steps_per_s": agent_steps / elapsed, "agent_steps": agent_steps, "elapsed_s": elapsed}
    print(f"stock RLlib PPO {NUM_ENVS}x{HORIZON}, {settings.vectorize}: {agent_steps / elapsed:,.0f} agent steps/s")
    if settings.json:
        print(json.dumps(result | vars(settings)))
    algorithm.stop()
    ray.shutdown()


if __name__ == "__main__":
    run_main(main)
