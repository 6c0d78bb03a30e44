"""The weights that a training begins with (`pretrained`): found, checked, copied into its run directory, and loaded.

run, agent or folder of a checkpoint -> its weights -> <run>/checkpoints/pretrained -> Algorithm

With a copy, a run can begin again when their source is gone, and on a node that sees nothing but the run directory.
"""

import json
from contextlib import closing
from pathlib import Path
from typing import Any

from environments.checkout import ROOT
from environments.games import make_games
from playing.saved_settings import read_run_settings
from run_directory.checkpoints import find_checkpoint, list_checkpoints, read_totals
from run_directory.layout import CONFIG, PRETRAINED, checkpoint_path, list_seed_runs
from run_directory.manifest import find_damage
from run_directory.milestones import write_milestone
from run_directory.outputs import find_newest_run
from run_directory.weights import read_weights
from settings.algorithms import find_base
from settings.mistakes import Mistake, resolve_path
from settings.suggestions import refuse_missing_directory

PIXELS = ("dim", "grayscale", "frame_stack", "full_action_space")
NOT_THE_NETWORK = ("model.dtype", "model.init")
WORLD = ("id", "kwargs", "wrappers")  # of an environment of Gymnasium; they decide what an agent sees and does


def name_pretrained(path: str | None) -> str | None:
    """Return one name for all spellings of a path: agents/<name> for an agent of the suite, which every checkout has,
    and the absolute path of all others. `latest` is the newest run in outputs/.

    Raises:
        Mistake: the path is empty or cannot be looked up, or there is no newest run.
    """
    if path is None:
        return None
    if not path:
        raise Mistake("pretrained=: give a run directory, an agent or the folder of a checkpoint, or leave it out")
    found = resolve_path(find_newest_run(path, "pretrained", "outputs", ("train",)), "pretrained")
    if not found.exists() and (ROOT / path).is_relative_to(ROOT / "agents") and (ROOT / path).exists():
        return path
    return str(found.relative_to(ROOT) if found.is_relative_to(ROOT / "agents") else found)


def find_pretrained(path: str) -> tuple[Path, Path]:
    """Return the run directory and the checkpoint that `pretrained` names; of a run or an agent, its best checkpoint.

    Raises:
        Mistake: there is no such run or checkpoint, it is damaged, or the run has several seeds.
    """
    found = ROOT / (name_pretrained(path) or "")  # an absolute path stays as it is
    if not found.exists():
        refuse_missing_directory(path, "pretrained", ("latest",))
    names_checkpoint = found.parent.name == "checkpoints" and not (found / CONFIG).is_file()
    run = found.parents[1] if names_checkpoint else found
    if not (run / CONFIG).is_file():
        raise Mistake(f"pretrained={path}: there is no {CONFIG}; give a run directory, an agent or one's checkpoint")
    if len(seeds := list_seed_runs(run)) > 1:
        raise Mistake(f"pretrained={path} has {len(seeds)} seeds; name one of them, such as {seeds[0]}")
    try:
        return run, find_checkpoint(run, str(found) if names_checkpoint else None)
    except Mistake as mistake:
        raise Mistake(f"pretrained={path} (a checkpoint is named by its folder): {mistake}") from mistake


def check_pretrained(settings: dict, begun: Path | None) -> None:
    """Refuse weights of another network, of an environment with other observations or actions, and of DQN.

    Args:
        settings: of the experiment, each checked by itself.
        begun: the directory of a run that goes on, which has its copy; None for a new one.

    Raises:
        Mistake: the weights do not fit, or `find_pretrained` finds none.
    """
    if settings["pretrained"] is None or begun:
        return
    start = f"pretrained={settings['pretrained']}"
    run, checkpoint = find_pretrained(settings["pretrained"])
    saved = read_run_settings(run)
    old, new = saved["env"], settings["env"]
    if "dqn" in (saved["algo"]["name"], find_base(settings["algo"])):
        raise Mistake(
            f"{start}: weights of {saved['algo']['name']} do not fit algo={settings['algo']['name']}, "
            "as DQN learns Q-values and the others a policy; leave it out"
        )
    if ("game" in old) != ("game" in new):
        raise Mistake(f"{start} plays {old['name']}, and env={new['name']} has other observations; leave it out")
    if old.get("game") != new.get("game") and not (old.get("full_action_space") and new["full_action_space"]):
        raise Mistake(
            f"{start} plays {old['name']}, and the actions of env={new['name']} may be others; train both with "
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
    if any(old.get(key) != new.get(key) for key in WORLD):
        _try_weights(start, checkpoint, settings)


def _try_weights(start: str, checkpoint: Path, settings: dict) -> None:
    """Refuse weights that do not fit the network of another environment of Gymnasium."""
    from playing.agent import load_network  # here: it brings torch and RLlib along

    with closing(make_games(settings["env"], 1, 1)) as games:
        try:
            load_network(checkpoint, settings["model"] | {"dtype": "float32"}, settings["env"], games)
        except Mistake as mistake:
            why = str(mistake).partition(": ")[2].rpartition(";")[0]
            raise Mistake(f"{start}: its weights do not fit env={settings['env']['name']} ({why})") from mistake


def find_copy(run: Path) -> Path | None:
    """Return the whole copy of the weights in a run directory, or in that of its grid, its search or all its seeds."""
    above = [folder for folder in run.parents[:3] if not list_checkpoints(folder)]  # not another run's own
    copies = [checkpoint_path(folder, PRETRAINED) for folder in (run, *above)]
    return next((copy for copy in copies if copy.is_dir() and find_damage(copy) is None), None)


def copy_pretrained(run: Path, settings: dict) -> None:
    """Copy the weights that a run, or all runs of a grid or a search, begin with into its directory, once.

    Raises:
        Mistake: see `find_pretrained`.
        OSError: they cannot be written.
    """
    if not settings.get("pretrained") or find_copy(run) or list_checkpoints(run):
        return
    _, source = find_pretrained(settings["pretrained"])
    try:
        write_milestone(run, PRETRAINED, read_weights(source), read_totals(source))
    except OSError as error:  # of a full disk, it names no file
        raise OSError(error.errno, error.strerror, str(checkpoint_path(run, PRETRAINED))) from error


def load_pretrained(run: Path, algorithm: Any) -> None:
    """Load the copied weights into an RLlib Algorithm of the suite, in all of its processes.

    Raises:
        ValueError: they are of a network with other parameters, such as for an environment with other observations.
        Mistake: they are damaged.
    """
    copy = find_copy(run) or checkpoint_path(run, PRETRAINED)
    weights, fresh = read_weights(copy), algorithm.learner_group.get_weights()
    (module,) = fresh
    found, wanted = ({name: array.shape for name, array in one.items()} for one in (weights, fresh[module]))
    if other := found.items() ^ wanted.items():
        name, _ = min(other)
        raise ValueError(f"pretrained: {name} is {found.get(name)} there and {wanted.get(name)} in this network")
    algorithm.learner_group.set_weights({module: weights})
    algorithm.send_weights()
