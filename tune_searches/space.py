"""The space of a search: which settings vary, and how far.

    algo.lr: {loguniform: [5e-5, 1e-3]}              a number, evenly over its logarithm
    algo.entropy_coeff: {uniform: [0, 0.02]}         a number
    algo.num_epochs: {int: [2, 10]}                  a whole number, both ends included
    algo.horizon: {choice: [64, 128, 256]}           one of these
    algo.gamma: {one_minus_loguniform: [1e-3, 0.1]}  1 - gamma evenly over its logarithm
    algo.kl_target: {loguniform: [3e-3, 3e-2], when: {algo.kl_coeff: [0.2, 1.0]}}    only beside these choices

Keys are the names one types. Every end of a range is checked against the class of its setting before anything starts.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

from settings.experiment import select_tables
from settings.mistakes import Mistake
from settings.setting import Setting, explain_unknown

KINDS = ("uniform", "loguniform", "int", "choice", "one_minus_loguniform")
NOT_SEARCHED = ("env.game", "env.id", "env.protocol")
GROUPS = ("algo", "env", "model")  # what an agent is made of; where it runs and when it ends are not searched


class Draws(Protocol):
    """What proposes values: an Optuna trial, or anything that answers like one."""

    def suggest_float(self, name: str, low: float, high: float, *, log: bool = False) -> float: ...

    def suggest_int(self, name: str, low: int, high: int) -> int: ...

    def suggest_categorical(self, name: str, choices: Any) -> Any: ...


class Parameter(NamedTuple):
    """One setting that varies.

    Attributes:
        key: the name one types, `algo.lr`.
        kind: one of KINDS.
        values: low and high, or the choices.
        when: key of a choice -> the values of it beside which this setting varies; empty: always.
    """

    key: str
    kind: str
    values: tuple
    when: dict[str, tuple]

    @property
    def name(self) -> str:
        """In the study: what is drawn evenly."""
        return f"1 - {self.key}" if self.kind == "one_minus_loguniform" else self.key

    def draw(self, draws: Draws) -> Any:
        """A value for the setting."""
        if self.kind == "choice":
            return draws.suggest_categorical(self.name, list(self.values))
        low, high = self.values
        if self.kind == "int":
            return draws.suggest_int(self.name, low, high)
        return self.turned(draws.suggest_float(self.name, low, high, log=self.kind != "uniform"))

    def turned(self, x: Any) -> Any:
        """What is drawn as the setting, and the setting as what is drawn: 1 - x and x."""
        return 1 - x if self.kind == "one_minus_loguniform" else x


def draw(space: list[Parameter], draws: Draws) -> dict[str, Any]:
    """Key -> value, of every parameter that varies beside the choices made."""
    drawn = {}
    for parameter in space:
        if all(drawn.get(key) in values for key, values in parameter.when.items()):
            drawn[parameter.key] = parameter.draw(draws)
    return drawn


def with_values(settings: dict, values: Mapping[str, Any]) -> dict:
    """Settings, with the values of some keys replaced."""
    changed = {key: dict(value) if isinstance(value, dict) else value for key, value in settings.items()}
    for key, value in values.items():
        group, _, name = key.partition(".")
        changed[group][name] = value
    return changed


def parse(space: Any, settings: dict) -> list[Parameter]:
    """The space as it stands in YAML, checked against the experiment it belongs to.

    Raises:
        Mistake: a key the experiment does not have, a range upside down or out of range, a condition on no choice.
    """
    if not isinstance(space, dict) or not space:
        raise Mistake(
            "search.space is empty; choose a search with tune_searches=..., or give keys with ranges, "
            "algo.lr: {loguniform: [5e-5, 1e-3]}"
        )
    known = select_tables(settings)
    parameters: list[Parameter] = []
    for key, given in _flat(space).items():
        group, _, name = key.partition(".")
        if group not in GROUPS or not name:
            raise Mistake(f"search.space.{key}: a search varies settings of {', '.join(GROUPS)}; leave {key} out")
        if key in NOT_SEARCHED:
            raise Mistake(f"search.space.{key}: scores of different games and protocols do not compare; leave it out")
        table, whose = known[group]
        if name not in table or name == "name":
            raise explain_unknown(
                f"search.space.{key}", whose, [f"search.space.{group}.{n}" for n in table if n != "name"]
            )
        parameters.append(_parameter(key, given, table[name], parameters))
    return parameters


def _flat(space: dict, prefix: str = "") -> dict[str, Any]:
    """{algo: {lr: ...}} as {algo.lr: ...}; what has a kind stays whole."""
    flat = {}
    for key, value in space.items():
        nested = isinstance(value, dict) and value and not set(value) & {*KINDS, "when"} and prefix + key in GROUPS
        flat |= _flat(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
    return flat


def _parameter(key: str, given: Any, setting: Setting, earlier: list[Parameter]) -> Parameter:
    where = f"search.space.{key}"
    kinds = [kind for kind in KINDS if isinstance(given, dict) and kind in given]
    if len(kinds) != 1 or set(given) - {kinds[0], "when"}:
        raise Mistake(f"{where}: give one of {', '.join(KINDS)} with its values, {{loguniform: [5e-5, 1e-3]}}")
    kind = kinds[0]
    values = given[kind]
    if not isinstance(values, list) or not values:
        raise Mistake(f"{where}: {kind} takes a list, and {values} is none")
    values = _choices(where, values, setting) if kind == "choice" else _range(where, kind, values, setting)
    return Parameter(key, kind, values, _when(where, given.get("when", {}), earlier))


def _choices(where: str, values: list, setting: Setting) -> tuple:
    checked = tuple(setting.check(where, value) for value in values)
    if any(isinstance(value, list) for value in checked):
        raise Mistake(f"{where}: a setting that is a list itself cannot be searched; leave it out")
    if len(set(checked)) < len(checked) or len(checked) < 2:
        raise Mistake(f"{where}: choice={values} needs two values or more, and each once")
    return checked


def _range(where: str, kind: str, values: list, setting: Setting) -> tuple:
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) != 2 or len(numbers) != 2:
        raise Mistake(f"{where}: {kind} takes two numbers, lowest and highest, and {values} is not that")
    low, high = values
    if low >= high:
        raise Mistake(f"{where}: {kind}: [{low}, {high}] is upside down; the lower number comes first")
    if kind in ("loguniform", "one_minus_loguniform") and low <= 0:
        raise Mistake(f"{where}: {kind} needs a lowest number above 0, and {low} is not; raise it, or use uniform")
    if setting.kind not in (int, float) or (setting.kind is int) != (kind == "int"):
        fitting = {int: "int or choice", float: "uniform, loguniform or choice"}.get(setting.kind, "choice")
        raise Mistake(f"{where}: {kind} does not fit, the setting takes {setting.wanted()}; use {fitting}")
    ends = [1 - high, 1 - low] if kind == "one_minus_loguniform" else [low, high]
    for end in ends:
        setting.check(where, end)
    whole = Setting("a whole number", int)
    return (whole.check(where, low), whole.check(where, high)) if kind == "int" else (float(low), float(high))


def _when(where: str, given: Any, earlier: list[Parameter]) -> dict[str, tuple]:
    if not isinstance(given, dict):
        raise Mistake(f"{where}: when takes keys of the space with the values beside which this one varies")
    choices = {parameter.key: parameter.values for parameter in earlier if parameter.kind == "choice"}
    conditions = {}
    for key, values in given.items():
        if key not in choices:
            raise Mistake(f"{where}: when {key}: there is no choice of that name above it; put one there")
        values = tuple(values) if isinstance(values, list) else (values,)
        if missing := [value for value in values if value not in choices[key]]:
            raise Mistake(f"{where}: when {key}={missing[0]}: {key} is one of {', '.join(map(str, choices[key]))}")
        conditions[key] = values
    return conditions
