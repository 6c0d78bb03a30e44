"""The run directory: what a run leaves behind, and all that anything else needs to know about it.

outputs/ppo/assault/2026-11-22_13-05-41_3f2a/
    config.yaml       the composed settings, resolved
    run.json          one entry per start: command line, overrides, git commit, packages, hardware
    git.diff          what was not committed, where there was something; files that git does not know as well
    progress.csv      one row per report
    workers.csv       of A3C: one row per report and worker, its speed and how stale its gradients were
    tensorboard/      the same for TensorBoard
    checkpoints/      last, previous, best, milestone_0 to milestone_100, and evaluations beside them
    tune/             Ray Tune's own files
    seed_1/ ...       with several seeds: such a directory each; progress.csv above them has a seed column
"""

import csv
import fcntl
import hashlib
import json
import os
import platform
import pwd
import secrets
import shlex
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from environments.passwords import mask
from environments.records import checked, count, read_starts, read_table, read_yaml, refuse
from runs.provenance import provenance
from runs.resources import dtype_of
from settings.mistakes import Mistake, reachable
from settings.protocols import EARLIER, complete_rules

ROOT = Path(__file__).resolve().parent.parent
AUTO = "auto"  # resume=auto: continue where the same experiment was started before, or start it
NOT_THE_EXPERIMENT = (
    "cluster",
    "output_dir",
    "label",
    "resume",
    "run",
    "checkpoint",
    "way",
    "games",
    "format",
    "scale",
    "fps",
    "replay",
    "port",
    "trust",
    "on_usr1",
    "dashboard",
    "dry_run",
    "max_failures",
    "checkpoint_every_s",
    "keep_milestones",
    "report_every",
    "evaluate",
    "page",
    "episodes",
    "size",  # a name; what it stands for is in the other settings
)
CONFIG, RECORD, PROGRESS, WORKERS = "config.yaml", "run.json", "progress.csv", "workers.csv"


def create(settings: dict) -> Path:
    """Make a new directory for a run; its parents too.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    stamp = time.strftime("%Y-%m-%d_%H-%M-%S") + "_" + secrets.token_hex(2)
    name = key_of(settings) if settings["resume"] == AUTO else "_".join(filter(None, (stamp, settings["label"])))
    return writable(settings, settings["algo"]["name"], settings["env"]["name"], name)


def refuse_unwritable(settings: dict) -> None:
    """Say what `create` would have to say, before anything is made.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    path = reachable(settings["output_dir"], "output_dir")
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir() or not os.access(there, os.W_OK):
        why = "no permission to write" if there.is_dir() else "no directory"
        raise Mistake(f"output_dir={settings['output_dir']} cannot be written ({why}: {there}); name another")


@contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One driver at a time: two would write the same files.

    Raises:
        Mistake: another has it, or it cannot be written or locked.
    """
    if not os.access(folder, os.W_OK):
        raise Mistake(
            f"{folder} cannot be written; begin anew under another output_dir, or copy it and continue the copy"
        )
    with open(folder / ".lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise Mistake(f"{folder}: another process is at it; wait for it, or end it") from error
        except OSError as error:
            raise Mistake(
                f"{folder} cannot be locked against another process ({error.strerror}); name an output_dir on a file "
                "system that has locks"
            ) from error
        yield


def automatic(settings: dict) -> Path | None:
    """The run directory that the same experiment has with `resume=auto`; None where it has not begun.

    An earlier version may have begun it, under a key without the rules of today.
    """
    path = Path(settings["output_dir"]).expanduser().resolve()
    path = path / settings["algo"]["name"] / settings["env"]["name"]
    earlier = {name: value for name, value in settings["env"].items() if name not in EARLIER}
    keys = key_of(settings), key_of(settings | {"env": earlier})
    return next((path / key for key in keys if (path / key / RECORD).exists()), None)


def key_of(settings: dict) -> str:
    """A name for an experiment, whatever it runs on and wherever it writes: `auto_3f2a9c01b7`."""
    what = {key: value for key, value in settings.items() if key not in NOT_THE_EXPERIMENT}
    return "auto_" + hashlib.sha256(json.dumps(what, sort_keys=True).encode()).hexdigest()[:10]


def writable(settings: dict, *names: str) -> Path:
    """A directory below `output_dir`, made where it is not there yet.

    Raises:
        Mistake: `output_dir` cannot be written.
    """
    path = Path(settings["output_dir"]).expanduser().resolve().joinpath(*names)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Mistake(
            f"output_dir={settings['output_dir']} cannot be written ({error.strerror}: {error.filename}); name another"
        ) from error
    return path


def newest(path: str, setting: str, output_dir: str, kinds: tuple[str, ...] = ("train", "search")) -> str:
    """Return the newest run directory that `latest`, or a directory that holds some, can mean; else what was typed.

    Args:
        path: as it was typed; a run directory stays what it is.
        setting: whose value it is.
        output_dir: where `latest` looks.
        kinds: `train` for runs, `search` for searches.

    Raises:
        Mistake: it is `latest`, and there is none.
    """
    folder = reachable(path, setting)
    if latest := path == "latest" and not folder.exists():
        folder = reachable(output_dir, "output_dir")
    elif not folder.is_dir() or (folder / CONFIG).exists() or (folder / RECORD).exists():
        return path
    holders = {record.parent for depth in ("*", "*/*", "*/*/*") for record in folder.glob(f"{depth}/{RECORD}")}
    whole = holders - {run for run in holders if holders & {*run.parents}}  # no seed of a run, no trial of a search
    found = [run for run in whole if ("search" if run.parent.name == "searches" else "train") in kinds]
    if not found:
        if latest:
            what = "search" if kinds == ("search",) else "run"
            raise Mistake(f"{setting}=latest: there is no {what} in {folder} yet; give {setting}=<its directory>")
        return path
    run = max(found, key=lambda run: (run / RECORD).stat().st_mtime)
    others = f", the newest of {len(found)} in {folder}" if len(found) > 1 else ""
    print(f"{setting}={path} is {run}{others}", file=sys.stderr)
    return str(run)


def open_run(path: str, setting: str) -> tuple[Path, dict]:
    """An existing run directory and its settings.

    Raises:
        Mistake: there is none, or it is not one of ours.
    """
    run = reachable(path, setting)
    if not run.is_dir():
        raise Mistake(f"{setting}={path}: there is no such directory; give the one a run printed last")
    for name in (CONFIG, RECORD):
        if not (run / name).exists():
            raise Mistake(
                f"{setting}={path} is not a run directory (it has no {name}); give the one a run printed last"
            )
    try:
        settings = read_yaml(run / CONFIG)
        for group in ("algo", "env", "model", "cluster", "stop"):
            checked(run / CONFIG, settings.get(group), dict, group)
        checked(run / CONFIG, settings.get("seed"), (int, list), "seed")
        if settings.get("command") not in ("train", "search"):
            raise refuse(
                run / CONFIG, f"command is {settings.get('command')!r:.40}, and only a training or a search goes on"
            )
        if not read_starts(run / RECORD, required=("overrides",)):
            raise refuse(run / RECORD, "it has no starts")
    except Mistake as mistake:
        raise Mistake(
            f"{setting}={path} is not a run directory ({mistake}); give the one a run printed last"
        ) from mistake
    return run, settings | {"env": complete_rules(settings["env"])}


def keep_rules(settings: dict, folder: Path, overrides: list[str]) -> dict:
    """Return the settings of an experiment that goes on by its name (`resume=auto`, a search), with its own rules.

    Where an earlier version has begun it, those are not today's; what is typed overrides them.
    """
    saved = complete_rules(read_yaml(folder / CONFIG)["env"])
    typed = {override.partition("=")[0] for override in overrides}
    own = {name: saved[name] for name in EARLIER if name in saved and f"env.{name}" not in typed}
    return settings | {"env": settings["env"] | own}


def refuse_damaged(folder: Path) -> None:
    """Look through what a run or a search reads when it goes on, before Ray is started.

    Raises:
        Mistake: a file in a run directory at or below the folder is damaged.
    """
    for path in sorted(folder.rglob(CONFIG)):
        read_yaml(path)
        if path.with_name(RECORD).exists():
            read_starts(path.with_name(RECORD))
        for name in (PROGRESS, WORKERS):
            read_rows(path.with_name(name))


def refuse_strangers(folder: Path, overrides: list[str]) -> None:
    """Ask before the pickles of somebody else are read: to go on from a checkpoint runs what they say (SECURITY.md).

    A directory is one's own where its newest start was made by the same user on the same host. A record of an earlier
    version names neither; then, as in any case, the files have to belong to the present user.

    Args:
        folder: of a run or a search that would go on.
        overrides: what is typed now. What the directory itself says of `trust` does not count.

    Raises:
        Mistake: it may be somebody else's, and `trust=true` was not typed.
    """
    if any(override.lower() == "trust=true" for override in overrides):
        return
    newest = (read_starts(folder / RECORD) or [{}])[-1]
    here = whoami()
    of_record = {key: newest.get(key, here[key]) for key in here}
    checkpoints = [path for path in folder.rglob("*") if path.suffix in (".pkl", ".db", ".journal")]
    others = [path for path in (folder, folder / RECORD, *checkpoints) if path.lstat().st_uid != os.getuid()]
    if of_record == here and not others:
        return
    why = f"it was last written by {of_record['user']} on {of_record['host']}"
    if others:
        why = f"{others[0]} belongs to another user"
    raise Mistake(
        f"{folder} is not of {here['user']} on {here['host']} ({why}), and continuing it runs what its checkpoints "
        "say; add trust=true if you trust whoever made it (SECURITY.md)"
    )


def whoami() -> dict[str, str]:
    """Return the present user and host, as starts record them."""
    try:
        user = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container's user without a name
        user = str(os.getuid())
    return {"user": user, "host": platform.node()}


def write_start(run: Path, settings: dict, argv: list[str], overrides: list[str]) -> None:
    """Record that a run starts or continues: its settings, and under what circumstances."""
    replace(run / CONFIG, yaml.safe_dump(mask(settings), sort_keys=False))
    starts = read_starts(run / RECORD) if (run / RECORD).exists() else []
    origin = provenance(run)
    starts.append(
        {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
            "command": mask(argv),
            "overrides": mask(overrides),
            **whoami(),
            **origin,
            "hardware": origin["hardware"] | {"dtype": dtype_of(settings)},
        }
    )
    replace(run / RECORD, json.dumps({"starts": starts}, indent=1))


def overrides_of(run: Path) -> list[str]:
    """All that was typed for this run so far, oldest first."""
    return [o for start in read_starts(run / RECORD, required=("overrides",)) for o in start["overrides"]]


def replace(path: Path, text: str) -> None:
    """Write a file at once: whoever reads it sees the old text or the new one."""
    temporary = path.with_name(path.name + ".new")
    temporary.write_text(text)
    os.replace(temporary, path)


def resume_line(run: Path) -> str:
    """Return the command that continues a run or a search, so that it can be pasted into a shell."""
    return shlex.join(["python", "run.py", f"resume={run}"])


def dirs_of(run: Path, seeds: list[int]) -> dict[int, Path]:
    """Seed -> run directory: that of the run itself, or with several seeds one below it each."""
    return {seed: run / f"seed_{seed}" if len(seeds) > 1 else run for seed in seeds}


class ProgressTable:
    """progress.csv: rows in the order of agent_steps, without gap and without double, whatever was killed in between.

    workers.csv is such a table as well, with several rows per report.

    A run that starts again from a checkpoint drops the rows beyond it; `append` drops those at or beyond the new row.

    Args:
        path: of the file; what it holds already is kept.
        key: the column that tells runs apart which share the file: `seed`, or `worker`.
    """

    def __init__(self, path: Path, key: str = "seed"):
        self.path, self.key = path, key
        self.rows = read_rows(path)
        self.header = list(dict.fromkeys(name for row in self.rows for name in row))
        self._written = not path.exists() or not self._torn()

    def _torn(self) -> bool:
        return not self.path.read_bytes().endswith(b"\n")

    @property
    def last_step(self) -> int:
        """Agent steps of the newest row; -1 where there is none."""
        return int(self.rows[-1]["agent_steps"]) if self.rows else -1

    def drop_beyond(self, agent_steps: int, whose: str | None = None) -> None:
        """Drop the rows beyond some agent steps: all such rows, or only those whose key column says `whose`."""
        kept = [r for r in self.rows if int(r["agent_steps"]) <= agent_steps or whose not in (None, r.get(self.key))]
        if len(kept) < len(self.rows):
            self.rows = kept
            self._rewrite()

    def append(self, row: dict[str, Any]) -> None:
        """Add a row."""
        row = {name: str(value) for name, value in row.items()}
        steps, whose = int(row["agent_steps"]), row.get(self.key)
        kept = [r for r in self.rows if r.get(self.key) != whose or int(r["agent_steps"]) < steps]
        new_columns = [name for name in row if name not in self.header]
        rewrite = not self._written or len(kept) < len(self.rows) or new_columns or not self.path.exists()
        self.header += new_columns
        self.rows = [*kept, row]
        if rewrite:
            self._rewrite()
        else:
            with open(self.path, "a", newline="") as file:
                csv.DictWriter(file, self.header, restval="", lineterminator="\n").writerow(row)

    def _rewrite(self) -> None:
        temporary = self.path.with_name(self.path.name + ".new")
        with open(temporary, "w", newline="") as file:
            writer = csv.DictWriter(file, self.header, restval="", lineterminator="\n")
            writer.writeheader()
            writer.writerows(self.rows)
        os.replace(temporary, self.path)
        self._written = True


def read_rows(path: Path) -> list[dict[str, str]]:
    """The whole rows of a progress.csv; one that a killed process left half written is left out.

    Raises:
        Mistake: the file is damaged.
    """
    rows = read_table(path, {"agent_steps": count}, required=("agent_steps",), grows=True)
    return [row | {"agent_steps": str(row["agent_steps"])} for row in rows]
