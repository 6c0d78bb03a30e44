"""Precision: what computing in bf16 instead of fp32 changes in a trained agent.

    python -m evidence.precision <run directory>

    last checkpoint (of a published agent the best) -> 1,024 agent steps, played in bf16
        -> the same steps in minibatches, in bf16 and in fp32

A policy gradient method compares the policy that played with the policy that learns. If rounding alone changed the
ratio of the two, clipping would remove good samples; if rounding changed the direction of the gradient, training would
take another path. Both effects are printed. The second is printed beside the difference between the gradients of two
minibatches, which is there without any rounding.
"""

import sys
from pathlib import Path

import torch
import torch.nn.functional as F

from custom_models.actor_critic import ActorCritic
from environments.frame_stack import FrameStack
from environments.games import Games
from environments.threads import configure_threads
from playing.agent import load_network
from playing.saved_settings import read_run_settings
from playing.whole_games import derive_seeds, open_games
from run_directory.checkpoints import find_checkpoint
from run_directory.layout import checkpoint_path, list_seed_runs
from settings.algorithms import find_base
from settings.mistakes import EnvironmentFault, Mistake

NUM_ENVS, STEPS, MINIBATCH = 8, 128, 256
CLIP, ENTROPY_COEFF, VF_COEFF = 0.1, 0.01, 0.5  # the values of PPO


def play_batch(network: ActorCritic, games: Games, seed: int) -> dict[str, torch.Tensor]:
    """Play STEPS agent steps in every environment.

    Returns:
        obs [B, ...], actions [B], and logp [B] and values [B] as the network computed them while it played.
    """
    env_seed, action_seed = derive_seeds(seed)
    generator, rows = torch.Generator().manual_seed(action_seed), []
    stack = FrameStack(games.layout, games.reset(env_seed))
    with torch.no_grad():
        packed = network.pack()
        for _ in range(STEPS):
            obs = torch.from_numpy(stack.get_observations()).clone()
            parameters, values = network.compute_policy_and_value(obs, packed)
            policy = network.Policy(parameters)
            actions = policy.sample(generator)
            rows.append((obs, actions, policy.logp(actions), values))
            step = games.step(actions.numpy())
            stack.push(step.obs, step.game_reset)
    names = "obs", "actions", "logp", "values"
    return {name: torch.cat(column) for name, column in zip(names, zip(*rows, strict=True), strict=True)}


def compute_gradient(network: ActorCritic, batch: dict[str, torch.Tensor]) -> torch.Tensor:
    """Return PPO's gradient on one minibatch with random advantages and targets, all parameters in one vector."""
    noise = torch.randn(2, len(batch["actions"]), generator=torch.Generator().manual_seed(0))
    advantages, targets = noise[0], batch["values"] + noise[1]
    parameters, values = network.compute_policy_and_value(batch["obs"], network.pack())
    policy = network.Policy(parameters)
    ratio = (policy.logp(batch["actions"]) - batch["logp"]).exp()
    surrogate = torch.min(ratio * advantages, ratio.clamp(1 - CLIP, 1 + CLIP) * advantages).mean()
    value_loss = 0.5 * F.mse_loss(values, targets)
    loss = -surrogate + VF_COEFF * value_loss - ENTROPY_COEFF * policy.entropy().mean()
    gradients = torch.autograd.grad(loss, list(network.parameters()))
    return torch.cat([g.flatten() for g in gradients]).double()  # the cosines below sum a million squares


def compare_networks(low: ActorCritic, full: ActorCritic, batch: dict[str, torch.Tensor]) -> dict[str, float]:
    """Compare two networks of equal weights on a batch.

    Args:
        low: the network that computes in bf16; it played the batch.
        full: the network that computes in fp32.
        batch: from `play_batch`.

    Returns:
        dlogp_acting: the largest |log ratio| between playing and learning, both in bf16.
        dlogp_fp32, dvalue_fp32: the mean differences of log-probabilities and values between bf16 and fp32.
        cos_fp32: the cosine between the gradients of bf16 and fp32 on one minibatch.
        cos_minibatches: the cosine between the gradients of two minibatches in fp32.
    """
    with torch.no_grad():
        logp, values = {}, {}
        for name, network in {"low": low, "full": full}.items():
            packed = network.pack()
            parts = [network.compute_policy_and_value(obs, packed) for obs in batch["obs"].split(MINIBATCH)]
            logp[name] = network.Policy(torch.cat([part[0] for part in parts])).logp(batch["actions"])
            values[name] = torch.cat([part[1] for part in parts])
    first, second = ({name: column.split(MINIBATCH)[i] for name, column in batch.items()} for i in (0, 1))
    low_first, full_first = compute_gradient(low, first), compute_gradient(full, first)
    full_second = compute_gradient(full, second)
    return {
        "dlogp_acting": float((logp["low"] - batch["logp"]).abs().max()),
        "dlogp_fp32": float((logp["low"] - logp["full"]).abs().mean()),
        "dvalue_fp32": float((values["low"] - values["full"]).abs().mean()),
        "cos_fp32": float(F.cosine_similarity(low_first, full_first, 0)),
        "cos_minibatches": float(F.cosine_similarity(full_first, full_second, 0)),
    }


def main(arguments: list[str]) -> int:
    """Run the command line; return 0, or 2 for a mistake of the user."""
    asked = arguments in (["-h"], ["--help"])
    if asked or len(arguments) != 1:
        print("usage: python -m evidence.precision <run directory>", file=sys.stdout if asked else sys.stderr)
        return 0 if asked else 2
    configure_threads()
    try:
        for run in list_seed_runs(Path(arguments[0])):
            settings = read_run_settings(run)
            if settings["model"].get("lstm_size") or find_base(settings["algo"]) == "dqn":
                raise Mistake(f"run={run}: this measures policy gradients of networks without an LSTM; give another")
            has_last = checkpoint_path(run, "last").is_dir()  # a published agent has the best alone
            env, checkpoint = settings["env"], find_checkpoint(run, "last" if has_last else None)
            games = open_games(run, env, NUM_ENVS)  # neither rewards nor ends of games are used
            dtypes = "bfloat16", "float32"
            low, full = (load_network(checkpoint, settings["model"] | {"dtype": d}, env, games) for d in dtypes)
            found = compare_networks(low, full, play_batch(low, games, settings["seed"]))
            games.close()
            print(f"seed {settings['seed']}: " + ", ".join(f"{name} {value:.5f}" for name, value in found.items()))
    except (Mistake, EnvironmentFault) as mistake:
        print(f"error: {mistake}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
