"""The seeds of the random streams of games and actions."""

import numpy as np


def seed_streams(seed: int, worker: int, agent_steps: int) -> tuple[int, int]:
    """Return two independent seeds, of the envs and of the actions.

    Args:
        seed: of the run.
        worker: a worker of A3C, or an env runner that plays games of its own; otherwise 0.
        agent_steps: of the run so far, so that a resumed run plays other games than those it began with.
    """
    env_seed, action_seed = np.random.SeedSequence([seed, worker, agent_steps]).generate_state(2)
    return int(env_seed) % 2**30, int(action_seed)
