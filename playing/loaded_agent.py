"""An agent of a run in your own program: it is loaded from a run directory and chooses actions.

from playing import load_agent

agent = load_agent("agents/assault_ppo")
env = agent.make_env()
observation, _ = env.reset(seed=1)
state, ended = None, False
while not ended:
    action, state = agent.act(observation, state)
    observation, reward, terminated, truncated, _ = env.step(action)
    ended = terminated or truncated
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch

from environments.single_game import SingleGame
from playing.agent import Agent
from run_directory.checkpoints import find_checkpoint
from run_directory.layout import list_seed_runs
from settings.mistakes import Mistake

State = tuple[torch.Tensor, ...]


class LoadedAgent:
    """The network of a checkpoint, with the environment that it was trained in.

    Args:
        run: the run directory of one seed, or the folder of a published agent.
        checkpoint: the folder of the checkpoint.

    Attributes:
        settings: the settings of the run, nested as in its config.yaml.
        observation_space, action_space: of one environment, as the network takes and gives them.
        action_names: the names that ALE gives the actions; empty for other environments.
        network: an ActorCritic or a QNetwork, a torch module.
    """

    def __init__(self, run: Path, checkpoint: Path):
        self._agent = Agent(run, checkpoint)
        self.settings = self._agent.settings
        games = self._agent.open_games(num_envs=1)
        self.network: Any = self._agent.load_network(games)
        self.observation_space, self.action_space = games.observation_space, games.action_space
        self.action_names = games.action_names
        games.close()
        with torch.inference_mode():
            self._packed = self.network.pack()
        self._generator = torch.Generator().manual_seed(self._agent.games_seed)

    def make_env(self) -> SingleGame:
        """Return the environment that the agent was trained in, as a gymnasium.Env that plays whole games.

        Its observations are those of `observation_space`; pixels are stacks of frames in blocks, as the network takes
        them (environments/frames.py). Rewards are not clipped, and a lost life ends no game.
        """
        return SingleGame(self._agent.env | {"clip_rewards": False, "life_loss": False})

    def act(self, observation: np.ndarray, state: State | None = None, greedy: bool = False) -> tuple[Any, State]:
        """Choose an action for one environment, or for each of N.

        Args:
            observation: [...] of one environment, or [N, ...] of N, in the shape of `observation_space`.
            state: None before the first action of a game, then what the last call returned. With N environments, set
                the rows of those that begin a new game to 0; networks without an LSTM have an empty state.
            greedy: take the likeliest action instead of sampling one.

        Returns:
            The action, or N of them as an array, and the next state.

        Raises:
            ValueError: the observation has another shape.
        """
        observation, shape = np.asarray(observation), self.observation_space.shape
        is_single = observation.shape == shape
        if not is_single and observation.shape[1:] != shape:
            raise ValueError(f"the agent observes {shape}, or N of them; this observation is {observation.shape}")
        batch = torch.from_numpy(np.ascontiguousarray(observation[None] if is_single else observation))
        with torch.inference_mode():
            before = self.network.make_initial_state(len(batch)) if state is None else state
            parameters, _, after = self.network.act(batch, self._packed, before)
            policy = self.network.Policy(parameters)
            actions = (policy.mode() if greedy else policy.sample(self._generator)).numpy()
        return (actions[0] if is_single else actions), after


def load_agent(run: str | Path, checkpoint: str | None = None) -> LoadedAgent:
    """Load an agent from a run directory; nothing in it is unpickled.

    Args:
        run: the run directory of one seed, or the folder of a published agent such as `agents/assault_ppo`.
        checkpoint: best, last, previous, milestone_<percent> or the path of a folder; None: the best there is.

    Raises:
        Mistake: there is no such run or checkpoint, it is damaged, or the run has several seeds.
    """
    runs = list_seed_runs(Path(run).expanduser().resolve())
    if len(runs) > 1:
        raise Mistake(f"run={run}: it has {len(runs)} seeds; give the directory of one, such as {runs[0]}")
    return LoadedAgent(runs[0], find_checkpoint(runs[0], checkpoint))
