"""One setting: its kind, its range, its unit and its meaning, and the check of a value.

Settings are the fields of frozen dataclasses. The annotation of a field is the kind of the setting, with `| None` if
null is a value. Range and meaning are the arguments of `at_least`, `above`, `one_of` or `any_value`, which read as a
condition on the value. No field has a default here: the YAML files hold the only values.

    @dataclass(frozen=True)
    class StopSettings:
        time_s: float | None = above(0, "seconds of training after which it ends; null: never", most=YEAR_S)
"""

import dataclasses
import difflib
import functools
import math
import re
from collections.abc import Collection
from dataclasses import dataclass
from decimal import Decimal
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

from settings.mistakes import Mistake

SURE = 0.75  # the similarity from which on a name is meant by a word, and no other one is named beside it
THOUSANDS = re.compile(r"(\d+(?:\.\d+)?)([kM])")  # such as 10k, 1.5M

# Upper limits, larger than any machine needs: a run with larger numbers would wait forever, or crash without a message.
ENVS = 2**16
MANY = 2**20  # agent steps of a rollout, neurons of a layer, trials
PROCESSES = 2**14  # processes of a run, or their CPUs
STEPS = 10**12  # agent steps of a run
YEAR_S = 366 * 86_400.0


def at_least(least: float, meaning: str, most: float | None = None) -> Any:
    """Declare a number of at least `least` and, where it is given, at most `most`; for a list, each of its numbers."""
    return dataclasses.field(metadata={"meaning": meaning, "low": least, "high": most})


def above(limit: float, meaning: str, most: float | None = None) -> Any:
    """Declare a number that is larger than `limit` and, where it is given, at most `most`."""
    return dataclasses.field(metadata={"meaning": meaning, "above": limit, "high": most})


def one_of(options: tuple, meaning: str) -> Any:
    """Declare a setting that takes one of a few values."""
    return dataclasses.field(metadata={"meaning": meaning, "options": options})


def any_value(meaning: str) -> Any:
    """Declare a setting that takes every value of its kind."""
    return dataclasses.field(metadata={"meaning": meaning})


@dataclass(frozen=True)
class Setting:
    """The kind, range and meaning of one setting.

    Attributes:
        meaning: its meaning with its unit, which --help prints.
        kind: int, float, bool, str, list, dict, or Any for what a user's own class reads.
        item: the kind of each item of a list: int, str, or str | dict.
        low, high: the smallest and the largest allowed value.
        above: a limit that the value must exceed.
        options: the only values allowed.
        optional: whether null is a value.
    """

    meaning: str
    kind: Any
    low: float | None = None
    high: float | None = None
    above: float | None = None
    options: tuple = ()
    optional: bool = False
    item: Any = int

    def check(self, key: str, value: Any) -> Any:
        """Return the value as its kind: where the setting is a whole number, 2e5 as 200000 and `10k` as 10000.

        Args:
            key: the name of the setting, for the message.
            value: the value in YAML or on the command line, as plain data.

        Raises:
            Mistake: the setting does not take the value.
        """
        if self.kind is Any:
            return value
        if self.kind is list and self.options:  # one word needs no brackets, and an empty list is null
            value = [value] if type(value) is str else None if value == [] else value
        if value is None:
            if self.optional:
                return None
            raise Mistake(f"{key} is not set; it takes {self.describe_values()}", key)
        if self.kind is int and type(value) is str and (found := THOUSANDS.fullmatch(value)):
            value = float(Decimal(found.group(1)) * {"k": 1_000, "M": 1_000_000}[found.group(2)])
        if self.kind is float and type(value) is int:
            value = float(value) if abs(value) < 1e308 else math.inf
        if self.kind is int and type(value) is float and value.is_integer():
            value = int(value)
        items = value if self.kind is list and type(value) is list else [value]
        if type(value) is not self.kind or (self.kind is list and not items):
            large = self.kind is int and (self.high or STEPS) >= STEPS and name_kind(value) == "no number"
            how = "; a million is 1_000_000, 1e6 or 1M" if large else ""
            raise Mistake(f"{key}={value} is {name_kind(value)}; it takes {self.describe_values()}{how}", key)
        for item in items:
            if self.kind is list and type(item) is not self.item and type(item) not in get_args(self.item):
                raise Mistake(f"{key}={value}: {item} is {name_kind(item)}; it takes {self.describe_values()}", key)
            if self.options and item not in self.options:
                near = difflib.get_close_matches(str(item), [str(o) for o in self.options], n=1)
                hint = f"; did you mean {near[0]}?" if near else ""
                raise Mistake(f"{key}={item} is not one of {', '.join(map(str, self.options))}{hint}", key)
            if isinstance(item, int | float) and not isinstance(item, bool):
                low, high, above = self.low, self.high, self.above
                outside = (low is not None and item < low) or (high is not None and item > high)
                if outside or (above is not None and item <= above) or not math.isfinite(item):
                    raise Mistake(f"{key}={value} is out of range; it takes {self.describe_values()}", key)
        return value

    def describe_values(self) -> str:
        """Return the possible values of the setting in words: `a whole number of at least 1`."""
        if self.options:
            several = " or a list of several" + " or null" * self.optional if self.kind is list else ""
            return "one of " + ", ".join(map(str, self.options)) + several
        words = {int: "a whole number", float: "a number", bool: "true or false", str: "a word", Any: "any value"}.get(
            self.kind, "a list of whole numbers" if self.item is int else "a list of words"
        )
        if self.kind is dict:
            words = "names with values, {name: value}"
        if get_args(self.item):
            words = "a list of words, or of words with their arguments, {word: {name: value}}"
        if self.low is not None and self.high is not None:
            words += f" from {spell_limit(self.low)} to {spell_limit(self.high)}"
        elif self.low is not None:
            words += f" of at least {spell_limit(self.low)}"
        elif self.above is not None:
            words += f" above {self.above}" + (
                f" and at most {spell_limit(self.high)}" if self.high is not None else ""
            )
        return words + (" or null" if self.optional else "")


@functools.cache
def list_settings(group: type) -> dict[str, Setting]:
    """Return name -> Setting of every field of a dataclass, in its order; the fields of its bases come first."""
    kinds = get_type_hints(group)  # of annotations that are text, too: from __future__ import annotations
    return {field.name: read_field(field, kinds[field.name]) for field in dataclasses.fields(group)}


def read_field(field: dataclasses.Field, kind: Any) -> Setting:
    """Return the Setting that a field declares: its kind and whether it takes null are read from its annotation.

    Raises:
        TypeError: its annotation is no kind of setting, such as Literal, or it has no range and meaning.
    """
    optional = get_origin(kind) in (Union, UnionType)  # Optional[float], float | None
    if optional:
        kind = next(one for one in get_args(kind) if one is not type(None))
    item, *more = get_args(kind) or (int,)
    if more or get_origin(kind) is Literal:
        raise TypeError(f"{field.name}: {kind} is no kind of setting")
    return Setting(kind=get_origin(kind) or kind, optional=optional, item=item, **field.metadata)


def spell_limit(number: float) -> str:
    """Return a limit as text: `0.5`, `16384`, `1,000,000,000,000`."""
    return f"{number:,.0f}" if number >= 100_000 else str(number)


def name_kind(value: Any) -> str:
    """Return the kind of an override's value, in words: `a number`, `a list`."""
    if isinstance(value, bool):
        return "true or false"
    if isinstance(value, int | float):
        return "a number"
    if isinstance(value, str) and value[:1].isdecimal():
        return "no number"
    if value in ("", [], {}):
        return "empty"
    return {str: "a word", list: "a list", dict: "a group"}.get(type(value), "nothing")


def find_near(word: str, known: list[str]) -> list[str]:
    """Return the one name of `known` that a word surely means; else the two that are most like it, or fewer."""
    return difflib.get_close_matches(word, known, 1, SURE) or difflib.get_close_matches(word, known, 2, 0.5)


def explain_unknown(key: str, whose: str, known: list[str], others: Collection[str] = ()) -> Mistake:
    """Return the Mistake for an unknown key; its message names the nearest settings.

    Args:
        key: the unknown key.
        whose: the owner of the settings, such as `PPO`.
        known: the keys of all settings of the owner.
        others: who else has a setting of this name, such as `algo=ppo`.
    """
    near = " or ".join(find_near(key, known))
    hint = f"did you mean {near}?" if near else f"it has {', '.join(known)}"
    if others:
        hint = f"{' and '.join(others)} {'has' if len(others) == 1 else 'have'} it"
    return Mistake(f"{key}: {whose} has no such setting; {hint}", key)
