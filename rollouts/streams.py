"""The seeds of the random streams of games and actions."""

import numpy as np


def seed_streams(seed: int, worker: int, agent_steps: int) -> tuple[int, int]:
    """Return two independent seeds: one for the envs and one for the actions.

    Args:
        seed: the seed of the run.
        worker: the number of a worker of A3C, or of an env runner that does not share its envs; otherwise 0.
        agent_steps: the agent steps of the run so far, so that a resumed run does not repeat its first games.
    """
    env_seed, action_seed = np.random.SeedSequence([seed, worker, agent_steps]).generate_state(2)
    return int(env_seed) % 2**30, int(action_seed)
