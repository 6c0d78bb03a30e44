"""The check of the user's own folder, `--config-dir mine`, before it is searched beside experiments/.

overrides or a saved run -> folder -> check of its files -> options of groups, modules
"""

from pathlib import Path

from environments.own_folder import refuse_hidden_modules, share_modules
from experiments.composition import GROUPS, get_group_folder
from run_directory.continuation import refuse_untrusted_directory
from settings.mistakes import Mistake, resolve_path
from settings.runs import RunSettings
from settings.setting import list_settings

HINT = "name a folder with folders such as algo/, env/ or tuned_configs/ in it"


def open_typed_folder(overrides: list[str]) -> None:
    """Search the folder that the overrides name, `config_dir=mine`, from now on; none if they name none.

    Raises:
        Mistake: as `open_folder`, or two folders are named.
    """
    typed = [override.partition("=")[2] for override in overrides if override.startswith("config_dir=")]
    if len(set(typed)) > 1:
        raise Mistake(f"config_dir={typed[1]}: config_dir={typed[0]} is named already; leave one out")
    if typed and not typed[0]:
        raise Mistake(f"config_dir=: {HINT}, or leave it out")
    open_folder(typed[0] if typed and typed[0] != "null" else None)


def open_saved_folder(run: Path, saved: dict, overrides: list[str]) -> None:
    """Search the folder that a resumed run was started with, unless the overrides name another one.

    Commands that only read a run do not do this: modules run code, and whoever made the run chose the folder.

    Raises:
        Mistake: the run is not the user's own, or the folder is not there any more, or cannot be searched.
    """
    folder = saved.get("config_dir")
    if not folder or any(override.startswith("config_dir=") for override in overrides):
        return
    refuse_untrusted_directory(run, overrides)
    if not Path(folder).is_dir():
        raise Mistake(
            f"{run} was started with --config-dir {folder}, and there is no such folder here; type --config-dir and "
            "where the folder is now"
        )
    open_folder(folder)


def open_folder(path: str | None) -> None:
    """Search a folder beside experiments/, and make its modules importable; the folder before it is left.

    Raises:
        Mistake: there is no such folder, or a file in it would take the place of another, of the suite or of a package.
    """
    folder = resolve_path(path, "config_dir") if path else None
    if folder:
        if not folder.is_dir():
            why = "this is a file" if folder.exists() else "there is no such folder"
            raise Mistake(f"config_dir={path}: {why}; {HINT}")
        refuse_folders_of_settings(folder)
        refuse_hidden_options(folder)
        refuse_hidden_modules(folder)
    share_modules(folder)


def refuse_folders_of_settings(folder: Path) -> None:
    """Refuse a folder in it with the name of a setting, which Hydra would take for a group of that name."""
    for name in {"seed", "search", "stop", "made_for", *list_settings(RunSettings)} - {*GROUPS}:
        if (folder / name).is_dir():
            raise Mistake(f"{folder / name} has the name of a setting, and Hydra takes it for a group; rename it")


def refuse_hidden_options(folder: Path) -> None:
    """Refuse a file with the name of one of the suite's in the same group, which Hydra would read in its place."""
    from environments.games import is_game  # here: it brings Gymnasium along

    for group in (*GROUPS, "shortened"):
        for path in sorted((folder / group).glob("*.yaml")):
            other = get_group_folder(group) / path.name
            hidden = other.exists() and other.read_bytes() != path.read_bytes()
            if hidden or (group == "env" and is_game(path.stem)):
                raise Mistake(f"{path}: the suite has {group}={path.stem} already; rename yours")
