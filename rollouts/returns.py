"""Returns and advantages: pure functions of time-major arrays.

T agent steps, N envs. r_t is the reward for the action at t, V_t the value of the observation it was chosen on.
`terminated` ends an episode, so V(s') counts as 0; `truncated` only cuts it short, so V(s') counts, and it is the value
of the old game's last observation (`final_values`), because the next row already belongs to a new game.
"""

import torch


def next_values(
    values: torch.Tensor, final_values: torch.Tensor, terminated: torch.Tensor, truncated: torch.Tensor
) -> torch.Tensor:
    """Return the value of the observation that each step leads to, V(s_{t+1}); 0 where the step ended the episode.

    Args:
        values: float [T + 1, N]; the last row is the bootstrap.
        final_values: float [T, N], read where `truncated`.
        terminated, truncated: bool [T, N]; a step that is both counts as terminated.

    Returns:
        float [T, N].
    """
    return torch.where(terminated, 0.0, torch.where(truncated, final_values, values[1:]))


def gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    final_values: torch.Tensor,
    terminated: torch.Tensor,
    truncated: torch.Tensor,
    gamma: float,
    lam: float,
    valid: torch.Tensor | None = None,
) -> torch.Tensor:
    """Generalised advantage estimation.

    Source: Schulman et al. 2016, eq. 16. With lam = 1 this is the n-step advantage of A2C.

    Args:
        rewards: float [T, N], clipped or not, as the algorithm asks.
        values, final_values, terminated, truncated: see `next_values`.
        gamma: discount, 0 to 1.
        lam: 0 (one step) to 1 (all steps to the end of the rollout).
        valid: bool [T, N], False in rows whose action the agent did not choose, as after a lost life. V of such a row
            is never trained. A of the row before it has it twice, +gamma V and -gamma lam V, so lam is 1 there: the two
            cancel and A looks past that row, but V stays where the rollout ends before it. None: all rows are valid.

    Returns:
        float [T, N], not standardised.
    """
    deltas = rewards + gamma * next_values(values, final_values, terminated, truncated) - values[:-1]
    carries = gamma * lam * (~(terminated | truncated)).to(deltas.dtype)
    if valid is not None:
        carries[:-1].masked_fill_(~valid[1:] & ~(terminated | truncated)[:-1], gamma)
    advantages, advantage = torch.empty_like(deltas), torch.zeros_like(deltas[0])
    for t in reversed(range(len(deltas))):
        advantage = deltas[t] + carries[t] * advantage
        advantages[t] = advantage
    return advantages


def monte_carlo(rewards: torch.Tensor, terminated: torch.Tensor, truncated: torch.Tensor, gamma: float) -> torch.Tensor:
    """Discounted returns of complete episodes: G_t = r_t + gamma G_{t+1} up to the end, whatever ended it.

    Source: Williams 1992; the lecture's G_k. There is no critic to say what would have come after a time limit.

    Args:
        rewards: float [T, N]; every env's last step that counts ends an episode.
        terminated, truncated: bool [T, N].
        gamma: discount, 0 to 1.

    Returns:
        float [T, N].
    """
    goes_on = gamma * (~(terminated | truncated)).to(rewards.dtype)
    returns, later = torch.empty_like(rewards), torch.zeros_like(rewards[0])
    for t in reversed(range(len(rewards))):
        later = rewards[t] + goes_on[t] * later
        returns[t] = later
    return returns


def clip_to_sign(rewards: torch.Tensor) -> torch.Tensor:
    """Return the sign of every reward, as Mnih et al. 2015 train on Atari; infinity and NaN become NaN."""
    return torch.where(rewards.isfinite(), rewards.sign(), torch.nan)


def explained_variance(targets: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Share of the targets' variance that the values explain: 1 at best, 0 for a constant; scalar."""
    return 1 - (targets - values).var(correction=0) / (targets.var(correction=0) + 1e-8)
