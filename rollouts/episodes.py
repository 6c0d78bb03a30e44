"""The env runner of complete episodes: what REINFORCE, which has no critic, learns from.

    weights -> EpisodeRunner.sample: new games -> (act, step) until each env has played its share -> Rollout

Every env starts anew and plays exactly `episodes_per_env` games. One that is done idles, masked, until the slowest is:
taking games as they come would fill an update with short ones, and short games score otherwise than long ones.
"""

import numpy as np
import torch

from rollouts.rollout import Rollout
from rollouts.runner import VectorEnvRunner

PIECE = 256  # agent steps that are recorded before the next arrays are made


class EpisodeRunner(VectorEnvRunner):
    """Reads from the config also: `episodes_per_env`, full games per env and sample."""

    def sample(self, **kwargs) -> Rollout:
        """Play `episodes_per_env` games in every env: a Rollout as long as the slowest, whose values are all 0."""
        self._start(self.games.reset(None))
        left = np.full(self.num_envs, self.config.episodes_per_env)
        scores, lengths, pieces = [], [], []
        with torch.inference_mode():
            packed = self.module.pack()
            while left.any():
                arrays, t = self._new_arrays(PIECE), 0
                while t < PIECE and left.any():
                    playing = left > 0
                    step = self._play(arrays, t, packed)
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
        return Rollout(joined(pieces, stack), scores, lengths, self.weights_seq_no)


def joined(pieces: list[tuple[dict[str, np.ndarray], int]], stack: int) -> dict[str, np.ndarray]:
    """One table of several that follow each other, of each only so many steps.

    Args:
        pieces: arrays, and the agent steps recorded in them.
        stack: rows of `frames` before the first step's.
    """
    more = {"frames": stack, "obs": 1}  # rows beyond the steps; the next piece begins with the same ones
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
