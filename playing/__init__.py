"""Playing: an agent is loaded from a run directory and plays whole games, for scores, for recordings or for viewers."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from playing.loaded_agent import LoadedAgent, load_agent

__all__ = ["LoadedAgent", "load_agent"]


def __getattr__(name: str) -> Any:
    """Import what `from playing import load_agent` asks for, and torch with it, which a driver does not need."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from playing import loaded_agent

    return getattr(loaded_agent, name)
