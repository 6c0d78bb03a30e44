"""Playing: an agent is loaded from a run directory and plays whole games, for scores, for recordings or for viewers."""

from playing.loaded_agent import LoadedAgent, load_agent

__all__ = ["LoadedAgent", "load_agent"]
