"""Assault without its score: the rows of the picture that show it are black."""

import gymnasium
import numpy as np


class HiddenScore(gymnasium.ObservationWrapper):
    """Blackens the first `rows` rows of a picture, uint8 [H, W] or [H, W, C]."""

    def __init__(self, env: gymnasium.Env, rows: int = 5):
        super().__init__(env)
        self.rows = rows

    def observation(self, observation: np.ndarray) -> np.ndarray:
        observation = observation.copy()
        observation[: self.rows] = 0
        return observation
