"""The commands that read a run directory: evaluate, record, page, watch, export and promote; and the steps that follow
a training or a search.

    settings of the command -> is there a checkpoint to play with? -> play, write, print -> exit code

The files that play are imported where they are used, because they take seconds; a mistake is answered before.
"""

import importlib
import os
import sys
import time
from pathlib import Path
from typing import Any

from loggers.results import send_results
from playing.saved_settings import read_run_settings
from playing.seed_checkpoints import refuse_foreign_checkpoint
from run_directory.checkpoints import find_checkpoint
from run_directory.layout import OWN_MODULES, format_command, list_seed_runs
from runs.interrupt import Interrupt
from settings.mistakes import EnvironmentFault, Mistake, format_error, resolve_path
from settings.own_parts import list_own_modules


def run_reader(settings: dict) -> int:
    """Run a command that reads a run directory.

    Args:
        settings: of the command, as `experiments.commands.check_reader_settings` returns them.

    Returns:
        The exit code.

    Raises:
        Mistake: the run directory cannot be read so.
    """
    command, began = settings["command"], time.time()
    if command == "record":
        code = record_games(settings)
        if settings["run"] and not settings["replay"]:
            send_results(resolve_path(settings["run"], "run"), began)
        return code
    run = resolve_path(settings["run"], "run")
    if command in ("evaluate", "page"):
        code = evaluate_run(run, settings) if command == "evaluate" else write_pages(run, settings["checkpoint"])
        send_results(run, began)
        return code
    if command == "export":
        refuse_unplayable(run, settings["checkpoint"])
        from exports.commands import export_run

        return export_run(settings)
    if command == "watch":
        from pages.watch import watch

        return watch(run, settings["port"], settings["checkpoint"])
    from tuned_configs.promotion import promote_winner

    made = promote_winner(run)
    if made:
        print(f"the settings of the winner are written to {made}")
        print("to train with them: ", format_command(f"tuned_configs={made.stem}"))
    return 0 if made else 1


def evaluate_run(run: Path, settings: dict) -> int:
    """Play full games with the agents of a run, and print and save their scores; return the exit code."""
    refuse_unplayable(run, settings["checkpoint"])
    from evidence.evaluate import WAYS

    ways = WAYS if settings["way"] == "both" else (settings["way"],)
    words = {key: settings[key] for key in ("checkpoint", "seed", "rules")}
    if not os.access(run, os.W_OK):
        print(f"{run} cannot be written: the scores are printed, not saved; evaluate a copy to keep them", flush=True)
    code = print_games(run, settings["episodes"], ways=ways, **words)
    print(f"run directory: {run}")
    return code


def record_games(settings: dict) -> int:
    """Play games and film them, or film a replay; return the exit code."""
    from recordings.video import VideoFormat, film_file, find_replay

    run = resolve_path(settings["run"], "run") if settings["run"] else None
    look = VideoFormat(settings["format"], settings["scale"], settings["fps"])
    if settings["replay"]:
        return film_file(find_replay(settings["replay"], run), look)
    assert run is not None
    refuse_foreign_checkpoint(run, settings["checkpoint"])
    refuse_unplayable(list_seed_runs(run)[0], settings["checkpoint"])
    from recordings.recording import record

    words = {key: settings[key] for key in ("games", "checkpoint", "way", "seed", "rules")}
    code = record(run, look=look, **words)
    print(f"run directory: {run}")
    return code


def write_pages(run: Path, checkpoint: str | None) -> int:
    """Write the page of every seed of a run; return the exit code, 1 where one of several could not be written.

    Raises:
        Mistake, EnvironmentFault: the page of a run of one seed cannot be written.
    """
    refuse_unplayable(run, checkpoint)
    from pages.run_page import write_page
    from recordings.replayed_game import ReplayMismatch

    code, runs = 0, list_seed_runs(run)
    for one in runs:
        try:
            print(f"page: {write_page(one, checkpoint)}")
        except (ReplayMismatch, OSError, Mistake, EnvironmentFault) as error:
            if len(runs) == 1 and isinstance(error, Mistake | EnvironmentFault):
                raise
            print(f"{one}: no page was written: {error}", file=sys.stderr)
            code = 1
    return code


def refuse_unplayable(run: Path, checkpoint: str | None) -> None:
    """Check that all seeds of a run have a checkpoint, and the modules to play with it, before slow imports.

    Raises:
        Mistake: a seed has no checkpoint or not the one that was named, several seeds are given the checkpoint of one,
            or a module of its user cannot be imported.
    """
    refuse_foreign_checkpoint(run, checkpoint)
    for one in list_seed_runs(run):
        settings = read_run_settings(one)
        find_checkpoint(one, checkpoint)
        for module, setting in list_own_modules(settings).items():
            try:
                importlib.import_module(module)
            except (Exception, SystemExit) as error:  # the import of a user's module can raise anything
                copies = f"; as it was then: --config-dir {own}" if (own := one / OWN_MODULES).is_dir() else ""
                raise Mistake(
                    f"run={run}: it was made with {setting}, and {module} cannot be imported ({format_error(error)}); "
                    f"type --config-dir {settings.get('config_dir') or '<folder>'} if the module lies there{copies}"
                ) from error


def show_training(run: Path, settings: dict) -> int:
    """Evaluate a run that has ended and write its pages, if its settings say so; return the exit code."""
    began = time.time()
    code = print_games(run, settings["episodes"]) if settings["evaluate"] else 0
    if settings["page"]:
        code = record_and_write_pages(run, settings["env"]) or code
    send_results(run, began)
    return code


def record_and_write_pages(run: Path, env: dict) -> int:
    """Record a game of a run that has ended, and write its pages; return the exit code."""
    from recordings.recording import record
    from recordings.replayed_game import has_pictures

    if not has_pictures(env):
        print(f"{env['name']} has no pictures here, so no game is recorded")
        return write_pages(run, None)
    return max(record(run, games=1), write_pages(run, None))


def print_games(run: Path, episodes: int, **words: Any) -> int:
    """Play full games, print the scores and save them in the run directory; return the exit code."""
    from evidence.evaluate import evaluate
    from evidence.evaluation_table import print_evaluation

    return print_evaluation(evaluate(run, episodes, **words))


def show_search(folder: Path, finished: bool) -> int:
    """Print the results of a search so far and write its page; return 1 if the page cannot be saved, else 0."""
    Interrupt.message = f"stopped; search directory: {folder}"
    from evidence.search_result import print_result
    from pages.search_page import write_page
    from tuned_configs.promotion import find_tuned_config

    try:
        if finished and print_result(folder):
            if (kept := find_tuned_config(folder)).exists():
                print(f"a winner of this search is kept already: {kept}")
            else:
                print("to keep the winner: ", format_command("command=promote", f"run={folder}"))
    except Mistake as mistake:  # the search is done all the same
        print(f"nothing to compare: {mistake}")
    try:
        print(f"the whole search on a page: {write_page(folder)}")
    except Mistake as mistake:
        print(f"no page: {mistake}")
    except OSError as error:
        print(f"the page was not saved: {error}", file=sys.stderr)
        return 1
    return 0
