"""What is checked before a run directory is continued: that it is one, that it is whole, and that it can be trusted."""

import os
from pathlib import Path

from run_directory.files import check_kind, explain_damage, read_yaml
from run_directory.layout import CONFIG, HINT, PROGRESS_CSV, STARTS, WORKERS_CSV
from run_directory.progress_table import read_rows
from run_directory.provenance import identify_user
from run_directory.starts import read_starts
from settings.mistakes import Mistake, resolve_path
from settings.protocols import complete_rules


def open_run(path: str, setting: str) -> tuple[Path, dict]:
    """Return an existing run directory and its settings.

    Args:
        path: as it was typed.
        setting: the setting that was typed, for messages.

    Raises:
        Mistake: there is no such directory, or it is not that of a training or a search.
    """
    run = resolve_path(path, setting)
    if not run.is_dir():
        raise Mistake(f"{setting}={path}: there is no such directory; {HINT}")
    for name in (CONFIG, STARTS):
        if not (run / name).exists():
            raise Mistake(f"{setting}={path} is not a run directory (it has no {name}); {HINT}")
    try:
        settings = read_yaml(run / CONFIG)
        for group in ("algo", "env", "model", "cluster", "stop"):
            check_kind(run / CONFIG, settings.get(group), dict, group)
        check_kind(run / CONFIG, settings.get("seed"), (int, list), "seed")
        if settings.get("command") not in ("train", "search"):
            raise explain_damage(
                run / CONFIG, f"command is {settings.get('command')!r:.40}, and only a training or a search goes on"
            )
        if not read_starts(run / STARTS, required=("overrides",)):
            raise explain_damage(run / STARTS, "it has no starts")
    except Mistake as mistake:
        raise Mistake(f"{setting}={path} is not a run directory ({mistake}); {HINT}") from mistake
    return run, settings | {"env": complete_rules(settings["env"])}


def refuse_damaged_files(folder: Path) -> None:
    """Read every file that a run or a search reads when it continues, before Ray is started.

    Raises:
        Mistake: a file in a run directory at or below the folder is damaged.
    """
    for path in sorted(folder.rglob(CONFIG)):
        read_yaml(path)
        if path.with_name(STARTS).exists():
            read_starts(path.with_name(STARTS))
        for name in (PROGRESS_CSV, WORKERS_CSV):
            read_rows(path.with_name(name))


def refuse_untrusted_directory(folder: Path, overrides: list[str]) -> None:
    """Ask before pickles of somebody else are read: continuing from a checkpoint runs what they say (SECURITY.md).

    A directory is the user's own where its newest start was made by the same user on the same host. A record of an
    earlier version names neither; then, as in any case, the files have to belong to the present user.

    Args:
        folder: of the run or the search to be continued.
        overrides: what is typed now. The `trust` in the directory's own settings does not count.

    Raises:
        Mistake: it may be somebody else's, and `trust=true` was not typed.
    """
    if any(override.lower() == "trust=true" for override in overrides):
        return
    newest = (read_starts(folder / STARTS) or [{}])[-1]
    here = identify_user()
    recorded = {key: newest.get(key, here[key]) for key in here}
    checkpoints = [path for path in folder.rglob("*") if path.suffix in (".pkl", ".db", ".journal")]
    others = [path for path in (folder, folder / STARTS, *checkpoints) if path.lstat().st_uid != os.getuid()]
    if recorded == here and not others:
        return
    why = f"it was last written by {recorded['user']} on {recorded['host']}"
    if others:
        why = f"{others[0]} belongs to another user"
    raise Mistake(
        f"{folder} is not of {here['user']} on {here['host']} ({why}), and continuing it runs what its checkpoints "
        "say; add trust=true if you trust whoever made it (SECURITY.md)"
    )
