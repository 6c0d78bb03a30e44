"""Playing: an agent is loaded from a run directory and plays whole games, for scores, for recordings or for viewers."""
