"""What one can do with a run that has come to its end, as lines for a shell; and whether it still trains."""

import fcntl
import os
import shlex
from contextlib import suppress
from pathlib import Path

from environments.games import may_never_end
from environments.machine import JOB_VARIABLE
from run_directory.checkpoints import read_totals
from run_directory.layout import checkpoint_path, format_command, list_seed_runs, shorten_path
from run_directory.writing import find_lock
from settings.mistakes import Mistake


def describe_next_steps(run: Path, settings: dict) -> str:
    """Return what one can do with a run that has come to its end, as lines that can be pasted into a shell."""
    stop = settings["stop"]
    farther = [f"stop.agent_steps={2 * max(stop['agent_steps'], count_agent_steps(run))}"]
    farther += [f"stop.{key}=null" for key in ("time_s", "episode_return") if stop[key] is not None]
    shown = shorten_path(run)
    folder = "<your folder>" if JOB_VARIABLE in os.environ else settings["config_dir"]  # that of a job goes with it
    own = ["--config-dir", folder] if settings["config_dir"] else []  # its modules, which the agent may need
    lines = {}
    if "tensorboard" in (settings["logger"] or ()):
        lines["watch the curves"] = shlex.join(["tensorboard", "--logdir", str(shown)])
    if not may_never_end(settings["env"]):
        lines["play more games"] = format_command("command=evaluate", f"run={shown}", "episodes=100", *own)
        lines["see it play"] = format_command("command=record", f"run={shown}", *own)
        lines["a page of it all"] = format_command("command=page", f"run={shown}", *own)
    lines["train on"] = format_command(f"resume={shown}", *farther)
    rows = [f"  {what:<18} {command}" for what, command in lines.items()]
    return "\n".join(["what next", *rows, *describe_schedules(settings["algo"])])


def describe_schedules(algo: dict) -> list[str]:
    """Return what a larger budget does to the settings that fall to 0 over a run, as a shell comment; [] for none."""
    falling = [name for name in ("lr", "clip") if algo.get(f"{name}_schedule") == "linear"]
    if not falling:
        return []
    names = " and ".join(f"algo.{name}" for name in falling)
    verb, them = ("falls", "it") if len(falling) == 1 else ("fall", "them")
    return [f"  # {names} {verb} linearly to 0 at stop.agent_steps: a larger one makes {them} jump up again"]


def count_agent_steps(run: Path) -> int:
    """Return the agent steps at the newest checkpoint of a run, of several seeds the largest number; 0 without one."""
    with suppress(Mistake):
        newest = [checkpoint_path(one, "last") for one in list_seed_runs(run)]
        return max((int(read_totals(one)["agent_steps"]) for one in newest if one.is_dir()), default=0)
    return 0


def is_training(run: Path) -> bool:
    """Return whether a process holds the lock of a run or search (`run_directory.writing.lock_folder`): it trains.

    Where a file system cannot tell, the answer is True.
    """
    try:
        with find_lock(run).open() as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return False
    except FileNotFoundError:  # whoever trains makes it first
        return False
    except OSError:
        return True
