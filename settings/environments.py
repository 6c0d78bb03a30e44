"""The settings of an environment.

Their values stand in experiments/env/; those that a protocol sets, in settings/protocols.py.
"""

from dataclasses import dataclass

from settings.protocols import PROTOCOLS
from settings.setting import any_value, at_least, one_of


@dataclass(frozen=True)
class AtariSettings:
    """A game of the Arcade Learning Environment, and the rules it is played under."""

    name: str = any_value("the name under which results are filed")
    game: str = any_value("a game of ALE, such as assault or ms_pacman")
    protocol: str = one_of(tuple(PROTOCOLS), "the rules that scores are published under; sets the fields below")
    frameskip: int = at_least(1, "emulator frames per agent step; if several, the last two are maximised", most=16)
    frame_stack: int = at_least(1, "frames that the agent sees at once", most=16)
    dim: int = at_least(8, "height and width of the picture, in pixels", most=210)
    grayscale: bool = any_value("gray instead of RGB")
    sticky: float = at_least(
        0, "probability that the emulator repeats the last action instead of taking the new one", most=1
    )
    full_action_space: bool = any_value("all 18 actions instead of those that do something in the game")
    noop_max: int = at_least(
        0, "a game starts after fewer no-ops than this, drawn at random; in emulator frames", most=10_000
    )
    fire_reset: bool = any_value("press FIRE once after a reset, where the game has it")
    fire_on_life_loss: bool = any_value("press FIRE for one step after a lost life, where the game has it")
    life_loss: bool = any_value("a lost life ends a training episode; evaluation plays on")
    clip_rewards: bool = any_value("learn from the sign of rewards; scores stay what they are")
    max_episode_frames: int = at_least(1, "emulator frames after which a game is cut", most=2**31 - 1)


@dataclass(frozen=True)
class GymnasiumSettings:
    """An environment of Gymnasium, or one that is registered with it."""

    name: str = any_value("the name under which results are filed")
    id: str = any_value("an id of Gymnasium, such as CartPole-v1; module:Id imports the module first")
    kwargs: dict | None = any_value(
        "arguments of gymnasium.make, such as {is_slippery: false} or {max_episode_steps: 500}"
    )
    wrappers: list[str | dict] | None = any_value(
        "what is put around the environment, the innermost first: [module:Class, {module:Class: {argument: value}}]"
    )
    dim: int | None = at_least(1, "height and width that pictures are resized to, in pixels; null: as they are", 1024)
    grayscale: bool = any_value("gray instead of RGB, of pictures")
    frame_stack: int = at_least(1, "pictures that the agent sees at once", most=16)
    frameskip: int = at_least(1, "steps of the environment per agent step", most=1)
    clip_rewards: bool = any_value("learn from the sign of rewards; scores stay what they are")
