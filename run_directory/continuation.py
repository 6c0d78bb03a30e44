"""The checks before a run is continued: its directory has to be a run directory, whole, and trusted."""

import os
from pathlib import Path

from run_directory.files import check_kind, explain_damage, read_yaml
from run_directory.layout import CONFIG, EVALUATIONS_CSV, HINT, PROGRESS_CSV, STARTS, WORKERS_CSV
from run_directory.progress_table import read_rows
from run_directory.provenance import identify_user
from run_directory.starts import read_starts
from settings.experiment import complete_settings
from settings.mistakes import Mistake, resolve_path


def open_run(path: str, setting: str) -> tuple[Path, dict]:
    """Return an existing run directory and its settings.

    Args:
        path: the path that the user typed.
        setting: the setting that the user typed, for messages.

    Raises:
        Mistake: the directory does not exist, or is not that of a training or a search.
    """
    run = resolve_path(path, setting)
    if not run.is_dir():
        raise Mistake(f"{setting}={path}: there is no such directory; {HINT}")
    for name in (CONFIG, STARTS):
        if not (run / name).exists():
            raise Mistake(f"{setting}={path} is not a run directory (it has no {name}); {HINT}")
    try:
        settings = read_yaml(run / CONFIG)
        for group in ("algo", "env", "model", "cluster", "stop", *settings.keys() & {"search"}):
            check_kind(run / CONFIG, settings.get(group), dict, group)
        check_kind(run / CONFIG, settings.get("seed"), (int, list), "seed")
        if settings.get("command") not in ("train", "search"):
            why = f"command is {settings.get('command')!r:.40}, and only a training or a search goes on"
            raise explain_damage(run / CONFIG, why)
        if not read_starts(run / STARTS, required=("overrides",)):
            raise explain_damage(run / STARTS, "it has no starts")
    except Mistake as mistake:
        raise Mistake(f"{setting}={path} is not a whole run directory ({mistake}); {HINT}") from mistake
    settings = complete_settings(settings)
    place = Path(str(settings.get("output_dir")))  # a cluster reads it, and refuses one that is relative
    was_moved = place.is_absolute() and resolve_path(place, "output_dir") not in run.parents
    return run, settings | ({"output_dir": str(run.parent)} if was_moved else {})


def refuse_damaged_files(folder: Path) -> None:
    """Read every file that the continued run or search will read, so that damage is found before Ray is started.

    Raises:
        Mistake: a file in a run directory at or below the folder is damaged.
    """
    for starts in sorted(folder.rglob(STARTS)):
        read_starts(starts)
        path = starts.with_name(CONFIG)
        if path.exists():
            read_yaml(path)
        for name in (PROGRESS_CSV, WORKERS_CSV, EVALUATIONS_CSV):
            read_rows(path.with_name(name))


def refuse_untrusted_directory(folder: Path, overrides: list[str]) -> None:
    """Refuse to continue from the checkpoints of another user, unless the command line says `trust=true`.

    Checkpoints are pickles, and a pickle can run any code when it is read (SECURITY.md). A directory is the user's own
    if its newest start was made by the same user on the same host, and if the user owns its files. The starts of
    earlier versions do not name user and host; then only the owner of the files is checked.

    Args:
        folder: the directory of the run or search.
        overrides: the overrides of this command line. The `trust` in the saved settings does not count.

    Raises:
        Mistake: the directory may be that of another user, and `trust=true` is not among the overrides.
    """
    if [one.lower() for one in overrides if one.lower().startswith("trust=")][-1:] == ["trust=true"]:  # the last counts
        return
    newest = (read_starts(folder / STARTS) or [{}])[-1]
    here = identify_user()
    recorded = {key: newest.get(key, here[key]) for key in here}
    files = [Path(root, name) for root, _, names in os.walk(folder) for name in names]
    checkpoints = [path for path in files if path.suffix in (".pkl", ".db", ".journal")]
    others = [path for path in (folder, folder / STARTS, *checkpoints) if is_of_another(path)]
    if recorded == here and not others:
        return
    writer = f"it was last written by {recorded['user']} on {recorded['host']}"
    why = f"{others[0]} belongs to another user" if others else writer
    raise Mistake(
        f"{folder} is not of {here['user']} on {here['host']} ({why}), and continuing it runs what its checkpoints "
        "say; add trust=true if you trust whoever made it (SECURITY.md)"
    )


def is_of_another(path: Path) -> bool:
    """Return whether a file belongs to another user; one that a training has replaced meanwhile does not."""
    try:
        return path.lstat().st_uid != os.getuid()
    except FileNotFoundError:
        return False
