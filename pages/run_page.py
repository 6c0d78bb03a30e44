"""The page of a run: what was trained, how it learned, and one game with the policy of the agent at every step.

    run directory -> facts and curves (run_facts.py) ---------------> run_page.html -> page.html
                  -> agents that play now, filmed (run_games.py) ->

The page holds all its data and needs no network; the script in run_page.html draws it.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from pages.run_facts import describe_origin, describe_run, read_curves
from pages.run_games import choose_clips, film_clip, film_game
from pages.templates import read_template
from playing.games_display import GamesDisplay
from playing.saved_settings import read_run_settings
from recordings.replayed_game import has_pictures
from run_directory.checkpoints import find_checkpoint
from run_directory.writing import explain_unwritable, save_file
from settings.mistakes import Mistake

PAGE = "page.html"


def write_page(run: Path, checkpoint: str | None = None, console: Console | None = None) -> Path:
    """Write page.html of a run of one seed; an existing page is replaced.

    Args:
        run: the run directory.
        checkpoint: the checkpoint that plays the game, as in `evaluate`; None takes the best.
        console: where progress is shown.

    Returns:
        The file.

    Raises:
        Mistake: there is no such run or checkpoint, or the run directory cannot be written.
        OSError: the page could not be written.
        ReplayMismatch: a replayed game is not the one that was played.
    """
    page = run / PAGE
    if why := explain_unwritable(page):
        raise Mistake(f"run={run}: no page can be written in it ({why}); copy it, and make the page of the copy")
    best = find_checkpoint(run, checkpoint)
    settings = read_run_settings(run)
    torch.set_num_threads(1)  # one game is a small batch: threads would mostly wait for each other
    content: dict[str, Any] = describe_run(settings, run, best) | read_curves(settings, run)
    content |= describe_origin(settings, run)
    content |= {"clips": [], "game": None, "clips_how": ""}
    if has_pictures(settings["env"]):
        clips = choose_clips(run)
        with GamesDisplay(len(clips) + 1, console) as display, tempfile.TemporaryDirectory() as folder:
            display.begin("the page")
            content["clips"] = [film_clip(run, one, display, Path(folder)) for one in clips]
            content["game"] = film_game(run, best, display, Path(folder))
        content["clips_how"] = "The first 20 seconds of a game, from the same start, after more and more training."
    text = json.dumps(content, allow_nan=False).replace("<", "\\u003c")
    if why := save_file(page, read_template("run_page.html").replace("__DATA__", text)):
        raise OSError(why)
    return page
