"""The weights that a training begins with (`pretrained`): found, checked, copied into its run directory, and loaded.

run, agent or folder of a checkpoint -> its weights -> <run>/checkpoints/pretrained -> Algorithm

With a copy, a run can begin again when their source is gone, and on a node that sees nothing but the run directory.
"""

import json
from pathlib import Path
from typing import Any

from playing.saved_settings import read_run_settings
from run_directory.checkpoints import find_checkpoint, read_totals
from run_directory.layout import CONFIG, PRETRAINED, checkpoint_path, list_seed_runs
from run_directory.milestones import write_milestone
from run_directory.weights import read_weights
from settings.algorithms import find_base
from settings.mistakes import Mistake, resolve_path
from settings.suggestions import refuse_missing_directory

PIXELS = ("dim", "grayscale", "frame_stack", "full_action_space")
NOT_THE_NETWORK = ("model.dtype", "model.init")


def find_pretrained(path: str) -> tuple[Path, Path]:
    """Return the run directory and the checkpoint that `pretrained` names; of a run or an agent, its best checkpoint.

    Raises:
        Mistake: there is no such run or checkpoint, it is damaged, or the run has several seeds.
    """
    refuse_missing_directory(path, "pretrained", ())
    found = resolve_path(path, "pretrained")
    names_checkpoint = found.parent.name == "checkpoints"
    run = found.parents[1] if names_checkpoint else found
    if not (run / CONFIG).is_file():
        raise Mistake(f"pretrained={path}: there is no {CONFIG}; give a run directory, an agent or one's checkpoint")
    if len(seeds := list_seed_runs(run)) > 1:
        raise Mistake(f"pretrained={path} has {len(seeds)} seeds; name one of them, such as {seeds[0]}")
    return run, find_checkpoint(run, str(found) if names_checkpoint else None)


def check_pretrained(settings: dict) -> None:
    """Refuse weights of another network, of an environment with other observations or actions, and of DQN.

    A run that goes on has its own copy, and is not checked again.

    Raises:
        Mistake: the weights do not fit, or `find_pretrained` finds none.
    """
    if settings["pretrained"] is None:
        return
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


def copy_pretrained(run: Path, settings: dict) -> None:
    """Copy the weights that a run begins with into its directory, unless they are there.

    Raises:
        Mistake: see `find_pretrained`.
        OSError: they cannot be written.
    """
    if settings.get("pretrained") and not checkpoint_path(run, PRETRAINED).is_dir():
        _, source = find_pretrained(settings["pretrained"])
        write_milestone(run, PRETRAINED, read_weights(source), read_totals(source))


def load_pretrained(run: Path, algorithm: Any) -> None:
    """Load the copied weights into an RLlib Algorithm of the suite, in all of its processes.

    Raises:
        ValueError: they are of a network with other parameters, such as for an environment with other observations.
        Mistake: they are damaged.
    """
    weights, fresh = read_weights(checkpoint_path(run, PRETRAINED)), algorithm.learner_group.get_weights()
    (module,) = fresh
    found, wanted = ({name: array.shape for name, array in one.items()} for one in (weights, fresh[module]))
    if other := found.items() ^ wanted.items():
        name, _ = min(other)
        raise ValueError(f"pretrained: {name} is {found.get(name)} there and {wanted.get(name)} in this network")
    algorithm.learner_group.set_weights({module: weights})
    algorithm.send_weights()
