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
import sys
from pathlib import Path

# Before PyTorch is loaded: its threads sleep while they wait for each other. Threads that spin take the cores from the
# very thread they wait for as soon as anything else is busy on them.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")

if __name__ == "__main__":  # before the imports, which take seconds
    from runs.interrupt import handle_early_signals, protect_output_streams

    handle_early_signals()
    protect_output_streams()

try:
    import yaml

    from experiments.composition import GROUPS, options, typed_of
except ModuleNotFoundError as error:
    sys.exit(f"error: {error} for {sys.executable}; type make setup, then source .venv/bin/activate")

from environments.passwords import mask
from settings.mistakes import EnvironmentFault, Mistake


def main(argv: list[str]) -> int:
    """Do what was typed; return the exit code."""
    try:
        if argv[:1] == ["--complete"]:  # a shell asks
            from experiments.completion import complete

            print("\n".join(complete("".join(argv[1:2]), argv[2:])))
            return 0
        if argv[:1] == ["--completion"]:
            from experiments.completion import script_for

            print(script_for(" ".join(argv[1:])))
            return 0
        overrides, flags = split_words(argv)
        if "--help" in flags:
            from experiments.help import help_text

            print(help_text(overrides))
            return 0
        for word in overrides:
            if "=" not in word and (groups := [group for group in GROUPS if word in options(group)]):
                raise Mistake(f"{word}: did you mean {groups[0]}={word}?")
        if "command=submit" in overrides and "--cfg" not in flags:
            return submit_experiment([override for override in overrides if override != "command=submit"])
        settings, resumed = read_experiment(overrides)
        if "--cfg" in flags:
            print(yaml.safe_dump(mask(settings), sort_keys=False), end="")
            return 0
        if settings["command"] == "submit":  # written in another way, which the job would get
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


def split_words(argv: list[str]) -> tuple[list[str], set[str]]:
    """Return the overrides and the flags of a command line.

    Raises:
        Mistake: there is no such flag.
    """
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
            raise Mistake(f"{word}: there is no such flag; {explain_flag(word, words)}")
        else:
            overrides.append(word)
    return overrides, flags


def explain_flag(flag: str, rest: list[str]) -> str:
    """Return what to type instead of a flag: `--algo ppo` is algo=ppo here."""
    key, equals, value = flag.lstrip("-").partition("=")
    value = value if equals else rest[0] if rest and not rest[0].startswith("-") and "=" not in rest[0] else ""
    if len(key) > 1 and value:
        return f"settings are typed without dashes: {key}={value}"
    return "there are --help, --cfg job and --completion bash (a search is tune_searches=...)"


def read_experiment(overrides: list[str]) -> tuple[dict, Path | None]:
    """Return the settings of an experiment, checked, and the run directory that they continue, if any.

    Raises:
        Mistake: something that was typed cannot work.
    """
    from experiments.overrides import check_overrides
    from tune_searches.check import check_search_part

    settings, resumed = check_overrides(overrides)
    return check_search_part(settings), resumed


def dispatch(settings: dict, argv: list[str], overrides: list[str], resumed: Path | None) -> int:
    """Run the command; return the exit code. The last line printed is the run directory."""
    from experiments.commands import READS
    from run_directory.continuation import refuse_strangers
    from runs.interrupt import MESSAGE_BEFORE_TRAINING, Interrupt

    Interrupt.message = "stopped" if settings["command"] in READS else MESSAGE_BEFORE_TRAINING
    if resumed:  # before anything it says is done, such as joining the cluster it names
        refuse_strangers(resumed, overrides)
    if settings["command"] in READS:
        from pages.commands import run_reader

        return run_reader(settings)
    if settings["dry_run"]:
        return show_plan(settings)
    from pages.commands import show_search, show_training

    command = ["python", "run.py", *argv]
    if settings["command"] == "search":
        from tune_searches.search import search

        folder, code = search(settings, command, typed_of(overrides), resumed)
        code = show_search(folder, finished=code == 0) or code
        print(f"search directory: {folder}")
        return code
    from runs.train import describe_next_steps, train

    run, code = train(settings, command, typed_of(overrides), resumed)
    Interrupt.message = f"stopped; run directory: {run}"
    if code == 0:
        code = show_training(run, settings)
        print(describe_next_steps(run, settings))
    print(f"run directory: {run}")
    return code


def show_plan(settings: dict) -> int:
    """Print where each process of an experiment would run and what would travel between them; return the exit code."""
    from cluster.connection import list_nodes
    from cluster.dry_run import describe_plan, measure_pace
    from runs.build import build, bundles_of
    from runs.ray_session import open_ray

    with open_ray(settings):
        planned = settings, build(settings), bundles_of(settings), list_nodes()
        print(describe_plan(*planned, measure_pace(*planned)))
    return 0


def submit_experiment(overrides: list[str]) -> int:
    """Submit the same command as a job on a cluster, once it is known to be free of mistakes; return the exit code."""
    from cluster.submit import add_continuation, submit_job
    from experiments.commands import READS

    settings, _ = read_experiment(add_continuation(overrides))
    if settings["command"] in (*READS, "submit"):
        raise Mistake(f"command={settings['command']}: a job is a training, or a search with tune_searches=<name>")
    print(submit_job(settings, overrides))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
