"""The space of a search: the settings that vary, and the range of each.

    algo.lr: {loguniform: [5e-5, 1e-3]}              a number, uniform in its logarithm
    algo.entropy_coeff: {uniform: [0, 0.02]}         a number
    algo.num_epochs: {int: [2, 10]}                  a whole number, both ends included
    algo.horizon: {choice: [64, 128, 256]}           one of the listed values
    algo.gamma: {one_minus_loguniform: [1e-3, 0.1]}  1 - gamma is uniform in its logarithm
    algo.kl_target: {loguniform: [3e-3, 3e-2], when: {algo.kl_coeff: [0.2, 1.0]}}    only with these choices

Keys are the names of settings on the command line. Both ends of every range are checked like a value of the setting.
"""

from collections.abc import Mapping
from typing import Any, NamedTuple

from settings.experiment import select_tables
from settings.mistakes import Mistake
from settings.protocols import PROTOCOLS
from settings.setting import Setting, explain_unknown

KINDS = ("uniform", "loguniform", "int", "choice", "one_minus_loguniform")
# Scores under different rules cannot be compared. These two rules hold in training only, so they may vary.
RULES = {*PROTOCOLS["classic"]} - {"life_loss", "clip_rewards"}
UNSEARCHABLE_KEYS = {f"env.{name}" for name in ("game", "id", "protocol", "frameskip", *RULES)}
SEARCHABLE_GROUPS = ("algo", "env", "model")  # settings of the agent; not of the cluster or of the end of a run


class Parameter(NamedTuple):
    """One setting that varies, with its range.

    Attributes:
        key: the name of the setting on the command line, `algo.lr`.
        kind: one of KINDS.
        values: the lowest and the highest value, or the choices.
        when: key of another parameter -> its values for which this setting varies. An empty dict means always.
    """

    key: str
    kind: str
    values: tuple
    when: dict[str, tuple]

    @property
    def name(self) -> str:
        """The name in Optuna's study, which stores 1 - gamma instead of gamma."""
        return f"1 - {self.key}" if self.kind == "one_minus_loguniform" else self.key

    def draw_value(self, trial: Any) -> Any:
        """Draw a value for the setting by an Optuna trial."""
        if self.kind == "choice":
            return trial.suggest_categorical(self.name, list(self.values))
        low, high = self.values
        if self.kind == "int":
            return trial.suggest_int(self.name, low, high)
        return self.convert(trial.suggest_float(self.name, low, high, log=self.kind != "uniform"))

    def convert(self, x: Any) -> Any:
        """Convert the number that Optuna draws to the value of the setting; the same function converts it back."""
        return 1 - x if self.kind == "one_minus_loguniform" else x


def draw_values(space: list[Parameter], trial: Any) -> dict[str, Any]:
    """Draw key -> value of every parameter by an Optuna trial, but for those whose condition the earlier ones miss."""
    drawn = {}
    for parameter in space:
        if all(key in drawn and drawn[key] in values for key, values in parameter.when.items()):
            drawn[parameter.key] = parameter.draw_value(trial)
    return drawn


def replace_values(settings: dict, values: Mapping[str, Any]) -> dict:
    """Return a copy of the settings in which some keys have new values."""
    changed = {key: dict(value) if isinstance(value, dict) else value for key, value in settings.items()}
    for key, value in values.items():
        group, _, name = key.partition(".")
        changed[group][name] = value
    return changed


def parse_space(space: Any, settings: dict) -> list[Parameter]:
    """Return the parameters of a space, checked against the settings of its experiment.

    Args:
        space: `search.space` as YAML has it.
        settings: the settings of the experiment.

    Raises:
        Mistake: a key is no setting of the experiment, a range is reversed or exceeds what the setting takes, or a
            condition names no choice.
    """
    if not isinstance(space, dict) or not space:
        raise Mistake(
            "search.space is empty; choose a search with tune_searches=..., or give keys with ranges, "
            "algo.lr: {loguniform: [5e-5, 1e-3]}"
        )
    known = select_tables(settings)
    parameters: list[Parameter] = []
    for key, given in _flatten_space(space).items():
        try:
            parameters.append(_parse_parameter(key, given, known, parameters))
        except Mistake as mistake:
            raise Mistake(str(mistake), f"search.space.{key}") from mistake
    return parameters


def _flatten_space(space: dict, prefix: str = "") -> dict[str, Any]:
    """Return {algo: {lr: ...}} as {algo.lr: ...}; the range of a setting is not flattened."""
    flat = {}
    for key, value in space.items():
        is_group = f"{prefix}{key}" in SEARCHABLE_GROUPS and isinstance(value, dict) and value
        nested = is_group and {*KINDS, "when"}.isdisjoint(value)
        found = _flatten_space(value, f"{prefix}{key}.") if nested else {f"{prefix}{key}": value}
        if twice := flat.keys() & found:
            where = f"search.space.{min(twice)}"
            raise Mistake(f"{where} is set twice; delete one of the two", where)
        flat |= found
    return flat


def _parse_parameter(key: str, given: Any, known: dict[str, tuple], earlier: list[Parameter]) -> Parameter:
    """Return the parameter for one entry of a space, checked against its setting and the parameters above it."""
    where, (group, _, name) = f"search.space.{key}", key.partition(".")
    if group not in SEARCHABLE_GROUPS or not name:
        raise Mistake(f"{where}: a search varies settings of {', '.join(SEARCHABLE_GROUPS)}; leave {key} out")
    if key in UNSEARCHABLE_KEYS:
        raise Mistake(f"{where}: scores of different games and rules do not compare; leave it out")
    table, whose = known[group]
    if name not in table or name == "name":
        raise explain_unknown(where, whose, [f"search.space.{group}.{n}" for n in table if n != "name"])
    kinds = [kind for kind in KINDS if isinstance(given, dict) and kind in given]
    if len(kinds) != 1 or set(given) - {kinds[0], "when"}:
        raise Mistake(f"{where}: give one of {', '.join(KINDS)} with its values, {{loguniform: [5e-5, 1e-3]}}")
    kind, values = kinds[0], given[kinds[0]]
    if not isinstance(values, list) or not values:
        raise Mistake(f"{where}: {kind} takes a list of values, and {values} is not one with any")
    check = _check_choices if kind == "choice" else _check_range
    values = check(where, kind, values, table[name])
    return Parameter(key, kind, values, _parse_conditions(where, given.get("when", {}), earlier))


def _check_choices(where: str, kind: str, values: list, setting: Setting) -> tuple:
    """Return the values of a choice, converted to the kind of the setting; there are two or more, each once."""
    checked = tuple(setting.check(where, value) for value in values)
    if any(isinstance(value, list | dict) for value in checked):
        raise Mistake(f"{where}: a setting that is a list or a mapping itself cannot be searched; leave it out")
    if len(set(checked)) < len(checked) or len(checked) < 2:
        raise Mistake(f"{where}: {kind}={values} needs two values or more, and each once")
    return checked


def _check_range(where: str, kind: str, values: list, setting: Setting) -> tuple:
    """Return the lowest and the highest number of a range, which the setting takes and the kind of range allows."""
    numbers = [v for v in values if isinstance(v, int | float) and not isinstance(v, bool)]
    if len(values) != 2 or len(numbers) != 2:
        raise Mistake(f"{where}: {kind} takes two numbers, lowest and highest, and {values} is not that")
    low, high = values
    if low >= high:
        raise Mistake(f"{where}: {kind}: [{low}, {high}] has no number between; the first has to be the lower one")
    if kind in ("loguniform", "one_minus_loguniform") and low <= 0:
        raise Mistake(f"{where}: {kind} needs a lowest number above 0, and {low} is not; raise it, or use uniform")
    if setting.kind not in (int, float) or (setting.kind is int) != (kind == "int"):
        fitting = {int: "int or choice", float: "uniform, loguniform or choice"}.get(setting.kind, "choice")
        raise Mistake(f"{where}: {kind} does not fit, the setting takes {setting.describe_values()}; use {fitting}")
    for end in (1 - high, 1 - low) if kind == "one_minus_loguniform" else (low, high):
        setting.check(where, end)
    whole = Setting("a whole number", int)
    return (whole.check(where, low), whole.check(where, high)) if kind == "int" else (float(low), float(high))


def _parse_conditions(where: str, given: Any, earlier: list[Parameter]) -> dict[str, tuple]:
    """Return key -> values of the choices above the parameter, beside which the parameter varies."""
    if not isinstance(given, dict):
        raise Mistake(f"{where}: when takes keys of the space with the values beside which this one varies")
    choices = {parameter.key: parameter.values for parameter in earlier if parameter.kind == "choice"}
    conditions = {}
    for key, values in given.items():
        if key not in choices:
            raise Mistake(f"{where}: when {key}: there is no choice of that name above it; put one there")
        values = tuple(values) if isinstance(values, list) else (values,)
        if not values:
            raise Mistake(f"{where}: when {key}=[] never holds; name values of {key}, or leave {where} out")
        if missing := [value for value in values if value not in choices[key]]:
            raise Mistake(f"{where}: when {key}={missing[0]}: {key} is one of {', '.join(map(str, choices[key]))}")
        conditions[key] = values
    return conditions
