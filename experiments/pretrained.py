"""The check of `pretrained`: the weights that a training begins with have to fit its network."""

import json

from playing.saved_settings import read_run_settings
from run_directory.pretrained import find_pretrained
from settings.algorithms import find_base
from settings.mistakes import Mistake
from settings.suggestions import refuse_missing_directory

PIXELS = ("dim", "grayscale", "frame_stack", "full_action_space")
NOT_THE_NETWORK = ("model.dtype", "model.init")


def check_pretrained(settings: dict) -> None:
    """Refuse weights of another network, of an environment with other observations or actions, and of DQN.

    Raises:
        Mistake: the weights do not fit, or `find_pretrained` finds none.
    """
    refuse_missing_directory(settings["pretrained"], "pretrained", ())
    start = f"pretrained={settings['pretrained']}"
    saved = read_run_settings(find_pretrained(settings["pretrained"])[0])
    old, new = saved["env"], settings["env"]
    if "dqn" in (find_base(saved["algo"]), find_base(settings["algo"])):
        raise Mistake(
            f"{start}: weights of {saved['algo']['name']} do not fit algo={settings['algo']['name']}, "
            "as DQN learns Q-values and the others a policy; leave it out"
        )
    if ("game" in old) != ("game" in new):
        raise Mistake(f"{start} plays {old['name']}, and env={new['name']} has other observations; leave it out")
    if old.get("game") != new.get("game") and not (old["full_action_space"] and new["full_action_space"]):
        raise Mistake(
            f"{start} plays {old['name']}, and the actions of env={new['name']} are others; train both with "
            "env.full_action_space=true, or leave it out"
        )
    pairs = {f"env.{key}": (old.get(key), new.get(key)) for key in PIXELS}
    pairs |= {f"model.{key}": (saved["model"].get(key), value) for key, value in settings["model"].items()}
    theirs = {
        key: json.dumps(of_agent).strip('"')
        for key, (of_agent, own) in pairs.items()
        if key not in NOT_THE_NETWORK and of_agent != own and (of_agent or own)  # older runs lack what is off
    }
    if theirs:
        words = " ".join(f"{key}={value}" for key, value in theirs.items())
        raise Mistake(f"{start} has a network with {words}; type that, or leave pretrained out")
