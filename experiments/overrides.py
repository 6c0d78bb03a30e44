"""The way from a command line to checked settings: of a new experiment, a resumed run, or a reader command.

overrides -> check of names and paths -> composition -> merge with the settings of a resumed run -> check -> settings
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from experiments.check import check_settings
from experiments.commands import (
    check_reader_settings,
    refuse_derived_names,
    refuse_ignored_settings,
    refuse_misplaced_settings,
    refuse_reader_settings,
)
from experiments.composition import (
    GROUPS,
    PATH_SETTINGS,
    compose_settings,
    explain_unknown_option,
    find_place,
    is_file_option,
    list_options,
    parse_overrides,
    remove_resume,
)
from experiments.config_dir import open_saved_folder, open_typed_folder
from experiments.resume import apply_overrides, keep_known, merge_settings, refuse_another_model, refuse_another_place
from experiments.yaml_files import find_key_line
from playing.pretrained import check_pretrained, name_pretrained
from run_directory.continuation import open_run
from run_directory.files import read_yaml
from run_directory.layout import CONFIG, GRID_JSON
from run_directory.outputs import AUTO, find_begun_run, find_newest_run
from run_directory.starts import read_overrides
from settings.commands import READER_SETTINGS
from settings.mistakes import Mistake, resolve_path
from settings.suggestions import refuse_missing_directory


@contextmanager
def name_place_of_mistake(overrides: list[str], resumed: Path | None = None) -> Iterator[None]:
    """Add the YAML file and its line to a Mistake about a key, unless it, or one above or below it, was typed.

    Args:
        overrides: the command line.
        resumed: the run directory that it continues; a setting that no typed file sets stands in config.yaml there.
    """
    try:
        yield
    except Mistake as mistake:
        words, key = remove_resume(overrides), mistake.key
        typed = {*parse_overrides(words)} - {*GROUPS}
        if key is None or any(f"{key}.".startswith(f"{one}.") or one.startswith(f"{key}.") for one in typed):
            raise
        place = find_place(key, words) if resumed is None else find_resumed_place(key, words, resumed)
        raise Mistake(f"{place}: {mistake}" if place else str(mistake)) from mistake


def find_resumed_place(key: str, words: list[str], run: Path) -> str | None:
    """Return the YAML file and line that set a dotted key of a resumed run, or None.

    A file that the new overrides `words` choose goes before the config.yaml of the run.
    """
    before, _ = read_begun(run, read_yaml(run / CONFIG))
    place = find_place(key, [*before, *words])
    return place if place != find_place(key, before) else find_key_line(run / CONFIG, key, "_global_")


def read_begun(run: Path, saved: dict) -> tuple[list[str], bool]:
    """Return the overrides of all starts of a run without files that are gone, and whether there are such files.

    config.yaml has the values of those files. The algorithm is kept, because its settings can be typed.
    """
    begun, name = read_overrides(run), saved["algo"]["name"]
    left = [o for o in begun if not is_file_option(o) or Path(o.partition("=")[2]).expanduser().is_file()]
    gone = len(left) < len(begun)
    return [*([f"algo={name}"] if gone and name in list_options("algo") else []), *left], gone


def check_overrides(overrides: list[str]) -> tuple[dict, Path | None]:
    """Compose the experiment of a command line, and check it.

    Args:
        overrides: the command line without flags.

    Returns:
        The settings, and the run directory that is resumed, or None for a new run. The group `search` of a search is
        not checked yet; `tune_searches/check.py` does that.

    Raises:
        Mistake: an override cannot work.
    """
    refuse_derived_names(overrides)
    # Only these two are parsed first: a run that is read or resumed has an algorithm and an environment of its own.
    start = [o for o in overrides if o.partition("=")[0] in ("resume", "command")]
    command, resume = (parse_overrides(start).get(key) for key in ("command", "resume"))
    typed = parse_overrides([o for o in overrides if o.partition("=")[0] in PATH_SETTINGS])
    for key, path in typed.items():
        if path and path != "auto":
            resolve_path(path, key)
    if typed.get("config_dir"):  # run.py has opened it already; others who call this have not
        open_typed_folder(overrides)
    if command in READER_SETTINGS and (command != "audit" or any(o.startswith("run=") for o in overrides)):
        settings = check_reader_settings(command, parse_overrides(overrides), compose_settings([]))
        kinds = {"promote": ("search",), "watch": ("train", "search")}.get(command, ("train",))
        if settings.get("run"):  # command=record with a replay needs no run, command=compare reads several
            refuse_missing_directory(settings["run"], "run", ("latest",))
            settings["run"] = find_newest_run(settings["run"], "run", "outputs", kinds)
        return settings, None
    if isinstance(command, str) and command not in list_options("command"):  # first: its settings are no mistake then
        raise Mistake(explain_unknown_option("command", command, overrides))
    refuse_reader_settings(overrides)
    if resume == "":  # a script with an empty variable must not start a new run
        raise Mistake("resume=: give a run directory, or leave it out")
    if resume is None or resume == "auto":
        settings = compose_settings(remove_resume(overrides))
        with name_place_of_mistake(overrides):
            refuse_misplaced_settings(overrides, settings)
            settings = check_settings(settings)
        refuse_ignored_settings(overrides, settings | {"resume": resume})
        settings = settings | {"pretrained": name_pretrained(settings["pretrained"])}
        goes_on = resume == "auto" and settings["command"] == "train"  # a search finds its directory by its name
        begun = find_begun_run(settings) if goes_on else None
        check_pretrained(settings, begun)
        return settings | ({"resume": "auto"} if goes_on else {}), begun

    refuse_missing_directory(resume, "resume", ("latest", AUTO))
    if (resolve_path(resume, "resume") / GRID_JSON).is_file():
        raise Mistake(f"resume={resume} is a grid; to continue it, type its line again, which {GRID_JSON} has")
    resume = find_newest_run(resume, "resume", typed.get("output_dir") or "outputs")
    run, saved = open_run(resume, "resume")
    refuse_another_place(run, saved, overrides)
    open_saved_folder(run, saved, overrides)
    typed = remove_resume(overrides)
    # The difference between today's compositions without and with the new overrides is applied to the saved settings.
    # So an override of a group (size=short) works, and new defaults of the YAML files do not change the run.
    begun, gone = read_begun(run, saved)
    before, after = compose_settings(begun), compose_settings([*begun, *typed])
    today = after | keep_known(after, saved) if gone else after
    settings = apply_overrides(merge_settings(saved, before, today), after, typed)
    if settings["command"] != saved["command"]:
        raise Mistake(f"resume={resume} goes on with command={saved['command']}; begin another run, without resume")
    refuse_another_model(run, saved, settings)
    with name_place_of_mistake(overrides, run):
        settings = check_settings(settings | {"resume": None})
    refuse_ignored_settings(overrides, settings | {"resume": resume})
    return settings, run
