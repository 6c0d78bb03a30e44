"""RLlib's own env runner with the suite's games, for algorithms that learn from RLlib's episodes.

weights -> SingleGameRunner.sample: RLlib's loop over SingleGames -> episodes, and the scores of full games
"""

from typing import Any

import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from environments.threads import configure_threads
from rollouts.streams import seed_streams


class SingleGameRunner(SingleAgentEnvRunner):
    """RLlib's runner with random streams that depend on the run so far, and with the scores of full games."""

    config: Any  # RLlib's class declares few of its attributes
    env: Any
    module: Any  # a QNetwork

    def __init__(self, *, config: Any, **kwargs):
        configure_threads()
        super().__init__(config=config, **kwargs)
        self.start_games(agent_steps=0)

    def start_games(self, agent_steps: int) -> None:
        """Start new games, whose random streams depend on the seed, the runner and the agent steps so far."""
        self._seed, action_seed = seed_streams(self.config.seed, self.worker_index or 0, agent_steps)
        self.module.generator = torch.Generator().manual_seed(action_seed)
        self.num_env_steps_sampled_lifetime = agent_steps  # the epsilon schedule depends on it
        self._needs_initial_reset = True

    def _try_env_step(self, actions: Any) -> Any:
        try:
            return super()._try_env_step(actions)
        except RuntimeError as error:  # RLlib's, which says nothing; the environment's fault is its cause
            raise error.__cause__ or error from None

    def take_finished_games(self) -> tuple[list[float], list[int]]:
        """Return the unclipped scores and the agent steps of the full games that ended since the last call."""
        games = [env.unwrapped for env in self.env.unwrapped.envs]
        pairs = [pair for game in games for pair in game.finished]
        for game in games:
            game.finished = []
        return [score for score, _ in pairs], [length for _, length in pairs]

    def set_state(self, state: dict[str, Any]) -> None:
        if state.get(WEIGHTS_SEQ_NO, 0) < self._weights_seq_no:
            self._weights_seq_no = 0  # a restored checkpoint is older than the weights it replaces
        super().set_state(state)
