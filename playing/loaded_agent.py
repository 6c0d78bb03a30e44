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

A program with an emulator of its own gives `act` the emulator's frames instead: docs/agents.md.
"""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box

from environments.frames import layout_of, to_blocks
from environments.single_game import SingleGame
from playing.agent import Agent
from playing.raw_frames import OWN_GRAY, WIDTH, reduce_frames
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
        env = self.settings["env"]
        self._layout = layout_of(env) if "game" in env and not (env["grayscale"] and env["game"] in OWN_GRAY) else None
        with torch.no_grad():
            self._packed = self.network.pack()
        self._generator = torch.Generator().manual_seed(self._agent.games_seed)

    def make_env(self) -> SingleGame:
        """Return the environment that the agent was trained in, as a gymnasium.Env that plays whole games.

        Its observations are those of `observation_space`; pixels are stacks of frames in blocks, as the network takes
        them (environments/frames.py). Rewards are not clipped, and a lost life ends no game. The step of FIRE after a
        lost life ignores its action, as in training.
        """
        return SingleGame(self._agent.env | {"clip_rewards": False, "life_loss": False}, shows_ignored=True)

    def act(self, observation: np.ndarray, state: State | None = None, greedy: bool = False) -> tuple[Any, State]:
        """Choose an action for one environment, or for each of N.

        Args:
            observation: [...] of one environment, or [N, ...] of N, in the shape of `observation_space`. For a game of
                ALE also the emulator's frames in colours after each agent step, which lasts `env.frameskip` frames:
                uint8 [H, 160, 3] of one game, [N, H, 160, 3] of N games, or [N, 2, H, 160, 3], the last two of the
                step, whose maximum the agent was trained on. They are reduced and stacked here.
            state: None before the first action of a game, then what the last call returned. With N environments, set
                the rows of those that begin a new game to 0. It is the state of the LSTM, () without one; of frames
                also the stack, uint8 [N, ...].
            greedy: take the likeliest action instead of sampling one.

        Returns:
            The action, or N of them as an array, in `action_space`; and the next state.

        Raises:
            ValueError: the observation has another shape, or something else than finite numbers of the dtype of the
                space.
        """
        given, shape, dtype = np.asarray(observation), self.observation_space.shape, self.observation_space.dtype
        if given.dtype.kind not in "biuf":
            raise ValueError(f"the agent observes {dtype}; this observation is of {given.dtype}, which is no number")
        with np.errstate(over="ignore", invalid="ignore"):  # the answer follows
            observation = given.astype(dtype, copy=False)
            is_whole = dtype is not None and dtype.kind in "biu"  # else the network reads it as float32
            fits = observation == given if is_whole else np.isfinite(observation.astype(np.float32, copy=False))
        if not fits.all():
            raise ValueError(
                f"the agent observes {dtype}; this {given.dtype} observation has NaN, infinity or other numbers"
            )
        is_single = observation.shape == shape
        if not is_single and observation.shape[1:] != shape:
            if self._layout and observation.shape[-2:] == (WIDTH, 3) and observation.ndim in (3, 4, 5):
                return self._act_on_frames(observation, state, greedy)
            frames = f", or frames of the emulator, (210, {WIDTH}, 3)" if self._layout else ""
            raise ValueError(
                f"the agent observes {shape}, or N of them{frames}; this observation is {observation.shape}"
            )
        batch = torch.from_numpy(np.ascontiguousarray(observation[None] if is_single else observation))
        with torch.no_grad():  # not inference_mode, whose tensors the caller could not set to 0
            before = self.network.make_initial_state(len(batch)) if state is None else state
            parameters, _, after = self.network.act(batch, self._packed, before)
            policy = self.network.Policy(parameters)
            actions = (policy.mode() if greedy else policy.sample(self._generator)).numpy()
        if isinstance(box := self.action_space, Box):  # as games clip them
            actions = actions.clip(box.low, box.high).astype(box.dtype)
        return (actions[0] if is_single else actions), after

    def _act_on_frames(self, frames: np.ndarray, state: State | None, greedy: bool) -> tuple[Any, State]:
        """Do what `act` does with frames of the emulator: reduce them, add them to the stacks, and choose actions."""
        assert self._layout is not None
        is_single = frames.ndim == 3
        frames = frames[None] if is_single else frames
        pictures = reduce_frames(frames[:, None] if frames.ndim == 4 else frames, self._layout)
        blocks = np.empty((len(pictures), *self._layout.frame_shape), np.uint8)
        to_blocks(blocks, pictures, self._layout)
        newest = torch.from_numpy(blocks)[..., None, :]  # [N, height, width, 1, depth]
        before = (
            newest.new_zeros(newest.shape).expand(-1, -1, -1, self._layout.stack, -1) if state is None else state[-1]
        )
        stacks = torch.cat([before[..., 1:, :], newest], -2)
        observations = stacks.reshape(len(stacks), *self._layout.stack_shape).numpy()
        actions, after = self.act(observations, None if state is None else state[:-1], greedy)
        return (actions[0] if is_single else actions), (*after, stacks)


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
