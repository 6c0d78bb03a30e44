"""The env runner: it acts in all its envs at once and fills a Rollout.

    weights -> VectorEnvRunner.sample: (act, step) x T -> Rollout

It has the interface of RLlib's SingleAgentEnvRunner and takes its place. It has no episodes and no connectors, because
their Python code for every env and step costs more time than the emulator and the network together.
"""

import time
from typing import Any

import gymnasium
import numpy as np
import ray
import torch
from ray.rllib.core import COMPONENT_RL_MODULE, DEFAULT_MODULE_ID
from ray.rllib.env import INPUT_ENV_SINGLE_SPACES, INPUT_ENV_SPACES
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable
from ray.rllib.utils.metrics import WEIGHTS_SEQ_NO

from environments.frame_stack import FrameStack
from environments.games import Transition, make_games
from environments.threads import configure_threads
from rollouts.device import Acting, choose_runner_device, has_suite_torso
from rollouts.health import DeferredFault, return_faults
from rollouts.rollout import Rollout, list_columns, summarize
from rollouts.streams import seed_streams


class VectorEnvRunner(EnvRunner, Checkpointable):
    """N envs and a copy of the model.

    Its config has `env_config` (the settings of the environment), `num_envs_per_env_runner` (N),
    `rollout_fragment_length` (T) and `seed`; `records_policy` says whether the loss needs the parameters of the policy.
    """

    config: Any  # RLlib's class declares few of its attributes
    module: Any  # an ActorCritic

    def __init__(self, *, config: Any, module: Any = None, **kwargs):
        super().__init__(config=config, **kwargs)
        self.num_threads = configure_threads()
        self.num_envs, self.horizon = config.num_envs_per_env_runner, config.rollout_fragment_length
        self.games = make_games(config.env_config, self.num_envs, self.num_threads)
        self.layout = self.games.layout
        self.weights_seq_no, self.deferred_fault = 0, DeferredFault()
        if module is None:
            self.make_module()
        else:
            self.use_module(module)
        self._policy_size, self._memory_size = self._measure_sizes()
        # A runner that replaces a lost one plays other games than those the run began with.
        again = ray.is_initialized() and (here := ray.get_runtime_context()).get_actor_id()
        self.start_games(agent_steps=time.time_ns() if again and here.was_current_actor_reconstructed else 0)

    def make_module(self) -> None:
        spec = self.config.get_rl_module_spec(env=None, spaces=self.get_spaces(), inference_only=False)
        self.use_module(spec.build().to(choose_runner_device(self.config, self.worker_index)))

    def use_module(self, module: Any) -> None:
        """Act with this module from now on, on the device where it is."""
        is_free = self.num_threads > 1 and self.config.threads != "openmp"
        tries_one_thread = is_free and has_suite_torso(module)
        self.module, self._acting = module, Acting(module.policy.weight.device, tries_one_thread)

    def get_spaces(self) -> dict[str, Any]:
        one = (self.games.observation_space, self.games.action_space)
        many = tuple(gymnasium.vector.utils.batch_space(space, self.num_envs) for space in one)
        return {INPUT_ENV_SPACES: many, INPUT_ENV_SINGLE_SPACES: one, DEFAULT_MODULE_ID: one}

    def _measure_sizes(self) -> tuple[int, int]:
        """Return two sizes: the numbers that describe a policy, 0 where it is not recorded, and the units of the LSTM,
        0 where the model has none."""
        space, state = self.games.observation_space, self.module.make_initial_state(1)
        obs = torch.from_numpy(np.zeros((1, *(space.shape or ())), space.dtype))
        with torch.inference_mode():
            policy = self.module.act(obs.to(self.module.policy.weight.device), self.module.pack(), state)[0]
        return policy.shape[-1] if self.config.records_policy() else 0, state[0].shape[-1] if state else 0

    def start_games(self, agent_steps: int) -> None:
        """Start new games, whose random streams depend on the seed, the env and the agent steps of the run so far.

        So a resumed run plays other games than those it began with, two runs that resume from one checkpoint play the
        same games, and games with a stream per env do not depend on the number of env runners: docs/cluster.md says
        which have one stream for all envs. Each worker of A3C has its own streams.
        """
        index, shares = self.worker_index or 0, self.config.num_env_runners
        self._first, self._of = 0, None
        if shares:  # runner i, from 1 on, plays the envs from (i - 1) N on of all that the runners share
            self._first, self._of = (index - 1) * self.num_envs, shares * self.num_envs
        env_seed, action_seed = seed_streams(self.config.seed, 0 if shares else index, agent_steps)
        self._generator = torch.Generator().manual_seed(action_seed)
        with self.deferred_fault:
            self._forget_games(self.games.reset(env_seed + self._first))

    def _forget_games(self, obs: np.ndarray) -> None:
        """Forget the old games; `obs` [N, ...] are the first observations of new ones."""
        self._score, self._length = np.zeros(self.num_envs), np.zeros(self.num_envs, np.int64)
        self._stack, self._state = FrameStack(self.layout, obs), self.module.make_initial_state(self.num_envs)

    def _act(self, packed: Any) -> tuple[torch.Tensor, torch.Tensor, tuple]:
        """Run the network on the present observations; returns policies [N, P], values [N] and the next state."""
        obs = torch.from_numpy(self._stack.get_observations())  # [N, ...]; pixels as stacks in blocks
        return self._acting.act(self.module, obs, packed, self._state)

    def sample(self, **kwargs) -> Rollout:
        """Play `horizon` agent steps in every env. RLlib's arguments for evaluation are not used."""
        self.deferred_fault.raise_fault()
        arrays = self._make_arrays(self.horizon)
        scores, lengths = [], []
        with torch.inference_mode():
            packed = self.module.pack()
            for t in range(self.horizon):
                step = self._play_step(arrays, t, packed)
                for n in np.flatnonzero(step.finished):
                    scores.append(float(self._score[n]))
                    lengths.append(int(self._length[n]))
                    self._score[n] = self._length[n] = 0
            arrays["values"][self.horizon] = self._act(packed)[1].numpy()
        if not self.games.same_step:  # there, a game's last observation is the next row's
            arrays["final_values"][:] = np.where(arrays["truncated"], arrays["values"][1:], 0)
        return Rollout(arrays, scores, lengths, self.weights_seq_no)

    def _make_arrays(self, horizon: int) -> dict[str, np.ndarray]:
        """Return the columns of a Rollout; the first observation and the state of the LSTM are written already."""
        spaces = self.games.observation_space, self.games.action_space
        table = list_columns(horizon, self.num_envs, *spaces, self.layout, self._policy_size, self._memory_size)
        arrays = {name: np.empty(shape, dtype) for name, (shape, dtype) in table.items()}
        arrays["final_values"][:] = 0
        if self.layout:
            arrays["frames"][: self.layout.stack] = np.moveaxis(self._stack.frames, 3, 0)
        else:
            arrays["obs"][0] = self._stack.frames
        if self._memory_size:
            arrays["memory"][:] = torch.stack(self._state).cpu().numpy()
        return arrays

    def _play_step(self, arrays: dict[str, np.ndarray], t: int, packed: Any) -> Transition:
        """Play one agent step in every env and record it in row t."""
        parameters, values, self._state = self._act(packed)
        policy = self.module.Policy(parameters)
        actions = policy.sample(self._generator, self._first, self._of)
        arrays["actions"][t] = chosen = actions.numpy()
        arrays["logp"][t] = policy.logp(actions).numpy()
        arrays["values"][t] = values.numpy()
        if self._policy_size:
            arrays["policy"][t] = parameters.numpy()

        step = self.games.step(chosen)
        for name in ("rewards", "terminated", "truncated", "game_reset", "valid"):
            arrays[name][t] = getattr(step, name)
        if step.final_obs is not None:
            arrays["final_values"][t] = self._compute_final_values(step, packed)
        self._stack.push(step.obs, step.game_reset)
        if step.game_reset.any():
            for part in self._state:
                part[torch.from_numpy(step.game_reset)] = 0
        if self.layout:
            arrays["frames"][t + self.layout.stack] = step.obs
        else:
            arrays["obs"][t + 1] = step.obs
        self._score += step.rewards
        self._length += step.valid
        return step

    def _compute_final_values(self, step: Transition, packed: Any) -> np.ndarray:
        """Return float32 [N]: the value of the last observation where a game was truncated, 0 elsewhere."""
        values, cut = np.zeros(self.num_envs, np.float32), step.truncated & ~step.terminated
        if cut.any():
            final_obs: Any = step.final_obs
            last = self._stack.preview_observations(final_obs, cut)
            state = tuple(part[torch.from_numpy(cut)] for part in self._state)
            values[cut] = self._acting.act(self.module, torch.from_numpy(last), packed, state)[1].numpy()
        return values

    @return_faults
    def sample_ref(self) -> tuple[Rollout | ray.ObjectRef, dict[str, Any]]:
        """Sample, and return the Rollout with its summary; for learners in other processes a reference to the Rollout,
        which is lost with this process."""
        rollout = self.sample()
        return ray.put(rollout) if self.config.num_learners else rollout, summarize(rollout)

    def assert_healthy(self) -> None:
        assert self.module is not None

    def stop(self) -> None:
        self.games.close()

    def get_state(self, components=None, *, not_components=None, **kwargs) -> dict[str, Any]:
        state = {}
        if self._check_component(COMPONENT_RL_MODULE, components, not_components):
            state[COMPONENT_RL_MODULE] = self.module.get_state(**kwargs)
            state[WEIGHTS_SEQ_NO] = self.weights_seq_no
        return state

    def set_state(self, state: dict[str, Any]) -> None:
        if COMPONENT_RL_MODULE in state:
            seq_no = state.get(WEIGHTS_SEQ_NO, 0)
            # Different, not only newer: a restored checkpoint is older than the weights it replaces.
            if seq_no == 0 or seq_no != self.weights_seq_no:
                module = state[COMPONENT_RL_MODULE]
                module = ray.get(module) if isinstance(module, ray.ObjectRef) else module
                self.module.set_state(module.get(DEFAULT_MODULE_ID, module))
                self.weights_seq_no = seq_no

    def get_ctor_args_and_kwargs(self) -> tuple[tuple, dict[str, Any]]:
        return (), {"config": self.config}
