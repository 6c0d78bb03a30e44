"""The one command: compose an experiment with Hydra, check it, hand it on.

    python run.py                                        PPO on Assault, 10 million agent steps
    python run.py algo=ppo env=pong size=short seed=[1,2,3]
    python run.py resume=outputs/ppo/assault/<run>       continue; what else is typed wins
    python run.py command=evaluate run=outputs/ppo/assault/<run> episodes=30
    python run.py command=record run=outputs/ppo/assault/<run> games=3
    python run.py env=cartpole --cfg job                 print the experiment, run nothing

Exit code 0: done; 2: something that was typed cannot work; 1: anything else.
"""

import os
import shlex
import sys
from pathlib import Path
from typing import Any

# Before PyTorch is loaded: its threads sleep while they wait for each other. Threads that spin take the cores from the
# very thread they wait for as soon as anything else is busy on them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if __name__ == "__main__":  # before the imports, which take seconds
    from runs.interrupt import handle_early_signals, outlive_terminal

    handle_early_signals()
    outlive_terminal()

try:
    import yaml

    from experiments.composition import GROUPS, PATHS, composed, options, typed_of, values_of
except ModuleNotFoundError as error:
    sys.exit(f"error: {error} for {sys.executable}; type make setup, then source .venv/bin/activate")

from environments.passwords import mask
from settings.mistakes import EnvironmentFault, Mistake, reachable

ROOT = Path(__file__).resolve().parent


def main(argv: list[str]) -> int:
    """Do what was typed; returns the exit code."""
    try:
        if argv[:1] == ["--complete"]:  # a shell asks
            from runs.completion import complete

            print("\n".join(complete("".join(argv[1:2]), argv[2:])))
            return 0
        if argv[:1] == ["--completion"]:
            from runs.completion import script_for

            print(script_for(" ".join(argv[1:])))
            return 0
        overrides, flags = split(argv)
        if "--help" in flags:
            from runs.help import help_text

            print(help_text(overrides))
            return 0
        for word in overrides:
            if "=" not in word and (groups := [group for group in GROUPS if word in options(group)]):
                raise Mistake(f"{word}: did you mean {groups[0]}={word}?")
        if "command=submit" in overrides and "--cfg" not in flags:
            return submit([override for override in overrides if override != "command=submit"])
        settings, resumed = experiment(overrides)
        if "--cfg" in flags:
            print(yaml.safe_dump(mask(settings), sort_keys=False), end="")
            return 0
        if settings["command"] == "submit":  # written in another way, which `submit` would hand on to the job
            raise Mistake("write it as command=submit")
        return dispatch(settings, argv, overrides, resumed)
    except Mistake as mistake:
        print(f"error: {mask(str(mistake))}", file=sys.stderr)
        return 2
    except EnvironmentFault as fault:  # while games are played; a run that trains tells it itself
        print(f"error: {fault}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # before training or after it; a run under way writes a checkpoint and says how to go on
        print("stopped", file=sys.stderr)
        return 1


def split(argv: list[str]) -> tuple[list[str], set[str]]:
    """Overrides and flags."""
    words, flags, overrides = list(argv), set(), []
    while words:
        word = words.pop(0)
        if word in ("-h", "--help"):
            flags.add("--help")
        elif word in ("-c", "--cfg"):
            if not words or words.pop(0) != "job":
                raise Mistake("--cfg prints the experiment and takes the word job: --cfg job")
            flags.add("--cfg")
        elif word.startswith("-"):
            raise Mistake(f"{word}: there is no such flag; {without_dashes(word, words)}")
        else:
            overrides.append(word)
    return overrides, flags


def without_dashes(flag: str, rest: list[str]) -> str:
    """What to type instead of a flag: `--algo ppo` is algo=ppo here."""
    key, equals, value = flag.lstrip("-").partition("=")
    value = value if equals else rest[0] if rest and not rest[0].startswith("-") and "=" not in rest[0] else ""
    if len(key) > 1 and value:
        return f"settings are typed without dashes: {key}={value}"
    return "there are --help, --cfg job and --completion bash (a search is tune_searches=...)"


def experiment(overrides: list[str]) -> tuple[dict, Path | None]:
    """The settings that were typed, checked, and the run directory they continue, if any."""
    from run_directory.outputs import find_newest
    from runs.check import check
    from runs.commands import READS, read_settings, refuse_ignored, refuse_names, refuse_unasked

    refuse_names(overrides)
    # The algorithm and environment of a run that is read or continues are not those of a run without words.
    start = [o for o in overrides if o.partition("=")[0] in ("resume", "command")]
    command, resume = (values_of(start).get(key) for key in ("command", "resume"))
    typed = values_of([o for o in overrides if o.partition("=")[0] in PATHS])
    for key, path in typed.items():
        if path and path != "auto":
            reachable(path, key)
    if command in READS:
        settings = read_settings(command, values_of(overrides), composed([]))
        kinds = {"promote": ("search",), "watch": ("train", "search")}.get(command, ("train",))
        if settings["run"]:  # a replay needs none
            settings["run"] = find_newest(settings["run"], "run", "outputs", kinds)
        return settings, None
    if resume == "":  # a script's empty variable must not start a new run
        raise Mistake("resume=: give a run directory, or leave it out")
    if resume is None or resume == "auto":
        settings = composed(typed_of(overrides))
        refuse_unasked(overrides, settings)
        settings = check(settings)
        refuse_ignored(overrides, settings | {"resume": resume})
        if resume is None or settings["command"] != "train":  # a search goes on by its name
            return settings, None
        from run_directory.outputs import find_begun_run

        return settings | {"resume": "auto"}, find_begun_run(settings)

    from run_directory.continuation import open_run
    from run_directory.starts import read_overrides
    from runs.resume import merged, refuse_another_model, refuse_another_place, typed_over

    resume = find_newest(resume, "resume", typed.get("output_dir") or "outputs")
    run, saved = open_run(resume, "resume")
    refuse_another_place(run, saved, overrides)
    typed = typed_of(overrides)
    # What the new words change in the experiment as it would be composed today is changed in the saved settings; so a
    # group (size=short) works like a key, and defaults that have changed since leave the run alone.
    before, after = composed(read_overrides(run)), composed([*read_overrides(run), *typed])
    settings = typed_over(merged(saved, before, after), after, typed)
    refuse_another_model(saved, settings)
    settings = check(settings | {"resume": None})
    refuse_ignored(overrides, settings | {"resume": resume})
    return settings, run


def dispatch(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None) -> int:
    """Run the command. The last line printed is the run directory."""
    from run_directory.continuation import refuse_strangers
    from runs.interrupt import BEFORE_TRAINING, Interrupt

    Interrupt.word = (
        "stopped" if settings["command"] in ("evaluate", "record", "page", "watch", "promote") else BEFORE_TRAINING
    )
    if resumed:  # before anything it says is done, such as joining the cluster it names
        refuse_strangers(resumed, overrides)
    if settings["command"] == "evaluate":
        run = reachable(settings["run"], "run")
        refuse_unplayable(run, settings["checkpoint"])
        from evidence.evaluate import WAYS

        ways = WAYS if settings["way"] == "both" else (settings["way"],)
        words = {key: settings[key] for key in ("checkpoint", "seed", "rules")}
        code = show_evaluation(run, settings["episodes"], ways=ways, **words)
        print(f"run directory: {run}")
        return code
    if settings["command"] == "record":
        return record(settings)
    if settings["command"] == "page":
        return write_pages(reachable(settings["run"], "run"), settings["checkpoint"])
    if settings["command"] == "watch":
        from pages.watch import watch

        return watch(reachable(settings["run"], "run"), settings["port"], settings["checkpoint"])
    if settings["command"] == "promote":
        from tuned_configs.promotion import promote

        made = promote(reachable(settings["run"], "run"))
        if made:
            print(f"tuned config: {made}")
        return 0 if made else 1
    if settings["dry_run"]:
        from runs.cluster import nodes, ray_for
        from runs.plan import pace_of, plan

        with ray_for(settings):
            found = nodes()
            print(plan(settings, found, pace_of(settings, found)))
        return 0
    if settings["command"] == "search":
        from runs.search import search

        folder, code = search(settings, ["python", "run.py", *argv], typed_of(overrides), resumed)
        code = show_result(folder, finished=code == 0) or code
        print(f"search directory: {folder}")
        return code
    from runs.train import train

    run, code = train(settings, ["python", "run.py", *argv], typed_of(overrides), resumed)
    Interrupt.word = f"stopped; run directory: {run}"
    if code == 0:
        code = show_evaluation(run, settings["episodes"]) if settings["evaluate"] else 0
        if settings["page"]:
            code = show_games(run, settings["env"]) or code
        print(next_steps(run, settings))
    print(f"run directory: {run}")
    return code


def submit(overrides: list[str]) -> int:
    """The same command as a job on a cluster, once it is known to be free of mistakes."""
    from runs.commands import READS
    from runs.submit import add_continuation, submit

    settings, _ = experiment(add_continuation(overrides))
    if settings["command"] in (*READS, "submit"):
        raise Mistake(f"command={settings['command']}: a job is a training, or a search with tune_searches=<name>")
    print(submit(settings, overrides))
    return 0


def record(settings: dict) -> int:
    """Play games and film them, or film a replay; returns the exit code."""
    from recordings.video import Look, film_file, find_replay
    from run_directory.layout import list_seed_runs

    run = reachable(settings["run"], "run") if settings["run"] else None
    look = Look(settings["format"], settings["scale"], settings["fps"])
    if settings["replay"]:
        return film_file(find_replay(settings["replay"], run), look)
    assert run is not None
    refuse_unplayable(list_seed_runs(run)[0], settings["checkpoint"])
    from recordings.recording import record

    words = {key: settings[key] for key in ("games", "checkpoint", "way", "seed", "rules")}
    code = record(run, look=look, **words)
    print(f"run directory: {run}")
    return code


def show_games(run: Path, env: dict) -> int:
    """Record a game of a run that has ended, and write its pages; returns the exit code."""
    from recordings.recording import record
    from recordings.replayed_game import can_be_drawn

    if not can_be_drawn(env):
        print(f"{env['name']} has no pictures here, so no game is recorded")
        return write_pages(run, None)
    return max(record(run, games=1), write_pages(run, None))


def write_pages(run: Path, checkpoint: str | None) -> int:
    """Write the page of every seed of a run; returns the exit code."""
    from run_directory.layout import list_seed_runs

    refuse_unplayable(run, checkpoint)
    from pages.run_page import write_page
    from recordings.replayed_game import Differs

    for one in list_seed_runs(run):
        try:
            print(f"page: {write_page(one, checkpoint)}")
        except (Differs, OSError) as error:
            print(f"{one}: no page was written: {error}", file=sys.stderr)
            return 1
    return 0


def refuse_unplayable(run: Path, checkpoint: str | None) -> None:
    """Check that all seeds of a run have a checkpoint to play with, before the imports that play, which take seconds.

    Raises:
        Mistake: one has not.
    """
    from run_directory.checkpoints import find_checkpoint
    from run_directory.layout import list_seed_runs
    from run_directory.saved_settings import read_run_settings

    for one in list_seed_runs(run):
        read_run_settings(one)
        find_checkpoint(one, checkpoint)


def show_evaluation(run: Path, episodes: int, **words: Any) -> int:
    """Play, print and record; returns the exit code."""
    from evidence.evaluate import evaluate
    from evidence.evaluation_table import print_evaluation

    return print_evaluation(evaluate(run, episodes, **words))


def show_result(folder: Path, finished: bool) -> int:
    """What a search has found, as far as it is; returns 1 where its page cannot be saved."""
    from evidence.search_result import print_result
    from pages.search_page import write_page
    from tuned_configs.promotion import path_of

    try:
        if finished and print_result(folder):
            if (kept := path_of(folder)).exists():
                print(f"a winner of this search is kept already: {kept}")
            else:
                print("to keep the winner: ", shlex.join(["python", "run.py", "command=promote", f"run={folder}"]))
    except Mistake as mistake:  # the search is done all the same
        print(f"nothing to compare: {mistake}")
    try:
        print(f"the whole search on a page: {write_page(folder)}")
    except Mistake as mistake:
        print(f"no page: {mistake}")
    except OSError as error:
        print(f"the page was not saved: {error}", file=sys.stderr)
        return 1
    return 0


def next_steps(run: Path, settings: dict) -> str:
    """What one can do with a run that has come to its `stop.` settings, as lines that can be pasted into a shell."""
    from environments.games import may_never_end

    stop = settings["stop"]
    farther = [f"stop.agent_steps={2 * stop['agent_steps']}"]
    farther += [f"stop.{key}=null" for key in ("time_s", "episode_return") if stop[key] is not None]
    shown = os.path.relpath(run) if Path.cwd() == ROOT and run.is_relative_to(ROOT) else run  # a job is elsewhere
    lines = {"watch the curves": ["tensorboard", "--logdir", str(shown)]}
    if not may_never_end(settings["env"]):
        lines["play more games"] = ["python", "run.py", "command=evaluate", f"run={shown}", "episodes=100"]
        lines["see it play"] = ["python", "run.py", "command=record", f"run={shown}"]
        lines["a page of it all"] = ["python", "run.py", "command=page", f"run={shown}"]
    lines["train on"] = ["python", "run.py", f"resume={shown}", *farther]
    return "\n".join(["what next", *(f"  {what:<18} {shlex.join(words)}" for what, words in lines.items())])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
