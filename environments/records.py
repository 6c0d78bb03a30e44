"""Reading what runs and searches leave on disk: YAML, JSON and CSV files, each checked for the shape it should have.

Files are cut by full disks, changed by failing ones, and edited by people. Whatever cannot be what the suite wrote ends
as a Mistake of one sentence that names the file and the place in it.
"""

import csv
import io
import json
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from settings.mistakes import Mistake

KINDS = {
    dict: "a mapping",
    list: "a list",
    str: "a text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}
RESTORE = "put back a copy that is whole, or leave this directory out"
START = {"time": str, "command": list, "overrides": list, "git": dict, "packages": dict, "hardware": dict}
START |= {"user": str, "host": str}
SPARE = "put back a copy that is whole, or delete it where its rows can be spared"


def refuse(path: Path, why: object) -> Mistake:
    """Return the Mistake for a file that is not what the suite wrote."""
    way_out = SPARE if path.suffix == ".csv" else RESTORE
    return Mistake(f"{path} is damaged: {' '.join(str(why).split())[:300]}; {way_out}")


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        Mistake: it is not there, may not be read, or holds bytes that are no text.
    """
    try:
        text = path.read_bytes().decode()
    except FileNotFoundError as error:
        raise Mistake(f"{path.parent} has no {path.name}; {RESTORE}") from error
    except OSError as error:
        raise Mistake(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise refuse(path, f"byte {error.start} is no UTF-8") from error
    if "\0" in text:
        raise refuse(path, f"byte {text.index(chr(0))} is NUL")
    return text


def read_yaml(path: Path) -> dict:
    """Read a YAML file that holds a mapping.

    Raises:
        Mistake: it cannot be read, or holds something else.
    """
    text = read_text(path)
    if not text.endswith("\n"):
        raise refuse(path, "its last line is torn")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        raise refuse(path, error) from error
    _refuse_odd_keys(path, checked(path, content, dict))
    return content


def _refuse_odd_keys(path: Path, mapping: dict) -> None:
    for key, value in mapping.items():
        checked(path, key, str, f"the key {key!r:.80}")
        if isinstance(value, dict):
            _refuse_odd_keys(path, value)


def read_json(path: Path, kind: type) -> Any:
    """Read a JSON file that holds a value of one type.

    Raises:
        Mistake: it cannot be read, or holds something else.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refuse(path, error) from error
    return checked(path, value, kind)


def checked(path: Path, value: Any, kind: type | tuple[type, ...], place: str = "its content") -> Any:
    """Return a value that was read, if it is of the type it should have; an int counts as a float.

    Raises:
        Mistake: it is not.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    kinds = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise refuse(path, f"{place} is {value!r:.80} where {KINDS[kinds[0]]} should be")
    return value


def read_starts(path: Path, required: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Read a run.json: one entry per start of a run, oldest first.

    Args:
        path: of the file.
        required: what every entry must have; else an entry of an earlier version may lack anything.

    Raises:
        Mistake: it cannot be read, or something in it is not of the type it should have.
    """
    starts = checked(path, read_json(path, dict).get("starts"), list, "starts")
    for index, start in enumerate(starts):
        checked(path, start, dict, f"starts[{index}]")
        for name, kind in START.items():
            if name in required or start.get(name) is not None:
                value = checked(path, start.get(name), kind, f"starts[{index}].{name}")
                for item in value if kind is list else ():
                    checked(path, item, str, f"an entry of starts[{index}].{name}")
        if git := start.get("git"):
            checked(path, git.get("commit"), str, f"starts[{index}].git.commit")
            checked(path, git.get("dirty"), bool, f"starts[{index}].git.dirty")
    return starts


def read_table(
    path: Path, columns: dict[str, Callable[[str], Any]], required: Sequence[str] = (), grows: bool = False
) -> list[dict]:
    """Read a CSV file.

    Args:
        path: of the file; no rows where it is not there.
        columns: name -> how its cells are read; cells of other columns stay as they are.
        required: columns that must be there, where there is a row.
        grows: rows are appended to it one by one, so a last line that a killed process left half written is left out;
            of a file that was written in one piece it is damage.

    Raises:
        Mistake: it cannot be read, a row has another number of cells, or a cell is not what its column holds.
    """
    if not path.exists():
        return []
    text = read_text(path)
    if text and not text.endswith("\n") and not grows:
        raise refuse(path, "its last line is torn")
    try:
        lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True))
    except csv.Error as error:
        raise refuse(path, error) from error
    if len(lines) < 2:
        return []
    header, *body = lines
    if missing := [name for name in required if name not in header]:
        raise refuse(path, f"line 1 has no column {missing[0]}")
    if len(set(header)) < len(header):
        raise refuse(path, "line 1 has a column twice")
    rows = []
    for number, cells in enumerate(body, 2):
        if len(cells) != len(header):
            raise refuse(path, f"line {number} has {len(cells)} cells where line 1 has {len(header)}")
        row: dict[str, Any] = dict(zip(header, cells, strict=True))
        for name in columns.keys() & row.keys():
            try:
                row[name] = columns[name](row[name])
            except ValueError as error:
                raise refuse(path, f"line {number}, column {name}: {row[name]!r:.80}") from error
        rows.append(row)
    return rows


def number(cell: str) -> float:
    """Read a cell that holds a number, or nothing, which is NaN."""
    return float(cell) if cell else math.nan


def count(cell: str) -> int:
    """Read a cell that holds a whole number of something, which is never below 0.

    Raises:
        ValueError: it does not.
    """
    if not cell.isdecimal():
        raise ValueError(cell)
    return int(cell)
