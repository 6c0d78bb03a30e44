"""Precision: what computing in bf16 instead of fp32 changes in a trained agent.

    python -m evidence.precision <run directory>

    last checkpoint -> 1,024 agent steps, acted in bf16 -> the same steps again, in minibatches, in bf16 and in fp32

A policy gradient method compares the policy that acted with the one that learns. If rounding alone moved their ratio,
it would be clipped for nothing; if it turned the gradient, training would go elsewhere. Both are printed, the second
beside how far apart the gradients of two minibatches are anyway.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from custom_models.actor_critic import ActorCritic
from environments.frame_stack import FrameStack
from environments.games import Games, make_games
from environments.threads import take_threads
from evidence.evaluate import load_agent, seeds
from run_directory.checkpoints import find_checkpoint
from run_directory.layout import list_seed_runs
from run_directory.saved_settings import read_run_settings
from settings.mistakes import Mistake

NUM_ENVS, STEPS, MINIBATCH = 8, 128, 256
CLIP, ENTROPY_COEFF, VF_COEFF = 0.1, 0.01, 0.5  # PPO's


def act(agent: ActorCritic, games: Games, seed: int) -> dict[str, torch.Tensor]:
    """STEPS agent steps in every env: obs [B, ...], actions [B], logp [B] and values [B] as they were while acting."""
    env_seed, action_seed = seeds(seed)
    generator, rows = torch.Generator().manual_seed(action_seed), []
    stack = FrameStack(games.layout, games.reset(env_seed))
    with torch.no_grad():
        packed = agent.pack()
        for _ in range(STEPS):
            obs = torch.from_numpy(stack.observations()).clone()
            parameters, values = agent.policy_and_value(obs, packed)
            policy = agent.Policy(parameters)
            actions = policy.sample(generator)
            rows.append((obs, actions, policy.logp(actions), values))
            step = games.step(actions.numpy())
            stack.push(step.obs, step.game_reset)
    names = "obs", "actions", "logp", "values"
    return {name: torch.cat(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def gradient(agent: ActorCritic, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """PPO's gradient on one minibatch with drawn advantages and targets, all parameters in one vector."""
    drawn = torch.randn(2, len(batch["actions"]), generator=torch.Generator().manual_seed(0))
    advantages, targets = drawn[0], batch["values"] + drawn[1]
    parameters, values = agent.policy_and_value(batch["obs"], agent.pack())
    policy = agent.Policy(parameters)
    ratio = (policy.logp(batch["actions"]) - batch["logp"]).exp()
    surrogate = torch.min(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
    value_loss = 0.5 * F.mse_loss(values, targets)
    loss = -surrogate + VF_COEFF * value_loss - ENTROPY_COEFF * policy.entropy().mean()
    gradients = torch.autograd.grad(loss, list(agent.parameters()))
    return torch.cat([g.flatten() for g in gradients]).double()  # sums of a million squares follow


def compare(low: ActorCritic, full: ActorCritic, batch: dict[str, torch.Tensor]) -> dict[str, float]:
    """Differences between two agents of equal weights, `low` in bf16, on what `low` acted.

    Returns:
        dlogp_acting, largest |log ratio| between acting and learning in bf16; dlogp_fp32 and dvalue_fp32, mean
        differences between bf16 and fp32; cos_fp32 and cos_minibatches, cosines between the gradients of bf16 and fp32
        on one minibatch, and of two minibatches in fp32.
    """
    with torch.no_grad():
        logp, values = {}, {}
        for name, agent in {"low": low, "full": full}.items():
            packed = agent.pack()
            parts = [agent.policy_and_value(obs, packed) for obs in batch["obs"].split(MINIBATCH)]
            logp[name] = agent.Policy(torch.cat([part[0] for part in parts])).logp(batch["actions"])
            values[name] = torch.cat([part[1] for part in parts])
    first, second = ({name: column.split(MINIBATCH)[i] for name, column in batch.items()} for i in (0, 1))
    one, same, other = gradient(low, first), gradient(full, first), gradient(full, second)
    return {
        "dlogp_acting": float((logp["low"] - batch["logp"]).abs().max()),
        "dlogp_fp32": float((logp["low"] - logp["full"]).abs().mean()),
        "dvalue_fp32": float((values["low"] - values["full"]).abs().mean()),
        "cos_fp32": float(F.cosine_similarity(one, same, 0)),
        "cos_minibatches": float(F.cosine_similarity(same, other, 0)),
    }


def main(arguments: list[str]) -> int:
    """The command line; 0, or 2 for a user's mistake."""
    asked = arguments in (["-h"], ["--help"])
    if asked or len(arguments) != 1:
        print("usage: python -m evidence.precision <run directory>", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    take_threads()
    try:
        for run in list_seed_runs(Path(arguments[0])):
            settings = read_run_settings(run)
            env, checkpoint = settings["env"], find_checkpoint(run, "last")
            games = make_games(env, NUM_ENVS, torch.get_num_threads())
            dtypes = "bfloat16", "float32"
            low, full = (load_agent(checkpoint, settings["model"] | {"dtype": d}, env, games) for d in dtypes)
            found = compare(low, full, act(low, games, settings["seed"]))
            games.close()
            print(f"seed {settings['seed']}: " + ", ".join(f"{name} {value:.5f}" for name, value in found.items()))
    except Mistake as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
