"""The env runner of complete episodes, which REINFORCE learns from because it has no critic.

    weights -> EpisodeRunner.sample: new games -> (act, step) until each env has played its share -> Rollout

Every env starts new games and plays equally many. An env that has played its share plays on until the slowest has, in
rows that do not count: taking the first games that end would fill an update with short ones, whose scores differ.
"""

import numpy as np
import torch

from rollouts.rollout import Rollout
from rollouts.runner import VectorEnvRunner

PIECE = 256  # agent steps per piece: a Rollout is recorded in pieces because its length is not known before


class EpisodeRunner(VectorEnvRunner):
    """A VectorEnvRunner whose Rollouts hold complete games: `episodes_per_update`, shared among all envs of the run."""

    def sample(self, **kwargs) -> Rollout:
        """Play equally many games in every env; returns a Rollout as long as the slowest env's games, its values 0."""
        self.deferred_fault.raise_fault()
        algo = self.config.algo
        self._forget_games(self.games.reset(None))
        left = np.full(self.num_envs, algo.episodes_per_update // algo.num_envs)
        scores, lengths, pieces = [], [], []
        with torch.inference_mode():
            packed = self.module.pack()
            while left.any():
                arrays, t = self._make_arrays(PIECE), 0
                while t < PIECE and left.any():
                    playing = left > 0
                    step = self._play_step(arrays, t, packed)
                    arrays["valid"][t] &= playing
                    for n in np.flatnonzero(step.finished):
                        if playing[n]:
                            scores.append(float(self._score[n]))
                            lengths.append(int(self._length[n]))
                            left[n] -= 1
                        self._score[n] = self._length[n] = 0
                    t += 1
                pieces.append((arrays, t))
        stack = self.layout.stack if self.layout else 0
        return Rollout(join_pieces(pieces, stack), scores, lengths, self.weights_seq_no)


def join_pieces(pieces: list[tuple[dict[str, np.ndarray], int]], stack: int) -> dict[str, np.ndarray]:
    """Return the columns of one Rollout, made of pieces that follow each other in time.

    Args:
        pieces: the columns of each piece, and the agent steps that are recorded in them.
        stack: rows of `frames` before that of the first step.
    """
    more = {"frames": stack, "obs": 1}  # rows beyond the steps; the next piece begins with the same rows
    first, _ = pieces[0]
    arrays = {
        name: np.concatenate(
            [a[name][more.get(name, 0) * (i > 0) : t + more.get(name, 0)] for i, (a, t) in enumerate(pieces)]
        )
        for name in first.keys() - {"memory", "values", "final_values"}
    }
    if "memory" in first:
        arrays["memory"] = first["memory"]
    steps, envs = arrays["rewards"].shape
    arrays["values"] = np.zeros((steps + 1, envs), np.float32)
    arrays["final_values"] = np.zeros((steps, envs), np.float32)
    return arrays
