"""The rules a game is trained and scored under, as data.

A protocol moves an Atari score more than the algorithm does (Machado et al. 2018), so it has a name, and scores of two
protocols never share a column. Each field can be overridden by itself (`env.protocol=machado env.noop_max=30`);
`describe_protocol` then names the field.
"""

PROTOCOLS = {
    # Mnih et al. 2015 and 2016, Schulman et al. 2017, openai/baselines, CleanRL.
    "classic": {
        "sticky": 0.0,  # probability that the emulator repeats the last action instead of the new one
        "full_action_space": False,  # the game's own actions only (7 in Assault)
        # A game starts after 0 to noop_max - 1 random no-ops of one frame, FIRE among them; the papers have 1 to 30.
        # The difference of one frame, 1/60 s, does not matter: no-ops only make games begin differently.
        "noop_max": 30,
        "fire_reset": True,  # FIRE is pressed once after a reset where the game has it
        "fire_on_life_loss": True,  # and for one agent step after a lost life: EpisodicLife inside of FireReset
        "life_loss": True,  # a lost life ends a training episode, never the reported game
        "clip_rewards": True,  # sign of the reward, for training only
        "max_episode_frames": 108_000,  # 30 minutes at 60 Hz; the cut is a truncation, not a termination
    },
    # Machado et al. 2018, section 5: sticky actions, all 18 actions, no life-loss signal. Reward clipping belongs to
    # the agent there, not to the environment; it stays on, as in Dopamine.
    "machado": {
        "sticky": 0.25,
        "full_action_space": True,
        "noop_max": 0,
        "fire_reset": False,
        "fire_on_life_loss": False,
        "life_loss": False,
        "clip_rewards": True,
        "max_episode_frames": 108_000,
    },
}


# Rules that are missing in settings of earlier versions, with the values that those versions played by.
EARLIER = {"fire_on_life_loss": False}
# The same of the settings of a Gymnasium environment.
EARLIER_OF_GYMNASIUM = {"kwargs": None, "wrappers": None, "dim": None, "grayscale": False, "frame_stack": 1}


def complete_rules(env: dict) -> dict:
    """Return the settings of `env`, with the values of earlier versions where the saved settings have none."""
    return (EARLIER if "game" in env else EARLIER_OF_GYMNASIUM) | env


def remove_newer_rules(env: dict) -> dict:
    """Return the settings of `env` as an earlier version had them: without the rules that it did not know."""
    if "game" in env:
        return {name: value for name, value in env.items() if name not in EARLIER}
    unchanged = EARLIER_OF_GYMNASIUM.items()
    return {name: value for name, value in env.items() if (name, value) not in unchanged}


def describe_protocol(env: dict) -> str:
    """Return the protocol's name, followed by each field that differs from it: `machado, noop_max 30`."""
    env, rules = complete_rules(env), PROTOCOLS.get(env.get("protocol", ""), {})
    changed = [f"{name} {env[name]}" for name, value in rules.items() if env[name] != value]
    return ", ".join([env.get("protocol", "none"), *changed])
