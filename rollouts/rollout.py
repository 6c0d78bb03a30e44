"""The Rollout: T agent steps of N envs as a table of contiguous arrays, time first.

`list_columns` declares it, the env runner fills it, and from then on it is read-only in every process. Rewards are raw
and games are whole: the loss clips rewards and ends episodes at lost lives, so the reported score is always the game's.

    frames      uint8   [T + stack, N, h, w, d]  each picture once, in blocks; obs t is frames t .. t + stack - 1
    obs         dtype   [T + 1, N, ...]          instead of frames, where there are no pixels
    actions     int64   [T, N], or [T, N, D] of D factors, or float32 [T, N, D]
    logp        float32 [T, N]                   log-probability of the action under the policy that chose it
    policy      float32 [T, N, P]                that policy's parameters; only where the loss asks for them
    rewards     float32 [T, N]                   raw
    values      float32 [T + 1, N]               V(s_t) by the network that acted; the last row is the bootstrap
    final_values float32 [T, N]                  V of a truncated game's last observation; 0 elsewhere
    terminated, truncated, game_reset, valid     bool [T, N], see environments/games.py
    memory      float32 [2, N, H]                of an LSTM, before the first step; only where the model has one
"""

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, cast

import numpy as np
import ray
import torch
from gymnasium.spaces import Box, Space
from ray.rllib.core.learner.training_data import TrainingData

from custom_models.cuda_graphs import COMPLAINTS
from environments.frames import FrameLayout


def list_columns(
    horizon: int,
    num_envs: int,
    observation_space: Space,
    action_space: Space,
    layout: FrameLayout | None,
    policy_size: int,
    memory_size: int = 0,
) -> dict[str, tuple[tuple[int, ...], type]]:
    """Return name -> (shape, dtype) of every array in a Rollout.

    Args:
        horizon: T, agent steps per env.
        num_envs: N.
        observation_space: the observations of one env.
        action_space: the actions of one env.
        layout: the layout of the pictures; None if observations are not pixels.
        policy_size: P, numbers per policy; 0 leaves the column out.
        memory_size: H, units of the model's LSTM; 0 leaves the column out.
    """
    steps = (horizon, num_envs)
    discrete = not isinstance(action_space, Box)
    size = action_space.shape or ()
    table: dict[str, Any] = {
        "actions": ((*steps, *size), np.int64 if discrete else np.float32),
        "logp": (steps, np.float32),
        "rewards": (steps, np.float32),
        "values": ((horizon + 1, num_envs), np.float32),
        "final_values": (steps, np.float32),
        "terminated": (steps, np.bool_),
        "truncated": (steps, np.bool_),
        "game_reset": (steps, np.bool_),
        "valid": (steps, np.bool_),
    }
    if layout is None:
        one = np.empty(observation_space.shape or (), observation_space.dtype)
        table["obs"] = ((horizon + 1, num_envs, *one.shape), one.dtype.type)
    else:
        table["frames"] = ((horizon + layout.stack, num_envs, *layout.frame_shape), np.uint8)
    if policy_size:
        table["policy"] = ((*steps, policy_size), np.float32)
    if memory_size:
        table["memory"] = ((2, num_envs, memory_size), np.float32)
    return table


class Rollout:
    """One rollout: read-only arrays by name, and the scores of the games that ended in it.

    Attributes:
        arrays: name -> array, as `list_columns` declares them.
        scores: float [G], unclipped returns of the full games that ended, in the order they ended.
        lengths: int [G], their agent steps.
        weights_seq_no: number of the learner's update whose weights the policy had.
    """

    def __init__(
        self, arrays: dict[str, np.ndarray], scores: Sequence[float], lengths: Sequence[int], weights_seq_no: int
    ):
        for array in arrays.values():
            array.flags.writeable = False
        self._arrays = arrays
        self.scores, self.lengths, self.weights_seq_no = tuple(scores), tuple(lengths), weights_seq_no

    def __reduce__(self):
        # An unpickled Rollout is read-only too, because the constructor runs.
        return Rollout, (self._arrays, self.scores, self.lengths, self.weights_seq_no)

    @property
    def arrays(self) -> MappingProxyType:
        """The arrays by name, read-only."""
        return MappingProxyType(self._arrays)

    def __getitem__(self, name: str) -> np.ndarray:
        return self._arrays[name]

    def __contains__(self, name: str) -> bool:
        return name in self._arrays

    @property
    def agent_steps(self) -> int:
        """Number of agent steps; rows that only restarted a game are not counted."""
        return int(self._arrays["valid"].sum())

    @property
    def num_bytes(self) -> int:
        """Bytes of all arrays, which are nearly all that a process sends with this Rollout."""
        return sum(array.nbytes for array in self._arrays.values())


def summarize(rollout: Rollout) -> dict[str, Any]:
    """Return the numbers of a Rollout that the driver counts, so that it need not fetch the Rollout itself, and what
    this process complains of."""
    complaints = {"complaints": list(COMPLAINTS)} if COMPLAINTS else {}
    return complaints | {
        "agent_steps": rollout.agent_steps,
        "scores": rollout.scores,
        "lengths": rollout.lengths,
        "num_bytes": rollout.num_bytes,
    }


class RolloutData(TrainingData):
    """Rollouts, or references to them, that an update learns from."""

    def __init__(self, rollouts: list[Rollout | ray.ObjectRef]):
        super().__init__()
        self.rollouts = rollouts

    def validate(self) -> None:
        if not self.rollouts:
            raise ValueError("an update needs at least one rollout")

    def shard(self, num_shards: int, len_lookback_buffer: int | None = None, **kwargs):
        return [(RolloutData(self.rollouts[i::num_shards]), {}) for i in range(num_shards)]

    def solve_refs(self) -> None:
        refs = [r for r in self.rollouts if isinstance(r, ray.ObjectRef)]
        if refs:  # all in one request, which saves waiting for each of them
            fetched = dict(zip(refs, ray.get(refs), strict=True))
            self.rollouts = [fetched[r] if isinstance(r, ray.ObjectRef) else r for r in self.rollouts]

    def fetch(self) -> list[Rollout]:
        """Return the Rollouts themselves, from Ray's store where they are references.

        Raises:
            ValueError: there are none.
        """
        self.validate()
        self.solve_refs()
        return [cast(Rollout, rollout) for rollout in self.rollouts]


def pad_end(column: torch.Tensor, missing: int) -> torch.Tensor:
    """Return the column [T, ...] with `missing` rows of zeros appended, [T + missing, ...]."""
    return torch.cat([column, column.new_zeros(missing, *column.shape[1:])]) if missing else column


def join_envs(tables: list[dict[str, torch.Tensor]]) -> dict[str, torch.Tensor]:
    """Return the tables of several runners side by side, as one runner would have filled them in all these envs.

    Args:
        tables: columns [T, N, ...], `values` [T + 1, N] and `memory` [2, N, H]. Complete episodes differ in T: the end
            of a shorter table is zeros, and not `valid`.
    """
    if len(tables) == 1:
        return tables[0]
    steps = [len(table["valid"]) for table in tables]
    joined = {}
    for name in tables[0]:
        columns = [table[name] for table in tables]
        if name != "memory":
            columns = [pad_end(column, max(steps) - own) for column, own in zip(columns, steps, strict=True)]
        joined[name] = torch.cat(columns, 1)
    return joined


def stack_frames(frames: torch.Tensor, game_reset: torch.Tensor, stack: int) -> torch.Tensor:
    """Return the stacks of frames that the policy saw, built on the device of the frames.

    A stack holds pictures of one game only: where the game is younger than the stack, the older places are zero, as in
    ALE's vector env. The runner has set to zero the pictures of earlier games in front of the first observation.

    Args:
        frames: uint8 [T + stack, N, h, w, d].
        game_reset: bool [T, N], true at t where frame t + stack is the first of a new game.
        stack: pictures per observation.

    Returns:
        uint8 [T, N, h, w, stack * d], for the observations 0 .. T - 1.
    """
    steps, (envs, height, width, depth) = len(frames) - stack, frames.shape[1:]
    stacks = frames.new_empty(steps, envs, height, width, stack, depth)
    for age in range(stack):
        stacks[..., age, :] = frames[age : age + steps]
    # The reset at t makes observation t + 1 + k show frames from place stack - 1 - k on, for k = 0 .. stack - 2.
    t, n = game_reset.nonzero(as_tuple=True)
    for k in range(stack - 1):
        inside = t + 1 + k < steps
        stacks[t[inside] + 1 + k, n[inside], :, :, : stack - 1 - k] = 0
    return stacks.view(steps, envs, height, width, stack * depth)
