"""A run that continues: its own settings with what was typed since, as far as its checkpoint allows."""

from pathlib import Path

from environments.passwords import is_masked
from experiments.composition import parse_overrides
from run_directory.files import read_yaml
from run_directory.layout import CONFIG
from settings.algorithms import PART_OF_WEIGHTS
from settings.mistakes import Mistake, reachable
from settings.protocols import EARLIER, complete_rules


def merge_settings(saved: dict, before: dict, after: dict) -> dict:
    """`saved`, with every value that differs between `before` and `after`, or that was saved masked, from `after`."""
    result = dict(saved)
    for key, value in after.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge_settings(result[key], before.get(key) or {}, value)
        elif key not in before or before[key] != value or key not in result or is_masked(result[key]):
            result[key] = value
    return result


def apply_overrides(settings: dict, after: dict, typed: list[str]) -> dict:
    """Return `settings` with every single key that is typed, also where its value is today's default.

    `merged` sees no difference there, though the saved settings may have an older default.
    """
    for key in (override.partition("=")[0] for override in typed):
        group, _, name = key.partition(".")
        if name in (after[group] if isinstance(after.get(group), dict) else ()):
            settings = settings | {group: settings[group] | {name: after[group][name]}}
    return settings


def keep_rules(settings: dict, folder: Path, overrides: list[str]) -> dict:
    """Return the settings of an experiment that continues by its name (`resume=auto`, a search), with its own rules.

    Where an earlier version has begun it, its rules are not today's; rules that are typed override them.
    """
    saved = complete_rules(read_yaml(folder / CONFIG)["env"])
    typed = {override.partition("=")[0] for override in overrides}
    own = {name: saved[name] for name in EARLIER if name in saved and f"env.{name}" not in typed}
    return settings | {"env": settings["env"] | own}


def refuse_another_place(run: Path, saved: dict, overrides: list[str]) -> None:
    """A run continues in its own directory, under its own name.

    Raises:
        Mistake: `output_dir`, `label` or `search.name` was typed as if it could move.
    """
    typed = parse_overrides([o for o in overrides if o.partition("=")[0] in ("output_dir", "label", "search.name")])
    if typed.get("output_dir") and reachable(typed["output_dir"], "output_dir") not in list(run.parents)[:3]:
        raise Mistake(
            f"output_dir={typed['output_dir']}: the run continues where it is, {run}; leave it out, or copy the run "
            "there and continue the copy"
        )
    for key, own in ("label", saved.get("label")), ("search.name", saved.get("search", {}).get("name")):
        if key in typed and typed[key] != own:
            raise Mistake(f"{key}={typed[key]}: what continues keeps its directory, {run}, and its name; leave it out")


def refuse_another_model(saved: dict, settings: dict) -> None:
    """A checkpoint fits the algorithm, the environment's spaces, the model and the seeds it was made with."""
    pixels = ("dim", "grayscale", "frame_stack", "full_action_space")
    fixed = [f"algo.{key}" for key in ("name", *PART_OF_WEIGHTS)]
    fixed += [*(f"env.{key}" for key in ("name", "game", "id", *pixels)), "seed"]
    fixed += [f"model.{key}" for key in {**saved["model"], **settings["model"]} if key != "dtype"]
    for key in fixed:
        group, _, name = key.partition(".")
        old, new = (s[group].get(name) if name else s[group] for s in (saved, settings))
        if old != new and (old or new):  # a run older than a setting has None where it is off today
            raise Mistake(
                f"{key}={new}: the run was made with {key}={old}, and its checkpoint fits nothing else; "
                "leave it out, or start a new run without resume"
            )
