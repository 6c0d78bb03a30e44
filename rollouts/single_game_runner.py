"""RLlib's own env runner with the suite's games in it, for algorithms that learn from RLlib's episodes.

weights -> SingleGameRunner.sample: RLlib's loop over SingleGames -> episodes; full games beside them
"""

from typing import Any

import torch
from ray.rllib.env.single_agent_env_runner import SingleAgentEnvRunner
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from environments.threads import take_threads
from rollouts.streams import streams


class SingleGameRunner(SingleAgentEnvRunner):
    """What the suite needs beyond RLlib's runner: streams that survive a restart, and whole games."""

    config: Any  # RLlib's class declares few of its attributes
    env: Any
    module: Any  # a QNetwork

    def __init__(self, *, config: Any, **kwargs):
        take_threads()
        super().__init__(config=config, **kwargs)
        self.begin(agent_steps=0)

    def begin(self, agent_steps: int) -> None:
        """Start new games, with random streams that depend on the seed, the runner and how far the run has come."""
        self._seed, action_seed = streams(self.config.seed, self.worker_index or 0, agent_steps)
        self.module.generator = torch.Generator().manual_seed(action_seed)
        self.num_env_steps_sampled_lifetime = agent_steps  # where the epsilon schedule stands
        self._needs_initial_reset = True

    def _try_env_step(self, actions: Any) -> Any:
        try:
            return super()._try_env_step(actions)
        except RuntimeError as error:  # RLlib's, which says nothing; the environment's fault is its cause
            raise error.__cause__ or error from None

    def take_finished(self) -> tuple[list[float], list[int]]:
        """Unclipped scores and agent steps of the full games that ended since the last call."""
        games = [env.unwrapped for env in self.env.unwrapped.envs]
        pairs = [pair for game in games for pair in game.finished]
        for game in games:
            game.finished = []
        return [score for score, _ in pairs], [length for _, length in pairs]

    def set_state(self, state: dict[str, Any]) -> None:
        if state.get(WEIGHTS_SEQ_NO, 0) < self._weights_seq_no:
            self._weights_seq_no = 0  # a restored checkpoint is older than the weights it replaces
        super().set_state(state)
