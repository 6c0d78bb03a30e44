"""The settings of a resumed run: its saved settings with the new overrides, as far as its checkpoint allows."""

from pathlib import Path

from environments.passwords import is_masked
from experiments.composition import parse_overrides
from run_directory.files import check_kind, read_yaml
from run_directory.layout import CONFIG
from settings.algorithms import PART_OF_CHECKPOINT, list_earlier
from settings.experiment import complete_settings
from settings.mistakes import Mistake, resolve_path
from settings.protocols import EARLIER


def merge_settings(saved: dict, before: dict, after: dict) -> dict:
    """Return `saved`, with the values of `after` for settings that differ from `before`, or that were saved masked.

    Args:
        saved: the settings of the run directory.
        before: the experiment composed today from the overrides of the run.
        after: the experiment composed today from the overrides of the run and the new overrides.
    """
    result = dict(saved)
    for key, value in after.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = merge_settings(result[key], before.get(key) or {}, value)
        elif key not in before or before[key] != value or key not in result or is_masked(result[key]):
            result[key] = value
    return result


def keep_known(after: dict, saved: dict) -> dict:
    """Return `after` with the keys of `saved` alone, at every depth."""
    both = {key: (value, saved[key]) for key, value in after.items() if key in saved}
    nested = {key for key, pair in both.items() if all(isinstance(one, dict) for one in pair)}
    return {key: keep_known(*pair) if key in nested else pair[0] for key, pair in both.items()}


def apply_overrides(settings: dict, after: dict, typed: list[str]) -> dict:
    """Return `settings` with the value of `after` for each key of the overrides `typed`.

    `merge_settings` ignores an override that equals today's default, but the saved value may be an older default.
    """
    for key in (override.partition("=")[0] for override in typed):
        group, _, name = key.partition(".")
        if not name and not isinstance(after.get(key, {}), dict):
            settings = settings | {key: after[key]}
        if name in (after[group] if isinstance(after.get(group), dict) else ()):
            settings = settings | {group: settings[group] | {name: after[group][name]}}
    return settings


def keep_rules(settings: dict, folder: Path, overrides: list[str]) -> dict:
    """Return the settings of an experiment that its line starts again (`resume=auto`, a search), with the values that
    its directory has for settings that later versions of the suite added (EARLIER and `list_earlier`).

    So today's defaults do not change an experiment that was begun before them. Overrides still apply.
    """
    saved = read_yaml(folder / CONFIG)
    groups = {group: check_kind(folder / CONFIG, saved.get(group), dict, group) for group in ("algo", "env")}
    saved = complete_settings(saved | groups)
    typed = {override.partition("=")[0] for override in overrides}
    for group, names in (("env", EARLIER), ("algo", list_earlier(saved["algo"]))):
        own = {name: saved[group][name] for name in names if name in saved[group] and f"{group}.{name}" not in typed}
        settings = settings | {group: settings[group] | own}
    return settings


def refuse_another_place(run: Path, saved: dict, overrides: list[str]) -> None:
    """Refuse overrides that would move a resumed run: it stays in its directory and keeps its name."""
    typed = parse_overrides([o for o in overrides if o.partition("=")[0] in ("output_dir", "label", "search.name")])
    if typed.get("output_dir") and resolve_path(typed["output_dir"], "output_dir") not in list(run.parents)[:3]:
        raise Mistake(
            f"output_dir={typed['output_dir']}: a resumed run stays in its directory, {run}; leave it out, "
            "or copy the run there and resume the copy"
        )
    for key, own in ("label", saved.get("label")), ("search.name", saved.get("search", {}).get("name")):
        if key in typed and typed[key] != own:
            raise Mistake(f"{key}={typed[key]}: a resumed run keeps its directory, {run}, and its name; leave it out")


def refuse_another_model(run: Path, saved: dict, settings: dict) -> None:
    """Refuse overrides that no checkpoint of the run fits, and all that change what a trial of a search trains."""
    pixels = ("dim", "grayscale", "frame_stack", "full_action_space")
    fixed = [f"algo.{key}" for key in ("name", *PART_OF_CHECKPOINT)]
    fixed += [*(f"env.{key}" for key in ("name", "game", "id", "kwargs", "wrappers", *pixels)), "seed", "pretrained"]
    fixed += [f"model.{key}" for key in {**saved["model"], **settings["model"]} if key != "dtype"]
    for key in fixed:
        group, _, name = key.partition(".")
        old, new = (s[group].get(name) if name else s.get(group) for s in (saved, settings))
        if old != new and (old or new):  # an older run has None where today the setting is off
            raise Mistake(
                f"{key}={new}: the run was made with {key}={old}, and its checkpoint fits no other value; "
                "leave it out, or start a new run without resume"
            )
    configs = [path / CONFIG for path in run.parents[:3] if (path / CONFIG).is_file()]
    changed = [g for g in ("stop", "algo", "env", "model") if any(settings[g].get(k) != v for k, v in saved[g].items())]
    if changed and any(read_yaml(config).get("command") == "search" for config in configs):
        raise Mistake(f"{changed[0]}: {run} is a trial of a search, whose score is of the old settings; resume a copy")
