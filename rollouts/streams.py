"""Where the random numbers of games and of actions come from."""

import numpy as np


def streams(seed: int, worker: int, agent_steps: int) -> tuple[int, int]:
    """Independent seeds for the envs and for the actions of a run, or of one worker of A3C."""
    env_seed, action_seed = np.random.SeedSequence([seed, worker, agent_steps]).generate_state(2)
    return int(env_seed) % 2**30, int(action_seed)
