"""The layout of a run directory: the names and places of its files.

outputs/ppo/assault/2026-11-22_13-05-41_3f2a/
    config.yaml       the settings of the run, complete
    run.json          one entry per start: command line, overrides, git commit, packages, hardware
    git.diff          the uncommitted changes of the newest start that had any, with the untracked files
    own_modules/      the user's own modules, as they were at the last start
    progress.csv      one row per report
    workers.csv       of A3C: one row per report and worker, with its speed and how stale its gradients were
    evaluations.csv   one row per evaluation that was played while the run trained (evaluate_every)
    tensorboard/      the same numbers for TensorBoard; wandb/, loggers.json: for other loggers (docs/loggers.md)
    checkpoints/      last, previous, best, milestone_0 to milestone_100, and the evaluations of each; pretrained:
                      the weights that the training began with, if they were another agent's
    recordings/       replays and videos
    tune/             Ray Tune's own files
    seed_1/ ...       with several seeds, such a directory for each; progress.csv above them has a column `seed`

A checkpoint is a folder:

checkpoints/last/
    manifest.json         the size and CRC-32 of every other file, written last
    progress.json         agent steps, episodes, score and more at the time of the checkpoint
    weights.safetensors   the network's weights as plain arrays, which are enough to play
    ...                   RLlib's own files, with the state of the optimizer; a milestone has none
"""

import os
import shlex
import sys
from itertools import pairwise
from pathlib import Path

from environments.checkout import ROOT
from settings.mistakes import Mistake

CONFIG, STARTS, DIFF, OWN_MODULES = "config.yaml", "run.json", "git.diff", "own_modules"
PROGRESS_CSV, WORKERS_CSV, EVALUATIONS_CSV = "progress.csv", "workers.csv", "evaluations.csv"
TENSORBOARD, RECORDINGS, TUNE = "tensorboard", "recordings", "tune"
GRID_JSON, AGENT = "grid.json", "agent.json"  # of a grid, and of a published agent
MANIFEST, PROGRESS_JSON, WEIGHTS = "manifest.json", "progress.json", "weights.safetensors"
MODULE_STATE = "learner_group/learner/rl_module/default_policy/module_state.pkl"  # where RLlib saves the same weights

TO_PLAY = ("best", "last", "previous")  # the first one that exists plays, if the user names no checkpoint
TO_RESUME = ("last", "previous", "best")  # the newest first
PERCENTAGES = {f"milestone_{percentage}": percentage for percentage in (0, 1, 3, 10, 30, 100)}  # of the budget
MILESTONES = tuple(PERCENTAGES)
TO_EVALUATE = "evaluate_"  # and agent steps: the name of weights that wait for their evaluation
PRETRAINED = "pretrained"  # the name of weights that the training began with
CHECKPOINT_NAMES = (*TO_PLAY, *MILESTONES)  # every name that `checkpoint=` may have

SCRIPT = next((word for word in sys.orig_argv if Path(word).name == "run.py"), "run.py")  # as it was typed
LAUNCHER = ("python", "-m", "run") if ("-m", "run") in pairwise(sys.orig_argv) else ("python", SCRIPT)
HINT = "give the directory that a run printed last"


def checkpoint_path(run: Path, name: str) -> Path:
    """Return the folder of a checkpoint or a milestone, whether it exists or not."""
    return run / "checkpoints" / name


def evaluation_path(run: Path, words: str) -> Path:
    """Return the file of an evaluation; `words` are the name of the checkpoint and of each setting that differs."""
    return run / "checkpoints" / f"evaluation_{words}.json"


def seed_paths(run: Path, seeds: list[int]) -> dict[int, Path]:
    """Return seed -> run directory: the run itself if it has one seed, else a directory below it for each seed."""
    return {seed: run / f"seed_{seed}" if len(seeds) > 1 else run for seed in seeds}


def list_seed_runs(run: Path) -> list[Path]:
    """Return the run directory of each seed, sorted by seed; of a run of one seed, the run itself.

    Raises:
        Mistake: the directory does not exist, or is no run directory.
    """
    if not run.is_dir():
        raise Mistake(f"run={run}: there is no such directory; {HINT}")
    children = [child for child in run.glob("seed_*") if child.name[5:].isdigit() and child.is_dir()]
    if children:
        return sorted(children, key=lambda child: int(child.name[5:]))
    if not (run / CONFIG).is_file():
        raise Mistake(f"run={run}: not a run directory, it has no {CONFIG}; {HINT}")
    return [run]


def format_command(*words: str) -> str:
    """Return a command of the suite as text, ready for the shell in which this process was started."""
    return shlex.join([*LAUNCHER, *words])


def shorten_path(run: Path) -> str:
    """Return a run directory as it can be typed where the suite stands; as it is where a job or somebody else types."""
    return os.path.relpath(run) if Path.cwd() == ROOT and run.is_relative_to(ROOT) else str(run)
