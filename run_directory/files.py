"""Readers of the files of runs and searches (YAML, JSON and CSV), which check the types of all values.

A full or failing disk damages files, and people edit them. If the suite cannot have written a file, its reader raises a
Mistake; the message is one sentence that names the file and the place in it.
"""

import csv
import io
import json
import math
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import yaml

from settings.mistakes import Mistake

KINDS = {dict: "a mapping", list: "a list", str: "a text", int: "a whole number", float: "a number", bool: "a boolean"}
MOST_DIGITS = 15  # of a count; the suite writes none that long
RESTORE = "put back a copy that is whole, or leave this directory out"
SPARE = "put back a copy that is whole, or delete it where its rows can be spared"


def explain_damage(path: Path, why: object) -> Mistake:
    """Return the Mistake for a file whose content the suite cannot have written."""
    way_out = SPARE if path.suffix == ".csv" else RESTORE
    return Mistake(f"{path} is damaged: {' '.join(str(why).split())[:300]}; {way_out}")


def read_text(path: Path) -> str:
    """Read a text file.

    Raises:
        Mistake: it does not exist, cannot be read, or is not text in UTF-8.
    """
    try:
        if path.exists() and not path.is_file():  # a named pipe would be read for ever
            raise Mistake(f"{path} is no file; {RESTORE}")
        text = path.read_bytes().decode()
    except FileNotFoundError as error:
        raise Mistake(f"{path.parent} has no {path.name}; {RESTORE}") from error
    except OSError as error:
        raise Mistake(f"{path} cannot be read ({error.strerror})") from error
    except UnicodeDecodeError as error:
        raise explain_damage(path, f"byte {error.start} is no UTF-8") from error
    if "\0" in text:
        raise explain_damage(path, f"byte {text.index(chr(0))} is NUL")
    return text


def read_yaml(path: Path) -> dict:
    """Read a YAML file that holds a mapping.

    Raises:
        Mistake: the file cannot be read, or holds another type.
    """
    text = read_text(path)
    if not text.endswith("\n"):
        raise explain_damage(path, "its last line is torn")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        line = f"line {mark.line + 1}: " if (mark := getattr(error, "problem_mark", None)) else ""
        raise explain_damage(path, f"{line}{getattr(error, 'problem', error)}") from error
    _refuse_odd_keys(path, check_kind(path, content, dict))
    return content


def _refuse_odd_keys(path: Path, mapping: dict) -> None:
    """Refuse a mapping that has a key other than a text, at any depth."""
    for key, value in mapping.items():
        check_kind(path, key, str, f"the key {key!r:.80}")
        if isinstance(value, dict):
            _refuse_odd_keys(path, value)


def read_json(path: Path, kind: type) -> Any:
    """Read a JSON file that holds a value of one type.

    Raises:
        Mistake: the file cannot be read, or holds another type.
    """
    text = read_text(path)
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise explain_damage(path, error) from error
    return check_kind(path, value, kind)


def check_kind(path: Path, value: Any, kind: type | tuple[type, ...], place: str = "its content") -> Any:
    """Return a value that was read from a file if it has the right type or one of several; `place` says where it stood.

    An int is accepted as a float; a bool is not accepted as an int.

    Raises:
        Mistake: the value has another type.
    """
    kinds = kind if isinstance(kind, tuple) else (kind,)
    kinds = (*kinds, int) if float in kinds else kinds
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        raise explain_damage(path, f"{place} is {value!r:.80} where {KINDS[kinds[0]]} should be")
    return value


def read_table(
    path: Path, columns: dict[str, Callable[[str], Any]], required: Sequence[str] = (), grows: bool = False
) -> list[dict]:
    """Read a CSV file.

    Args:
        path: the path of the file. A file that does not exist has no rows.
        columns: name -> the function that reads its cells; cells of other columns remain texts.
        required: columns that the file must have if it has rows.
        grows: whether rows are appended to the file one by one. An incomplete last line, left by a killed process, is
            then skipped; in a file that is written in one piece it is damage.

    Raises:
        Mistake: the file cannot be read, a row has another number of cells than the header, or a cell cannot be read.
    """
    if not os.path.lexists(path):  # a link that leads nowhere is damage
        return []
    text = read_text(path)
    if text and not text.endswith("\n") and not grows:
        raise explain_damage(path, "its last line is torn")
    try:
        lines = list(csv.reader(io.StringIO(text[: text.rfind("\n") + 1], newline=""), strict=True))
    except csv.Error as error:
        raise explain_damage(path, error) from error
    if len(lines) < 2:
        return []
    header, *body = lines
    read = [(name, columns[name]) for name in header if name in columns]
    if missing := [name for name in required if name not in header]:
        raise explain_damage(path, f"line 1 has no column {missing[0]}")
    if len(set(header)) < len(header):
        raise explain_damage(path, "line 1 has a column twice")
    rows = []
    for number, cells in enumerate(body, 2):
        if len(cells) != len(header):
            raise explain_damage(path, f"line {number} has {len(cells)} cells where line 1 has {len(header)}")
        row: dict[str, Any] = dict(zip(header, cells, strict=True))
        for name, read_cell in read:
            try:
                row[name] = read_cell(row[name])
            except ValueError as error:
                raise explain_damage(path, f"line {number}, column {name}: {row[name]!r:.80}") from error
        rows.append(row)
    return rows


def read_number(cell: str) -> float:
    """Return the number in a cell; NaN if the cell is empty."""
    return float(cell) if cell else math.nan


def read_count(cell: str) -> int:
    """Return the whole number in a cell, which is at least 0; raise a ValueError if it holds something else."""
    if not cell.isdecimal() or len(cell) > MOST_DIGITS:
        raise ValueError(cell)
    return int(cell)
